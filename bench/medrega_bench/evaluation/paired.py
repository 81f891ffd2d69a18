"""The rows of two runs beside each other: what each task lost, and which answers turned right or wrong."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from medrega_bench.evaluation.figures import Pair
from medrega_bench.evaluation.results import AnswerRow, Flip, RowComparison
from medrega_bench.metrics.text import report
from medrega_bench.result_files import Estimate
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.evaluation import comparison, grading
from medrega_edge.evaluation.bootstrap import FloatArray, mean_interval
from medrega_edge.evaluation.comparison import GradedTwice
from medrega_edge.evaluation.grading import Grade


def grade(row: AnswerRow) -> Grade:
    """Grade the answer of a row."""

    def rouge_l(answer: str, truth: str) -> float:
        return report([Pair(answer, truth)], Language(row.language)).values()["rougeL"] or 0.0

    made = grading.grade(row.setting, row.answer, row.truth, rouge_l)
    assert made is not None
    return made


@dataclass(frozen=True)
class RowPair:
    """A question with its two rows and their grades."""

    before: AnswerRow
    after: AnswerRow
    graded: GradedTwice


def pair_up(before: Sequence[AnswerRow], after: Sequence[AnswerRow]) -> list[RowPair]:
    """Put rows of the same question together; raises UsageError when there is none, or its truth differs."""
    first = {row.id: row for row in before}
    common = [(first[row.id], row) for row in after if row.id in first]
    if not common:
        raise UsageError("bench.nothing_in_common")
    if any((a.truth, a.setting) != (b.truth, b.setting) for a, b in common):
        raise UsageError("bench.two_truths")
    return [RowPair(a, b, _graded(a, b)) for a, b in common]


def _graded(before: AnswerRow, after: AnswerRow) -> GradedTwice:
    is_raw = before.raw_text is not None and after.raw_text is not None  # results until 0.4.0 have no raw text
    return GradedTwice(
        id=after.id,
        task=after.task,
        language=after.language,
        modality=after.modality,
        image=after.image,
        grades=(grade(before), grade(after)),
        changed=before.raw_text != after.raw_text if is_raw else before.answer != after.answer,
    )


def flips(pairs: Sequence[RowPair]) -> tuple[Flip, ...]:
    """The questions whose answer became right or wrong, the greatest losses first."""
    made = [
        Flip(
            id=pair.after.id,
            task=pair.after.task,
            language=pair.after.language,
            question=pair.after.question,
            truth=pair.after.truth,
            before=pair.before.answer,
            after=pair.after.answer,
            gain=0.0 - pair.graded.loss,
        )
        for pair in pairs
        if pair.graded.flipped
    ]
    return tuple(sorted(made, key=lambda flip: flip.gain))


def overall_loss(pairs: Sequence[RowPair]) -> Estimate:
    """Loss over all places asked for, or over everything where none was, with its interval."""
    counted = [pair for pair in pairs if pair.after.task == "detect"] or list(pairs)
    return _mean(np.array([pair.graded.loss for pair in counted]), [pair.after.image for pair in counted])


def mean_worth(rows: Sequence[AnswerRow], counts: Callable[[AnswerRow], bool]) -> Estimate | None:
    """Mean worth of the rows that count, with its interval; None where there is none."""
    counted = [row for row in rows if counts(row)]
    if not counted:
        return None
    return _mean(np.array([grade(row).worth for row in counted]), [row.image for row in counted])


def _mean(values: FloatArray, images: Sequence[str]) -> Estimate:
    return Estimate(len(values), float(values.mean()), mean_interval(values, images))


def compared(before: Sequence[AnswerRow], after: Sequence[AnswerRow]) -> RowComparison:
    """Everything that two runs on the same questions differ in; what only one of them was asked is counted."""
    pairs = pair_up(before, after)
    return RowComparison(
        n=len(pairs),
        only_before=len(before) - len(pairs),
        only_after=len(after) - len(pairs),
        overall=overall_loss(pairs),
        accuracy=comparison.compare([pair.graded for pair in pairs]),
        flips=flips(pairs),
    )
