"""Before an export: what is refused of its options, and what it would come to, told in seconds without reading a weight.

Only headers of weight files are read. The model is laid out on torch's `meta` device, where tensors have shapes and no
content. `inspect` names everything that would stop an export at once, with the reason.
"""

from __future__ import annotations

import math
import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medrega_edge.boxes import Geometry
from medrega_edge.domain import Task
from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.evaluation.questions import Question, regions_text
from medrega_edge.i18n.message import Message
from medrega_edge.inference.memory import free as memory_free
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.package.manifest import MANIFEST
from medrega_export import resource_estimate
from medrega_export.checkpoint.checkpoint import (
    HEAD_AND_TABLE,
    STAGE,
    Checkpoint,
    find_mask_head,
    find_region_head,
    find_weights,
    generation_warnings,
    image_tokens,
    mismatches,
    read_preprocessing,
    tower_of,
    weight_shapes,
)
from medrega_export.checkpoint.config import check_config, is_chat, native_config, pixel_shuffle, read_config
from medrega_export.checkpoint.tokenizer_json import DIGITS, SPECIAL, missing_tokens, open_tokenizer, read_tokenizer
from medrega_export.checkpoint.training_metadata import read_metadata
from medrega_export.checkpoint.weight_files import index_weights, unread_files
from medrega_export.graphs import text_model, vision
from medrega_export.options import ExportOptions
from medrega_export.quantisation.recipe import Recipe
from medrega_export.questions import picture
from medrega_export.resource_estimate import CERTIFY, KEEP, WeightCounts

GB = 1e9
HEAD, TABLE = HEAD_AND_TABLE
Shapes = Mapping[str, tuple[int, ...]]
STEPS = {  # names of the steps of `resource_estimate`; an optional output is named by its option
    "gptq": Message("export.step_gptq"),
    "checks": Message("export.step_checks"),
    "certificate": Message("export.step_certificate"),
    "package": Message("export.step_package"),
    "work": Message("export.step_work"),
}


def check_options(options: ExportOptions) -> None:
    """Refuse options that do not go together, and files that are not there; raises UsageError."""
    recipe = options.recipe
    check_names(options)
    if recipe.is_quantised and options.calibration is None:
        raise UsageError("export.no_calibration")
    if recipe.is_full and options.certify is not None:
        raise UsageError("export.certify_full_precision")
    if not recipe.is_quantised and options.keep_checkpoint is not None:
        raise UsageError("export.keep_unquantised")
    if options.gates and options.certify is None:
        raise UsageError("export.gate_without_certificate")
    if options.sensitivities is not None and options.max_bytes is None:
        raise UsageError("export.losses_without_max_size")
    if options.calibration_items < 1:
        raise UsageError("export.no_calibration_items")
    targets = [target.resolve() for target in options.targets]
    for target in targets:
        if not target.name or target == Path.cwd():
            raise UsageError("export.target_is_here")
    if any(target in other.parents or target == other for target in targets for other in targets if target is not other):
        raise UsageError("export.targets_overlap")
    if not options.checkpoint.is_dir():
        raise UsageError("export.no_checkpoint", checkpoint=options.checkpoint.name)
    check_files(options)


def check_files(options: ExportOptions) -> None:
    """Refuse a file that is not there; raises UsageError."""
    samples = (options.samples.conversations, options.samples.registry) if options.samples else ()
    for path in (options.calibration, options.certify, options.sensitivities, *samples):
        if path is not None and not path.is_file():
            raise UsageError("export.no_file", file=path.name)


def check_names(options: ExportOptions) -> None:
    """Refuse a path that safetensors and onnx cannot open, which take UTF-8 alone in any locale; raises UsageError."""
    for path in (options.checkpoint, options.adapter, *options.targets):
        try:
            os.fsencode(path or "").decode("utf-8")
        except UnicodeDecodeError:
            raise UsageError("export.path_not_utf8") from None


def check_recipe(recipe: Recipe, checkpoint: Checkpoint, has_images: bool) -> None:
    """Refuse a recipe that the checkpoint cannot have, or not without images to calibrate on; raises UsageError."""
    for reason in text_model.indivisible_layers(recipe, checkpoint.config.text_config):
        raise UsageError.of(reason)
    is_efficientnet = checkpoint.efficientnet is not None
    for override in recipe.overrides:
        if not recipe.fits_tower(override.unit, is_efficientnet):
            raise UsageError("export.unit_of_another_tower", unit=override.unit)
    if is_efficientnet and recipe.rounds_tower and not has_images:
        raise UsageError("export.tower_needs_images")


