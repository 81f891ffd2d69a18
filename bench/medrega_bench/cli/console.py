"""What is said of results on standard output: any line, a package, a loss, an answer that flipped."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from medrega_edge.cli.console import echo, progress, user_language
from medrega_edge.domain import Language
from medrega_edge.i18n.translate import said

Row = dict[str, Any]

FLIPS = 10  # on a terminal; a file has them all


def with_progress(rows: Iterator[Row], total: int) -> Iterator[Row]:
    """Yield the rows, with a bar or lines of progress while they are made."""
    with progress(total, 0) as note:
        for number, row in enumerate(rows, 1):
            yield row
            note(number)


def language() -> Language:
    """The language of who typed the command."""
    return user_language()


def show(text: str) -> None:
    """Say a result on standard output, in that language."""
    echo(said(text, language()))


def show_report(name: str) -> None:
    """Say where a report lies, and what it is not for."""
    from medrega_bench.reports.model import NOTICES

    show(f"report in {name}")
    echo(NOTICES[language()])


def show_package(one: Row) -> None:
    """Say what one package of a run reached, and what it lost."""
    from medrega_bench.reports.document import percent
    from medrega_bench.reports.phrases import words

    model, say = one["model"], words(language())
    echo(f"{say[one['role']]} {model['name']} {model['precision']}: {say['overall']} {percent(one['overall'], say)}")
    for stage in one["speed"]:
        middle = stage["questions_per_second"]["median"]
        show(f"  {middle:.1f} questions/s on {stage['device']} with {stage['threads']} threads")
    for entry in one["loss"]["accuracy"] if one["loss"] else ():
        show_loss(entry)


def show_loss(entry: Row) -> None:
    """Say what a whole task lost, with its interval."""
    from medrega_bench.evaluation.paired import MEANS

    for name in MEANS:
        figure = entry[name]
        if figure is not None and entry["modality"] is None:
            low, high = figure["interval"]
            more = "significant" if figure["significant"] else "not significant"
            show(
                f"  {entry['task']}, {entry['language']}: {name} {figure['reference']:.3f} -> {figure['package']:.3f}, "
                f"loss {figure['loss']:+.4f} ({low:+.4f} to {high:+.4f}), {more}"
            )


def show_flips(flips: list[Row]) -> None:
    """Say which answers became wrong or right, the greatest losses first."""
    from medrega_bench.reports.phrases import words

    name = words(language())["truth"]
    for flip in flips[:FLIPS]:
        truth, before, after = (flip[key] or "-" for key in ("truth", "before", "after"))
        echo("  " + " ".join(f"{flip['question']} ({name}: {truth}): {before} -> {after}".split()))
    if len(flips) > FLIPS:
        show(f"  and {len(flips) - FLIPS} more; --out lists them all")
