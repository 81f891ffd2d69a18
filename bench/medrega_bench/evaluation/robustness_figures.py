"""Answers about perturbed images -> what each perturbation costs, with paired bootstrap intervals over patients."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medrega_bench.evaluation.robustness import CLEAN, ImageAnswers, View
from medrega_bench.evaluation.robustness_result import ALL, THEMSELVES, Cell, Clean, Cost, MeanDrop, Measured
from medrega_bench.metrics.labels import calibration
from medrega_bench.performance.environment import ModelIdentity
from medrega_bench.perturbations.catalogue import PERTURBATIONS, SEVERITIES
from medrega_bench.result_files import Estimate
from medrega_edge.evaluation.bootstrap import FloatArray, mean_interval, multiplicities, percentiles


@dataclass(frozen=True)
class _Row:
    """One object in one perturbed picture, beside the same in the image itself."""

    patient: str
    overlap: float
    hit: bool
    confidence: float | None
    clean_overlap: float
    clean_hit: bool

    @property
    def drop(self) -> float:
        return float(self.clean_hit) - float(self.hit)

    @property
    def iou_drop(self) -> float:
        return self.clean_overlap - self.overlap


def measured(model: ModelIdentity, answers: Sequence[ImageAnswers]) -> Measured:
    """Sum up what was answered about images."""
    kinds = [ALL, *sorted({image.kind for image in answers})]
    chosen = {kind: [image for image in answers if kind in (ALL, image.kind)] for kind in kinds}
    return Measured(
        model=model,
        clean=tuple(_clean(kind, chosen[kind]) for kind in kinds),
        means=tuple(
            mean
            for kind in kinds
            for severity in (0, *SEVERITIES)
            if (mean := _mean_drop(kind, severity, chosen[kind])) is not None
        ),
        cells=tuple(
            cell
            for name in PERTURBATIONS
            for severity in SEVERITIES
            for kind in kinds
            if (cell := _cell(name, severity, kind, chosen[kind])) is not None
        ),
    )


def costs(package: Sequence[ImageAnswers], reference: Sequence[ImageAnswers]) -> tuple[Cost, ...]:
    """Compare the drops of two packages that were asked the same; see `Cost`."""
    pairs = list(zip(package, reference, strict=True))
    return tuple(
        Cost(
            name, severity, *(_mean_of_perturbations(_differences(pairs, name, severity, what)) for what in (_miss, *WORTHS))
        )
        for name in (THEMSELVES, ALL, *PERTURBATIONS)
        for severity in {THEMSELVES: (0,), ALL: (0, *SEVERITIES)}.get(name, SEVERITIES)
        if any(True for _ in _differences(pairs, name, severity, WORTHS[0]))
    )


def _miss(row: _Row) -> float:
    return 1.0 - float(row.hit)


WORTHS: tuple[Callable[[_Row], float], ...] = (lambda row: row.drop, lambda row: row.iou_drop)
# Answers for a mean: which perturbation at which severity, whose image, what it is worth.
Drop = tuple[tuple[str, int], str, float]


def _differences(
    pairs: Sequence[tuple[ImageAnswers, ImageAnswers]], name: str, severity: int, worth: Callable[[_Row], float]
) -> Iterator[Drop]:
    """Yield what each object is worth for the package minus what it is worth for the reference."""
    for ours, theirs in pairs:
        for mine, other in zip(_perturbed(ours, name, severity), _perturbed(theirs, name, severity), strict=True):
            for a, b in zip(_rows(ours, mine), _rows(theirs, other), strict=True):
                yield (mine.perturbation, mine.severity), ours.patient, worth(a) - worth(b)


def _perturbed(image: ImageAnswers, name: str = ALL, severity: int = 0) -> list[View]:
    """Return the perturbed pictures of an image, of one perturbation or all, at one severity or all."""
    if name == THEMSELVES:
        return [image.views[0]]
    views = [view for view in image.views if view.perturbation != CLEAN]
    return [view for view in views if name in (ALL, view.perturbation) and severity in (0, view.severity)]


def _rows(image: ImageAnswers, view: View) -> Iterator[_Row]:
    """Yield the objects of a picture that are still in it."""
    clean = image.views[0]
    for place, overlap in enumerate(view.overlaps):
        hit, whole, clean_hit = view.hits[place], clean.overlaps[place], clean.hits[place]
        if overlap is not None and whole is not None and hit is not None and clean_hit is not None:
            yield _Row(image.patient, overlap, hit, view.confidences[place], whole, clean_hit)


def _cell(name: str, severity: int, kind: str, images: Sequence[ImageAnswers]) -> Cell | None:
    pairs = [(image, view) for image in images for view in _perturbed(image, name, severity)]
    rows = [row for image, view in pairs for row in _rows(image, view)]
    if not rows:
        return None
    views = [view for _, view in pairs]
    confidence, gap, ece = _trust(rows)
    return Cell(
        perturbation=name,
        severity=severity,
        kind=kind,
        images=len(pairs),
        objects=len(rows),
        left=sum(overlap is None for view in views for overlap in view.overlaps),
        clean_accuracy=_rounded(np.mean([row.clean_hit for row in rows])),
        accuracy=_estimate(rows, lambda row: row.hit),
        drop=_estimate(rows, lambda row: row.drop),
        clean_iou=_rounded(np.mean([row.clean_overlap for row in rows])),
        iou=_estimate(rows, lambda row: row.overlap),
        iou_drop=_estimate(rows, lambda row: row.iou_drop),
        without_box=_rounded(np.mean([row.confidence is None for row in rows])),
        confidence=confidence,
        gap=gap,
        ece=ece,
        **_shares(views),
    )


def _clean(kind: str, images: Sequence[ImageAnswers]) -> Clean:
    rows = [row for image in images for row in _rows(image, image.views[0])]
    _, gap, ece = _trust(rows)
    return Clean(
        kind=kind,
        images=len(images),
        patients=len({image.patient for image in images}),
        objects=len(rows),
        accuracy=_estimate(rows, lambda row: row.hit),
        iou=_estimate(rows, lambda row: row.overlap),
        gap=gap,
        ece=ece,
        **_shares([image.views[0] for image in images]),
    )


def _shares(views: Sequence[View]) -> dict[str, Any]:
    classes = [right for view in views for right in view.classes]
    return {
        "unfamiliar": _rounded(np.mean([view.is_unfamiliar for view in views])),
        "known_kind": _rounded(np.mean([view.is_known_kind for view in views])),
        "classes": _rounded(np.mean(classes)) if classes else None,
        "classes_asked": len(classes),
    }


def _trust(rows: Sequence[_Row]) -> tuple[float | None, float | None, float | None]:
    """Mean confidence of the boxes, how far it is above their share of hits, and their calibration error."""
    boxes = [(row.confidence, row.hit) for row in rows if row.confidence is not None]
    if not boxes:
        return None, None, None
    values = calibration(*map(list, zip(*boxes, strict=True))).values()
    sure, right, ece = (values[name] or 0.0 for name in ("mean_confidence", "share_right", "ece"))
    return _rounded(sure), _rounded(sure - right), _rounded(ece)


def _estimate(rows: Sequence[_Row], worth: Callable[[_Row], float]) -> Estimate:
    values = np.array([worth(row) for row in rows], float)
    low, high = mean_interval(values, [row.patient for row in rows])
    return Estimate(len(rows), _rounded(values.mean()), (_rounded(low), _rounded(high)))


def _mean_drop(kind: str, severity: int, images: Sequence[ImageAnswers]) -> MeanDrop | None:
    def drops(worth: Callable[[_Row], float]) -> Iterator[Drop]:
        for image in images:
            for view in _perturbed(image, severity=severity):
                for row in _rows(image, view):
                    yield (view.perturbation, view.severity), row.patient, worth(row)

    if not any(True for _ in drops(WORTHS[0])):
        return None
    return MeanDrop(kind, severity, *(_mean_of_perturbations(drops(worth)) for worth in WORTHS))


def _mean_of_perturbations(drops: Iterator[Drop]) -> Estimate:
    """Mean over perturbations and severities of the mean drop of each, with its interval over patients.

    Each resample draws the same patients for all of them.
    """
    values = list(drops)
    cells = {key: place for place, key in enumerate(dict.fromkeys(key for key, _, _ in values))}
    patients = {name: place for place, name in enumerate(dict.fromkeys(patient for _, patient, _ in values))}
    sums, counts = np.zeros((2, len(patients), len(cells)))
    at = [patients[patient] for _, patient, _ in values], [cells[key] for key, _, _ in values]
    np.add.at(sums, at, [value for _, _, value in values])
    np.add.at(counts, at, 1)
    drawn = multiplicities(len(patients))
    low, high = percentiles([each for each in _means(drawn @ sums, drawn @ counts) if not np.isnan(each)]) or (0.0, 0.0)
    (whole,) = _means(sums.sum(axis=0, keepdims=True), counts.sum(axis=0, keepdims=True))
    return Estimate(len(values), _rounded(whole), (_rounded(low), _rounded(high)))


def _means(sums: FloatArray, counts: FloatArray) -> FloatArray:
    """Mean of the quotients of each row whose count is not zero; NaN for a row without one."""
    quotients = np.divide(sums, counts, out=np.zeros_like(sums), where=counts > 0)
    known = (counts > 0).sum(axis=1)
    return np.asarray(np.divide(quotients.sum(axis=1), known, out=np.full(len(sums), np.nan), where=known > 0))


def _rounded(value: float | np.floating[Any]) -> float:
    return round(float(value), 4)
