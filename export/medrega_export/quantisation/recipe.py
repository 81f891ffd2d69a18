"""The recipe of a package: how many bits each part of a model gets.

A unit is the smallest part with a precision of its own: the linear layers that read one input and are one node of the
graph, `layers.N.qkv` of the language model or `tower.N.fc1` of the vision tower. An EfficientNet tower is one unit, `tower`.
A precision of 32 bits is float32.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message

FULL_BITS = 32
BITS = (4, 8)  # what MatMulNBits and GPTQ checkpoints both have
GROUPS = (32, 64, 128)
# Bytes of the language model's codes. Above, no cache of a workstation holds them (32 to 64 MB), so every token waits for
# the memory to bring them all, and a float32 scale for each 128 weights instead of 32 spares a seventh of what it brings.
# Below, groups of 32 are what loses least: 0.3 points of IoU instead of 0.8 with the default package's weights.
CACHED_BYTES = 64_000_000
TOWERS = ("int8", "fp16", "fp32")

# The linear layers of each unit, as transformers names them within a layer.
LANGUAGE_UNITS = {
    "qkv": ("self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"),
    "output": ("self_attn.o_proj",),
    "gate_up": ("mlp.gate_proj", "mlp.up_proj"),
    "down": ("mlp.down_proj",),
}
TOWER_UNITS = {
    "qkv": ("attention.q_proj", "attention.k_proj", "attention.v_proj"),
    "output": ("attention.projection_layer",),
    "fc1": ("mlp.fc1",),
    "fc2": ("mlp.fc2",),
}
PROJECTOR_UNITS = ("linear_1", "linear_2")
TOWER_UNIT = "tower"  # an EfficientNet tower with its projector is one unit
_LANGUAGE = re.compile(rf"layers\.\d+\.({'|'.join(LANGUAGE_UNITS)})")
_TOWER = re.compile(rf"tower\.\d+\.({'|'.join(TOWER_UNITS)})|projector\.({'|'.join(PROJECTOR_UNITS)})|{TOWER_UNIT}")
_UNIT_OF = {linear: unit for unit, linears in LANGUAGE_UNITS.items() for linear in linears}


@dataclass(frozen=True)
class Override:
    """A unit that departs from the rest: of the language model by `bits` and `group`, of an int8 tower by 32 bits."""

    unit: str
    bits: int
    group: int = GROUPS[0]


@dataclass(frozen=True)
class Recipe:
    """Bits and group size of the language model, bits of its output head, number type of the tower.

    With `prefill_int8`, its layers are there a second time, in 8 bits, for the prefix of an image.
    The default is the recipe of the package that ships. Raises UsageError for what cannot be written or run.
    """

    bits: int = 4
    group_size: int = 32
    symmetric: bool = True
    head_bits: int = 8
    tower: str = "int8"
    overrides: tuple[Override, ...] = ()
    prefill_int8: bool = False

    def __post_init__(self) -> None:
        """Check the values."""
        for option, bits in (("--bits", self.bits), ("--head-bits", self.head_bits)):
            if bits not in (*BITS, FULL_BITS):
                raise UsageError("export.bits_unsupported", option=option, bits=bits)
        if self.group_size not in GROUPS:
            raise UsageError("export.group_size_unsupported", value=self.group_size)
        if self.tower not in TOWERS:
            raise UsageError("export.tower_unsupported", tower=self.tower)
        if self.prefill_int8 and not self.is_quantised:
            raise UsageError("export.prefill_unquantised")
        units = [override.unit for override in self.overrides]
        for twice in {unit for unit in units if units.count(unit) > 1}:
            raise UsageError("export.unit_twice", unit=twice)
        for override in self.overrides:
            self._check(override)

    def _check(self, override: Override) -> None:
        if _LANGUAGE.fullmatch(override.unit):
            if self.bits == FULL_BITS or override.bits not in BITS or override.group not in GROUPS:
                raise UsageError("export.unit_bits", unit=override.unit, bits=override.bits, group=override.group)
        elif not _TOWER.fullmatch(override.unit):
            raise UsageError("export.unit_unknown", unit=override.unit)
        elif self.tower != "int8" or override.bits != FULL_BITS:
            raise UsageError("export.unit_of_tower", unit=override.unit)

    @property
    def is_quantised(self) -> bool:
        """Whether the language model's layers are quantised, which needs questions to calibrate on."""
        return self.bits != FULL_BITS

    @property
    def is_full(self) -> bool:
        """Whether nothing is rounded at all."""
        return self.bits == self.head_bits == FULL_BITS and self.tower == "fp32"

    @property
    def decoder_stage(self) -> str:
        """Name the error of the decoder's graph; a head of 4 bits is a choice as the layers' bits are, and has no limit."""
        if self.head_bits == BITS[0]:
            return "decoder_head4"
        return "decoder_fp32" if self.bits == self.head_bits == FULL_BITS else "decoder_rounded"

    @property
    def exact_units(self) -> frozenset[str]:
        """Units of an int8 tower that stay in float32."""
        return frozenset(override.unit for override in self.overrides if _TOWER.fullmatch(override.unit))

    @property
    def rounds_tower(self) -> bool:
        """Whether a tower that is one unit is rounded to int8."""
        return self.tower == "int8" and TOWER_UNIT not in self.exact_units

    def fits_tower(self, unit: str, is_efficientnet: bool) -> bool:
        """Whether a unit exists beside a tower of this kind."""
        return not _TOWER.fullmatch(unit) or (unit == TOWER_UNIT) == is_efficientnet

    @property
    def head(self) -> tuple[int, int]:
        """Bits and group size of the output head."""
        return self.head_bits, self.group_size

    def unit(self, name: str) -> tuple[int, int]:
        """Return bits and group size of a unit of the language model."""
        return next(((o.bits, o.group) for o in self.overrides if o.unit == name), (self.bits, self.group_size))

    def linear(self, layer: int, name: str) -> tuple[int, int]:
        """Return bits and group size of a linear layer, named as transformers does: `mlp.down_proj`."""
        return self.unit(f"layers.{layer}.{_UNIT_OF[name]}")

    def bytes_of(self, tower: int, layers: int, head: int, embeddings: int) -> int:
        """Return the bytes of a package whose parts have these numbers of weights; overrides are not counted."""
        zeros = 0 if self.symmetric else self.bits / 8 / self.group_size
        language = packed_bytes(self.bits, self.group_size) + zeros
        table = FULL_BITS // 8 if self.is_full else 2
        vision = {"int8": 1, "fp16": 2, "fp32": 4}[self.tower] * tower
        return int(vision + language * layers + packed_bytes(*self.head) * head + table * embeddings)

    @property
    def language_name(self) -> str:
        """Name the precision of the language model's layers: `gptq-int4-g32`."""
        if self.bits == FULL_BITS:
            return "fp32"
        raised = len(self.overrides) - len(self.exact_units)
        name = f"gptq-int{self.bits}-g{self.group_size}{'' if self.symmetric else '-asym'}"
        return f"{name}-mixed{raised}" if raised else name

    @property
    def head_name(self) -> str:
        """Name the precision of the output head."""
        return "fp32" if self.head_bits == FULL_BITS else f"int{self.head_bits}"

    @property
    def tower_name(self) -> str:
        """Name the precision of tower and projector."""
        return f"{self.tower}-mixed{len(self.exact_units)}" if self.exact_units else self.tower

    @property
    def name(self) -> str:
        """Name the whole for a manifest: `gptq-int4-g32 + vision-int8`. The head is named where it is not the default."""
        if self.is_full:
            return "fp32"
        head = "" if self.head_bits == type(self).head_bits else f" + head-{self.head_name}"
        prefill = " + prefill-int8" if self.prefill_int8 else ""
        return f"{self.language_name}{head}{prefill} + vision-{self.tower_name}"

    @property
    def files(self) -> dict[str, str]:
        """Name the precision of each file of a package."""
        if self.is_full:
            return dict.fromkeys(("vision", "decoder", "embeddings"), "fp32")
        tower = self.tower_name.replace("int8", "int8-dynamic")
        files = {"vision": tower, "decoder": f"{self.language_name}, head {self.head_name}", "embeddings": "fp16"}
        return files | ({"prefill": "int8"} if self.prefill_int8 else {})

    def to_json(self) -> str:
        """Serialise."""
        return json.dumps(asdict(self))

    @classmethod
    def from_json(cls, text: str) -> Recipe:
        """Read what `to_json` wrote; raises UsageError."""
        try:
            data: Mapping[str, Any] = json.loads(text)
            overrides = tuple(Override(**override) for override in data["overrides"])
            return cls(**{**data, "overrides": overrides})
        except (ValueError, KeyError, TypeError) as error:
            raise UsageError("export.not_a_recipe", problem=f"{type(error).__name__}: {error}") from None


def fitting_group(bits: int, weights: int, widths: Mapping[str, int]) -> tuple[int, Message]:
    """Return the group size that fits a language model with this number of weights in its layers, and the reason.

    `widths` are the lengths of rows that have to divide into groups, by the name of the linear layer.
    """
    least, most, codes = GROUPS[0], GROUPS[-1], weights * bits / 8
    if codes < 1e9:
        size = Message("export.codes_in_megabytes", size=codes / 1e6)
    else:
        size = Message("export.codes_in_gigabytes", size=codes / 1e9)
    if codes <= CACHED_BYTES:
        return least, Message("export.group_in_cache", codes=size)
    for layer, width in widths.items():
        if width % most:
            return least, Message("export.group_indivisible", codes=size, layer=layer, width=width, group=most)
    return most, Message("export.group_from_memory", codes=size)


def packed_bytes(bits: int, group: int) -> float:
    """Return bytes a weight: its code and its share of a float32 scale."""
    return bits / 8 if bits == FULL_BITS else bits / 8 + 4 / group


FULL = Recipe(bits=FULL_BITS, head_bits=FULL_BITS, tower="fp32")
