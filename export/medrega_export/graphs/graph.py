"""An ONNX graph under construction, and its file.

Each weight goes straight to the disk, so one of them is in memory at a time. Large weights stay in a file of their own.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np
import numpy.typing as npt
import onnx
from onnx import TensorProto, external_data_helper, helper, numpy_helper

OPSET = 20
IR_VERSION = 10
ORT_DOMAIN = "com.microsoft"
# 4 rounds activations to int8 per block as well: several times faster, and what the certificate measures.
# 1 computes in float32, which shows whether codes and layout are right.
ACCURACY_LEVEL, EXACT_LEVEL = 4, 1
# Weights above this stay in a file of their own, which the runtime maps; a protobuf it holds in memory two times and more.
EXTERNAL_BYTES = 32_000_000
SMALL, PAGE = 1024, 4096  # bytes: up to SMALL a tensor stays in the graph, others begin at a PAGE of the file


class Graph:
    """Nodes and initialisers under construction; `accuracy_level` goes into every quantised layer, weights into `data`."""

    def __init__(self, data: BinaryIO, accuracy_level: int = ACCURACY_LEVEL) -> None:
        """Start empty."""
        self.accuracy_level = accuracy_level
        self.nodes: list[onnx.NodeProto] = []
        self.initialisers: list[onnx.TensorProto] = []
        self._data = data

    def constant(self, name: str, value: npt.NDArray[Any]) -> str:
        """Add an initialiser, its content in the file of weights where it is not small; returns its name."""
        value = np.ascontiguousarray(value).reshape(value.shape)  # numpy would make a row of a single number
        if value.nbytes <= SMALL:
            self.initialisers.append(numpy_helper.from_array(value, name))
            return name
        tensor = onnx.TensorProto(name=name, data_type=helper.np_dtype_to_tensor_dtype(value.dtype), dims=value.shape)
        tensor.data_location = TensorProto.EXTERNAL
        start = -(-self._data.tell() // PAGE) * PAGE
        self._data.seek(start)
        self._data.write(value.data)
        for key, entry in (("location", Path(self._data.name).name), ("offset", start), ("length", value.nbytes)):
            tensor.external_data.add(key=key, value=str(entry))
        self.initialisers.append(tensor)
        return name

    def node(self, kind: str, inputs: Sequence[str], outputs: Sequence[str], domain: str = "", **attributes: Any) -> str:
        """Add a node named after its first output, which is returned."""
        self.nodes.append(
            helper.make_node(kind, list(inputs), list(outputs), name=f"/{outputs[0]}", domain=domain, **attributes)
        )
        return outputs[0]


@contextlib.contextmanager
def model_file(
    path: Path, accuracy_level: int, inputs: Sequence[onnx.ValueInfoProto], outputs: Sequence[onnx.ValueInfoProto]
) -> Iterator[Graph]:
    """Give a graph to fill; it is written to `path` when the block ends."""
    beside = path.with_name(f"{path.name}.data")
    with beside.open("wb") as data:
        graph = Graph(data, accuracy_level)
        yield graph
        size = data.tell()
    model = helper.make_model(
        helper.make_graph(graph.nodes, path.stem, inputs, outputs, graph.initialisers),
        opset_imports=[helper.make_opsetid("", OPSET), helper.make_opsetid(ORT_DOMAIN, 1)],
        ir_version=IR_VERSION,
        producer_name="medrega-export",
    )
    if size <= EXTERNAL_BYTES:
        external_data_helper.load_external_data_for_model(model, str(path.parent))
        beside.unlink()
    path.write_bytes(model.SerializeToString())
