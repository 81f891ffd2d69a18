"""Answers to free questions: which say yes or no, and how they are spelt.

Those that weights have seen are as people typed them, with their slips.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

_COMMAS = (",", "，", "、")
_NEAR = 12  # characters between an offered answer and the word for "or": "T1 weighted or T2 weighted"


def is_yes_or_no(answer: str) -> bool:
    """Whether an answer is one to a closed question."""
    return is_yes(answer) is not None or _plain(answer) in _table()["other_closed"]


def is_yes(answer: str) -> bool | None:
    """Whether an answer says yes, or no; None for any other."""
    plain, table = _plain(answer), _table()
    return True if plain in table["yes"] else False if plain in table["no"] else None


def asks_yes_or_no(question: str) -> bool:
    """Whether a question, English or Chinese, asks for yes or no: one that offers a choice, as "CT or MRI", does not."""
    text, words = question.strip().casefold(), _table()["asks_yes_or_no"]
    if any(each in text for each in words["offers"]):
        return False
    return text.split(" ")[0] in words["starts"] or any(each in text for each in words["holds"])


def offered(question: str, answers: Sequence[str]) -> list[str]:
    """Return those of the known answers that a question offers, as "CT or MRI" does; none where it offers fewer than two.

    They are the answers that stand next to the word for "or", and before those in an enumeration.
    """
    text = question.strip().casefold()
    found = next((text.partition(word) for word in _table()["asks_yes_or_no"]["offers"][:3] if word in text), None)
    if found is None:
        return []
    before, _, after = found
    plain = {answer: word for answer in answers if (word := _plain(answer))}
    end = max((before.rfind(word) + len(word) for word in plain.values() if word in before), default=0)
    start = min((after.find(word) for word in plain.values() if word in after), default=len(after))
    if len(before) - end > _NEAR or start > _NEAR:
        return []
    chosen = [answer for answer, word in plain.items() if after.startswith(word, start)]
    rest = before[:end]
    while here := [answer for answer, word in plain.items() if rest.endswith(word)]:
        chosen += here
        rest = rest[: -max(len(plain[answer]) for answer in here)].rstrip()
        if not rest.endswith(_COMMAS):
            break
        rest = rest.rstrip("".join(_COMMAS) + " ")
    return chosen


def _plain(answer: str) -> str:
    return answer.strip().rstrip(".。").casefold()


def respelt(text: str) -> str:
    """Return a text without the known misspellings."""
    misspellings: dict[str, str] = _table()["misspellings"]
    return _misspelt().sub(lambda match: misspellings[match.group()], text)


@cache
def _misspelt() -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, _table()['misspellings']))})(?![a-z])")


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("medrega_edge.vocabulary").joinpath("answers.json").read_text(encoding="utf-8"))
    return table
