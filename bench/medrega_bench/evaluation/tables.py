"""Rows of a suite -> its figures, each with its bootstrap interval over images, and what each lost between two runs.

Beside the figures of the settings stand those that no setting
measures (`BESIDE`): boxes for what is not there, the same box in both languages, the kind of image. A loss is paired: the
same questions, the same images drawn for both runs, so that what is hard for both cancels.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from medrega_bench.evaluation.figures import Measured, Pair, changes, ratios
from medrega_bench.evaluation.score import SETTINGS
from medrega_bench.metrics.labels import BINS, calibration
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.evaluation.bootstrap import FloatArray, is_significant
from medrega_edge.evaluation.matching import HIT
from medrega_edge.prompts.templates import LABEL_SEPARATOR

Row = dict[str, Any]
Rows = Sequence[Row]
Found = tuple[Measured, list[str]]  # a figure's sums, and the image of each of its items

GROUPS = ("language", "modality", "dataset", "kind")
VERSIONS = ("blank", "other", "question_only", "question_trained", "cot")
SAME_BOX = 0.9
OBJECTS = 20  # the commonest labels, which have figures of their own


def tables(rows: Rows) -> dict[str, Any]:
    """Sum the rows up: figures with intervals per setting, language, modality and data set, and what has no setting."""
    settings: dict[str, Any] = {}
    for setting in SETTINGS:
        mine = [row for row in rows if row["setting"] == setting]
        if not mine:
            continue
        entry: dict[str, Any] = {"all": _figures(setting, mine)}
        for key in GROUPS:
            entry[key] = {name: _figures(setting, group) for name, group in grouped(mine, key)}
        if setting == "single_object_single_region":
            commonest = sorted(grouped(mine, "object"), key=lambda pair: -len(pair[1]))[:OBJECTS]
            entry["object"] = {name: _figures(setting, group) for name, group in commonest}
        for version in VERSIONS:
            changed = [row | {"answer": row[version]} for row in mine if version in row]
            if changed:
                entry[version] = {name: _figures(setting, group) for name, group in grouped(changed, "language")}
        settings[setting] = entry
    return {
        "settings": settings,
        "beside": {name: _summed(name, *found) for name in BESIDE if (found := BESIDE[name](rows)) is not None},
        "confidence": _confidence(rows),
        "modality": {kind: _kind_right(group) for kind, group in grouped(_recognised(rows), "modality")},
    }


def losses(reference: Rows, package: Rows) -> dict[str, Any]:
    """What each figure lost against a reference, over the questions that both were asked, with its paired interval.

    Worse is above zero, also where less is better.
    """
    first = {row["id"]: row for row in reference}
    common = [(first[row["id"]], row) for row in package if row["id"] in first]
    settings: dict[str, Any] = {}
    for setting in SETTINGS:
        mine = [pair for pair in common if pair[1]["setting"] == setting]
        if mine:
            settings[setting] = {"all": _lost(setting, mine)}
            for key in ("language", "dataset", "kind"):
                names = sorted({pair[1][key] for pair in mine if pair[1].get(key) is not None})
                settings[setting][key] = {name: _lost(setting, [p for p in mine if p[1].get(key) == name]) for name in names}
    beside: dict[str, Any] = {}
    for name, of in BESIDE.items():
        before, after = (of([pair[side] for pair in common]) for side in (0, 1))
        if before is not None and after is not None:
            beside |= _fallen(before, after, (name,), worse=1 if name in LESS_IS_BETTER else -1)
    return {"settings": settings, "beside": beside}


def _lost(setting: str, pairs: Sequence[tuple[Row, Row]]) -> dict[str, Any]:
    before, after = ([pair[side] for pair in pairs] for side in (0, 1))
    images = [row["image"] for row in after]
    return _fallen((measure_rows(setting, before), images), (measure_rows(setting, after), images))


def _fallen(before: Found, after: Found, names: Sequence[str] | None = None, worse: int = -1) -> dict[str, Any]:
    """Each figure's loss; `worse` is the sign of what is no gain."""
    images = len({*before[1], *after[1]})
    return {
        name: {
            "loss": worse * change.value + 0.0,  # no loss is 0.0 and not -0.0
            "interval": sorted(worse * edge + 0.0 for edge in change.interval),
            "significant": is_significant(change.interval, images),
        }
        for name, change in changes(before, after).items()
        if change is not None and (names is None or name in names)
    }


def measure_rows(setting: str, rows: Rows) -> Measured:
    """Measure the answers of rows of one setting."""
    # Upstream's metrics part labels by commas, our models by semicolons.
    label = LABEL_SEPARATOR if rows[0]["classes"] else ", "
    return SETTINGS[setting].measure(
        [Pair(row["answer"].replace(label, ", "), row["truth"].replace(label, ", "), tuple(row["classes"])) for row in rows]
    )


def _figures(setting: str, rows: Rows) -> dict[str, Any]:
    return figures_of(measure_rows(setting, rows), [row["image"] for row in rows])


