"""Where a finding is: the labels of "tumour" in a kidney, the findings of an organ."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection

from medrega_edge.vocabulary.wording_table import table

_MANY_PARTS = 6  # structures of a site from which on each is a part of an organ


def site_words() -> list[str]:
    """All words for where a finding is."""
    return [word for site in table()["sites"].values() for word in site["words"]]


def site_labels(key: str, structures: Collection[str], text: str) -> list[str]:
    """Return the labels of a generic word's key at a site: one that `structures` belong to, or whose word is in the text.

    Of several sites the one with the longest word counts: "骨头" holds "头".
    """
    is_in, found = _word_in(text.replace("肾上腺", " ").replace("adrenal", " ")), []
    for site in table()["sites"].values():
        words = [word for word in site["words"] if is_in(word)]
        is_structure = any(one in site["structures"] for one in structures)
        labels = next((labels for keys, labels in site["labels"].items() if key in keys.split()), None)
        if labels and (words or is_structure):
            found.append((is_structure, max(map(len, words), default=0), labels))
    return list(max(found, key=lambda site: site[:2])[2]) if found else []


def is_part(label: str) -> bool:
    """Whether an English label is one of many parts whose findings have the labels of the whole: the thalamus, a rib."""
    stem = label.removeprefix("left ").removeprefix("right ")
    return any(stem in site["structures"] and len(site["structures"]) >= _MANY_PARTS for site in table()["sites"].values())


def findings_at(structures: Collection[str]) -> set[str]:
    """Return the English labels of findings of structures, which are English labels too."""
    stems = {one.removeprefix("left ").removeprefix("right ") for one in structures}
    sites = [site for site in table()["sites"].values() if stems & set(site["structures"])]
    return {label for site in sites for labels in site["labels"].values() for label in labels}


def _word_in(text: str) -> Callable[[str], bool]:
    words = f" {' '.join(re.findall(r'[a-z0-9]+', text))}"
    return lambda word: f" {word}" in words if word.isascii() else word in text
