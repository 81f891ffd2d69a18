"""Before an export: what is refused of its options, and what it would come to, told in seconds without reading a weight.

Only headers of weight files are read. The model is laid out on torch's `meta` device, where tensors have shapes and no
content. `inspect` names everything that would stop an export at once, with the reason.
"""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable, Collection, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from medrega_edge.boxes import Geometry
from medrega_edge.domain import Task
from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.evaluation.questions import Question, regions_text
from medrega_edge.inference.memory import free as memory_free
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.package.manifest import MANIFEST
from medrega_export import resource_estimate
from medrega_export.checkpoint.checkpoint import (
    Checkpoint,
    find_weights,
    meta_model,
    state_dict_mismatches,
    weight_files,
)
from medrega_export.checkpoint.config import check_config, is_chat, native_config, pixel_shuffle, read_config
from medrega_export.checkpoint.tokenizer_json import DIGITS, SPECIAL, lacking, open_tokenizer, read_tokenizer
from medrega_export.checkpoint.training_metadata import read_words
from medrega_export.checkpoint.weights import index
from medrega_export.graphs import text_model, vision
from medrega_export.options import ExportOptions
from medrega_export.quantisation.recipe import Recipe
from medrega_export.questions import picture
from medrega_export.resource_estimate import CERTIFY, KEEP, WeightCounts

GB = 1e9


def check_options(options: ExportOptions) -> None:
    """Refuse options that do not go together, and files that are not there; raises UsageError."""
    recipe = options.recipe
    check_names(options)
    if recipe.is_quantised and options.calibration is None:
        raise UsageError("Quantisation needs questions to calibrate on; name a JSONL file with --calibration.")
    if recipe.is_full and options.certify is not None:
        raise UsageError("A package in full precision is what a certificate compares with; leave --certify out.")
    if not recipe.is_quantised and options.keep_checkpoint is not None:
        raise UsageError("At 32 bits there is no quantised checkpoint to keep; leave --keep-checkpoint out.")
    if options.gates and options.certify is None:
        raise UsageError("A gate is held against the certificate; name its questions with --certify.")
    if options.sensitivities is not None and options.max_bytes is None:
        raise UsageError("--losses serves --max-size; name a size, or leave it out.")
    if options.calibration_items < 1:
        raise UsageError("--calibration-items has to be 1 or more.")
    targets = [target.resolve() for target in options.targets]
    for target in targets:
        if not target.name or target == Path.cwd():
            raise UsageError("The target is the root of the disk, or where you are; name a folder of its own.")
    if any(target in other.parents or target == other for target in targets for other in targets if target is not other):
        raise UsageError("--out and --keep-checkpoint lie one in the other; name two folders beside each other.")
    if not options.checkpoint.is_dir():
        raise UsageError(f"There is no checkpoint folder '{options.checkpoint}'; check the path.")
    check_files(options)


def check_files(options: ExportOptions) -> None:
    """Refuse a file that is not there; raises UsageError."""
    samples = (options.samples.conversations, options.samples.registry) if options.samples else ()
    for path in (options.calibration, options.certify, options.sensitivities, *samples):
        if path is not None and not path.is_file():
            raise UsageError(f"There is no file '{path.name}' at the path given; check the path.")


def check_names(options: ExportOptions) -> None:
    """Refuse a path that safetensors and onnx cannot open, which take UTF-8 alone in any locale; raises UsageError."""
    for path in (options.checkpoint, options.adapter, *options.targets):
        try:
            os.fsencode(path or "").decode("utf-8")
        except UnicodeDecodeError:
            raise UsageError(
                "A path is written in another encoding than UTF-8, which safetensors and onnx cannot open; "
                "name a folder in ASCII letters."
            ) from None


def check_recipe(recipe: Recipe, checkpoint: Checkpoint) -> None:
    """Refuse a recipe that the checkpoint's language model cannot have; raises UsageError."""
    for reason in text_model.indivisible_layers(recipe, checkpoint.config.text_config):
        raise UsageError(reason)


