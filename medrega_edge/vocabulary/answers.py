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
    if any(each in text for each in (*words["offers"], *words["open"])):
        return False
    for word in words["no_particle"]:  # 什么 holds 么
        text = text.replace(word, "")
    return text.split(" ")[0] in words["starts"] or any(each in text for each in words["holds"])


def offered(question: str, answers: Sequence[str]) -> list[str]:
    """Return those of the known answers that a question offers, as "CT or MRI" does; none where it offers fewer than two.

    They are the answers that stand next to the word for "or", and before those in an enumeration. "Is it a mass or a cyst"
    may also be answered by yes or no.
    """
    text, table = question.strip().casefold(), _table()["asks_yes_or_no"]
    found = next((text.partition(word) for word in table["offers"] if word in text), None)
    if found is None:
        return []
    before, _, after = found
    plain = {answer: word for answer in answers if (word := _plain(answer))}
    ends = {answer: _places(word, before)[-1] + len(word) for answer, word in plain.items() if _places(word, before)}
    starts = {answer: _places(word, after)[0] for answer, word in plain.items() if _places(word, after)}
    end, start = max(ends.values(), default=-_NEAR - 1), min(starts.values(), default=len(after) + _NEAR + 1)
    if len(before) - end > _NEAR or start > _NEAR:
        return []
    chosen = [answer for answer, place in starts.items() if place == start]
    rest = before[:end]
    while here := [answer for answer, word in plain.items() if len(rest) - len(word) in _places(word, rest)]:
        chosen += here
        rest = rest[: -max(len(plain[answer]) for answer in here)].rstrip()
        if not rest.endswith(_COMMAS):
            break
        rest = rest.rstrip("".join(_COMMAS) + " ")
    if text.split(" ")[0] in table["starts"]:
        chosen += [answer for answer in answers if is_yes(answer) is not None]
    return list(dict.fromkeys(chosen))


def _places(word: str, text: str) -> list[int]:
    """Where a word, or words, begin in a text; a part of another word does not count."""
    if word not in text:  # a pattern for each of a thousand answers would be compiled at every question
        return []
    return [found.start() for found in re.finditer(rf"(?<![a-z]){re.escape(word)}(?![a-z-])", text)]


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
