"""`medrega export`: parse, call `build.export`, show the report. Knows no stage; heavy imports wait for the call."""

from __future__ import annotations

import os
import sys
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_edge.errors import ResourceError, UsageError
from medrega_export.quantisation.recipe import FULL, FULL_BITS, Recipe

if TYPE_CHECKING:
    from medrega_export.checkpoint.published_prompts import Samples
    from medrega_export.options import ExportOptions

QUANTISATION = "Quantisation"  # heading of the help text
AUTO = "auto"  # group size


def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a full-precision InternVL checkpoint.")],
    out: Annotated[Path | None, typer.Option("--out", help="Folder of the model package to write.")] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Only tell whether it can be exported, and what that needs.")
    ] = False,
    adapter: Annotated[
        Path | None, typer.Option("--adapter", help="Folder of a LoRA adapter (peft) to merge into the checkpoint.")
    ] = None,
    prompts: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            "--prompts",
            help="Published samples of a checkpoint trained elsewhere: conversations (JSONL) and data sets (JSON).",
            metavar="DATA_FILE META_FILE",
        ),
    ] = None,
    calibration: Annotated[
        Path | None,
        typer.Option("--calibration", help="Questions with truth (JSONL) to calibrate on; fewer bits than 32 need them."),
    ] = None,
    calibration_items: Annotated[int, typer.Option("--calibration-items", help="How many of them are used.")] = 128,
    certify: Annotated[
        Path | None, typer.Option("--certify", help="Questions with truth (JSONL) to measure the accuracy loss on.")
    ] = None,
    gate: Annotated[
        str | None,
        typer.Option("--gate", help='Most loss allowed, else exit code 5: "iou_drop<=0.01,flips<=0.03".'),
    ] = None,
    keep_checkpoint: Annotated[
        Path | None, typer.Option("--keep-checkpoint", help="Keep the GPTQ checkpoint in this folder as well.")
    ] = None,
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.")] = False,
    bits: Annotated[
        int, typer.Option("--bits", help="Of the language model: 4, 8, or 32.", rich_help_panel=QUANTISATION)
    ] = Recipe.bits,
    group_size: Annotated[
        str,
        typer.Option(
            "--group-size",
            help="Weights that share a scale: 32, 64, 128, or auto, which fits the size of the language model.",
            rich_help_panel=QUANTISATION,
        ),
    ] = AUTO,
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric", help="Give each group a zero point.", rich_help_panel=QUANTISATION)
    ] = False,
    head_bits: Annotated[
        int, typer.Option("--head-bits", help="Of the output head: 4, 8, or 32.", rich_help_panel=QUANTISATION)
    ] = Recipe.head_bits,
    tower: Annotated[
        str,
        typer.Option("--tower", help="Vision tower: int8, fp16 (for GPUs) or fp32.", rich_help_panel=QUANTISATION),
    ] = Recipe.tower,
    precision: Annotated[
        str | None,
        typer.Option("--precision", help="fp32: round nothing at all, for reference.", rich_help_panel=QUANTISATION),
    ] = None,
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Only measure what each part costs, on the calibration's questions; --out names a JSON file for it.",
            rich_help_panel=QUANTISATION,
        ),
    ] = False,
    max_size: Annotated[
        float | None,
        typer.Option(
            "--max-size",
            help="MB that the package may take: parts get more bits, where they help most, until it is full.",
            rich_help_panel=QUANTISATION,
        ),
    ] = None,
    losses: Annotated[
        Path | None,
        typer.Option(
            "--losses",
            help="For --max-size: what --explain has measured, not to be measured again.",
            rich_help_panel=QUANTISATION,
        ),
    ] = None,
) -> None:
    """Turn a checkpoint into a model package: 4-bit language model, 8-bit vision tower, certificate."""
    from rich.console import Console

    from medrega_edge.package.gates import read_gates
    from medrega_export.checkpoint.published_prompts import Samples
    from medrega_export.options import ExportOptions
    from medrega_export.pipeline import export as run

    if precision not in (None, "fp32"):
        raise UsageError(f"'{precision}' is no precision; fp32, or set --bits, --head-bits and --tower.")
    recipe = FULL if precision else Recipe(bits, _group(group_size), not asymmetric, head_bits, tower)
    fit = group_size == AUTO and recipe.bits != FULL_BITS
    samples = Samples(*prompts) if prompts else None
    for path in (checkpoint, adapter, out, keep_checkpoint):
        _check_name(path)
    if check:
        besides = [name for name, path in (("--certify", certify), ("--keep-checkpoint", keep_checkpoint)) if path]
        _check(checkpoint, adapter, samples, out or Path(), recipe, fit, besides)
        return
    if explain and any((certify, gate, keep_checkpoint, max_size, losses)):
        raise UsageError("--explain exports nothing; leave --certify, --gate, --keep-checkpoint, --max-size, --losses out.")
    if losses is not None and max_size is None:
        raise UsageError("--losses serves --max-size; name a size, or leave it out.")
    if out is None and not explain:
        raise UsageError("Name the folder of the package to write with --out, or only look with --check.")
    for path in (calibration, certify, losses, *(prompts or ())):
        if path is not None and not path.is_file():
            raise UsageError(f"There is no file '{path.name}' at the path given; check the path.")
    console = Console(stderr=True, highlight=False, markup=False)

    def tell(message: str) -> None:
        console.print(_in_users_language(message), style="dim")

    if fit:
        recipe = _fitted(recipe, checkpoint, samples, tell)
    options = ExportOptions(
        checkpoint=checkpoint,
        out=out or Path(),
        adapter=adapter,
        samples=samples,
        calibration=calibration,
        calibration_items=calibration_items,
        certify=certify,
        recipe=recipe,
        keep_checkpoint=keep_checkpoint,
        force=force,
        gates=read_gates(gate) if gate else (),
    )
    if explain:
        _explain(options, out, tell)
        return
    if max_size is not None:
        options = _raised(options, int(max_size * 1e6), losses, tell)
    report = run(options, tell)
    for name, value in report.errors.items():
        typer.echo(f"{name:16} {value:.3g}")
    typer.echo(f"{report.folder}  {report.precision}  {report.bytes / 1e6:.2f} MB")


