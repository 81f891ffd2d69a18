"""Figures that other publications have, too: SLAKE's boxes and questions, VQA-RAD without shared images, sides confused, and
what can be answered at a given error.

Thresholds are chosen on val and reported on test.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from medrega_bench.datasets.evaluation_set import EvaluationItem
from medrega_bench.evaluation.asker import Asked, Asker
from medrega_bench.evaluation.blind_answers import FreeAnswer, free_answers, is_right
from medrega_bench.evaluation.field_result import (
    BOXES,
    CLASSES,
    FREE,
    BoxFigures,
    ImageSplit,
    OperatingPoint,
    Selective,
    SideFigures,
)
from medrega_bench.evaluation.figures import estimate
from medrega_bench.evaluation.results import AnswerRow, FigureSet
from medrega_bench.evaluation.tables import figures_of, measure_rows
from medrega_bench.metrics import sides
from medrega_bench.metrics.selective import Case, aurc, curve, least_sure
from medrega_bench.result_files import Estimate
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.matching import HIT, match
from medrega_edge.evaluation.questions import ONE_LABEL
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.templates import DETECT_QUESTION

ERRORS = (0.2, 0.1)  # shares of wrong answers at which coverage is reported
CURVE_POINTS = 100  # of a curve in a result


@dataclass(frozen=True)
class LocatedRegion:
    """One named structure of an image, with its true boxes and those that were found, the surest first."""

    record: Record
    label: str
    true: tuple[PixelBox, ...]
    found: tuple[tuple[PixelBox, float], ...]

    @property
    def best_iou(self) -> float:
        """The IoU of the surest box with the true one; 0 without a box."""
        return iou(self.found[0][0], self.true[0]) if self.found else 0.0


@dataclass(frozen=True)
class Answers:
    """Everything that was asked about one split; boxes and classes in English, since they are the same in Chinese."""

    regions: Sequence[LocatedRegion]
    free: Sequence[FreeAnswer]
    classes: Sequence[Case]


def answers(asker: Asker, records: Sequence[Record], items: Sequence[EvaluationItem]) -> Answers:
    """Ask where each annotated structure is, every free question, and every class of one."""
    classes = [item for item in items if item.question.setting == ONE_LABEL and item.question.language is Language.EN]
    regions = list(located(asker, records))
    return Answers(regions, list(free_answers(asker, items)), [_class_case(asker, item) for item in classes])


def located(asker: Asker, records: Sequence[Record]) -> Iterator[LocatedRegion]:
    """Ask where each annotated structure is."""
    for record in records:
        for region in record.targets if not record.dup_of_eval else ():
            question = DETECT_QUESTION[Language.EN].format(x=region.label_en)
            said = asker.ask(Asked(record.image, question, Language.EN, Task.DETECT))
            yield LocatedRegion(record, region.label_en, region.boxes, tuple(said.boxes_of(region.label_en)))


def _class_case(asker: Asker, item: EvaluationItem) -> Case:
    question = item.question
    said = asker.ask(Asked(question.image, question.question, Language.EN, Task.CLASSIFY, labels=question.labels))
    label, confidence = said.labels[0] if said.labels else ("", 0.0)
    return Case(confidence or 0.0, label in question.truth.labels, str(question.image))


def box_figures(regions: Sequence[LocatedRegion]) -> BoxFigures:
    """Return the figures of structures with one box: the surest box counts."""
    single = [region for region in regions if len(region.true) == 1]
    return _box_figures([region.best_iou for region in single], [str(region.record.image) for region in single])


def all_box_figures(regions: Sequence[LocatedRegion]) -> BoxFigures:
    """Return the figures of every annotated box, paired one to one with the boxes that were found for its name."""
    overlaps: list[float] = []
    images: list[str] = []
    for region in regions:
        paired = {column: overlap for _, column, overlap in match([box for box, _ in region.found], region.true).pairs}
        overlaps += [paired.get(column, 0.0) for column in range(len(region.true))]
        images += [str(region.record.image)] * len(region.true)
    return _box_figures(overlaps, images)


def _box_figures(overlaps: Sequence[float], images: Sequence[str]) -> BoxFigures:
    right = [float(overlap >= HIT) for overlap in overlaps]
    return BoxFigures(len(set(images)), estimate(overlaps, images), estimate(right, images))


def side_figures(regions: Sequence[LocatedRegion]) -> Iterator[SideFigures]:
    """Yield how often a box lies on the other side, over all pairs and by the pair's name."""
    rows: list[sides.Located] = []
    for image in dict.fromkeys(str(region.record.image) for region in regions):
        mine = [region for region in regions if str(region.record.image) == image]
        true = {region.label: region.true for region in mine}
        rows += sides.of_image(image, true, {region.label: region.found[0][0] if region.found else None for region in mine})
    for label in ("", *sorted({row.label for row in rows})):
        named = [row for row in rows if label in ("", row.label)]
        found = [row for row in named if row.is_found]
        swapped = estimate([float(row.is_swapped) for row in found], [row.image for row in found]) if found else None
        yield SideFigures(label, len(named), swapped)


