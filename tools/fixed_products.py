"""The fixed products of `medrega model info --speed`, as small graphs: weights are made in the graph when it is opened.

python -m tools.fixed_products    write medrega_edge/inference/products/*.onnx; needs the extra [export]
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np

FOLDER = Path(__file__).parents[1] / "medrega_edge" / "inference" / "products"
WIDTH = 2048  # weights of a matrix: WIDTH x WIDTH
GROUPS = (32, 128)  # so many of them share a scale: those that export chooses


def int4(group: int) -> Any:
    """float32 `[rows, WIDTH]` times weights of 4 bits, as in the layers of a language model; `group` share a scale."""
    from onnx import helper

    nodes = [
        *_filled("codes", (WIDTH, WIDTH // group, group // 2), np.uint8(0x97)),
        *_filled("scales", (WIDTH * WIDTH // group,), np.float32(0.01)),
        helper.make_node(
            "MatMulNBits", ["x", "codes", "scales"], ["y"], domain="com.microsoft",
            K=WIDTH, N=WIDTH, bits=4, block_size=group, accuracy_level=4,
        ),
    ]  # fmt: skip
    return _model(nodes, [helper.make_opsetid("", 17), helper.make_opsetid("com.microsoft", 1)])


def int8() -> Any:
    """float32 `[rows, WIDTH]`, rounded to 8 bits, times weights of 8 bits, as in an exported tower."""
    from onnx import TensorProto, helper

    nodes = [
        *_filled("weights", (WIDTH, WIDTH), np.int8(3)),
        *_filled("scale", (WIDTH,), np.float32(0.01)),
        helper.make_node("DynamicQuantizeLinear", ["x"], ["rounded", "x_scale", "x_zero"]),
        helper.make_node("MatMulInteger", ["rounded", "weights", "x_zero"], ["sums"]),
        helper.make_node("Cast", ["sums"], ["sums_float"], to=TensorProto.FLOAT),
        helper.make_node("Mul", ["x_scale", "scale"], ["both_scales"]),
        helper.make_node("Mul", ["sums_float", "both_scales"], ["y"]),
    ]
    return _model(nodes, [helper.make_opsetid("", 17)])


def floats() -> Any:
    """float32 `[rows, WIDTH]` times weights of float32, as attention multiplies."""
    from onnx import helper

    nodes = [*_filled("weights", (WIDTH, WIDTH), np.float32(0.01)), helper.make_node("MatMul", ["x", "weights"], ["y"])]
    return _model(nodes, [helper.make_opsetid("", 17)])


def _filled(name: str, shape: tuple[int, ...], value: Any) -> list[Any]:
    from onnx import helper, numpy_helper

    size = helper.make_node("Constant", [], [f"{name}_shape"], value=numpy_helper.from_array(np.array(shape, np.int64)))
    one = numpy_helper.from_array(np.array([value]))
    return [size, helper.make_node("ConstantOfShape", [f"{name}_shape"], [name], value=one)]


def _model(nodes: list[Any], opsets: list[Any]) -> Any:
    from onnx import TensorProto, checker, helper

    x, y = (helper.make_tensor_value_info(name, TensorProto.FLOAT, ["rows", WIDTH]) for name in "xy")
    model = helper.make_model(helper.make_graph(nodes, "product", [x], [y]), opset_imports=opsets, ir_version=8)
    checker.check_model(model)
    return model


if __name__ == "__main__":
    FOLDER.mkdir(exist_ok=True)
    made = {f"int4-g{group}": int4(group) for group in GROUPS} | {"int8": int8(), "float32": floats()}
    for name, model in made.items():
        (FOLDER / f"{name}.onnx").write_bytes(model.SerializeToString())
