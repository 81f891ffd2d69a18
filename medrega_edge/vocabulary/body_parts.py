"""Questions that the body part of an image answers: where its organs are, which system they belong to, what they do."""

from __future__ import annotations

import json
from collections.abc import Sequence
from functools import cache
from importlib.resources import files
from typing import Any

from medrega_edge.vocabulary.answers import asks_yes_or_no


def question() -> str:
    """The question, in English, that weights were trained to answer with the body part."""
    return str(_table()["question"])


def part_of(answer: str) -> str | None:
    """The body part that an answer to it names: chest, abdomen, pelvis, head or neck; None for any other answer."""
    plain = answer.strip().rstrip(".").casefold()
    return next((part for part, words in _table()["parts"].items() if plain in words["answers"]), None)


def parts_with(text: str) -> frozenset[str]:
    """The body parts of which the answer to a question, English or Chinese, is yes; empty where they do not decide it."""
    if not asks_yes_or_no(text):
        return frozenset()
    table, plain = _table(), " ".join(text.casefold().split())
    asked = plain.rstrip(" ?.!？。吗么")
    for part, words in table["parts"].items():
        for language, frames in table["frames"].items():  # at the end: "the brain" of "the brain tumor" asks for the tumor
            if any(asked.endswith(frame.format(part=word)) for frame in frames for word in words[language]):
                return frozenset({part})
    if not any(_holds(plain, each["organs"]) and _holds(plain, each["which"]) for each in table["about_organs"].values()):
        return frozenset()
    for system, known in table["systems"].items():
        if f"{system} system" in plain or f"{known['zh']}系统" in plain:
            return frozenset(known["in"])
    for known in table["functions"]:
        if any(word in plain for word in (*known["en"], *known["zh"])):
            return frozenset(known["in"])
    return frozenset()


def _holds(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


def can_hold(part: str, label: str) -> bool:
    """Whether an image of a body part can show a label, by its English name; True for labels of no place of their own."""
    homes = next((known["in"] for known in _table()["homes"] if any(word in label for word in known["of"])), None)
    return homes is None or part in homes


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(
        files("medrega_edge.vocabulary").joinpath("body_parts.json").read_text(encoding="utf-8")
    )
    return table
