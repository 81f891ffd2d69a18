"""Annotated images, questions with their truth, and what the answers to them are worth."""
