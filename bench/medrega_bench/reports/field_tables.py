"""The result of `medrega bench field` as tables: beside published figures, sides, what can be answered at an error."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Protocol

from medrega_bench.evaluation.field_result import (
    BOXES,
    CLASSES,
    FREE,
    RIGHT,
    FieldResult,
    Published,
    QuestionFigures,
    Selective,
    published,
)
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.reports.charts import Chart, Mark
from medrega_bench.reports.model import Drawn
from medrega_bench.reports.percentages import percent, share
from medrega_bench.reports.task_tables import WORDS
from medrega_bench.result_files import DataIdentity

KINDS = {BOXES: "boxes of structures that are there once", FREE: "free questions", CLASSES: "one class of several"}
CURVES = {BOXES: "boxes", FREE: "questions", CLASSES: "classes"}
STEPS = tuple(number / 10 for number in range(1, 11))  # coverages that the chart shows
OURS = "this package"
RIGHT_ONES = "accuracy: closed ones, and open ones from a recall of 0.75"


class Measured(Protocol):
    """A result that says when, how and on what it was measured."""

    @property
    def date(self) -> str:
        """The day."""

    @property
    def command(self) -> str:
        """The command line."""

    @property
    def environment(self) -> Environment:
        """The machine."""

    @property
    def model(self) -> ModelIdentity:
        """The package."""

    @property
    def data(self) -> DataIdentity:
        """The questions."""


def measured_with(result: Measured) -> str:
    """Say when, how and on what a result was measured."""
    machine, model = result.environment, result.model
    return (
        f"Measured {result.date} with `{result.command}` on {machine.processor}, {machine.threads} threads, onnxruntime "
        f"{machine.versions['onnxruntime']}; package {model.name} {model.version} ({model.precision}), manifest "
        f"{model.sha256[:12]}; {result.data.split} split, {result.data.images} images."
    )


def table(heads: Sequence[str], rows: Iterator[tuple[str, ...]], result: Measured) -> str:
    """Write a table, and below it what it was measured with."""
    lines = [heads, ["---"] * len(heads), *rows]
    return "\n".join([*(f"| {' | '.join(cells)} |" for cells in lines), "", measured_with(result)])


def boxes_table(result: FieldResult) -> str:
    """SLAKE's boxes: ours beside the best published zero-shot figures."""
    heads = ("SLAKE boxes", "model", "boxes", "mean IoU, %", "IoU >= 0.5, %", "trained on", "source")
    return table(heads, _boxes(result), result)


def _boxes(result: FieldResult) -> Iterator[tuple[str, ...]]:
    for name, one in (
        ("structures with one box", result.slake_boxes),
        ("every box of a structure, paired", result.slake_all_boxes),
    ):
        seen = f"{name}; {one.images} images of our test split"
        yield seen, OURS, str(one.iou.n), percent(one.iou), percent(one.acc50), "SLAKE's train part, among other data", ""
    theirs = {one.row: one for one in published() if one.row.startswith("slake_boxes")}
    overlap, right = theirs["slake_boxes_iou"], theirs["slake_boxes_acc50"]
    source = f"{overlap.source} ({overlap.read})"
    yield overlap.data, overlap.model, "?", share(overlap.value), share(right.value), overlap.training, source


def questions_table(result: FieldResult) -> str:
    """Free questions of SLAKE and VQA-RAD: ours beside published figures, each with what it measures."""
    heads = ("questions", "model", "number", "%", "measure", "trained on", "source")
    return table(heads, _questions(result), result)


# Rows of published figures -> what they are called, the setting of ours, its figure, the measure.
_QUESTIONS = (
    ("slake_en_closed", "SLAKE, English, yes or no", "vqa_en", "closedQuestionsAccuracy", "closed accuracy"),
    ("slake_en_open", "SLAKE, English, open", "vqa_en", "openQuestionsRecall", "open recall"),
    ("slake_en_all", "SLAKE, English, all", "vqa_en", RIGHT, RIGHT_ONES),
    ("slake_zh", "SLAKE, Chinese", "vqa_zh", "openQuestionsAccuracy", "accuracy by recall >= 0.75"),
)


