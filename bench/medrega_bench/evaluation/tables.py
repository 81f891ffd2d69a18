"""Rows -> figures, each with its bootstrap interval over images, and what each lost between two runs.

Beside the figures of the settings stand those that no setting measures (`BESIDE`): boxes for what is not there, the same box
in both languages, the kind of image. A loss is paired: the same questions, the same images drawn for both runs, so that what
is hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from medrega_bench.datasets.evaluation_set import MISSING
from medrega_bench.evaluation.figures import Change, Measured, Pair, changes, ratios
from medrega_bench.evaluation.results import (
    GROUPS,
    VERSIONS,
    AnswerRow,
    BesideFigure,
    Confidence,
    ConfidenceBin,
    Figure,
    FigureLoss,
    FigureSet,
    Losses,
    SettingLosses,
    SettingTable,
    TableLosses,
    Tables,
)
from medrega_bench.evaluation.settings import SETTINGS
from medrega_bench.metrics.labels import BINS, calibration
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.evaluation.bootstrap import FloatArray, is_significant
from medrega_edge.evaluation.matching import HIT
from medrega_edge.prompts.templates import LABEL_SEPARATOR

Rows = Sequence[AnswerRow]
RowPairs = Sequence[tuple[AnswerRow, AnswerRow]]
Counted = tuple[Measured, list[str]]  # a figure's sums, and the image of each of its items

ONE_PLACE = "single_object_single_region"
SAME_BOX = 0.9
OBJECTS = 20  # the commonest labels, which have figures of their own


def tables(rows: Rows) -> Tables:
    """Sum the rows up: figures with intervals per setting, language, modality and data set, and what has no setting."""
    by_setting = {setting: [row for row in rows if row.setting == setting] for setting in SETTINGS}
    counted = {name: count(rows) for name, count in BESIDE.items()}
    return Tables(
        settings={setting: _setting_table(setting, mine) for setting, mine in by_setting.items() if mine},
        beside={name: _beside(name, *found) for name, found in counted.items() if found is not None},
        confidence=_confidence(rows),
        modality={name: _recognition_rate(group) for name, group in grouped(_recognised(rows), "modality")},
    )


def _setting_table(setting: str, rows: Rows) -> SettingTable:
    groups = {key: {name: _figures(setting, group) for name, group in grouped(rows, key)} for key in GROUPS}
    if setting == ONE_PLACE:
        commonest = sorted(grouped(rows, "object"), key=lambda pair: -len(pair[1]))[:OBJECTS]
        groups["object"] = {name: _figures(setting, group) for name, group in commonest}
    for version in VERSIONS:
        answered = [other for row in rows if (other := row.with_answer_of(version)) is not None]
        groups[version] = {name: _figures(setting, group) for name, group in grouped(answered, "language")}
    return SettingTable(all=_figures(setting, rows), **groups)


def losses(reference: Rows, package: Rows) -> TableLosses:
    """What each figure lost against a reference, over the questions that both were asked, with its paired interval.

    Worse is above zero, also where less is better.
    """
    first = {row.id: row for row in reference}
    common = [(first[row.id], row) for row in package if row.id in first]
    by_setting = {setting: [pair for pair in common if pair[1].setting == setting] for setting in SETTINGS}
    beside: dict[str, FigureLoss] = {}
    for name, count in BESIDE.items():
        before, after = (count([pair[side] for pair in common]) for side in (0, 1))
        if before is not None and after is not None:
            fallen = _fallen(before, after, worse=1 if name in LESS_IS_BETTER else -1)
            beside |= {figure: loss for figure, loss in fallen.items() if figure == name}
    return TableLosses({setting: _setting_losses(setting, mine) for setting, mine in by_setting.items() if mine}, beside)


def _setting_losses(setting: str, pairs: RowPairs) -> SettingLosses:
    def grouped_by(key: str) -> dict[str, Losses]:
        names = sorted({name for _, after in pairs if (name := getattr(after, key)) is not None})
        return {name: _lost(setting, [pair for pair in pairs if getattr(pair[1], key) == name]) for name in names}

    return SettingLosses(
        all=_lost(setting, pairs),
        language=grouped_by("language"),
        dataset=grouped_by("dataset"),
        kind=grouped_by("kind"),
    )


def _lost(setting: str, pairs: RowPairs) -> Losses:
    images = [after.image for _, after in pairs]
    before, after = (measure_rows(setting, [pair[side] for pair in pairs]) for side in (0, 1))
    return _fallen((before, images), (after, images))


def _fallen(before: Counted, after: Counted, worse: int = -1) -> dict[str, FigureLoss]:
    """Each figure's loss; `worse` is the sign of what is no gain."""
    images = len({*before[1], *after[1]})
    found = changes(before, after).items()
    return {name: _figure_loss(change, images, worse) for name, change in found if change is not None}


