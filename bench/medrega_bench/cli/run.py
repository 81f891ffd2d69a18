"""`run`: accuracy and speed in one go, and four reports."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.console import show_package, show_quietness, show_report, with_progress
from medrega_bench.cli.options import (
    WAIT_MINUTES,
    AnyDataOption,
    Device,
    LangOption,
    LimitOption,
    ReferenceOption,
    SplitOption,
    ThreadsOption,
    WaitOption,
)
from medrega_edge.cli.console import print_status, user_language
from medrega_edge.errors import UsageError


def run(
    out: Annotated[Path, typer.Option(help="Folder for result.json, report.md, report.html and figures.csv.")],
    data: AnyDataOption = None,
    split: SplitOption = "test",
    model: Annotated[list[str] | None, typer.Option("--model", "-m", help="Package folder or name; may repeat.")] = None,
    reference: ReferenceOption = None,
    device: Annotated[
        list[Device] | None, typer.Option(help="Device; may repeat: speed is measured on all, answers come from the first.")
    ] = None,
    threads: ThreadsOption = None,
    repeats: Annotated[int, typer.Option(min=5, help="Measured rounds of speed, after a warm-up.")] = 5,
    no_speed: Annotated[bool, typer.Option("--no-speed", help="Measure accuracy only.")] = False,
    lang: LangOption = None,
    pictures: Annotated[
        bool | None, typer.Option(help="Put pictures of the worst answers into the page; default: of the quick set only.")
    ] = None,
    limit: LimitOption = None,
    include_identifiers: Annotated[
        bool, typer.Option("--include-identifiers", help="Keep the ids of questions as they are; they may name patients.")
    ] = False,
    keep: Annotated[
        Path | None, typer.Option(help="Folder that gets a copy of the result, named by date and commit.")
    ] = None,
    wait: WaitOption = WAIT_MINUTES,
) -> None:
    """Measure accuracy and speed, and write reports.

    The reports are JSON, Markdown, CSV and one HTML page. JSON and page quote questions, truths and answers. With
    --pictures, pictures of your images go into the page.

    medrega bench run --out report

    medrega bench run --data DATA --split test --model package --reference full --out report
    """
    from tempfile import TemporaryDirectory

    from medrega_bench.datasets import quick_set
    from medrega_bench.datasets.dataset_selection import choose
    from medrega_bench.evaluation import measure
    from medrega_bench.performance.quietness import Watch
    from medrega_bench.reports import render
    from medrega_bench.reports.document import document, figures_of
    from medrega_edge.inference.machine_speed import MemoryReader
    from medrega_edge.io.atomic import check_output_path, unwritable, write_text
    from medrega_edge.package.registry import find_package

    paths = [out / name for name in ("result.json", "report.md", "report.html", "figures.csv")]
    try:
        out.mkdir(exist_ok=True)
    except OSError as error:
        raise unwritable(error) from None
    for path in paths:
        check_output_path(path)
    if keep is not None and not keep.is_dir():
        raise UsageError("bench.no_keep_folder")
    packages = [find_package(name) for name in model] if model else [find_package()]
    full = find_package(reference) if reference is not None else None
    with TemporaryDirectory() as drawn:
        items, baseline = choose(data, split, limit, Path(drawn))
        devices = tuple(map(str, device or [Device.CPU]))
        bare_ids = data is None or include_identifiers
        watch = None if no_speed else Watch(60 * wait, print_status)
        plan = measure.Plan(items, baseline, threads, devices, repeats, not no_speed, bare_ids, watch=watch)
        measured = [measure.measure(package, "package", plan, with_progress) for package in packages]
        measured += [measure.measure(full, "reference", plan, with_progress)] if full else []
        bandwidth = MemoryReader(1).gigabytes_per_second() if plan.with_speed else None
        name = data.name if data is not None else quick_set.NAME
        result = measure.result_of(measured, name, split if data is not None else None, bandwidth, measure.watched(plan))
        shown = data is None if pictures is None else pictures
        images = {measure.image_key(path): path for path in {item.question.image for item in items}} if shown else None
        report = document(result, lang or user_language(), images)
    texts = (measure.to_json(result), render.markdown(report), render.html(report), render.as_csv(figures_of(result)))
    for path, text in zip(paths, texts, strict=True):
        write_text(path, text)
    if keep is not None:
        write_text(keep / measure.history_name(result), texts[0])
    for package_result in result.packages:
        show_package(package_result, result.data)
    show_quietness(result.quietness)
    show_report(out.name)
