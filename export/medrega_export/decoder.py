"""The language model as an ONNX graph, written node by node: Qwen2 or Llama, full precision or 4 bit.

Knows the architecture and onnxruntime's own operators; takes weights as numpy and knows neither torch nor where they
come from. A direct writer instead of an export from torch, because the cache that lives in one buffer, the packed
weights and the fused attention exist in no exported graph; the graph is small enough to read.

What it promises is written in `medrega_edge.package.DecoderSpec`.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, helper, numpy_helper

from medrega_edge.package import DecoderSpec
from medrega_export.gptq_format import NBits, QuantisedLinear, to_nbits

OPSET = 20
IR_VERSION = 10
ORT_DOMAIN = "com.microsoft"
# 4 rounds activations to int8 per block as well: several times faster, and what the certificate measures.
# 1 computes in float32, which shows whether codes and layout are right.
ACCURACY_LEVEL, EXACT_LEVEL = 4, 1
HEAD_BITS, HEAD_BLOCK = 8, 32
EXTERNAL_BYTES = 1_500_000_000  # one protobuf holds 2 GiB at most

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
    """Nodes and initialisers under construction; `accuracy_level` goes into every quantised layer."""

    def __init__(self, accuracy_level: int = ACCURACY_LEVEL) -> None:
        """Start empty."""
        self.accuracy_level = accuracy_level
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initialiser; returns its name."""
        self.initialisers.append(numpy_helper.from_array(np.ascontiguousarray(value), name))
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
        weight = graph.constant(f"{name}.weight", self.weight.astype(np.float32).T)
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
    """All that a decoder is made of, but for the token embeddings, which the runtime looks up itself."""

    layers: tuple[Layer, ...]
    final_norm: Floats
    head: Linear


def plain(weights: Sequence[Floats], biases: Sequence[Floats | None]) -> PlainLinear:
    """Join layers that read the same input into one; weights [out, in]."""
    return PlainLinear(np.concatenate(list(weights)), _join(biases))


def packed(parts: Sequence[QuantisedLinear]) -> PackedLinear:
    """Join quantised layers that read the same input into one; scales belong to outputs, so nothing changes."""
    bits = [to_nbits(part) for part in parts]
    zeros = None
    if any(part.zeros is not None for part in bits):
        zeros = np.concatenate([_zeros_or_eights(part) for part in bits])
    return PackedLinear(
        np.concatenate([part.packed for part in bits]),
        np.concatenate([part.scales for part in bits]),
        zeros,
        _join([part.bias for part in parts]),
        bits=4,
    )


def head_8bit(weight: Floats) -> PackedLinear:
    """Round the output head [vocabulary, hidden] to 8 bits in blocks of 32.

    Measured on one core against the full-precision head: 2.2 times faster at 2048 x 256, 2.7 times at 32000 x 896, a
    quarter of the bytes, and logits 0.005 off (relative to the largest), where int8 activations alone cost 0.013.
    """
    rows, columns = weight.shape
    blocks = weight.reshape(rows, columns // HEAD_BLOCK, HEAD_BLOCK)
    scales = np.maximum(np.abs(blocks).max(axis=2), 1e-12) / 127.0
    codes = np.clip(np.round(blocks / scales[:, :, None]) + 128, 0, 255).astype(np.uint8)
    return PackedLinear(codes, scales.astype(np.float32), None, None, bits=HEAD_BITS)


def _join(biases: Sequence[Floats | None]) -> Floats | None:
    present = [bias for bias in biases if bias is not None]
    if not present:
        return None
    if len(present) != len(biases):
        raise ValueError("some of the joined layers have a bias and some have none")
    return np.concatenate(present)


def _zeros_or_eights(part: NBits) -> npt.NDArray[np.uint8]:
    if part.zeros is not None:
        return part.zeros
    rows, groups, _ = part.packed.shape
    return np.full((rows, (groups + 1) // 2), 0x88, np.uint8)


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
    """Write the graph to `path` (weights beside it in `path` + ".data" where one file cannot hold them)."""
    spec = specification(shape)
    graph = Graph(accuracy_level)
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
    model = helper.make_model(
        helper.make_graph(graph.nodes, "decoder", *_borders(shape, spec), graph.initialisers),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ORT_DOMAIN, 1)],
        ir_version=IR_VERSION,
        producer_name="medrega-export",
    )
    if sum(len(tensor.raw_data) for tensor in graph.initialisers) > EXTERNAL_BYTES:
        onnx.save_model(
            model, str(path), save_as_external_data=True, all_tensors_to_one_file=True, location=f"{path.name}.data"
        )
    else:
        path.write_bytes(model.SerializeToString())
    return spec


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
