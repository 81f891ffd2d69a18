"""Which questions a command asks: those of a split, or of the quick set, spread evenly."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import spread
from medrega_edge.evaluation.records import read_records

if TYPE_CHECKING:
    from medrega_bench.datasets.evaluation_set import EvaluationItem
    from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline


def choose(
    data: Path | None, split: str, limit: int | None, folder: Path, batch: int | None = None
) -> tuple[list[EvaluationItem], QuestionOnlyBaseline | None]:
    """Return what is asked of a split of `data`, or of the quick set, whose pictures are drawn into `folder`.

    With `batch` only images of that delivery of the data are chosen; an image without one is of the first. Beside it the
    baseline that learns from the training questions alone, None for the quick set. Raises UsageError for an empty split.
    """
    from medrega_bench.datasets import quick_set
    from medrega_bench.datasets.evaluation_set import by_image, items_of, reports_of
    from medrega_bench.evaluation.question_only_baseline import QuestionOnlyBaseline

    if data is None:
        items, baseline = list(items_of(quick_set.records(folder))), None
    else:
        records = [record for record in read_records(data, split) if batch in (None, record.batch or 1)]
        items = [*items_of(records), *reports_of(records)]
        baseline = QuestionOnlyBaseline(read_records(data, "train"))
    chosen = by_image(spread(items, limit))
    if not chosen:
        raise empty_split(split)
    return chosen, baseline


def empty_split(split: str) -> UsageError:
    """Return the error of a split without a question."""
    return UsageError("bench.empty_split", split=split)
