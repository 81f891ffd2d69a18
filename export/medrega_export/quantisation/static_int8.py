"""Static INT8 of convolutions: onnxruntime's quantiser, with ranges measured on calibration images.

Weights are int8 with a scale for each output and keep to 7 bits, activations uint8. So two products of a pair never exceed
16 bits, which is how processors without VNNI add them: sums are exact there too, and equal those of processors with VNNI.
"""

from __future__ import annotations

import logging
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import onnx

from medrega_edge.inference.devices import load_onnxruntime
from medrega_export.graphs.stage_writer import INPUT

KINDS = ("Conv", "Clip", "Add")


def quantise(
    source: Path, target: Path, tower: str, unrounded: Collection[str], pixels: Sequence[npt.NDArray[np.float32]]
) -> None:
    """Quantise the convolutions of a graph, and what lies between those of the tower, whose names begin with `tower`.

    The convolutions named `unrounded`, and what lies between them, stay as they are.
    `pixels` are prepared images `[3, size, size]`, one at least. Weights lie in the file itself.
    """
    load_onnxruntime()  # before its quantiser, which would load it with telemetry
    from onnxruntime.quantization import CalibrationMethod, QuantFormat, QuantType, quantize_static

    model = onnx.load(source)
    exempt = tuple(f"/{name}" for name in unrounded)
    nodes = [
        node.name
        for node in model.graph.node
        if (node.op_type == "Conv" or _is_between(node, tower)) and not node.name.startswith(exempt)
    ]
    with _quiet():
        quantize_static(
            model,
            str(target),
            _Images(pixels),
            quant_format=QuantFormat.QDQ,
            op_types_to_quantize=list(KINDS),
            nodes_to_quantize=nodes,
            per_channel=True,
            reduce_range=True,
            activation_type=QuantType.QUInt8,
            weight_type=QuantType.QInt8,
            calibrate_method=CalibrationMethod.MinMax,
        )


def _is_between(node: onnx.NodeProto, tower: str) -> bool:
    """Whether a node joins convolutions of the tower, so that its values need not become float32 in between."""
    return node.op_type in KINDS and node.name.startswith(f"/{tower}")


class _Images:
    """What onnxruntime's quantiser takes images from, one at a time."""

    def __init__(self, pixels: Sequence[npt.NDArray[np.float32]]) -> None:
        self._left: Iterator[npt.NDArray[np.float32]] = iter(pixels)

    def get_next(self) -> dict[str, Any] | None:
        image = next(self._left, None)
        return None if image is None else {INPUT: image[None]}

    def __len__(self) -> int:
        return 0


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep the quantiser's advice out of the program's messages."""
    logger = logging.getLogger()
    level = logger.level
    logger.setLevel(logging.ERROR)
    try:
        yield
    finally:
        logger.setLevel(level)