def check_questions(questions: Iterable[Question], checkpoint: Checkpoint) -> None:
    """Refuse at once what would fail after hours; raises UsageError, and ImageError for an image that cannot be read."""
    sizes: dict[Path, Geometry] = {}
    for question in questions:
        if question.task.value not in checkpoint.training.tasks:
            raise UsageError("export.question_task_unknown", question=question.id, task=question.task.value)
        if question.task is Task.IDENTIFY and question.box is None:
            raise UsageError("export.question_without_box", question=question.id)
        if question.task is Task.CLASSIFY and not question.labels:
            raise UsageError("export.question_without_labels", question=question.id)
        if question.image not in sizes:
            image = picture(question)
            sizes[question.image] = Geometry(image.width, image.height)
        try:
            regions_text(question.truth.regions, sizes[question.image])
        except ValueError:
            raise UsageError("export.truth_outside", question=question.id) from None


def check_target(target: Path, force: bool) -> None:
    """Refuse a target that holds something else, or that `force` does not allow to be replaced; raises UsageError."""
    if not target.exists():
        return
    # --force replaces what an export has written, and nothing else a path may happen to name.
    if not any((target / name).is_file() for name in (MANIFEST, "quantize_config.json")):
        raise UsageError("export.target_is_no_export", target=target.name)
    if not force:
        raise UsageError("export.target_exists", target=target.name)


