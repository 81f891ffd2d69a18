"""The language model as an ONNX graph, written node by node: Qwen2 or Llama, full precision, 8 or 4 bits.

Knows the architecture and onnxruntime's own operators; takes weights as numpy and knows neither torch nor where they
come from. A direct writer instead of an export from torch, because the cache that lives in one buffer, the packed
weights and the fused attention exist in no exported graph; the graph is small enough to read. Layers are taken one by
one and their weights go straight to the disk, so no more than one of them has to be in memory.

What it promises is written in `medrega_edge.package.DecoderSpec`.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

from medrega_edge.package import DecoderSpec
from medrega_export.gptq_format import NBits, QuantisedLinear, middle, to_nbits
from medrega_export.recipe import FULL_BITS

OPSET = 20
IR_VERSION = 10
ORT_DOMAIN = "com.microsoft"
# 4 rounds activations to int8 per block as well: several times faster, and what the certificate measures.
# 1 computes in float32, which shows whether codes and layout are right.
ACCURACY_LEVEL, EXACT_LEVEL = 4, 1
HEAD_ROWS = 4096  # rounded at a time, for the sake of memory
HEAD_CUTS = (1.0, 0.95, 0.9, 0.85, 0.8, 0.75, 0.7)
# Weights above this stay in a file of their own, which the runtime maps; a protobuf it holds in memory two times and more.
EXTERNAL_BYTES = 32_000_000
SMALL, PAGE = 1024, 4096  # bytes: up to SMALL a tensor stays in the graph, others begin at a PAGE of the file

Floats = npt.NDArray[np.float32]


@dataclass(frozen=True)
class Shape:
    """Sizes of a decoder. `theta` and `rope_factor` are those of the rotary embedding."""

    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    context: int
    epsilon: float
    theta: float
    rope_factor: float = 1.0  # above 1: positions are divided by it ("linear" scaling)


class Graph:
    """Nodes and initialisers under construction; `accuracy_level` goes into every quantised layer, weights into `data`."""

    def __init__(self, data: BinaryIO, accuracy_level: int = ACCURACY_LEVEL) -> None:
        """Start empty."""
        self.accuracy_level = accuracy_level
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self._data = data

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initialiser, its content in the file of weights where it is not small; returns its name."""
        value = np.ascontiguousarray(value)
        if value.nbytes <= SMALL:
            self.initialisers.append(numpy_helper.from_array(value, name))
            return name
        tensor = onnx.TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        start = -(-self._data.tell() // PAGE) * PAGE
        self._data.seek(start)
        self._data.write(value.data)
        for key, entry in (("location", Path(self._data.name).name), ("offset", start), ("length", value.nbytes)):
            tensor.external_data.add(key=key, value=str(entry))
        self.initialisers.append(tensor)
        return name

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """Add a node named after its first output, which is returned."""
        self.nodes.append(
            helper.make_node(kind, list(inputs), list(outputs), name=f"/{outputs[0]}", domain=domain, **attributes)
        )
        return outputs[0]


class Linear(Protocol):
    """A linear layer that can put itself into a graph."""

    def write(self, graph: Graph, name: str, source: str) -> str:
        """Add `source [.., in]` -> result `[.., out]`; returns the result's name."""
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


@dataclass(frozen=True)
class Layer:
    """One layer. `qkv` computes query, key and value at once, `gate_up` both halves of the gated network."""

    input_norm: Floats
    qkv: Linear
    output: Linear
    post_norm: Floats
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class Weights:
    """All that a decoder is made of, but for the token embeddings, which the runtime looks up itself.

    `layers` may be a generator, so that each layer comes into being when it is written.
    """

    layers: Iterable[Layer]
    final_norm: Floats
    head: Linear


def plain(weights: Sequence[Floats], biases: Sequence[Floats | None]) -> PlainLinear:
    """Join layers that read the same input into one; weights [out, in]."""
    return PlainLinear(np.concatenate(list(weights)), _join(biases))


def packed(parts: Sequence[QuantisedLinear]) -> PackedLinear:
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


def head(weight: Floats, bits: int, block: int) -> Linear:
    """Round the output head [vocabulary, hidden] to `bits` in blocks; 32 bits leave it as it is.

    8 bits in blocks of 32, measured on one core against the full-precision head: 2.2 times faster at 2048 x 256, 2.7
    times at 32000 x 896, a quarter of the bytes, and logits 0.005 off (relative to the largest), where int8 activations
    alone cost 0.013. With 4 bits each block takes, of a few scales that cut its extremes, the one of the least squared
    error.
    """
    if bits == FULL_BITS:
        return PlainLinear(weight)
    return packed([_rounded(weight[start : start + HEAD_ROWS], bits, block) for start in range(0, len(weight), HEAD_ROWS)])


def _rounded(weight: Floats, bits: int, block: int) -> QuantisedLinear:
    blocks = np.ascontiguousarray(weight, np.float32).reshape(-1, block)
    half = np.float32(middle(bits))
    largest = np.maximum(np.abs(blocks).max(axis=1, keepdims=True), 1e-12)
    codes, scales, least = np.zeros_like(blocks), np.zeros_like(largest), np.full_like(largest, np.inf)
    for cut in (1.0,) if bits == 8 else HEAD_CUTS:
        scale = largest * np.float32(cut) / (half - 1)
        rounded = np.clip(np.round(blocks / scale), -half, half - 1)
        error = np.square(rounded * scale - blocks).sum(axis=1, keepdims=True)
        better = error < least
        codes, scales, least = (np.where(better, *pair) for pair in ((rounded, codes), (scale, scales), (error, least)))
    stored = (codes + half).astype(np.uint8).reshape(len(weight), -1)
    scales = np.ascontiguousarray(scales.reshape(len(weight), -1).T)
    return QuantisedLinear(stored.T, scales, np.full(scales.shape, middle(bits), np.uint8), None, bits)


def _join(biases: Sequence[Floats | None]) -> Floats | None:
    present = [bias for bias in biases if bias is not None]
    if not present:
        return None
    if len(present) != len(biases):
        raise ValueError("some of the joined layers have a bias and some have none")
    return np.concatenate(present)


def _zeros(part: NBits) -> npt.NDArray[np.uint8]:
    """The zero points, spelt out where they are the operator's own."""
    if part.zeros is not None:
        return part.zeros
    rows, groups, _ = part.packed.shape
    return np.full((rows, (groups * part.bits + 7) // 8), 0x88 if part.bits == 4 else 128, np.uint8)


def rotary(shape: Shape) -> tuple[Floats, Floats]:
    """Cosines and sines [context, head_dim / 2] of the rotary embedding."""
    frequencies = 1.0 / shape.theta ** (np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim)
    angles = np.outer(np.arange(shape.context, dtype=np.float64) / shape.rope_factor, frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def specification(shape: Shape) -> DecoderSpec:
    """Name the graph's tensors."""
    return DecoderSpec(
        embeds="inputs_embeds",
        last_position="last_position",
        total_length="total_length",
        past_key="past.{}.key",
        past_value="past.{}.value",
        present_key="present.{}.key",
        present_value="present.{}.value",
        logits="logits",
        layers=shape.layers,
        heads=shape.heads,
        kv_heads=shape.kv_heads,
        head_dim=shape.head_dim,
        hidden=shape.hidden,
        vocabulary=shape.vocabulary,
        context=shape.context,
    )


def write(shape: Shape, weights: Weights, path: Path, accuracy_level: int = ACCURACY_LEVEL) -> DecoderSpec:
    """Write the graph to `path` (weights beside it in `path` + ".data" where one file should not hold them)."""
    spec = specification(shape)
    with model_file(path, accuracy_level, *_borders(shape, spec)) as graph:
        _decoder(graph, shape, spec, weights)
    return spec


@contextlib.contextmanager
def model_file(
    path: Path, accuracy_level: int, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
) -> Iterator[Graph]:
    """Hand out a graph to fill, and write it to `path` when the block ends."""
    beside = path.with_name(f"{path.name}.data")
    with beside.open("wb") as data:
        graph = Graph(data, accuracy_level)
        yield graph
        size = data.tell()
    model = helper.make_model(
        helper.make_graph(graph.nodes, path.stem, inputs, outputs, graph.initialisers),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ORT_DOMAIN, 1)],
        ir_version=IR_VERSION,
        producer_name="medrega-export",
    )
    if size <= EXTERNAL_BYTES:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
        beside.unlink()
    path.write_bytes(model.SerializeToString())


def _decoder(graph: Graph, shape: Shape, spec: DecoderSpec, weights: Weights) -> None:
    cosines, sines = rotary(shape)
    shared = [graph.constant("rotary.cos", cosines), graph.constant("rotary.sin", sines)]
    last = graph.constant("last_index", np.array([-1], np.int64))
    # `hidden` is the sum that residual connections carry; `update` what the last block adds to it.
    hidden, update = spec.embeds, ""
    for i, layer in enumerate(weights.layers):
        name = f"layers.{i}"
        hidden, normed = _norm(graph, f"{name}.input_norm", hidden, update, layer.input_norm, shape.epsilon)
        update = layer.output.write(graph, f"{name}.output", _attention(graph, i, normed, layer, shape, spec, shared))
        if i == shape.layers - 1:
            # Only the last position is asked for, and past this attention no position looks at another.
            hidden = graph.node("Gather", [hidden, last], ["last.hidden"], axis=1)
            update = graph.node("Gather", [update, last], ["last.update"], axis=1)
        hidden, normed = _norm(graph, f"{name}.post_norm", hidden, update, layer.post_norm, shape.epsilon)
        update = _gated(graph, name, normed, layer)
    _, normed = _norm(graph, "final_norm", hidden, update, weights.final_norm, shape.epsilon)
    scores = weights.head.write(graph, "head", normed)
    flat = graph.constant("logits_shape", np.array([1, shape.vocabulary], np.int64))
    graph.node("Reshape", [scores, flat], [spec.logits])


def _norm(graph: Graph, name: str, hidden: str, update: str, weight: Floats, epsilon: float) -> tuple[str, str]:
    """Add `update` to `hidden` and normalise the sum; returns the names of both."""
    scale = graph.constant(f"{name}.weight", weight.astype(np.float32))
    if not update:
        # Lives in the standard domain for historical reasons, though only onnxruntime has it.
        normed = graph.node("SimplifiedLayerNormalization", [hidden, scale], [name], axis=-1, epsilon=epsilon, stash_type=1)
        return hidden, normed
    total = f"{name}.total"
    graph.node(
        "SkipSimplifiedLayerNormalization", [hidden, update, scale], [name, "", "", total], ORT_DOMAIN, epsilon=epsilon
    )
    return total, name


def _attention(
    graph: Graph, i: int, normed: str, layer: Layer, shape: Shape, spec: DecoderSpec, rotary_names: Sequence[str]
) -> str:
    qkv = layer.qkv.write(graph, f"layers.{i}.qkv", normed)
    inputs = [qkv, "", "", spec.past_key.format(i), spec.past_value.format(i), spec.last_position, spec.total_length]
    outputs = [f"layers.{i}.attention", spec.present_key.format(i), spec.present_value.format(i)]
    return graph.node(
        "GroupQueryAttention",
        [*inputs, *rotary_names],
        outputs,
        ORT_DOMAIN,
        num_heads=shape.heads,
        kv_num_heads=shape.kv_heads,
        do_rotary=1,
        rotary_interleaved=0,
    )


def _gated(graph: Graph, name: str, normed: str, layer: Layer) -> str:
    both = layer.gate_up.write(graph, f"{name}.gate_up", normed)
    gate, up = f"{name}.gate", f"{name}.up"
    graph.node("Split", [both], [gate, up], axis=-1, num_outputs=2)
    sigmoid = graph.node("Sigmoid", [gate], [f"{name}.sigmoid"])
    silu = graph.node("Mul", [gate, sigmoid], [f"{name}.silu"])
    product = graph.node("Mul", [silu, up], [f"{name}.product"])
    return layer.down.write(graph, f"{name}.down", product)


def _borders(shape: Shape, spec: DecoderSpec) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Inputs and outputs of the graph."""
    cache = [1, shape.kv_heads, shape.context, shape.head_dim]
    inputs = [
        helper.make_tensor_value_info(spec.embeds, TensorProto.FLOAT, [1, "length", shape.hidden]),
        helper.make_tensor_value_info(spec.last_position, TensorProto.INT32, [1]),
        helper.make_tensor_value_info(spec.total_length, TensorProto.INT32, []),
    ]
    outputs = [helper.make_tensor_value_info(spec.logits, TensorProto.FLOAT, [1, shape.vocabulary])]
    for i in range(shape.layers):
        for past, present in ((spec.past_key, spec.present_key), (spec.past_value, spec.present_value)):
            inputs.append(helper.make_tensor_value_info(past.format(i), TensorProto.FLOAT, cache))
            outputs.append(helper.make_tensor_value_info(present.format(i), TensorProto.FLOAT, cache))
    return inputs, outputs
