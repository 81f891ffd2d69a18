"""The rows of two runs beside each other: what each task lost, and which answers turned right or wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np

from medrega_bench.evaluation.figures import Pair
from medrega_bench.metrics.text import report
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.evaluation import comparison, grading
from medrega_edge.evaluation.bootstrap import FloatArray, mean_interval
from medrega_edge.evaluation.comparison import GradedTwice
from medrega_edge.evaluation.grading import Grade

Row = dict[str, Any]

MEANS = ("mean_iou", "accuracy", "rouge_l")


def task_of(row: Row) -> str:
    """Name the task of a row: what asks for places is "detect", and "absent" where there is none."""
    return grading.kind_of(str(row["setting"]))


def grade(row: Row) -> Grade:
    """Grade the answer of a row."""
    language = Language(row["language"])

    def rouge_l(answer: str, truth: str) -> float:
        return report([Pair(answer, truth)], language).values()["rougeL"] or 0.0

    made = grading.grade(row["setting"], row["answer"], row["truth"], rouge_l)
    assert made is not None
    return made


@dataclass(frozen=True)
class RowPair:
    """A question with its two rows and their grades."""

    before: Row
    after: Row
    graded: GradedTwice

    @property
    def task(self) -> str:
        """The task of the question."""
        return self.graded.task


def pair_up(before: Sequence[Row], after: Sequence[Row]) -> list[RowPair]:
    """Put rows of the same question together; raises UsageError when there is none, or its truth differs."""
    first = {row["id"]: row for row in before}
    common = [(first[row["id"]], row) for row in after if row["id"] in first]
    if not common:
        raise UsageError("bench.nothing_in_common")
    for a, b in common:
        if (a["truth"], a["setting"]) != (b["truth"], b["setting"]):
            raise UsageError("bench.two_truths")
    return [RowPair(a, b, _graded(a, b)) for a, b in common]


def _graded(before: Row, after: Row) -> GradedTwice:
    return GradedTwice(
        id=after["id"],
        task=task_of(after),
        language=str(after["language"]),
        modality=after["modality"] and str(after["modality"]),
        image=after["image"],
        grades=(grade(before), grade(after)),
        changed=bool(before["answer"] != after["answer"]),
    )


def entries(pairs: Sequence[RowPair]) -> list[dict[str, Any]]:
    """One entry per task and language, and further ones per modality where the questions name it."""
    made = comparison.compare([pair.graded for pair in pairs])
    return [{name: value for name, value in asdict(entry).items() if name != "warnings"} for entry in made]


def flips(pairs: Sequence[RowPair]) -> list[dict[str, Any]]:
    """The questions whose answer became right or wrong, the greatest losses first."""
    made = [
        {
            "id": pair.after["id"],
            "task": pair.task,
            "language": pair.after["language"],
            "question": pair.after["question"],
            "truth": pair.after["truth"],
            "before": pair.before["answer"],
            "after": pair.after["answer"],
            "gain": 0.0 - pair.graded.loss,
        }
        for pair in pairs
        if pair.graded.flipped
    ]
    return sorted(made, key=lambda flip: float(flip["gain"]))


def overall_loss(pairs: Sequence[RowPair]) -> dict[str, Any]:
    """Loss over all places asked for, or over everything where none was, with its interval."""
    mine = [pair for pair in pairs if pair.task == "detect"] or list(pairs)
    return _mean(np.array([pair.graded.loss for pair in mine]), [pair.after["image"] for pair in mine])


def mean_worth(rows: Sequence[Row], of: Callable[[Row], bool]) -> dict[str, Any] | None:
    """Mean worth of the rows that `of` picks, with its interval; None where there is none."""
    mine = [row for row in rows if of(row)]
    if not mine:
        return None
    return _mean(np.array([grade(row).worth for row in mine]), [row["image"] for row in mine])


def _mean(values: FloatArray, images: Sequence[str]) -> dict[str, Any]:
    return {"n": len(values), "value": float(values.mean()), "interval": list(mean_interval(values, images))}


def compared(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Any]:
    """Everything that two runs on the same questions differ in; what only one of them was asked is counted."""
    pairs = pair_up(before, after)
    return {
        "n": len(pairs),
        "only_before": len(before) - len(pairs),
        "only_after": len(after) - len(pairs),
        "overall": overall_loss(pairs),
        "accuracy": entries(pairs),
        "flips": flips(pairs),
    }


def whole(accuracy: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of whole tasks, not split by modality."""
    return [entry for entry in accuracy if entry["modality"] is None]
