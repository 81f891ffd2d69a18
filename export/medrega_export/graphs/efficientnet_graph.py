"""The vision stage with an EfficientNet-Lite tower as an ONNX graph: tower, image tokens, and the maps for a region head.

Batch norm is folded into the convolutions. The tower's three maps are joined on one grid; pixel shuffle and projector turn
that into image tokens, as they do for every tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from onnx import TensorProto

from medrega_export.checkpoint.efficientnet_lite import NORM_EPSILON, NORM_PARTS, Block, Convolution, EfficientNetLite
from medrega_export.checkpoint.region_head import RegionHead
from medrega_export.graphs.graph import ACCURACY_LEVEL, model_file
from medrega_export.graphs.layer_writer import ReadWeight
from medrega_export.graphs.region_graphs import FINE, PLACES, TOKENS, write_region_maps
from medrega_export.graphs.stage_writer import INPUT, OUTPUT, StageWriter, float_info
from medrega_export.quantisation.recipe import Recipe

TOWER = "tower."  # names of the tower's tensors begin with it


def unrounded(tower: EfficientNetLite) -> tuple[str, ...]:
    """Names of the convolutions that an int8 tower computes in float32: the stem and the first blocks.

    They hold half a per cent of the weights, and rounded they make most of the tower's error (docs/export.md).
    """
    first = (conv for block in tower.first_blocks for conv in block.convolutions)
    return tuple(f"{TOWER}{conv.name}" for conv in (tower.stem, *first))


@dataclass(frozen=True)
class EfficientNetStage:
    """Sizes of the stage. `hidden` is the language model's width, `factor` that of the pixel shuffle."""

    tower: EfficientNetLite
    hidden: int
    factor: int
    region_head: RegionHead | None = None

    @property
    def tokens(self) -> int:
        """Embeddings that an image becomes."""
        return (self.tower.token_grid // self.factor) ** 2

    @property
    def outputs(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the outputs by name, without the batch."""
        outputs: dict[str, tuple[int, ...]] = {OUTPUT: (self.tokens, self.hidden)}
        if self.region_head:
            fine, middle, _ = self.tower.sides
            outputs[PLACES] = (middle**2, self.region_head.width)
            outputs[TOKENS] = (middle**2, self.hidden)
            outputs[FINE] = (self.region_head.fine_width, fine, fine)
        return outputs


def write_efficientnet_graph(
    stage: EfficientNetStage, read: ReadWeight, read_head: ReadWeight, path: Path, recipe: Recipe
) -> None:
    """Write the graph to `path`, large weights to `path` + ".data"; an int8 tower is left to `static_int8`.

    `read` gives a weight by name: "vision_tower.stem.weight"; `read_head` one of the region head. Input `pixel_values` is
    float32 `[batch, 3, size, size]`.
    """
    size = stage.tower.size
    outputs = [float_info(name, "batch", *shape) for name, shape in stage.outputs.items()]
    with model_file(path, ACCURACY_LEVEL, [float_info(INPUT, "batch", 3, size, size)], outputs) as graph:
        writer = TowerWriter(graph, read, recipe)
        maps = writer.maps(stage.tower)
        writer.end(writer.projector(writer.shuffle(writer.grid(stage.tower, maps), *_shuffled(stage))))
        if stage.region_head:
            maps = [writer.as_float(name) for name in maps]
            write_region_maps(graph, read_head, stage.region_head, stage.tower.sides, maps)


def _shuffled(stage: EfficientNetStage) -> tuple[int, int, int]:
    return stage.tower.token_grid, stage.tower.width, stage.factor


class TowerWriter(StageWriter):
    """Writes the tower and the joined grid."""

    def maps(self, tower: EfficientNetLite) -> list[str]:
        """The three maps, finest first."""
        hidden = self.active(tower.stem, self.begin())
        maps = []
        for block in tower.blocks:
            hidden = self.block(block, hidden)
            if block.is_map:
                maps.append(hidden)
        return maps

    def block(self, block: Block, source: str) -> str:
        """Widen, filter, narrow; the source is added where the shape allows it."""
        inner = source if block.expand is None else self.active(block.expand, source)
        narrow = self.folded(block.project, self.active(block.filter, inner))
        return self.node("Add", [source, narrow], f"{narrow}.sum") if block.has_residual else narrow

    def active(self, conv: Convolution, source: str) -> str:
        """A convolution with ReLU6 behind it."""
        return self.relu6(self.folded(conv, source))

    def relu6(self, source: str) -> str:
        """Bound values to 0..6."""
        bounds = [self.constant(f"{source}.{bound}", np.array(value)) for bound, value in (("least", 0.0), ("most", 6.0))]
        return self.node("Clip", [source, *bounds], f"{source}.active")

    def folded(self, conv: Convolution, source: str) -> str:
        """A convolution with its batch norm folded in."""
        name = f"vision_tower.{conv.name}"
        gain, bias, mean, variance = (self.read(f"{name}.{part}") for part in NORM_PARTS)
        scale = gain / np.sqrt(variance + np.float32(NORM_EPSILON))
        weight = self.read(f"{name}.weight") * scale[:, None, None, None]
        return self.convolution(f"{TOWER}{conv.name}", source, weight, bias - mean * scale, conv.stride, conv.groups)

    def grid(self, tower: EfficientNetLite, maps: list[str]) -> str:
        """Join the maps on the grid of tokens: `[B, token_grid ** 2, width]`."""
        fine, middle, coarse = tower.sides
        parts = [
            self.pooled("grid.fine", maps[0], fine // tower.token_grid),
            self.resized("grid.middle", maps[1], middle, tower.token_grid),
            self.resized("grid.coarse", maps[2], coarse, tower.token_grid),
        ]
        return self.flattened("grid", self.node("Concat", parts, "grid.joined", axis=1), tower.width)

    def as_float(self, name: str) -> str:
        """A map in float32."""
        if self.number is np.float16:
            return self.node("Cast", [name], f"{name}.float32", to=TensorProto.FLOAT)
        return name
