"""Intervals of boxes and lengths: fits them on one split, and measures on another how often they hold the truth.

Each box that a package gives for a name that is in the image is compared with the true box of that name that it overlaps
most. Lengths are widths, heights, and the diameters of masks beside true masks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.datasets.questions import LeftOut, questions_about
from medrega_bench.evaluation.results import AnswerRow
from medrega_bench.performance.environment import Environment
from medrega_bench.result_files import Estimate
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.evaluation.bootstrap import mean_interval
from medrega_edge.evaluation.records import Record
from medrega_edge.evaluation.true_masks import MaskLine, true_masks
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.reader import read_image
from medrega_edge.inference.mask_head import MaskHead
from medrega_edge.masks import Inside, Mask
from medrega_edge.measures import Diameter, diameters
from medrega_edge.package.intervals import (
    ALL,
    BOX_LENGTHS,
    CONFIDENCES,
    DIAMETERS,
    LENGTHS,
    LEVEL,
    MASK_LENGTHS,
    OWN_LEVELS,
    BoxMargins,
    Group,
    Intervals,
    LengthFactors,
    Margins,
)
from medrega_edge.vocabulary.wording import is_finding

FEWEST = 40  # objects of a kind of image and confidence; with fewer they have no numbers of their own

_OF_BOX, _OF_MASK = ("outer", "inner"), ("mask_outer", "mask_inner")
MEASURES = (*_OF_BOX, *_OF_MASK, *LENGTHS)

Pair = tuple[float, float]  # a length and the true one


@dataclass(frozen=True)
class Case:
    """A box with the true one, and lengths with the true ones, by name. `kind` is the modality that the answer states.

    `mask_box` is the box around its mask; None where none was made. `is_finding` tells a finding from a structure.
    """

    image: str
    kind: Modality | None
    box: PixelBox
    true_box: PixelBox
    confidence: float
    lengths: Mapping[str, Pair]
    mask_box: PixelBox | None = None
    is_finding: bool = False

    @property
    def group(self) -> Group:
        """What its interval depends on."""
        return Group(self.kind, self.confidence, self.is_finding)

    @property
    def overlaps(self) -> bool:
        """Whether both boxes share an area."""
        return iou(self.box, self.true_box) > 0


@dataclass(frozen=True)
class Coverage:
    """How often intervals held the truth: of objects whose box overlaps the true one, and of all that got a box.

    `kind` is a modality, `confidence` the name of one, each "" for all; `measure` is one of `MEASURES`. `size` is
    the median of the interval's size: of an outer or inner box, its area relative to the box; of a length, its upper end
    divided by its lower one.
    """

    kind: str
    confidence: str
    measure: str
    overlapping: Estimate
    all: Estimate
    size: float


@dataclass(frozen=True)
class CoverageResult:
    """The result of `medrega bench coverage`."""

    command: str
    split: str
    environment: Environment
    package: str
    level: float
    data: str
    coverage: tuple[Coverage, ...]
    schema_version: int = 1


def items_of(records: Sequence[Record]) -> Iterator[EvaluationItem]:
    """Ask for each object of each image by its English name."""
    for record in records:
        for question in questions_about(record, (Language.EN,)):
            if not isinstance(question, LeftOut) and question.task is Task.DETECT:
                yield EvaluationItem(question, record.dataset, (record.width, record.height))


@dataclass(frozen=True)
class MaskCase:
    """The box around the mask in a box of an answer, and its diameters with the true ones, by name."""

    box: PixelBox
    diameters: Mapping[str, Pair]


class MaskMeasures:
    """Measures true masks and those of a package, in pixels."""

    def __init__(self, head: MaskHead, folder: Path, lines: Mapping[str, MaskLine], records: Sequence[Record]) -> None:
        """`folder` and `lines` are those of the true masks."""
        self._head, self._folder = head, folder
        self._records = {str(record.image): (record, lines[record.id]) for record in records if record.id in lines}
        self._last: tuple[str, MedicalImage] | None = None  # rows of one image follow each other

    def __call__(self, row: AnswerRow) -> list[MaskCase | None]:
        """Return what is measured of the mask in each box of an answer; no diameters for several true objects."""
        if row.object in self._head.spec.wrong:
            return [None for _ in row.boxes]
        known = self._records.get(row.image)
        truth = None if known is None or len(row.true_boxes) != 1 else self._truth(*known, str(row.object))
        true = None if truth is None else diameters(truth, (1.0, 1.0))
        if self._last is None or self._last[0] != row.image:
            self._last = row.image, read_image(row.image)
        masks = self._head.segment(self._last[1], [PixelBox(*box) for box in row.boxes])
        return [None if mask is None else _mask_case(mask, true) for mask in masks]

    def _truth(self, record: Record, line: MaskLine, label: str) -> Inside | None:
        masks = (inside for region, inside in true_masks(self._folder, line, record) if region.label_en == label)
        return next(masks, None)


def _mask_case(mask: Mask, true: tuple[Diameter, Diameter] | None) -> MaskCase:
    if true is None:
        return MaskCase(mask.box, {})
    mine = diameters(mask.inside(), (1.0, 1.0))
    return MaskCase(
        mask.box, {name: (one.length, other.length) for name, one, other in zip(DIAMETERS, mine, true, strict=True)}
    )


def cases(rows: Iterable[AnswerRow], measures: Callable[[AnswerRow], list[MaskCase | None]] | None) -> Iterator[Case]:
    """Compare each box of each answer with the true box that it overlaps most, or that is nearest."""
    for row in rows:
        true_boxes = [PixelBox(*box) for box in row.true_boxes]
        of_masks: list[MaskCase | None] = measures(row) if measures and row.boxes else [None for _ in row.boxes]
        boxes = (PixelBox(*corners) for corners in row.boxes)
        for box, confidence, masked in zip(boxes, row.confidences, of_masks, strict=True):
            if confidence is None:  # a package without scores
                continue
            true = max(true_boxes, key=lambda other: (iou(box, other), -math.dist(_middle(box), _middle(other))))
            lengths = dict(zip(BOX_LENGTHS, _sides(box, true), strict=True))
            if masked is not None:
                lengths |= dict(zip(MASK_LENGTHS, _sides(masked.box, true), strict=True))
                lengths |= masked.diameters
            kind = Modality(row.recognised) if row.recognised else None
            around = masked.box if masked else None
            yield Case(row.image, kind, box, true, confidence, lengths, around, is_finding(str(row.object)))


def _sides(box: PixelBox, true: PixelBox) -> tuple[Pair, Pair]:
    return (box.x2 - box.x1, true.x2 - true.x1), (box.y2 - box.y1, true.y2 - true.y1)


def _middle(box: PixelBox) -> tuple[float, float]:
    return box.x1 + box.x2, box.y1 + box.y2


def fit(found: Sequence[Case], weights: str, data: str) -> Intervals:
    """Fit the numbers of each kind of image and confidence with enough objects, and those of the others together.

    Each object belongs to one group of a measure, so that the claim holds in each group.
    """
    overlapping = [case for case in found if case.overlaps]
    kinds: dict[str, dict[str, Margins]] = {}
    for kind, level, group in _groups(overlapping):
        if kind != ALL and level in OWN_LEVELS and (margins := _margins(group)) != Margins():
            kinds.setdefault(kind, {})[level] = margins
    of_all = {ALL: _margins(overlapping)}
    for level in CONFIDENCES:
        of_all[level] = _margins([case for case in overlapping if level in case.group.levels])
    for level in OWN_LEVELS:
        group = [case for case in overlapping if level in case.group.levels]
        own = [kinds.get(case.kind or ALL, {}).get(level, Margins()) for case in group]
        box = _box([case for case, has in zip(group, own, strict=True) if has.box is None]) or _box(group)
        others = [case for case, has in zip(group, own, strict=True) if has.mask_box is None]
        around = _box(others, True) or _box(group, True)
        lengths = {}
        for name in LENGTHS:
            others = [case for case, has in zip(group, own, strict=True) if name not in has.lengths]
            if (factors := _factors(others, name) or _factors(group, name)) is not None:
                lengths[name] = factors
        if (margins := Margins(box, lengths, around)) != Margins():
            of_all[level] = margins
    return Intervals(weights, LEVEL, data, {ALL: of_all, **kinds})


def _groups(found: Sequence[Case]) -> Iterator[tuple[str, str, list[Case]]]:
    """Yield all objects, then those of each kind of image, each also by level."""
    for kind in (ALL, *sorted({case.kind for case in found if case.kind})):
        of_kind = [case for case in found if kind in (ALL, case.kind)]
        yield kind, ALL, of_kind
        for level in (*CONFIDENCES, *OWN_LEVELS):
            yield kind, level, [case for case in of_kind if level in case.group.levels]


def _margins(group: Sequence[Case]) -> Margins:
    found = {name: factors for name in LENGTHS if (factors := _factors(group, name)) is not None}
    return Margins(_box(group), found, _box(group, True))


def _box(group: Sequence[Case], of_mask: bool = False) -> BoxMargins | None:
    """Fit the margins of boxes, or of those around masks; None for too few."""
    pairs = [(box, case.true_box) for case in group if (box := case.mask_box if of_mask else case.box) is not None]
    if len(pairs) < FEWEST:
        return None
    outer, inner = (highest([score(*pair) for pair in pairs], LEVEL) for score in (_outside, _inside))
    return BoxMargins(len(pairs), _up(outer), _up(inner))


def _factors(group: Sequence[Case], name: str) -> LengthFactors | None:
    """Fit the factors of a length; None for too few."""
    ratios = [true / length for length, true in (case.lengths[name] for case in group if name in case.lengths)]
    if len(ratios) < FEWEST:
        return None
    tail = (1 - LEVEL) / 2
    low = -highest([-ratio for ratio in ratios], 1 - tail)
    return LengthFactors(len(ratios), -_up(-low), _up(highest(ratios, 1 - tail)))


def highest(scores: Sequence[float], level: float) -> float:
    """Return the score that a further one stays below, or at, with the probability `level`.

    Of n scores it is the one at place ceil((n + 1) level): this holds for any distribution, if the further one might as well
    have been any of them.
    """
    return sorted(scores)[math.ceil((len(scores) + 1) * level) - 1]


def _up(value: float) -> float:
    return math.ceil(value * 1e4) / 1e4


def _outside(box: PixelBox, true: PixelBox) -> float:
    """Return the share of its sides by which a box has to grow to hold the true one."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return max((x1 - true.x1) / width, (true.x2 - x2) / width, (y1 - true.y1) / height, (true.y2 - y2) / height)


