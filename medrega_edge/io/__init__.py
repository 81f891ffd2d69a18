"""Atomic files and text that is safe to show."""
