"""Writes the folder that OpenVINO GenAI's VLM pipeline reads: `python -P openvino_files.py ORDER` in its own environment.

ORDER is JSON: `shape` (a `TextShape`), `tower` (a `TowerShape`), `gguf` (the language model, which exists) and `openvino`
(the folder). The language model and its tokenizer come from the GGUF file through OpenVINO GenAI itself; its table of
embeddings becomes a model of its own, as its pipelines expect. The vision tower is written here with the operators that a
converted InternVL has. Its weights have 8 bits, one scale a row, as nncf writes them, and are random. This file imports
nothing of the project: it runs in another program's environment.
"""

from __future__ import annotations

import contextlib
import json
import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import openvino as ov
import openvino_genai
from openvino import opset13 as op

Order = dict[str, Any]

EPSILON = 1e-6
MEAN, DEVIATION = [0.485, 0.456, 0.406], [0.229, 0.224, 0.225]
CHANNELS, SHUFFLE = 3, 2
CODE_DEVIATION, NIBBLE_DEVIATION = 73.9, 4.61  # standard deviations of codes of 8 and 4 bits, drawn uniformly
PRINTABLE = slice(33, 127)  # the ids that answers may have, as in gguf_files
GROUP = 128  # weights of 4 bits that share a scale
# Only what was said, turn by turn: other programs have no more around a question either.
CHAT_TEMPLATE = "{% for message in messages %}{{ message['content'] }}{% endfor %}"


