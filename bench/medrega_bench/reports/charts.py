"""Where the marks of a chart lie, in units of its SVG."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from medrega_bench.evaluation.results import ConfidenceBin
from medrega_edge.evaluation.bootstrap import Interval

WIDTH, HEIGHT = 640, 340
LEFT, RIGHT, TOP, BOTTOM = 72, 20, 16, 48  # margins


@dataclass(frozen=True)
class Mark:
    """A point with its whiskers, in units of the SVG; `text` names it, `number` tells it from the others."""

    x: float
    y: float
    x_low: float
    x_high: float
    y_low: float
    y_high: float
    radius: float
    number: int
    text: str
    shape: str = "circle"


@dataclass(frozen=True)
class Tick:
    """A line across the chart and what is written at it."""

    at: float
    text: str


@dataclass(frozen=True)
class Chart:
    """A chart: marks, ticks of both axes, and whether the diagonal is drawn."""

    marks: tuple[Mark, ...]
    across: tuple[Tick, ...]
    up: tuple[Tick, ...]
    diagonal: bool = False

    width, height, left, right, top, bottom = WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM


@dataclass(frozen=True)
class Axis:
    """Values from `low` to `high` along `start` to `end`."""

    low: float
    high: float
    start: float
    end: float

    def at(self, value: float) -> float:
        """Return where a value lies."""
        return round(self.start + (value - self.low) / (self.high - self.low) * (self.end - self.start), 1)

    def ticks(self) -> tuple[Tick, ...]:
        """Return ticks at round numbers."""
        step = _step(self.high - self.low)
        places = max(0, -math.floor(math.log10(step)))
        first = math.ceil(self.low / step - 1e-9)
        last = math.floor(self.high / step + 1e-9)
        return tuple(Tick(self.at(n * step), f"{n * step:.{places}f}") for n in range(first, last + 1))


def _step(span: float) -> float:
    rough = span / 5
    power = 10 ** math.floor(math.log10(rough))
    return float(next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999))


def _covering(values: Sequence[float], start: float, end: float) -> Axis:
    """An axis that holds all values and zero, with some room."""
    low, high = min(0.0, *values), max(0.0, *values)
    room = 0.08 * (high - low) or 1.0
    return Axis(low - room if low < 0 else 0.0, high + room, start, end)


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
    if not points:
        return None
    across = _covering([value for point in points for value in point.x_range], LEFT, WIDTH - RIGHT)
    up = _covering([100 * value for point in points for value in point.y_range], HEIGHT - BOTTOM, TOP)
    marks = []
    for number, point in enumerate(points, 1):
        x_low, x_high = map(across.at, point.x_range)
        y_low, y_high = (up.at(100 * value) for value in point.y_range)
        shape = "square" if point.is_reference else "circle"
        x, y = across.at(point.x), up.at(100 * point.y)
        marks.append(Mark(x, y, x_low, x_high, y_low, y_high, 6.0, number, point.text, shape))
    return Chart(tuple(marks), across.ticks(), up.ticks())


def reliability(bins: Sequence[ConfidenceBin]) -> Chart | None:
    """Draw the share right against confidence, one mark a bin; areas are the numbers of answers."""
    if not bins:
        return None
    across, up = Axis(0, 1, LEFT, WIDTH - RIGHT), Axis(0, 1, HEIGHT - BOTTOM, TOP)
    most = max(each.n for each in bins)
    marks = []
    for number, each in enumerate(bins, 1):
        x, y = across.at(each.confidence), up.at(each.right)
        radius = round(3 + 11 * math.sqrt(each.n / most), 1)
        text = f"{each.confidence:.2f}, {each.right:.2f}, n = {each.n}"
        marks.append(Mark(x, y, x, x, y, y, radius, number, text))
    return Chart(tuple(marks), across.ticks(), up.ticks(), diagonal=True)
