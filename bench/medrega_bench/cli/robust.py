"""`robust`: what 22 perturbations at three severities cost, and whether quantisation costs robustness."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_bench.cli.console import with_progress
from medrega_bench.cli.options import (
    AnswersOption,
    DataOption,
    ModelOption,
    ReferenceOption,
    ResultOption,
    SplitOption,
    ThreadsOption,
    check_answers_folder,
)
from medrega_edge.cli.console import print_result, user_language
from medrega_edge.domain import NOTICES
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_bench.evaluation.robustness_result import RobustResult

IMAGES = 160  # perturbed and asked, they take half of 20 minutes on two free cores


def robust(
    data: DataOption,
    out: ResultOption,
    split: SplitOption = "test",
    limit: Annotated[
        int, typer.Option(min=1, help="Use at most this many images, spread over kinds and data sets.")
    ] = IMAGES,
    reference: ReferenceOption = None,
    answers: AnswersOption = None,
    report: Annotated[Path | None, typer.Option(help="HTML page to write as well.")] = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Measure what perturbed images cost.

    22 perturbations at three severities: blur, noise, motion, metal, low dose and others, each for the kinds of images that
    have it. Boxes move with the picture. With --reference, tells whether quantisation costs robustness. An interrupted run
    goes on where it stopped if --answers names a folder.

    medrega bench robust --data DATA --reference full --answers answers --out robust.json --report robust.html
    """
    from dataclasses import replace
    from datetime import date

    from medrega_bench import result_files
    from medrega_bench.datasets.dataset_selection import empty_split
    from medrega_bench.datasets.evaluation_set import items_of
    from medrega_bench.evaluation import robustness
    from medrega_bench.evaluation.robustness_figures import costs, measured
    from medrega_bench.evaluation.robustness_result import RobustResult
    from medrega_bench.performance.environment import ModelIdentity, command, environment
    from medrega_bench.perturbations.catalogue import severities
    from medrega_edge.engine import load
    from medrega_edge.evaluation.bootstrap import SEED
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.io.atomic import check_output_path, write_text

    for path in filter(None, (out, report)):
        check_output_path(path)
    check_answers_folder(answers)
    records = list(read_records(data, split))
    chosen = robustness.subjects(records, list(items_of(records)), limit)
    if not chosen:
        raise empty_split(split)
    strengths = severities()
    found = []
    for name in (model, *([reference] if reference else [])):
        engine = load(name, threads=threads)
        journal = answers / f"robust-{engine.package.sha256[:16]}.jsonl" if answers else None
        asked = robustness.answers(engine, chosen, strengths, journal)
        rows = list(with_progress(asked, len(chosen)))
        found.append((rows, measured(ModelIdentity.of(engine.package), rows)))
    (rows, package), *others = found
    result = RobustResult(
        date=date.today().isoformat(),
        command=command(),
        environment=environment(),
        data=robustness.identity(data.name, split, chosen),
        seed=SEED,
        targets=strengths.targets,
        seconds=round(sum(row.seconds for row in rows), 1),
        package=package,
        reference=replace(others[0][1], cells=()) if others else None,
        costs=costs(rows, others[0][0]) if others else None,
    )
    result_files.write(out, result)
    if report is not None:
        from medrega_bench.reports import render, robust_report

        write_text(report, render.html(robust_report.document(result, user_language())))
    _show(result)


def _show(result: RobustResult) -> None:
    """Print the mean drop of each kind of image, and the worst perturbations."""
    from medrega_bench.evaluation.robustness_result import ALL

    package = result.package
    whole = package.clean[0]
    clean = Message(
        "bench.robust_clean",
        accuracy=whole.accuracy.value,
        iou=whole.iou.value,
        objects=whole.objects,
        images=whole.images,
    )
    print_result(clean)
    for mean in package.means:
        if mean.severity == 0:
            low, high = (100 * end for end in mean.drop.interval)
            kind = mean.kind or Message("bench.robust_all")
            print_result(Message("bench.robust_mean", kind=kind, drop=100 * mean.drop.value, low=low, high=high))
    cells = {(cell.perturbation, cell.severity): cell for cell in package.cells if cell.kind == ALL}
    for name in dict.fromkeys(name for name, _ in cells):
        one, two, three = (100 * cells[name, severity].drop.value for severity in (1, 2, 3))
        unfamiliar = cells[name, 3].unfamiliar
        print_result(Message("bench.robust_row", name=name, one=one, two=two, three=three, unfamiliar=unfamiliar))
    for cost in result.costs or ():
        if not cost.severity:
            is_perturbed = cost.perturbation == ALL
            where = Message("bench.robust_perturbed") if is_perturbed else Message("bench.robust_themselves")
            low, high = (100 * end for end in cost.loss.interval)
            print_result(Message("bench.robust_cost", where=where, loss=100 * cost.loss.value, low=low, high=high))
    print_result(NOTICES[user_language()])
