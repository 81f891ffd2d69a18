"""`medrega bench`: parse, call, write results."""

from __future__ import annotations

import json
import shlex
import sys
from collections import Counter
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

from medrega_edge.errors import UsageError

T = TypeVar("T")
Row = dict[str, Any]

bench_app = typer.Typer(no_args_is_help=True, help="Measure what a package gets right, on this hardware.")

if TYPE_CHECKING:
    from medrega_edge.package import Package

DataOption = Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/.")]


@bench_app.command()
def questions(
    data: Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/, or the file of another layout.")],
    out: Annotated[Path, typer.Option(help="JSONL to write.")],
    layout: Annotated[str, typer.Option("--from", help="records, medreginstruct, slake, vqa-rad, coco or csv.")] = "records",
    images: Annotated[Path | None, typer.Option(help="Folder that image paths are relative to; default: the usual.")] = None,
    split: Annotated[str | None, typer.Option(help="Of records: train, val (default) or test.")] = None,
    setting: Annotated[list[str] | None, typer.Option(help="Take the questions of this setting only; may repeat.")] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many, spread evenly.")] = None,
) -> None:
    """Write questions with truth: to answer with `medrega batch` and score, for calibration, for a certificate.

    medrega bench questions --from slake --data SLAKE/test.json --out questions.jsonl

    medrega batch questions.jsonl --out answers.jsonl

    medrega bench score answers.jsonl --questions questions.jsonl --setting vqa_en
    """
    from medrega_bench.score import setting_named
    from medrega_bench.sources import read_source
    from medrega_edge.batch import write_lines
    from medrega_edge.files import check_place

    for name in setting or ():
        setting_named(name)
    check_place(out, data)
    made, left_out = read_source(layout, data, images, split)
    chosen = [question.to_dict() for question in made if not setting or question.setting in setting]
    if not chosen:
        raise UsageError(f"'{data.name}' gives no question of the kind that was asked for.")
    write_lines(_spread(chosen, limit), out)
    for name, count in Counter(row["setting"] for row in _spread(chosen, limit)).items():
        typer.echo(f"{count:>8}  {name}", err=True)
    for reason, count in Counter(one.reason for one in left_out).items():
        places = [one.place for one in left_out if one.reason == reason]
        typer.echo(f"{count:>8}  left out: {reason} ({', '.join(places[:3])}{', ...' if count > 3 else ''})", err=True)


@bench_app.command()
def accuracy(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="JSON of results to write.")],
    split: Annotated[str, typer.Option(help="Choose on val, report on test.")] = "val",
    model: Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Full-precision package to compare with, on the same questions.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many questions, spread evenly.")] = None,
) -> None:
    """Let a package answer questions with truth, and report IoU per modality, language and object."""
    from medrega_bench.accuracy import MEASURED, answer_all, compare, tables
    from medrega_bench.questions import Question, questions_of, read_records
    from medrega_edge.engine import load
    from medrega_edge.files import write_text

    made = questions_of(read_records(data, split), data)
    rows = _spread([one.to_dict() for one in made if isinstance(one, Question) and one.setting in MEASURED], limit)
    if not rows:
        raise UsageError(f"There is no question in the split '{split}'; choose train, val or test.")
    engine = load(model)
    answers = answer_all(engine, rows)
    result = _header(engine.package, split) | {"tables": tables(answers)}
    if reference is not None:
        result["loss"] = compare(answer_all(load(reference), rows), answers)
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    whole = result["tables"]["overall"]["all"]
    typer.echo(f"mean IoU {whole['mean_iou']:.3f}, accuracy at 0.5 {whole['acc50']:.3f}, {whole['n']} questions")
    if reference is not None:
        typer.echo(f"loss against the reference {result['loss']['mean_iou_loss']:+.4f} mean IoU")


@bench_app.command()
def tasks(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="JSON of results to write.")],
    split: Annotated[str, typer.Option(help="Choose on val, report on test.")] = "val",
    model: Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.")] = None,
    reference: Annotated[
        Path | None, typer.Option(help="Full-precision package to set beside it, on the same questions.")
    ] = None,
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many questions, spread evenly.")] = None,
) -> None:
    """Let a package do every task on one split, and report MedRegA's figures and what the image is worth to them.

    Free questions are also asked about a blank image and another patient's, and of the training questions alone.
    """
    from medrega_bench import suite
    from medrega_bench.questions import read_records
    from medrega_edge.engine import load
    from medrega_edge.files import check_place, write_text

    check_place(out)
    records = list(read_records(data, split))
    asked = _spread(suite.about_images(list(suite.asked_of(records, data))), limit)
    if not asked:
        raise UsageError(f"There is no question in the split '{split}'; choose train, val or test.")
    question_only = suite.QuestionOnly(read_records(data, "train"))
    engine = load(model)
    result = _header(engine.package, split)
    result["tables"] = suite.tables(list(_with_progress(suite.run(engine, asked, question_only), len(asked))))
    if reference is not None:
        full = list(_with_progress(suite.run(load(reference), asked, question_only), len(asked)))
        result["reference"] = suite.tables(full)
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    typer.echo(f"{len(asked)} questions; figures in {out.name}")