class Weights:
    """Random weights as constants of a graph."""

    def __init__(self) -> None:
        """Start the generator."""
        self._generator = np.random.default_rng(0)

    def table(self, rows: int, columns: int, deviation: float, audible: slice = slice(None)) -> ov.Output:
        """Codes of 8 bits, one scale and zero point a row: `[rows, columns]` of this standard deviation.

        Rows outside `audible` are 0.
        """
        codes = self._generator.integers(0, 256, (rows, columns), np.uint8)
        scales = np.zeros((rows, 1), np.float16)
        scales[audible] = deviation / CODE_DEVIATION
        centred = op.subtract(
            op.convert(op.constant(codes), "f16"), op.convert(op.constant(np.full((rows, 1), 128, np.uint8)), "f16")
        )
        return op.convert(op.multiply(centred, op.constant(scales)), "f32").output(0)

    def nibbles(self, rows: int, columns: int) -> ov.Output:
        """Codes of 4 bits in groups, each with a scale and a zero point: `[rows, columns]`."""
        groups = columns // GROUP
        packed = self._generator.integers(0, 256, rows * columns // 2, np.uint8)
        codes = op.constant(ov.Tensor(packed, ov.Shape([rows, groups, GROUP]), ov.Type.u4))
        middles = np.full((rows * groups + 1) // 2, 0x88, np.uint8)
        middle = op.constant(ov.Tensor(middles, ov.Shape([rows, groups, 1]), ov.Type.u4))
        scales = np.full((rows, groups, 1), columns**-0.5 / NIBBLE_DEVIATION, np.float16)
        scaled = op.multiply(op.subtract(op.convert(codes, "f16"), op.convert(middle, "f16")), op.constant(scales))
        return op.convert(op.reshape(scaled, np.array([rows, columns]), False), "f32").output(0)

    def linear(self, values: Any, rows: int, columns: int) -> Any:
        """Multiply by a matrix and add a bias."""
        weights = self.table(rows, columns, columns**-0.5)
        return op.add(op.matmul(values, weights, False, True), self.vector((1, 1, rows), 0.1))

    def norm(self, values: Any, size: int) -> Any:
        """Layer norm over the last axis."""
        normed = op.mvn(values, np.array([-1], np.int64), True, EPSILON, "inside_sqrt")
        return op.add(op.multiply(normed, self.vector((1, 1, size), 1.0)), self.vector((1, 1, size), 0.0))

    def vector(self, shape: tuple[int, ...], value: float) -> Any:
        """One value throughout."""
        return op.constant(np.full(shape, value, np.float32))

    def values(self, *shape: int) -> Any:
        """Small values."""
        return op.constant(0.02 * self._generator.standard_normal(shape, np.float32))


def _parameter(name: str, shape: list[int], kind: Any) -> Any:
    """An input; the pipeline finds it by the name of the node, the runtime by that of its output."""
    parameter = op.parameter(shape, kind)
    parameter.set_friendly_name(name)
    parameter.output(0).set_names({name})
    return parameter


def _shaped(values: Any, *shape: int) -> Any:
    return op.reshape(values, np.array(shape, np.int64), True)  # 0 keeps a size


def _ordered(values: Any, *axes: int) -> Any:
    return op.transpose(values, np.array(axes, np.int64))


def vision_model(tower: dict[str, int], hidden: int) -> ov.Model:
    """Build an InternViT with pixel shuffle and projector: pixels `[N, 3, S, S]` -> `[N, tokens, hidden]`."""
    weights, width, heads = Weights(), tower["hidden"], tower["hidden"] // tower["head_dim"]
    side, patch = tower["image_size"] // tower["patch"], tower["patch"]
    positions = side * side + 1
    pixels = _parameter("pixel_values", [-1, CHANNELS, tower["image_size"], tower["image_size"]], np.float32)
    patches = op.convolution(pixels, weights.values(width, CHANNELS, patch, patch), [patch] * 2, [0, 0], [0, 0], [1, 1])
    patches = op.add(patches, weights.vector((1, width, 1, 1), 0.1))
    patches = _ordered(_shaped(patches, 0, width, positions - 1), 0, 2, 1)
    count = op.gather(op.shape_of(pixels), np.array([0]), np.array(0))
    first = op.broadcast(weights.values(1, 1, width), op.concat([count, np.array([1, width])], 0))
    x = op.add(op.concat([first, patches], 1), weights.values(1, positions, width))
    for _ in range(tower["layers"]):
        joined = weights.linear(weights.norm(x, width), 3 * width, width)
        parts = op.split(_ordered(_shaped(joined, 0, positions, 3, heads, tower["head_dim"]), 2, 0, 3, 1, 4), 0, 3)
        query, key, value = (op.squeeze(parts.output(number), np.array([0])) for number in range(3))
        attended = op.scaled_dot_product_attention(query, key, value)
        attended = weights.linear(_shaped(_ordered(attended, 0, 2, 1, 3), 0, positions, width), width, width)
        x = op.add(x, op.multiply(attended, weights.vector((1, 1, width), 0.3)))
        wide = op.gelu(weights.linear(weights.norm(x, width), tower["mlp"], width), "erf")
        x = op.add(x, op.multiply(weights.linear(wide, width, tower["mlp"]), weights.vector((1, 1, width), 0.3)))
    x = op.slice(x, np.array([1]), np.array([positions]), np.array([1]), np.array([1]))
    short, shuffled = side // SHUFFLE, width * SHUFFLE**2
    x = _ordered(_shaped(x, 0, side, short, width * SHUFFLE), 0, 2, 1, 3)
    x = _ordered(_shaped(x, 0, short, short, shuffled), 0, 2, 1, 3)
    x = weights.norm(_shaped(x, 0, short * short, shuffled), shuffled)
    x = weights.linear(op.gelu(weights.linear(x, hidden, shuffled), "erf"), hidden, hidden)
    x.output(0).set_names({"last_hidden_state"})
    return ov.Model([op.result(x)], [pixels], "vision")


def text_embeddings_model(vocabulary: int, hidden: int) -> ov.Model:
    """Build the table of token embeddings: ids `[N, tokens]` -> `[N, tokens, hidden]`."""
    ids = _parameter("input", [-1, -1], np.int64)
    found = op.gather(Weights().table(vocabulary, hidden, 0.02), op.convert(ids, "i32"), np.array(0, np.int32))
    found.output(0).set_names({"inputs_embeds"})
    return ov.Model([op.result(found)], [ids], "text_embeddings")


def language_model(path: Path, hidden: int) -> ov.Model:
    """Read the saved language model; let embeddings stand for the ids, and weights be as nncf compresses them.

    The file that it was saved from has groups of 32. Optimum's default are groups of 128, which are faster here, and 8
    bits in the output head.
    """
    model = ov.Core().read_model(path)
    weights = Weights()
    for product in model.get_ops():
        if product.get_type_name() != "MatMul" or product.input_value(1).get_partial_shape().is_dynamic:
            continue
        rows, columns = product.input_value(1).get_shape()
        if {target.get_node().get_type_name() for target in product.output(0).get_target_inputs()} == {"Result"}:
            compressed = weights.table(rows, columns, columns**-0.5, PRINTABLE)
        else:
            compressed = weights.nibbles(rows, columns)
        product.input(1).replace_source_output(compressed)
    ids = model.input("input_ids")
    embeds = _parameter("inputs_embeds", [-1, -1, hidden], np.float32)
    users = [target.get_node() for target in ids.get_target_inputs()]
    looked_up = next(user for user in users if user.get_type_name() == "Convert").output(0)
    (table,) = (target.get_node() for target in looked_up.get_target_inputs())
    for target in table.output(0).get_target_inputs():
        target.replace_source_output(embeds.output(0))
    for user in users:
        if user.get_type_name() == "ShapeOf":  # which reads the number of sequences
            user.input(0).replace_source_output(embeds.output(0))
    model.add_parameters([embeds])
    model.remove_parameter(ids.get_node())
    model.validate_nodes_and_infer_types()
    return model


def _settings(order: Order) -> dict[str, dict[str, Any]]:
    tower, shape, size = order["tower"], order["shape"], order["tower"]["image_size"]
    square = {"height": size, "width": size}
    return {
        "config.json": {"model_type": "internvl_chat", "llm_config": {"hidden_size": shape["hidden"]}},
        "generation_config.json": {"eos_token_id": shape["vocabulary"] - 1},
        "preprocessor_config.json": {
            "image_mean": MEAN,
            "image_std": DEVIATION,
            "size": {"shortest_edge": size},
            "crop_size": square,
            "patch_size": tower["patch"],
        },
    }


def write(order: Order) -> None:
    """Write the whole folder, which appears when it is complete."""
    folder, gguf = Path(order["openvino"]), Path(order["gguf"])
    partial = folder.with_suffix(".part")
    shutil.rmtree(partial, ignore_errors=True)
    partial.mkdir()
    saved = gguf.with_name("openvino_model.xml")
    # On some machines the pipeline saves the model and then fails to compile it (2026.4); the saved file compiles.
    with contextlib.suppress(RuntimeError):
        openvino_genai.LLMPipeline(str(gguf), "CPU", enable_save_ov_model=True)
    hidden = order["shape"]["hidden"]
    ov.save_model(language_model(saved, hidden), partial / "openvino_language_model.xml")
    ov.save_model(
        text_embeddings_model(order["shape"]["vocabulary"], hidden), partial / "openvino_text_embeddings_model.xml"
    )
    ov.save_model(vision_model(order["tower"], hidden), partial / "openvino_vision_embeddings_model.xml")
    for part in ("tokenizer", "detokenizer"):
        for ending in ("xml", "bin"):
            shutil.copy(gguf.with_name(f"openvino_{part}.{ending}"), partial)
    for name, content in _settings(order).items():
        (partial / name).write_text(json.dumps(content), encoding="utf-8")
    partial.rename(folder)


if __name__ == "__main__":
    order = json.loads(sys.argv[1])
    if not Path(order["openvino"]).exists():
        write(order)
