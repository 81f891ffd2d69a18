"""Metrics of regions, text and labels."""
