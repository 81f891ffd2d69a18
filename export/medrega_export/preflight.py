"""Preflight: what an export of a checkpoint would come to, told in seconds and without a weight in memory.

Knows the headers of weight files, and lays the model out on torch's `meta` device, where tensors have shapes and no
content. Everything that would stop an export is named at once, with the reason.
"""

from __future__ import annotations

import shutil
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.inference.memory import free as memory_free
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_export import resource_estimate
from medrega_export.checkpoint import checkpoint
from medrega_export.checkpoint.config import check_config, is_chat, native_config, pixel_shuffle, read_config
from medrega_export.checkpoint.published_prompts import Samples
from medrega_export.checkpoint.tokenizer_json import DIGITS, SPECIAL, lacking, open_tokenizer, read_tokenizer
from medrega_export.checkpoint.training_metadata import read_words
from medrega_export.checkpoint.weights import index
from medrega_export.graphs import text_model, vision
from medrega_export.quantisation.recipe import Recipe
from medrega_export.resource_estimate import Weights

GB = 1e9


@dataclass
class Preflight:
    """What was found: facts (name and value), warnings, what is unsupported, and what this machine is short of."""

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


def inspect(
    folder: Path,
    adapter: Path | None,
    samples: Samples | None,
    out: Path,
    recipe: Recipe,
    fit: bool = False,
    besides: Collection[str] = (),
) -> Preflight:
    """Look a checkpoint over; raises UsageError only where there is no config to look at.

    With `fit`, the recipe's group size is the one that fits the language model. `besides` are the options of `room` that
    make more than the package. Weights and tokenizer need not be there yet: that is one of the problems.
    """
    found = Preflight()
    config = read_config(folder)
    layout = "internvl_chat, the original layout" if is_chat(config) else f"{config.get('model_type')}, native"
    found.facts.append(("layout", layout))
    with found.step():
        check_config(config)
    tokenizer = None
    with found.step():
        data = read_tokenizer(folder, config)
        tokenizer = open_tokenizer(data)
        found.facts.append(("tokenizer", f"{tokenizer.size} tokens"))
        found.problems += lacking(tokenizer, (*SPECIAL, *DIGITS))
        prompts, _, warnings = read_words(folder, config, data, samples)
        found.facts.append(("tasks", ", ".join(prompts.templates)))
        found.warnings += warnings
    with found.step():
        native = native_config(config, tokenizer)
        if fit:
            recipe, why = text_model.auto_group_size(recipe, native.text_config)
            found.facts.append(("groups", f"of {recipe.group_size}: {why}"))
        model = checkpoint.meta_model(native)
        _shapes(found, config, native, model, tokenizer, recipe)
        weights = _count(model)
        found.facts.append(("weights", f"{weights.all / GB:.3g} billion"))
        with found.step():
            _weights(found, folder, adapter, config, native, model)
        _room(found, weights, out, recipe, besides)
    found.facts.append(("export", "calibrates, quantises and measures on the processor"))
    found.facts.append(("package", _devices()))
    return found


def _shapes(
    found: Preflight, config: dict[str, Any], native: Any, model: Any, tokenizer: Tokenizer | None, recipe: Recipe
) -> None:
    """Note the sizes, and what of them is not exported."""
    shape = text_model.shape_of(native.text_config, native.text_config.max_position_embeddings)
    rows = model.get_input_embeddings().weight.shape[0]
    tower = native.vision_config
    found.facts += [
        ("tower", f"{tower.num_hidden_layers} layers of {tower.hidden_size}, {_image(config, native)}"),
        ("language model", f"{native.text_config.model_type}, {shape.layers} layers of {shape.hidden}, {rows} tokens"),
    ]
    if tokenizer is not None and tokenizer.size > rows:
        found.problems.append(f"The tokenizer has {tokenizer.size} tokens and the language model only {rows}.")
    with found.step():
        vision.shape_of(native, "v2")
    found.problems += text_model.indivisible_layers(recipe, native.text_config)


def _weights(found: Preflight, folder: Path, adapter: Path | None, config: dict[str, Any], native: Any, model: Any) -> None:
    """Note what the files hold, and what of it does not fit the model."""
    stored = index(checkpoint.weight_files(folder))
    found.facts.append(("stored as", ", ".join(sorted({one.kind for one in stored.values()}))))
    if is_chat(config) and any(".lora_" in name for name in stored):
        found.facts.append(("LoRA", "lies unmerged in the checkpoint, and is merged"))
    weights = checkpoint.find_weights(folder, config, native.tie_word_embeddings, adapter)
    if adapter is not None:
        found.facts.append(("adapter", f"{adapter.name}, is merged"))
    for problem, names in checkpoint.state_dict_mismatches(model, weights):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found.problems.append(f"The weights do not fit the config.json: {problem} '{names[0]}'{more}.")


def _image(config: dict[str, Any], native: Any) -> str:
    side = int(native.vision_config.image_size[0]) // int(native.vision_config.patch_size[0])
    few = side * native.downsample_ratio
    if few != int(few):
        raise UsageError(f"A grid of {side} x {side} patches does not divide by the pixel shuffle; it is not exported.")
    return f"{native.vision_config.image_size[0]} px -> {int(few) ** 2} tokens, pixel shuffle {pixel_shuffle(config)}"


def _count(model: Any) -> Weights:
    def count(part: Any) -> int:
        return sum(parameter.numel() for parameter in part.parameters())

    language = model.model.language_model
    embeddings = count(language.embed_tokens)
    return Weights(
        count(model.model.vision_tower) + count(model.model.multi_modal_projector),
        count(language) - embeddings,
        embeddings,
        count(model.lm_head),
        int(language.config.num_hidden_layers),
    )


def _room(found: Preflight, weights: Weights, out: Path, recipe: Recipe, besides: Collection[str]) -> None:
    """What is needed of memory and disk, step by step, beside what is free."""
    memory, disk = resource_estimate.memory(weights, recipe, besides), resource_estimate.disk(weights, recipe, besides)
    for name, parts, needed, free in (
        ("memory", memory, max(memory.values()), memory_free()),
        ("disk", disk, sum(disk.values()), disk_free(out)),
    ):
        steps = ", ".join(f"{step} {taken / GB:.3g}" for step, taken in parts.items())
        there = "" if free is None else f", {free / GB:.3g} GB free"
        found.facts.append((name, f"about {needed / GB:.3g} GB{there} ({steps})"))
        if free is not None and needed > free:
            found.shortages.append(f"{name} needs about {needed / GB:.3g} GB and {free / GB:.3g} GB are free")
    for option in resource_estimate.OPTIONS:
        if option not in besides:
            found.facts.append(
                (
                    f"with {option}",
                    f"about {resource_estimate.disk(weights, recipe, [option])[option] / GB:.3g} GB of disk more",
                )
            )


def disk_free(path: Path) -> int | None:
    """Bytes free where `path` is to be written; None where nobody tells."""
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _devices() -> str:
    from medrega_edge.inference.devices import load_onnxruntime

    get: Callable[[], list[str]] = load_onnxruntime().get_available_providers
    if "CUDAExecutionProvider" in get():
        return "runs on cpu and cuda"
    return "runs on cpu; cuda would need onnxruntime-gpu, which is not installed here"
