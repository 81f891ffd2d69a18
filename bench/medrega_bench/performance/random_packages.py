"""Model packages of a named shape with random weights: for measuring speed and memory, never for an answer.

Knows sizes, and how export writes graphs; knows no measurement. The codes are drawn, not rounded, so gptqmodel is not
needed nor torch, and a package takes seconds. Tokenizer and prompts are those of the
package that ships, so every command runs on such a package; what it says is noise.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import UsageError
from medrega_edge.images.preprocess import IMAGENET_MEAN, IMAGENET_STD
from medrega_edge.package.manifest import MANIFEST, SCHEMA_VERSION, TokenSpec, VisionSpec, file_entry
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder
from medrega_export.quantisation.recipe import fitting_group

if TYPE_CHECKING:
    from medrega_export.graphs import decoder, linear_layers

CONTEXT = 2048
EPSILON, THETA = 1e-6, 1e6
CHANNELS = 3
LEVELS = 4.61  # standard deviation of the sixteen codes of 4 bits, all alike likely
SEED = 20261123

Floats = npt.NDArray[np.float32]
_T = TypeVar("_T")


@dataclass(frozen=True)
class TextShape:
    """Sizes of a language model. `bias`: query, key and value have one, as in Qwen2."""

    layers: int
    hidden: int
    heads: int
    kv_heads: int
    head_dim: int
    mlp: int
    vocabulary: int
    bias: bool = True

    @property
    def parameters(self) -> int:
        """Weights of the linear layers and of the head, which every token reads."""
        return self._of_layers + self.hidden * self.vocabulary

    @property
    def _of_layers(self) -> int:
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.mlp)

    @property
    def fitting_group(self) -> int:
        """Weights that share a scale where it is left to export."""
        widths = {"qkv": self.hidden, "output": self.heads * self.head_dim, "down": self.mlp}
        return int(fitting_group(4, self._of_layers, widths)[0])


@dataclass(frozen=True)
class TowerShape:
    """Sizes of a vision tower."""

    layers: int
    hidden: int
    mlp: int
    image_size: int
    patch: int
    head_dim: int = 64

    @property
    def tokens(self) -> int:
        """Embeddings that an image becomes, after pixel shuffle."""
        return (self.image_size // self.patch // 2) ** 2


@dataclass(frozen=True)
class PackageShape:
    """Sizes of both stages; `head_bits` is 8 as export writes it, or 4 as peers that have 4 bits everywhere.

    `group` weights of the language model share a scale; 0 leaves it to export.
    """

    text: TextShape
    tower: TowerShape
    head_bits: int = 8
    group: int = 0

    def __post_init__(self) -> None:
        """Take the group that fits where none is given."""
        object.__setattr__(self, "group", self.group or self.text.fitting_group)


VIT_300M = TowerShape(layers=24, hidden=1024, mlp=4096, image_size=448, patch=14)  # InternViT-300M
SMALLEST_TOWER = TowerShape(layers=1, hidden=64, mlp=128, image_size=64, patch=16)
SHAPES = {
    "tiny": PackageShape(  # the preset "small" of train/
        TextShape(layers=8, hidden=384, heads=6, kv_heads=3, head_dim=64, mlp=1152, vocabulary=8192),
        TowerShape(layers=12, hidden=384, mlp=1536, image_size=320, patch=16),
    ),
    "0.5b": PackageShape(  # Qwen2-0.5B, the language model of InternVL2-1B
        TextShape(layers=24, hidden=896, heads=14, kv_heads=2, head_dim=64, mlp=4864, vocabulary=151936), VIT_300M
    ),
    "1b": PackageShape(  # Llama-3.2-1B
        TextShape(
            layers=16, hidden=2048, heads=32, kv_heads=8, head_dim=64, mlp=8192, vocabulary=128256, bias=False
        ),
        VIT_300M,
    ),
}  # fmt: skip


def named(name: str) -> PackageShape:
    """Return a shape by its name; raises UsageError."""
    if name not in SHAPES:
        raise UsageError(f"There is no shape '{name}'; choose one of: {', '.join(SHAPES)}.")
    return SHAPES[name]


def write_package(shape: PackageShape, folder: Path, name: str = "random") -> Package:
    """Write a package into a new folder; raises UsageError where the folder is there already."""
    from medrega_export.graphs import decoder

    if folder.exists():
        raise UsageError(f"'{folder.name}' is there already; name a folder that is not.")
    folder.mkdir(parents=True)
    shipped = Package.open(default_folder())
    spec = decoder.write_decoder(graph_shape(shape.text), decoder_weights(shape), folder / "decoder.onnx")
    np.save(folder / "embeddings.npy", embeddings(shape.text))
    write_tower(shape.tower, shape.text.hidden, folder / "vision.onnx")
    for role, file in (("tokenizer", "tokenizer.json"), ("prompts", "prompts.json")):
        (folder / file).write_bytes(shipped.read(role))
    certificate: dict[str, Any] = {"schema_version": 1, "accuracy": None, "reason": "random weights", "stages": {}}
    (folder / "certificate.json").write_text(json.dumps(certificate) + "\n", encoding="utf-8")
    (folder / "README.md").write_text(f"# {name}\n\nRandom weights, to measure speed and memory with.\n", encoding="utf-8")
    files = {
        "vision": ("vision.onnx", "int8-dynamic"),
        "decoder": ("decoder.onnx", f"int4-g{shape.group}, head int{shape.head_bits}"),
        "embeddings": ("embeddings.npy", "fp16"),
        "tokenizer": ("tokenizer.json", "text"),
        "prompts": ("prompts.json", "text"),
        "certificate": ("certificate.json", "text"),
        "card": ("README.md", "text"),
    }
    entries = {role: file_entry(folder / file, precision) for role, (file, precision) in files.items()}
    for role in ("vision", "decoder"):
        beside = folder / f"{role}.onnx.data"
        if beside.is_file():
            entries[f"{role}_data"] = file_entry(beside, files[role][1])
    tower = shape.tower
    manifest = replace(
        shipped.manifest,
        schema_version=SCHEMA_VERSION,
        name=name,
        version="0",
        source="Random weights",
        precision=f"random-int4-g{shape.group} + vision-int8",
        files=entries,
        vision=VisionSpec("pixel_values", "image_embeds", tower.image_size, IMAGENET_MEAN, IMAGENET_STD, tower.tokens),
        decoder=spec,
        tokens=TokenSpec(shipped.manifest.tokens.image, shipped.manifest.tokens.end),
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Package.open(folder)


def graph_shape(text: TextShape) -> decoder.DecoderShape:
    """The sizes as export's writer takes them."""
    from medrega_export.graphs import decoder

    return decoder.DecoderShape(
        text.layers, text.heads, text.kv_heads, text.head_dim, text.hidden, text.vocabulary, CONTEXT, EPSILON, THETA
    )


