"""Intervals of boxes and lengths: fits them on one split, and measures on another how often they hold the truth.

Each box that a package gives for a name that is in the image is compared with the true box of that name that it overlaps
most. Lengths are widths, heights, and the diameters of masks beside true masks.

Images of one patient err alike, so that many of them tell little about the next patient. What counts is therefore how many
objects that err independently they are worth (the design effect of Kish, 1965). To count patients instead, as the bound for
data in groups does (Lee, Barber and Willett, 2023), holds for any data, and more than it claims for patients of val that
were left out in turn.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.datasets.questions import LeftOut, questions_about
from medrega_bench.evaluation.results import AnswerRow
from medrega_bench.performance.environment import Environment
from medrega_bench.result_files import Estimate
from medrega_edge.answer import Region
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.evaluation.bootstrap import mean_interval
from medrega_edge.evaluation.records import Record
from medrega_edge.evaluation.true_masks import MaskLine, true_masks
from medrega_edge.masks import Inside
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
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.vocabulary.label_kinds import is_finding

# With fewer patients not even the largest error holds for the next one. A group with as many has numbers of its own: with
# patients of val left out in turn, kinds of image then deviated least from 90 % (2.2 points in mean, 2.5 from 40 objects).
FEWEST_PATIENTS = math.ceil(LEVEL / (1 - LEVEL) - 1e-9)

_OF_BOX, _OF_MASK = ("outer", "inner"), ("mask_outer", "mask_inner")
MEASURES = (*_OF_BOX, *_OF_MASK, *LENGTHS)

Pair = tuple[float, float]  # a length and the true one


@dataclass(frozen=True)
class Case:
    """A box with the true one, and lengths with the true ones, by name. `kind` is the modality that the answer states.

    `is_finding` tells a finding from a structure. A box around a mask is a case of its own (`of_mask`), because `segment`
    may be less confident of it than `locate` is of the box that the mask was made in.
    """

    patient: str
    kind: Modality | None
    box: PixelBox
    true_box: PixelBox
    confidence: float
    lengths: Mapping[str, Pair]
    is_finding: bool = False
    of_mask: bool = False

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


class Masked:
    """Segments what a question asks for, as a user does, and measures masks and true masks in pixels."""

    def __init__(self, engine: Engine, folder: Path, lines: Mapping[str, MaskLine], records: Sequence[Record]) -> None:
        """`folder` and `lines` are those of the true masks."""
        self._engine, self._folder = engine, folder
        self._records = {str(record.image): (record, lines[record.id]) for record in records if record.id in lines}
        self._last: tuple[str, EncodedImage] | None = None  # rows of one image follow each other

    def __call__(self, row: AnswerRow) -> Iterator[tuple[Region, Mapping[str, Pair]]]:
        """Yield each region that has a mask, and its diameters with the true ones; no diameters for several true objects."""
        if self._last is None or self._last[0] != row.image:
            self._last = row.image, self._engine.open(row.image)
        known = self._records.get(row.image)
        truth = None if known is None or len(row.true_boxes) != 1 else self._truth(*known, str(row.object))
        true = None if truth is None else diameters(truth, (1.0, 1.0))
        for region in self._engine.run(self._last[1], Segment((str(row.object),)), Language.EN).regions:
            if region.mask is not None:
                yield region, {} if true is None else dict(_pairs(diameters(region.mask.inside(), (1.0, 1.0)), true))

    def _truth(self, record: Record, line: MaskLine, label: str) -> Inside | None:
        masks = (inside for region, inside in true_masks(self._folder, line, record) if region.label_en == label)
        return next(masks, None)


def _pairs(mine: tuple[Diameter, Diameter], true: tuple[Diameter, Diameter]) -> Iterator[tuple[str, Pair]]:
    for name, one, other in zip(DIAMETERS, mine, true, strict=True):
        yield name, (one.length, other.length)


def patients_of(records: Iterable[Record]) -> dict[str, str]:
    """Return the patient of each image, by its path; where a record names none, the image is one of its own."""
    return {str(record.image): patient_of(record) for record in records}


def patient_of(record: Record) -> str:
    """Name the patient of a record among those of all data sets; an image without one is of its own."""
    return f"{record.dataset} {record.patient or record.id}"


def cases(rows: Iterable[AnswerRow], patients: Mapping[str, str], masked: Masked | None) -> Iterator[Case]:
    """Compare each box of each answer, and each box around a mask, with the true box that it overlaps most, or the nearest.

    `patients` are those of the images, by path. A package without scores has no cases, and its boxes no intervals.
    """
    for row in rows:
        true_boxes = [PixelBox(*box) for box in row.true_boxes]
        kind = Modality(row.recognised) if row.recognised else None
        patient = patients[row.image]
        what = is_finding(str(row.object))
        for corners, confidence in zip(row.boxes, row.confidences, strict=True):
            if confidence is not None:
                box = PixelBox(*corners)
                true = _nearest(box, true_boxes)
                lengths = dict(zip(BOX_LENGTHS, _sides(box, true), strict=True))
                yield Case(patient, kind, box, true, confidence, lengths, what)
        for region, of_mask in masked(row) if masked and row.boxes else ():
            if region.confidence is not None:
                true = _nearest(region.box, true_boxes)
                lengths = dict(zip(MASK_LENGTHS, _sides(region.box, true), strict=True)) | dict(of_mask)
                yield Case(patient, kind, region.box, true, region.confidence, lengths, what, of_mask=True)


def _nearest(box: PixelBox, true_boxes: Iterable[PixelBox]) -> PixelBox:
    """Return the true box that overlaps a box most, of those that do not the one whose middle is nearest."""
    return max(true_boxes, key=lambda other: (iou(box, other), -math.dist(_middle(box), _middle(other))))


def _sides(box: PixelBox, true: PixelBox) -> tuple[Pair, Pair]:
    return (box.x2 - box.x1, true.x2 - true.x1), (box.y2 - box.y1, true.y2 - true.y1)


def _middle(box: PixelBox) -> tuple[float, float]:
    return box.x1 + box.x2, box.y1 + box.y2


def fit(found: Sequence[Case], weights: str, data: str) -> Intervals:
    """Fit the numbers of each kind of image and confidence with enough objects, and those of the others together.

    Each object belongs to one group of a measure, so that the claim holds in each group. A kind without numbers
    over all confidences for a measure gets no interval of it, because the errors of other kinds do not hold for it.
    """
    overlapping = [case for case in found if case.overlaps]
    kinds: dict[str, dict[str, Margins]] = {}
    for kind, level, group in _groups(overlapping):
        if kind != ALL and level in (ALL, *OWN_LEVELS) and (margins := _margins(group)) != Margins():
            kinds.setdefault(kind, {})[level] = margins
    of_all = {ALL: _margins(overlapping)}
    for level in CONFIDENCES:
        of_all[level] = _margins([case for case in overlapping if level in case.group.levels])
    for level in OWN_LEVELS:
        group = [case for case in overlapping if level in case.group.levels]
        own = [kinds.get(case.kind or ALL, {}).get(level, Margins()) for case in group]
        box = _box([case for case, has in zip(group, own, strict=True) if has.box is None]) or _box(group)
        others = [case for case, has in zip(group, own, strict=True) if has.mask_box is None]
        around = _box(others, of_mask=True) or _box(group, of_mask=True)
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
    return Margins(_box(group), found, _box(group, of_mask=True))


def _box(group: Sequence[Case], of_mask: bool = False) -> BoxMargins | None:
    """Fit the margins of boxes, or of those around masks; None for too few."""
    mine = [case for case in group if case.of_mask == of_mask]
    outer, inner = (_highest(mine, [score(case.box, case.true_box) for case in mine]) for score in (_outside, _inside))
    return None if outer is None or inner is None else BoxMargins(len(mine), _up(outer), _up(inner))


def _factors(group: Sequence[Case], name: str) -> LengthFactors | None:
    """Fit the factors of a length, as far from the usual error one way as the other; None for too few."""
    mine = [case for case in group if name in case.lengths]
    if not mine:
        return None
    errors = np.log([true / length for length, true in (case.lengths[name] for case in mine)])
    usual = float(np.median(errors))
    around = _highest(mine, np.abs(errors - usual).tolist())
    if around is None:
        return None
    return LengthFactors(len(mine), -_up(-math.exp(usual - around)), _up(math.exp(usual + around)))


def _highest(group: Sequence[Case], scores: Sequence[float]) -> float | None:
    return highest(scores, [case.patient for case in group], LEVEL)


def highest(scores: Sequence[float], patients: Sequence[str], level: float) -> float | None:
    """Return the score that an object of a further patient stays below, or at, with the probability `level`.

    `patients` are those of the scores. Where each has one object, it is the score at place ceil((n + 1) level) of n: this
    holds for any distribution, if the further patient might as well have been any of them. Where they have several, n is the
    number of independent objects that they are worth, which is an estimate. None for fewer than `FEWEST_PATIENTS` patients.
    """
    if len(set(patients)) < FEWEST_PATIENTS:
        return None
    ordered = sorted(scores)
    below = np.array(scores) <= ordered[math.ceil(len(scores) * level - 1e-9) - 1]
    worth = independent(below, patients)
    place = math.ceil(len(scores) * level * (worth + 1) / worth - 1e-9)
    return ordered[place - 1] if place <= len(ordered) else None


def independent(values: npt.NDArray[np.bool_], patients: Sequence[str]) -> float:
    """Return how many independent values those of some patients are worth: from the number of patients to that of values.

    It is their number divided by the design effect: the variance of their mean over patients, each drawn with all of its
    values, relative to that of as many independent values.
    """
    _, of_value = np.unique(patients, return_inverse=True)
    count, mean = int(of_value.max()) + 1, values.mean()
    variance = mean * (1 - mean) / len(values)
    if not variance or count < 2:
        return count
    errors = np.bincount(of_value, weights=values - mean)
    effect = (errors**2).sum() / len(values) ** 2 * count / (count - 1) / variance
    return float(np.clip(len(values) / effect, count, len(values)))


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
        if case.of_mask != (measure in _OF_MASK):
            return None
        around = intervals.around(case.box, case.group, case.of_mask)
        if around is None:
            return None
        inner, outer = around
        if measure.endswith("outer"):
            return outer.contains(case.true_box), outer.area / case.box.area
        return None if inner is None else (case.true_box.contains(inner), inner.area / case.box.area)
    if measure not in case.lengths:
        return None
    length, true = case.lengths[measure]
    found = intervals.of_length(length, measure, case.group)
    return None if found is None else (found[0] <= true <= found[1], found[1] / max(found[0], 1e-9))


def _estimate(held: Sequence[tuple[Case, tuple[bool, float]]]) -> Estimate:
    values = np.array([is_held for _, (is_held, _) in held], float)
    return Estimate(len(values), float(values.mean()), mean_interval(values, [case.patient for case, _ in held]))
