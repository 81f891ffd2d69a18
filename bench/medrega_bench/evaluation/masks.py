"""How good masks are: Dice from the name alone and given the true box, how often a mask leaves its box, and its own box."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from medrega_bench.performance.environment import Environment
from medrega_bench.performance.spread import Spread
from medrega_bench.result_files import Estimate
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.engine import Engine
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.bootstrap import mean_interval
from medrega_edge.evaluation.records import Record
from medrega_edge.evaluation.true_masks import MaskLine, true_masks
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.inference.confidence import calibrated, fit
from medrega_edge.inference.mask_head import MaskHead
from medrega_edge.masks import Inside, Mask

OUTSIDE = 0.05  # share of a mask's pixels outside its box from which on it leaves the box
_PARTS = 20  # of an IoU, as hits and misses for the fit of a calibration


@dataclass(frozen=True)
class MaskRow:
    """One object of one image. `by_name` and `by_box` are Dice; the first is None where the package lacks the name.

    `score` is the IoU that the masks of the true boxes promise, raw; `iou` is the true one. `leaves` tells whether a mask of
    them leaves its box. `box_iou` is that of the found box with the true one, `mended_iou` that of the box of its mask: of
    one true object, and None where none was found.
    """

    dataset: str
    image: str
    label: str
    by_name: float | None
    by_box: float
    iou: float
    score: float
    leaves: bool
    box_iou: float | None = None
    mended_iou: float | None = None


@dataclass(frozen=True)
class MaskFigures:
    """Means over the objects of a data set, or of a label in it; `label` is "" for all.

    `box_iou` and `mended_iou` are those of `MaskRow`, over the objects that have them.
    """

    dataset: str
    label: str
    by_name: Estimate | None
    by_box: Estimate
    leaves: float
    box_iou: Estimate | None
    mended_iou: Estimate | None


@dataclass(frozen=True)
class MaskResult:
    """The result of `medrega bench masks`; `mask_ms` is the time of the mask of one box, in milliseconds."""

    command: str
    split: str
    environment: Environment
    package: str
    images: int
    figures: tuple[MaskFigures, ...]
    calibration: tuple[float, float]
    score_error: float
    mask_ms: Spread
    schema_version: int = 2


class Measurement:
    """Makes masks of annotated images, and notes the times."""

    def __init__(self, engine: Engine, folder: Path) -> None:
        """`folder` holds the true masks; raises PackageError for a package without a mask head."""
        self._engine, self._folder = engine, folder
        self._head = MaskHead(engine.package, engine.threads, engine.device)
        self._head.spec = replace(self._head.spec, calibration=())
        self.mask_ms: list[float] = []
        self.images = 0

    def rows(self, record: Record, line: MaskLine) -> Iterator[MaskRow]:
        """Yield a row for each object of an image that has a true mask."""
        true = list(true_masks(self._folder, line, record))
        if not true:
            return
        self.images += 1
        encoded = self._engine.open(record.image)
        for region, truth in true:
            masks = [self._segment(encoded.image, box) for box in region.boxes]
            given = _union(masks, truth)
            by_name = box_iou = mended_iou = None
            with suppress(UsageError):  # of a name that the package does not know
                found = self._engine.detect(encoded, region.label_en, "en").regions
                named = [self._segment(encoded.image, each.box) for each in found]
                by_name = dice(_union(named, truth), truth)
                if len(region.boxes) == 1 and found:
                    best = max(range(len(found)), key=lambda place: found[place].confidence or 0.0)
                    mask, (true_box,) = named[best], region.boxes
                    box_iou = iou(found[best].box, true_box)
                    mended_iou = box_iou if mask is None else iou(mask.box, true_box)
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
                box_iou,
                mended_iou,
            )

    def _segment(self, image: MedicalImage, box: PixelBox) -> Mask | None:
        begun = time.perf_counter()
        (mask,) = self._head.segment(image, [box])
        self.mask_ms.append((time.perf_counter() - begun) * 1000)
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
    return MaskFigures(
        dataset,
        label,
        _estimate_of("by_name", rows),
        _estimate([row.by_box for row in rows], rows),
        float(np.mean([row.leaves for row in rows])),
        _estimate_of("box_iou", rows),
        _estimate_of("mended_iou", rows),
    )


def _estimate_of(name: str, rows: Sequence[MaskRow]) -> Estimate | None:
    mine = [row for row in rows if getattr(row, name) is not None]
    return _estimate([getattr(row, name) for row in mine], mine) if mine else None


def _estimate(values: Sequence[float], rows: Sequence[MaskRow]) -> Estimate:
    return Estimate(len(values), float(np.mean(values)), mean_interval(np.array(values), [row.image for row in rows]))


def fit_scores(rows: Sequence[MaskRow]) -> tuple[float, float]:
    """Fit slope and offset that turn a promised IoU into the expected one, given the true box."""
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
