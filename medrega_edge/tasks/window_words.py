"""The CT window in which to look for what a question speaks of."""

from __future__ import annotations

import re

# What a question speaks of -> the window in which a radiologist would look for it; the first that fits.
_WINDOW_WORDS = (
    ("mediastinum", re.compile(r"mediastin|纵隔", re.IGNORECASE)),
    ("lung", re.compile(r"\blungs?\b|pulmon|pneumo|bronch|肺|支气管", re.IGNORECASE)),
    ("brain", re.compile(r"brain|cerebr|cerebell|ventricular system|intracranial|stroke|脑|颅内", re.IGNORECASE)),
    ("bone", re.compile(r"\bbones?\b|fractur|vertebra|skull|\bribs?\b|femur|骨|椎", re.IGNORECASE)),
    ("liver", re.compile(r"\bliver\b|hepat|肝", re.IGNORECASE)),
)


def window_preset_for(question: str) -> str:
    """Name of the preset in which to look for what a question asks; soft tissue when it does not say."""
    return next((name for name, words in _WINDOW_WORDS if words.search(question)), "soft")
