"""Merge LoRA into the weights it belongs to: from a peft adapter folder, or from inside an unmerged checkpoint.

W + scale * B A is one line, so peft itself is not needed. Modules of either layout are matched by `plain_name`.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_export.checkpoint.weights import StoredTensor, index_tensors

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# An InternVL trained with `use_llm_lora` or `use_backbone_lora` holds the rank r in its config, and always alpha = 2 r.
BUILT_IN_SCALE = 2.0
UNSUPPORTED = ("use_dora", "fan_in_fan_out", "alpha_pattern", "layer_replication", "megatron_config")
_WRAPPERS = {"base_model", "model", "language_model", "base_layer", "modules_to_save", "default"}
_PART = re.compile(r"^(?P<module>.+)\.lora_(?P<part>[AB])(?:\.default)?\.weight$")


@dataclass
class _Pair:
    """One layer's correction, `scale * b @ a`; a `[rank, in]`, b `[out, rank]`."""

    scale: float
    name: str
    a: StoredTensor | None = None
    b: StoredTensor | None = None


def plain_name(name: str) -> str:
    """Return a weight's name without wrappers, which differ between classes, layouts and libraries."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def merge_adapter(weights: MutableMapping[str, StoredTensor], folder: Path) -> int:
    """Add the adapter in `folder` to `weights` (changed in place); returns its number of tensors, raises UsageError."""
    if not (folder / WEIGHTS).is_file():
        raise UsageError("export.adapter_without_weights", adapter=folder.name, file=WEIGHTS)
    scale = _scale(folder)
    lora = index_tensors([folder / WEIGHTS])
    _merge(weights, lora, scale, folder.name)
    return len(lora)


def merge_built_in(weights: MutableMapping[str, StoredTensor]) -> bool:
    """Merge LoRA that lies unmerged among the weights themselves; returns whether there was any."""
    lora = {name: weights.pop(name) for name in [name for name in weights if ".lora_" in name]}
    if not lora:
        return False
    for name in [name for name in weights if ".base_layer." in name or "base_model.model." in name]:
        weights[name.replace("base_layer.", "").replace("base_model.model.", "")] = weights.pop(name)
    _merge(weights, lora, lambda rank: BUILT_IN_SCALE, Message("export.the_checkpoint"))
    return True


def _merge(
    weights: MutableMapping[str, StoredTensor],
    lora: dict[str, StoredTensor],
    scale: Callable[[int], float],
    source: str | Message,
) -> None:
    known = {plain_name(name): name for name in weights}
    pairs: dict[str, _Pair] = {}
    for name, value in lora.items():
        part = _PART.match(name)
        target = known.get(plain_name(f"{part['module']}.weight" if part else name))
        if target is None:
            raise UsageError("export.adapter_tensor_unknown", tensor=name, source=source)
        if part is None:  # a layer that was trained whole
            if value.shape != weights[target].shape:
                raise UsageError("export.adapter_shape", tensor=name, source=source)
            weights[target] = value
            continue
        pair = pairs.setdefault(target, _Pair(0.0, name))
        if part["part"] == "A":
            pair.a, pair.scale = value, scale(value.shape[0])
        else:
            pair.b = value
    for target, pair in pairs.items():
        if pair.a is None or pair.b is None:
            raise UsageError("export.adapter_half_missing", tensor=pair.name, source=source)
        weight = weights[target]
        if (pair.b.shape[0], pair.a.shape[1]) != weight.shape or pair.a.shape[0] != pair.b.shape[1]:
            raise UsageError("export.adapter_shape", tensor=pair.name, source=source)
        weights[target] = weight.plus(pair.scale, pair.b, pair.a)


def _scale(folder: Path) -> Callable[[int], float]:
    """Return rank -> scale as the adapter's config says."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        alpha = float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError("export.adapter_unreadable", adapter=folder.name, file=CONFIG) from None
    if config.get("peft_type") != "LORA":
        raise UsageError("export.adapter_type", adapter=folder.name, type=str(config.get("peft_type")))
    if config.get("bias", "none") != "none":
        raise UsageError("export.adapter_biases", adapter=folder.name)
    for feature in UNSUPPORTED:
        if config.get(feature):
            raise UsageError("export.adapter_feature", adapter=folder.name, feature=feature)
    power = 0.5 if config.get("use_rslora") else 1.0
    return lambda rank: alpha / rank**power
