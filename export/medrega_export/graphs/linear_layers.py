"""Linear layers in a graph: in full precision, or as the codes that onnxruntime's MatMulNBits reads.

GPTQ chooses the codes of the layers; those of the output head are rounded here.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Protocol

import numpy as np
import numpy.typing as npt

from medrega_export.graphs.graph import ORT_DOMAIN, Graph
from medrega_export.quantisation.gptq_format import NBits, QuantisedLinear, middle, to_nbits

# Int8 weights keep to 7 bits: processors without VNNI add products of int8 in 16 bits, and saturate beyond.
INT8_LARGEST = 64
CUTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)

Floats = npt.NDArray[np.float32]


class Linear(Protocol):
    """A linear layer that can write itself into a graph."""

    def write(self, graph: Graph, name: str, source: str) -> str:
        """Add `source [.., in]` -> result `[.., out]`; returns the result's name."""
        ...

    def plain(self) -> PlainLinear:
        """Return the weights in full precision."""
        ...


@dataclass(frozen=True)
class PlainLinear:
    """Full precision: `weight` [out, in]."""

    weight: Floats
    bias: Floats | None = None

    def write(self, graph: Graph, name: str, source: str) -> str:
        """Add a MatMul, and an Add where there is a bias."""
        weight = graph.constant(f"{name}.weight", self.weight.T)
        result = graph.node("MatMul", [source, weight], [f"{name}.matmul"])
        if self.bias is None:
            return result
        bias = graph.constant(f"{name}.bias", self.bias.astype(np.float32))
        return graph.node("Add", [result, bias], [f"{name}.sum"])

    def plain(self) -> PlainLinear:
        """Return the layer itself."""
        return self


@dataclass(frozen=True)
class PackedLinear:
    """Quantised to `bits` in blocks; `packed` uint8 [out, blocks, block * bits / 8]."""

    packed: npt.NDArray[np.uint8]
    scales: Floats  # [out, blocks]
    zeros: npt.NDArray[np.uint8] | None
    bias: Floats | None
    bits: int

    def write(self, graph: Graph, name: str, source: str) -> str:
        """Add a MatMulNBits; its bias is the operator's own input, one node less for each of many small layers."""
        out, blocks, width = self.packed.shape
        block = width * 8 // self.bits
        inputs = [
            source,
            graph.constant(f"{name}.packed", self.packed),
            graph.constant(f"{name}.scales", self.scales.astype(np.float32).reshape(-1)),
            "" if self.zeros is None else graph.constant(f"{name}.zeros", self.zeros.reshape(-1)),
            "",
            "" if self.bias is None else graph.constant(f"{name}.bias", self.bias.astype(np.float32)),
        ]
        while not inputs[-1]:
            inputs.pop()
        attributes = {"K": blocks * block, "N": out, "bits": self.bits, "block_size": block}
        attributes["accuracy_level"] = graph.accuracy_level
        return graph.node("MatMulNBits", inputs, [f"{name}.matmul"], ORT_DOMAIN, **attributes)

    def plain(self) -> PlainLinear:
        """Return what the codes stand for."""
        out, blocks, _ = self.packed.shape
        zeros = np.full((out, blocks), middle(self.bits), np.uint8)
        if self.zeros is not None:
            zeros = _unpacked(self.zeros.reshape(out, -1), self.bits)[:, :blocks]
        steps = _unpacked(self.packed, self.bits).astype(np.float32) - zeros[:, :, None]
        return PlainLinear((steps * self.scales.reshape(out, blocks, 1)).reshape(out, -1), self.bias)


def join_plain(weights: Sequence[Floats], biases: Sequence[Floats | None]) -> PlainLinear:
    """Join layers that read the same input into one; weights [out, in]."""
    return PlainLinear(np.concatenate(list(weights)), _join(biases))


