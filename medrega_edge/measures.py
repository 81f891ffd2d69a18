"""What a mask measures: its longest diameter, the longest one perpendicular to it, and the mean of the image's values.

Diameters are those of RECIST, in the plane of the image. They reach from outer edge to outer edge of the mask's largest
piece, because a stray pixel far away is no part of the object. Both ends lie on the convex hull of that piece.
"""

from __future__ import annotations

from dataclasses import dataclass
from itertools import pairwise
from typing import Literal

import numpy as np
import numpy.typing as npt

from medrega_edge.boxes import PixelBox, is_scaled
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.masks import Inside

Points = npt.NDArray[np.floating]  # [n, 2], x and y


@dataclass(frozen=True)
class Diameter:
    """A straight line through an object: its `length`, and its ends x1, y1, x2, y2 in pixels of the original image.

    `interval` is in the unit of `length`; None where none was fitted.
    """

    length: float
    line: tuple[float, float, float, float]
    interval: tuple[float, float] | None = None


@dataclass(frozen=True)
class Measures:
    """Diameters in `unit`: millimetres where the file states the size of a pixel in the patient, else pixels.

    `mean` is that of the values of the original image, in `mean_unit` where that is known ("HU"), else as the file has them;
    None for a colour image.
    """

    longest: Diameter
    perpendicular: Diameter
    unit: Literal["mm", "px"]
    mean: float | None
    mean_unit: str | None


def measure(inside: Inside, box: PixelBox, image: MedicalImage) -> Measures:
    """Measure a mask `[height, width]` of an image; it has one pixel at least, and `box` is the smallest around it."""
    is_sure = image.spacing_mm is not None and is_scaled(box, image.spacing_areas)
    scale = image.spacing_mm if image.spacing_mm and is_sure else (1.0, 1.0)
    longest, perpendicular = diameters(inside, scale)
    mean = _mean(inside, image)
    unit = None if mean is None else image.value_unit
    return Measures(longest, perpendicular, "mm" if is_sure else "px", mean, unit)


def diameters(inside: Inside, scale: tuple[float, float]) -> tuple[Diameter, Diameter]:
    """Return the longest diameter and the longest one perpendicular to it; a pixel is `scale` units across and down."""
    size = np.array(scale)
    hull = _hull(_outline(_largest_piece(inside)) * size)
    steps = hull[:, None] - hull[None]
    start, end = divmod(int(np.hypot(steps[..., 0], steps[..., 1]).argmax()), len(hull))
    ends = np.array([hull[start], hull[end]])
    return _diameter(ends, size), _diameter(_perpendicular(hull, start, end), size)


def _diameter(ends: Points, size: Points) -> Diameter:
    (x1, y1), (x2, y2) = (ends / size).tolist()
    return Diameter(float(np.linalg.norm(ends[1] - ends[0])), (x1, y1, x2, y2))


def _perpendicular(hull: Points, start: int, end: int) -> Points:
    """Return the ends `[2, 2]` of the longest line across a hull at right angles to its longest diameter.

    Between the ends of that diameter the hull has two sides. Its width between them changes evenly from corner to corner,
    so the largest width is at a corner.
    """
    length = np.linalg.norm(hull[end] - hull[start])
    along = (hull[end] - hull[start]) / length
    across = np.array([-along[1], along[0]])
    turned = np.roll(hull, -start, axis=0) - hull[start]
    places, offsets = turned @ along, turned @ across
    last = (end - start) % len(hull)
    one = np.interp(places, places[: last + 1], offsets[: last + 1])
    back = np.r_[0, np.arange(len(hull) - 1, last - 1, -1)]
    other = np.interp(places, places[back], offsets[back])
    widest = int(np.abs(one - other).argmax())
    middle = hull[start] + places[widest] * along
    return np.array([middle + one[widest] * across, middle + other[widest] * across])


def _outline(inside: Inside) -> Points:
    """Return the middles of the outer sides of each column's first and last pixel, among which are the hull's corners."""
    columns = np.flatnonzero(inside.any(axis=0))
    first = inside[:, columns].argmax(axis=0)
    last = inside.shape[0] - 1 - inside[::-1, columns].argmax(axis=0)
    beside = [(x, y + 0.5) for x in (columns, columns + 1) for y in (first, last)]
    points: Points = np.concatenate([(columns + 0.5, first), (columns + 0.5, last + 1), *beside], axis=1, dtype=float).T
    return points


def _hull(points: Points) -> Points:
    """Return the corners of the convex hull in order (Andrew's monotone chain)."""
    ordered = [tuple(point) for point in np.unique(points, axis=0).tolist()]
    return np.array([*_chain(ordered)[:-1], *_chain(ordered[::-1])[:-1]])


def _chain(ordered: list[tuple[float, float]]) -> list[tuple[float, float]]:
    chain: list[tuple[float, float]] = []
    for x, y in ordered:
        while len(chain) > 1:
            (ax, ay), (bx, by) = chain[-2:]
            if (bx - ax) * (y - ay) > (by - ay) * (x - ax):
                break
            chain.pop()
        chain.append((x, y))
    return chain


def _largest_piece(inside: Inside) -> Inside:
    """Return the largest part of a mask whose pixels touch at their sides."""
    width = inside.shape[1]
    edges = np.diff(inside, axis=0, prepend=False, append=False)  # where a run down a column begins, and behind its end
    columns, rows = np.nonzero(edges.T)
    column, first, behind = columns[::2], rows[::2], rows[1::2]
    piece = list(range(len(column)))

    def root(run: int) -> int:
        while piece[run] != run:
            piece[run] = piece[piece[run]]
            run = piece[run]
        return run

    bounds = np.searchsorted(column, np.arange(width + 1)).tolist()
    starts, ends = first.tolist(), behind.tolist()
    for (left, middle), (_, right) in pairwise(pairwise(bounds)):
        one, other = left, middle
        while one < middle and other < right:
            if starts[one] < ends[other] and starts[other] < ends[one]:
                piece[root(one)] = root(other)
            if ends[one] < ends[other]:
                one += 1
            else:
                other += 1
    roots = np.array([root(run) for run in range(len(piece))], int)
    largest = int(np.bincount(roots, behind - first).argmax())
    if (roots == largest).all():
        return inside
    whole = np.zeros_like(inside)
    for run in np.flatnonzero(roots == largest):
        whole[first[run] : behind[run], column[run]] = True
    return whole


def _mean(inside: Inside, image: MedicalImage) -> float | None:
    if image.values is not None:
        values = image.values[inside]
        scanned = values[np.isfinite(values)]
        return float(scanned.mean(dtype=float)) if scanned.size else None
    colours = image.pixels[inside]
    return float(colours[:, 0].mean()) if (colours == colours[:, :1]).all() else None
