"""`sweep`: one checkpoint at many precisions, and what each costs."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Any

import typer

from medrega_bench.cli.console import language, show, show_report, with_progress
from medrega_bench.cli.options import AnyDataOption, LangOption, LimitOption, SplitOption, ThreadsOption
from medrega_bench.datasets.dataset_selection import choose
from medrega_edge.cli.console import tell


def sweep(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a full-precision checkpoint.")],
    calibration: Annotated[
        Path, typer.Option(help="Questions with truth (JSONL) to calibrate on, as `medrega export` has it.")
    ],
    out: Annotated[Path, typer.Option(help="Folder for reports, packages and answers; an earlier sweep in it goes on.")],
    data: AnyDataOption = None,
    split: SplitOption = "val",
    limit: LimitOption = None,
    calibration_items: Annotated[int, typer.Option(min=1, help="How many of them are used.")] = 128,
    threads: ThreadsOption = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    repeats: Annotated[int, typer.Option(min=5, help="Measured rounds of speed, after a warm-up.")] = 7,
    lang: LangOption = None,
    keep: Annotated[
        Path | None, typer.Option(help="Folder of results that gets a copy, named after the checkpoint.")
    ] = None,
) -> None:
    """Build a checkpoint at many precisions, and draw what each loses against its speed and its size.

    medrega bench questions --data DATA --split train --limit 192 --out calibration.jsonl

    medrega bench sweep runs/nano/checkpoint --calibration calibration.jsonl --data DATA --limit 600 --out sweep

    Packages stay in OUT/packages, without a certificate: export the one you choose with --certify.
    """
    from tempfile import TemporaryDirectory

    from medrega_bench.datasets import quick_set
    from medrega_bench.evaluation import measure
    from medrega_bench.performance.environment import command, environment
    from medrega_bench.reports import render
    from medrega_bench.sweep import sweep as work
    from medrega_bench.sweep import sweep_report
    from medrega_edge.i18n.translate import bring
    from medrega_edge.io.atomic import check_output_path, unwritable, write_text
    from medrega_edge.io.safe_text import json_text

    bring("medrega_export")  # whose errors are the reasons why a precision is left out
    plan = work.Sweep(checkpoint, calibration, out, calibration_items)
    work.check(plan)
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(error) from None
    places = [out / name for name in ("sweep.json", "report.md", "report.html")]
    places += [keep / f"sweep-{checkpoint.resolve().name}.json"] if keep else []
    for place in places:
        check_output_path(place)
    with TemporaryDirectory() as drawn:
        chosen, blind = choose(data, split, limit, Path(drawn))
        asking = measure.Plan(
            chosen, blind, threads, (device,), repeats, with_speed=False, bare_ids=True, answers=out / "answers", plain=True
        )
        header = {"command": command(), "environment": asdict(environment())}
        name = (data.name, split) if data is not None else (quick_set.NAME, None)
        hear = work.Hearing(tell, with_progress)
        made = work.summary(work.run(plan, asking, header, name, hear))
    document = sweep_report.report(made, lang or language())
    text = json_text(made, indent=1) + "\n"
    for place, written in zip(places, (text, render.markdown(document), render.html(document), text), strict=False):
        write_text(place, written)
    for number, point in enumerate(made["points"], 1):
        _show(number, point)
    for one in made["refused"]:
        tell(f"{one['precision']}: not built. {one['reason']}")
    show_report(out.name)


def _show(number: int, point: dict[str, Any]) -> None:
    lost = "the reference"
    if point["loss"]:
        whole = point["loss"]["overall"]
        low, high = whole["interval"]
        lost = f"loss {whole['value']:+.4f} ({low:+.4f} to {high:+.4f})"
    by = f", dominated by {', '.join(map(str, point['dominated_by']))}" if point["dominated_by"] else ""
    rate = point["answers_per_second"]["median"]
    show(f"{number} {point['precision']}: {point['mib']:.1f} MiB, {lost}, {rate:.1f} answers/s{by}")
