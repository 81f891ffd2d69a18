"""`medrega bench`: parse, call, write results."""

from __future__ import annotations

import json
import shlex
import sys
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Annotated, Any

import typer

from medrega_edge.errors import UsageError

bench_app = typer.Typer(no_args_is_help=True, help="Measure what a package gets right, on this hardware.")

DataOption = Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/.")]


@bench_app.command()
def questions(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="JSONL to write.")],
    split: Annotated[str, typer.Option(help="train, val or test.")] = "val",
    limit: Annotated[int | None, typer.Option(min=1, help="Take so many, spread evenly.")] = None,
) -> None:
    """Write questions with truth from annotated images: for calibration, for a certificate, or to look at."""
    from medrega_bench.questions import questions_of, read_records
    from medrega_edge.batch import write_lines

    rows = list(questions_of(read_records(data, split), data))
    write_lines(_spread(rows, limit), out)


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
    from medrega_bench.accuracy import answer_all, compare, tables
    from medrega_bench.environment import environment
    from medrega_bench.questions import questions_of, read_records
    from medrega_edge.engine import load
    from medrega_edge.files import write_text

    rows = _spread(list(questions_of(read_records(data, split), data)), limit)
    if not rows:
        raise UsageError(f"There is no question in the split '{split}'; choose train, val or test.")
    engine = load(model)
    answers = answer_all(engine, rows)
    manifest = engine.package.manifest
    result: dict[str, Any] = {
        "schema_version": 1,
        "date": date.today().isoformat(),
        "command": shlex.join(["medrega", *map(_without_folder, sys.argv[1:])]),
        "split": split,
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "precision": manifest.precision,
            "sha256": engine.package.sha256,
        },
        "environment": environment(),
        "tables": tables(answers),
    }
    if reference is not None:
        result["loss"] = compare(answer_all(load(reference), rows), answers)
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    whole = result["tables"]["overall"]["all"]
    typer.echo(f"mean IoU {whole['mean_iou']:.3f}, accuracy at 0.5 {whole['acc50']:.3f}, {whole['n']} questions")
    if reference is not None:
        typer.echo(f"loss against the reference {result['loss']['mean_iou_loss']:+.4f} mean IoU")


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


def _spread(rows: list[dict[str, Any]], limit: int | None) -> list[dict[str, Any]]:
    return rows if limit is None or limit >= len(rows) else [rows[i * len(rows) // limit] for i in range(limit)]


def mount(app: typer.Typer) -> None:
    """Register `medrega bench`."""
    app.add_typer(bench_app, name="bench")
