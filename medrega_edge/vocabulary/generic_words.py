"""Generic words ("tumour", "病灶"), which stand for the labels that a modality can show, and names that no label has."""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cache, lru_cache

from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.phrase_index import PhraseIndex, index_of_names
from medrega_edge.vocabulary.plain_text import HAN
from medrega_edge.vocabulary.wording_table import table

MARK = "\0"  # in the place of a name
UNKNOWN = "\1"  # in the place of a name that no label has


@dataclass(frozen=True)
class Generic:
    """A generic word in a text, its key in the table, and the English labels that it stands for in a modality."""

    word: str
    key: str
    labels: tuple[str, ...]


def generic_words(
    text: str, modality: str | None, spans: Callable[[str], Sequence[tuple[int, int]]] | None = None
) -> tuple[str, list[Generic]]:
    """Replace generic words in a normalised text by a mark, longest first.

    Without a modality, or for one that shows none of the labels, a word stands for no label. With `spans`, which gives the
    places of names, only words for the parts of an object are replaced, which may hold a name, "lumbar vertebrae", but none
    inside a name.
    """
    found: list[Generic] = []
    for word, key, labels in _generic_entries_in(text):
        if word not in text or (spans and not ("any" in labels or " " in word)):  # a longer one may have held it
            continue
        pattern = _generic_pattern(word)
        match = pattern.search(text)
        if match is None or not _may_stand_alone(text[: match.start()], word):
            continue
        if spans and any(start <= match.start() and match.end() <= end for start, end in spans(text)):
            continue
        text = pattern.sub(MARK, text)
        found.append(Generic(word, key, tuple(labels.get("any") or labels.get(modality or "", ()))))
    return text, found


@cache
def _generic_entries() -> list[tuple[str, str, Mapping[str, Sequence[str]]]]:
    """Word, key and labels by modality, the longest word first."""
    generic = table()["generic"].items()
    entries = [(word, key, entry["labels"]) for key, entry in generic for word in entry["words"]]
    return sorted(entries, key=lambda entry: -len(entry[0]))


@lru_cache(maxsize=64)  # each step of a question asks about the same words
def _generic_entries_in(text: str) -> list[tuple[str, str, Mapping[str, Sequence[str]]]]:
    return [entry for entry in _generic_entries() if entry[0] in text]


@cache
def _generic_pattern(word: str) -> re.Pattern[str]:
    end = table()["not_before"].get(word, "")  # a section, "断面", is no break
    return re.compile(rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" if word.isascii() else re.escape(word) + end)


def is_finding_word(key: str) -> bool:
    """Whether a generic word, by its key, stands for findings only: "stone", not "ventricles"."""
    return all(is_finding(label) for labels in table()["generic"][key]["labels"].values() for label in labels)


def generic_labels(word: str) -> frozenset[str]:
    """Return the English labels that a generic word may stand for, in any kind of image."""
    entries = [entry for entry in table()["generic"].values() if word in entry["words"]]
    tables = [labels for entry in entries for labels in (entry["labels"], entry.get("also", {}))]
    return frozenset(label for labels in tables for each in labels.values() for label in each)


def generic_key(word: str) -> str:
    """Return the key of a generic word, the first of its entry; the word itself where it has none."""
    return next((key for key, entry in table()["generic"].items() if word in entry["words"]), word)


def generic_texts() -> list[str]:
    """All generic words."""
    return [word for entry in table()["generic"].values() for word in entry["words"]]


def unknown_names() -> list[str]:
    """All names of the field that no label may have."""
    names: list[str] = table()["unknown"]
    return names


def _may_stand_alone(before: str, word: str) -> bool:
    """Whether a generic word is none that is part of another one: only a single Chinese character needs a look."""
    before = before.rstrip()
    if len(word) > 1 or not before or not HAN.match(before[-1]):
        return not before.endswith("-")
    return before[-1] in table()["before_generic_zh"]


def _unknown_pattern(text: str) -> re.Pattern[str]:
    """A pattern of what a text holds of names that no label has, and of generic words with a site that no label has."""
    names = _unknown_index().within(text)
    generic = [word for word in _longest_generic_first() if word in text]
    sites = [site for site in table()["unknown_sites"] if site in text]
    english, chinese = ([word for word in generic if word.isascii() is ascii] for ascii in (True, False))
    sites_en, sites_zh = ([site for site in sites if site.isascii() is ascii] for ascii in (True, False))
    patterns = [
        rf"(?<![a-z0-9])(?:{_any(sites_en)}) (?:{_any(english)})(?![a-z0-9])",
        rf"(?:{_any(sites_zh)})(?:里的|内的|上的|的)?(?:{_any(chinese)})",
        rf"(?<![a-z0-9])(?:{_any([name for name in names if name.isascii()])})(?:e?s)?(?![a-z0-9])",
        _any([name for name in names if not name.isascii()]),
    ]
    return re.compile("|".join(patterns))


@cache
def _longest_generic_first() -> list[str]:
    return sorted(generic_texts(), key=len, reverse=True)


@cache
def _unknown_index() -> PhraseIndex:
    """The names of the field that no label may have, the longest first."""
    return index_of_names(unknown_names())


def _any(texts: Sequence[str]) -> str:
    return "|".join(map(re.escape, texts)) or "(?!)"


def without_unknown_names(text: str, spans: Callable[[str], Sequence[tuple[int, int]]]) -> tuple[str, list[str]]:
    """Replace names of the field that no label has by a mark, but for those inside a name: `spans` gives their places.

    Returns the text and what was replaced.
    """
    known = spans(text)
    replaced: list[str] = []

    def replace(match: re.Match[str]) -> str:
        start, end = match.span()
        if any(one <= start and end <= other for one, other in known):
            return match.group()
        replaced.append(match.group())
        return UNKNOWN

    return _unknown_pattern(text).sub(replace, text), replaced


def may_be_finding(name: str) -> bool:
    """Whether a name that no label has sounds like a finding, not a structure."""
    return _finding_stems().search(name) is not None


@cache
def _finding_stems() -> re.Pattern[str]:
    return re.compile("|".join(f"(?:{stem})" for stem in table()["unknown_findings"]))
