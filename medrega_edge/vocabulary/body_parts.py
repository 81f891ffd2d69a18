"""Questions that the body part of an image answers: where its organs are, which system they belong to, what they do."""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Sequence
from functools import cache
from importlib.resources import files
from typing import Any, Literal

from medrega_edge.domain import Language, Modality
from medrega_edge.vocabulary.answers import asks_yes_or_no


def question() -> str:
    """Return the question, in English, that weights were trained to answer with the body part."""
    return str(_table()["question"])


def part_of(name: str, said_in: Literal["answers", "reported_as", "organs"]) -> str | None:
    """Return the body part that a name means: chest, abdomen, pelvis, head or neck; None for any other name.

    It is an answer to `question`, a body part of a report, or an organ that a report gives as body part.
    """
    return _parts_by_name(said_in).get(name.strip().rstrip(".").casefold())


@cache
def _parts_by_name(said_in: str) -> dict[str, str]:
    return {name: part for part, words in reversed(_table()["parts"].items()) for name in words[said_in]}


def parts_with(text: str) -> frozenset[str]:
    """Return the body parts that make the answer to a question yes; empty where the body part does not decide it."""
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


def of_named_part(text: str, labels: Sequence[str]) -> list[str]:
    """Return those of some English labels that the body part in a plain text can show: no prostate cancer "in the brain".

    Where the text names no body part, and where that can show none of them, these are all.
    """
    words = set(re.findall("[a-z]+", text))
    named = [part for part, each in _table()["parts"].items() if any(_is_said(word, text, words) for word in each["said"])]
    shown = [label for label in labels if any(can_hold(part, label) for part in named)]
    return shown or list(labels)


def _is_said(word: str, text: str, words: Collection[str]) -> bool:
    return word in words if word.isascii() else word in text


def _holds(text: str, words: Sequence[str]) -> bool:
    return any(word in text for word in words)


def other_part(reported: str) -> str | None:
    """Return the part of a report's body part that is none of the five, as "limb" for the hand; None for another one."""
    return next((part for part, words in _table()["other_parts"].items() if reported in words["reported_as"]), None)


def group_of(reported: str) -> str | None:
    """Return the part, one of the five or of the others, that a report's body part belongs to; None for an unknown one."""
    return other_part(reported) or part_of(reported, "reported_as") or part_of(reported, "organs")


def holds_any(part: str, reported: Sequence[str]) -> bool:
    """Whether a part is that of one of some body parts of reports, or one of these is unknown."""
    groups = [group_of(name) for name in reported]
    return not groups or None in groups or part in groups


def shown_part(part: str, language: Language) -> str:
    """Return the name of a part, of these or of the five, in a language."""
    table = _table()
    shown = table["other_parts"][part]["shown"] if part in table["other_parts"] else (part, table["parts"][part]["zh"][-1])
    return str(shown[language is Language.ZH])


def has_home(label: str) -> bool:
    """Whether a label, by its English name, is in some body parts only."""
    return _home(label) is not None


def can_hold(part: str, label: str) -> bool:
    """Whether an image of a body part can show a label, by its English name. A label without a home can be anywhere."""
    home = _home(label)
    return home is None or part in home


def fits_report(reported: str, label: str, modality: Modality) -> bool:
    """Whether a report of a body part, by its English name, can name a label: no hip bone in a report of the head.

    Films of the spine and of limbs show what lies beside them. An ultrasound image of an organ shows no other.
    """
    if modality is Modality.ULTRASOUND and reported in (organs := _table()["organs_in_ultrasound"]):
        others = [word for organ, words in organs.items() if organ != reported for word in words]
        if any(word in label.casefold() for word in others):
            return False
    groups = {group_of(part) for part in (reported, *reported.split(" and "))} - {None}
    return not groups or any(group in ("spine", "limb") or can_hold(group, label) for group in groups if group)


def _home(label: str) -> Sequence[str] | None:
    plain = label.casefold()
    return next((known["in"] for known in _table()["homes"] if any(word in plain for word in known["of"])), None)


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(
        files("medrega_edge.vocabulary").joinpath("body_parts.json").read_text(encoding="utf-8")
    )
    return table
