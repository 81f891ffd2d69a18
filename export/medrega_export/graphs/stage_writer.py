"""What the vision graphs of all towers share: linear layers in the precision of their unit, pixel shuffle and projector."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import onnx
from onnx import TensorProto, helper

from medrega_export.graphs.graph import Graph
from medrega_export.graphs.layer_writer import NORM_EPSILON, LayerWriter, ReadWeight
from medrega_export.graphs.linear_layers import Floats, round_outputs
from medrega_export.quantisation.recipe import Recipe

INPUT, OUTPUT = "pixel_values", "image_embeds"


def float_info(name: str, *shape: int | str) -> onnx.ValueInfoProto:
    """Describe a float32 input or output of a graph."""
    return helper.make_tensor_value_info(name, TensorProto.FLOAT, list(shape))


class StageWriter(LayerWriter):
    """Writes one vision stage; activations that several int8 layers read are rounded once."""

    def __init__(self, graph: Graph, read: ReadWeight, recipe: Recipe) -> None:
        """The tower of the recipe says the type of weights and activations."""
        super().__init__(graph, read, np.float16 if recipe.tower == "fp16" else np.float32)
        self.recipe = recipe
        self.rounded: dict[str, tuple[str, str, str]] = {}

    def begin(self) -> str:
        """Return the pixels in the graph's own number type."""
        if self.number is np.float16:
            return self.node("Cast", [INPUT], "pixels", to=TensorProto.FLOAT16)
        return INPUT

    def end(self, result: str) -> None:
        """Give the embeddings their name."""
        if self.number is np.float16:
            self.node("Cast", [result], OUTPUT, to=TensorProto.FLOAT)
        else:
            self.node("Identity", [result], OUTPUT)

    def shuffle(self, grid: str, side: int, width: int, factor: int, transposed: bool = False) -> str:
        """`[B, side * side, width]` -> `[B, (side / factor) ** 2, width * factor ** 2]`: squares become tokens.

        `transposed` is pixel shuffle "v1", which is "v2" with the token grid transposed.
        """
        few = side // factor
        rows = self.whole("shuffle.rows", 0, side, few, width * factor)
        grid = self.node("Reshape", [grid, rows], "shuffle.halves")
        grid = self.node("Transpose", [grid], "shuffle.turned", perm=[0, 2, 1, 3])
        squares = self.whole("shuffle.squares", 0, few, few, width * factor**2)
        grid = self.node("Reshape", [grid, squares], "shuffle.grid")
        if not transposed:
            grid = self.node("Transpose", [grid], "shuffle.back", perm=[0, 2, 1, 3])
        flat = self.whole("shuffle.tokens", 0, few * few, width * factor**2)
        return self.node("Reshape", [grid, flat], "shuffled")

    def projector(self, tokens: str) -> str:
        """`[B, tokens, C]` -> `[B, tokens, hidden]`."""
        name = "multi_modal_projector"
        normed = self.layer_norm("projector.norm", f"{name}.layer_norm", tokens, NORM_EPSILON)
        inner = self.linear("projector.linear_1", "projector.linear_1", f"{name}.linear_1", normed)
        active = self.node("Gelu", [inner], "projector.active")
        return self.linear("projector.linear_2", "projector.linear_2", f"{name}.linear_2", active)

    def linear(self, name: str, unit: str, weights: str, source: str, scale: Floats | None = None) -> str:
        """Add `source @ weight.T + bias`, its outputs times `scale`, in the precision of the unit."""
        weight, bias = self.read(f"{weights}.weight"), self.read_bias(f"{weights}.bias")
        if scale is not None:
            weight, bias = weight * scale[:, None], None if bias is None else bias * scale
        return self.product(name, unit, weight, bias, source)

    def joined(self, names: Sequence[str], unit: str, weights: Sequence[str], source: str) -> list[str]:
        """Add linear layers of equal size that read one `source`; in int8 they are one product and a Split."""
        shifts = [self.read_bias(f"{layer}.bias") for layer in weights]
        present = [shift for shift in shifts if shift is not None]
        # A product either has a bias or has none. Joined float16 layers would round otherwise than separate ones.
        if not self.is_int8(unit) or 0 < len(present) < len(shifts):
            return [self.linear(name, unit, layer, source) for name, layer in zip(names, weights, strict=True)]
        weight = np.concatenate([self.read(f"{layer}.weight") for layer in weights])
        both = self.product(unit, unit, weight, np.concatenate(present) if present else None, source)
        self.graph.node("Split", [both], names, axis=-1, num_outputs=len(names))
        return list(names)

    def is_int8(self, unit: str) -> bool:
        """Whether the unit's weights are int8."""
        return self.recipe.tower == "int8" and unit not in self.recipe.exact_units

    def product(self, name: str, unit: str, weight: Floats, bias: Floats | None, source: str) -> str:
        """Add `source @ weight.T + bias` in the precision of the unit."""
        if self.is_int8(unit):
            product = self.int8_product(name, weight, source)
        else:
            product = self.node("MatMul", [source, self.constant(f"{name}.weight", weight.T)], f"{name}.product")
        if bias is None:
            return product
        return self.node("Add", [product, self.constant(f"{name}.bias", bias)], name)

    def read_bias(self, name: str) -> Floats | None:
        """Return a bias, or None where the checkpoint has none."""
        try:
            return self.read(name)
        except KeyError:
            return None

    def int8_product(self, name: str, weight: Floats, source: str) -> str:
        """Weights int8 with a scale for each output, activations uint8 as they come."""
        if source not in self.rounded:
            parts = (f"{source}.uint8", f"{source}.scale", f"{source}.zero")
            self.graph.node("DynamicQuantizeLinear", [source], parts)
            self.rounded[source] = parts
        codes, step, zero = self.rounded[source]
        rounded, scales = round_outputs(weight)
        packed = self.graph.constant(f"{name}.int8", rounded.T)
        zeros = self.graph.constant(f"{name}.zeros", np.zeros(len(scales), np.int8))
        total = self.node("MatMulInteger", [codes, packed, zero, zeros], f"{name}.total")
        floats = self.node("Cast", [total], f"{name}.floats", to=TensorProto.FLOAT)
        both = self.node("Mul", [step, self.graph.constant(f"{name}.scales", scales)], f"{name}.step")
        return self.node("Mul", [floats, both], f"{name}.product")
