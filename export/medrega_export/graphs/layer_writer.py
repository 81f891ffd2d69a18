"""Layers that several graphs share, written node by node: norms, linear layers, convolutions, attention, resizing.

A layer reads its weights by name. Numbers are float16 or float32.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from medrega_export.graphs.graph import ORT_DOMAIN, Graph
from medrega_export.graphs.linear_layers import Floats

NORM_EPSILON = 1e-5  # torch's default

ReadWeight = Callable[[str], Floats]  # name of a weight -> its values; KeyError for one that does not exist


class LayerWriter:
    """Adds layers to a graph; each method returns the name of its result."""

    def __init__(self, graph: Graph, read: ReadWeight, number: npt.DTypeLike = np.float32) -> None:
        """`number` is the type of weights and activations."""
        self.graph, self.read, self.number = graph, read, number

    def constant(self, name: str, value: Floats) -> str:
        """Add an initialiser."""
        return self.graph.constant(name, value.astype(self.number))

    def whole(self, name: str, *values: int) -> str:
        """Add an initialiser of int64."""
        return self.graph.constant(name, np.array(values, np.int64))

    def node(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: object) -> str:
        """Add a node with one output."""
        return self.graph.node(kind, inputs, [output], domain, **attributes)

    def layer_norm(self, name: str, weights: str, source: str, epsilon: float = NORM_EPSILON) -> str:
        """Normalise the last axis."""
        scale, bias = (self.constant(f"{name}.{part}", self.read(f"{weights}.{part}")) for part in ("weight", "bias"))
        return self.node("LayerNormalization", [source, scale, bias], name, axis=-1, epsilon=epsilon)

    def dense(self, name: str, source: str, weight: Floats, bias: Floats) -> str:
        """`source @ weight.T + bias`."""
        product = self.node("MatMul", [source, self.constant(f"{name}.weight", weight.T)], f"{name}.product")
        return self.node("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def linear_of(self, name: str, source: str) -> str:
        """A linear layer whose weights have the name of its result."""
        return self.dense(name, source, self.read(f"{name}.weight"), self.read(f"{name}.bias"))

    def convolution(
        self,
        name: str,
        source: str,
        weight: Floats,
        bias: Floats,
        stride: int = 1,
        groups: int = 1,
    ) -> str:
        """Convolve `[B, C, H, W]`, padded as TensorFlow's "SAME" does for sides that the stride divides."""
        kernel = weight.shape[-1]
        before, total = (kernel - stride) // 2, kernel - stride
        after = total - before  # the odd pixel goes to the right and the bottom
        inputs = [source, self.constant(f"{name}.weight", weight), self.constant(f"{name}.bias", bias)]
        return self.node(
            "Conv",
            inputs,
            name,
            group=groups,
            kernel_shape=[kernel, kernel],
            strides=[stride, stride],
            pads=[before, before, after, after],
        )

    def convolution_of(self, name: str, source: str) -> str:
        """A convolution whose weights have the name of its result."""
        return self.convolution(name, source, self.read(f"{name}.weight"), self.read(f"{name}.bias"))

    def group_norm(self, name: str, source: str, groups: int, side: int) -> str:
        """Normalise groups of channels of `[B, C, side, side]`; weights have the name of the result."""
        weight, bias = self.read(f"{name}.weight"), self.read(f"{name}.bias")
        grouped = self.node("Reshape", [source, self.whole(f"{name}.groups", 0, groups, -1)], f"{name}.grouped")
        ones, zeros = np.ones(groups, np.float32), np.zeros(groups, np.float32)
        units = [self.constant(f"{name}.ones", ones), self.constant(f"{name}.zeros", zeros)]
        normed = self.node("InstanceNormalization", [grouped, *units], f"{name}.normed", epsilon=NORM_EPSILON)
        shape = self.whole(f"{name}.shape", 0, len(weight), side, side)
        back = self.node("Reshape", [normed, shape], f"{name}.back")
        scaled = self.node("Mul", [back, self.constant(f"{name}.weight", weight[:, None, None])], f"{name}.scaled")
        return self.node("Add", [scaled, self.constant(f"{name}.bias", bias[:, None, None])], name)

    def pooled(self, name: str, source: str, factor: int) -> str:
        """Average squares of `factor` x `factor` places."""
        if factor == 1:
            return source
        return self.node("AveragePool", [source], name, kernel_shape=[factor, factor], strides=[factor, factor])

    def resized(self, name: str, source: str, side: int, to: int) -> str:
        """Bring `[B, C, side, side]` to `to` x `to` places, bilinear between the centres of places."""
        if side == to:
            return source
        scales = self.graph.constant(f"{name}.scales", np.array([1, 1, to / side, to / side], np.float32))
        return self.node("Resize", [source, "", scales], name, mode="linear", coordinate_transformation_mode="half_pixel")

    def flattened(self, name: str, source: str, width: int) -> str:
        """`[B, width, H, W]` -> `[B, H * W, width]`, row by row."""
        flat = self.node("Reshape", [source, self.whole(f"{name}.shape", 0, width, -1)], f"{name}.flat")
        return self.node("Transpose", [flat], name, perm=[0, 2, 1])

    def attend(self, name: str, queries: str, keys: str, values: str, heads: int) -> str:
        """Attention of `[B, S, width]` on `[B, P, width]`."""
        return self.node("MultiHeadAttention", [queries, keys, values], name, ORT_DOMAIN, num_heads=heads)
