"""A report in fixed sentences: modality and body part, what is seen, what is abnormal, what may be; to write and to read.

A sentence without content is left out. No sentence says that something is normal.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from enum import StrEnum

from medrega_edge.domain import Language, Modality
from medrega_edge.vocabulary.label_sets import modality_name


class Sentence(StrEnum):
    """Topic of a sentence of a report."""

    SEEN = "seen"
    ABNORMAL = "abnormal"
    PERHAPS = "perhaps"


_OPENINGS = {
    Language.EN: {Sentence.SEEN: "Seen: ", Sentence.ABNORMAL: "Abnormal: ", Sentence.PERHAPS: "Perhaps: "},
    Language.ZH: {Sentence.SEEN: "可见：", Sentence.ABNORMAL: "异常：", Sentence.PERHAPS: "可能有："},
}


def opening(modality: Modality, language: Language) -> str:
    """Return the first words of a report on an image of this modality."""
    return modality_name(modality, language)


def write(
    modality: Modality, body_part: str | None, names: Sequence[tuple[Sentence, Sequence[str]]], language: Language
) -> str:
    """Write a report with these names in each sentence; `body_part` and names are in `language`."""
    image, openings = opening(modality, language), _OPENINGS[language]
    if language is Language.ZH:
        first = f"{image}，{body_part}。" if body_part else f"{image}。"
        return first + "".join(f"{openings[topic]}{'、'.join(each)}。" for topic, each in names if each)
    first = f"{image} of the {body_part}." if body_part else f"{image}."
    return " ".join([first, *(f"{openings[topic]}{', '.join(each)}." for topic, each in names if each)])


def names_in(text: str, language: Language) -> list[tuple[Sentence, list[str]]]:
    """Return the names in each sentence of a report."""
    comma, stop = ("、", "。") if language is Language.ZH else (", ", ".")
    found = []
    for topic, sentence in read(text, language).items():
        listed = sentence.removeprefix(_OPENINGS[language][topic].strip()).strip().removesuffix(stop)
        found.append((topic, [name for name in dict.fromkeys(listed.split(comma)) if name]))
    return found


def read(text: str, language: Language) -> dict[Sentence, str]:
    """Return the sentences of a report by topic, which their first words tell."""
    sentences = {}
    for sentence in re.split(r"(?<=[.。])\s*", text):
        for topic, first_words in _OPENINGS[language].items():
            if sentence.startswith(first_words.strip()):
                sentences[topic] = sentence
    return sentences
