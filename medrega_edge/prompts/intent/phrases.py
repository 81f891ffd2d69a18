"""The phrases of `frames.json`: whether one of a kind is in a text.

A phrase is a text of plain words; `*` stands for up to four words, in Chinese for six characters, `#` for a name, `^` and
`$` for the start and the end, `<part>` for a word of that class.
"""

from __future__ import annotations

import json
import re
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

from medrega_edge.vocabulary.generic_words import MARK
from medrega_edge.vocabulary.phrase_index import START, PhraseIndex

_CLASS = re.compile(r"<(\w+)>")
_SIGNS = str.maketrans("*#^$", "    ")
_FIRST = re.compile(rf"[*#^$ ]*([^*#^$ <]{{0,{START}}})")


@cache
def table() -> dict[str, Any]:
    """Return the phrases by kind."""
    frames: dict[str, Any] = json.loads(
        files("medrega_edge.prompts.intent").joinpath("frames.json").read_text(encoding="utf-8")
    )
    return frames


@cache
def _index(kind: str, part: str) -> PhraseIndex:
    frames = table()[kind]
    phrases: list[str] = frames[part] if part else frames
    return PhraseIndex(sorted(phrases, key=len, reverse=True), _first_letters, _literals)


def _first_letters(phrase: str) -> str:
    """The first letters that a phrase holds, up to a gap, a class or a mark; none where it starts with a class."""
    found = _FIRST.match(phrase)
    return found[1] if found else ""


def _literals(phrase: str) -> list[str]:
    """The texts that a phrase holds between its gaps, classes and marks."""
    return (_CLASS.sub(" ", phrase) if "<" in phrase else phrase).translate(_SIGNS).split()


def has(kind: str, text: str, part: str = "", start: int | None = None) -> bool:
    """Whether a phrase of a kind is in a text, or with `start` begins there."""
    for phrase in _index(kind, part).within(text):
        one = _compiled(phrase)
        if (one.search(text) if start is None else one.match(text, start)) is not None:
            return True
    return False


def pattern(kind: str, text: str) -> re.Pattern[str]:
    """A pattern of the phrases of a kind that can be in a text, the longest first."""
    return _compiled_together(_index(kind, "").within(text))


@lru_cache(maxsize=1024)
def _compiled_together(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_as_pattern, phrases)) or r"(?!)")


@cache
def _compiled(phrase: str) -> re.Pattern[str]:
    return re.compile(_as_pattern(phrase))


def _as_pattern(phrase: str) -> str:
    if not _CLASS.sub("", phrase).isascii():
        return ".{0,6}?".join(_as_piece(piece) for piece in phrase.split("*"))
    words = [r"(?:\S+ ){0,4}?" if word == "*" else _as_piece(word) + " " for word in phrase.split()]
    joined = "".join(words).rstrip().replace("^ ", "^").replace(" $", "$")
    return rf"(?<![a-z0-9]){joined}(?![a-z0-9])"


def _as_piece(text: str) -> str:
    """A pattern of a phrase without gaps."""
    pieces = []
    for place, piece in enumerate(_CLASS.split(text)):
        if place % 2:
            words = sorted(table()["classes"][piece], key=len, reverse=True)
            pieces.append(f"(?:{'|'.join(map(re.escape, words))})")
        else:
            pieces.append("".join({"#": MARK, "^": "^", "$": "$"}.get(sign, re.escape(sign)) for sign in piece))
    return "".join(pieces)


@cache
def cue_words() -> set[str]:
    """English words of all phrases: they are no typos of names."""
    return set(re.findall(r"[a-z0-9-]+", " ".join(texts_of(table()))))


def texts_of(value: Any) -> list[str]:
    """All phrases of a part of the table."""
    if isinstance(value, str):
        return [value]
    return [text for inner in (value.values() if isinstance(value, dict) else value) for text in texts_of(inner)]


def without_fillers(said: str) -> str:
    """Return what is left of a text without names and the words around them."""
    return " ".join(pattern("fillers", said).sub(" ", said).replace(MARK, " ").split())
