"""`medrega train`: parse, call, report. The heavy imports wait until a run really starts."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def train(
    data: Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/.")],
    out: Annotated[Path, typer.Option(help="Folder of the run; a run that is there goes on.")],
    preset: Annotated[str, typer.Option(help="lite, nano or masks (2 cores), small (one GPU) or smoke (a test).")] = "lite",
    minutes: Annotated[float | None, typer.Option(help="End this slice after so many minutes; run again to go on.")] = None,
    workers: Annotated[int, typer.Option(help="Processes that prepare batches.")] = 1,
    compile: Annotated[
        bool, typer.Option("--compile", help="Compile the tower; needs a C++ compiler, pays off in long runs.")
    ] = False,
    start: Annotated[
        Path | None, typer.Option(help="Start from this checkpoint, of the same shape, instead of from nothing.")
    ] = None,
    masks: Annotated[Path | None, typer.Option(help="Folder with masks.jsonl and its PNGs, for --preset masks.")] = None,
) -> None:
    """Train a full-precision checkpoint from images and records.

    With --preset masks a mask head is trained on true masks; it starts from the vision tower of the checkpoint --start.

    medrega train --data ../shared/data --out runs/lite --minutes 9
    """
    from medrega_edge.cli.console import print_result
    from medrega_edge.errors import UsageError
    from medrega_edge.i18n.message import Message
    from medrega_train import region_run, run
    from medrega_train.presets import PRESETS, EfficientNet

    if minutes is not None and minutes <= 0:
        raise UsageError("train.no_minutes")
    if preset == "masks":
        _train_masks(data, masks, start, out, minutes)
        return
    if preset not in PRESETS:
        raise UsageError("train.no_preset", preset=preset, presets=[*PRESETS, "masks"])
    options = run.RunOptions(data, out, minutes, workers, compile, start)
    train_preset = region_run.train if isinstance(PRESETS[preset].tower, EfficientNet) else run.train
    checkpoint = train_preset(preset, PRESETS[preset], options)
    print_result(Message("train.finished", folder=checkpoint) if checkpoint else Message("train.slice_ended", folder=out))


def _train_masks(data: Path, masks: Path | None, start: Path | None, out: Path, minutes: float | None) -> None:
    """Train a mask head; raises UsageError where masks or a start are missing."""
    from medrega_edge.cli.console import print_result
    from medrega_edge.errors import UsageError
    from medrega_edge.i18n.message import Message
    from medrega_train.mask_training import TrainingOptions
    from medrega_train.mask_training import train as train_masks

    if masks is None or start is None:
        raise UsageError("train.masks_and_start")
    written = train_masks(TrainingOptions(data, masks, start, out, minutes or _MINUTES))
    print_result(Message("train.finished", folder=written))


_MINUTES = 60.0


def mount(app: typer.Typer) -> None:
    """Register `medrega train`."""
    app.command("train")(train)
