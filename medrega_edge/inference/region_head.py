"""The region head: all boxes of an object in one run of a small graph, whose query is the decoder's hidden state.

    head.ask(query, maps) -> Readings -> boxes_of(readings, spec, extent) -> [SquareBox]

An object has the boxes at the peaks of its centres, or one box whose edges are medians of four distributions. Boxes are
fractions of the square that the vision tower sees.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import PackageError
from medrega_edge.inference.devices import check_shape, open_session
from medrega_edge.package.manifest import REGION_HEAD, RegionSpec
from medrega_edge.package.package import PackageContents

Floats = npt.NDArray[np.float32]
Doubles = npt.NDArray[np.float64]

MAX_BOXES = 100  # of one object
EDGES = 4
NEAR = 1 / 6  # of a box's side: an edge this far from the median still counts as the same edge
LEAST_NEAR = 0.5  # bins


class RegionMaps(NamedTuple):
    """What the tower makes of an image for the head: `places` `[1, P, W]`, `fine` `[1, C, bins, bins]`.

    `tokens` `[1, P, hidden]` is for the language model; see `RegionSpec`. Places are row by row in a square.
    """

    places: Floats
    fine: Floats
    tokens: Floats

    def pooled(self, boxes: Sequence[Sequence[float]]) -> Floats:
        """Return the mean of the tokens `[hidden]` under boxes, x1, y1, x2, y2 in fractions of the square."""
        tokens = self.tokens[0]
        share = covered(boxes, math.isqrt(len(tokens))).reshape(-1)
        mean: Floats = (share / max(float(share.sum()), 1e-6)) @ tokens
        return mean


class Readings(NamedTuple):
    """What the head says of one query.

    `edges` `[4, bins]` are distributions of left, top, right, bottom; `presence` is a probability; `centres` `[bins, bins]`
    are probabilities; `distances` `[4, bins, bins]` reach from the centre of a place to the four edges of its box.
    """

    edges: Floats
    presence: float
    centres: Floats
    distances: Floats


class SquareBox(NamedTuple):
    """A box in fractions of the square, `x1 <= x2` and `y1 <= y2`, with its raw score 0..1."""

    x1: float
    y1: float
    x2: float
    y2: float
    score: float


class RegionHead:
    """The head's graph. A second thread spares 0.7 of 3.4 ms of a question (2026-11-29)."""

    def __init__(self, contents: PackageContents, threads: int, device: str) -> None:
        """Load the graph; raises PackageError for a package without one, or whose graph differs from the manifest."""
        manifest = contents.package.manifest
        if manifest.regions is None:
            raise PackageError("package.missing_role", role=REGION_HEAD)
        self.spec: RegionSpec = manifest.regions
        spec, bins = self.spec, self.spec.bins
        shapes: dict[str, tuple[int | None, ...]] = {
            spec.query: (1, 1, manifest.decoder.hidden),
            spec.places: (1, None, None),
            spec.fine: (1, None, bins, bins),
            spec.edges: (1, 1, EDGES, bins),
            spec.presence: (1, 1),
            spec.centres: (1, 1, bins, bins),
            spec.distances: (1, 1, EDGES, bins, bins),
        }
        inputs = {spec.query, spec.places, spec.fine}
        self._outputs = [spec.edges, spec.presence, spec.centres, spec.distances]
        self._session = open_session(contents, REGION_HEAD, threads, device, inputs, set(self._outputs), mapped=False)
        for name, shape in shapes.items():
            check_shape(self._session, REGION_HEAD, name, shape)
        self._shapes = [shapes[name] for name in self._outputs]

    def ask(self, query: Floats, maps: RegionMaps) -> Readings:
        """Ask about an object: `query` `[1, hidden]`. Raises PackageError where the graph does not fit its inputs."""
        spec = self.spec
        inputs = {spec.query: query[None], spec.places: maps.places, spec.fine: maps.fine}
        try:
            outputs = self._session.run(self._outputs, inputs)
        except Exception:  # onnxruntime's exceptions share no base class
            raise PackageError("inference.graph_not_as_in_manifest", role=REGION_HEAD) from None
        if [output.shape for output in outputs] != self._shapes:
            raise PackageError("inference.graph_not_as_in_manifest", role=REGION_HEAD)
        edges, presence, centres, distances = outputs
        return Readings(edges[0, 0], min(1.0, max(0.0, float(presence[0, 0]))), centres[0, 0], distances[0, 0])


def covered(boxes: Sequence[Sequence[float]], grid: int) -> Floats:
    """Return the share of each of `grid` x `grid` places that is covered, by the box that covers most of it."""
    x1, y1, x2, y2 = (column[:, None] * grid for column in np.asarray(boxes, np.float32).T)
    start = np.arange(grid, dtype=np.float32)
    x = np.clip(np.minimum(start + 1, x2) - np.maximum(start, x1), 0, None)
    y = np.clip(np.minimum(start + 1, y2) - np.maximum(start, y1), 0, None)
    share: Floats = np.max(y[:, :, None] * x[:, None, :], axis=0)
    return share


