"""Logits -> token ids: greedy, under a grammar, with forced tokens fed together.

Deterministic: the largest logit wins, the smaller id on a tie.

A coordinate is not spelt by its most likely digits: it is the median of the model's own distribution over numbers. That
costs no further forward pass: at each digit the one is taken in which the cumulative probability reaches one half. Mean IoU
on the validation split, one package of 2026-11-23: 0.344 by the most likely digits, 0.359 by the median, 0.369 with first
digits in their narrowest order (`narrowest_start`).

A token that the grammar leaves no choice about is not asked of the model. It goes through together with the next free one,
in one forward pass (jump-forward decoding). The work on a digit is plain floats over at most a dozen tokens, because it has
to cost little beside the pass.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import NamedTuple, Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
HALF = 0.5
MIN_DIVISOR = 1e-9


class DigitPosition(NamedTuple):
    """Position inside the boxes of a region: number of the box, of its coordinate (x1 y1 x2 y2), of the digit; from 0."""

    box: int
    coordinate: int
    digit: int


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
) -> Iterator[Step]:
    """Yield up to `limit` tokens, without the end token.

    `logits` `[vocabulary]` follow the prompt; `extend` feeds tokens and returns the logits that follow them. Without
    `jump_forward` every token is a forward pass of its own.
    """
    pending: list[int] = []
    share = HALF
    for _ in range(limit):
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


def median_digit(
    probabilities: dict[int, float], ends: Sequence[int], share: float, is_first: bool
) -> tuple[int, float, float]:
    """Take the token in which the cumulative probability reaches `share`.

    `probabilities` holds digits in rising order and the tokens of `ends`; a number that ends here is smaller than any that
    goes on. `is_first` is true for the first digit of a number. Returns the token, its probability, and the share to reach
    inside it at the next digit.
    """
    digits = [token for token in probabilities if token not in ends]
    ending = [token for token in probabilities if token in ends]
    below = math.fsum(probabilities[token] for token in ending)
    if ending and (below >= share or not digits):
        likeliest = max(ending, key=probabilities.__getitem__)
        return likeliest, probabilities[likeliest], share
    if is_first:
        start = narrowest_start([probabilities[token] for token in digits])
        digits = digits[start:] + digits[:start]
    for token in digits[:-1]:
        if below + probabilities[token] >= share:
            break
        below += probabilities[token]
    else:
        token = digits[-1]
    left = (share - below) / max(probabilities[token], MIN_DIVISOR)
    return token, probabilities[token], min(1.0, max(0.0, left))


def narrowest_start(weights: list[float]) -> int:
    """Return the first digit to begin with, so that digits stand in the order of the numbers that they begin.

    70, 80, 90, 100, 200 begin with 7 8 9 1 2, and it is not known yet which digits begin numbers of fewer digits. Of the
    orders that go round from any digit, the one with the narrowest distribution is taken (least mean distance from its
    median): no model hesitates between 100 and 900.
    """
    count, twice = len(weights), weights * 2
    sums = [0.0, *accumulate(twice)]  # of the weights before each index
    moments = [0.0, *accumulate(index * weight for index, weight in enumerate(twice))]

    def width(start: int) -> float:
        end = start + count
        median = bisect_left(sums, sums[start] + sums[count] / 2, start + 1, end) - 1
        before = median * (sums[median] - sums[start]) - (moments[median] - moments[start])
        after = moments[end] - moments[median] - median * (sums[end] - sums[median])
        return round(before + after, 9)

    return min(range(count), key=width)


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