def check_questions(questions: Iterable[Question], checkpoint: Checkpoint) -> None:
    """Refuse at once what would fail after hours; raises UsageError, and ImageError for an image that cannot be read."""
    sizes: dict[Path, Geometry] = {}
    for question in questions:
        if question.task.value not in checkpoint.training.tasks:
            raise UsageError(f"Question '{question.id}' asks for '{question.task}', which the checkpoint does not know.")
        if question.task is Task.IDENTIFY and question.box is None:
            raise UsageError(f"Question '{question.id}' asks what is in a box and names none; give it a 'box'.")
        if question.task is Task.CLASSIFY and not question.labels:
            raise UsageError(f"Question '{question.id}' asks for one of several labels and names none; give it 'labels'.")
        if question.image not in sizes:
            image = picture(question)
            sizes[question.image] = Geometry(image.width, image.height)
        try:
            regions_text(question.truth.regions, sizes[question.image])
        except ValueError as error:
            raise UsageError("export.truth_outside", question=question.id, problem=str(error)) from None


def check_target(target: Path, force: bool) -> None:
    """Refuse a target that holds something else, or that `force` does not allow to be replaced; raises UsageError."""
    if not target.exists():
        return
    # --force replaces what an export has written, and nothing else a path may happen to name.
    if not any((target / name).is_file() for name in (MANIFEST, "quantize_config.json")):
        raise UsageError(f"'{target.name}' exists and is no earlier export; choose another path.")
    if not force:
        raise UsageError(f"'{target.name}' exists; choose another path, or replace it with --force.")