def embeddings(text: TextShape) -> npt.NDArray[np.float16]:
    """Token embeddings `[vocabulary, hidden]`."""
    generator = np.random.default_rng(SEED)
    return (0.02 * generator.standard_normal((text.vocabulary, text.hidden), np.float32)).astype(np.float16)


def decoder_weights(shape: PackageShape) -> decoder.DecoderWeights:
    """Random weights of the language model, each layer drawn when it is written."""
    from medrega_export.graphs import decoder, linear_layers

    text, generator = shape.text, np.random.default_rng(SEED)
    queries, keys = text.heads * text.head_dim, text.kv_heads * text.head_dim
    ones = np.ones(text.hidden, np.float32)

    def linear(rows: int, columns: int, bits: int = 4, bias: bool = False) -> linear_layers.PackedLinear:
        blocks, width = rows // shape.group, shape.group * bits // 8
        packed = generator.integers(0, 256, (columns, blocks, width), np.uint8)
        level = LEVELS * 2 ** (bits - 4)
        scales = np.full((columns, blocks), 1 / (level * rows**0.5), np.float32)
        shift = (0.1 * generator.standard_normal(columns)).astype(np.float32) if bias else None
        return linear_layers.PackedLinear(packed, scales, None, shift, bits)

    def layers() -> Iterator[decoder.DecoderLayer]:
        for _ in range(text.layers):
            yield decoder.DecoderLayer(
                input_norm=ones,
                qkv=linear(text.hidden, queries + 2 * keys, bias=text.bias),
                output=linear(queries, text.hidden),
                post_norm=ones,
                gate_up=linear(text.hidden, 2 * text.mlp),
                down=linear(text.mlp, text.hidden),
            )

    head = linear(text.hidden, text.vocabulary, shape.head_bits)
    return decoder.DecoderWeights(layers(), ones, head)


