"""What words say beyond names: adjectives of organs, homonyms, kinds of a finding, places, superlatives."""

from __future__ import annotations

import re
from collections.abc import Collection
from functools import cache

from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.plain_text import WORD, simplified
from medrega_edge.vocabulary.wording_table import table


def as_nouns(text: str) -> str:
    """Replace adjectives of organs by the organs: "renal" by "kidney"."""
    adjectives: dict[str, str] = table()["adjectives"]
    return WORD.sub(lambda match: adjectives.get(match.group(), match.group()), text)


def without_homonyms(text: str, modality: str | None = None) -> str:
    """Remove Chinese words that hold the name of another organ, as "fundus" holds "eye"; write out what context decides.

    The kind of image is context, too: "the head" of an ultrasound image is that of the fetus.
    """
    for pattern, full in _homonym_patterns(modality or ""):
        text = pattern.sub(full, text)
    return text


@cache
def _homonym_patterns(modality: str) -> list[tuple[re.Pattern[str], str]]:
    """Patterns, and what takes the place of what they match, in the order in which they are tried."""
    of_kind = table()["in_modality"].get(modality, {})
    replaced = (*of_kind.items(), *table()["in_context"].items(), *((word, " ") for word in table()["not_names"]))
    return [(re.compile(short), full) for short, full in replaced]


def superlative(text: str) -> bool | None:
    """Whether a text asks for the largest of several, rather than the smallest; None where it asks for neither."""
    plain = simplified(text)
    if re.search(r"\b(?:biggest|largest|longest)\b|最[大长]的?(?!.{0,3}(?:直径|径|长度))", plain):
        return True
    return False if re.search(r"\b(?:smallest|tiniest)\b|最小的?(?!.{0,3}径)", plain) else None


def kind_left_out(text: str, labels: Collection[str]) -> tuple[str, str] | None:
    """Return what a text says of a finding beyond its label, and that English label; None where it says no more.

    That is the name of one kind of such findings, "glioblastoma" of a glioma, or a word for one, "flat" of a polyp.
    """
    if kind := narrower_kind(text, labels):
        return kind
    findings = [label for label in labels if is_finding(label)]
    qualifier = next((word for word in qualifiers(text) if not any(word in label for label in findings)), None)
    return (qualifier, findings[0]) if findings and qualifier else None


def narrower_kind(text: str, labels: Collection[str]) -> tuple[str, str] | None:
    """Return the name of one kind of what a label holds, "glioblastoma", and that English label; None without one."""
    plain = simplified(text).replace("naev", "nev")
    words_of_text = f" {' '.join(re.findall(r'[a-z0-9]+', plain))} "
    for label in labels:
        for word in table()["narrower"].get(label, ()):
            if f" {word} " in words_of_text if word.isascii() else word in plain:
                return word, label
    return None


def places_in(plain: str) -> list[re.Match[str]]:
    """Find what a plain text says of places within a structure or a picture, "upper pole", "2 o'clock", "第三节".

    A group of a match, where it has one, is the word that tells it.
    """
    return list(_places().finditer(plain))


@cache
def _places() -> re.Pattern[str]:
    return re.compile("|".join(table()["places"]))


def qualifiers(text: str) -> list[str]:
    """Return the words of a text for one kind of any finding: "displaced", "陈旧"."""
    plain, words = simplified(text), table()["qualifiers"]
    said = f" {' '.join(re.findall(r'[a-z0-9]+', plain))} "
    return [word for word in words["en"] if f" {word} " in said] + [word for word in words["zh"] if word in plain]


def names_cancer(text: str) -> bool:
    """Whether a text speaks of cancer, which a box of a lesion is no proof of."""
    plain = re.sub("[动血]脉?管?瘤", " ", simplified(text))  # an aneurysm is none
    return any(word in plain for word in table()["cancer_words"])


# An outline has an area, a box has none.
AREA = re.compile(r"\barea\b|\bsquare\b|\b[cm]m ?(?:\^ ?)?[2²]|面积|平方", re.IGNORECASE)