@dataclass
class Preflight:
    """The result of `inspect`: facts (name and value), warnings, what is unsupported, and what this machine is short of."""

    facts: list[tuple[Message, Message | str]] = field(default_factory=list)
    warnings: list[Message] = field(default_factory=list)
    problems: list[Message] = field(default_factory=list)
    shortages: list[Message] = field(default_factory=list)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Note an error of ours as a problem, once, and go on: the next is worth knowing too."""
        try:
            yield
        except MedregaError as error:
            if error.message not in self.problems:
                self.problems.append(error.message)

    @property
    def rows(self) -> list[tuple[Message, Message | str]]:
        """The facts, and then warnings, problems and shortages, each with its kind."""
        return [
            *self.facts,
            *((Message("export.fact_warning"), warning) for warning in self.warnings),
            *((Message("export.fact_unsupported"), problem) for problem in self.problems),
            *((Message("export.fact_short"), shortage) for shortage in self.shortages),
        ]


def inspect(options: ExportOptions) -> Preflight:
    """Inspect a checkpoint; raises UsageError only for a path that cannot be opened, and where there is no config to read.

    Weights and tokenizer need not be there yet: that is one of the problems.
    """
    check_names(options)
    folder, recipe = options.checkpoint, options.recipe
    optional_outputs = [name for name, path in ((CERTIFY, options.certify), (KEEP, options.keep_checkpoint)) if path]
    report = Preflight()
    config = read_config(folder)
    layout = Message("export.layout_native", type=str(config.get("model_type")))
    if is_chat(config):
        layout = Message("export.layout_chat")
    report.facts.append((Message("export.fact_layout"), layout))
    with report.step():
        check_config(config)
    tokenizer = training = None
    with report.step():
        data = read_tokenizer(folder, config)
        tokenizer = open_tokenizer(data)
        report.facts.append((Message("export.fact_tokenizer"), Message("export.tokenizer_size", count=tokenizer.size)))
        report.problems += missing_tokens(tokenizer, (*SPECIAL, *DIGITS))
        prompts, training, warnings = read_metadata(folder, config, data, options.samples)
        report.facts.append((Message("export.fact_tasks"), ", ".join(prompts.templates)))
        report.warnings += warnings
    with report.step():
        native = native_config(config, tokenizer)
        if options.auto_group_size and recipe.is_quantised:
            group, reason = text_model.auto_group_size(recipe, native.text_config)
            recipe = replace(recipe, group_size=group)
            report.facts.append((Message("export.fact_groups"), Message("export.group_size", group=group, reason=reason)))
        shapes = weight_shapes(native)
        _shapes(report, config, native, shapes, tokenizer, recipe)
        with report.step():
            _, tiles = read_preprocessing(folder, config, native)
            warnings = (*tiles, *generation_warnings(folder))
            report.warnings += [warning for warning in warnings if warning not in report.warnings]
        counts = _count(shapes, native)
        report.facts.append((Message("export.fact_weights"), Message("export.weight_count", billions=counts.total / GB)))
        with report.step():
            _weights(report, folder, options.adapter, config, native, shapes)
        with report.step():
            regions = find_region_head(folder, native, training) if training else {}
            counts = replace(counts, regions=sum(math.prod(stored.shape) for stored in regions.values()))
            if regions:
                weights = Message("export.weight_count", billions=counts.regions / GB)
                report.facts.append((Message("export.fact_region_head"), weights))
        with report.step():
            masks = sum(math.prod(stored.shape) for stored in find_mask_head(folder).values())
            if masks:
                report.facts.append((Message("export.fact_mask_head"), Message("export.weight_count", billions=masks / GB)))
        _resources(report, counts, options.out, recipe, optional_outputs)
    report.facts.append((Message("export.fact_export"), Message("export.where_it_runs")))
    report.facts.append((Message("export.fact_package"), _devices()))
    return report


def _shapes(
    report: Preflight, config: dict[str, Any], native: Any, shapes: Shapes, tokenizer: Tokenizer | None, recipe: Recipe
) -> None:
    """Note the sizes, and what of them is not exported."""
    shape = text_model.shape_of(native.text_config, native.text_config.max_position_embeddings)
    rows = shapes[TABLE][0]
    tower_shape = _tower_shape(native, pixel_shuffle(config))
    kind = native.text_config.model_type
    language_shape = Message("export.language_shape", type=kind, layers=shape.layers, width=shape.hidden, tokens=rows)
    report.facts += [(Message("export.fact_tower"), tower_shape), (Message("export.fact_language_model"), language_shape)]
    if tokenizer is not None and tokenizer.size > rows:
        report.problems.append(Message("export.tokenizer_too_large", tokens=tokenizer.size, rows=rows))
    if tower_of(native) is None:
        with report.step():
            vision.shape_of(native, "v2")
    report.problems += text_model.indivisible_layers(recipe, native.text_config)


def _tower_shape(native: Any, shuffle: str) -> Message:
    tokens, vision_config = image_tokens(native), native.vision_config
    if tower := tower_of(native):
        return Message("export.efficientnet_shape", variant=tower.variant, size=tower.size, tokens=tokens)
    return Message(
        "export.tower_shape",
        layers=vision_config.num_hidden_layers,
        width=vision_config.hidden_size,
        size=vision_config.image_size[0],
        tokens=tokens,
        shuffle=shuffle,
    )


def _weights(
    report: Preflight, folder: Path, adapter: Path | None, config: dict[str, Any], native: Any, shapes: Shapes
) -> None:
    """Note what the files hold, and what of it does not fit the model."""
    stored = index_weights(folder, config)
    if unread := unread_files(folder, stored):
        report.warnings.append(Message("export.weight_files_unread", files=unread))
    kinds = sorted({tensor.dtype for tensor in stored.values()})
    report.facts.append((Message("export.fact_number_type"), ", ".join(kinds)))
    if is_chat(config) and any(".lora_" in name for name in stored):
        report.facts.append((Message("export.fact_lora"), Message("export.lora_is_merged")))
    weights = find_weights(folder, config, native.tie_word_embeddings, adapter)
    if adapter is not None:
        report.facts.append((Message("export.fact_adapter"), Message("export.adapter_is_merged", adapter=adapter.name)))
    for mismatch in mismatches(shapes, weights):
        report.problems.append(Message("export.weights_do_not_fit", mismatch=mismatch))


def _count(shapes: Shapes, native: Any) -> WeightCounts:
    sizes = {name: math.prod(shape) for name, shape in shapes.items()}
    vision_size = sum(size for name, size in sizes.items() if name.startswith(STAGE))
    language_size = sum(sizes.values()) - vision_size - sizes[TABLE] - sizes[HEAD]
    return WeightCounts(vision_size, language_size, sizes[TABLE], sizes[HEAD], int(native.text_config.num_hidden_layers))


def _resources(
    report: Preflight, counts: WeightCounts, out: Path, recipe: Recipe, optional_outputs: Collection[str]
) -> None:
    """Note the memory and disk that each step needs, and what is free of both."""
    memory = resource_estimate.memory(counts, recipe, optional_outputs)
    disk = resource_estimate.disk(counts, recipe, optional_outputs)
    peak, total, free_memory, free_disk = max(memory.values()), sum(disk.values()), memory_free(), disk_free(out)
    report.facts.append((Message("export.fact_memory"), _needed(memory, peak, free_memory)))
    report.facts.append((Message("export.fact_disk"), _needed(disk, total, free_disk)))
    if free_memory is not None and peak > free_memory:
        report.shortages.append(Message("export.memory_short", needed=peak / GB, free=free_memory / GB))
    if free_disk is not None and total > free_disk:
        report.shortages.append(Message("export.disk_short", needed=total / GB, free=free_disk / GB))
    for option in (CERTIFY, KEEP):
        if option not in optional_outputs:
            more = resource_estimate.disk(counts, recipe, [option])[option]
            name = Message("export.fact_with_option", option=option)
            report.facts.append((name, Message("export.more_disk", size=more / GB)))


def _needed(sizes: Mapping[str, int], needed: int, free: int | None) -> Message:
    steps = [Message("export.step_size", step=STEPS.get(step, step), size=size / GB) for step, size in sizes.items()]
    if free is None:
        return Message("export.needed", needed=needed / GB, steps=steps)
    return Message("export.needed_and_free", needed=needed / GB, free=free / GB, steps=steps)


def disk_free(path: Path) -> int | None:
    """Bytes free where `path` is to be written; None where the system does not tell."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _devices() -> Message:
    from medrega_edge.inference.devices import load_onnxruntime

    get: Callable[[], list[str]] = load_onnxruntime().get_available_providers
    if "CUDAExecutionProvider" in get():
        return Message("export.runs_on_cuda")
    return Message("export.runs_on_cpu")