def _figure_loss(change: Change, images: int, worse: int) -> FigureLoss:
    low, high = sorted(worse * edge + 0.0 for edge in change.interval)  # no loss is 0.0 and not -0.0
    return FigureLoss(worse * change.value + 0.0, (low, high), is_significant(change.interval, images))


def measure_rows(setting: str, rows: Rows) -> Measured:
    """Measure the answers of rows of one setting."""
    # Upstream's metrics part labels by commas, our models by semicolons.
    label = LABEL_SEPARATOR if rows[0].classes else ", "
    return SETTINGS[setting].measure(
        [Pair(row.answer.replace(label, ", "), row.truth.replace(label, ", "), row.classes) for row in rows]
    )


def _figures(setting: str, rows: Rows) -> FigureSet:
    return figures_of(measure_rows(setting, rows), [row.image for row in rows])


def figures_of(measured: Measured, images: Sequence[str]) -> FigureSet:
    """Every figure with its interval; `images` names the image of each item."""
    intervals = measured.intervals(images)
    figures = {name: Figure(value, intervals.get(name)) for name, value in measured.values().items()}
    return FigureSet(len(images), len(set(images)), figures)


def _beside(name: str, measured: Measured, images: list[str]) -> BesideFigure:
    return BesideFigure(len(images), len(set(images)), measured.values()[name], measured.intervals(images)[name])


def grouped(rows: Rows, key: str) -> Iterator[tuple[str, list[AnswerRow]]]:
    """The rows by one of their fields, sorted; without those whose field is None."""
    for name in sorted({value for row in rows if (value := getattr(row, key)) is not None}):
        yield name, [row for row in rows if getattr(row, key) == name]


def _false_boxes(rows: Rows) -> Counted | None:
    """Boxes for what no image of this body part shows."""
    return _shares("false_boxes", [(bool(row.boxes), row) for row in rows if row.absent and row.kind != MISSING])


def _missing_boxes(rows: Rows) -> Counted | None:
    """Boxes for organs that the body part could show and the image does not."""
    return _shares("missing_boxes", [(bool(row.boxes), row) for row in rows if row.kind == MISSING])


def _missed(rows: Rows) -> Counted | None:
    """No box for what is there."""
    there = [row for row in rows if row.setting.startswith("single_object") and not row.absent]
    return _shares("missed", [(not row.boxes, row) for row in there])


def _same_box(rows: Rows) -> Counted | None:
    """The same question in both languages: the same first box, or none in either."""
    by_question: dict[tuple[str, str | None], dict[str, AnswerRow]] = {}
    for row in rows:
        if row.setting == ONE_PLACE:
            by_question.setdefault((row.image, row.object), {})[row.language] = row
    hits = []
    for pair in by_question.values():
        if len(pair) == 2:
            en, zh = (pair[language].boxes for language in ("en", "zh"))
            same = bool(en) == bool(zh) and (not en or iou(PixelBox(*en[0]), PixelBox(*zh[0])) >= SAME_BOX)
            hits.append((same, pair["en"]))
    return _shares("same_box", hits)


