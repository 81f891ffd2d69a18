"""`medrega export`: parse, call `build.export`, show the report. Knows no stage; heavy imports wait for the call."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_edge.errors import UsageError


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a full-precision InternVL checkpoint.")],
    out: Annotated[Path, typer.Option("--out", help="Folder of the model package to write.")],
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Questions with truth (JSONL) to calibrate on; int4 needs them."),
    ] = None,
    calibration_items: Annotated[int, typer.Option("--calibration-items", help="How many of them are used.")] = 128,
    certify: Annotated[
        Path | None, typer.Option("--certify", help="Questions with truth (JSONL) to measure the accuracy loss on.")
    ] = None,
    precision: Annotated[str, typer.Option("--precision", help="int4 or fp32.")] = "int4",
    keep_checkpoint: Annotated[
        Path | None, typer.Option("--keep-checkpoint", help="Keep the GPTQ checkpoint in this folder as well.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
) -> None:
    """Turn a checkpoint into a model package: 4-bit language model, 8-bit vision tower, certificate."""
    from rich.console import Console

    from medrega_export.build import ExportOptions
    from medrega_export.build import export as run

    for path in (calibration, certify):
        if path is not None and not path.is_file():
            raise UsageError(f"There is no file '{path.name}' at the path given; check the path.")
    console = Console(stderr=True, highlight=False, markup=False)
    options = ExportOptions(
        checkpoint=checkpoint,
        out=out,
        calibration=calibration,
        calibration_items=calibration_items,
        certify=certify,
        precision=precision,
        keep_checkpoint=keep_checkpoint,
        force=force,
    )
    report = run(options, lambda message: console.print(message, style="dim"))
    for name, value in report.errors.items():
        typer.echo(f"{name:16} {value:.3g}")
    typer.echo(f"{report.folder}  {report.precision}  {report.bytes / 1e6:.2f} MB")


def mount(app: typer.Typer) -> None:
    """Register `medrega export`."""
    app.command("export")(export)
