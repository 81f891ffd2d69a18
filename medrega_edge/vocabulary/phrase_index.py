"""Which of thousands of phrases can be in a text, without trying, or compiling, all of them."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from functools import lru_cache

_START = 3  # letters of its longest needed text by which a phrase is found


class PhraseIndex:
    """Phrases with the literal texts that each needs; a phrase that needs none can be anywhere."""

    def __init__(self, phrases: Iterable[tuple[str, Sequence[str]]]) -> None:
        """Take phrases in the order in which `within` returns them."""
        self._by_start: dict[str, list[tuple[int, str, Sequence[str]]]] = defaultdict(list)
        for rank, (phrase, needed) in enumerate(phrases):
            self._by_start[max(needed, key=len, default="")[:_START]].append((rank, phrase, needed))
        self.within = lru_cache(maxsize=64)(self._within)  # each step of a question asks about the same words

    def _within(self, text: str) -> tuple[str, ...]:
        """Return the phrases whose needed texts are all in `text`."""
        starts = {"", *(text[place : place + size] for size in range(1, _START + 1) for place in range(len(text)))}
        found = [
            (rank, phrase)
            for start in starts & self._by_start.keys()
            for rank, phrase, needed in self._by_start[start]
            if all(each in text for each in needed)
        ]
        return tuple(phrase for _, phrase in sorted(found))