def _recognised(rows: Rows) -> list[AnswerRow]:
    """One row for each image whose kind was recognised from pixels."""
    return list({row.image: row for row in rows if row.recognised is not None}.values())


def _kind_of_image(rows: Rows) -> Counted | None:
    """Kind of image, recognised from pixels: once an image."""
    return _shares("kind_of_image", [(row.recognised == row.modality, row) for row in _recognised(rows)])


def _recognition_rate(rows: Rows) -> float:
    return float(np.mean([row.recognised == row.modality for row in rows]))


def _mean_f1(rows: Rows) -> Counted | None:
    """Macro F1 of single-label classification, mean over data sets."""
    mine = [row for row in rows if row.setting == "classification_single"]
    groups = [group for _, group in grouped(mine, "dataset")]
    if not groups:
        return None
    parts = [measure_rows("classification_single", group) for group in groups]
    ends = np.cumsum([part.counts.shape[1] for part in parts])
    counts = np.zeros((len(mine), ends[-1]))
    done = 0
    for part, end in zip(parts, ends, strict=True):
        items, width = part.counts.shape
        counts[done : done + items, end - width : end] = part.counts
        done += items

    def figures(sums: FloatArray) -> dict[str, float | None]:
        # The last count of a part is its number of items: a data set that was not drawn says nothing.
        blocks = [(part, block) for part, block in zip(parts, np.split(sums, ends[:-1]), strict=True) if block[-1]]
        values = [value for part, block in blocks if (value := part.figures(block)["F1-macro"]) is not None]
        return {"mean_f1": float(np.mean(values)) if values else None}

    return Measured(counts, figures), [row.image for group in groups for row in group]


def _first_boxes(rows: Rows) -> list[tuple[float, bool, str]]:
    """Confidence, whether it is a hit, and the image, of the first box of each answer about one place."""
    return [
        (confidence, iou(PixelBox(*row.boxes[0]), PixelBox(*row.true_boxes[0])) >= HIT, row.image)
        for row in rows
        if row.setting == ONE_PLACE and row.boxes and (confidence := row.confidences[0]) is not None
    ]


def _calibrated(rows: Rows) -> Counted | None:
    """Calibration error of box confidences at IoU 0.5, over questions about one region."""
    boxes = _first_boxes(rows)
    if not boxes:
        return None
    confidences, hits, images = map(list, zip(*boxes, strict=True))
    return calibration(confidences, hits), images


def _confidence(rows: Rows) -> Confidence | None:
    """Calibration of box confidences, and the bins of its plot."""
    boxes = _first_boxes(rows)
    if not boxes:
        return None
    confidences, hits, images = map(list, zip(*boxes, strict=True))
    sure, right = np.array(confidences), np.array(hits)
    places = np.minimum((sure * BINS).astype(int), BINS - 1)
    bins = ((int((places == b).sum()), places == b) for b in range(BINS))
    return Confidence(
        n=len(boxes),
        figures=figures_of(calibration(confidences, hits), images).figures,
        bins=tuple(ConfidenceBin(n, float(sure[at].mean()), float(right[at].mean())) for n, at in bins if n),
    )


def _shares(name: str, hits: Sequence[tuple[bool, AnswerRow]]) -> Counted | None:
    if not hits:
        return None
    return ratios([{name: (float(hit), 1.0)} for hit, _ in hits]), [row.image for _, row in hits]


# What no setting measures, by the name of its figure; None where nothing was asked for it.
BESIDE: dict[str, Callable[[Rows], Counted | None]] = {
    "false_boxes": _false_boxes,
    "missing_boxes": _missing_boxes,
    "missed": _missed,
    "same_box": _same_box,
    "kind_of_image": _kind_of_image,
    "mean_f1": _mean_f1,
    "ece": _calibrated,
}
LESS_IS_BETTER = ("false_boxes", "missing_boxes", "missed", "ece")
