"""What to export and where to, and what is refused of it before anything is computed.

Knows options, questions and folders; knows no weight and no graph.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

from medrega_edge.domain import Task
from medrega_edge.errors import UsageError
from medrega_edge.package.gates import Gate
from medrega_edge.package.manifest import MANIFEST
from medrega_export.checkpoint.checkpoint import Checkpoint
from medrega_export.checkpoint.published_prompts import Samples
from medrega_export.graphs.numerical_error import Thresholds
from medrega_export.graphs.text_model import indivisible_layers
from medrega_export.quantisation.recipe import FULL_BITS, Recipe
from medrega_export.questions import Question, picture

CONTEXT = 2048  # longest sequence a package is made for; its cache is allocated at once


@dataclass(frozen=True)
class ExportOptions:
    """What to export and where to. `certify` holds the certificate's questions; without, accuracy is unmeasured.

    `adapter` is a LoRA adapter's folder; `samples` are the published prompts of a checkpoint that brings none of its own;
    `gates` are held against the certificate; the package may take `max_bytes`.
    """

    checkpoint: Path
    out: Path
    calibration: Path | None = None
    calibration_items: int = 128
    certify: Path | None = None
    recipe: Recipe = Recipe()
    keep_checkpoint: Path | None = None
    force: bool = False
    context: int = CONTEXT
    thresholds: Thresholds = field(default_factory=Thresholds)
    adapter: Path | None = None
    samples: Samples | None = None
    gates: tuple[Gate, ...] = ()
    max_bytes: int | None = None


def check(options: ExportOptions) -> None:
    """Refuse options that do not go together; raises UsageError."""
    quantised = options.recipe.bits != FULL_BITS
    if quantised and options.calibration is None:
        raise UsageError("Quantisation needs questions to calibrate on; name a JSONL file with --calibration.")
    if options.recipe.is_full and options.certify is not None:
        raise UsageError("A package in full precision is what a certificate compares with; leave --certify out.")
    if not quantised and options.keep_checkpoint is not None:
        raise UsageError("At 32 bits there is no quantised checkpoint to keep; leave --keep-checkpoint out.")
    if options.gates and options.certify is None:
        raise UsageError("A gate is held against the certificate; name its questions with --certify.")
    if options.calibration_items < 1:
        raise UsageError("--calibration-items has to be 1 or more.")
    targets = [target.resolve() for target in (options.out, options.keep_checkpoint) if target is not None]
    for target in targets:
        if not target.name or target == Path.cwd():
            raise UsageError("The target is the root of the disk, or where you are; name a folder of its own.")
    if any(one == other or one in other.parents for one in targets for other in targets if one is not other):
        raise UsageError("--out and --keep-checkpoint lie one in the other; name two folders beside each other.")
    if not options.checkpoint.is_dir():
        raise UsageError(f"There is no checkpoint folder '{options.checkpoint}'; check the path.")


def check_recipe(recipe: Recipe, checkpoint: Checkpoint) -> None:
    """Refuse a recipe that the checkpoint's language model cannot have; raises UsageError."""
    for reason in indivisible_layers(recipe, checkpoint.config.text_config):
        raise UsageError(reason)


def check_questions(questions: list[Question], checkpoint: Checkpoint) -> None:
    """Refuse at once what would fail after hours; raises UsageError, and ImageError for an image that cannot be read."""
    for question in questions:
        if question.task.value not in checkpoint.training.tasks:
            raise UsageError(f"Question '{question.id}' asks for '{question.task}', which the checkpoint does not know.")
        if question.task is Task.IDENTIFY and question.box is None:
            raise UsageError(f"Question '{question.id}' asks what is in a box and names none; give it a 'box'.")
        if question.task is Task.CLASSIFY and not question.labels:
            raise UsageError(f"Question '{question.id}' asks for one of several labels and names none; give it 'labels'.")
    for question in {question.image: question for question in questions}.values():
        picture(question)


def check_target(target: Path, force: bool) -> None:
    """Refuse a target that holds something else, or that `force` does not allow to be replaced; raises UsageError."""
    if not target.exists():
        return
    # --force replaces what an export has written, and nothing else a path may happen to name.
    if not any((target / name).is_file() for name in (MANIFEST, "quantize_config.json")):
        raise UsageError(f"'{target.name}' exists and is no earlier export; choose another path.")
    if not force:
        raise UsageError(f"'{target.name}' exists; choose another path, or replace it with --force.")
