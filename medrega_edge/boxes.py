"""Boxes in their two frames, and the map between them.

A *grid* box holds integers 0..999 relative to the original width and height, origin top left, as the model writes them.
A *pixel* box holds floats in pixels of the original image, x2 and y2 exclusive. `Geometry` maps one to the other.

A grid coordinate means grid / 999 * side, as upstream reads it: 0 is the left edge and 999 the right edge of the image.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

GRID_MAX = 999


@dataclass(frozen=True)
class GridBox:
    """A box as the model writes it: integers 0..999, `x1 < x2` and `y1 < y2`."""

    x1: int
    y1: int
    x2: int
    y2: int

    def __post_init__(self) -> None:
        """Refuse coordinates outside the grid and boxes without area: ValueError."""
        if not (0 <= self.x1 < self.x2 <= GRID_MAX and 0 <= self.y1 < self.y2 <= GRID_MAX):
            raise ValueError(f"not a box on the 0..{GRID_MAX} grid: {self.as_list()}")

    def as_list(self) -> list[int]:
        """Return `[x1, y1, x2, y2]`."""
        return [self.x1, self.y1, self.x2, self.y2]


class PixelBox(NamedTuple):
    """A box in pixels of the original image: origin top left, x2 and y2 exclusive."""

    x1: float
    y1: float
    x2: float
    y2: float

    def as_list(self) -> list[float]:
        """Return `[x1, y1, x2, y2]`."""
        return list(self)

    @property
    def is_ordered(self) -> bool:
        """Whether the corners are finite and in order: `x1 < x2` and `y1 < y2`."""
        return all(map(math.isfinite, self)) and self.x1 < self.x2 and self.y1 < self.y2

    @property
    def area(self) -> float:
        """Square pixels."""
        return (self.x2 - self.x1) * (self.y2 - self.y1)

    def grown(self, share: float) -> PixelBox:
        """Return the box with its sides moved out by a share of its width and height, in where it is negative."""
        across, down = share * (self.x2 - self.x1), share * (self.y2 - self.y1)
        return PixelBox(self.x1 - across, self.y1 - down, self.x2 + across, self.y2 + down)

    def contains(self, box: PixelBox) -> bool:
        """Whether another box lies inside this one."""
        return self.x1 <= box.x1 and self.y1 <= box.y1 and box.x2 <= self.x2 and box.y2 <= self.y2


def iou(a: PixelBox | GridBox, b: PixelBox | GridBox) -> float:
    """Intersection over union of two boxes in the same frame, 0..1; 0 when either has no area."""
    width = min(a.x2, b.x2) - max(a.x1, b.x1)
    height = min(a.y2, b.y2) - max(a.y1, b.y1)
    if width <= 0 or height <= 0:
        return 0.0
    overlap = width * height
    union = (a.x2 - a.x1) * (a.y2 - a.y1) + (b.x2 - b.x1) * (b.y2 - b.y1) - overlap
    return overlap / union


def is_scaled(box: PixelBox, areas: Sequence[PixelBox]) -> bool:
    """Whether a box lies where the size of a pixel holds: in one of `areas`, or anywhere if there are none."""
    return not areas or any(area.contains(box) for area in areas)


@dataclass(frozen=True)
class Geometry:
    """Size of the original image in pixels: the only mapper between model coordinates and the user's pixels.

    The model sees a square. The image fills the share `extent` of its width and height, at the upper left. The grid is
    relative to the original width and height, so only boxes in fractions of the square depend on that share.
    """

    width: int
    height: int
    extent: tuple[float, float] = (1.0, 1.0)

    def to_pixels(self, box: GridBox) -> PixelBox:
        """Map a grid box to pixels of the original image."""
        sx, sy = self.width / GRID_MAX, self.height / GRID_MAX
        return PixelBox(box.x1 * sx, box.y1 * sy, box.x2 * sx, box.y2 * sy)

    def from_square(self, box: Sequence[float]) -> GridBox:
        """Map x1, y1, x2, y2 in fractions of the model's square to the nearest grid box, clamped to the image.

        It is one grid step wide where it has no area.
        """
        x1, x2 = _grid_span(box[0], box[2], self.extent[0])
        y1, y2 = _grid_span(box[1], box[3], self.extent[1])
        return GridBox(x1, y1, x2, y2)

    def to_square(self, box: Sequence[int]) -> tuple[float, float, float, float]:
        """Map x1, y1, x2, y2 in grid steps to fractions of the model's square."""
        (x1, y1, x2, y2), (width, height) = box, self.extent
        return x1 / GRID_MAX * width, y1 / GRID_MAX * height, x2 / GRID_MAX * width, y2 / GRID_MAX * height

    def overlaps(self, box: PixelBox) -> bool:
        """Whether some of the box lies in the image."""
        return box.x2 > 0 and box.y2 > 0 and box.x1 < self.width and box.y1 < self.height

    def within(self, box: PixelBox) -> PixelBox:
        """Return the part of a box that lies in the image."""
        x1, x2 = (min(max(x, 0.0), float(self.width)) for x in (box.x1, box.x2))
        y1, y2 = (min(max(y, 0.0), float(self.height)) for y in (box.y1, box.y2))
        return PixelBox(x1, y1, x2, y2)

    def to_grid(self, box: PixelBox) -> GridBox:
        """Map a pixel box to the nearest grid box, clamped to the image; one grid step wide where it has no area.

        Raises ValueError for a box that is inverted or lies outside the image.
        """
        if not box.is_ordered:
            raise ValueError(f"box {box.as_list()} needs x1 < x2 and y1 < y2")
        if not self.overlaps(box):
            raise ValueError(f"box {box.as_list()} lies outside the image of {self.width} x {self.height} pixels")
        x1, x2 = _grid_span(box.x1, box.x2, self.width)
        y1, y2 = _grid_span(box.y1, box.y2, self.height)
        return GridBox(x1, y1, x2, y2)


def _grid_span(low: float, high: float, side: float) -> tuple[int, int]:
    a = min(max(round(low / side * GRID_MAX), 0), GRID_MAX - 1)
    b = min(max(round(high / side * GRID_MAX), 1), GRID_MAX)
    return (a, b) if a < b else (a, a + 1)
