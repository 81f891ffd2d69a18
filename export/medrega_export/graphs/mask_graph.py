"""The mask head as one graph: boxes, cut out and stretched to squares, become masks.

Weights are stored as float16, which they are in the checkpoint, and become float32 when the graph is loaded; it computes in
float32.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from onnx import TensorProto

from medrega_export.checkpoint.efficientnet_lite import Convolution
from medrega_export.checkpoint.mask_head import PLACES, SIDE, TOWER
from medrega_export.graphs.efficientnet_graph import TowerWriter
from medrega_export.graphs.graph import ACCURACY_LEVEL, SMALL, model_file
from medrega_export.graphs.layer_writer import ReadWeight
from medrega_export.graphs.linear_layers import Floats
from medrega_export.graphs.stage_writer import INPUT, float_info
from medrega_export.quantisation.recipe import FULL

LOGITS = "mask_logits"
_GAIN, _SHIFT = 255 / 128, -127 / 128  # the tower reads (pixel - 127) / 128


def write_mask_head(read: ReadWeight, path: Path) -> None:
    """Write it to `path`: `pixel_values` float32 `[N, 3, SIDE, SIDE]`, 0..1 -> LOGITS `[N, PLACES, PLACES]`.

    `read` gives a weight by name: "tower.stem.weight".
    """
    inputs = [float_info(INPUT, "batch", 3, SIDE, SIDE)]
    outputs = [float_info(LOGITS, "batch", PLACES, PLACES)]
    with model_file(path, ACCURACY_LEVEL, inputs, outputs) as graph:
        _MaskWriter(graph, read, FULL).write()


class _MaskWriter(TowerWriter):
    """Writes the tower and what joins its maps."""

    def write(self) -> None:
        gain, shift = (
            self.constant(name, np.full(1, value, np.float32)) for name, value in (("gain", _GAIN), ("shift", _SHIFT))
        )
        hidden = self.node("Add", [self.node("Mul", [INPUT, gain], "scaled"), shift], "pixels")
        hidden = self.active(TOWER.stem, hidden)
        levels = []
        for block in TOWER.blocks:
            if block.filter.stride == 2:
                levels.append(hidden)
            hidden = self.block(block, hidden)
        levels.append(hidden)
        joined = ""
        for number, level in enumerate(reversed(levels)):
            side = self.convolution_of(f"side.{number}", level)
            if number:
                added = self.doubled(self.convolution_of(f"down.{number - 1}", joined))
            else:
                added = self.relu6(self.convolution_of("pool", self.node("GlobalAveragePool", [side], "mean")))
            joined = self.relu6(self.convolution_of(f"mix.{number}", self.node("Add", [side, added], f"sum.{number}")))
        shape = self.whole("places", -1, PLACES, PLACES)
        self.node("Reshape", [self.convolution_of("out", joined), shape], LOGITS)

    def constant(self, name: str, value: Floats) -> str:
        """Add an initialiser, float16 in the file where it is large."""
        if value.nbytes <= SMALL:
            return super().constant(name, value)
        return self.node("Cast", [self.graph.constant(f"{name}.half", value.astype(np.float16))], name, to=TensorProto.FLOAT)

    def folded(self, conv: Convolution, source: str) -> str:
        """A convolution of the tower, whose batch norm is in its weights already."""
        name = f"tower.{conv.name}"
        weight, bias = self.read(f"{name}.weight"), self.read(f"{name}.bias")
        return self.convolution(name, source, weight, bias, conv.stride, conv.groups)

    def doubled(self, source: str) -> str:
        """Each place becomes 2 x 2."""
        scales = self.graph.constant(f"{source}.scales", np.array([1, 1, 2, 2], np.float32))
        how = {"mode": "nearest", "coordinate_transformation_mode": "asymmetric", "nearest_mode": "floor"}
        return self.node("Resize", [source, "", scales], f"{source}.doubled", **how)
