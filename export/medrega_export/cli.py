"""`medrega export`: parse the options, run the export, print its report. Heavy imports wait for the command."""

from __future__ import annotations

from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal

import typer

from medrega_edge.cli.console import print_result, print_status, user_language
from medrega_edge.cli.options import with_shared_options
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_export.quantisation.recipe import FULL, Recipe

if TYPE_CHECKING:
    from medrega_export.options import ExportOptions

LABEL_WIDTH = 16  # columns for the names of facts

# groups of the help
checkpoint_option = partial(typer.Option, rich_help_panel="Checkpoint")
quantisation_option = partial(typer.Option, rich_help_panel="Quantisation")
certificate_option = partial(typer.Option, rich_help_panel="Certificate")
output_option = partial(typer.Option, rich_help_panel="Output")

Bits = Literal["4", "8", "32"]


@dataclass(frozen=True)
class ExportFlags:
    """The options of the command line, in the groups of its help."""

    adapter: Annotated[
        Path | None, checkpoint_option(help="Folder of a LoRA adapter (peft) to merge into the checkpoint.")
    ] = None
    prompts: Annotated[
        tuple[Path, Path] | None,
        checkpoint_option(
            help="Published samples of a checkpoint trained elsewhere: conversations (JSONL) and data sets (JSON).",
            metavar="DATA_FILE META_FILE",
        ),
    ] = None
    check: Annotated[
        bool, checkpoint_option("--check", help="Only check whether it can be exported, and what that needs.")
    ] = False
    calibration: Annotated[
        Path | None,
        quantisation_option(help="Questions with truth (JSONL) to calibrate on; fewer bits than 32 need them."),
    ] = None
    calibration_items: Annotated[int, quantisation_option(help="Number of these questions to use.")] = 128
    bits: Annotated[Bits, quantisation_option(help="Bits of the language model's layers.")] = "4"
    group_size: Annotated[
        Literal["32", "64", "128", "auto"],
        quantisation_option(help="Weights that share a scale; auto fits the size of the language model."),
    ] = "auto"
    asymmetric: Annotated[bool, quantisation_option("--asymmetric", help="Give each group a zero point.")] = False
    head_bits: Annotated[Bits, quantisation_option(help="Bits of the output head.")] = "8"
    prefill_8bit: Annotated[
        bool,
        quantisation_option(
            "--prefill-8bit", help="Add the language model's layers in 8 bits: a quicker first answer about an image."
        ),
    ] = False
    tower: Annotated[
        Literal["int8", "fp16", "fp32"], quantisation_option(help="Precision of the vision tower; fp16 is for GPUs.")
    ] = "int8"
    precision: Annotated[Literal["fp32"] | None, quantisation_option(help="Round nothing at all, for reference.")] = None
    explain: Annotated[
        bool,
        quantisation_option(
            "--explain",
            help="Only measure the sensitivity of each unit, on the calibration questions; --out names a JSON file.",
        ),
    ] = False
    max_size: Annotated[
        float | None,
        quantisation_option(
            help="Largest size of the package in MB: units get more bits, where they help most, up to this size."
        ),
    ] = None
    losses: Annotated[
        Path | None, quantisation_option(help="For --max-size: the JSON file of --explain, instead of measuring again.")
    ] = None
    certify: Annotated[
        Path | None, certificate_option(help="Questions with truth (JSONL) to measure the loss of accuracy on.")
    ] = None
    gate: Annotated[
        str | None,
        certificate_option(help='Largest loss; exit with code 5 if it is missed: "iou_drop<=0.01,flips<=0.03".'),
    ] = None
    out: Annotated[Path | None, output_option(help="Folder of the model package to write.")] = None
    keep_checkpoint: Annotated[Path | None, output_option(help="Folder of the GPTQ checkpoint to write as well.")] = None
    force: Annotated[bool, output_option("--force", help="Replace an earlier export.")] = False

    def recipe(self) -> Recipe:
        """The recipe that is asked for; `auto` begins with the recipe's own group size."""
        if self.precision == "fp32":
            return replace(FULL, prefill_int8=self.prefill_8bit)
        group = Recipe.group_size if self.group_size == "auto" else int(self.group_size)
        bits, head_bits = int(self.bits), int(self.head_bits)
        return Recipe(bits, group, not self.asymmetric, head_bits, self.tower, prefill_int8=self.prefill_8bit)

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
            auto_group_size=self.group_size == "auto",
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
