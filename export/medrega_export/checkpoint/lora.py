"""Merge LoRA into the weights it belongs to: from a peft adapter folder, or from inside an unmerged checkpoint.

W + scale * B A is one line, so peft itself is not needed. Modules of either layout are matched by `plain_name`.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, MutableMapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_export.checkpoint import adapter_config
from medrega_export.checkpoint.weights import FLOATS, StoredTensor, index_tensors

CONFIG, WEIGHTS = adapter_config.CONFIG, "adapter_model.safetensors"
# An InternVL trained with `use_llm_lora` or `use_backbone_lora` holds the rank r in its config, and always alpha = 2 r.
BUILT_IN_SCALE = 2.0
BUILT_IN_RANKS = ("use_llm_lora", "use_backbone_lora")
_WRAPPERS = {"base_model", "model", "language_model", "base_layer", "modules_to_save", "default"}
_PART = re.compile(r"^(?:base_model\.model\.)?(?P<module>.+)\.lora_(?P<part>[AB])(?:\.default)?\.weight$")
_OTHER_PART = re.compile(r"\.(lora_|token_adapter\.|trainable_tokens_)")  # tensors of adapters that are no plain LoRA


@dataclass
class _Pair:
    """One layer's correction, `scale * b @ a`; a `[rank, in]`, b `[out, rank]`."""

    name: str
    module: str
    a: StoredTensor | None = None
    b: StoredTensor | None = None


def plain_name(name: str) -> str:
    """Return a weight's name without wrappers, which differ between classes, layouts and libraries."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def merge_adapter(weights: MutableMapping[str, StoredTensor], folder: Path, tied: Collection[str] = ()) -> int:
    """Add the adapter in `folder` to `weights` (changed in place); returns its number of tensors, raises UsageError.

    `tied` are the plain names of the weights that stand for another one too.
    """
    config = adapter_config.read(folder)
    if not (folder / WEIGHTS).is_file():
        raise UsageError("export.adapter_without_weights", adapter=folder.name, file=WEIGHTS)
    tensors = index_tensors([folder / WEIGHTS])
    for name in tensors:
        if _adapted_weight(name) in tied:
            raise UsageError("export.adapter_tied", adapter=folder.name, tensor=name)
    for name in config.modules_to_save:
        in_model, in_adapter = (any(adapter_config.saves(name, key) for key in some) for some in (weights, tensors))
        if in_model and not in_adapter:
            raise UsageError("export.adapter_module_missing", adapter=folder.name, module=name)

    def scale(module: str, rank: int) -> float:
        if not config.adapts(module):
            raise UsageError("export.adapter_untargeted", adapter=folder.name, module=module, file=CONFIG)
        _check_rank(module, rank, [config.rank_of(module)], folder.name)
        return config.scale_of(module)

    _merge(weights, tensors, scale, folder.name)
    return len(tensors)


def merge_built_in(weights: MutableMapping[str, StoredTensor], config: dict[str, Any]) -> bool:
    """Merge LoRA that is unmerged among the weights themselves; returns whether there was any. Raises UsageError."""
    tensors = {name: weights.pop(name) for name in [name for name in weights if ".lora_" in name]}
    if not tensors:
        return False
    for name in [name for name in weights if ".base_layer." in name or "base_model.model." in name]:
        weights[name.replace("base_layer.", "").replace("base_model.model.", "")] = weights.pop(name)
    source = Message("export.the_checkpoint")

    def scale(module: str, rank: int) -> float:
        _check_rank(module, rank, [int(config.get(key) or 0) for key in BUILT_IN_RANKS], source)
        return BUILT_IN_SCALE

    _merge(weights, tensors, scale, source)
    return True


def _check_rank(module: str, rank: int, expected: list[int], source: str | Message) -> None:
    if rank not in expected:
        raise UsageError("export.adapter_rank", source=source, module=module, rank=rank, expected=max(expected))


def _merge(
    weights: MutableMapping[str, StoredTensor],
    tensors: dict[str, StoredTensor],
    scale: Callable[[str, int], float],
    source: str | Message,
) -> None:
    known = {plain_name(name): name for name in weights}
    pairs: dict[str, _Pair] = {}
    whole: dict[str, StoredTensor] = {}
    for name, value in tensors.items():
        part = _PART.match(name)
        if (part is None and _OTHER_PART.search(name)) or value.dtype not in FLOATS:
            raise UsageError("export.adapter_tensor_kind", tensor=name, source=source)
        target = known.get(_adapted_weight(name))
        if target is None:
            raise UsageError("export.adapter_tensor_unknown", tensor=name, source=source)
        if part is None:  # a layer that was trained whole
            if value.shape != weights[target].shape:
                raise UsageError("export.adapter_shape", tensor=name, source=source)
            _check_single(whole.get(target), value)
            whole[target] = value
            continue
        pair = pairs.setdefault(target, _Pair(name, part["module"]))
        if part["part"] == "A":
            _check_single(pair.a, value)
            pair.a = value
        else:
            _check_single(pair.b, value)
            pair.b = value
    weights.update(whole)
    for target, pair in pairs.items():
        if pair.a is None or pair.b is None:
            raise UsageError("export.adapter_half_missing", tensor=pair.name, source=source)
        weight = weights[target]
        if not len(weight.shape) == len(pair.a.shape) == len(pair.b.shape) == 2:
            raise UsageError("export.adapter_tensor_kind", tensor=pair.name, source=source)
        if (pair.b.shape[0], pair.a.shape[1]) != weight.shape or pair.a.shape[0] != pair.b.shape[1]:
            raise UsageError("export.adapter_shape", tensor=pair.name, source=source)
        weights[target] = weight.plus(scale(pair.module, pair.a.shape[0]), pair.b, pair.a)


def _adapted_weight(name: str) -> str:
    """Return the plain name of the weight that a tensor of an adapter belongs to."""
    part = _PART.match(name)
    return plain_name(f"{part['module']}.weight" if part else name)


def _check_single(present: StoredTensor | None, value: StoredTensor) -> None:
    if present is not None:
        raise UsageError("export.weight_named_twice", first=present.name, second=value.name)
