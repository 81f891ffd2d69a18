"""How many questions like a given one the weights were trained on: where there were few, an answer in words is a guess.

Two questions are alike from a cosine similarity of their words on, each weighted by how rare it is (tf-idf; Salton and
Buckley, 1988). Chinese has pairs of characters for words.
"""

from __future__ import annotations

import math
import re
from collections import Counter, defaultdict
from collections.abc import Mapping

from medrega_edge.errors import PackageError
from medrega_edge.io.strict_json import JsonFault, load_json
from medrega_edge.vocabulary.plain_text import simplified

_WORDS = re.compile(r"[a-z0-9]+|[\u3400-\u9fff]+")


class FamiliarQuestions:
    """Questions of the training data, with how many images each was asked about."""

    def __init__(self, counts: Mapping[str, int]) -> None:
        """Index the questions by their words."""
        documents = [(_words(question), count) for question, count in counts.items()]
        self._frequency = Counter(word for words, _ in documents for word in words)
        self._questions = len(documents)
        self._counts = [count for _, count in documents]
        self._holding: dict[str, list[tuple[int, float]]] = defaultdict(list)  # word -> questions with its weight
        for place, (words, _) in enumerate(documents):
            for word, weight in self._weights(words).items():
                self._holding[word].append((place, weight))

    @classmethod
    def from_json(cls, text: str, file: str) -> FamiliarQuestions:
        """Read a package's file, an object of questions and their counts; raises PackageError."""
        try:
            counts = load_json(text)
        except JsonFault as fault:
            raise fault.package_error(file) from None
        if not isinstance(counts, dict) or not all(type(count) is int and count > 0 for count in counts.values()):
            raise PackageError("package.not_json", file=file)
        return cls(counts)

    def support(self, question: str, similarity: float) -> int:
        """Return the number of images about which a question was asked that is at least so similar."""
        similarities: dict[int, float] = defaultdict(float)
        for word, weight in self._weights(_words(question)).items():
            for place, other in self._holding.get(word, ()):
                similarities[place] += weight * other
        return sum(self._counts[place] for place, found in similarities.items() if found >= similarity)

    def _weights(self, words: frozenset[str]) -> dict[str, float]:
        """Return the weight of each word: together, squared, they are 1."""
        weights = {word: math.log((self._questions + 1) / (self._frequency[word] + 0.5)) for word in words}
        length = math.sqrt(math.fsum(weight * weight for weight in weights.values())) or 1.0
        return {word: weight / length for word, weight in weights.items()}


def _words(question: str) -> frozenset[str]:
    words: list[str] = []
    for run in _WORDS.findall(simplified(question)):
        words += [run] if run.isascii() or len(run) == 1 else [run[place : place + 2] for place in range(len(run) - 1)]
    return frozenset(words)
