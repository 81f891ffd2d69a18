"""Logits -> token ids: greedy, under a grammar, with forced tokens fed together. Knows nothing of images or text.

Deterministic: the largest logit wins, the smaller id on a tie. A coordinate is not the likeliest digit after the likeliest
digit, but the median of the model's own distribution of numbers, which costs no pass more: at each digit the one is taken
in which half of the whole distribution is reached. Mean IoU on the validation split, one package of 2026-11-23: 0.344 by
the likeliest digits, 0.359 by the median, 0.369 with first digits in their narrowest order (`_narrowest`). A token that the
grammar leaves no choice about is not asked of the model; it goes through together with the next free one, in a single
forward pass. What is done here for a digit is plain floats over at most a dozen tokens: it must cost little beside the pass.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from itertools import accumulate
from typing import Protocol

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float32]
HALF = 0.5
LEAST = 1e-9  # of a probability that is divided by
Position = tuple[int, int, int]  # which box, which of its coordinates, which digit of it


class Grammar(Protocol):
    """What may follow; see `grammar.RegionGrammar`."""

    @property
    def banned(self) -> tuple[int, ...]:
        """Ids that may not follow where `allowed` is None."""

    @property
    def place(self) -> Position | None:
        """Which box, coordinate and digit the next token spells, or ends; None outside of numbers."""

    @property
    def ends(self) -> tuple[int, ...]:
        """Ids that end a number; where `place` is not None, all other allowed ids are digits, in rising order."""

    def allowed(self) -> tuple[int, ...] | None:
        """Ids that may follow, or None for anything but `banned`."""

    def push(self, token: int) -> None:
        """Move on over a token."""


@dataclass(frozen=True)
class Step:
    """One token of an answer; `probability` among what was allowed, None where there was no choice."""

    token: int
    probability: float | None = None
    place: Position | None = None


def generate_tokens(
    logits: Floats,
    extend: Callable[[list[int]], Floats],
    grammar: Grammar,
    end: tuple[int, ...],
    limit: int,
    jump_forward: bool = True,
) -> Iterator[Step]:
    """Yield up to `limit` tokens, the end token not included.

    `logits` `[vocabulary]` stand behind the prompt; `extend` feeds tokens and returns the logits behind them. Without
    `jump_forward` every token is a pass of its own, for measuring what it saves.
    """
    pending: list[int] = []
    share = HALF
    for _ in range(limit):
        allowed = grammar.allowed()
        place = grammar.place
        if place is not None and place[2] == 0:
            share = HALF
        if allowed is not None and len(allowed) == 1:
            step = Step(allowed[0], None, place)
        else:
            if pending:
                logits, pending = extend(pending), []
            if allowed is not None and place is not None:
                token, probability, share = _median(_chances(logits, allowed), grammar.ends, share, place[2] == 0)
            else:
                token, probability = _choose(logits, allowed, grammar.banned)
            step = Step(token, probability, place)
        if step.token in end:
            return
        grammar.push(step.token)
        pending.append(step.token)
        if not jump_forward:
            logits, pending = extend(pending), []
        yield step


def _chances(logits: Floats, allowed: Sequence[int]) -> dict[int, float]:
    """Probabilities of the allowed tokens among themselves, in their order."""
    scores: list[float] = logits[list(allowed)].tolist()
    highest = max(scores)
    weights = [math.exp(score - highest) for score in scores]
    total = math.fsum(weights)  # not `sum`, whose last bit depends on Python's version
    return {token: weight / total for token, weight in zip(allowed, weights, strict=True)}


def _median(chances: dict[int, float], ends: Sequence[int], share: float, first: bool) -> tuple[int, float, float]:
    """Take the token in which `share` of the distribution behind the digits so far is reached.

    `chances` holds digits in rising order and those of `ends`; a number that ends here is smaller than any that goes on.
    `first` is true for the first digit of a number. Returns the token, its probability, and what `share` leaves for the
    next digit.
    """
    digits = [token for token in chances if token not in ends]
    ending = [token for token in chances if token in ends]
    below = math.fsum(chances[token] for token in ending)
    if ending and (below >= share or not digits):
        likeliest = max(ending, key=chances.__getitem__)
        return likeliest, chances[likeliest], share
    if first:
        start = _narrowest([chances[token] for token in digits])
        digits = digits[start:] + digits[:start]
    for token in digits[:-1]:
        if below + chances[token] >= share:
            break
        below += chances[token]
    else:
        token = digits[-1]
    left = (share - below) / max(chances[token], LEAST)
    return token, chances[token], min(1.0, max(0.0, left))


def _narrowest(weights: list[float]) -> int:
    """Where to begin with first digits, so that they stand as their numbers lie, which have one to three digits.

    70, 80, 90, 100, 200 begin with 7 8 9 1 2; which digits begin short numbers is not known yet. Of the orders that begin
    at any digit and go round, the one is taken in which the distribution is narrowest (least mean distance from its
    median): nobody is in doubt between 100 and 900.
    """
    count, twice = len(weights), weights * 2
    reached = [0.0, *accumulate(twice)]  # by the places before each
    moments = [0.0, *accumulate(place * weight for place, weight in enumerate(twice))]

    def width(start: int) -> float:
        end = start + count
        middle = bisect_left(reached, reached[start] + reached[count] / 2, start + 1, end) - 1
        before = middle * (reached[middle] - reached[start]) - (moments[middle] - moments[start])
        behind = moments[end] - moments[middle] - middle * (reached[end] - reached[middle])
        return round(before + behind, 9)

    return min(range(count), key=width)


def _choose(logits: Floats, allowed: Sequence[int] | None, banned: Sequence[int]) -> tuple[int, float]:
    if allowed is not None:
        chances = _chances(logits, allowed)
        best = max(chances, key=lambda token: (chances[token], -token))
        return best, chances[best]
    scores = logits.copy()
    scores[list(banned)] = -np.inf
    best = int(np.argmax(scores))
    return best, float(1.0 / np.exp(scores - scores[best]).sum(dtype=np.float64))
