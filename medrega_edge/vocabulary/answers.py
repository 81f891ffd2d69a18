"""Answers to free questions: which say yes or no, and how they are spelt.

Those that weights have seen are as people typed them, with their slips.
"""

from __future__ import annotations

import json
import re
from functools import cache
from importlib.resources import files


def is_yes_or_no(answer: str) -> bool:
    """Whether an answer is one to a closed question."""
    return is_yes(answer) is not None or _plain(answer) in _table()["other_closed"]


def is_yes(answer: str) -> bool | None:
    """Whether an answer says yes, or no; None for any other."""
    plain, table = _plain(answer), _table()
    return True if plain in table["yes"] else False if plain in table["no"] else None


def _plain(answer: str) -> str:
    return answer.strip().rstrip(".。").casefold()


def respelt(text: str) -> str:
    """Return a text without the known misspellings."""
    misspellings = _table()["misspellings"]
    return _misspelt().sub(lambda match: misspellings[match.group()], text)


@cache
def _misspelt() -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, _table()['misspellings']))})(?![a-z])")


@cache
def _table() -> dict[str, dict[str, str]]:
    table: dict[str, dict[str, str]] = json.loads(
        files("medrega_edge.vocabulary").joinpath("answers.json").read_text(encoding="utf-8")
    )
    return table
