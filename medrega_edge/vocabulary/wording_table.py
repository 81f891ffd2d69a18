"""The table of words that the modules of this folder share, wording.json."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files
from typing import Any


@cache
def table() -> dict[str, Any]:
    """Read wording.json, once; its traditional characters become a table for `str.translate`."""
    words: dict[str, Any] = json.loads(files("medrega_edge.vocabulary").joinpath("wording.json").read_text(encoding="utf-8"))
    pairs = words["traditional"]
    words["traditional"] = {ord(old): new for old, new in zip(pairs[::2], pairs[1::2], strict=True)}
    return words
