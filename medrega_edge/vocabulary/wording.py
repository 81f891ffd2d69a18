"""A question as people type it -> the wording of the tables: one script, one spelling, singular names, few typos.

Generic words ("tumour", "lesion", "病灶") stand for the labels that a modality can show.
"""

from __future__ import annotations

import json
import re
import unicodedata
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from functools import cache
from importlib.resources import files
from typing import Any

from rapidfuzz import fuzz, process
from rapidfuzz.distance import OSA

_WORD = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")
MARK = "\0"  # in the place of a name
_SHORTEST_TYPO, _SHORT, _LONG = 4, 5, 8  # letters
_HAN = re.compile(r"[\u3400-\u9fff]+")


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("medrega_edge.vocabulary").joinpath("wording.json").read_text(encoding="utf-8"))
    pairs = table["traditional"]
    table["traditional"] = {ord(old): new for old, new in zip(pairs[::2], pairs[1::2], strict=True)}
    return table


def simplified(text: str) -> str:
    """Return a text in full-width-free lower case and simplified characters, as far as the terms need them."""
    return unicodedata.normalize("NFKC", text).casefold().translate(_table()["traditional"])


def corrected(text: str, known: Collection[str]) -> tuple[str, dict[str, str]]:
    """Replace spellings, irregular plurals and typos of English words by `known` words.

    Returns the text and the typos, with what replaced them.
    """
    table = _table()
    typos: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        word: str = table["spellings"].get(match.group(), match.group())
        word = word if word in known else table["plurals"].get(word, word)
        if word in known or word != match.group() or word in table["no_typos"]:
            return word
        candidates = (*known, *table["plurals"], *table["spellings"])
        near = sorted((distance, one) for one in candidates if (distance := _slips(word, one)) is not None)
        if not near or (len(near) > 1 and near[0][0] == near[1][0] and len(word) < _LONG):
            return word  # it may be either of two
        meant = table["plurals"].get(near[0][1]) or table["spellings"].get(near[0][1]) or near[0][1]
        typos[word] = meant
        return str(meant)

    return _WORD.sub(replace, text), typos


def _slips(word: str, other: str) -> int | None:
    """Number of slips between a typed word and a known one; None where they are too many for one word's typo."""
    length = len(word)
    if length < _SHORTEST_TYPO or abs(length - len(other)) > 1 + (length >= _LONG) or word[0] != other[0]:
        return None  # the first letter is seldom wrong
    distance = OSA.distance(word, other, score_cutoff=2)
    if distance > (2 if length >= _LONG else 1):
        return None
    # In a short word another letter is another word; a missing, doubled or swapped one is a typo.
    is_letter_changed = len(other) == length and sorted(word) != sorted(other)
    return None if length <= _SHORT and is_letter_changed else distance


@cache
def _syllables() -> dict[str, str]:
    """Character -> syllable without tone, and without what many speakers do not tell apart."""
    table = json.loads(files("medrega_edge.vocabulary").joinpath("pinyin.json").read_text(encoding="utf-8"))
    return {
        character: syllable.replace("zh", "z").replace("ch", "c").replace("sh", "s").removesuffix("g")
        for syllable, characters in table.items()
        for character in characters
    }


def sound(text: str) -> tuple[str, ...]:
    """Return how Chinese characters sound; a character that the table lacks stands for itself."""
    return tuple(_syllables().get(character, character) for character in text)


def heard(text: str, exact: re.Pattern[str], phrases: Mapping[tuple[str, ...], str]) -> str:
    """Replace what sounds like a phrase, the longest first, by the phrase: slips of an input method.

    What `exact` matches stays. `phrases` are by their sound; none is shorter than two characters.
    """
    longest = max(map(len, phrases), default=0)

    def replace(match: re.Match[str]) -> str:
        run, place, pieces = match.group(), 0, ""
        sounds = sound(run)
        while place < len(run):
            if kept := exact.match(run, place):
                pieces, place = pieces + kept.group(), kept.end()
                continue
            for length in range(min(longest, len(run) - place), 1, -1):
                phrase = phrases.get(sounds[place : place + length])
                if phrase and _is_slip(run[place : place + length], phrase):
                    pieces, place = pieces + phrase, place + length
                    break
            else:
                pieces, place = pieces + run[place], place + 1
        return pieces

    return _HAN.sub(replace, text)


