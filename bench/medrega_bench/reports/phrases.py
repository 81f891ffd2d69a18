"""What a report says: `words.json` holds every phrase, English beside Chinese."""

from __future__ import annotations

import json
from functools import cache
from importlib.resources import files

from medrega_edge.domain import Language


@cache
def words(language: Language) -> dict[str, str]:
    """Return every phrase of a report in one language."""
    table = json.loads(files("medrega_bench.reports").joinpath("words.json").read_text(encoding="utf-8"))
    return {key: pair[language is Language.ZH] for key, pair in table.items()}
