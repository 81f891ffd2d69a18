"""`medrega bench`: parse, call, write results."""

from __future__ import annotations

import json
import shlex
import sys
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
