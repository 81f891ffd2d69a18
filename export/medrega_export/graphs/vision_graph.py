"""The vision stage as an ONNX graph, written node by node: tower, pixel shuffle and projector in int8, float16 or float32.

Weights are numpy arrays, read one by one, so a tower may be larger than the memory. Attention is one operator, layer scales
are folded into the layers before them, and every linear layer gets the precision of its unit.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from medrega_export.graphs.graph import ACCURACY_LEVEL, ORT_DOMAIN, Graph, model_file
from medrega_export.graphs.layer_writer import ReadWeight
from medrega_export.graphs.stage_writer import INPUT, OUTPUT, StageWriter, float_info
from medrega_export.quantisation.recipe import Recipe

QK_EPSILON = 1e-6  # built into transformers' class
ACTIVATIONS = {"gelu": "none", "gelu_new": "tanh", "gelu_pytorch_tanh": "tanh"}


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
    pixels = float_info(INPUT, "batch", shape.channels, shape.size, shape.size)
    embeddings = float_info(OUTPUT, "batch", shape.tokens, shape.hidden)
    with model_file(path, ACCURACY_LEVEL, [pixels], [embeddings]) as graph:
        _Writer(graph, shape, read, recipe).stage()


class _Writer(StageWriter):
    """Writes one graph."""

    def __init__(self, graph: Graph, shape: VisionShape, read: ReadWeight, recipe: Recipe) -> None:
        super().__init__(graph, read, recipe)
        self.shape = shape

    def stage(self) -> None:
        shape = self.shape
        hidden = self.embeddings(self.begin())
        for i in range(shape.layers):
            hidden = self.layer(f"tower.{i}", f"vision_tower.encoder.layer.{i}", hidden)
        if shape.final_norm:
            hidden = self.layer_norm("final_norm", "vision_tower.layernorm", hidden, shape.epsilon)
        patches = self.patches(hidden)
        self.end(self.projector(self.shuffle(patches, shape.side, shape.width, shape.factor, shape.transposed)))

    def patches(self, hidden: str) -> str:
        """Leave the class token out."""
        ends = [self.whole("one", 1), self.whole("end", 1 + self.shape.side**2), self.whole("axis", 1)]
        return self.node("Slice", [hidden, *ends], "shuffle.patches")

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
        names, weights = [f"{unit}.{part}" for part in "qkv"], [f"{name}.attention.{part}_proj" for part in "qkv"]
        parts = self.joined(names, f"{unit}.qkv", weights, normed)
        if self.shape.qk_norm:
            for i, part in enumerate("qk"):
                parts[i] = self.rms_norm(f"{unit}.{part}_norm", f"{name}.attention.{part}_norm", parts[i], QK_EPSILON)
        mixed = self.node("MultiHeadAttention", parts, f"{unit}.mixed", ORT_DOMAIN, num_heads=self.shape.heads)
        scale = self.read(f"{name}.lambda_1")
        return self.linear(f"{unit}.output", f"{unit}.output", f"{name}.attention.projection_layer", mixed, scale)

    def norm(self, name: str, weights: str, source: str) -> str:
        return (self.rms_norm if self.shape.rms else self.layer_norm)(name, weights, source, self.shape.epsilon)

    def rms_norm(self, name: str, weights: str, source: str, epsilon: float) -> str:
        scale = self.constant(f"{name}.weight", self.read(f"{weights}.weight"))
        # Lives in the standard domain for historical reasons, though only onnxruntime has it.
        return self.node("SimplifiedLayerNormalization", [source, scale], name, axis=-1, epsilon=epsilon, stash_type=1)
