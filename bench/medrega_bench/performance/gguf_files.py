"""Writes the files that llama.cpp reads, with random weights: `python -P gguf_files.py ORDER` where gguf is installed.

ORDER is JSON: `shape` (a `TextShape`), `head_bits`, `gguf` (the language model's path), and for a model that sees `tower`
(a `TowerShape`), `mmproj` (its path) and `tower_type` (Q8_0 or F16). OpenVINO reads the language model's file too. A file
that exists is left as it is. This file imports nothing of the project: it runs in other programs' environments.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import gguf
import numpy as np

Order = dict[str, Any]

CONTEXT = 2048
EPSILON, THETA = 1e-6, 1e6
BLOCK = 32  # weights that share a float16 scale, which stands before their codes
BLOCK_BYTES = {"Q4_0": 18, "Q8_0": 34}
CODE_DEVIATION = {"Q4_0": 4.61, "Q8_0": 73.9}  # standard deviation of the codes, drawn uniformly
IMAGE_TOKENS = ("<img>", "</img>", "<IMG_CONTEXT>")
PRINTABLE = slice(33, 127)  # ids and codes of visible characters
SPACE = "\u0120"  # as GPT-2 spells it; the only merge is of two spaces, because readers expect one
MEAN, DEVIATION = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)
CHANNELS, SHUFFLE = 3, 2


class Tensors:
    """Adds random tensors to a file: matrices in a type of ggml's, vectors in float32."""

    def __init__(self, writer: gguf.GGUFWriter, kind: str) -> None:
        """Take the file and the type of its matrices."""
        self._writer, self._kind = writer, kind
        self._generator = np.random.default_rng(0)

    def matrix(self, name: str, rows: int, columns: int, kind: str = "", audible: slice = slice(None)) -> None:
        """Add `[rows, columns]`; activations keep their variance. What lies outside `audible` rows is 0."""
        kind = kind or self._kind
        if kind == "F16":
            values = self._generator.standard_normal((rows, columns), np.float32) / np.float32(columns**0.5)
            self._writer.add_tensor(name, values.astype(np.float16))
            return
        blocks = self._generator.integers(0, 256, (rows, columns // BLOCK, BLOCK_BYTES[kind]), np.uint8)
        scales = np.zeros((rows, columns // BLOCK, 1), np.float16)
        scales[audible] = 1 / (CODE_DEVIATION[kind] * columns**0.5)
        blocks[:, :, :2] = scales.view(np.uint8)
        self._writer.add_tensor(name, blocks.reshape(rows, -1), raw_dtype=gguf.GGMLQuantizationType[kind])

    def vector(self, name: str, size: int, value: float) -> None:
        """Add `[size]` of one value."""
        self._writer.add_tensor(name, np.full(size, value, np.float32))

    def linear(self, name: str, rows: int, columns: int) -> None:
        """Add a matrix and its bias."""
        self.matrix(f"{name}.weight", rows, columns)
        self.vector(f"{name}.bias", rows, 0.1)

    def norm(self, name: str, size: int) -> None:
        """Add the scales and shifts of a layer norm."""
        self.vector(f"{name}.weight", size, 1.0)
        self.vector(f"{name}.bias", size, 0.0)

    def values(self, name: str, shape: tuple[int, ...], kind: type[np.floating[Any]]) -> None:
        """Add small values of any shape."""
        self._writer.add_tensor(name, (0.02 * self._generator.standard_normal(shape, np.float32)).astype(kind))


@contextmanager
def _file(path: Path, architecture: str) -> Iterator[gguf.GGUFWriter]:
    """Give the writer of a file, which appears when it is whole."""
    partial = path.with_suffix(".part")
    writer = gguf.GGUFWriter(str(partial), architecture)
    yield writer
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    partial.rename(path)


def vocabulary(size: int) -> tuple[list[str], list[int]]:
    """Return tokens and their types: one for each byte as GPT-2 spells it, those around an image, and unused ones."""
    printable = [*range(33, 127), *range(161, 173), *range(174, 256)]
    spelt = {byte: chr(byte) for byte in printable}
    spelt |= {byte: chr(256 + index) for index, byte in enumerate(byte for byte in range(256) if byte not in spelt)}
    tokens = [*(spelt[byte] for byte in range(256)), *IMAGE_TOKENS]
    types = [gguf.TokenType.NORMAL] * 256 + [gguf.TokenType.CONTROL] * len(IMAGE_TOKENS)
    tokens.append(SPACE * 2)
    types.append(gguf.TokenType.NORMAL)
    unused = range(len(tokens), size)
    return tokens + [f"<unused {number}>" for number in unused], types + [gguf.TokenType.NORMAL] * len(unused)


def write_text(order: Order) -> None:
    """Write a Qwen2 of this shape; all matrices are Q4_0, the head may be Q8_0."""
    shape = order["shape"]
    tokens, types = vocabulary(shape["vocabulary"])
    with _file(Path(order["gguf"]), "qwen2") as writer:
        writer.add_context_length(CONTEXT)
        writer.add_embedding_length(shape["hidden"])
        writer.add_block_count(shape["layers"])
        writer.add_feed_forward_length(shape["mlp"])
        writer.add_head_count(shape["heads"])
        writer.add_head_count_kv(shape["kv_heads"])
        writer.add_layer_norm_rms_eps(EPSILON)
        writer.add_rope_freq_base(THETA)
        writer.add_file_type(gguf.LlamaFileType.MOSTLY_Q4_0)
        writer.add_tokenizer_model("gpt2")
        writer.add_tokenizer_pre("qwen2")
        writer.add_token_list(tokens)
        writer.add_token_types(types)
        writer.add_token_merges([f"{SPACE} {SPACE}"])
        writer.add_eos_token_id(shape["vocabulary"] - 1)
        tensors = Tensors(writer, "Q4_0")
        hidden, queries, keys = shape["hidden"], shape["heads"] * shape["head_dim"], shape["kv_heads"] * shape["head_dim"]
        tensors.matrix("token_embd.weight", shape["vocabulary"], hidden)
        # Answers are printable characters: a program that reads its own answer again finds as many tokens as it wrote.
        head = "Q8_0" if order["head_bits"] == 8 else "Q4_0"
        tensors.matrix("output.weight", shape["vocabulary"], hidden, head, PRINTABLE)
        tensors.vector("output_norm.weight", hidden, 1.0)
        for layer in range(shape["layers"]):
            name = f"blk.{layer}"
            tensors.vector(f"{name}.attn_norm.weight", hidden, 1.0)
            tensors.vector(f"{name}.ffn_norm.weight", hidden, 1.0)
            for part, rows in (("q", queries), ("k", keys), ("v", keys)):
                tensors.linear(f"{name}.attn_{part}", rows, hidden)
            tensors.matrix(f"{name}.attn_output.weight", hidden, queries)
            tensors.matrix(f"{name}.ffn_gate.weight", shape["mlp"], hidden)
            tensors.matrix(f"{name}.ffn_up.weight", shape["mlp"], hidden)
            tensors.matrix(f"{name}.ffn_down.weight", hidden, shape["mlp"])


def write_tower(order: Order) -> None:
    """Write the vision tower and the projector of an InternVL as mtmd reads them; a CLS token, no slices."""
    tower, hidden, kind = order["tower"], order["shape"]["hidden"], order["tower_type"]
    width, patch, side = tower["hidden"], tower["patch"], tower["image_size"]
    shuffled = width * SHUFFLE**2
    with _file(Path(order["mmproj"]), "clip") as writer:
        writer.add_file_type(gguf.LlamaFileType[f"MOSTLY_{kind}"])
        writer.add_clip_has_vision_encoder(True)
        writer.add_clip_projector_type("internvl")
        writer.add_vision_use_gelu(True)
        writer.add_vision_image_size(side)
        writer.add_vision_patch_size(patch)
        writer.add_vision_embedding_length(width)
        writer.add_vision_feed_forward_length(tower["mlp"])
        writer.add_vision_block_count(tower["layers"])
        writer.add_vision_head_count(width // tower["head_dim"])
        writer.add_vision_projection_dim(hidden)
        writer.add_vision_attention_layernorm_eps(EPSILON)
        writer.add_vision_image_mean(MEAN)
        writer.add_vision_image_std(DEVIATION)
        writer.add_vision_projector_scale_factor(SHUFFLE)
        tensors = Tensors(writer, kind)
        tensors.values("v.patch_embd.weight", (width, CHANNELS, patch, patch), np.float16)
        tensors.vector("v.patch_embd.bias", width, 0.1)
        tensors.values("v.class_embd", (width,), np.float32)
        tensors.values("v.position_embd.weight", ((side // patch) ** 2 + 1, width), np.float32)
        for layer in range(tower["layers"]):
            name = f"v.blk.{layer}"
            for part in ("attn_q", "attn_k", "attn_v", "attn_out"):
                tensors.linear(f"{name}.{part}", width, width)
            tensors.linear(f"{name}.ffn_up", tower["mlp"], width)
            tensors.linear(f"{name}.ffn_down", width, tower["mlp"])
            for number in (1, 2):
                tensors.norm(f"{name}.ln{number}", width)
                tensors.vector(f"{name}.ls{number}.weight", width, 0.3)
        tensors.norm("mm.model.mlp.0", shuffled)
        tensors.linear("mm.model.mlp.1", hidden, shuffled)
        tensors.linear("mm.model.mlp.3", hidden, hidden)


def _main(order: Order) -> None:
    if not Path(order["gguf"]).exists():
        write_text(order)
    if "mmproj" in order and not Path(order["mmproj"]).exists():
        write_tower(order)


if __name__ == "__main__":
    _main(json.loads(sys.argv[1]))
