"""The mask head of a checkpoint, LiteMedSAM: the file of its weights, its sizes, and the names and shapes of its weights.

It reads the image itself, so it goes with every tower. Its sizes are those of the published weights.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

FILE = "mask_head.safetensors"
# Keys of its metadata, all JSON: slope and offset of the predicted IoU, labels whose masks are wrong, and the number of
# images on whose masks the decoder was tuned.
CALIBRATION, WRONG, TUNED_ON = "calibration", "wrong", "tuned_on"
SIDE = 256  # pixels of the square, and places of a mask
GRID = 64  # places a side of the encoder's result
WIDTH = 256  # its channels
STEM = 64  # channels of the first stage
STEM_BLOCKS = 2
EXPANSION = 4
HEAD_WIDTH = 32  # channels of an attention head of the encoder
TOKENS = 5  # of the decoder: quality, four masks
LAYERS, HEADS, MLP = 2, 8, 2048  # of the decoder


@dataclass(frozen=True)
class Stage:
    """A stage of transformer blocks; `window` is a side in places, `side` one of its maps."""

    width: int
    blocks: int
    window: int
    side: int

    @property
    def heads(self) -> int:
        """Attention heads of a block."""
        return self.width // HEAD_WIDTH


STAGES = (Stage(128, 2, 7, 128), Stage(160, 6, 14, 64), Stage(320, 2, 7, 64))


@dataclass(frozen=True)
class MaskFacts:
    """What was measured of a mask head on val; see `MaskSpec` of the manifest."""

    calibration: tuple[float, ...] = ()
    wrong: tuple[str, ...] = ()
    tuned_on: int = 0


def read_facts(path: Path) -> MaskFacts:
    """Return what a file of weights states about its masks; empty where it states nothing."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        stated = file.metadata() or {}
    calibration, wrong = (json.loads(stated.get(key, "[]")) for key in (CALIBRATION, WRONG))
    return MaskFacts(tuple(map(float, calibration)), tuple(map(str, wrong)), int(stated.get(TUNED_ON, "0")))


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by name."""
    return _encoder_shapes() | _decoder_shapes()


def _encoder_shapes() -> dict[str, tuple[int, ...]]:
    half, inner = STEM // 2, STEM * EXPANSION
    convolutions = {"stem.0": (half, 3, 1, 1), "stem.1": (STEM, half, 1, 1)}
    linears: dict[str, tuple[int, int]] = {}
    norms: dict[str, int] = {"neck.1": WIDTH, "neck.3": WIDTH}
    shapes: dict[str, tuple[int, ...]] = {}
    for block in range(STEM_BLOCKS):
        name = f"stages.0.{block}"
        convolutions |= {f"{name}.expand": (inner, STEM, 1, 1), f"{name}.filter": (inner, 1, 3, 3)}
        convolutions[f"{name}.project"] = (STEM, inner, 1, 1)
    before = STEM
    for number, stage in enumerate(STAGES):
        name, width = f"merges.{number}", stage.width
        convolutions |= {f"{name}.expand": (width, before, 1, 1), f"{name}.filter": (width, 1, 3, 3)}
        convolutions[f"{name}.project"] = (width, width, 1, 1)
        for block in range(stage.blocks):
            name = f"stages.{number + 1}.{block}"
            norms |= {f"{name}.attention.norm": width, f"{name}.norm": width}
            linears |= {f"{name}.attention.qkv": (3 * width, width), f"{name}.attention.project": (width, width)}
            linears |= {f"{name}.widen": (EXPANSION * width, width), f"{name}.narrow": (width, EXPANSION * width)}
            convolutions[f"{name}.filter"] = (width, 1, 3, 3)
            shapes[f"encoder.{name}.attention.biases"] = (stage.heads, stage.window**2)
        before = width
    shapes |= {"encoder.neck.0.weight": (WIDTH, before, 1, 1), "encoder.neck.2.weight": (WIDTH, WIDTH, 3, 3)}
    return shapes | _with_biases("encoder", {**convolutions, **linears}, norms)


def _decoder_shapes() -> dict[str, tuple[int, ...]]:
    linears: dict[str, tuple[int, ...]] = {}
    norms = {"last_norm": WIDTH, "doubled_norm": WIDTH // 4}
    attentions = {"last": WIDTH // 2}
    for name in (f"layers.{i}" for i in range(LAYERS)):
        attentions |= {f"{name}.among": WIDTH, f"{name}.to_image": WIDTH // 2, f"{name}.to_tokens": WIDTH // 2}
        norms |= {f"{name}.norms.{i}": WIDTH for i in range(4)}
        linears |= {f"{name}.widen": (MLP, WIDTH), f"{name}.narrow": (WIDTH, MLP)}
    for name, inner in attentions.items():
        linears |= {f"{name}.{part}": (inner, WIDTH) for part in ("query", "key", "value")}
        linears[f"{name}.out"] = (WIDTH, inner)
    for name, last in (("direction", WIDTH // 8), ("quality", 1)):
        linears |= {f"{name}.0": (WIDTH, WIDTH), f"{name}.1": (WIDTH, WIDTH), f"{name}.2": (last, WIDTH)}
    shapes = _with_biases("decoder", linears, norms)
    for name, (before, after) in {"doubled": (WIDTH, WIDTH // 4), "redoubled": (WIDTH // 4, WIDTH // 8)}.items():
        shapes |= {f"decoder.{name}.weight": (before, after, 2, 2), f"decoder.{name}.bias": (after,)}
    return shapes | {
        "decoder.frequencies": (2, WIDTH // 2),
        "decoder.corners": (2, WIDTH),
        "decoder.no_mask": (WIDTH,),
        "decoder.tokens": (TOKENS, WIDTH),
    }


def _with_biases(part: str, weights: dict[str, tuple[int, ...]], norms: dict[str, int]) -> dict[str, tuple[int, ...]]:
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in {**weights, **{name: (width,) for name, width in norms.items()}}.items():
        shapes |= {f"{part}.{name}.weight": shape, f"{part}.{name}.bias": shape[:1]}
    return shapes
