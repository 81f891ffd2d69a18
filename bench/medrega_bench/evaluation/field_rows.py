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
from medrega_bench.evaluation.blind_answers import FreeAnswer, free_answers, is_right, share_right
from medrega_bench.evaluation.field_result import (
    BOXES,
    CLASSES,
    FREE,
    RIGHT,
    BoxFigures,
    ImageSplit,
    OperatingPoint,
    QuestionFigures,
    Selective,
    SideFigures,
)
from medrega_bench.evaluation.figures import estimate
from medrega_bench.evaluation.intervals import patient_of, patients_of
from medrega_bench.evaluation.tables import measure_rows
from medrega_bench.metrics import sides
from medrega_bench.metrics.selective import Case, aurc, curve, least_sure
from medrega_bench.result_files import Estimate
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.matching import HIT, match
from medrega_edge.evaluation.questions import ONE_LABEL
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.templates import DETECT_QUESTION, UNSURE_ANSWER

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
    regions, patients = list(located(asker, records)), patients_of(records)
    free = list(free_answers(asker, items, patients))
    return Answers(regions, free, [_class_case(asker, item, patients) for item in classes])


def located(asker: Asker, records: Sequence[Record]) -> Iterator[LocatedRegion]:
    """Ask where each annotated structure is."""
    for record in records:
        for region in record.targets if not record.dup_of_eval else ():
            question = DETECT_QUESTION[Language.EN].format(x=region.label_en)
            said = asker.ask(Asked(record.image, question, Language.EN, Task.DETECT))
            yield LocatedRegion(record, region.label_en, region.boxes, tuple(said.boxes_of(region.label_en)))


def _class_case(asker: Asker, item: EvaluationItem, patients: Mapping[str, str]) -> Case:
    question = item.question
    said = asker.ask(Asked(question.image, question.question, Language.EN, Task.CLASSIFY, labels=question.labels))
    label, confidence = said.labels[0] if said.labels else ("", 0.0)
    is_stated = said.text not in UNSURE_ANSWER.values()
    image = str(question.image)
    return Case(confidence or 0.0, label in question.truth.labels, image, patients[image], is_stated)


def box_figures(regions: Sequence[LocatedRegion]) -> BoxFigures:
    """Return the figures of structures with one box: the surest box counts."""
    single = [region for region in regions if len(region.true) == 1]
    return _box_figures([region.best_iou for region in single], [region.record for region in single])


def all_box_figures(regions: Sequence[LocatedRegion]) -> BoxFigures:
    """Return the figures of every annotated box, paired one to one with the boxes that were found for its name."""
    overlaps: list[float] = []
    records: list[Record] = []
    for region in regions:
        paired = {column: overlap for _, column, overlap in match([box for box, _ in region.found], region.true).pairs}
        overlaps += [paired.get(column, 0.0) for column in range(len(region.true))]
        records += [region.record] * len(region.true)
    return _box_figures(overlaps, records)


def _box_figures(overlaps: Sequence[float], records: Sequence[Record]) -> BoxFigures:
    right = [float(overlap >= HIT) for overlap in overlaps]
    patients = [patient_of(record) for record in records]
    images = {record.image for record in records}
    return BoxFigures(len(images), len(set(patients)), estimate(overlaps, patients), estimate(right, patients))


def side_figures(regions: Sequence[LocatedRegion]) -> Iterator[SideFigures]:
    """Yield how often a box lies on the other side, over all pairs and by the pair's name."""
    rows: list[sides.Located] = []
    patients = patients_of(region.record for region in regions)
    for image in dict.fromkeys(str(region.record.image) for region in regions):
        mine = [region for region in regions if str(region.record.image) == image]
        true = {region.label: region.true for region in mine}
        rows += sides.of_image(image, true, {region.label: region.found[0][0] if region.found else None for region in mine})
    for label in ("", *sorted({row.label for row in rows})):
        named = [row for row in rows if label in ("", row.label)]
        found = [row for row in named if row.is_found]
        swapped = (
            estimate([float(row.is_swapped) for row in found], [patients[row.image] for row in found]) if found else None
        )
        images = {row.image for row in named}
        yield SideFigures(label, len(images), len({patients[image] for image in images}), len(named), swapped)


def cases(given: Answers) -> dict[tuple[str, str], list[Case]]:
    """Return the answers by kind and data set, "" for all of them; a question without an answer is 0 sure and wrong.

    Boxes are those of structures that are there once.
    """
    boxes = [
        Case(
            region.found[0][1] if region.found else 0.0,
            region.best_iou >= HIT,
            str(region.record.image),
            patient_of(region.record),
        )
        for region in given.regions
        if len(region.true) == 1
    ]
    free = {
        (FREE, dataset): [_free_case(each) for each in given.free if each.row.dataset == dataset]
        for dataset in sorted({each.row.dataset or "" for each in given.free})
    }
    return {(BOXES, ""): boxes, **free, (CLASSES, ""): list(given.classes)}


def _free_case(free: FreeAnswer) -> Case:
    return Case(free.confidence or 0.0, is_right(free.row), free.row.image, free.patient, free.stated["seen"])


def selective(kind: str, dataset: str, val: Sequence[Case], test: Sequence[Case]) -> Selective:
    """Return the curve of test, and what the program gives there: without a threshold, and with those chosen on val."""
    patients = [case.patient for case in test]
    points = curve(test)
    step = max(1, len(points) // CURVE_POINTS)
    kept = [*points[::step], *([points[-1]] if (len(points) - 1) % step else [])]
    told_val, told = [case.as_told for case in val], [case.as_told for case in test]
    return Selective(
        kind,
        dataset,
        len(test),
        len({case.image for case in test}),
        len(set(patients)),
        estimate([float(not case.right) for case in test], patients),
        aurc(test),
        tuple((round(coverage, 4), round(risk, 4)) for coverage, risk in kept),
        (
            _operating_point(None, 0.0, told),
            *(_operating_point(error, least_sure(told_val, error), told) for error in ERRORS),
        ),
    )


def _operating_point(error: float | None, threshold: float | None, test: Sequence[Case]) -> OperatingPoint:
    if threshold is None:
        return OperatingPoint(error, None, None, None)
    is_given = [case.confidence >= threshold and case.confidence > 0 for case in test]
    given = [case for case, kept in zip(test, is_given, strict=True) if kept]
    coverage = estimate([float(kept) for kept in is_given], [case.patient for case in test])
    wrong = estimate([float(not case.right) for case in given], [case.patient for case in given]) if given else None
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


def free_of(free: Sequence[FreeAnswer], setting: str, dataset: str, names: Sequence[str] | None = None) -> list[FreeAnswer]:
    """Return the free questions of a data set, or of its images of these names."""
    mine = [each for each in free if (each.row.setting, each.row.dataset) == (setting, dataset)]
    return [each for each in mine if names is None or Path(each.row.image).stem in names]


def free_figures(free: Sequence[FreeAnswer]) -> QuestionFigures:
    """Return MedRegA's figures of free questions of one setting, and the share of right answers."""
    rows, patients = [each.row for each in free], [each.patient for each in free]
    measured = measure_rows(rows[0].setting, rows)
    numbers, intervals = measured.numbers(), measured.intervals(patients)
    figures = {
        name: Estimate(numbers[name], value, interval)
        for name, value in measured.values().items()
        if numbers[name] and value is not None and (interval := intervals[name]) is not None
    }
    return QuestionFigures(len({row.image for row in rows}), len(set(patients)), {**figures, RIGHT: share_right(free)})
