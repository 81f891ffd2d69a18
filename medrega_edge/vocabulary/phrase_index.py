"""Which of thousands of phrases can be in a text, without splitting, or compiling, all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from functools import lru_cache

START = 3  # letters of its first needed text by which a phrase is found


class PhraseIndex:
    """Phrases, with the literal texts that each needs; a phrase that starts with none can be anywhere.

    Phrases of ASCII and others are indexed apart, when they are first asked for: an English question needs no Chinese ones.
    """

    def __init__(self, phrases: Iterable[str], first: Callable[[str], str], needed: Callable[[str], Sequence[str]]) -> None:
        """Take phrases in the order in which `within` returns them.

        `first` returns up to `START` letters that a text with the phrase holds, and is called for each phrase; `needed`
        returns all of its literal texts, and is called for the few that a text may hold.
        """
        self._first = first
        self._needed = lru_cache(maxsize=4096)(needed)
        self._ranked: dict[bool, list[tuple[int, str]]] = {True: [], False: []}  # by whether a phrase is ASCII
        for rank, phrase in enumerate(phrases):
            self._ranked[phrase.isascii()].append((rank, phrase))
        self._tables: dict[bool, dict[str, list[tuple[int, str]]]] = {}
        self.within = lru_cache(maxsize=64)(self._within)  # each step of a question asks about the same words

    def _table(self, is_ascii: bool) -> dict[str, list[tuple[int, str]]]:
        if is_ascii not in self._tables:
            table = self._tables[is_ascii] = defaultdict(list)
            for ranked in self._ranked[is_ascii]:
                table[self._first(ranked[1])].append(ranked)
        return self._tables[is_ascii]

    def _within(self, text: str) -> tuple[str, ...]:
        """Return the phrases whose needed texts are all in `text`."""
        found: list[tuple[int, str]] = []
        for table in map(self._table, (True,) if text.isascii() else (True, False)):
            for start in _starts(text) & table.keys():
                for ranked in table[start]:
                    for each in self._needed(ranked[1]):
                        if each not in text:
                            break
                    else:
                        found.append(ranked)
        return tuple(phrase for _, phrase in sorted(found))


@lru_cache(maxsize=64)  # a question goes through dozens of indices
def _starts(text: str) -> frozenset[str]:
    """Return all pieces of a text that are as long as the first letters of a phrase may be."""
    return frozenset(("", *(text[place : place + size] for size in range(1, START + 1) for place in range(len(text)))))


def index_of_names(names: Iterable[str]) -> PhraseIndex:
    """An index of names, which hold nothing but words; the longest first."""
    return PhraseIndex(sorted(names, key=len, reverse=True), lambda name: name.split(" ", 1)[0][:START], str.split)
