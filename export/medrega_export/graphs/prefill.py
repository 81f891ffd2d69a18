"""The language model's graph for the prefix of an image: its layers in 8 bits, without the last one's end and the head.

Hundreds of positions share each weight there, so the time goes into arithmetic, not into reading weights. Processors
multiply whole numbers of 8 bits several times as fast as MatMulNBits does its codes. Each output of a weight has a scale,
and so has each position of an activation: with one for all, the largest position would take the precision of the others.
The graph fills the cache that the decoder's graph reads, and has its inputs and outputs but for the logits.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

from medrega_export.graphs.decoder import (
    DecoderLayer,
    DecoderShape,
    attention,
    borders,
    norm,
    rotary,
    specification,
)
from medrega_export.graphs.graph import ACCURACY_LEVEL, ORT_DOMAIN, Graph, model_file
from medrega_export.graphs.linear_layers import Linear, PlainLinear, round_outputs

LARGEST, MIDDLE = 127, 128  # of activations, uint8
SMALLEST = 1e-30  # largest value of a position that is all zeros: nothing is divided by zero


def write_prefill(shape: DecoderShape, layers: Iterable[DecoderLayer], path: Path) -> None:
    """Write the graph to `path`, large weights to `path` + ".data"; `layers` may be a generator."""
    spec = specification(shape)
    inputs, outputs = borders(shape, spec, gives_logits=False)
    with model_file(path, ACCURACY_LEVEL, inputs, outputs) as graph:
        writer = _Writer(graph)
        cosines, sines = rotary(shape)
        shared = [graph.constant("rotary.cos", cosines), graph.constant("rotary.sin", sines)]
        hidden, update = spec.embeds, ""
        for i, layer in enumerate(layers):
            name = f"layers.{i}"
            hidden, normed = norm(graph, f"{name}.input_norm", hidden, update, layer.input_norm, shape.epsilon)
            qkv = writer.linear(f"{name}.qkv", normed, layer.qkv)
            attended = attention(graph, i, qkv, shape, spec, shared)
            if i == shape.layers - 1:
                break  # nothing reads what follows the last keys and values
            update = writer.linear(f"{name}.output", attended, layer.output)
            hidden, normed = norm(graph, f"{name}.post_norm", hidden, update, layer.post_norm, shape.epsilon)
            update = writer.gated(name, normed, layer)


class _Writer:
    """Adds products of rounded activations and rounded weights to a graph."""

    def __init__(self, graph: Graph) -> None:
        self.graph = graph
        self.axis = graph.constant("last_axis", np.array([-1], np.int64))
        self.one = graph.constant("one", np.array(1, np.float32))
        self.middle = graph.constant("middle", np.array(MIDDLE, np.uint8))
        self.largest = graph.constant("largest", np.array(LARGEST, np.float32))
        self.smallest = graph.constant("smallest", np.array(SMALLEST, np.float32))

    def linear(self, name: str, source: str, linear: Linear) -> str:
        """Add `source @ weight.T + bias`."""
        codes, step = self.rounded(name, source)
        return self.finished(name, codes, step, linear.plain())

    def gated(self, name: str, source: str, layer: DecoderLayer) -> str:
        """Add the gated network; gate and up are products of their own, which spares a copy of both."""
        codes, step = self.rounded(f"{name}.gate_up", source)
        both, down = layer.gate_up.plain(), layer.down.plain()
        half = len(both.weight) // 2
        gate_part, up_part = (
            PlainLinear(both.weight[rows], None if both.bias is None else both.bias[rows])
            for rows in (slice(half), slice(half, None))
        )
        gate = self.finished(f"{name}.gate", codes, step, gate_part)
        if up_part.bias is None:  # then the step may wait: what follows is rounded for each position, whatever its size
            up = self.product(f"{name}.up", codes, up_part)
        else:
            up = self.finished(f"{name}.up", codes, step, up_part)
        silu = self.node("Mul", [gate, self.node("Sigmoid", [gate], f"{name}.sigmoid")], f"{name}.silu")
        inner, inner_step = self.rounded(f"{name}.down", self.node("Mul", [silu, up], f"{name}.product"))
        if up_part.bias is None:
            inner_step = self.node("Mul", [step, inner_step], f"{name}.down.both_steps")
        return self.finished(f"{name}.down", inner, inner_step, down)

    def rounded(self, name: str, source: str) -> tuple[str, str]:
        """Round each position to uint8; returns codes and steps `[1, S, 1]`."""
        sizes = self.node("Abs", [source], f"{name}.sizes")
        most = self.node("ReduceMax", [sizes, self.axis], f"{name}.most", keepdims=1)
        most = self.node("Max", [most, self.smallest], f"{name}.range")
        spread = self.node("Mul", [source, self.node("Div", [self.largest, most], f"{name}.factor")], f"{name}.spread")
        codes = self.node("QuantizeLinear", [spread, self.one, self.middle], f"{name}.codes")
        return codes, self.node("Div", [most, self.largest], f"{name}.step")

    def product(self, name: str, codes: str, linear: PlainLinear) -> str:
        """Multiply codes with a weight; the result lacks their step and the bias."""
        weight, scales = round_outputs(linear.weight)
        inputs = [codes, self.graph.constant(f"{name}.int8", weight.T), self.one]
        inputs += [self.graph.constant(f"{name}.scales", scales), self.middle]
        return self.graph.node("MatMulIntegerToFloat", inputs, [f"{name}.matmul"], ORT_DOMAIN)

    def finished(self, name: str, codes: str, step: str, linear: PlainLinear) -> str:
        """Multiply codes and their step with a weight, and add its bias."""
        result = self.node("Mul", [self.product(name, codes, linear), step], f"{name}.scaled")
        if linear.bias is None:
            return result
        return self.node("Add", [result, self.graph.constant(f"{name}.bias", linear.bias.astype(np.float32))], f"{name}.sum")

    def node(self, kind: str, inputs: list[str], output: str, **attributes: Any) -> str:
        """Add a node with one output."""
        return self.graph.node(kind, inputs, [output], **attributes)
