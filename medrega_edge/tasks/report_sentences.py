"""A report in fixed sentences: kind of image and part of the body, what is seen, what is abnormal; written and read back.

Knows words only, English and Chinese. A sentence is left out where nothing is known for it: nothing is ever said to be
normal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from medrega_edge.domain import Language, Modality
from medrega_edge.vocabulary.label_sets import MODALITY_NAMES


class Sentence(StrEnum):
    """What a sentence of a report is about."""

    SEEN = "seen"
    ABNORMAL = "abnormal"


_OPENINGS = {
    Language.EN: {Sentence.SEEN: "Seen: ", Sentence.ABNORMAL: "Abnormal: "},
    Language.ZH: {Sentence.SEEN: "可见：", Sentence.ABNORMAL: "异常："},
}


def opening(modality: Modality, language: Language) -> str:
    """The first words of every report on such an image."""
    return MODALITY_NAMES[modality][language is Language.ZH]


def write(modality: Modality, part: str | None, told: Sequence[tuple[Sentence, Sequence[str]]], language: Language) -> str:
    """Write a report; `told` are names for each sentence, all in `language`."""
    kind, openings = opening(modality, language), _OPENINGS[language]
    if language is Language.ZH:
        first = f"{kind}，{part}。" if part else f"{kind}。"
        return first + "".join(f"{openings[what]}{'、'.join(names)}。" for what, names in told if names)
    first = f"{kind} of the {part}." if part else f"{kind}."
    return " ".join([first, *(f"{openings[what]}{', '.join(names)}." for what, names in told if names)])


def read(text: str, language: Language) -> dict[Sentence, str]:
    """Find the sentences of a report by how they open."""
    found = {}
    for sentence in re.split(r"(?<=[.。])\s*", text):
        for what, opening in _OPENINGS[language].items():
            if sentence.startswith(opening.strip()):
                found[what] = sentence
    return found
