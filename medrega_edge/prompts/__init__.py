"""Prompt templates, the region markup of model text, and what a free question asks for."""
