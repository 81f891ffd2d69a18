"""The mask head of a checkpoint: the file of its weights, its sizes, and the names and shapes of its weights.

It reads boxes of the image itself, so it goes with every vision tower of a model. It is an EfficientNet-Lite tower, whose
maps at five strides are joined from the coarsest to the finest. Batch norm is folded into the convolutions.
"""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path

from medrega_export.checkpoint.efficientnet_lite import EfficientNetLite

FILE = "mask_head.safetensors"
# Keys of its metadata, all JSON: slope and offset of the promised IoU, labels whose masks are wrong, and the number of
# images on whose masks it was trained.
CALIBRATION, WRONG, TRAINED_ON = "calibration", "wrong", "trained_on"
SIDE = 160  # pixels of the square
PLACES = SIDE // 2  # a side of the mask
MARGIN = 0.25  # of the sides of a box, on each side
TOWER = EfficientNetLite("lite2", SIDE, 1)
WIDTHS = (128, 96, 64, 48, 32)  # channels of the joined maps, the coarsest first
KERNEL = 3


@dataclass(frozen=True)
class MaskFacts:
    """What was measured of a mask head on val; see `MaskSpec` of the manifest."""

    calibration: tuple[float, ...] = ()
    wrong: tuple[str, ...] = ()
    trained_on: int = 0


def read_facts(path: Path) -> MaskFacts:
    """Return what a file of weights states about its masks; empty where it states nothing."""
    from safetensors import safe_open

    with safe_open(path, framework="pt") as file:
        stated = file.metadata() or {}
    calibration, wrong = (json.loads(stated.get(key, "[]")) for key in (CALIBRATION, WRONG))
    return MaskFacts(tuple(map(float, calibration)), tuple(map(str, wrong)), int(stated.get(TRAINED_ON, "0")))


def level_widths() -> tuple[int, ...]:
    """Return the channels of the tower's last map at each stride, the finest first: 2, 4, 8, 16, 32."""
    widths, width = [], TOWER.stem.outputs
    for block in TOWER.blocks:
        if block.filter.stride == 2:
            widths.append(width)
        width = block.project.outputs
    return (*widths, width)


def weight_shapes() -> dict[str, tuple[int, ...]]:
    """Shapes of the weights by name."""
    weights: dict[str, tuple[int, ...]] = {}
    for conv in (TOWER.stem, *(conv for block in TOWER.blocks for conv in block.convolutions)):
        weights[f"tower.{conv.name}"] = (conv.outputs, conv.inputs // conv.groups, conv.kernel, conv.kernel)
    for number, (inputs, width) in enumerate(zip(reversed(level_widths()), WIDTHS, strict=True)):
        weights |= {f"side.{number}": (width, inputs, 1, 1), f"mix.{number}": (width, width, KERNEL, KERNEL)}
    for number, (inputs, width) in enumerate(zip(WIDTHS, WIDTHS[1:], strict=False)):
        weights[f"down.{number}"] = (width, inputs, 1, 1)
    weights |= {"pool": (WIDTHS[0], WIDTHS[0], 1, 1), "out": (1, WIDTHS[-1], KERNEL, KERNEL)}
    shapes: dict[str, tuple[int, ...]] = {}
    for name, shape in weights.items():
        shapes |= {f"{name}.weight": shape, f"{name}.bias": shape[:1]}
    return shapes
