"""The GPTQ checkpoint on disk, read with numpy: codes, scales and zero points, and their MatMulNBits layout.

Knows two layouts of the same numbers and nothing else: no model, no graph, no quantiser. Written from the format, not
over a library, so that what the quantiser wrote is read by a second pair of eyes; a test holds the two against each
other bit for bit.

For a linear layer in -> out with groups of g, G = in / g:
`qweight` int32 [in / 8, out], `qzeros` int32 [G, out / 8], `scales` float16 [G, out], `g_idx` int32 [in].
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import UsageError

BITS = 4
PER_WORD = 32 // BITS
_SHIFTS = (np.arange(PER_WORD, dtype=np.uint32) * BITS).astype(np.uint32)
_V1_OFFSET = np.uint32(0x11111111)  # version 1 stores each word of zero points minus one in every nibble
SYMMETRIC_ZERO = 8


@dataclass(frozen=True)
class Format:
    """What a GPTQ checkpoint says about itself."""

    group: int
    version: int  # 1 or 2: how zero points are stored
    symmetric: bool


@dataclass(frozen=True)
class QuantisedLinear:
    """One linear layer: weight[i, o] = scales[i // group, o] * (codes[i, o] - zeros[i // group, o])."""

    codes: npt.NDArray[np.uint8]  # [in, out], 0..15
    scales: npt.NDArray[np.float32]  # [G, out]
    zeros: npt.NDArray[np.uint8]  # [G, out], 0..15
    bias: npt.NDArray[np.float32] | None  # [out]

    @property
    def group(self) -> int:
        """Input rows that share a scale."""
        return int(self.codes.shape[0] // self.scales.shape[0])


@dataclass(frozen=True)
class NBits:
    """The same layer as MatMulNBits wants it: out first, low nibble = even input row."""

    packed: npt.NDArray[np.uint8]  # [out, G, group / 2]
    scales: npt.NDArray[np.float32]  # [out, G]
    zeros: npt.NDArray[np.uint8] | None  # [out, ceil(G / 2)]; None where every zero point is 8, the operator's own


def read_format(config: Mapping[str, Any]) -> Format:
    """Read `quantize_config.json`; raises UsageError for what cannot be exported."""
    bits, group = config.get("bits"), config.get("group_size")
    # Newer writers say `checkpoint_format` (and `format` as well), older ones neither: that is version 1.
    name = str(config.get("checkpoint_format") or config.get("format") or "gptq")
    versions = {"gptq": 1, "gptq_v2": 2}
    if bits != BITS or not isinstance(group, int) or group < 16 or group & (group - 1):
        raise UsageError(f"The GPTQ checkpoint has {bits} bits in groups of {group}; 4 bits in groups of 32, 64 or 128 go.")
    if name not in versions:
        raise UsageError(f"The GPTQ checkpoint is written as '{name}'; gptq and gptq_v2 are read.")
    return Format(group, versions[name], bool(config.get("sym", True)))


def unpack_rows(words: npt.NDArray[np.int32]) -> npt.NDArray[np.uint8]:
    """`[rows / 8, columns]` words -> `[rows, columns]` codes: bits 4j..4j+3 belong to row 8r + j."""
    unsigned = words.view(np.uint32)
    codes = (unsigned[:, None, :] >> _SHIFTS[None, :, None]) & np.uint32(15)
    return codes.reshape(-1, words.shape[1]).astype(np.uint8)


def pack_rows(codes: npt.NDArray[np.uint8]) -> npt.NDArray[np.int32]:
    """The inverse of `unpack_rows`."""
    parts = codes.reshape(-1, PER_WORD, codes.shape[1]).astype(np.uint32) << _SHIFTS[None, :, None]
    return np.ascontiguousarray(np.bitwise_or.reduce(parts, axis=1)).view(np.int32)


def unpack_zeros(words: npt.NDArray[np.int32], version: int) -> npt.NDArray[np.uint8]:
    """`[G, out / 8]` words -> `[G, out]` zero points: bits 4j..4j+3 belong to output 8w + j."""
    unsigned = words.view(np.uint32)
    if version == 1:
        unsigned = unsigned + _V1_OFFSET  # of whole words, with carry, as the writer subtracted it
    zeros = (unsigned[:, :, None] >> _SHIFTS[None, None, :]) & np.uint32(15)
    return zeros.reshape(words.shape[0], -1).astype(np.uint8)


def pack_zeros(zeros: npt.NDArray[np.uint8], version: int) -> npt.NDArray[np.int32]:
    """The inverse of `unpack_zeros`."""
    parts = zeros.reshape(zeros.shape[0], -1, PER_WORD).astype(np.uint32) << _SHIFTS[None, None, :]
    words = np.bitwise_or.reduce(parts, axis=2)
    if version == 1:
        words = words - _V1_OFFSET
    return np.ascontiguousarray(words).view(np.int32)


def read_linear(tensors: Mapping[str, npt.NDArray[Any]], prefix: str, form: Format) -> QuantisedLinear:
    """Read one layer out of a checkpoint's tensors; raises UsageError when it is not there or reordered."""
    try:
        qweight, qzeros = tensors[f"{prefix}.qweight"], tensors[f"{prefix}.qzeros"]
        scales = tensors[f"{prefix}.scales"]
    except KeyError as error:
        raise UsageError(f"The GPTQ checkpoint lacks {error}; quantise the checkpoint again.") from None
    codes = unpack_rows(np.ascontiguousarray(qweight))
    rows = codes.shape[0]
    g_idx = tensors.get(f"{prefix}.g_idx")
    if g_idx is not None and not np.array_equal(g_idx, np.arange(rows) // form.group):
        raise UsageError(f"'{prefix}' of the GPTQ checkpoint has its rows reordered (desc_act); quantise with desc_act off.")
    zeros = unpack_zeros(np.ascontiguousarray(qzeros), form.version)
    if form.symmetric and not (zeros == SYMMETRIC_ZERO).all():
        # A checkpoint of the other version read as this one shows up here, instead of as silently wrong weights.
        raise UsageError(f"'{prefix}' is marked symmetric but its zero points are not 8; the checkpoint is damaged.")
    bias = tensors.get(f"{prefix}.bias")
    return QuantisedLinear(codes, scales.astype(np.float32), zeros, None if bias is None else bias.astype(np.float32))


def dequantise(linear: QuantisedLinear) -> npt.NDArray[np.float32]:
    """Return the weight `[in, out]`."""
    group = linear.group
    centred = linear.codes.astype(np.float32) - np.repeat(linear.zeros.astype(np.float32), group, axis=0)
    return np.repeat(linear.scales, group, axis=0) * centred


def to_nbits(linear: QuantisedLinear) -> NBits:
    """Repack for MatMulNBits; the codes stay the same, bit for bit."""
    rows, columns = linear.codes.shape
    groups = linear.scales.shape[0]
    pairs = linear.codes.T.reshape(columns, groups, linear.group // 2, 2)
    packed = pairs[..., 0] | (pairs[..., 1] << 4)
    zeros = None
    if not (linear.zeros == SYMMETRIC_ZERO).all():
        padded = np.full((columns, groups + groups % 2), SYMMETRIC_ZERO, np.uint8)
        padded[:, :groups] = linear.zeros.T
        zeros = np.ascontiguousarray(padded[:, 0::2] | (padded[:, 1::2] << 4))
    return NBits(np.ascontiguousarray(packed), np.ascontiguousarray(linear.scales.T), zeros)


def from_nbits(bits: NBits, bias: npt.NDArray[np.float32] | None = None) -> QuantisedLinear:
    """The inverse of `to_nbits`."""
    columns, groups, half = bits.packed.shape
    codes = np.stack([bits.packed & 15, bits.packed >> 4], axis=-1).reshape(columns, groups * half * 2)
    zeros: npt.NDArray[np.uint8] = np.full((columns, groups), SYMMETRIC_ZERO, np.uint8)
    if bits.zeros is not None:
        zeros = np.stack([bits.zeros & 15, bits.zeros >> 4], axis=-1).reshape(columns, -1)[:, :groups]
    return QuantisedLinear(
        np.ascontiguousarray(codes.T), np.ascontiguousarray(bits.scales.T), np.ascontiguousarray(zeros.T), bias
    )


@dataclass(frozen=True)
class GptqCheckpoint:
    """A GPTQ checkpoint folder, opened: `linear` reads a quantised layer, `plain` any other tensor as float32."""

    form: Format
    linear: Callable[[str], QuantisedLinear]
    plain: Callable[[str], npt.NDArray[np.float32]]


def open_checkpoint(folder: Path) -> GptqCheckpoint:
    """Open a GPTQ checkpoint folder of safetensors files, one or several."""
    from safetensors.numpy import load_file

    try:
        config = json.loads((folder / "quantize_config.json").read_text(encoding="utf-8"))
    except (OSError, ValueError):
        raise UsageError(f"'{folder.name}' is no GPTQ checkpoint: it has no readable quantize_config.json.") from None
    form = read_format(config)
    tensors: dict[str, npt.NDArray[Any]] = {}
    for path in sorted(folder.glob("*.safetensors")):
        tensors.update(load_file(path))

    def plain(name: str) -> npt.NDArray[np.float32]:
        if name not in tensors:
            raise UsageError(f"The GPTQ checkpoint lacks '{name}'; quantise the checkpoint again.")
        return tensors[name].astype(np.float32)

    return GptqCheckpoint(form, lambda prefix: read_linear(tensors, prefix, form), plain)
