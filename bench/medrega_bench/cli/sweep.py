"""`sweep`: one checkpoint at many precisions, and what each costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_bench.cli.console import show_quietness, show_report, with_progress
from medrega_bench.cli.options import (
    WAIT_MINUTES,
    AnyDataOption,
    Device,
    LangOption,
    LimitOption,
    SplitOption,
    ThreadsOption,
    WaitOption,
)
from medrega_edge.cli.console import print_result, print_status, user_language
from medrega_edge.i18n.message import Message

if TYPE_CHECKING:
    from medrega_bench.sweep.result import Point


def sweep(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a full-precision checkpoint.")],
    calibration: Annotated[
        Path, typer.Option(help="Questions with truth (JSONL) to calibrate on, as for `medrega export`.")
    ],
    out: Annotated[
        Path, typer.Option(help="Folder for reports, packages and answers; a sweep that was interrupted there goes on.")
    ],
    data: AnyDataOption = None,
    split: SplitOption = "val",
    limit: LimitOption = None,
    calibration_items: Annotated[int, typer.Option(min=1, help="Number of calibration questions to use.")] = 128,
    threads: ThreadsOption = None,
    device: Annotated[Device, typer.Option(help="Where the packages run.")] = Device.CPU,
    repeats: Annotated[int, typer.Option(min=5, help="Measured rounds of speed, after a warm-up.")] = 7,
    lang: LangOption = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder that gets a copy of the result, named after the checkpoint.")
    ] = None,
    wait: WaitOption = WAIT_MINUTES,
) -> None:
    """Compare a checkpoint at many precisions.

    Draws the loss of each against its speed and its size. The packages stay in OUT/packages, without a certificate: export
    the one that you choose with --certify.

    medrega bench questions --data DATA --split train --limit 192 --out calibration.jsonl

    medrega bench sweep runs/nano/checkpoint --calibration calibration.jsonl --data DATA --limit 600 --out sweep
    """
    from tempfile import TemporaryDirectory

    from medrega_bench import result_files
    from medrega_bench.datasets import quick_set
    from medrega_bench.datasets.dataset_selection import choose
    from medrega_bench.evaluation import measure
    from medrega_bench.performance.quietness import Watch
    from medrega_bench.reports import render
    from medrega_bench.sweep import sweep as work
    from medrega_bench.sweep import sweep_report
    from medrega_edge.io.atomic import check_output_path, unwritable, write_text

    builder = work.PackageBuilder(checkpoint, calibration, out, calibration_items)
    builder.check()
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(error) from None
    results = [out / "sweep.json"]
    results += [keep / f"sweep-{checkpoint.resolve().name}.json"] if keep else []
    for path in (*results, out / "report.md", out / "report.html"):
        check_output_path(path)
    with TemporaryDirectory() as drawn:
        items, baseline = choose(data, split, limit, Path(drawn))
        plan = measure.Plan(
            items, baseline, threads, (str(device),), repeats,
            with_speed=False, bare_ids=True, answers=out / "answers", plain=True,
            watch=Watch(60 * wait, print_status),
        )  # fmt: skip
        name = (data.name, split) if data is not None else (quick_set.NAME, None)
        result = work.summary(work.run(builder, plan, name, print_status, with_progress))
    report = sweep_report.report(result, lang or user_language())
    for path in results:
        result_files.write(path, result)
    write_text(out / "report.md", render.markdown(report))
    write_text(out / "report.html", render.html(report))
    for number, point in enumerate(result.points, 1):
        _show(number, point)
    show_quietness(result.quietness)
    show_report(out.name)


def _show(number: int, point: Point) -> None:
    loss = Message("bench.is_reference")
    if point.loss:
        value, (low, high) = point.loss.overall.value, point.loss.overall.interval
        loss = Message("bench.overall_loss", loss=value, low=low, high=high)
    size, rate = point.mib, point.answers_per_second.median
    line = Message("bench.point", number=number, precision=point.precision, size=size, loss=loss, rate=rate)
    print_result(Message("bench.dominated", point=line, others=list(point.dominated_by)) if point.dominated_by else line)