@bench_app.command()
def speed(
    out: Annotated[Path, typer.Option(help="JSON of results to write.")],
    model: Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.")] = None,
    threads: Annotated[str | None, typer.Option(help="Numbers of threads, parted by commas; default: 1 and all.")] = None,
    device: Annotated[str, typer.Option(help="cpu or cuda.")] = "cpu",
    repeats: Annotated[int, typer.Option(min=5, help="Measured rounds, after a warm-up.")] = 7,
) -> None:
    """Measure every stage of an answer on the sample scan, warm and cold, beside this machine's memory bandwidth.

    medrega bench speed --threads 1,2 --out speed.json
    """
    from medrega_bench import speed as stages
    from medrega_edge.errors import ResourceError
    from medrega_edge.files import check_place, write_text
    from medrega_edge.package import find
    from medrega_edge.sessions import available_threads

    check_place(out)
    try:
        counts = [int(part) for part in threads.split(",")] if threads else sorted({1, available_threads()})
        if min(counts) < 1:
            raise ValueError
    except ValueError:
        raise UsageError(f"'{threads}' is no list of thread numbers; write for example 1,2.") from None
    package = find(model)
    package.verify()
    result = _header(package, None)
    try:
        result["stages"] = [stages.measure(package, count, device, repeats) for count in counts]
        result["cold"] = stages.cold(package, repeats)
    except RuntimeError as error:
        raise ResourceError(f"The measurement failed: {error}.") from None
    result["read_bandwidth_gb_per_second"] = stages.bandwidth()
    result["package_mib"] = package.bytes / 2**20
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    for row in result["stages"]:
        middle = {name: value["median"] for name, value in row.items() if isinstance(value, dict)}
        typer.echo(
            f"{row['threads']} threads: vision {middle['vision_ms']:.1f} ms, "
            f"first token {middle['first_prefill_ms']:.1f} ms after the first question, {middle['next_prefill_ms']:.1f} ms "
            "after the next, "
            f"{middle['decode_tokens_per_second']:.0f} tokens/s, {middle['questions_per_second']:.1f} questions/s"
        )
    whole = result["cold"]
    typer.echo(f"cold: {whole['wall_ms']['median']:.0f} ms, {whole['peak_mib']['median']:.0f} MiB")


def _header(package: Package, split: str | None) -> dict[str, Any]:
    """What was measured on what, with which command."""
    from medrega_bench.environment import environment

    manifest = package.manifest
    return {
        "schema_version": 1,
        "date": date.today().isoformat(),
        "command": shlex.join(["medrega", *map(_without_folder, sys.argv[1:])]),
        "split": split,
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "precision": manifest.precision,
            "sha256": package.sha256,
        },
        "environment": environment(),
    }


def _with_progress(rows: Iterator[Row], total: int) -> Iterator[Row]:
    from rich.console import Console
    from rich.progress import track

    console = Console(stderr=True)
    yield from track(rows, "answering", total=total, console=console, disable=not console.is_terminal)


@bench_app.command()
def score(
    answers: Annotated[Path, typer.Argument(help="JSONL of items in MedRegA's layout, or of `medrega batch` answers.")],
    setting: Annotated[str, typer.Option(help="Setting, for example vqa_en or single_object_multi_region.")],
    questions: Annotated[Path | None, typer.Option(help="Questions with truth that `medrega batch` answered.")] = None,
    classes: Annotated[str | None, typer.Option(help="Classes, parted by commas, in the question's order.")] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print one JSON object and nothing else.")] = False,
) -> None:
    """Score answers made by any system: MedRegA's figures, and the standard ones beside them, with intervals.

    medrega bench score answers.jsonl --setting vqa_en --json
    """
    from medrega_bench.score import answered_items, read_items, score, setting_named

    setting_named(setting)
    items = read_items(answers)
    if questions is not None:
        items, others = answered_items(read_items(questions), items, setting)
        if others:
            typer.echo(f"{others} questions belong to other settings and are not scored here", err=True)
    result = score(setting, items, [name.strip() for name in classes.split(",")] if classes else None)
    if as_json:
        typer.echo(json.dumps(result, ensure_ascii=False))
        return
    typer.echo(f"{setting}: {result['items']} items of {result['images']} images")
    for kind in ("figures", "standard"):
        for name, value, interval in _flat(result[kind], result["intervals" if kind == "figures" else "standard_intervals"]):
            typer.echo(f"{name:<40}{_written(value, interval)}")
    for warning in result["warnings"]:
        typer.echo(f"warning: {warning}", err=True)


def _flat(values: dict[str, Any], intervals: dict[str, Any]) -> Iterator[tuple[str, Any, Any]]:
    for name, value in values.items():
        if isinstance(value, dict):
            yield from _flat(value, intervals[name])
        else:
            yield name, value, intervals[name]


def _written(value: float | None, interval: list[float] | None) -> str:
    if value is None or interval is None:
        return "nothing to measure"
    return f"{value:.4f} ({interval[0]:.4f} to {interval[1]:.4f})"


@bench_app.command()
def docs(
    document: Annotated[Path, typer.Argument(help="Markdown file whose blocks are made from results.")] = Path("README.md"),
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit with code 5 when a block is stale.")] = False,
) -> None:
    """Write the tables of a document anew from committed results."""
    from medrega_bench.report import update_blocks

    typer.echo("updated" if update_blocks(document, check) else "up to date")


def _without_folder(argument: str) -> str:
    """A path without the folders above it, which name this machine or its user."""
    path = Path(argument)
    return path.name if path.is_absolute() or ".." in path.parts else argument


def _spread(rows: list[T], limit: int | None) -> list[T]:
    return rows if limit is None or limit >= len(rows) else [rows[i * len(rows) // limit] for i in range(limit)]


def mount(app: typer.Typer) -> None:
    """Register `medrega bench`."""
    app.add_typer(bench_app, name="bench")
