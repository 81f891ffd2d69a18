"""What the four numbers of a box may mean: their order, and the frame that they are counted in."""

from __future__ import annotations

import math
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache

import numpy as np
import numpy.typing as npt

FloatArray = npt.NDArray[np.float64]


class Order(StrEnum):
    """Order of the four numbers."""

    XYXY = "x1, y1, x2, y2"
    YXYX = "y1, x1, y2, x2"
    XYWH = "x, y, width, height"
    CXCYWH = "centre x, centre y, width, height"


class Kind(StrEnum):
    """How an image lies in a frame. All but the first four have a side."""

    PIXELS = "pixels"  # of the original image
    EXCHANGED = "exchanged"  # pixels, with width and height taken for each other
    SMART = "smart"  # Qwen's resize: sides are multiples of a number, the area is limited
    AT_MOST = "at_most"  # a larger image is resized until its longest side fits
    STRETCHED = "stretched"  # to a square; also a range of numbers, as 0..1000
    LONGEST = "longest"  # resized by its longest side; also a square that is padded at the right or bottom
    SHORTEST = "shortest"  # resized by its shortest side
    LETTERBOXED = "letterboxed"  # a square that is padded on both sides
    CROPPED = "cropped"  # the square in the middle


@dataclass(frozen=True)
class Frame:
    """Coordinates from 0 to `side`; of Qwen's resize `side` is the factor of its sides, and `limit` its most pixels."""

    kind: Kind
    side: float = 0
    limit: int = 0

    def axes(self, width: int, height: int) -> tuple[float, float, float, float]:
        """Return (a, b, c, d): a coordinate is a * x + b, or c * y + d, of shares x and y of width and height."""
        longest, shortest = max(width, height), min(width, height)
        match self.kind:
            case Kind.STRETCHED:
                return self.side, 0.0, self.side, 0.0
            case Kind.EXCHANGED:
                return height, 0.0, width, 0.0
            case Kind.SMART:
                resized = smart_size(width, height, int(self.side), self.limit)
                return resized[0], 0.0, resized[1], 0.0
            case Kind.PIXELS:
                scale = 1.0
            case Kind.AT_MOST:
                scale = min(1.0, self.side / longest)
            case Kind.LONGEST | Kind.LETTERBOXED:
                scale = self.side / longest
            case Kind.SHORTEST | Kind.CROPPED:
                scale = self.side / shortest
        wide, high = scale * width, scale * height
        if self.kind in (Kind.LETTERBOXED, Kind.CROPPED):
            return wide, (self.side - wide) / 2, high, (self.side - high) / 2
        return wide, 0.0, high, 0.0


def smart_size(width: int, height: int, factor: int, most_pixels: int) -> tuple[int, int]:
    """Return the size to which Qwen2-VL's image processor resizes: multiples of `factor`, at most `most_pixels` in area."""
    wide, high = (max(factor, round(side / factor) * factor) for side in (width, height))
    if wide * high > most_pixels:
        shrink = math.sqrt(width * height / most_pixels)
        wide, high = (max(factor, math.floor(side / shrink / factor) * factor) for side in (width, height))
    return wide, high


def axes_of(frame: Frame, sizes: FloatArray) -> tuple[FloatArray, FloatArray]:
    """Return slope and intercept [n, 4] of x1, y1, x2, y2 for images of `sizes` [n, 2]."""
    return _axes(frame, sizes.tobytes())


@lru_cache(maxsize=1024)
def _axes(frame: Frame, sizes: bytes) -> tuple[FloatArray, FloatArray]:
    pairs = np.frombuffer(sizes).reshape(-1, 2)
    rows = np.array([frame.axes(int(width), int(height)) for width, height in pairs], float).reshape(-1, 4)
    return rows[:, [0, 2, 0, 2]], rows[:, [1, 3, 1, 3]]


def corners(numbers: FloatArray, order: Order) -> FloatArray:
    """Return boxes [n, 4] as x1, y1, x2, y2, still in their frame."""
    a, b, c, d = numbers.T
    match order:
        case Order.XYXY:
            return numbers
        case Order.YXYX:
            return np.stack([b, a, d, c], axis=1)
        case Order.XYWH:
            return np.stack([a, b, a + c, b + d], axis=1)
        case Order.CXCYWH:
            return np.stack([a - c / 2, b - d / 2, a + c / 2, b + d / 2], axis=1)


def mirrored(shares: FloatArray, across: bool, down: bool) -> FloatArray:
    """Return boxes [n, 4] in shares of the image, mirrored left to right (`across`) or top to bottom (`down`)."""
    result = shares.copy()
    if across:
        result[:, [0, 2]] = 1 - shares[:, [2, 0]]
    if down:
        result[:, [1, 3]] = 1 - shares[:, [3, 1]]
    return result


def shares_of(numbers: FloatArray, sizes: FloatArray, order: Order, frame: Frame) -> FloatArray:
    """Return boxes [n, 4] in shares of width and height of images of `sizes` [n, 2]."""
    slope, intercept = axes_of(frame, sizes)
    return (corners(numbers, order) - intercept) / slope
