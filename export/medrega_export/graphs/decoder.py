"""The language model as an ONNX graph, written node by node: Qwen2 or Llama, in any precision its linear layers have.

Weights are numpy arrays. The graph is written directly instead of exported from torch, because no exported graph has the
cache in one buffer, packed weights and fused attention; it is small enough to read. Layers are taken one by one, so one of
them is in memory at a time. `medrega_edge.package.manifest.DecoderSpec` describes inputs and outputs.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import onnx
from onnx import TensorProto, helper

from medrega_edge.package.manifest import DecoderSpec
from medrega_export.graphs.graph import ACCURACY_LEVEL, ORT_DOMAIN, Graph, model_file
from medrega_export.graphs.linear_layers import Floats, Linear


@dataclass(frozen=True)
class DecoderShape:
    """Sizes of a decoder. `theta` and `rope_factor` belong to the rotary embedding.

    `gives_hidden` asks for a further output: what the output head reads at the last position. `several_logits` asks for a
    further input: the positions of a pass whose logits are wanted, instead of the last one.
    """

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
    gives_hidden: bool = False
    several_logits: bool = False


@dataclass(frozen=True)
class DecoderLayer:
    """One layer. `qkv` computes query, key and value at once, `gate_up` both halves of the gated network.

    Norms are `[hidden]`; a linear layer is a `PackedLinear`, or a `PlainLinear` in float32.
    """

    input_norm: Floats
    qkv: Linear
    output: Linear
    post_norm: Floats
    gate_up: Linear
    down: Linear


@dataclass(frozen=True)
class DecoderWeights:
    """The weights of a decoder, without the token embeddings, which the runtime looks up itself.

    `layers` may be a generator, so that each layer is made when it is written. `head` gives `[vocabulary]` logits.
    """

    layers: Iterable[DecoderLayer]
    final_norm: Floats
    head: Linear


def rotary(shape: DecoderShape) -> tuple[Floats, Floats]:
    """Cosines and sines [context, head_dim / 2] of the rotary embedding."""
    frequencies = 1.0 / shape.theta ** (np.arange(0, shape.head_dim, 2, dtype=np.float64) / shape.head_dim)
    angles = np.outer(np.arange(shape.context, dtype=np.float64) / shape.rope_factor, frequencies)
    return np.cos(angles).astype(np.float32), np.sin(angles).astype(np.float32)


def specification(shape: DecoderShape) -> DecoderSpec:
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
        hidden_state="hidden_state" if shape.gives_hidden else "",
        wanted_positions="wanted_positions" if shape.several_logits else "",
    )


def write_decoder(
    shape: DecoderShape, weights: DecoderWeights, path: Path, accuracy_level: int = ACCURACY_LEVEL
) -> DecoderSpec:
    """Write the graph to `path`, large weights to `path` + ".data"; returns the names and sizes of its tensors."""
    spec = specification(shape)
    with model_file(path, accuracy_level, *borders(shape, spec)) as graph:
        _decoder(graph, shape, spec, weights)
    return spec


def _decoder(graph: Graph, shape: DecoderShape, spec: DecoderSpec, weights: DecoderWeights) -> None:
    cosines, sines = rotary(shape)
    shared = [graph.constant("rotary.cos", cosines), graph.constant("rotary.sin", sines)]
    rows = -1 if spec.wanted_positions else 1
    wanted = spec.wanted_positions or graph.constant("last_index", np.array([-1], np.int64))
    # `hidden` is the sum that residual connections carry; `update` what the last block adds to it.
    hidden, update = spec.embeds, ""
    for i, layer in enumerate(weights.layers):
        name = f"layers.{i}"
        hidden, normed = norm(graph, f"{name}.input_norm", hidden, update, layer.input_norm, shape.epsilon)
        qkv = layer.qkv.write(graph, f"{name}.qkv", normed)
        update = layer.output.write(graph, f"{name}.output", attention(graph, i, qkv, shape, spec, shared))
        if i == shape.layers - 1:
            # Only the logits of the wanted positions are needed, and after this attention no position reads another.
            hidden = graph.node("Gather", [hidden, wanted], ["last.hidden"], axis=1)
            update = graph.node("Gather", [update, wanted], ["last.update"], axis=1)
        hidden, normed = norm(graph, f"{name}.post_norm", hidden, update, layer.post_norm, shape.epsilon)
        update = _gated(graph, name, normed, layer)
    _, normed = norm(graph, "final_norm", hidden, update, weights.final_norm, shape.epsilon)
    scores = weights.head.write(graph, "head", normed)
    flat = graph.constant("logits_shape", np.array([rows, shape.vocabulary], np.int64))
    graph.node("Reshape", [scores, flat], [spec.logits])
    if spec.hidden_state:
        row = graph.constant("hidden_shape", np.array([rows, shape.hidden], np.int64))
        graph.node("Reshape", [normed, row], [spec.hidden_state])


def norm(graph: Graph, name: str, hidden: str, update: str, weight: Floats, epsilon: float) -> tuple[str, str]:
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


def attention(graph: Graph, i: int, qkv: str, shape: DecoderShape, spec: DecoderSpec, rotary_names: Sequence[str]) -> str:
    """Add keys and values of layer `i` to the cache, and attend to it."""
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


def _gated(graph: Graph, name: str, normed: str, layer: DecoderLayer) -> str:
    both = layer.gate_up.write(graph, f"{name}.gate_up", normed)
    gate, up = f"{name}.gate", f"{name}.up"
    graph.node("Split", [both], [gate, up], axis=-1, num_outputs=2)
    sigmoid = graph.node("Sigmoid", [gate], [f"{name}.sigmoid"])
    silu = graph.node("Mul", [gate, sigmoid], [f"{name}.silu"])
    product = graph.node("Mul", [silu, up], [f"{name}.product"])
    return layer.down.write(graph, f"{name}.down", product)


def borders(
    shape: DecoderShape, spec: DecoderSpec, gives_logits: bool = True
) -> tuple[list[onnx.ValueInfoProto], list[onnx.ValueInfoProto]]:
    """Inputs and outputs of the graph; without logits it only fills the cache."""
    cache = [1, shape.kv_heads, shape.context, shape.head_dim]
    inputs = [
        helper.make_tensor_value_info(spec.embeds, TensorProto.FLOAT, [1, "length", shape.hidden]),
        helper.make_tensor_value_info(spec.last_position, TensorProto.INT32, [1]),
        helper.make_tensor_value_info(spec.total_length, TensorProto.INT32, []),
    ]
    outputs = []
    if gives_logits:
        rows: str | int = 1
        if spec.wanted_positions:
            rows = "rows"
            inputs.append(helper.make_tensor_value_info(spec.wanted_positions, TensorProto.INT64, [rows]))
        outputs.append(helper.make_tensor_value_info(spec.logits, TensorProto.FLOAT, [rows, shape.vocabulary]))
        if spec.hidden_state:
            outputs.append(helper.make_tensor_value_info(spec.hidden_state, TensorProto.FLOAT, [rows, shape.hidden]))
    for i in range(shape.layers):
        for past, present in ((spec.past_key, spec.present_key), (spec.past_value, spec.present_value)):
            inputs.append(helper.make_tensor_value_info(past.format(i), TensorProto.FLOAT, cache))
            outputs.append(helper.make_tensor_value_info(present.format(i), TensorProto.FLOAT, cache))
    return inputs, outputs
