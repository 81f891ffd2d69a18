"""Whole volumes: a name is located in every slice, and its boxes are linked to one object in three dimensions."""
