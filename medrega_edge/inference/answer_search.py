"""The most probable of many known answers, without walking all of them.

The answers are a prefix tree of token ids. Its nodes are visited by their probability, each for one forward pass, until no
answer can overtake the best one. Spellings of one answer ("yes", "Yes") add their probabilities.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from itertools import count

import numpy as np
import numpy.typing as npt

MAX_PASSES = 64  # where no answer stands out; a sure one takes two or three


@dataclass
class _Node:
    """`children` by token; `answer` is the index of the answer that may end here, None if none may."""

    children: dict[int, _Node] = field(default_factory=dict)
    answer: int | None = None


@dataclass(frozen=True)
class Found:
    """Index of the answer, and its probability among all answers: of all its spellings together, at least so much."""

    answer: int
    probability: float


class AnswerTree:
    """A prefix tree of answers: their token ids, none empty, and a key that spellings of the same answer share."""

    def __init__(self, answers: Sequence[Sequence[int]], keys: Sequence[str], end: int) -> None:
        """`end` is the token that ends an answer."""
        self._keys, self._end = keys, end
        self._root = _Node()
        for index, tokens in enumerate(answers):
            node = self._root
            for token in tokens:
                node = node.children.setdefault(token, _Node())
            node.answer = index if node.answer is None else node.answer

    def search(self, read: Callable[[Sequence[int]], npt.NDArray[np.float32]]) -> Found:
        """Return the most probable answer. `read` returns the logits `[vocabulary]` that follow an answer's first tokens."""
        masses: dict[str, float] = {}  # of the answers that have been reached, by key
        spellings: dict[str, tuple[float, int]] = {}  # the most probable one of each
        order = count()  # equal probabilities: first come, first served
        waiting: list[tuple[float, int, tuple[int, ...], _Node]] = [(-1.0, next(order), (), self._root)]
        passes = 0
        while waiting and not (masses and (passes >= MAX_PASSES or self._is_decided(masses, waiting))):
            negative, _, path, node = heapq.heappop(waiting)
            if len(node.children) + (node.answer is not None) > 1:
                shares = self._shares(read(path), node)
                passes += 1
            else:
                shares = dict.fromkeys([*node.children, *([] if node.answer is None else [self._end])], 1.0)
            for token, share in shares.items():
                probability = -negative * share
                if token in node.children:
                    heapq.heappush(waiting, (-probability, next(order), (*path, token), node.children[token]))
                    continue
                assert node.answer is not None
                key = self._keys[node.answer]
                masses[key] = masses.get(key, 0.0) + probability
                spellings[key] = max(spellings.get(key, (0.0, 0)), (probability, node.answer))
        best = max(masses, key=lambda key: masses[key])
        return Found(spellings[best][1], masses[best])

    def _shares(self, logits: npt.NDArray[np.float32], node: _Node) -> dict[int, float]:
        """Softmax over the tokens that may follow."""
        tokens = [*node.children, *([] if node.answer is None else [self._end])]
        scores = logits[tokens].tolist()
        highest = max(scores)
        weights = [math.exp(score - highest) for score in scores]
        total = math.fsum(weights)
        return {token: weight / total for token, weight in zip(tokens, weights, strict=True)}

    @staticmethod
    def _is_decided(masses: dict[str, float], waiting: Sequence[tuple[float, int, tuple[int, ...], _Node]]) -> bool:
        """Whether the best answer stays the best, whatever is left goes to another one."""
        best, second = [*sorted(masses.values(), reverse=True), 0.0][:2]
        return best >= second + math.fsum(-negative for negative, *_ in waiting)