def cases(given: Answers) -> dict[str, list[Case]]:
    """Return the answers of each kind by confidence; a question without an answer is 0 sure and wrong."""
    boxes = [
        Case(region.found[0][1] if region.found else 0.0, region.best_iou >= HIT, str(region.record.image))
        for region in given.regions
        if len(region.true) == 1
    ]
    free = [Case(each.confidence or 0.0, is_right(each.row), each.row.image) for each in given.free]
    return {BOXES: boxes, FREE: free, CLASSES: list(given.classes)}


def selective(kind: str, val: Sequence[Case], test: Sequence[Case]) -> Selective:
    """Return the curve of test, and what thresholds chosen on val give there."""
    images = [case.image for case in test]
    points = curve(test)
    step = max(1, len(points) // CURVE_POINTS)
    kept = [*points[::step], *([points[-1]] if (len(points) - 1) % step else [])]
    return Selective(
        kind,
        len(test),
        len(set(images)),
        estimate([float(not case.right) for case in test], images),
        aurc(test),
        tuple((round(coverage, 4), round(risk, 4)) for coverage, risk in kept),
        tuple(_operating_point(error, val, test) for error in ERRORS),
    )


def _operating_point(error: float, val: Sequence[Case], test: Sequence[Case]) -> OperatingPoint:
    threshold = least_sure(val, error)
    if threshold is None:
        return OperatingPoint(error, None, None, None)
    stated = [case for case in test if case.confidence >= threshold]
    coverage = estimate([float(case.confidence >= threshold) for case in test], [case.image for case in test])
    wrong = estimate([float(not case.right) for case in stated], [case.image for case in stated]) if stated else None
    return OperatingPoint(error, threshold, coverage, wrong)


@dataclass(frozen=True)
class SplitFile:
    """The content of a file with another split of a data set: names of images by part, and where it comes from."""

    source: str
    images: Mapping[str, tuple[str, ...]]


def read_split(path: Path) -> SplitFile:
    """Read another split; raises UsageError for a file that is none."""
    try:
        read: SplitFile = TypeAdapter(SplitFile).validate_json(path.read_bytes())
        read.images["test"]
    except (OSError, ValidationError, KeyError):
        raise UsageError("bench.split_unreadable", file=path.name) from None
    return read


def image_split(split: SplitFile, records: Sequence[Record]) -> ImageSplit:
    """Count the images of the other split's test part by the part of our data that they are in."""
    ours = {record.image.stem: record.split for record in records if record.dataset == "vqa_rad"}
    parts = [ours.get(name, "missing") for name in split.images["test"]]
    return ImageSplit(split.source, *(parts.count(part) for part in ("train", "val", "test", "missing")))


def free_rows(free: Sequence[FreeAnswer], setting: str, dataset: str, names: Sequence[str] | None = None) -> list[AnswerRow]:
    """Return the free questions of a data set, or of its images of these names."""
    rows = [each.row for each in free if (each.row.setting, each.row.dataset) == (setting, dataset)]
    return [row for row in rows if names is None or Path(row.image).stem in names]


def free_figures(rows: Sequence[AnswerRow]) -> FigureSet:
    """Return MedRegA's figures of free questions of one setting."""
    return figures_of(measure_rows(rows[0].setting, rows), [row.image for row in rows])


def share_right(rows: Sequence[AnswerRow]) -> Estimate:
    """Return the share of right answers, open and closed questions together."""
    return estimate([float(is_right(row)) for row in rows], [row.image for row in rows])
