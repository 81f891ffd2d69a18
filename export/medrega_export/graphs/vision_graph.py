"""The vision stage as an ONNX graph, written node by node: tower, pixel shuffle and projector in int8, float16 or float32.

Weights are numpy arrays, read one by one, so a tower may be larger than the memory. Attention is one operator, layer scales
are folded into the layers before them, and every linear layer gets the precision of its unit.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from onnx import TensorProto, helper

from medrega_export.graphs.graph import ACCURACY_LEVEL, ORT_DOMAIN, Graph, model_file
from medrega_export.graphs.linear_layers import Floats
from medrega_export.quantisation.recipe import Recipe

INPUT, OUTPUT = "pixel_values", "image_embeds"
QK_EPSILON, PROJECTOR_EPSILON = 1e-6, 1e-5  # built into transformers' classes
# Weights keep to 7 bits: processors without VNNI add products of int8 in 16 bits, and saturate beyond.
INT8_LARGEST = 64
ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}

ReadWeight = Callable[[str], Floats]  # name of a weight -> its values


@dataclass(frozen=True)
class VisionShape:
    """Sizes of a vision stage. `layers` is the number of layers in use."""

    size: int
    patch: int
    channels: int
    width: int
    heads: int
    layers: int
    epsilon: float
    rms: bool
    qk_norm: bool
    final_norm: bool
    activation: str
    hidden: int  # of the language model
    factor: int  # of the pixel shuffle: factor x factor patches become a token
    transposed: bool  # pixel shuffle "v1", which is "v2" with the token grid transposed

    @property
    def side(self) -> int:
        """Patches along an edge."""
        return self.size // self.patch

    @property
    def tokens(self) -> int:
        """Embeddings that an image becomes."""
        return (self.side // self.factor) ** 2


def write_vision_graph(shape: VisionShape, read: ReadWeight, path: Path, recipe: Recipe) -> None:
    """Write the graph to `path`, large weights to `path` + ".data".

    `read` gives a weight by transformers' name: "vision_tower.encoder.layer.0.mlp.fc1.weight". It raises KeyError for a bias
    that does not exist. Input `pixel_values` is float32 `[batch, channels, size, size]`, output `image_embeds`
    `[batch, tokens, hidden]`.
    """
    pixels = helper.make_tensor_value_info(INPUT, TensorProto.FLOAT, ["batch", shape.channels, shape.size, shape.size])
    embeddings = helper.make_tensor_value_info(OUTPUT, TensorProto.FLOAT, ["batch", shape.tokens, shape.hidden])
    with model_file(path, ACCURACY_LEVEL, [pixels], [embeddings]) as graph:
        _Writer(graph, shape, read, recipe).stage()


class _Writer:
    """Writes one graph; activations that several layers read are rounded once."""

    def __init__(self, graph: Graph, shape: VisionShape, read: ReadWeight, recipe: Recipe) -> None:
        self.graph, self.shape, self.read, self.recipe = graph, shape, read, recipe
        self.number: npt.DTypeLike = np.float16 if recipe.tower == "fp16" else np.float32
        self.rounded: dict[str, tuple[str, str, str]] = {}

    def constant(self, name: str, value: Floats) -> str:
        return self.graph.constant(name, value.astype(self.number))

    def whole(self, name: str, *values: int) -> str:
        return self.graph.constant(name, np.array(values, np.int64))

    def node(self, kind: str, inputs: Sequence[str], output: str, domain: str = "", **attributes: object) -> str:
        return self.graph.node(kind, inputs, [output], domain, **attributes)

    def stage(self) -> None:
        source = INPUT
        if self.number is np.float16:
            source = self.node("Cast", [INPUT], "pixels", to=TensorProto.FLOAT16)
        hidden = self.embeddings(source)
        for i in range(self.shape.layers):
            hidden = self.layer(f"tower.{i}", f"vision_tower.encoder.layer.{i}", hidden)
        if self.shape.final_norm:
            hidden = self.layer_norm("final_norm", "vision_tower.layernorm", hidden, self.shape.epsilon)
        result = self.projector(self.shuffle(hidden))
        if self.number is np.float16:
            self.node("Cast", [result], OUTPUT, to=TensorProto.FLOAT)
        else:
            self.node("Identity", [result], OUTPUT)

    def embeddings(self, source: str) -> str:
        """Patches, and the class token before them, each with its position."""
        shape, name = self.shape, "vision_tower.embeddings"
        kernel = self.constant("patch.weight", self.read(f"{name}.patch_embeddings.projection.weight"))
        bias = self.constant("patch.bias", self.read(f"{name}.patch_embeddings.projection.bias"))
        square = [shape.patch, shape.patch]
        grid = self.node("Conv", [source, kernel, bias], "patch.grid", kernel_shape=square, strides=square)
        flat = self.node("Reshape", [grid, self.whole("patch.shape", 0, shape.width, -1)], "patch.flat")
        patches = self.node("Transpose", [flat], "patches", perm=[0, 2, 1])
        position = self.read(f"{name}.position_embeddings")
        placed = self.node("Add", [patches, self.constant("patch.position", position[:, 1:])], "patches.placed")
        token = self.constant("class.token", self.read(f"{name}.cls_token") + position[:, :1])
        batch = self.node("Shape", [source], "batch", start=0, end=1)
        sizes = self.node("Concat", [batch, self.whole("class.shape", 1, shape.width)], "class.sizes", axis=0)
        tokens = self.node("Expand", [token, sizes], "class.tokens")
        return self.node("Concat", [tokens, placed], "embedded", axis=1)

    def layer(self, unit: str, name: str, hidden: str) -> str:
        """Attention and network, each behind a norm and added to what comes in."""
        attended = self.attention(unit, name, self.norm(f"{unit}.before", f"{name}.layernorm_before", hidden))
        hidden = self.node("Add", [attended, hidden], f"{unit}.attended")
        normed = self.norm(f"{unit}.after", f"{name}.layernorm_after", hidden)
        inner = self.linear(f"{unit}.fc1", f"{unit}.fc1", f"{name}.mlp.fc1", normed)
        active = self.node("Gelu", [inner], f"{unit}.active", approximate=ACTIVATIONS[self.shape.activation])
        scale = self.read(f"{name}.lambda_2")
        result = self.linear(f"{unit}.fc2", f"{unit}.fc2", f"{name}.mlp.fc2", active, scale)
        return self.node("Add", [result, hidden], f"{unit}.hidden")

    def attention(self, unit: str, name: str, normed: str) -> str:
        parts = []
        for part in "qkv":
            value = self.linear(f"{unit}.{part}", f"{unit}.qkv", f"{name}.attention.{part}_proj", normed)
            if self.shape.qk_norm and part != "v":
                value = self.rms_norm(f"{unit}.{part}_norm", f"{name}.attention.{part}_norm", value, QK_EPSILON)
            parts.append(value)
        mixed = self.node("MultiHeadAttention", parts, f"{unit}.mixed", ORT_DOMAIN, num_heads=self.shape.heads)
        scale = self.read(f"{name}.lambda_1")
        return self.linear(f"{unit}.output", f"{unit}.output", f"{name}.attention.projection_layer", mixed, scale)

    def shuffle(self, hidden: str) -> str:
        """`[B, 1 + side * side, C]` -> `[B, tokens, C * factor ** 2]`: the class token goes, squares become tokens."""
        shape, few = self.shape, self.shape.side // self.shape.factor
        ends = [self.whole("one", 1), self.whole("end", 1 + shape.side**2), self.whole("axis", 1)]
        patches = self.node("Slice", [hidden, *ends], "shuffle.patches")
        rows = self.whole("shuffle.rows", 0, shape.side, few, shape.width * shape.factor)
        grid = self.node("Reshape", [patches, rows], "shuffle.halves")
        grid = self.node("Transpose", [grid], "shuffle.turned", perm=[0, 2, 1, 3])
        squares = self.whole("shuffle.squares", 0, few, few, shape.width * shape.factor**2)
        grid = self.node("Reshape", [grid, squares], "shuffle.grid")
        if not shape.transposed:
            grid = self.node("Transpose", [grid], "shuffle.back", perm=[0, 2, 1, 3])
        flat = self.whole("shuffle.tokens", 0, few * few, shape.width * shape.factor**2)
        return self.node("Reshape", [grid, flat], "shuffled")

    def projector(self, tokens: str) -> str:
        name = "multi_modal_projector"
        normed = self.layer_norm("projector.norm", f"{name}.layer_norm", tokens, PROJECTOR_EPSILON)
        inner = self.linear("projector.linear_1", "projector.linear_1", f"{name}.linear_1", normed)
        active = self.node("Gelu", [inner], "projector.active")
        return self.linear("projector.linear_2", "projector.linear_2", f"{name}.linear_2", active)

    def norm(self, name: str, weights: str, source: str) -> str:
        return (self.rms_norm if self.shape.rms else self.layer_norm)(name, weights, source, self.shape.epsilon)

    def layer_norm(self, name: str, weights: str, source: str, epsilon: float) -> str:
        scale, bias = (self.constant(f"{name}.{part}", self.read(f"{weights}.{part}")) for part in ("weight", "bias"))
        return self.node("LayerNormalization", [source, scale, bias], name, axis=-1, epsilon=epsilon)

    def rms_norm(self, name: str, weights: str, source: str, epsilon: float) -> str:
        scale = self.constant(f"{name}.weight", self.read(f"{weights}.weight"))
        # Lives in the standard domain for historical reasons, though only onnxruntime has it.
        return self.node("SimplifiedLayerNormalization", [source, scale], name, axis=-1, epsilon=epsilon, stash_type=1)

    def linear(self, name: str, unit: str, weights: str, source: str, scale: Floats | None = None) -> str:
        """Add `source @ weight.T + bias`, its outputs times `scale`, in the precision of the unit."""
        weight, bias = self.read(f"{weights}.weight"), self.read_bias(f"{weights}.bias")
        if scale is not None:
            weight, bias = weight * scale[:, None], None if bias is None else bias * scale
        if self.recipe.tower == "int8" and unit not in self.recipe.exact_units:
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
        scales = np.maximum(np.abs(weight).max(axis=1), np.float32(1e-12)) / np.float32(INT8_LARGEST)
        rounded = np.clip(np.rint(weight / scales[:, None]), -INT8_LARGEST, INT8_LARGEST).astype(np.int8)
        packed = self.graph.constant(f"{name}.int8", rounded.T)
        zeros = self.graph.constant(f"{name}.zeros", np.zeros(len(scales), np.int8))
        total = self.node("MatMulInteger", [codes, packed, zero, zeros], f"{name}.total")
        floats = self.node("Cast", [total], f"{name}.floats", to=TensorProto.FLOAT)
        both = self.node("Mul", [step, self.graph.constant(f"{name}.scales", scales)], f"{name}.step")
        return self.node("Mul", [floats, both], f"{name}.product")
