"""Text without control, escape, bidirectional or invisible characters: a terminal shows it and cannot be made to obey it.

Names of files and packages, words of a model and of a user pass through here on their way to a screen.
"""

from __future__ import annotations

import json
from typing import Any


def printable(text: str) -> str:
    """Text without control and invisible characters, a space for each; line ends stay."""
    return "".join(character if character.isprintable() or character == "\n" else " " for character in text)


def json_text(value: Any, indent: int | None = None, ensure_ascii: bool = False) -> str:
    """JSON with those characters as escapes: it parses to the same value, and a terminal may show it."""
    text = json.dumps(value, ensure_ascii=ensure_ascii, allow_nan=False, indent=indent)
    # Whatever is not printable stands inside a string, because JSON itself is printable but for its line ends.
    return "".join(c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
