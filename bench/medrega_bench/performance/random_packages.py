"""Model packages of a named shape with random weights, to measure speed and memory with. Their answers are noise.

The quantised codes are drawn at random, so neither gptqmodel nor torch is needed, and a package takes seconds. Tokenizer and
prompts are those of the default package, so every command runs on such a package.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import UsageError
from medrega_edge.evaluation.bootstrap import SEED
from medrega_edge.images.preprocess import IMAGENET_MEAN, IMAGENET_STD
from medrega_edge.package.manifest import (
    DATA,
    MANIFEST,
    PREFILL,
    PREFILL_FILE,
    SCHEMA_VERSION,
    TokenSpec,
    VisionSpec,
    file_entry,
)
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder
from medrega_export import fitting_group

if TYPE_CHECKING:
    from medrega_export import DecoderLayer, DecoderShape, DecoderWeights, PackedLinear

CONTEXT = 2048
EPSILON, THETA = 1e-6, 1e6
CHANNELS = 3
CODE_DEVIATION = 4.61  # standard deviation of the sixteen codes of 4 bits, drawn uniformly

Floats = npt.NDArray[np.float32]
_T = TypeVar("_T")


@dataclass(frozen=True)
class TextShape:
    """Sizes of a language model. With `bias`, query, key and value have one, as in Qwen2."""

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
        """Number of weights of the linear layers and the head, which every token reads."""
        return self._layer_parameters + self.hidden * self.vocabulary

    @property
    def _layer_parameters(self) -> int:
        attention = self.hidden * self.head_dim * (2 * self.heads + 2 * self.kv_heads)
        return self.layers * (attention + 3 * self.hidden * self.mlp)

    @property
    def fitting_group(self) -> int:
        """Number of weights that share a scale if export chooses it."""
        widths = {"qkv": self.hidden, "output": self.heads * self.head_dim, "down": self.mlp}
        return int(fitting_group(4, self._layer_parameters, widths)[0])


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
        """Number of embeddings of an image, after pixel shuffle."""
        return (self.image_size // self.patch // 2) ** 2


@dataclass(frozen=True)
class PackageShape:
    """Sizes of a whole model. `head_bits` is 8, as export writes it, or 4, as peers with 4 bits everywhere have it.

    `group` weights of the language model share a scale; 0 stands for the number that export would choose. With
    `prefill_int8` its layers are there a second time, as `--prefill-8bit` of export adds them.
    """

    text: TextShape
    tower: TowerShape
    head_bits: int = 8
    group: int = 0
    prefill_int8: bool = False

    def __post_init__(self) -> None:
        """Replace a group of 0."""
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
    """Return a shape by its name; raises UsageError for an unknown one."""
    if name not in SHAPES:
        raise UsageError("bench.no_shape", shape=name, shapes=list(SHAPES))
    return SHAPES[name]


def write_package(shape: PackageShape, folder: Path, name: str = "random") -> Package:
    """Write a package into a new folder; raises UsageError if the folder exists. Needs the extra [export]."""
    from medrega_export import write_decoder, write_prefill

    if folder.exists():
        raise UsageError("bench.folder_exists", folder=folder.name)
    folder.mkdir(parents=True)
    shipped = Package.open(default_folder())
    spec = write_decoder(decoder_shape(shape.text), decoder_weights(shape), folder / "decoder.onnx")
    if shape.prefill_int8:
        write_prefill(decoder_shape(shape.text), decoder_weights(shape).layers, folder / PREFILL_FILE)
    np.save(folder / "embeddings.npy", embeddings(shape.text))
    write_tower(shape.tower, shape.text.hidden, folder / "vision.onnx")
    for role, file in (("tokenizer", "tokenizer.json"), ("prompts", "prompts.json")):
        (folder / file).write_bytes(shipped.read(role))
    certificate: dict[str, object] = {"schema_version": 1, "accuracy": None, "reason": "random weights", "stages": {}}
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
    if shape.prefill_int8:
        files[PREFILL] = (PREFILL_FILE, "int8")
    entries = {role: file_entry(folder / file, precision) for role, (file, precision) in files.items()}
    for role, (file, precision) in files.items():
        external_data = folder / f"{file}.data"
        if external_data.is_file():
            entries[role + DATA] = file_entry(external_data, precision)
    tower = shape.tower
    manifest = replace(
        shipped.manifest,
        schema_version=SCHEMA_VERSION,
        name=name,
        version="0",
        source="Random weights",
        precision=f"random-int4-g{shape.group}{' + prefill-int8' if shape.prefill_int8 else ''} + vision-int8",
        files=entries,
        vision=VisionSpec("pixel_values", "image_embeds", tower.image_size, IMAGENET_MEAN, IMAGENET_STD, tower.tokens),
        decoder=spec,
        tokens=TokenSpec(shipped.manifest.tokens.image, shipped.manifest.tokens.end),
        regions=None,
        masks=None,
        familiarity=None,
    )
    (folder / MANIFEST).write_text(manifest.to_json(), encoding="utf-8")
    return Package.open(folder)


def decoder_shape(text: TextShape) -> DecoderShape:
    """Return the sizes as export's writer takes them."""
    from medrega_export import DecoderShape

    sizes = (text.layers, text.heads, text.kv_heads, text.head_dim, text.hidden, text.vocabulary)
    return DecoderShape(*sizes, CONTEXT, EPSILON, THETA, several_logits=True)


