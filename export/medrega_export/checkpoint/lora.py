"""LoRA merged into the weights it belongs to: from a peft adapter folder, or from inside an unmerged checkpoint.

Knows peft's file format and W + scale * B A; a merge is one line, which is why peft itself is not needed. Knows neither
layout of a checkpoint: modules are found by what their names have in common.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, MutableMapping
from dataclasses import dataclass
from pathlib import Path

from medrega_edge.errors import UsageError
from medrega_export.checkpoint.weights import Stored, index

CONFIG, WEIGHTS = "adapter_config.json", "adapter_model.safetensors"
# An InternVL trained with `use_llm_lora` or `use_backbone_lora` holds the rank r in its config, and always alpha = 2 r.
BUILT_IN_SCALE = 2.0
UNSUPPORTED = {
    "use_dora": "DoRA",
    "fan_in_fan_out": "transposed layers",
    "alpha_pattern": "a scale of its own for some layers",
    "layer_replication": "replicated layers",
    "megatron_config": "Megatron layers",
}
_WRAPPERS = {"base_model", "model", "language_model", "base_layer", "modules_to_save", "default"}
_PART = re.compile(r"^(?P<module>.+)\.lora_(?P<part>[AB])(?:\.default)?\.weight$")


@dataclass
class _Pair:
    """One layer's correction, `scale * b @ a`; a `[rank, in]`, b `[out, rank]`."""

    scale: float
    name: str
    a: Stored | None = None
    b: Stored | None = None


def plain_name(name: str) -> str:
    """Return a weight's name without the wrappers that tell one class, layout or library from another."""
    return ".".join(part for part in name.split(".") if part not in _WRAPPERS)


def merge_adapter(weights: MutableMapping[str, Stored], folder: Path) -> int:
    """Add the adapter in `folder` to `weights` (changed in place); returns its number of tensors, raises UsageError."""
    if not (folder / WEIGHTS).is_file():
        raise UsageError(f"'{folder.name}' has no {WEIGHTS}; other weight files are not read.")
    scale = _scale(folder)
    lora = index([folder / WEIGHTS])
    _merge(weights, lora, scale, folder.name)
    return len(lora)


def merge_built_in(weights: MutableMapping[str, Stored]) -> bool:
    """Merge LoRA that lies unmerged among the weights themselves; returns whether there was any."""
    lora = {name: weights.pop(name) for name in [name for name in weights if ".lora_" in name]}
    if not lora:
        return False
    for name in [name for name in weights if ".base_layer." in name or "base_model.model." in name]:
        weights[name.replace("base_layer.", "").replace("base_model.model.", "")] = weights.pop(name)
    _merge(weights, lora, lambda rank: BUILT_IN_SCALE, "the checkpoint")
    return True


def _merge(weights: MutableMapping[str, Stored], lora: dict[str, Stored], scale: Callable[[int], float], where: str) -> None:
    known = {plain_name(name): name for name in weights}
    pairs: dict[str, _Pair] = {}
    for name, value in lora.items():
        part = _PART.match(name)
        target = known.get(plain_name(f"{part['module']}.weight" if part else name))
        if target is None:
            raise UsageError(f"'{name}' of {where} belongs to no layer of the checkpoint; take the adapter's own base.")
        if part is None:  # a layer that was trained whole
            if value.shape != weights[target].shape:
                raise UsageError(_misfit(name, where))
            weights[target] = value
            continue
        pair = pairs.setdefault(target, _Pair(0.0, name))
        if part["part"] == "A":
            pair.a, pair.scale = value, scale(value.shape[0])
        else:
            pair.b = value
    for target, pair in pairs.items():
        if pair.a is None or pair.b is None:
            raise UsageError(f"'{pair.name}' of {where} lacks its other half; get the adapter again.")
        weight = weights[target]
        if (pair.b.shape[0], pair.a.shape[1]) != weight.shape or pair.a.shape[0] != pair.b.shape[1]:
            raise UsageError(_misfit(pair.name, where))
        weights[target] = weight.plus(pair.scale, pair.b, pair.a)


def _misfit(name: str, where: str) -> str:
    return f"'{name}' of {where} does not have the shape of the checkpoint's layer; take the adapter's own base."


def _scale(folder: Path) -> Callable[[int], float]:
    """Return rank -> scale as the adapter's config says."""
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        alpha = float(config["lora_alpha"])
    except (OSError, ValueError, KeyError, TypeError):
        raise UsageError(f"'{folder.name}' is no LoRA adapter: it has no readable {CONFIG} with lora_alpha.") from None
    if config.get("peft_type") != "LORA":
        raise UsageError(f"The adapter '{folder.name}' is of type '{config.get('peft_type')}'; LORA is merged.")
    if config.get("bias", "none") != "none":
        raise UsageError(f"The adapter '{folder.name}' trained biases as well; such adapters are not merged.")
    for key, meaning in UNSUPPORTED.items():
        if config.get(key):
            raise UsageError(f"The adapter '{folder.name}' uses {meaning} ({key}); such adapters are not merged.")
    power = 0.5 if config.get("use_rslora") else 1.0
    return lambda rank: alpha / rank**power
