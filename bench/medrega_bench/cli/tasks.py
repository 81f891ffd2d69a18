"""`tasks`: a package's figures for every task on one split, full precision beside it."""

from __future__ import annotations

from dataclasses import replace
from datetime import date

from medrega_bench.cli.console import with_progress
from medrega_bench.cli.options import (
    AnswersOption,
    BatchOption,
    DataOption,
    LimitOption,
    ModelOption,
    ReferenceOption,
    ResultOption,
    SplitOption,
    check_answers_folder,
)
from medrega_edge.cli.console import print_result
from medrega_edge.i18n.message import Message


def tasks(
    data: DataOption,
    out: ResultOption,
    split: SplitOption = "val",
    model: ModelOption = None,
    reference: ReferenceOption = None,
    limit: LimitOption = None,
    batch: BatchOption = None,
    answers: AnswersOption = None,
) -> None:
    """Measure every task on one split.

    The figures are MedRegA's, with intervals. Free questions are also asked about a blank image and about another patient's
    image, and answered from their text alone. With --reference, each figure has its loss with a paired interval.

    medrega bench tasks --data DATA --split test --reference full --out tasks.json
    """
    from medrega_bench import result_files
    from medrega_bench.datasets.dataset_selection import choose
    from medrega_bench.evaluation import answer_cache
    from medrega_bench.evaluation.image_ablation import reliance
    from medrega_bench.evaluation.results import TasksResult
    from medrega_bench.evaluation.tables import losses, tables
    from medrega_bench.performance.environment import ModelIdentity, command, environment
    from medrega_bench.reports.report_figures import report_figures
    from medrega_edge.io.atomic import check_output_path
    from medrega_edge.package.registry import find_package

    check_output_path(out)
    check_answers_folder(answers)
    items, baseline = choose(data, split, limit, data, batch)
    package = find_package(model)
    rows = answer_cache.answers(package, items, baseline, with_progress, folder=answers)
    result = TasksResult(
        date=date.today().isoformat(),
        command=command(),
        split=split,
        model=ModelIdentity.of(package),
        environment=environment(),
        tables=tables(rows),
        reliance=reliance(rows),
        reports=report_figures(rows),
    )
    if reference is not None:
        full = answer_cache.answers(find_package(reference), items, baseline, with_progress, folder=answers)
        result = replace(result, reference=tables(full), loss=losses(full, rows))
    result_files.write(out, result)
    print_result(Message("bench.tasks_measured", count=len(items), file=out.name))