def boxes_of(readings: Readings, spec: RegionSpec, extent: tuple[float, float]) -> list[SquareBox]:
    """Return the boxes of an object, best first: those at the peaks if there are two or more, else the median box.

    They are clipped to the part of the square that the image covers.
    """
    rows, columns = peaks(readings.centres, spec.several)
    boxes = boxes_at(rows, columns, readings.distances)
    kept = suppress(boxes, spec.overlap)
    probabilities = readings.centres[rows, columns]
    several = [_clipped(boxes[i], extent, readings.presence * float(probabilities[i])) for i in kept]
    several = [box for box in several if box.x1 < box.x2 and box.y1 < box.y2]
    return several[:MAX_BOXES] if len(several) > 1 else [median_box(readings, extent)]


def median_box(readings: Readings, extent: tuple[float, float]) -> SquareBox:
    """Return the box of the four medians, clipped as by `boxes_of`.

    Its score is presence times the geometric mean of its edges' certainty: the mass near each median.
    """
    medians = [interpolated_median(edge) for edge in readings.edges]
    sides = [abs(medians[(number + 2) % EDGES] - median) for number, median in enumerate(medians)]
    edges = zip(readings.edges, medians, sides, strict=True)
    certainty = math.prod(mass_around(edge, median, NEAR * side) for edge, median, side in edges) ** (1 / EDGES)
    x1, y1, x2, y2 = medians
    box = (min(x1, x2), min(y1, y2), max(x1, x2), max(y1, y2))
    return _clipped(box, extent, readings.presence * certainty)


def interpolated_median(distribution: npt.NDArray[np.floating]) -> float:
    """Return the place 0..1 that has half of the mass `[bins]` on its left; inside a bin the mass is spread evenly."""
    reached = np.cumsum(distribution, dtype=np.float64)
    number = min(int((reached < 0.5).sum()), len(reached) - 1)
    inside = float(distribution[number])
    share = (0.5 - (float(reached[number]) - inside)) / max(inside, 1e-9)
    return (number + min(1.0, max(0.0, share))) / len(reached)


def mass_around(distribution: npt.NDArray[np.floating], place: float, reach: float) -> float:
    """Return the mass `[bins]` that lies within `reach` of `place`, both 0..1; the reach is at least half a bin."""
    bins = len(distribution)
    reached = np.concatenate([[0.0], np.cumsum(distribution, dtype=np.float64)])
    span = max(reach * bins, LEAST_NEAR)
    low, high = np.interp([place * bins - span, place * bins + span], np.arange(bins + 1), reached)
    return float(min(1.0, max(0.0, high - low)))


def peaks(centres: Floats, least: float) -> tuple[npt.NDArray[np.intp], npt.NDArray[np.intp]]:
    """Return rows and columns of the places that are at least `least` and the largest of their 3 x 3 neighbours.

    The most probable comes first; of equal ones the upper, then the left one.
    """
    height, width = centres.shape
    rows, columns = np.nonzero(centres >= least)
    if len(rows) == 0:
        return rows, columns
    framed = np.pad(centres, 1, constant_values=-np.inf)
    around = np.max([framed[y : y + height, x : x + width] for y in range(3) for x in range(3)], axis=0)
    rows, columns = np.nonzero((centres == around) & (centres >= least))
    order = np.argsort(-centres[rows, columns], kind="stable")
    return rows[order], columns[order]


def boxes_at(rows: npt.NDArray[np.intp], columns: npt.NDArray[np.intp], distances: Floats) -> Doubles:
    """Return the boxes `[n, 4]` at places of the grid, from `distances` `[4, bins, bins]`."""
    centres = (np.stack([columns, rows, columns, rows], axis=-1) + 0.5) / distances.shape[-1]
    return np.asarray(centres + distances[:, rows, columns].T * (-1.0, -1.0, 1.0, 1.0), np.float64)


def suppress(boxes: Doubles, overlap: float) -> list[int]:
    """Return the indices of `boxes` `[n, 4]`, best first, without those whose IoU with a better one is above `overlap`."""
    areas = np.prod(boxes[:, 2:] - boxes[:, :2], axis=1)
    kept: list[int] = []
    left = np.arange(len(boxes))
    while len(left):
        best, others = int(left[0]), left[1:]
        kept.append(best)
        low, high = np.maximum(boxes[others, :2], boxes[best, :2]), np.minimum(boxes[others, 2:], boxes[best, 2:])
        shared = np.prod(np.maximum(high - low, 0.0), axis=1)
        left = others[shared <= overlap * np.maximum(areas[others] + areas[best] - shared, 1e-9)]
    return kept


def _clipped(box: Sequence[float] | Doubles, extent: tuple[float, float], score: float) -> SquareBox:
    x1, y1, x2, y2 = (min(max(float(place), 0.0), end) for place, end in zip(box, extent * 2, strict=True))
    return SquareBox(x1, y1, x2, y2, score)