def _in_users_language(sentence: str) -> str:
    from medrega_edge.i18n.translate import said, users_language

    return said(sentence, users_language(sys.argv[1:]))


def _group(given: str) -> int:
    """Read a group size; `auto` begins with the recipe's own."""
    try:
        return Recipe.group_size if given == AUTO else int(given)
    except ValueError:
        raise UsageError(f"--group-size {given} is not possible; 32, 64, 128 or {AUTO}.") from None


def _fitted(recipe: Recipe, checkpoint: Path, samples: Samples | None, tell: Callable[[str], None]) -> Recipe:
    """Return the recipe with the group size that fits a checkpoint, and tell which and why."""
    from medrega_export.checkpoint.checkpoint import describe
    from medrega_export.graphs.text_model import auto_group_size

    recipe, why = auto_group_size(recipe, describe(checkpoint, samples).native.text_config)
    tell(f"groups of {recipe.group_size}: {why}")
    return recipe


def _explain(options: ExportOptions, out: Path | None, tell: Callable[[str], None]) -> None:
    """Show the loss map, and write it where a file is named."""
    from medrega_edge.io.atomic import atomic_write, check_output_path
    from medrega_export.quantisation import bit_allocation
    from medrega_export.quantisation.sensitivity import measured

    if out is not None:
        check_output_path(out)
    _, losses = measured(options, tell)
    for line in bit_allocation.table(losses):
        typer.echo(line)
    if out is not None:
        with atomic_write(out) as file:
            file.write(bit_allocation.to_json(losses, options.recipe).encode())


def _raised(options: ExportOptions, limit: int, losses: Path | None, tell: Callable[[str], None]) -> ExportOptions:
    """Return the options with a recipe that makes the most of `limit` bytes."""
    from medrega_export.checkpoint.checkpoint import load
    from medrega_export.quantisation import bit_allocation
    from medrega_export.quantisation.sensitivity import measured

    if losses is None:
        checkpoint, found = measured(options, tell)
    else:
        checkpoint = load(options.checkpoint, options.adapter, options.samples)
        found = bit_allocation.read(losses, options.recipe)
    size = bit_allocation.size_of(checkpoint, found, options.recipe, options.context)
    recipe = bit_allocation.choose(found, options.recipe, size, limit)
    tell(f"{recipe.name}: {', '.join(override.unit for override in recipe.overrides) or 'nothing raised'}")
    return replace(options, recipe=recipe, max_bytes=limit)


def _check_name(path: Path | None) -> None:
    """Refuse a path that safetensors and onnx cannot open: they take UTF-8 alone, whatever the locale writes names in."""
    try:
        os.fsencode(path or "").decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError(
            "A path is written in another encoding than UTF-8, which safetensors and onnx cannot open; "
            "name a folder in ASCII letters."
        ) from None


def _check(
    checkpoint: Path,
    adapter: Path | None,
    samples: Samples | None,
    out: Path,
    recipe: Recipe,
    fit: bool,
    besides: Sequence[str],
) -> None:
    """Show the preflight; raises UsageError for what is unsupported, ResourceError for what is short."""
    from medrega_export.preflight import inspect

    found = inspect(checkpoint, adapter, samples, out, recipe, fit, besides)
    for name, value in found.facts:
        typer.echo(f"{name:16} {value}")
    for kind, sentences in (("warning", found.warnings), ("unsupported", found.problems), ("short", found.shortages)):
        for sentence in sentences:
            typer.echo(f"{kind:16} {_in_users_language(sentence)}")
    if found.problems:
        raise UsageError(f"The checkpoint '{checkpoint.name}' cannot be exported; the reasons are listed.")
    if found.shortages:
        raise ResourceError("This machine is short of memory or disk for the export; the amounts are listed.")


def mount(app: typer.Typer) -> None:
    """Register `medrega export`."""
    app.command("export")(export)
