"""What may be wrong with boxes: each hypothesis says how the numbers of an answer come from the true box."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from itertools import product

import numpy as np
import numpy.typing as npt

from medrega_bench.box_fidelity.frames import FloatArray, Frame, Kind, Order, axes_of, corners, mirrored, shares_of

# Sides of squares to which vision towers resize, and ranges of numbers that dialects have.
_RANGES = (1, 100, 1000, 1024)  # 0..999 differs by a thousandth from 0..1000
_SQUARES = (224, 256, 336, 378, 384, 392, 448, 490, 504, 512, 560, 640, 672, 728, 768, 800, 896, 960, 980, 1120, 1280, 1344)
_LARGEST = (336, 448, 500, 512, 560, 640, 672, 768, 896, 1000, 1024, 1120, 1280, 1344, 1536, 1568)
_SMART = ((28, 1280 * 28 * 28), (28, 16384 * 28 * 28), (32, 1280 * 32 * 32), (32, 16384 * 32 * 32))
_FITTED = (Kind.STRETCHED, Kind.LONGEST, Kind.SHORTEST, Kind.LETTERBOXED, Kind.CROPPED)
_SNAP = 0.01  # how far a fitted side may be from a usual one to be taken for it
_SCALED = 4 / 3  # how far from the range of a dialect a side may be to be an error of scale rather than another frame
_FIXED = (
    Frame(Kind.PIXELS),
    Frame(Kind.EXCHANGED),
    *(Frame(Kind.STRETCHED, side) for side in _RANGES),
    *(Frame(Kind.AT_MOST, side) for side in _LARGEST),
    *(Frame(Kind.SMART, factor, limit) for factor, limit in _SMART),
)


@dataclass(frozen=True)
class Answers:
    """Boxes that could be read: their `numbers` [n, 4], image `sizes` [n, 2] and true boxes in `truth` [n, 4], as shares."""

    numbers: FloatArray
    sizes: FloatArray
    truth: FloatArray


@dataclass(frozen=True)
class Hypothesis:
    """Order and frame of the numbers; whether boxes are mirrored; then how far each axis is scaled and shifted.

    `shift` is in shares of the image, or in pixels of it with `shift_in_pixels`.
    """

    order: Order
    frame: Frame
    across: bool = False
    down: bool = False
    scale: tuple[float, float] = (1.0, 1.0)
    shift: tuple[float, float] = (0.0, 0.0)
    shift_in_pixels: bool = False

    def shares(self, answers: Answers) -> FloatArray:
        """Return the boxes [n, 4] that the answers mean if this is so, in shares of the image."""
        found = mirrored(
            shares_of(answers.numbers, answers.sizes, self.order, self.frame), across=self.across, down=self.down
        )
        shift = np.tile(np.array(self.shift), 2) / (np.tile(answers.sizes, 2) if self.shift_in_pixels else 1.0)
        shares: FloatArray = (found - shift) / np.tile(np.array(self.scale), 2)
        return shares

    def deviations(self, nominal: Hypothesis) -> int:
        """Return the number of ways in which this differs from what a dialect says."""
        mine = (self.order, self.frame, (self.across, self.down), self.scale, (self.shift, self.shift_in_pixels))
        theirs = (nominal.order, nominal.frame, (False, False), (1.0, 1.0), ((0.0, 0.0), self.shift_in_pixels))
        return sum(a != b for a, b in zip(mine, theirs, strict=True))


def discrete(nominal: Hypothesis, answers: Answers) -> Iterator[Hypothesis]:
    """Yield `nominal` and all that differ from it in at most two of order, mirroring and frame."""
    yield nominal
    for order, (across, down) in product(Order, product((False, True), repeat=2)):
        turned = replace(nominal, order=order, across=across, down=down)
        for frame in dict.fromkeys((nominal.frame, *_FIXED, *_fitted(turned, answers))):
            one = replace(turned, frame=frame)
            if 0 < one.deviations(nominal) <= 2:
                yield one


def _fitted(hypothesis: Hypothesis, answers: Answers) -> Iterator[Frame]:
    """Frames with the side that fits the answers best: the median of what the coordinates say."""
    truth = mirrored(answers.truth, across=hypothesis.across, down=hypothesis.down)
    found = corners(answers.numbers, hypothesis.order)
    own_kind = Kind.STRETCHED if hypothesis.frame.kind is Kind.STRETCHED else None
    own = hypothesis.frame.side if own_kind else 1000
    for kind in _FITTED:
        slope, intercept = axes_of(Frame(kind, 1.0), answers.sizes)
        unit = slope * truth + intercept
        far = unit > 0.05  # of the side: nearer to zero a ratio says little
        if not far.any():
            continue
        side = float(np.median(found[far] / unit[far]))
        usual = min((own, *_SQUARES, *_RANGES), key=lambda known: abs(known - side))
        if abs(own - side) <= _SNAP * own:
            usual = own
        if kind is own_kind and 1 / _SCALED < side / own < _SCALED:
            continue  # of a dialect with a range that is an error of scale
        if abs(usual - side) <= _SNAP * usual:
            yield Frame(kind, usual)
        elif side >= 100 and kind is not own_kind:
            yield Frame(kind, round(side))


def refined(base: Hypothesis, answers: Answers) -> Iterator[Hypothesis]:
    """Yield `base` with a shift in shares or pixels, with a scale, and with a scale and a shift, fitted robustly."""
    found, truth = base.shares(answers), answers.truth
    sides = np.tile(answers.sizes, 2)
    in_shares, in_pixels = (_per_axis(found - truth, np.ones_like(sides)), _per_axis(found - truth, sides))
    yield replace(base, shift=in_shares)
    yield replace(base, shift=in_pixels, shift_in_pixels=True)
    slopes, intercepts = zip(*(line(truth[:, axis::2], found[:, axis::2]) for axis in (0, 1)), strict=True)
    about_origin = tuple(_ratio(truth[:, axis::2], found[:, axis::2]) for axis in (0, 1))
    if min(*slopes, *about_origin) > 0.05:
        yield replace(base, scale=(about_origin[0], about_origin[1]))
        yield replace(base, scale=(slopes[0], slopes[1]), shift=(intercepts[0], intercepts[1]))


def _per_axis(errors: FloatArray, sides: FloatArray) -> tuple[float, float]:
    across, down = (float(np.median((errors * sides)[:, axis::2])) for axis in (0, 1))
    return across, down


def _ratio(truth: FloatArray, found: FloatArray) -> float:
    far = truth > 0.05
    return float(np.median(found[far] / truth[far])) if far.any() else 0.0


def line(truth: FloatArray, found: FloatArray) -> tuple[float, float]:
    """Return slope and intercept of found coordinates against true ones, by Theil and Sen (medians of all pairs).

    The estimator bears up to 29 % of answers that are wrong altogether (Sen, 1968).
    """
    x, y = truth.ravel(), found.ravel()
    first, second = _pairs(len(x))
    run, rise = x[second] - x[first], y[second] - y[first]
    apart = np.abs(run) > 0.02
    if not apart.any():
        return 1.0, float(np.median(y - x))
    slope = float(np.median(rise[apart] / run[apart]))
    return slope, float(np.median(y - slope * x))


@lru_cache(maxsize=8)
def _pairs(count: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    first, second = np.triu_indices(count, 1)
    return first, second


def steps(numbers: FloatArray) -> float:
    """Return the step to which numbers are rounded: the largest that divides nearly all of them, 0 if none does."""
    values = np.abs(numbers.ravel())
    values = values[values > 0]
    for step in (*range(64, 0, -1), 0.1, 0.01, 0.001):
        if len(values) >= 16 and np.mean(np.abs(values / step - np.round(values / step)) * step < 1e-6) >= 0.98:
            return float(step)
    return 0.0
