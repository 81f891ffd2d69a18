"""Classes of a whole image, and whether a confidence means what it says."""

from __future__ import annotations

import string
from collections.abc import Callable, Sequence

import numpy as np

from medrega_bench.evaluation.figures import Measured, Pair
from medrega_bench.metrics.text import bleu1
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.bootstrap import FloatArray

BINS = 15


def classification_single(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's single-label classification: macro F1 over the classes that appear, and accuracy.

    Upstream takes the class nearest to the answer by BLEU-1, so an answer that names none counts as the first class.
    """
    return _classification(pairs, lambda answer, classes: _nearest(answer, classes)[:1], only_seen=True)


def classification_multi(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's multi-label classification: macro F1 over all classes; accuracy is the share of sets exactly right."""
    return _classification(pairs, _nearest, only_seen=False)


def classification(pairs: Sequence[Pair]) -> Measured:
    """Macro F1 over the classes that appear, and accuracy; a class counts only when the answer has its very name."""
    return _classification(pairs, _named, only_seen=True, names=("f1_macro", "accuracy"))


def _classification(
    pairs: Sequence[Pair],
    read: Callable[[str, Sequence[str]], list[str]],
    only_seen: bool,
    names: tuple[str, str] = ("F1-macro", "Accuracy"),
) -> Measured:
    """Count true, wrongly given and missed classes [3 x classes], then sets exactly right and items."""
    place = {name: index for index, name in enumerate(dict.fromkeys(name for pair in pairs for name in pair.classes))}
    size = len(place)
    counts = np.zeros((len(pairs), 3 * size + 2))
    for row, pair in zip(counts, pairs, strict=True):
        true, given = _truth(pair), set(read(_trimmed(pair.answer).lower(), pair.classes))
        for part, found in enumerate((given & true, given - true, true - given)):
            row[[part * size + place[name] for name in found if name in place]] = 1
        row[-2:] = given == true, 1

    def figures(sums: FloatArray) -> dict[str, float | None]:
        right, wrong, missed = sums[:-2].reshape(3, size)
        total = 2 * right + wrong + missed
        f1 = np.divide(2 * right, total, out=np.zeros(size), where=total > 0)
        f1_macro, accuracy = names
        return {f1_macro: float(f1[total > 0].mean() if only_seen else f1.mean()), accuracy: float(sums[-2] / sums[-1])}

    return Measured(counts, figures)


def _trimmed(text: str) -> str:
    return text.rstrip(string.punctuation).replace(", ", ",")


def _truth(pair: Pair) -> set[str]:
    names = _trimmed(pair.truth).split(",")
    unknown = [name for name in names if name not in pair.classes]
    if unknown:
        raise UsageError("bench.truth_not_a_class", place=pair.place, truth=unknown[0])
    return set(names)


def _nearest(answer: str, classes: Sequence[str]) -> list[str]:
    """The class nearest to each part of an answer by BLEU-1, the first of those equally near."""
    return [max(classes, key=lambda name: bleu1(part, name.lower())) for part in answer.split(",")]


def _named(answer: str, classes: Sequence[str]) -> list[str]:
    """The class that each part of an answer names, "" where it names none of its question."""
    known = {name.lower(): name for name in classes}
    return [known.get(part.strip(), "") for part in answer.split(",")]


def calibration(confidences: Sequence[float], right: Sequence[bool]) -> Measured:
    """Expected calibration error over 15 bins of equal width, beside mean confidence and accuracy.

    Counts are the sums of each bin [3 x 15]: answers, confidence, right answers. An item with no box has no confidence
    and is not to be given here.
    """
    counts = np.zeros((len(confidences), 3 * BINS))
    for row, confidence, hit in zip(counts, confidences, right, strict=True):
        place = min(int(confidence * BINS), BINS - 1)
        row[[place, BINS + place, 2 * BINS + place]] = 1, confidence, hit

    def figures(sums: FloatArray) -> dict[str, float | None]:
        answers, confidence, hits = sums.reshape(3, BINS)
        total = answers.sum()
        if not total:
            return {"ece": None, "mean_confidence": None, "share_right": None}
        return {
            "ece": float(np.abs(hits - confidence).sum() / total),
            "mean_confidence": float(confidence.sum() / total),
            "share_right": float(hits.sum() / total),
        }

    return Measured(counts, figures)