def write_tower(tower: TowerShape, hidden: int, path: Path, precision: str = "int8") -> None:
    """Write a tower with random weights that ends in embeddings of width `hidden`, as export writes one."""
    from medrega_export.graphs import vision_graph
    from medrega_export.quantisation.recipe import Recipe

    shape = vision_graph.VisionShape(
        size=tower.image_size,
        patch=tower.patch,
        channels=CHANNELS,
        width=tower.hidden,
        heads=tower.hidden // tower.head_dim,
        layers=tower.layers,
        hidden=hidden,
        epsilon=EPSILON,
        rms=False,
        qk_norm=False,
        final_norm=False,
        activation="gelu",
        factor=2,
        transposed=False,
    )
    vision_graph.write_vision_graph(shape, TowerWeights(tower, hidden), path, Recipe(tower=precision))


class TowerWeights:
    """Random weights of a tower by transformers' names, the same whenever they are read.

    Activations keep about unit variance on their way, so that rounding costs about what it costs in a trained tower.
    """

    def __init__(self, tower: TowerShape, hidden: int) -> None:
        """Note the sizes that names stand for; `hidden` is the language model's width."""
        width, shuffled = tower.hidden, 4 * tower.hidden
        self._matrices: dict[str, tuple[int, ...]] = {
            "mlp.fc1": (tower.mlp, width),
            "mlp.fc2": (width, tower.mlp),
            "projector.linear_1": (hidden, shuffled),
            "projector.linear_2": (hidden, hidden),
            "patch_embeddings.projection": (width, CHANNELS, tower.patch, tower.patch),
            "": (width, width),  # the four of attention
        }
        self._vectors: dict[str, tuple[int, ...]] = {
            "position_embeddings": (1, 1 + 4 * tower.tokens, width),
            "cls_token": (1, 1, width),
        }
        self._widths = {"mlp.fc1": tower.mlp, "projector.layer_norm": shuffled, "projector.linear": hidden, "": width}

    def __call__(self, name: str) -> Floats:
        """Return the values of a weight."""
        generator = np.random.default_rng([SEED, *name.encode()])
        owner, _, kind = name.rpartition(".")
        if kind in self._vectors:
            return _drawn(generator, self._vectors[kind], 0.02)
        if kind.startswith("lambda") or (kind == "weight" and "norm" in owner):
            return np.full(_found(self._widths, owner), 0.3 if kind.startswith("lambda") else 1.0, np.float32)
        if kind == "bias":
            return _drawn(generator, (_found(self._widths, owner),), 0.02)
        size = _found(self._matrices, owner)
        return _drawn(generator, size, float(np.prod(size[1:])) ** -0.5)


def _drawn(generator: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Floats:
    values: Floats = generator.standard_normal(shape, np.float32) * np.float32(deviation)
    return values


def _found(sizes: dict[str, _T], owner: str) -> _T:
    return next(size for part, size in sizes.items() if part in owner)
