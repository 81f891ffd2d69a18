"""`medrega export`: parse the options, run the export, print its report. Heavy imports wait for the command."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from medrega_edge.cli.console import print_result, print_status, user_language
from medrega_edge.cli.options import with_shared_options
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_export.quantisation.recipe import FULL, Recipe

if TYPE_CHECKING:
    from medrega_export.options import ExportOptions

CHECKPOINT, QUANTISATION, CERTIFICATE, OUTPUT = "Checkpoint", "Quantisation", "Certificate", "Output"  # groups of the help
AUTO = "auto"  # group size
LABEL_WIDTH = 16  # columns for the names of facts


@dataclass(frozen=True)
class ExportFlags:
    """The options of the command line, in the groups of its help."""

    adapter: Annotated[
        Path | None,
        typer.Option(help="Folder of a LoRA adapter (peft) to merge into the checkpoint.", rich_help_panel=CHECKPOINT),
    ] = None
    prompts: Annotated[
        tuple[Path, Path] | None,
        typer.Option(
            help="Published samples of a checkpoint trained elsewhere: conversations (JSONL) and data sets (JSON).",
            metavar="DATA_FILE META_FILE",
            rich_help_panel=CHECKPOINT,
        ),
    ] = None
    check: Annotated[
        bool,
        typer.Option(
            "--check", help="Only check whether it can be exported, and what that needs.", rich_help_panel=CHECKPOINT
        ),
    ] = False
    calibration: Annotated[
        Path | None,
        typer.Option(
            help="Questions with truth (JSONL) to calibrate on; fewer bits than 32 need them.", rich_help_panel=QUANTISATION
        ),
    ] = None
    calibration_items: Annotated[int, typer.Option(help="How many of them are used.", rich_help_panel=QUANTISATION)] = 128
    bits: Annotated[int, typer.Option(help="Of the language model: 4, 8, or 32.", rich_help_panel=QUANTISATION)] = (
        Recipe.bits
    )
    group_size: Annotated[
        str,
        typer.Option(
            help="Weights that share a scale: 32, 64, 128, or auto, which fits the size of the language model.",
            rich_help_panel=QUANTISATION,
        ),
    ] = AUTO
    asymmetric: Annotated[
        bool, typer.Option("--asymmetric", help="Give each group a zero point.", rich_help_panel=QUANTISATION)
    ] = False
    head_bits: Annotated[int, typer.Option(help="Of the output head: 4, 8, or 32.", rich_help_panel=QUANTISATION)] = (
        Recipe.head_bits
    )
    tower: Annotated[
        str, typer.Option(help="Vision tower: int8, fp16 (for GPUs) or fp32.", rich_help_panel=QUANTISATION)
    ] = Recipe.tower
    precision: Annotated[
        str | None, typer.Option(help="fp32: round nothing at all, for reference.", rich_help_panel=QUANTISATION)
    ] = None
    explain: Annotated[
        bool,
        typer.Option(
            "--explain",
            help="Only measure what each part costs, on the calibration's questions; --out names a JSON file for it.",
            rich_help_panel=QUANTISATION,
        ),
    ] = False
    max_size: Annotated[
        float | None,
        typer.Option(
            help="MB that the package may take: parts get more bits, where they help most, until it is full.",
            rich_help_panel=QUANTISATION,
        ),
    ] = None
    losses: Annotated[
        Path | None,
        typer.Option(
            help="For --max-size: what --explain has measured, not to be measured again.", rich_help_panel=QUANTISATION
        ),
    ] = None
    certify: Annotated[
        Path | None,
        typer.Option(help="Questions with truth (JSONL) to measure the accuracy loss on.", rich_help_panel=CERTIFICATE),
    ] = None
    gate: Annotated[
        str | None,
        typer.Option(help='Most loss allowed, else exit code 5: "iou_drop<=0.01,flips<=0.03".', rich_help_panel=CERTIFICATE),
    ] = None
    out: Annotated[Path | None, typer.Option(help="Folder of the model package to write.", rich_help_panel=OUTPUT)] = None
    keep_checkpoint: Annotated[
        Path | None, typer.Option(help="Keep the GPTQ checkpoint in this folder as well.", rich_help_panel=OUTPUT)
    ] = None
    force: Annotated[bool, typer.Option("--force", help="Replace an earlier export.", rich_help_panel=OUTPUT)] = False

    def recipe(self) -> Recipe:
        """The recipe that is asked for; raises UsageError. `auto` begins with the recipe's own group size."""
        if self.precision is not None:
            if self.precision != "fp32":
                raise UsageError("export.precision_unsupported", precision=self.precision)
            return FULL
        try:
            group = Recipe.group_size if self.group_size == AUTO else int(self.group_size)
        except ValueError:
            raise UsageError("export.group_size_unsupported", value=self.group_size) from None
        return Recipe(self.bits, group, not self.asymmetric, self.head_bits, self.tower)

    def options(self, checkpoint: Path) -> ExportOptions:
        """The options of an export; raises UsageError for values that cannot be read."""
        from medrega_edge.evaluation.gates import read_gates
        from medrega_export.checkpoint.published_prompts import PublishedSamples
        from medrega_export.options import ExportOptions

        return ExportOptions(
            checkpoint=checkpoint,
            out=self.out or Path(),
            adapter=self.adapter,
            samples=PublishedSamples(*self.prompts) if self.prompts else None,
            calibration=self.calibration,
            calibration_items=self.calibration_items,
            certify=self.certify,
            recipe=self.recipe(),
            keep_checkpoint=self.keep_checkpoint,
            force=self.force,
            gates=read_gates(self.gate) if self.gate else (),
            auto_group_size=self.group_size == AUTO,
            max_bytes=None if self.max_size is None else int(self.max_size * 1e6),
            sensitivities=self.losses,
        )