def _questions(result: FieldResult) -> Iterator[tuple[str, ...]]:
    theirs = published()
    for row, name, setting, figure, measure in _QUESTIONS:
        ours = result.slake[setting]
        data, mine = f"{name}: {ours.images} images of our test split", ours.figures.get(figure)
        number = str(mine.n if mine else 0)
        yield data, OURS, number, percent(mine), measure, "SLAKE's train part, among other data", ""
        yield from (_published(one, name) for one in theirs if one.row == row)
    if result.vqa_rad_unseen is not None:
        yield from _unshared(result.vqa_rad_unseen)
        yield from (_published(one, "VQA-RAD") for one in theirs if one.row == "vqa_rad_unshared")


def _unshared(unseen: QuestionFigures) -> Iterator[tuple[str, ...]]:
    data = f"VQA-RAD, split without shared images: the {unseen.images} of its test images in our test split"
    for figure, measure in ((RIGHT, RIGHT_ONES), ("closedQuestionsAccuracy", "closed accuracy")):
        if mine := unseen.figures.get(figure):
            yield data, OURS, str(mine.n), percent(mine), measure, "other images of VQA-RAD, among other data", ""


def _published(one: Published, name: str) -> tuple[str, ...]:
    return f"{name}: {one.data}", one.model, "", share(one.value), one.measure, one.training, f"{one.source} ({one.read})"


def images_sentence(result: FieldResult) -> str:
    """Say where our data has the test images of the split of VQA-RAD without shared images."""
    images = result.vqa_rad_images
    if images is None:
        return measured_with(result)
    total = images.train + images.val + images.test + images.missing
    return (
        f"Of the {total} test images of that split, {images.train} are in our train split, {images.val} in our val split "
        f"and {images.test} in our test split; {images.missing} are not in our data. Our weights have seen {images.train} "
        f"of them and were chosen by {images.val}: only the {images.test} of our test split count."
        f"\n\n{measured_with(result)}"
    )


def sides_table(result: FieldResult) -> str:
    """Boxes of paired structures that lie on the other side."""
    heads = ("structure of a pair", "images", "patients", "asked", "with a box", "on the other side, % (95 %)")
    rows = (
        (
            one.label or "**all**",
            *map(str, (one.images, one.patients, one.asked, one.swapped.n if one.swapped else 0)),
            percent(one.swapped),
        )
        for one in result.sides
    )
    return table(heads, rows, result)


def selective_table(result: FieldResult) -> str:
    """What the program answers without a threshold and at those of val for 20 and 10 % error, and the AURC."""
    heads = (
        "answers",
        "questions",
        "wrong, all answered, % (95 %)",
        "AURC, %",
        "wanted error, %",
        "threshold, of val",
        "stated on test, % (95 %)",
        "wrong of these, % (95 %)",
    )
    return table(heads, _selective(result), result)


def _selective(result: FieldResult) -> Iterator[tuple[str, ...]]:
    for one in result.selective:
        for point in one.points:
            first = point.error is None
            kind = (_name(one, KINDS), str(one.n), percent(one.error), share(one.aurc)) if first else ("", "", "", "")
            threshold = "none holds" if point.threshold is None else f"{point.threshold:.2f}"
            wanted = ("as it is", "none") if first else (share(point.error), threshold)
            yield *kind, *wanted, percent(point.coverage), percent(point.realised)


def _name(one: Selective, names: Mapping[str, str]) -> str:
    return names[one.kind] + (f", {WORDS.get(one.dataset, one.dataset)}" if one.dataset else "")


def selective_chart(result: FieldResult) -> Drawn:
    """Draw the share of wrong answers against the share that is answered, the surest first: a curve for each kind."""
    marks = []
    for one in result.selective:
        for step in STEPS:
            reached = [risk for coverage, risk in one.curve if coverage >= step - 1e-9]
            if not reached:
                continue
            x, y = 100 * step, 100 * reached[0]
            name = _name(one, CURVES)
            marks.append(Mark(x, y, (x, x), (y, y), f"{name}: {y:.1f} % wrong of {x:.0f} %", series=name))
    return Drawn(Chart("curves", tuple(marks)), "answered by confidence alone, the surest first, %", "wrong of these, %")