def figures_of(measured: Measured, images: Sequence[str]) -> dict[str, Any]:
    """Every figure with its interval; `images` names the image of each item."""
    intervals = measured.intervals(images)
    return {
        "n": len(images),
        "images": len(set(images)),
        "figures": {name: {"value": value, "interval": intervals.get(name)} for name, value in measured.values().items()},
    }


def _summed(name: str, measured: Measured, images: list[str]) -> dict[str, Any]:
    return {
        "n": len(images),
        "images": len(set(images)),
        "value": measured.values()[name],
        "interval": measured.intervals(images)[name],
    }


def grouped(rows: Rows, key: str) -> Iterator[tuple[str, list[Row]]]:
    """The rows by what stands under a key, sorted; without those that have nothing there."""
    for name in sorted({row[key] for row in rows if row.get(key) is not None}):
        yield name, [row for row in rows if row.get(key) == name]


def _false_boxes(rows: Rows) -> Found | None:
    """Boxes for what is not there."""
    return _shares("false_boxes", [(bool(row["boxes"]), row) for row in rows if row["absent"]])


def _missed(rows: Rows) -> Found | None:
    """No box for what is there."""
    there = [row for row in rows if row["setting"].startswith("single_object") and not row["absent"]]
    return _shares("missed", [(not row["boxes"], row) for row in there])


def _same_box(rows: Rows) -> Found | None:
    """The same question in both languages: the same first box, or none in either."""
    by_question: dict[tuple[str, str], dict[str, Row]] = {}
    for row in rows:
        if row["setting"] == "single_object_single_region":
            by_question.setdefault((row["image"], row["object"]), {})[row["language"]] = row
    hits = []
    for pair in by_question.values():
        if len(pair) == 2:
            en, zh = (pair[language]["boxes"] for language in ("en", "zh"))
            same = bool(en) == bool(zh) and (not en or iou(PixelBox(*en[0]), PixelBox(*zh[0])) >= SAME_BOX)
            hits.append((same, pair["en"]))
    return _shares("same_box", hits)


def _recognised(rows: Rows) -> list[Row]:
    """One row for each image whose kind was recognised from pixels."""
    return list({row["image"]: row for row in rows if row["recognised"] is not None}.values())


def _kind_of_image(rows: Rows) -> Found | None:
    """Kind of image, recognised from pixels: once an image."""
    return _shares("kind_of_image", [(row["recognised"] == row["modality"], row) for row in _recognised(rows)])


def _kind_right(rows: Rows) -> float:
    return float(np.mean([row["recognised"] == row["modality"] for row in rows]))


def _mean_f1(rows: Rows) -> Found | None:
    """Macro F1 of single-label classification, mean over data sets."""
    mine = [row for row in rows if row["setting"] == "classification_single"]
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

    return Measured(counts, figures), [row["image"] for group in groups for row in group]


def _calibrated(rows: Rows) -> Found | None:
    """Calibration error of box confidences at IoU 0.5, over questions about one region."""
    mine = _sure(rows)
    if not mine:
        return None
    measured = calibration([row["confidences"][0] for row in mine], [_overlap(row) >= HIT for row in mine])
    return measured, [row["image"] for row in mine]


def _sure(rows: Rows) -> list[Row]:
    mine = [row for row in rows if row["setting"] == "single_object_single_region" and row["boxes"]]
    return [row for row in mine if row["confidences"][0] is not None]


def _overlap(row: Row) -> float:
    return iou(PixelBox(*row["boxes"][0]), PixelBox(*row["true_boxes"][0]))


def _confidence(rows: Rows) -> dict[str, Any] | None:
    """Calibration of box confidences, and the bins of its plot."""
    found = _calibrated(rows)
    if found is None:
        return None
    measured, images = found
    intervals = measured.intervals(images)
    mine = _sure(rows)
    sure = np.array([row["confidences"][0] for row in mine])
    right = np.array([_overlap(row) >= HIT for row in mine])
    bins = np.minimum((sure * BINS).astype(int), BINS - 1)
    return {
        "n": len(mine),
        "figures": {name: {"value": value, "interval": intervals.get(name)} for name, value in measured.values().items()},
        "bins": [
            {
                "n": int((bins == b).sum()),
                "confidence": float(sure[bins == b].mean()),
                "right": float(right[bins == b].mean()),
            }
            for b in range(BINS)
            if (bins == b).any()
        ],
    }


def _shares(name: str, hits: Sequence[tuple[bool, Row]]) -> Found | None:
    if not hits:
        return None
    return ratios([{name: (float(hit), 1.0)} for hit, _ in hits]), [row["image"] for _, row in hits]


# What no setting measures, by the name of its figure; None where nothing was asked for it.
BESIDE: dict[str, Callable[[Rows], Found | None]] = {
    "false_boxes": _false_boxes,
    "missed": _missed,
    "same_box": _same_box,
    "kind_of_image": _kind_of_image,
    "mean_f1": _mean_f1,
    "ece": _calibrated,
}
LESS_IS_BETTER = ("false_boxes", "missed", "ece")
