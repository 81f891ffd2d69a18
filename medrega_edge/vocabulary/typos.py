"""Slips of people who type: spellings and typos of English words, Chinese characters that sound or look like others."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Collection, Sequence
from functools import cache, lru_cache
from importlib.resources import files

from medrega_edge.vocabulary.plain_text import HAN, WORD
from medrega_edge.vocabulary.wording_table import table

_SHORTEST_TYPO, _SHORT, _LONG = 4, 5, 8  # letters


def corrected(text: str, known: frozenset[str], right: Collection[str] = ()) -> tuple[str, dict[str, str]]:
    """Replace spellings, irregular plurals and typos of English words by `known` words; those that are `right` stay.

    Returns the text and the typos, with what replaced them.
    """
    words = table()
    typos: dict[str, str] = {}

    def replace(match: re.Match[str]) -> str:
        if slip := words["slips"].get(match.group()):
            typos[match.group()] = slip
            return str(slip)
        word: str = words["spellings"].get(match.group(), match.group())
        word = word if word in known else words["plurals"].get(word, word)
        if word in known or word != match.group() or word in right or word in words["no_typos"]:
            return word
        candidates = _by_first_letter(known).get(word[0], ())
        near = sorted((distance, one) for one in candidates if (distance := _slips(word, one)) is not None)
        closest = [one for distance, one in near if distance == near[0][0]]
        stems = {str(words["plurals"].get(one) or words["spellings"].get(one) or one) for one in closest}
        meant = sorted(stems, key=lambda stem: (len(stem), stem))  # a set has another order in each process
        if not meant or (len(word) < _LONG and not all(one.startswith(meant[0]) for one in meant)):
            return word  # it may be either of two
        typos[word] = meant[-1] if len(word) > len(meant[0]) else meant[0]
        return typos[word]

    return WORD.sub(replace, text), typos


@lru_cache(maxsize=4)
def _by_first_letter(known: frozenset[str]) -> dict[str, list[str]]:
    """The words that a typed one may stand for: the first letter is seldom wrong."""
    words: dict[str, list[str]] = {}
    for one in (*known, *table()["plurals"], *table()["spellings"]):
        words.setdefault(one[0], []).append(one)
    return words


@cache
def _edit_distance() -> Callable[..., int]:
    from rapidfuzz.distance import OSA  # 10 ms, and only for a word that is unknown

    return OSA.distance


def _slips(word: str, other: str) -> int | None:
    """Number of slips between a typed word and a known one of that first letter; None: too many for one word's typo."""
    length = len(word)
    if length < _SHORTEST_TYPO or abs(length - len(other)) > 1 + (length >= _LONG):
        return None
    distance = _edit_distance()(word, other, score_cutoff=2)
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


@cache
def _lookalikes() -> dict[str, set[str]]:
    alike: dict[str, set[str]] = {}
    for group in table()["lookalikes"].split():
        for character in group:
            alike.setdefault(character, set()).update(group)
    return alike


_COUNTED_ZH = {"哪个", "这个", "那个", "每个", "几个", "一个", "某个"}


def _is_counter(run: str, place: int) -> bool:
    """Whether a counter stands there behind its word: "在哪个部位" has no 各."""
    return place > 0 and run[place - 1 : place + 1] in _COUNTED_ZH


class Hearing:
    """Chinese phrases, to be found behind slips of an input method: what sounds like one, or looks like one."""

    def __init__(self, written: Collection[str], phrases: Sequence[str]) -> None:
        """Take the phrases, of two characters or more, the most important last; what is `written` right stays."""
        self._written = frozenset(written)
        self._longest_written = max(map(len, written), default=0)
        self._by_sound = {sound(phrase): phrase for phrase in phrases}
        self._ranks = {phrase: rank for rank, phrase in enumerate(phrases)}
        self._longest = max(map(len, phrases), default=0)

    def corrected(self, text: str) -> str:
        """Replace slips by the phrases, the longest first."""
        return HAN.sub(lambda match: self._run(match.group()), text)

    def _run(self, run: str) -> str:
        place, pieces = 0, ""
        while place < len(run):
            if end := self._end_of_written(run, place):
                pieces, place = pieces + run[place:end], end
                continue
            for length in range(min(self._longest, len(run) - place), 1, -1):
                phrase = self._meant(run[place : place + length])
                if phrase and not (self._cuts_a_word(run, place, place + length) or _is_counter(run, place)):
                    pieces, place = pieces + phrase, place + length
                    break
            else:
                pieces, place = pieces + run[place], place + 1
        return pieces

    def _cuts_a_word(self, run: str, start: int, end: int) -> bool:
        """Whether a phrase that is well written begins inside and ends behind."""
        return any(self._end_of_written(run, at) > end for at in range(start + 1, end))

    def _end_of_written(self, run: str, place: int) -> int:
        """Where the longest phrase ends that is well written at a place; 0 if there is none."""
        longest = min(place + self._longest_written, len(run))
        return next((end for end in range(longest, place + 1, -1) if run[place:end] in self._written), 0)

    def _meant(self, typed: str) -> str | None:
        phrase = self._by_sound.get(sound(typed))
        if phrase and _is_slip(typed, phrase):
            return phrase
        for place, character in enumerate(typed):
            before, after = typed[:place], typed[place + 1 :]
            if any(f"{before}{alike}{after}" in self._ranks for alike in _lookalikes().get(character, ())):
                # Of all phrases that differ there only, one that is more important is meant, or none.
                fitting = [
                    p for p in self._ranks if len(p) == len(typed) and p[:place] == before and p[place + 1 :] == after
                ]
                meant = max(fitting, key=self._ranks.__getitem__)
                if meant[place] in _lookalikes()[character]:
                    return meant
        return None


def _is_slip(typed: str, meant: str) -> bool:
    """Whether half of the characters are right, or only their order is wrong: else the sound is chance."""
    same = sum(one == other for one, other in zip(typed, meant, strict=True))
    return 2 * same >= len(meant) or sorted(typed) == sorted(meant)


def common_words() -> list[str]:
    """Chinese words of every day, which are no slips of names that sound like them."""
    words: list[str] = table()["common_zh"]
    return words


def typed_sound(text: str) -> str:
    """Return syllables in Latin letters as `sound` writes them, joined."""
    for long, short in (("zh", "z"), ("ch", "c"), ("sh", "s")):
        text = text.replace(long, short)
    return re.sub(r"(?<=[aeio])ng", "n", text)


@cache
def ordinary_words() -> frozenset[str]:
    """English words of every day."""
    return frozenset(table()["no_typos"])


def nearest(word: str, names: Collection[str], count: int = 3) -> list[str]:
    """Return the names that resemble an unknown one most, the nearest first."""
    from rapidfuzz import fuzz, process

    found = process.extract(word, names, scorer=fuzz.WRatio, limit=count, score_cutoff=75.0)
    return [str(name) for name, _, _ in found]
