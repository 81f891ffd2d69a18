"""Logits -> token ids: greedy, under a grammar, with forced tokens fed together.

Deterministic: the largest logit wins, the smaller id on a tie.

Digits of a coordinate are chosen by `coordinate_median` instead, or all boxes of an object come from a region head at once.

A token that the grammar leaves no choice about is not asked of the model. It goes through together with the next free one,
in one forward pass (jump-forward decoding). The work on a digit is plain floats over at most a dozen tokens, because it has
to cost little beside the pass.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

from medrega_edge.inference.coordinate_median import HALF, median_digit

Floats = npt.NDArray[np.float32]


class DigitPosition(NamedTuple):
    """Position inside the boxes of a region: number of the box, of its coordinate (x1 y1 x2 y2), of the digit; from 0."""

    box: int
    coordinate: int
    digit: int


FIRST_DIGIT = DigitPosition(0, 0, 0)


class Grammar(Protocol):
    """The tokens that may follow; see `grammars.RegionGrammar`."""

    @property
    def banned(self) -> tuple[int, ...]:
        """Ids that may not follow where `allowed` is None."""

    @property
    def digit_position(self) -> DigitPosition | None:
        """Position of the digit that follows, or of the end of its number; None outside numbers."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end a number. Inside a number, all other allowed ids are digits in rising order."""

    def allowed(self) -> tuple[int, ...] | None:
        """Ids that may follow; None for all but `banned`."""

    def push(self, token: int) -> None:
        """Move on over a token."""


@dataclass(frozen=True)
class Step:
    """One generated token. `probability` is among the allowed tokens; None where only one was allowed."""

    token: int
    probability: float | None = None
    digit_position: DigitPosition | None = None


def generate_tokens(
    logits: Floats,
    extend: Callable[[list[int]], Floats],
    grammar: Grammar,
    end: tuple[int, ...],
    limit: int,
    jump_forward: bool = True,
    place_boxes: Callable[[int], None] | None = None,
) -> Iterator[Step]:
    """Yield up to `limit` tokens, without the end token.

    `logits` `[vocabulary]` follow the prompt; `extend` feeds tokens and returns the logits that follow them. Without
    `jump_forward` every token is a forward pass of its own. `place_boxes` is called with the number of tokens left
    where a list of boxes has been opened and fed: it gives the boxes to the grammar, which then leaves no choice.
    """
    pending: list[int] = []
    share = HALF
    for written in range(limit):
        if place_boxes is not None and grammar.digit_position == FIRST_DIGIT:
            if pending:
                logits, pending = extend(pending), []
            place_boxes(limit - written)
        allowed = grammar.allowed()
        position = grammar.digit_position
        if position is not None and position.digit == 0:
            share = HALF
        if allowed is not None and len(allowed) == 1:
            step = Step(allowed[0], None, position)
        else:
            if pending:
                logits, pending = extend(pending), []
            if allowed is not None and position is not None:
                probabilities = _probabilities(logits, allowed)
                token, probability, share = median_digit(probabilities, grammar.ends, share, position.digit == 0)
            else:
                token, probability = most_likely(logits, allowed, grammar.banned)
            step = Step(token, probability, position)
        if step.token in end:
            return
        grammar.push(step.token)
        pending.append(step.token)
        if not jump_forward:
            logits, pending = extend(pending), []
        yield step


def _probabilities(logits: Floats, allowed: Sequence[int]) -> dict[int, float]:
    """Softmax over the allowed tokens alone, in their order."""
    scores: list[float] = logits[list(allowed)].tolist()
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    total = math.fsum(weights)  # not `sum`, whose last bit depends on Python's version
    return {token: weight / total for token, weight in zip(allowed, weights, strict=True)}


def most_likely(logits: Floats, allowed: Sequence[int] | None, banned: Sequence[int]) -> tuple[int, float]:
    """Return the token with the largest logit, and its probability among the allowed ones (None: all but `banned`)."""
    if allowed is not None:
        probabilities = _probabilities(logits, allowed)
        best = max(probabilities, key=lambda token: (probabilities[token], -token))
        return best, probabilities[best]
    scores = logits.copy()
    scores[list(banned)] = -np.inf
    best = int(np.argmax(scores))
    return best, float(1.0 / np.exp(scores - scores[best]).sum(dtype=np.float64))