def embeddings(text: TextShape) -> npt.NDArray[np.float16]:
    """Draw token embeddings `[vocabulary, hidden]`."""
    generator = np.random.default_rng(SEED)
    return (0.02 * generator.standard_normal((text.vocabulary, text.hidden), np.float32)).astype(np.float16)


def decoder_weights(shape: PackageShape) -> DecoderWeights:
    """Draw weights of the language model, each layer when it is written."""
    from medrega_export import DecoderLayer, DecoderWeights, PackedLinear

    text, generator = shape.text, np.random.default_rng(SEED)
    queries, keys = text.heads * text.head_dim, text.kv_heads * text.head_dim
    ones = np.ones(text.hidden, np.float32)

    def linear(rows: int, columns: int, bits: int = 4, bias: bool = False) -> PackedLinear:
        blocks, width = rows // shape.group, shape.group * bits // 8
        packed = generator.integers(0, 256, (columns, blocks, width), np.uint8)
        deviation = CODE_DEVIATION * 2 ** (bits - 4)
        scales = np.full((columns, blocks), 1 / (deviation * rows**0.5), np.float32)
        shift = (0.1 * generator.standard_normal(columns)).astype(np.float32) if bias else None
        return PackedLinear(packed, scales, None, shift, bits)

    def layers() -> Iterator[DecoderLayer]:
        for _ in range(text.layers):
            yield DecoderLayer(
                input_norm=ones,
                qkv=linear(text.hidden, queries + 2 * keys, bias=text.bias),
                output=linear(queries, text.hidden),
                post_norm=ones,
                gate_up=linear(text.hidden, 2 * text.mlp),
                down=linear(text.mlp, text.hidden),
            )

    head = linear(text.hidden, text.vocabulary, shape.head_bits)
    return DecoderWeights(layers(), ones, head)


def write_tower(tower: TowerShape, hidden: int, path: Path, precision: str = "int8") -> None:
    """Write a vision tower with random weights, as export writes one. It ends in embeddings of width `hidden`."""
    from medrega_export import Recipe, VisionShape, write_vision_graph

    shape = VisionShape(
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
    write_vision_graph(shape, TowerWeights(tower, hidden), path, Recipe(tower=precision))


class TowerWeights:
    """Random weights of a vision tower by transformers' names; a weight is the same each time it is read.

    Activations keep about unit variance from layer to layer, so that rounding costs about what it does in a trained tower.
    """

    def __init__(self, tower: TowerShape, hidden: int) -> None:
        """Take the sizes; `hidden` is the language model's width."""
        width, shuffled = tower.hidden, 4 * tower.hidden
        self._matrices: dict[str, tuple[int, ...]] = {
            "mlp.fc1": (tower.mlp, width),
            "mlp.fc2": (width, tower.mlp),
            "projector.linear_1": (hidden, shuffled),
            "projector.linear_2": (hidden, hidden),
            "patch_embeddings.projection": (width, CHANNELS, tower.patch, tower.patch),
            "": (width, width),  # the four matrices of attention
        }
        self._vectors: dict[str, tuple[int, ...]] = {
            "position_embeddings": (1, 1 + 4 * tower.tokens, width),
            "cls_token": (1, 1, width),
        }
        self._widths = {"mlp.fc1": tower.mlp, "projector.layer_norm": shuffled, "projector.linear": hidden, "": width}

    def __call__(self, name: str) -> Floats:
        """Draw the values of a weight."""
        generator = np.random.default_rng([SEED, *name.encode()])
        owner, _, kind = name.rpartition(".")
        if kind in self._vectors:
            return _normal(generator, self._vectors[kind], 0.02)
        if kind.startswith("lambda") or (kind == "weight" and "norm" in owner):
            return np.full(_first_match(self._widths, owner), 0.3 if kind.startswith("lambda") else 1.0, np.float32)
        if kind == "bias":
            return _normal(generator, (_first_match(self._widths, owner),), 0.02)
        size = _first_match(self._matrices, owner)
        return _normal(generator, size, float(np.prod(size[1:])) ** -0.5)


def _normal(generator: np.random.Generator, shape: tuple[int, ...], deviation: float) -> Floats:
    values: Floats = generator.standard_normal(shape, np.float32) * np.float32(deviation)
    return values


def _first_match(sizes: dict[str, _T], owner: str) -> _T:
    """The size whose key is part of the owner's name."""
    return next(size for part, size in sizes.items() if part in owner)
