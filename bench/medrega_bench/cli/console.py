"""Prints results of packages, and shows how far a measurement is."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, TypeVar

from medrega_edge.cli.console import print_result, print_status, progress, user_language
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_bench.evaluation.results import Flip, PackageResult, RowComparison
    from medrega_bench.performance.quietness import Quietness
    from medrega_bench.result_files import DataIdentity

T = TypeVar("T")

FLIPS_SHOWN = 10  # on a terminal; a file has them all


def with_progress(rows: Iterator[T], total: int) -> Iterator[T]:
    """Yield the rows, with a bar or lines of progress while they are made."""
    with progress(total, 0) as note:
        for number, row in enumerate(rows, 1):
            yield row
            note(number)


def show_report(folder: str) -> None:
    """Print where a report was written, and the notice that belongs to every report."""
    from medrega_edge.domain import NOTICES

    print_result(Message("bench.report_written", folder=folder))
    print_result(NOTICES[user_language()])


def show_package(package: PackageResult, data: DataIdentity) -> None:
    """Print the headline and the speed of a package, and what it lost."""
    from medrega_bench.reports import headlines
    from medrega_bench.reports.phrases import words

    say = words(user_language())
    print_result(f"{say[package.role]} {package.model.name} {package.model.precision}: {headlines.line(package, data, say)}")
    for stage in package.speed:
        rate = stage.questions_per_second.median
        print_result(Message("bench.package_speed", rate=rate, device=stage.device, threads=stage.threads))
    if package.loss:
        show_losses(package.loss)


def show_quietness(quietness: Quietness | None) -> None:
    """Tell that a result is disturbed, and by what; nothing for a quiet machine, or where no speed was measured."""
    from medrega_bench.performance.quietness import told

    if (disturbed := told(quietness)) is not None:
        print_status(disturbed)


def show_losses(compared: RowComparison) -> None:
    """Print what each whole task lost, with its interval."""
    from medrega_edge.evaluation.comparison import whole_tasks

    for entry in whole_tasks(compared.accuracy):
        for name, figure in entry.means.items():
            low, high = figure.interval
            print_result(
                Message(
                    "bench.loss",
                    task=entry.task,
                    language=entry.language,
                    figure=name,
                    reference=figure.reference,
                    package=figure.package,
                    loss=figure.loss,
                    low=low,
                    high=high,
                    verdict=Message("bench.significant") if figure.significant else Message("bench.not_significant"),
                )
            )


def show_flips(flips: Sequence[Flip]) -> None:
    """Print the answers that became wrong or right, the greatest losses first."""
    from medrega_bench.reports.phrases import words

    truth_name = words(user_language())["truth"]
    for flip in flips[:FLIPS_SHOWN]:
        truth, before, after = (text or "-" for text in (flip.truth, flip.before, flip.after))
        print_result("  " + " ".join(f"{flip.question} ({truth_name}: {truth}): {before} -> {after}".split()))
    if len(flips) > FLIPS_SHOWN:
        print_result(Message("bench.more_flips", count=len(flips) - FLIPS_SHOWN))
