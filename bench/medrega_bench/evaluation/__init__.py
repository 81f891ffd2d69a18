"""Asking a package every question, scoring the answers, comparing and gating results."""
