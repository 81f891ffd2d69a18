"""The mask of an object: which pixels of the original image are inside, as run lengths of the COCO format.

COCO's run lengths go down the columns, from the left, and alternate between outside and inside, outside first. Its
compressed form writes each length, from the fourth on as the difference to the one two before, in digits of 5 bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medrega_edge.boxes import PixelBox

Inside = npt.NDArray[np.bool_]  # [height, width]

_DIGIT_BITS, _MORE, _SIGN, _FIRST = 5, 0x20, 0x10, 48  # of a character of the compressed form


@dataclass(frozen=True)
class Mask:
    """A mask of an image of `height` x `width` pixels; it has one pixel at least.

    `counts` are its run lengths, compressed. `area` is in pixels; `centroid` x, y is the mean of its pixels' centres; `box`
    is the smallest that holds it. `score` is the expected IoU with the truth if the package was calibrated, else a raw one.
    """

    height: int
    width: int
    counts: str
    area: int
    centroid: tuple[float, float]
    box: PixelBox
    score: float

    @classmethod
    def of(cls, inside: Inside, score: float) -> Mask | None:
        """Describe the pixels that are inside `[height, width]`; None where none is."""
        columns, rows = inside.sum(axis=0), inside.sum(axis=1)
        area = int(columns.sum())
        if area == 0:
            return None
        (x1, x2), (y1, y2) = _span(columns), _span(rows)
        centroid = (_mean_place(columns), _mean_place(rows))
        height, width = inside.shape
        return cls(height, width, compress(run_lengths(inside)), area, centroid, PixelBox(x1, y1, x2, y2), score)

    def inside(self) -> Inside:
        """Return the pixels that are inside `[height, width]`."""
        lengths = expand(self.counts)
        values = np.arange(len(lengths)) % 2 == 1
        return np.repeat(values, lengths).reshape(self.width, self.height).T


def run_lengths(inside: Inside) -> list[int]:
    """Return the lengths of the runs down the columns, outside first; the first may be 0."""
    flat = inside.T.reshape(-1)
    changes = np.flatnonzero(flat[1:] != flat[:-1]) + 1
    ends = np.concatenate([[0] if flat[0] else [], changes, [len(flat)]])
    return [int(length) for length in np.diff(ends, prepend=0)]


def compress(lengths: Sequence[int]) -> str:
    """Return COCO's compressed form of run lengths."""
    characters = []
    for number, length in enumerate(lengths):
        value = length - lengths[number - 2] if number > 2 else length
        while True:
            digit, value = value & (_MORE - 1), value >> _DIGIT_BITS
            is_last = value == (-1 if digit & _SIGN else 0)
            characters.append(chr((digit if is_last else digit | _MORE) + _FIRST))
            if is_last:
                break
    return "".join(characters)


def expand(counts: str) -> list[int]:
    """Return the run lengths of their compressed form."""
    lengths: list[int] = []
    value = shift = 0
    for character in counts:
        digit = ord(character) - _FIRST
        value |= (digit & (_MORE - 1)) << shift
        shift += _DIGIT_BITS
        if digit & _MORE:
            continue
        if digit & _SIGN:
            value -= 1 << shift
        lengths.append(value + lengths[-2] if len(lengths) > 2 else value)
        value = shift = 0
    return lengths


def _span(counts: npt.NDArray[np.integer]) -> tuple[float, float]:
    """Return the first place with a pixel, and the one behind the last."""
    places = np.flatnonzero(counts)
    return float(places[0]), float(places[-1] + 1)


def _mean_place(counts: npt.NDArray[np.integer]) -> float:
    return float((counts * (np.arange(len(counts)) + 0.5)).sum() / counts.sum())
