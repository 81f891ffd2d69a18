"""adapter_config.json of a peft adapter, held against a list of what is known to be merged.

The list names what may be there, not what may not: a key that peft adds next is refused by its name, and changes no weight
in silence. The rules are those of peft 0.21.2 (`peft/tuners/lora/config.py`, `check_target_module_exists`).
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

from pydantic import AfterValidator, PositiveInt

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.strict_json import STRICT, JsonFault, Problem, load_json, parse_json

CONFIG = "adapter_config.json"
# Keys whose value does not change what is merged. peft turns fan_in_fan_out off for linear layers, which are all that is
# merged here, and reads the settings of an initialisation only where init_lora_weights names it.
FREE = frozenset(
    """auto_mapping base_model_name_or_path corda_config eva_config fan_in_fan_out inference_mode loftq_config lora_dropout
    lora_ga_config megatron_core peft_version qalora_group_size revision runtime_config task_type""".split()
)
_PROMPT = Message("export.adapter_depends_on_prompt")
_BIASES = Message("export.adapter_trains_biases")
_BASE = Message("export.adapter_changes_base")
_NO_PRODUCT = Message("export.adapter_is_no_product")
# Why a key has to be off, or hold another value. What is neither here nor below is refused as unknown.
REASONS = {
    "alora_invocation_tokens": _PROMPT,
    "arrow_config": _PROMPT,
    "bias": _BIASES,
    "ensure_weight_tying": Message("export.adapter_ties"),
    "init_lora_weights": _BASE,
    "kasa_config": _BASE,
    "layer_replication": Message("export.adapter_adds_layers"),
    "lora_bias": _BIASES,
    "megatron_config": Message("export.adapter_of_megatron"),
    "monteclora_config": _NO_PRODUCT,
    "target_parameters": Message("export.adapter_targets_parameters"),
    "trainable_token_indices": Message("export.adapter_trains_rows"),
    "use_bdlora": _NO_PRODUCT,
    "use_dora": _NO_PRODUCT,
    "use_qalora": _NO_PRODUCT,
    "velora_config": _NO_PRODUCT,
}
SHOWN = 40  # characters of a value in a message

_T = TypeVar("_T")


def _compiled(pattern: str) -> str:
    try:
        re.compile(pattern)
    except re.error:
        raise ValueError(pattern) from None
    return pattern


_Pattern = Annotated[str, AfterValidator(_compiled)]


@dataclass(frozen=True)
class LoraConfig:
    """The keys that say what is merged, and where; a module is named as in the model that was trained.

    Initialisations that leave the base as it is are known. A list names modules by the end of their names, a text is a
    pattern of the whole name.
    """

    __pydantic_config__ = STRICT

    peft_type: Literal["LORA"]
    target_modules: _Pattern | list[str]
    r: PositiveInt = 8
    lora_alpha: float = 8
    use_rslora: bool = False
    rank_pattern: dict[_Pattern, PositiveInt] = field(default_factory=dict)
    alpha_pattern: dict[_Pattern, float] = field(default_factory=dict)
    exclude_modules: _Pattern | list[str] = ""
    modules_to_save: list[_Pattern] = field(default_factory=list)
    layers_to_transform: int | list[int] = field(default_factory=list)
    layers_pattern: _Pattern | list[_Pattern] = ""
    init_lora_weights: Literal[True, "gaussian", "orthogonal", "eva", "mica"] = True
    bias: Literal["none"] = "none"

    def rank_of(self, module: str) -> int:
        """Return the rank that the module's two matrices have."""
        return _of_pattern(self.rank_pattern, module, self.r)

    def scale_of(self, module: str) -> float:
        """Return the factor of their product."""
        rank = self.rank_of(module)
        return _of_pattern(self.alpha_pattern, module, self.lora_alpha) / (math.sqrt(rank) if self.use_rslora else rank)

    def adapts(self, module: str) -> bool:
        """Whether peft would adapt the module: it passes over the tensors of others in silence."""
        if self.exclude_modules and _is_named(self.exclude_modules, module):
            return False
        if any(saves(name, module) for name in self.modules_to_save):
            return False
        if str(self.target_modules).lower() == "all-linear":
            return not _is_named(["lm_head"], module)
        return _is_named(self.target_modules, module) and self._has_layer(module)

    def _has_layer(self, module: str) -> bool:
        layers = [self.layers_to_transform] if isinstance(self.layers_to_transform, int) else self.layers_to_transform
        if not layers or isinstance(self.target_modules, str):
            return True
        lists = [self.layers_pattern] if isinstance(self.layers_pattern, str) else self.layers_pattern
        starts = [rf"(?:^|.*?\.){name}" if name else r".*?\.[^.]*" for name in lists or [""]]
        found = next(filter(None, (re.match(rf"{start}\.(?P<layer>\d+)\.", module) for start in starts)), None)
        return found is not None and int(found["layer"]) in layers


def read(folder: Path) -> LoraConfig:
    """Read the config of an adapter; raises UsageError for what is not merged."""
    adapter = folder.name
    try:
        config = load_json((folder / CONFIG).read_text(encoding="utf-8"))
    except (OSError, ValueError, JsonFault):
        config = None
    if not isinstance(config, dict):
        raise UsageError("export.adapter_unreadable", adapter=adapter, file=CONFIG)
    if config.get("peft_type") != "LORA":
        raise UsageError("export.adapter_type", adapter=adapter, type=str(config.get("peft_type")))
    # Null and false are how peft writes that something is off.
    given = {key: value for key, value in config.items() if key not in FREE and value is not None and value is not False}
    try:
        return parse_json(LoraConfig, json.dumps(given))
    except JsonFault as fault:
        key = fault.key.partition(".")[0]
        value = _short(config.get(key))
        if key not in REASONS and fault.problem is not Problem.UNKNOWN_KEY:
            raise UsageError("export.adapter_value", adapter=adapter, key=key, value=value) from None
        reason = REASONS.get(key, Message("export.adapter_key_unknown"))
        if reason is _PROMPT:
            raise UsageError("export.adapter_unmergeable", adapter=adapter, key=key, value=value, reason=reason) from None
        raise UsageError("export.adapter_feature", adapter=adapter, key=key, value=value, reason=reason) from None


def saves(name: str, module: str) -> bool:
    """Whether an entry of modules_to_save means the module, or one that holds it."""
    return re.match(rf"(^|.*\.){name}($|\..*)", module) is not None


def _short(value: Any) -> str:
    text = json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN else f"{text[:SHOWN]}..."


def _of_pattern(patterns: Mapping[str, _T], module: str, default: _T) -> _T:
    """Return the value of the first pattern that fits the end of a module's name."""
    return next((value for key, value in patterns.items() if re.match(rf"(.*\.)?({key})$", module)), default)


def _is_named(names: str | list[str], module: str) -> bool:
    if isinstance(names, str):
        return re.fullmatch(names, module) is not None
    return any(module == name or module.endswith(f".{name}") for name in names)