@dataclass
class Preflight:
    """The result of `inspect`: facts (name and value), warnings, what is unsupported, and what this machine is short of."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    shortages: list[str] = field(default_factory=list)

    @contextmanager
    def step(self) -> Iterator[None]:
        """Note an error of ours as a problem, once, and go on: the next is worth knowing too."""
        try:
            yield
        except MedregaError as error:
            if str(error) not in self.problems:
                self.problems.append(str(error))


def inspect(options: ExportOptions) -> Preflight:
    """Inspect a checkpoint; raises UsageError only for a path that cannot be opened, and where there is no config to read.

    Weights and tokenizer need not be there yet: that is one of the problems.
    """
    check_names(options)
    folder, recipe = options.checkpoint, options.recipe
    optional_outputs = [name for name, path in ((CERTIFY, options.certify), (KEEP, options.keep_checkpoint)) if path]
    report = Preflight()
    config = read_config(folder)
    layout = "internvl_chat, the original layout" if is_chat(config) else f"{config.get('model_type')}, native"
    report.facts.append(("layout", layout))
    with report.step():
        check_config(config)
    tokenizer = None
    with report.step():
        data = read_tokenizer(folder, config)
        tokenizer = open_tokenizer(data)
        report.facts.append(("tokenizer", f"{tokenizer.size} tokens"))
        report.problems += lacking(tokenizer, (*SPECIAL, *DIGITS))
        prompts, _, warnings = read_words(folder, config, data, options.samples)
        report.facts.append(("tasks", ", ".join(prompts.templates)))
        report.warnings += warnings
    with report.step():
        native = native_config(config, tokenizer)
        if options.auto_group_size and recipe.is_quantised:
            group, reason = text_model.auto_group_size(recipe, native.text_config)
            recipe = replace(recipe, group_size=group)
            report.facts.append(("groups", f"of {group}: {reason}"))
        model = meta_model(native)
        _shapes(report, config, native, model, tokenizer, recipe)
        counts = _count(model)
        report.facts.append(("weights", f"{counts.total / GB:.3g} billion"))
        with report.step():
            _weights(report, folder, options.adapter, config, native, model)
        _resources(report, counts, options.out, recipe, optional_outputs)
    report.facts.append(("export", "calibrates, quantises and measures on the processor"))
    report.facts.append(("package", _devices()))
    return report


def _shapes(
    report: Preflight, config: dict[str, Any], native: Any, model: Any, tokenizer: Tokenizer | None, recipe: Recipe
) -> None:
    """Note the sizes, and what of them is not exported."""
    shape = text_model.shape_of(native.text_config, native.text_config.max_position_embeddings)
    rows = model.get_input_embeddings().weight.shape[0]
    tower = native.vision_config
    report.facts += [
        ("tower", f"{tower.num_hidden_layers} layers of {tower.hidden_size}, {_image(config, native)}"),
        ("language model", f"{native.text_config.model_type}, {shape.layers} layers of {shape.hidden}, {rows} tokens"),
    ]
    if tokenizer is not None and tokenizer.size > rows:
        report.problems.append(f"The tokenizer has {tokenizer.size} tokens and the language model only {rows}.")
    with report.step():
        vision.shape_of(native, "v2")
    report.problems += text_model.indivisible_layers(recipe, native.text_config)


def _weights(report: Preflight, folder: Path, adapter: Path | None, config: dict[str, Any], native: Any, model: Any) -> None:
    """Note what the files hold, and what of it does not fit the model."""
    stored = index(weight_files(folder))
    report.facts.append(("stored as", ", ".join(sorted({tensor.kind for tensor in stored.values()}))))
    if is_chat(config) and any(".lora_" in name for name in stored):
        report.facts.append(("LoRA", "lies unmerged in the checkpoint, and is merged"))
    weights = find_weights(folder, config, native.tie_word_embeddings, adapter)
    if adapter is not None:
        report.facts.append(("adapter", f"{adapter.name}, is merged"))
    for problem, names in state_dict_mismatches(model, weights):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        report.problems.append(f"The weights do not fit the config.json: {problem} '{names[0]}'{more}.")


def _image(config: dict[str, Any], native: Any) -> str:
    side = int(native.vision_config.image_size[0]) // int(native.vision_config.patch_size[0])
    few = side * native.downsample_ratio
    if few != int(few):
        raise UsageError(f"A grid of {side} x {side} patches does not divide by the pixel shuffle; it is not exported.")
    return f"{native.vision_config.image_size[0]} px -> {int(few) ** 2} tokens, pixel shuffle {pixel_shuffle(config)}"


def _count(model: Any) -> WeightCounts:
    def count(part: Any) -> int:
        return sum(parameter.numel() for parameter in part.parameters())

    language = model.model.language_model
    embeddings = count(language.embed_tokens)
    return WeightCounts(
        count(model.model.vision_tower) + count(model.model.multi_modal_projector),
        count(language) - embeddings,
        embeddings,
        count(model.lm_head),
        int(language.config.num_hidden_layers),
    )


def _resources(
    report: Preflight, counts: WeightCounts, out: Path, recipe: Recipe, optional_outputs: Collection[str]
) -> None:
    """Note the memory and disk that each step needs, and what is free of both."""
    memory = resource_estimate.memory(counts, recipe, optional_outputs)
    disk = resource_estimate.disk(counts, recipe, optional_outputs)
    for name, parts, needed, free in (
        ("memory", memory, max(memory.values()), memory_free()),
        ("disk", disk, sum(disk.values()), disk_free(out)),
    ):
        steps = ", ".join(f"{step} {size / GB:.3g}" for step, size in parts.items())
        there = "" if free is None else f", {free / GB:.3g} GB free"
        report.facts.append((name, f"about {needed / GB:.3g} GB{there} ({steps})"))
        if free is not None and needed > free:
            report.shortages.append(f"{name} needs about {needed / GB:.3g} GB and {free / GB:.3g} GB are free")
    for option in (CERTIFY, KEEP):
        if option not in optional_outputs:
            more = resource_estimate.disk(counts, recipe, [option])[option]
            report.facts.append((f"with {option}", f"about {more / GB:.3g} GB of disk more"))


def disk_free(path: Path) -> int | None:
    """Bytes free where `path` is to be written; None where the system does not tell."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _devices() -> str:
    from medrega_edge.inference.devices import load_onnxruntime

    get: Callable[[], list[str]] = load_onnxruntime().get_available_providers
    if "CUDAExecutionProvider" in get():
        return "runs on cpu and cuda"
    return "runs on cpu; cuda would need onnxruntime-gpu, which is not installed here"