@with_shared_options
def export(
    checkpoint: Annotated[Path, typer.Argument(help="Folder of a full-precision InternVL checkpoint.")],
    shared: ExportFlags,
) -> None:
    """Turn a checkpoint into a model package: 4-bit language model, 8-bit vision tower, certificate.

    medrega export runs/nano/checkpoint --check

    medrega export runs/nano/checkpoint --calibration train.jsonl --certify val.jsonl --out nano
    """
    options = shared.options(checkpoint)
    if shared.check:
        _check(options)
        return
    if shared.explain:
        if any((shared.certify, shared.gate, shared.keep_checkpoint, shared.max_size, shared.losses)):
            raise UsageError("export.explain_alone")
        _explain(options, shared.out)
        return
    if shared.out is None:
        raise UsageError("export.no_target")
    from medrega_export.pipeline import export as run

    report = run(options, print_status)
    for name, value in report.errors.items():
        print_result(f"{name:16} {value:.3g}")
    print_result(f"{report.folder}  {report.precision}  {report.total_bytes / 1e6:.2f} MB")


def _explain(options: ExportOptions, out: Path | None) -> None:
    """Show the sensitivity of each unit, and write it where a file is named."""
    from medrega_edge.io.atomic import check_output_path, write_text
    from medrega_export.pipeline import explain
    from medrega_export.quantisation import bit_allocation

    if out is not None:
        check_output_path(out)
    recipe, units = explain(options, print_status)
    for line in bit_allocation.sensitivity_table(units):
        print_result(line)
    print_result(Message("export.sensitivity_legend"))
    if out is not None:
        write_text(out, bit_allocation.to_json(units, recipe))


def _check(options: ExportOptions) -> None:
    """Show the preflight; raises UsageError for what is unsupported, ResourceError for what is short."""
    from rich.cells import cell_len

    from medrega_export.preflight import inspect

    report = inspect(options)
    for name, value in report.rows:
        label, shown = (part.text(user_language()) if isinstance(part, Message) else part for part in (name, value))
        print_result(f"{label}{' ' * (LABEL_WIDTH - cell_len(label))} {shown}")
    if report.problems:
        raise UsageError("export.cannot_be_exported", checkpoint=options.checkpoint.name)
    if report.shortages:
        raise ResourceError("export.short_of_resources")


def mount(app: typer.Typer) -> None:
    """Register `medrega export`."""
    app.command("export")(export)