def join_packed(parts: Sequence[QuantisedLinear]) -> PackedLinear:
    """Join quantised layers that read the same input into one; scales belong to outputs, so nothing changes."""
    if len({(part.bits, part.group) for part in parts}) > 1:
        raise ValueError("the joined layers differ in bits or groups")
    nbits = [to_nbits(part) for part in parts]
    zeros = None
    if any(part.zeros is not None for part in nbits):
        zeros = np.concatenate([_zeros(part) for part in nbits])
    return PackedLinear(
        np.concatenate([part.packed for part in nbits]),
        np.concatenate([part.scales for part in nbits]),
        zeros,
        _join([part.bias for part in parts]),
        parts[0].bits,
    )


def round_head(pieces: Iterable[Floats], bits: int, block: int) -> PackedLinear:
    """Round an output head [vocabulary, hidden], which comes some rows at a time, to 4 or 8 `bits` in blocks.

    8 bits in blocks of 32, measured on one core against the full-precision head: 2.2 times faster at 2048 x 256, 2.7
    times at 32000 x 896, a quarter of the bytes, and logits 0.005 off (relative to the largest), where int8 activations
    alone cost 0.013.
    """
    parts = [to_nbits(round_in_blocks(rows, bits, block)) for rows in pieces]
    codes, scales = np.concatenate([part.packed for part in parts]), np.concatenate([part.scales for part in parts])
    return PackedLinear(codes, scales, None, None, bits)


def round_in_blocks(weight: Floats, bits: int, block: int) -> QuantisedLinear:
    """Round [out, in] in blocks, without calibration.

    With 4 bits each block takes, of a few scales that cut its extremes, the one of the least squared error.
    """
    blocks = np.ascontiguousarray(weight, np.float32).reshape(-1, block)
    half = np.float32(middle(bits))
    largest = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), 1e-12)
    codes: Floats = np.zeros_like(blocks)
    scales: Floats = np.zeros_like(largest)
    least: Floats = np.full_like(largest, np.inf)
    for cut in (1.0,) if bits == 8 else CUTS:
        scale = largest * np.float32(cut) / (half - 1)
        rounded = np.clip(np.round(blocks / scale), -half, half - 1)
        error = np.square(rounded * scale - blocks).sum(axis=1, keepdims=True)
        better = error < least
        codes, scales = np.where(better, rounded, codes), np.where(better, scale, scales)
        least = np.where(better, error, least)
    stored = (codes + half).astype(np.uint8).reshape(len(weight), -1)
    scales = np.ascontiguousarray(scales.reshape(len(weight), -1).T)
    return QuantisedLinear(stored.T, scales, np.full(scales.shape, middle(bits), np.uint8), None, bits)


def round_outputs(weight: Floats) -> tuple[npt.NDArray[np.int8], Floats]:
    """Round [out, in] to int8 with a scale for each output; returns codes [out, in] and scales [out]."""
    scales = np.maximum(np.abs(weight).max(axis=1), np.float32(1e-12)) / np.float32(INT8_LARGEST)
    return np.clip(np.rint(weight / scales[:, None]), -INT8_LARGEST, INT8_LARGEST).astype(np.int8), scales


def _unpacked(packed: npt.NDArray[np.uint8], bits: int) -> npt.NDArray[np.uint8]:
    """Codes along the last axis; of 4 bits, the low half of a byte comes first."""
    if bits == 8:
        return packed
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(*packed.shape[:-1], -1)


def _join(biases: Sequence[Floats | None]) -> Floats | None:
    present = [bias for bias in biases if bias is not None]
    if not present:
        return None
    if len(present) != len(biases):
        raise ValueError("some of the joined layers have a bias and some have none")
    return np.concatenate(present)


def _zeros(part: NBits) -> npt.NDArray[np.uint8]:
    """The zero points, written out where they are the operator's default."""
    if part.zeros is not None:
        return part.zeros
    rows, groups, _ = part.packed.shape
    return np.full((rows, (groups * part.bits + 7) // 8), 0x88 if part.bits == 4 else 128, np.uint8)
