"""Preflight: what an export of a checkpoint would come to, told in seconds and without a weight in memory.

Knows the headers of safetensors files, and lays the model out on torch's `meta` device, where tensors have shapes and no
content. Everything that would stop an export is named at once, with the reason. Bytes are estimates; where each comes
from stands beside it.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable, Collection, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.memory import free as memory_free
from medrega_edge.prompts import IMAGE_TOKEN
from medrega_edge.regions import MARKERS
from medrega_edge.tokenizer import Tokenizer
from medrega_export import chat_layout, checkpoint, text_model, vision
from medrega_export.foreign_prompts import TURN_END, Samples
from medrega_export.recipe import FULL_BITS, Recipe

PACKED = 32  # a quantised layer's sides are multiples of it: words of 8 codes, and kernels that take 4 words
SPECIAL = (IMAGE_TOKEN, "<img>", "</img>", TURN_END, *MARKERS)
HEADER_LIMIT = 100_000_000  # bytes; safetensors' own limit
GB = 1e9
PROCESS_BYTES = 1_500_000_000  # torch, transformers, gptqmodel and onnxruntime, loaded
# Of a layer's weight while GPTQ works on its layer: the layer itself, the unit in hand six times, its Hessian four times.
LAYER_BYTES = 22
CERTIFY, KEEP = "--certify", "--keep-checkpoint"


@dataclass
class Preflight:
    """What was found: facts (name and value), warnings, what is unsupported, and what this machine is short of."""

    facts: list[tuple[str, str]] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    shortages: list[str] = field(default_factory=list)

    @contextmanager
    def step(self, problem: str = "") -> Iterator[None]:
        """Note an error of ours as a problem, in its words or in those given, and go on: the next is worth knowing too."""
        try:
            yield
        except MedregaError as error:
            self.problems.append(problem or str(error))


@dataclass(frozen=True)
class _Sizes:
    """Numbers of weights by what becomes of them."""

    vision: int  # tower and projector
    layers: int  # of the language model
    embeddings: int
    head: int
    depth: int  # layers of the language model

    @property
    def all(self) -> int:
        return self.vision + self.layers + self.embeddings + self.head


def inspect(
    folder: Path,
    adapter: Path | None,
    samples: Samples | None,
    out: Path,
    recipe: Recipe,
    fit: bool = False,
    besides: Collection[str] = (),
) -> Preflight:
    """Look a checkpoint over; raises UsageError only where there is nothing to look at.

    With `fit`, the recipe's group size is the one that fits the language model. `besides` is what the export is to make
    besides the package: CERTIFY, KEEP.
    """
    found = Preflight()
    config = checkpoint.read_config(folder)
    layout = "internvl_chat, the original layout" if checkpoint.is_chat(config) else f"{config.get('model_type')}, native"
    found.facts.append(("layout", layout))
    with found.step():
        checkpoint.check_config(config)
    tokenizer = None
    with found.step():
        data = checkpoint.read_tokenizer(folder, config)
        tokenizer = Tokenizer(data.decode("utf-8"))
        _tokens(found, tokenizer)
        prompts, _, warnings = checkpoint.read_words(folder, config, data, samples)
        found.facts.append(("tasks", ", ".join(prompts.templates)))
        found.warnings += warnings
    if tokenizer is not None:
        with found.step():
            native = checkpoint.native_config(config, tokenizer)
            if fit:
                recipe, why = text_model.fitted(recipe, native.text_config)
                found.facts.append(("groups", f"of {recipe.group_size}: {why}"))
            sizes = _weights(found, folder, adapter, config, native, tokenizer, recipe)
            _room(found, sizes, out, recipe, besides)
    found.facts.append(("export", "calibrates, quantises and measures on the processor"))
    found.facts.append(("package", _devices()))
    return found


def _tokens(found: Preflight, tokenizer: Tokenizer) -> None:
    found.facts.append(("tokenizer", f"{tokenizer.size} tokens"))
    for token in (*SPECIAL, *"0123456789"):
        with found.step(f"The tokenizer has no token '{token}', which images, answers or boxes are written with."):
            tokenizer.id_of(token)


def _weights(
    found: Preflight,
    folder: Path,
    adapter: Path | None,
    config: dict[str, Any],
    native: Any,
    tokenizer: Tokenizer,
    recipe: Recipe,
) -> _Sizes:
    model = checkpoint.hollow(native)
    shape = text_model.shape_of(native.text_config, native.text_config.max_position_embeddings)
    rows = model.get_input_embeddings().weight.shape[0]
    tower = native.vision_config
    found.facts += [
        ("tower", f"{tower.num_hidden_layers} layers of {tower.hidden_size}, {_image(config, native)}"),
        ("language model", f"{native.text_config.model_type}, {shape.layers} layers of {shape.hidden}, {rows} tokens"),
    ]
    if tokenizer.size > rows:
        found.problems.append(f"The tokenizer has {tokenizer.size} tokens and the language model only {rows}.")
    with found.step():
        vision.shape_of(native, "v2")
    _divisible(found, model, shape.hidden, recipe)
    stored = headers(folder)
    if checkpoint.is_chat(config) and any(".lora_" in name for name in stored):
        found.facts.append(("LoRA", "lies unmerged in the checkpoint, and is merged"))
    if adapter is not None:
        found.facts.append(("adapter", f"{adapter.name}, {len(headers(adapter))} tensors, is merged"))
    for problem, names in checkpoint.misfits(
        model, checkpoint.find_weights(folder, config, native.tie_word_embeddings, adapter)
    ):
        more = f" and {len(names) - 1} more" if len(names) > 1 else ""
        found.problems.append(f"The weights do not fit the config.json: {problem} '{names[0]}'{more}.")
    sizes = _sizes(model)
    kinds = ", ".join(sorted({kind for kind, _ in stored.values()}))
    found.facts.append(("weights", f"{sizes.all / GB:.3g} billion, stored as {kinds}"))
    return sizes


def _image(config: dict[str, Any], native: Any) -> str:
    side = int(native.vision_config.image_size[0]) // int(native.vision_config.patch_size[0])
    few = side * native.downsample_ratio
    if few != int(few):
        raise UsageError(f"A grid of {side} x {side} patches does not divide by the pixel shuffle; it is not exported.")
    shuffle = chat_layout.pixel_shuffle(config) if checkpoint.is_chat(config) else config.get("ps_version", "v2")
    return f"{native.vision_config.image_size[0]} px -> {int(few) ** 2} tokens, pixel shuffle {shuffle}"


def _divisible(found: Preflight, model: Any, hidden: int, recipe: Recipe) -> None:
    """Groups share a scale, so each row has to be a whole number of groups."""
    if recipe.bits != FULL_BITS:
        layer, group = model.model.language_model.layers[0], recipe.group_size
        for name in text_model.LINEARS:
            out, width = layer.get_submodule(name).weight.shape
            if width % group or out % PACKED:
                found.problems.append(
                    f"'{name}' is {out} x {width}, which does not divide into groups of {group}; "
                    f"{recipe.bits} bits are not possible."
                )
    if recipe.head_bits != FULL_BITS and hidden % recipe.group_size:
        found.problems.append(f"The output head's rows of {hidden} do not divide into groups of {recipe.group_size}.")


def headers(folder: Path) -> dict[str, tuple[str, tuple[int, ...]]]:
    """Read names, kinds and shapes of all weights out of the files' headers; raises UsageError."""
    found: dict[str, tuple[str, tuple[int, ...]]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        try:
            with path.open("rb") as file:
                (length,) = struct.unpack("<Q", file.read(8))
                if length > HEADER_LIMIT:
                    raise ValueError("header too long")
                entries = json.loads(file.read(length))
            ends = [0]
            for name, entry in entries.items():
                if name != "__metadata__":
                    found[name] = (str(entry["dtype"]), tuple(int(n) for n in entry["shape"]))
                    ends.append(int(entry["data_offsets"][1]))
        except (OSError, ValueError, KeyError, TypeError, struct.error):
            raise UsageError(f"'{path.name}' is no readable safetensors file; get the checkpoint again.") from None
        if path.stat().st_size != 8 + length + max(ends):
            raise UsageError(f"'{path.name}' has another length than its header says; get the checkpoint again.")
    return found


def _sizes(model: Any) -> _Sizes:
    def count(part: Any) -> int:
        return sum(parameter.numel() for parameter in part.parameters())

    language = model.model.language_model
    embeddings = count(language.embed_tokens)
    return _Sizes(
        count(model.model.vision_tower) + count(model.model.multi_modal_projector),
        count(language) - embeddings,
        embeddings,
        count(model.lm_head),
        int(language.config.num_hidden_layers),
    )


def _room(found: Preflight, sizes: _Sizes, out: Path, recipe: Recipe, besides: Collection[str]) -> None:
    """Bytes needed in memory and on disk, beside those that are free; docs/export.md works them out."""
    decoder_bytes = recipe.bytes_of(0, sizes.layers, sizes.head, 0)
    disk = recipe.bytes_of(sizes.vision, sizes.layers, sizes.head, sizes.embeddings)
    # What is in full precision stays on the disk, but for the layer and the head that it is held against.
    memory = 4 * (sizes.layers // sizes.depth + sizes.head)
    if not recipe.is_full:
        # Checks run the decoder as the runtime does: the file, and the copy of it that onnxruntime packs.
        memory = max(memory, 2 * decoder_bytes)
    quantised = recipe.bytes_of(0, sizes.layers, 0, 0)
    if recipe.bits != FULL_BITS:
        # Quantised layers, and the decoder once more with its head in float32, of which the check holds three copies.
        disk += quantised + decoder_bytes + 4 * sizes.head
        memory = max(memory + 12 * sizes.head, LAYER_BYTES * sizes.layers // sizes.depth)
    more = {
        CERTIFY: 4 * sizes.all,  # the reference, which answers from there: no memory besides
        KEEP: quantised + 4 * (sizes.all - sizes.layers),
    }
    disk += sum(more[option] for option in besides)
    for name, needed, free in (
        ("memory", PROCESS_BYTES + memory, memory_free()),
        ("disk", disk, _free_disk(out)),
    ):
        if free is None:
            found.facts.append((name, f"about {needed / GB:.3g} GB"))
            continue
        found.facts.append((name, f"about {needed / GB:.3g} GB, {free / GB:.3g} GB free"))
        if needed > free:
            found.shortages.append(f"{name} needs about {needed / GB:.3g} GB and {free / GB:.3g} GB are free")
    for option in sorted(more.keys() - set(besides)):
        found.facts.append((f"with {option}", f"about {more[option] / GB:.3g} GB of disk more"))


def _free_disk(path: Path) -> int:
    there = next(parent for parent in (path.absolute(), *path.absolute().parents) if parent.exists())
    return shutil.disk_usage(there).free


def _devices() -> str:
    from medrega_edge.sessions import load_onnxruntime

    get: Callable[[], list[str]] = load_onnxruntime().get_available_providers
    if "CUDAExecutionProvider" in get():
        return "runs on cpu and cuda"
    return "runs on cpu; cuda would need onnxruntime-gpu, which is not installed here"
