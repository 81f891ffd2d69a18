"""Which questions a command asks: those of a split, or of the quick set, spread evenly. Knows data; knows no package."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medrega_edge.cli.console import progress
from medrega_edge.errors import UsageError

if TYPE_CHECKING:
    from medrega_bench.datasets.evaluation_set import Asked
    from medrega_bench.evaluation.question_only_baseline import Blind

T = TypeVar("T")
Row = dict[str, Any]


def spread(rows: list[T], limit: int | None) -> list[T]:
    """So many of the rows, evenly over all of them."""
    return rows if limit is None or limit >= len(rows) else [rows[i * len(rows) // limit] for i in range(limit)]


def choose(data: Path | None, split: str, limit: int | None, folder: Path) -> tuple[list[Asked], Blind | None]:
    """The questions of a split of `data`, or of the quick set, whose pictures are drawn into `folder`.

    Beside them what the training questions alone would answer, None for the quick set. Raises UsageError for an empty split.
    """
    from medrega_bench.datasets import evaluation_set, quick_set
    from medrega_bench.datasets.questions import read_records
    from medrega_bench.evaluation.question_only_baseline import Blind

    if data is None:
        made, blind = list(evaluation_set.asked_of(quick_set.records(folder), folder)), None
    else:
        records = list(read_records(data, split))
        made = [*evaluation_set.asked_of(records, data), *evaluation_set.reports_of(records, data)]
        blind = Blind(read_records(data, "train"))
    chosen = evaluation_set.about_images(spread(made, limit))
    if not chosen:
        raise empty_split(split)
    return chosen, blind


def empty_split(split: str) -> UsageError:
    """The error of a split without a question."""
    return UsageError(f"There is no question in the split '{split}'; choose train, val or test.")


def with_progress(rows: Iterator[Row], total: int) -> Iterator[Row]:
    """The rows, with a bar or lines of progress while they are made."""
    with progress(total, 0) as note:
        for number, row in enumerate(rows, 1):
            yield row
            note(number)
