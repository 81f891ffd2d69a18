"""What a chart shows: its marks, in the units of its axes. `drawing` draws it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from medrega_bench.evaluation.results import ConfidenceBin
from medrega_bench.result_files import optional
from medrega_edge.evaluation.bootstrap import Interval

RADIUS = 6.0  # of a mark, in units of the SVG


@dataclass(frozen=True)
class Mark:
    """A point with its whiskers, or a bar of length `x`; `text` says what it is when a reader points at it."""

    x: float
    y: float
    x_range: Interval
    y_range: Interval
    text: str
    radius: float = RADIUS
    is_reference: bool = False
    series: str | None = optional()  # the name of the curve that it is on


@dataclass(frozen=True)
class Chart:
    """Marks, and how they are drawn.

    `points` are numbered, on axes that hold zero. `shares` are two shares 0..1 against each other, beside a line where they
    are equal. `bars` are numbered, one below the other. `curves` join the marks of each series.
    """

    kind: Literal["points", "shares", "bars", "curves"]
    marks: tuple[Mark, ...]


@dataclass(frozen=True)
class FrontierPoint:
    """A package: its speed or size (`x`), its accuracy or loss (`y`, 0..1), both with their ranges."""

    x: float
    x_range: Interval
    y: float
    y_range: Interval
    text: str
    is_reference: bool = False


def frontier(points: Sequence[FrontierPoint]) -> Chart | None:
    """Draw accuracy or its loss, in per cent, against speed or size."""
    marks = tuple(
        Mark(
            x=point.x,
            y=100 * point.y,
            x_range=point.x_range,
            y_range=(100 * point.y_range[0], 100 * point.y_range[1]),
            text=point.text,
            is_reference=point.is_reference,
        )
        for point in points
    )
    return Chart("points", marks) if marks else None


def reliability(bins: Sequence[ConfidenceBin]) -> Chart | None:
    """Draw the share right against confidence, one mark a bin; areas are the numbers of answers."""
    most = max((each.n for each in bins), default=0)
    marks = tuple(
        Mark(
            x=each.confidence,
            y=each.right,
            x_range=(each.confidence, each.confidence),
            y_range=(each.right, each.right),
            text=f"{each.confidence:.2f}, {each.right:.2f}, n = {each.n}",
            radius=3 + 11 * math.sqrt(each.n / most),
        )
        for each in bins
    )
    return Chart("shares", marks) if marks else None


def bars(values: Sequence[tuple[str, float | None]]) -> Chart | None:
    """Draw a bar for each name with a value, at its place among all; None where no name has one."""
    marks = tuple(
        Mark(x=value, y=place, x_range=(value, value), y_range=(place, place), text=text)
        for place, (text, value) in enumerate(values, 1)
        if value is not None
    )
    return Chart("bars", marks) if marks else None
