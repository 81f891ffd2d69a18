"""Sentences of the program in English and Chinese."""