def _inside(box: PixelBox, true: PixelBox) -> float:
    """Return the share of its sides by which a box has to shrink on each side to lie in the true one."""
    x1, y1, x2, y2 = box
    width, height = x2 - x1, y2 - y1
    return max((true.x1 - x1) / width, (x2 - true.x2) / width, (true.y1 - y1) / height, (y2 - true.y2) / height)


def coverage(found: Sequence[Case], intervals: Intervals) -> Iterator[Coverage]:
    """Measure how often intervals hold the truth, over all images, for each kind of them and each confidence."""
    for kind, level, group in _groups(found):
        for measure in MEASURES:
            held = [(case, result) for case in group if (result := _held(case, measure, intervals)) is not None]
            mine = [(case, result) for case, result in held if case.overlaps]
            if mine and ALL in (kind, level):
                size = float(np.median([size for _, (_, size) in mine]))
                yield Coverage(kind, level, measure, _estimate(mine), _estimate(held), round(size, 3))


def _held(case: Case, measure: str, intervals: Intervals) -> tuple[bool, float] | None:
    """Return whether the interval holds the truth, and how large it is; None where there is none."""
    if measure in (*_OF_BOX, *_OF_MASK):
        box = case.mask_box if measure in _OF_MASK else case.box
        around = None if box is None else intervals.around(box, case.group, measure in _OF_MASK)
        if around is None or box is None:
            return None
        inner, outer = around
        if measure.endswith("outer"):
            return outer.contains(case.true_box), outer.area / box.area
        return (True, 0.0) if inner is None else (case.true_box.contains(inner), inner.area / box.area)
    if measure not in case.lengths:
        return None
    length, true = case.lengths[measure]
    found = intervals.of_length(length, measure, case.group)
    return None if found is None else (found[0] <= true <= found[1], found[1] / max(found[0], 1e-9))


def _estimate(held: Sequence[tuple[Case, tuple[bool, float]]]) -> Estimate:
    values = np.array([is_held for _, (is_held, _) in held], float)
    return Estimate(len(values), float(values.mean()), mean_interval(values, [case.image for case, _ in held]))
