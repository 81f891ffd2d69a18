"""The mask head, LiteMedSAM, as two graphs: an encoder that runs once an image, and a decoder that runs once a box.

Weights are stored as float16, which they are in the checkpoint, and become float32 when a graph is loaded. Rounded, linear
layers compute with int8 weights and activations, and convolutions stay in float32. Maps go from layer to layer as
`[1, H, W, C]`.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from onnx import TensorProto

from medrega_export.checkpoint.mask_head import (
    GRID,
    HEADS,
    LAYERS,
    SIDE,
    STAGES,
    STEM_BLOCKS,
    WIDTH,
    Stage,
)
from medrega_export.graphs.graph import ACCURACY_LEVEL, SMALL, Graph, model_file
from medrega_export.graphs.layer_writer import ReadWeight
from medrega_export.graphs.linear_layers import Floats
from medrega_export.graphs.stage_writer import INPUT, StageWriter, float_info
from medrega_export.quantisation.recipe import FULL

EMBEDDING = "mask_embedding"  # output of the encoder, input of the decoder
BOX = "box"
LOGITS, QUALITY = "mask_logits", "mask_quality"

_MAP_NORM_EPSILON = 1e-6


def write_mask_encoder(read: ReadWeight, path: Path, is_rounded: bool) -> None:
    """Write the encoder to `path`: `pixel_values` float32 `[1, 3, SIDE, SIDE]` -> EMBEDDING `[1, GRID * GRID, WIDTH]`.

    `read` gives a weight by name: "encoder.stem.0.weight".
    """
    inputs, outputs = [float_info(INPUT, 1, 3, SIDE, SIDE)], [float_info(EMBEDDING, 1, GRID**2, WIDTH)]
    with model_file(path, ACCURACY_LEVEL, inputs, outputs) as graph:
        _EncoderWriter(graph, lambda name: read(f"encoder.{name}"), is_rounded).write()


def write_mask_decoder(read: ReadWeight, path: Path, is_rounded: bool) -> None:
    """Write the decoder to `path`: EMBEDDING and BOX, x1 y1 x2 y2 `[1, 4]` in pixels of the square, become a mask.

    LOGITS `[1, SIDE, SIDE]` are positive inside; QUALITY `[1, 1]` is the predicted IoU.
    """
    inputs = [float_info(EMBEDDING, 1, GRID**2, WIDTH), float_info(BOX, 1, 4)]
    outputs = [float_info(LOGITS, 1, SIDE, SIDE), float_info(QUALITY, 1, 1)]
    with model_file(path, ACCURACY_LEVEL, inputs, outputs) as graph:
        _DecoderWriter(graph, lambda name: read(f"decoder.{name}"), is_rounded).write()


class _MaskWriter(StageWriter):
    """What both graphs share."""

    def __init__(self, graph: Graph, read: ReadWeight, is_rounded: bool) -> None:
        super().__init__(graph, read, FULL)
        self.is_rounded = is_rounded

    def constant(self, name: str, value: Floats) -> str:
        """Add an initialiser, float16 in the file where it is large."""
        if value.nbytes <= SMALL:
            return super().constant(name, value)
        return self.node("Cast", [self.graph.constant(f"{name}.half", value.astype(np.float16))], name, to=TensorProto.FLOAT)

    def linear_of(self, name: str, source: str) -> str:
        """A linear layer whose weights have the name of its result."""
        return self.product(name, source, self.read(f"{name}.weight"), self.read(f"{name}.bias"))

    def product(self, name: str, source: str, weight: Floats, bias: Floats) -> str:
        """`source @ weight.T + bias`."""
        if not self.is_rounded:
            return self.dense(name, source, weight, bias)
        return self.plus(self.int8_product(name, weight, source), self.constant(f"{name}.bias", bias), name)

    def gelu(self, source: str) -> str:
        return self.node("Gelu", [source], f"{source}.active")

    def relu(self, source: str) -> str:
        return self.node("Relu", [source], f"{source}.active")

    def plus(self, first: str, second: str, name: str) -> str:
        return self.node("Add", [first, second], name)

    def reshaped(self, source: str, name: str, *shape: int) -> str:
        return self.node("Reshape", [source, self.whole(f"{name}.shape", *shape)], name)

    def turned(self, source: str, name: str, *perm: int) -> str:
        return self.node("Transpose", [source], name, perm=list(perm))


class _EncoderWriter(_MaskWriter):
    """Writes the encoder."""

    def write(self) -> None:
        hidden = self.convolved("stem.1", self.gelu(self.convolved("stem.0", INPUT)))
        for block in range(STEM_BLOCKS):
            name = f"stages.0.{block}"
            hidden = self.gelu(self.plus(hidden, self.bottleneck(name, hidden), name))
        side = SIDE
        for number, stage in enumerate(STAGES):
            hidden = self.bottleneck(f"merges.{number}", hidden, side // stage.side)
            hidden, side = self.turned(hidden, f"stages.{number + 1}.places", 0, 2, 3, 1), stage.side
            for block in range(stage.blocks):
                hidden = self.block(f"stages.{number + 1}.{block}", hidden, stage)
            if number + 1 < len(STAGES):
                hidden = self.turned(hidden, f"stages.{number + 1}.map", 0, 3, 1, 2)
        self.neck(hidden)

    def convolved(self, name: str, source: str, stride: int = 1, has_bias: bool = True) -> str:
        """Convolve `[1, C, H, W]`, as many zeros on each side."""
        weight = self.read(f"{name}.weight")
        kernel, groups = weight.shape[-1], weight.shape[0] if weight.shape[1] == 1 else 1
        parts = {"weight": weight} | ({"bias": self.read(f"{name}.bias")} if has_bias else {})
        inputs = [source, *(self.constant(f"{name}.{kind}", value) for kind, value in parts.items())]
        strides, pads = [stride] * 2, [kernel // 2] * 4
        return self.node("Conv", inputs, name, group=groups, pads=pads, kernel_shape=[kernel] * 2, strides=strides)

    def bottleneck(self, name: str, source: str, stride: int = 1) -> str:
        inner = self.gelu(self.convolved(f"{name}.expand", source))
        return self.convolved(f"{name}.project", self.gelu(self.convolved(f"{name}.filter", inner, stride)))

    def block(self, name: str, source: str, stage: Stage) -> str:
        """Attention within windows, a filter for each channel, a small network."""
        hidden = self.plus(source, self.attended(name, source, stage), f"{name}.attended")
        filtered = self.convolved(f"{name}.filter", self.turned(hidden, f"{name}.map", 0, 3, 1, 2))
        hidden = self.turned(filtered, f"{name}.places", 0, 2, 3, 1)
        inner = self.gelu(self.linear_of(f"{name}.widen", self.layer_norm(f"{name}.norm", f"{name}.norm", hidden)))
        return self.plus(hidden, self.linear_of(f"{name}.narrow", inner), name)

    def attended(self, name: str, source: str, stage: Stage) -> str:
        side, window, width = stage.side, stage.window, stage.width
        windows = -(-side // window)
        missing = windows * window - side
        pads = self.whole(f"{name}.pads", 0, 0, 0, 0, 0, missing, missing, 0)
        padded = self.node("Pad", [source, pads], f"{name}.padded")
        split = self.reshaped(padded, f"{name}.split", windows, window, windows, window, width)
        split = self.turned(split, f"{name}.swapped", 0, 2, 1, 3, 4)
        places = self.reshaped(split, f"{name}.windows", -1, window**2, width)
        normed = self.layer_norm(f"{name}.attention.norm", f"{name}.attention.norm", places)
        parts = self.query_key_value(f"{name}.attention", normed, stage)
        mixed = self.mixed(f"{name}.attention.mixed", parts, stage.heads, self.biases(f"{name}.attention", window))
        seen = self.linear_of(f"{name}.attention.project", mixed)
        seen = self.reshaped(seen, f"{name}.seen", windows, windows, window, window, width)
        seen = self.turned(seen, f"{name}.unswapped", 0, 2, 1, 3, 4)
        whole = self.reshaped(seen, f"{name}.joined", 1, windows * window, windows * window, width)
        limits = (self.whole(f"{name}.{end}", place, place) for end, place in (("start", 0), ("end", side)))
        return self.node("Slice", [whole, *limits, self.whole(f"{name}.axes", 1, 2)], f"{name}.cut")

    def query_key_value(self, name: str, source: str, stage: Stage) -> list[str]:
        """One product; the checkpoint has queries, keys and values of each head side by side."""
        kinds = {kind: self.read(f"{name}.qkv.{kind}") for kind in ("weight", "bias")}
        heads = {kind: value.reshape(stage.heads, 3, -1, *value.shape[1:]) for kind, value in kinds.items()}
        ordered = {kind: np.swapaxes(value, 0, 1).reshape(kinds[kind].shape) for kind, value in heads.items()}
        both = self.product(f"{name}.qkv", source, ordered["weight"], ordered["bias"])
        parts = [f"{name}.{part}" for part in ("queries", "keys", "values")]
        self.graph.node("Split", [both], parts, axis=-1, num_outputs=3)
        return parts

    def biases(self, name: str, window: int) -> str:
        """A bias for each two places of a window `[1, heads, places, places]`, by their distance."""
        place = np.arange(window**2)
        rows, columns = place // window, place % window
        distance = abs(rows[:, None] - rows) * window + abs(columns[:, None] - columns)
        if not any(tensor.name == f"distance.{window}" for tensor in self.graph.initialisers):
            self.graph.constant(f"distance.{window}", distance.astype(np.int32))
        table = self.constant(f"{name}.biases", self.read(f"{name}.biases")[None])
        return self.node("Gather", [table, f"distance.{window}"], f"{name}.bias", axis=2)

    def mixed(self, name: str, parts: Sequence[str], heads: int, bias: str) -> str:
        return self.node("MultiHeadAttention", [*parts, "", "", bias], name, "com.microsoft", num_heads=heads)

    def neck(self, source: str) -> None:
        weight = self.read("neck.0.weight")[:, :, 0, 0]
        hidden = self.node("MatMul", [source, self.constant("neck.0.weight", weight.T)], "neck.0")
        hidden = self.layer_norm("neck.1", "neck.1", hidden, _MAP_NORM_EPSILON)
        hidden = self.convolved("neck.2", self.turned(hidden, "neck.map", 0, 3, 1, 2), has_bias=False)
        flat = self.reshaped(hidden, "neck.flat", 1, WIDTH, GRID**2)
        normed = self.layer_norm("neck.3", "neck.3", self.turned(flat, "neck.places", 0, 2, 1), _MAP_NORM_EPSILON)
        self.node("Identity", [normed], EMBEDDING)


class _DecoderWriter(_MaskWriter):
    """Writes the decoder."""

    def write(self) -> None:
        shifted = self.plus(BOX, self.constant("half", np.full(1, 0.5, np.float32)), "box.centres")
        scaled = self.node("Mul", [shifted, self.constant("scale", np.full(1, 2 / SIDE, np.float32))], "box.scaled")
        centred = self.node("Sub", [scaled, self.constant("one", np.ones(1, np.float32))], "box.centred")
        waves = self.waves("box", self.reshaped(centred, "box.corners", 1, 2, 2))
        corners = self.plus(waves, self.constant("corners", self.read("corners")), "corners.placed")
        asked = self.node("Concat", [self.constant("tokens", self.read("tokens")[None]), corners], "asked", axis=1)
        centres = (np.arange(GRID, dtype=np.float32) + 0.5) * 2 / GRID - 1
        grid = np.stack(np.meshgrid(centres, centres), axis=-1).reshape(1, GRID**2, 2).astype(np.float32)
        places = self.waves("places", self.constant("places.grid", grid))
        image = self.plus(EMBEDDING, self.constant("no_mask", self.read("no_mask")), "image")
        tokens = asked
        for i in range(LAYERS):
            tokens, image = self.layer(f"layers.{i}", i == 0, tokens, image, asked, places)
        placed = self.plus(image, places, "last.image")
        seen = self.attention("last", self.plus(tokens, asked, "last.tokens"), placed, image)
        tokens = self.normed("last_norm", self.plus(tokens, seen, "last.sum"))
        self.node("Identity", [self.through("quality", self.token(tokens, "quality", 0))], QUALITY)
        self.upscaled(image, self.through("direction", self.token(tokens, "direction", 1)))

    def waves(self, name: str, points: str) -> str:
        """Waves at points `[.., 2]` of -1..1."""
        frequencies = self.constant(f"{name}.frequencies", self.read("frequencies"))
        turns = self.node("MatMul", [points, frequencies], f"{name}.turns")
        full = self.constant(f"{name}.full", np.full(1, 2 * math.pi, np.float32))
        angles = self.node("Mul", [turns, full], f"{name}.angles")
        both = [self.node(kind, [angles], f"{name}.{kind.lower()}") for kind in ("Sin", "Cos")]
        return self.node("Concat", both, f"{name}.waves", axis=-1)

    def layer(self, name: str, is_first: bool, tokens: str, image: str, asked: str, places: str) -> tuple[str, str]:
        """Tokens look at each other and at the image, then the image looks at the tokens."""
        if is_first:
            tokens = self.attention(f"{name}.among", tokens, tokens, tokens)
        else:
            placed = self.plus(tokens, asked, f"{name}.tokens.0")
            tokens = self.plus(tokens, self.attention(f"{name}.among", placed, placed, tokens), f"{name}.among.sum")
        tokens = self.normed(f"{name}.norms.0", tokens)
        image_placed = self.plus(image, places, f"{name}.image")
        seen = self.attention(f"{name}.to_image", self.plus(tokens, asked, f"{name}.tokens.1"), image_placed, image)
        tokens = self.normed(f"{name}.norms.1", self.plus(tokens, seen, f"{name}.to_image.sum"))
        thought = self.linear_of(f"{name}.narrow", self.relu(self.linear_of(f"{name}.widen", tokens)))
        tokens = self.normed(f"{name}.norms.2", self.plus(tokens, thought, f"{name}.thought"))
        told = self.attention(f"{name}.to_tokens", image_placed, self.plus(tokens, asked, f"{name}.tokens.2"), tokens)
        return tokens, self.normed(f"{name}.norms.3", self.plus(image, told, f"{name}.to_tokens.sum"))

    def attention(self, name: str, queries: str, keys: str, values: str) -> str:
        named = (("query", queries), ("key", keys), ("value", values))
        asked, offered, told = (self.linear_of(f"{name}.{part}", source) for part, source in named)
        return self.linear_of(f"{name}.out", self.attend(f"{name}.mixed", asked, offered, told, HEADS))

    def normed(self, name: str, source: str) -> str:
        return self.layer_norm(name, name, source)

    def token(self, tokens: str, name: str, number: int) -> str:
        return self.node(
            "Gather", [tokens, self.graph.constant(f"{name}.number", np.array(number))], f"{name}.token", axis=1
        )

    def through(self, name: str, source: str) -> str:
        for i in range(2):
            source = self.relu(self.linear_of(f"{name}.{i}", source))
        return self.linear_of(f"{name}.2", source)

    def upscaled(self, image: str, direction: str) -> None:
        """Each place becomes 2 x 2, twice; the places keep the order of the coarse ones until the products are there."""
        hidden = self.doubled("doubled", image, WIDTH // 4)
        hidden = self.gelu(self.layer_norm("doubled_norm", "doubled_norm", hidden, _MAP_NORM_EPSILON))
        hidden = self.gelu(self.doubled("redoubled", hidden, WIDTH // 8))
        column = self.reshaped(direction, "direction.column", WIDTH // 8, 1)
        products = self.node("MatMul", [hidden, column], "products")
        grid = self.reshaped(products, "products.grid", GRID, GRID, 2, 2, 2, 2)
        self.node(
            "Identity",
            [self.reshaped(self.turned(grid, "products.turned", 0, 2, 4, 1, 3, 5), "logits", 1, SIDE, SIDE)],
            LOGITS,
        )

    def doubled(self, name: str, source: str, width: int) -> str:
        """`[1, P, C]` -> `[1, 4 * P, width]`: a transposed convolution of 2 x 2 without overlap is a linear layer."""
        weight, bias = self.read(f"{name}.weight"), self.read(f"{name}.bias")  # [C, width, 2, 2]
        rows = weight.transpose(2, 3, 1, 0).reshape(4 * width, -1)
        return self.reshaped(self.product(name, source, rows, np.tile(bias, 4)), f"{name}.places", 1, -1, width)
