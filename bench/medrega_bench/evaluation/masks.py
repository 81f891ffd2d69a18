"""How good masks are: Dice from the name alone and given the true box, and how often a mask leaves its box."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medrega_bench.performance.environment import Environment
from medrega_bench.performance.spread import Spread
from medrega_bench.result_files import Estimate
from medrega_edge.boxes import PixelBox
from medrega_edge.engine import Engine
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.bootstrap import mean_interval
from medrega_edge.evaluation.records import Record
from medrega_edge.evaluation.true_masks import MaskLine, true_masks
from medrega_edge.images.reader import read_image
from medrega_edge.inference.confidence import calibrated, fit
from medrega_edge.inference.mask_head import MaskFeatures, MaskHead
from medrega_edge.masks import Inside, Mask

OUTSIDE = 0.05  # share of a mask's pixels outside its box from which on it leaves the box
_PARTS = 20  # of an IoU, as hits and misses for the fit of a calibration


@dataclass(frozen=True)
class MaskRow:
    """One object of one image. `by_name` and `by_box` are Dice; the first is None where the package lacks the name.

    `score` is what the mask head predicts for the true boxes, raw; `iou` is the true one. `leaves` tells whether a mask of
    them leaves its box.
    """

    dataset: str
    image: str
    label: str
    by_name: float | None
    by_box: float
    iou: float
    score: float
    leaves: bool


@dataclass(frozen=True)
class MaskFigures:
    """Means over the objects of a data set, or of a label in it; `label` is "" for all."""

    dataset: str
    label: str
    by_name: Estimate | None
    by_box: Estimate
    leaves: float


@dataclass(frozen=True)
class MaskResult:
    """The result of `medrega bench masks`; times are in milliseconds, of what runs once an image and once a box."""

    command: str
    split: str
    environment: Environment
    package: str
    images: int
    figures: tuple[MaskFigures, ...]
    calibration: tuple[float, float]
    score_error: float
    encode_ms: Spread
    decode_ms: Spread
    schema_version: int = 1


class Measurement:
    """Makes masks of annotated images, and notes the times."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        """`folder` holds the true masks; raises PackageError for a package without a mask head."""
        self._engine, self._folder = engine, folder
        self._head = MaskHead(engine.package, engine.threads, engine.device)
        self._head.spec = replace(self._head.spec, calibration=())
        self.encode_ms: list[float] = []
        self.decode_ms: list[float] = []

    def rows(self, record: Record, line: MaskLine) -> Iterator[MaskRow]:
        """Yield a row for each object of an image that has a true mask."""
        true = list(true_masks(self._folder, line, record))
        if not true:
            return
        begun = time.perf_counter()
        features = self._head.encode(read_image(record.image))
        self.encode_ms.append((time.perf_counter() - begun) * 1000)
        encoded = self._engine.open(record.image)
        for region, truth in true:
            masks = [self._segment(features, box) for box in region.boxes]
            given = _union(masks, truth)
            try:
                found = self._engine.detect(encoded, region.label_en, "en").regions
                named = [self._segment(features, each.box) for each in found]
                by_name = dice(_union(named, truth), truth)
            except UsageError:  # a name that the package does not know
                by_name = None
            scores = [mask.score if mask else 0.0 for mask in masks]
            yield MaskRow(
                record.dataset,
                str(record.id),
                region.label_en,
                by_name,
                dice(given, truth),
                float((given & truth).sum() / (given | truth).sum()),
                float(np.mean(scores)),
                any(mask and outside(mask, box) > OUTSIDE for mask, box in zip(masks, region.boxes, strict=True)),
            )

    def _segment(self, features: MaskFeatures, box: PixelBox) -> Mask | None:
        begun = time.perf_counter()
        mask = self._head.segment(features, box)
        self.decode_ms.append((time.perf_counter() - begun) * 1000)
        return mask


def dice(a: Inside, b: Inside) -> float:
    """Return twice the shared area over the sum of both; `b` is not empty."""
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


def outside(mask: Mask, box: PixelBox) -> float:
    """Return the share of a mask's pixels whose centres lie outside a box."""
    inside = mask.inside()
    rows, columns = (np.arange(side) + 0.5 for side in inside.shape)
    within = inside[np.ix_((rows >= box.y1) & (rows < box.y2), (columns >= box.x1) & (columns < box.x2))]
    return 1 - float(within.sum()) / mask.area


def figures(rows: Sequence[MaskRow]) -> Iterator[MaskFigures]:
    """Yield the means of all objects, of each data set, and of each label in a data set of several."""
    yield _figures("", "", rows)
    for dataset in sorted({row.dataset for row in rows}):
        mine = [row for row in rows if row.dataset == dataset]
        yield _figures(dataset, "", mine)
        labels = sorted({row.label for row in mine})
        for label in labels if len(labels) > 1 else ():
            yield _figures(dataset, label, [row for row in mine if row.label == label])


def _figures(dataset: str, label: str, rows: Sequence[MaskRow]) -> MaskFigures:
    named = [row for row in rows if row.by_name is not None]
    return MaskFigures(
        dataset,
        label,
        _estimate([row.by_name or 0.0 for row in named], named) if named else None,
        _estimate([row.by_box for row in rows], rows),
        float(np.mean([row.leaves for row in rows])),
    )


def _estimate(values: Sequence[float], rows: Sequence[MaskRow]) -> Estimate:
    return Estimate(len(values), float(np.mean(values)), mean_interval(np.array(values), [row.image for row in rows]))


def fit_scores(rows: Sequence[MaskRow]) -> tuple[float, float]:
    """Fit slope and offset that turn a predicted IoU into the expected one, given the true box."""
    scores, hits = [], []
    for row in rows:
        share = round(row.iou * _PARTS)
        scores += [row.score] * _PARTS
        hits += [True] * share + [False] * (_PARTS - share)
    return fit(scores, hits)


def score_error(rows: Sequence[MaskRow], calibration: tuple[float, ...]) -> float:
    """Return the mean distance between the score and the true IoU, given the true box."""
    return float(np.mean([abs(calibrated(row.score, calibration) - row.iou) for row in rows]))


def _union(masks: Sequence[Mask | None], truth: Inside) -> Inside:
    whole = np.zeros_like(truth)
    for mask in masks:
        if mask is not None:
            whole |= mask.inside()
    return whole
