"""The tower's graph in other numbers: int8 with exceptions, or float16. Knows ONNX graphs; knows no model class.

A linear layer is found by what it is in the graph: a product with a constant, in the order of computation, six in each
layer of a tower and two in the projector. Their names are those of `recipe`: `tower.N.qkv`, `projector.linear_1`.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import onnx

from medrega_edge.sessions import load_onnxruntime
from medrega_export.recipe import PROJECTOR_UNITS, TOWER_UNITS

_LAYER = tuple(unit for unit, linears in TOWER_UNITS.items() for _ in linears)


def units(model: onnx.ModelProto) -> dict[str, str]:
    """Return the unit of each node that multiplies by weights; raises ValueError for a graph of another build."""
    products = list(_products(model))
    layers, rest = divmod(len(products) - len(PROJECTOR_UNITS), len(_LAYER))
    if rest or layers < 0:
        raise ValueError(f"a tower has {len(_LAYER)} products a layer; {len(products)} do not fit")
    names = [f"tower.{layer}.{unit}" for layer in range(layers) for unit in _LAYER]
    names += [f"projector.{unit}" for unit in PROJECTOR_UNITS]
    return dict(zip(products, names, strict=True))


def _products(model: onnx.ModelProto) -> Iterator[str]:
    constants = {tensor.name for tensor in model.graph.initializer}
    for node in model.graph.node:
        if node.op_type in ("MatMul", "Gemm") and node.input[1] in constants:
            yield node.name


def to_int8(full: Path, path: Path, kept: frozenset[str] = frozenset(), large: bool = False) -> None:
    """Quantise a full-precision graph but for the units `kept`: weights int8 per channel, activations uint8 as they come.

    `reduce_range` keeps weights to 7 bits, because processors without VNNI add products in 16 bits and saturate. The
    patch embedding is a convolution of 3 channels: next to no time, and the first thing to lose detail, so it stays.
    """
    load_onnxruntime()  # without telemetry, which the quantiser's own import would leave on
    from onnxruntime.quantization import QuantType, quantize_dynamic

    of_node = units(onnx.load(str(full), load_external_data=False)) if kept else {}
    quantize_dynamic(
        str(full),
        str(path),
        op_types_to_quantize=["MatMul", "Gemm"],
        nodes_to_exclude=[node for node, unit in of_node.items() if unit in kept],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        use_external_data_format=large,
        # Shape inference does not know the fused attention; everything in this graph is float32.
        extra_options={"DefaultTensorType": onnx.TensorProto.FLOAT},
    )


def to_fp16(full: Path, path: Path, large: bool = False) -> None:
    """Turn weights and activations into float16, input and output excepted: for GPUs, which have no fast dynamic int8."""
    load_onnxruntime()
    from onnxruntime.transformers.float16 import convert_float_to_float16

    model = convert_float_to_float16(onnx.load(str(full)), keep_io_types=True, disable_shape_infer=True)
    del model.graph.value_info[:]
    onnx.save_model(model, str(path), save_as_external_data=large, location=f"{path.name}.data")