def _is_slip(typed: str, meant: str) -> bool:
    """Whether half of the characters are right, or only their order is wrong: else the sound is chance."""
    same = sum(one == other for one, other in zip(typed, meant, strict=True))
    return 2 * same >= len(meant) or sorted(typed) == sorted(meant)


def common_words() -> list[str]:
    """Chinese words of every day, which are no slips of names that sound like them."""
    words: list[str] = _table()["common_zh"]
    return words


def typed_sound(text: str) -> str:
    """Return syllables in Latin letters as `sound` writes them, joined."""
    for long, short in (("zh", "z"), ("ch", "c"), ("sh", "s")):
        text = text.replace(long, short)
    return re.sub(r"(?<=[aeio])ng", "n", text)


def as_nouns(text: str) -> str:
    """Replace adjectives of organs by the organs: "renal" by "kidney"."""
    adjectives: dict[str, str] = _table()["adjectives"]
    return _WORD.sub(lambda match: adjectives.get(match.group(), match.group()), text)


def without_homonyms(text: str) -> str:
    """Remove Chinese words that hold the name of another organ, as "fundus" holds "eye"."""
    for word in _table()["not_names"]:
        text = re.sub(word, " ", text)
    return text


def names_cancer(text: str) -> bool:
    """Whether a text speaks of cancer, which a box of a lesion is no proof of."""
    plain = simplified(text)
    return any(word in plain for word in _table()["cancer_words"])


def is_finding(label: str) -> bool:
    """Whether an English label is something that should not be there: a lesion, not a structure."""
    return any(word in label.casefold() for word in _table()["finding_words"])


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

    A word behind another content word is none: "optic nerve" is no nerve. Without a modality, or for one that shows none of
    the labels, a word stands for no label. With `spans`, which gives the places of names, only words for the parts of an
    object are replaced, which may hold a name, "lumbar vertebrae", but none inside a name.
    """
    found: list[Generic] = []
    entries = [(word, key, entry["labels"]) for key, entry in _table()["generic"].items() for word in entry["words"]]
    for word, key, labels in sorted(entries, key=lambda entry: -len(entry[0])):
        if spans and not ("any" in labels or " " in word):
            continue
        pattern = rf"(?<![a-z0-9]){re.escape(word)}(?![a-z0-9])" if word.isascii() else re.escape(word)
        match = re.search(pattern, text)
        if match is None or not _may_stand_alone(text[: match.start()]):
            continue
        if spans and any(start <= match.start() and match.end() <= end for start, end in spans(text)):
            continue
        text = re.sub(pattern, MARK, text)
        found.append(Generic(word, key, tuple(labels.get("any") or labels.get(modality or "", ()))))
    return text, found


def generic_texts() -> list[str]:
    """All generic words."""
    return [word for entry in _table()["generic"].values() for word in entry["words"]]


def _may_stand_alone(before: str) -> bool:
    before = before.rstrip()
    if not before or not (before[-1].isalnum() or before[-1] == "_"):
        return True
    if _HAN.match(before[-1]):
        return before[-1] in _table()["before_generic_zh"]
    return re.findall(r"[a-z0-9']+", before)[-1] in _table()["before_generic"] if re.search(r"[a-z0-9']", before) else True


def nearest(word: str, names: Collection[str], count: int = 3) -> list[str]:
    """Return the names that resemble an unknown one most, the nearest first."""
    found = process.extract(word, names, scorer=fuzz.WRatio, limit=count, score_cutoff=75.0)
    return [str(name) for name, _, _ in found]
