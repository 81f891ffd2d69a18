"""Which hypothesis the answers support: a mistake is named only where it brings the boxes clearly nearer to the truth."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass

import numpy as np

from medrega_bench.box_fidelity.frames import FloatArray, Frame, Order
from medrega_bench.box_fidelity.hypotheses import Answers, Hypothesis, discrete, line, refined
from medrega_edge.evaluation.bootstrap import Interval, draws, mean_interval

FEWEST = 12  # boxes; fewer show nothing systematic
# Rank correlation of answered and true centres, on both axes, from which boxes follow the things: this much, and more than
# that many standard errors, because a hundred ways of reading few boxes are tried.
FOLLOWS, FOLLOWS_ERRORS = 0.5, 2.5
_FLOOR = 0.0005  # of a side: half a step of 0..1000; errors below it are all alike
_PENALTY = 0.15  # logarithm: what each further deviation has to gain
_FREE = 0.05  # and what a scale that is fitted freely has to gain over a frame that is known
_NEARER = 1.5  # how many times nearer to the truth a mistake has to bring the boxes
_SURE = 1.2  # and with its interval at least this many times
_LINES = 100  # resamples of a fitted line


@dataclass(frozen=True)
class Diagnosis:
    """The hypothesis that explains the answers, and how it compares with what the dialect says (`nominal`).

    `nearer` says how many times nearer to the truth it brings the boxes, with its interval, and `share` how many of the
    answers it brings no farther away. `follows` tells whether the boxes follow the things in the pictures. `slope` and
    `shift` are those of the answers read as the dialect says, in shares of each axis. All but the first two are None or
    False where too few boxes could be read.
    """

    nominal: Hypothesis
    found: Hypothesis
    follows: bool = False
    nearer: tuple[float, Interval] | None = None
    share: float | None = None
    slope: tuple[tuple[float, Interval], tuple[float, Interval]] | None = None
    shift: tuple[tuple[float, Interval], tuple[float, Interval]] | None = None

    @property
    def is_wrong(self) -> bool:
        """Whether the answers differ from the dialect systematically."""
        return self.found != self.nominal


def errors(shares: FloatArray, truth: FloatArray) -> FloatArray:
    """Return the mean distance of the four sides of each box from the true ones [n], as share of the image."""
    distances: FloatArray = np.nan_to_num(np.abs(shares - truth), nan=1e6).mean(axis=1)
    return distances


def correlation(shares: FloatArray, truth: FloatArray) -> float:
    """Return the rank correlation (Spearman's) of answered and true centres, the lower of both axes; 0 if undefined."""
    both = []
    for axis in (0, 1):
        found, true = (np.argsort(np.argsort(boxes[:, axis] + boxes[:, axis + 2])) for boxes in (shares, truth))
        if np.ptp(shares[:, axis] + shares[:, axis + 2]) == 0:
            return 0.0
        both.append(float(np.corrcoef(found, true)[0, 1]))
    return min(both)


def diagnose(answers: Answers, order: Order, frame: Frame) -> Diagnosis:
    """Find what explains the answers of a dialect with `order` and `frame`."""
    nominal = Hypothesis(order, frame)
    count = len(answers.truth)
    if count < FEWEST:
        return Diagnosis(nominal, nominal)
    as_said = nominal.shares(answers)
    before = np.log(errors(as_said, answers.truth) + _FLOOR)

    def best(hypotheses: Iterable[Hypothesis]) -> Hypothesis | None:
        """The one that brings the boxes nearest to the truth, of those by which they follow the things."""
        return next((one for one in sorted(hypotheses, key=cost) if follows(one)), None)

    def cost(one: Hypothesis) -> float:
        penalty = _PENALTY * one.deviations(nominal) + (_FREE if one.scale != nominal.scale else 0.0)
        return float(np.log(errors(one.shares(answers), answers.truth) + _FLOOR).mean()) + penalty

    def follows(one: Hypothesis) -> bool:
        return correlation(one.shares(answers), answers.truth) >= max(FOLLOWS, FOLLOWS_ERRORS / math.sqrt(count - 1))

    base = best(discrete(nominal, answers))
    if base is None:
        return Diagnosis(nominal, nominal)
    found = best([nominal, *refined(nominal, answers), base, *refined(base, answers)]) or base
    gain = before - np.log(errors(found.shares(answers), answers.truth) + _FLOOR)
    low, high = np.exp(mean_interval(gain, list(map(str, range(count)))))
    nearer = (float(np.exp(gain.mean())), (float(low), float(high)))
    follows_as_said = follows(nominal)
    if nearer[0] < _NEARER or nearer[1][0] < _SURE:
        found = nominal
    share = float(np.mean(gain >= 0)) if found != nominal else None
    lines = [_line(answers.truth[:, axis::2], as_said[:, axis::2]) for axis in (0, 1)] if follows_as_said else None
    return Diagnosis(
        nominal,
        found,
        follows=follows_as_said or found != nominal,
        nearer=nearer if found != nominal else None,
        share=share,
        slope=(lines[0][0], lines[1][0]) if lines else None,
        shift=(lines[0][1], lines[1][1]) if lines else None,
    )


def _line(truth: FloatArray, found: FloatArray) -> tuple[tuple[float, Interval], tuple[float, Interval]]:
    """Slope and median shift, each with its 95 % interval over images."""
    picks = draws(len(truth))[:_LINES]
    fits = [(line(truth[pick], found[pick])[0], float(np.median((found - truth)[pick]))) for pick in picks]
    (slope_low, shift_low), (slope_high, shift_high) = np.percentile(fits, [2.5, 97.5], axis=0)
    slope, shift = line(truth, found)[0], float(np.median(found - truth))
    return (slope, (float(slope_low), float(slope_high))), (shift, (float(shift_low), float(shift_high)))
