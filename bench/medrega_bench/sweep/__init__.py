"""Packages of several precisions, measured in one run."""
