"""The GPTQ checkpoint on disk, read with numpy: codes, scales and zero points, and their MatMulNBits layout.

Written from the format and not with the quantiser's own reader, so that its output is read independently; a test compares
the two bit for bit.

For a linear layer in -> out with groups of g, G = in / g, and n = 32 / bits codes in a word:
`qweight` int32 [in / n, out], `qzeros` int32 [G, out / n], `scales` float16 [G, out], `g_idx` int32 [in].
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import UsageError
from medrega_export.quantisation.recipe import BITS, GROUPS, LANGUAGE_UNITS, Recipe

# Version 1 stores each word of zero points minus one in every field.
_V1_OFFSET = {4: np.uint32(0x11111111), 8: np.uint32(0x01010101)}


@dataclass(frozen=True)
class Format:
    """The format of a GPTQ checkpoint; `exceptions` are patterns of layer names with their bits and group size."""

    bits: int
    group: int
    version: int  # 1 or 2: how zero points are stored
    symmetric: bool
    exceptions: tuple[tuple[str, int, int], ...] = ()

    def of(self, name: str) -> tuple[int, int]:
        """Return bits and group size of a layer; the first pattern that fits its name counts, as for gptqmodel."""
        return next(((b, g) for pattern, b, g in self.exceptions if re.match(pattern, name)), (self.bits, self.group))


@dataclass(frozen=True)
class QuantisedLinear:
    """One linear layer: weight[i, o] = scales[i // group, o] * (codes[i, o] - zeros[i // group, o])."""

    codes: npt.NDArray[np.uint8]  # [in, out], 0..15 or 0..255
    scales: npt.NDArray[np.float32]  # [G, out]
    zeros: npt.NDArray[np.uint8]  # [G, out], in the range of the codes
    bias: npt.NDArray[np.float32] | None  # [out]
    bits: int = 4

    @property
    def group(self) -> int:
        """Input rows that share a scale."""
        return int(self.codes.shape[0] // self.scales.shape[0])


@dataclass(frozen=True)
class NBits:
    """The same layer as MatMulNBits wants it: out first, low nibble = even input row."""

    packed: npt.NDArray[np.uint8]  # [out, G, group * bits / 8]
    scales: npt.NDArray[np.float32]  # [out, G]
    zeros: npt.NDArray[np.uint8] | None  # [out, ceil(G * bits / 8)]; None where all are the operator's own, 8 or 128
    bits: int


def middle(bits: int) -> int:
    """Return the zero point of symmetric codes."""
    return 1 << (bits - 1)


def exceptions_of(recipe: Recipe) -> dict[str, dict[str, int]]:
    """Spell a recipe's overrides as the `dynamic` of a quantize_config.json: patterns of layer names."""
    return {
        rf"+:.*\blayers\.{layer}\.{re.escape(linear)}": {"bits": override.bits, "group_size": override.group}
        for override in recipe.overrides
        if override.unit not in recipe.exact_units
        for _, layer, unit in [override.unit.split(".")]
        for linear in LANGUAGE_UNITS[unit]
    }


def read_format(config: Mapping[str, Any]) -> Format:
    """Read `quantize_config.json`; raises UsageError for what cannot be exported."""
    bits, group = config.get("bits", 0), config.get("group_size", 0)
    # Newer writers say `checkpoint_format` (and `format` as well), older ones neither: that is version 1.
    name = str(config.get("checkpoint_format") or config.get("format") or "gptq")
    versions = {"gptq": 1, "gptq_v2": 2}
    if name not in versions:
        raise UsageError("export.gptq_format_unknown", format=name)
    exceptions = []
    for pattern, entry in (config.get("dynamic") or {}).items():
        if pattern.startswith("-:"):
            raise UsageError("export.gptq_layer_left_out", pattern=pattern[2:])
        exceptions.append((pattern.removeprefix("+:"), entry.get("bits", bits), entry.get("group_size", group)))
    for some_bits, some_group in ((bits, group), *(entry[1:] for entry in exceptions)):
        if some_bits not in BITS or some_group not in GROUPS:
            raise UsageError("export.gptq_bits", bits=some_bits, group=some_group)
    return Format(bits, group, versions[name], bool(config.get("sym", True)), tuple(exceptions))


def _shifts(bits: int) -> npt.NDArray[np.uint32]:
    return np.arange(0, 32, bits, dtype=np.uint32)


def unpack_rows(words: npt.NDArray[np.int32], bits: int) -> npt.NDArray[np.uint8]:
    """`[rows / n, columns]` words -> `[rows, columns]` codes: the j-th `bits` of a word belong to row n r + j."""
    unsigned = words.view(np.uint32)
    codes = (unsigned[:, None, :] >> _shifts(bits)[None, :, None]) & np.uint32((1 << bits) - 1)
    return codes.reshape(-1, words.shape[1]).astype(np.uint8)


def unpack_zeros(words: npt.NDArray[np.int32], bits: int, version: int) -> npt.NDArray[np.uint8]:
    """`[G, out / n]` words -> `[G, out]` zero points: the j-th `bits` of a word belong to output n w + j."""
    unsigned = words.view(np.uint32)
    if version == 1:
        unsigned = unsigned + _V1_OFFSET[bits]  # of whole words, with carry, as the writer subtracted it
    zeros = (unsigned[:, :, None] >> _shifts(bits)[None, None, :]) & np.uint32((1 << bits) - 1)
    return zeros.reshape(words.shape[0], -1).astype(np.uint8)


def read_linear(tensors: Mapping[str, npt.NDArray[Any]], prefix: str, form: Format) -> QuantisedLinear:
    """Read one layer out of a checkpoint's tensors; raises UsageError when it is not there or reordered."""
    try:
        qweight, qzeros = tensors[f"{prefix}.qweight"], tensors[f"{prefix}.qzeros"]
        scales = tensors[f"{prefix}.scales"]
    except KeyError as error:
        raise UsageError("export.gptq_tensor_missing", tensor=error.args[0]) from None
    bits, group = form.of(prefix)
    codes = unpack_rows(np.ascontiguousarray(qweight), bits)
    rows = codes.shape[0]
    g_idx = tensors.get(f"{prefix}.g_idx")
    if g_idx is not None and not np.array_equal(g_idx, np.arange(rows) // group):
        raise UsageError("export.gptq_reordered", layer=prefix)
    zeros = unpack_zeros(np.ascontiguousarray(qzeros), bits, form.version)
    if form.symmetric and not (zeros == middle(bits)).all():
        # A checkpoint of the other version read as this one shows up here, instead of as silently wrong weights.
        raise UsageError("export.gptq_zero_points", layer=prefix, middle=middle(bits))
    bias = tensors.get(f"{prefix}.bias")
    return QuantisedLinear(codes, scales.astype(np.float32), zeros, None if bias is None else bias.astype(np.float32), bits)


def dequantise(linear: QuantisedLinear) -> npt.NDArray[np.float32]:
    """Return the weight `[in, out]`."""
    group = linear.group
    centred = linear.codes.astype(np.float32) - np.repeat(linear.zeros.astype(np.float32), group, axis=0)
    return np.repeat(linear.scales, group, axis=0) * centred


def to_nbits(linear: QuantisedLinear) -> NBits:
    """Repack for MatMulNBits; the codes stay the same, bit for bit."""
    columns, groups, bits = linear.codes.shape[1], linear.scales.shape[0], linear.bits
    packed = _in_bytes(linear.codes.T, bits).reshape(columns, groups, -1)
    zeros = None
    if not (linear.zeros == middle(bits)).all():
        padded = np.full((columns, groups + groups % 2), middle(bits), np.uint8)
        padded[:, :groups] = linear.zeros.T
        zeros = _in_bytes(padded, bits)[:, : (groups * bits + 7) // 8]
    return NBits(packed, np.ascontiguousarray(linear.scales.T), zeros, bits)


def _in_bytes(codes: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Put two codes of a row in a byte, the first one low, where they have 4 bits."""
    return np.ascontiguousarray(codes if bits == 8 else codes[:, 0::2] | (codes[:, 1::2] << 4))
