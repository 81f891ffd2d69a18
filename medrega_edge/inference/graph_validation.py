"""Validation of an ONNX graph before onnxruntime reads it: known operators, no data outside the package.

This module reads protobuf's wire format itself. Everything that is not on the lists below is refused: operators, domains,
and fields. So loops, functions, subgraphs and additions of newer formats are refused too. The default package and every
graph that `medrega export` writes pass.
"""

from __future__ import annotations

from collections.abc import Iterator

from medrega_edge.errors import PackageError
from medrega_edge.i18n.message import Message

_STANDARD = frozenset(
    "Abs Add AveragePool Cast Clip Concat Constant Conv Cos CumSum DequantizeLinear Div DynamicQuantizeLinear Einsum Erf "
    "Exp Expand Flatten Gather Gelu Gemm GlobalAveragePool GroupNormalization Identity InstanceNormalization "
    "LayerNormalization Log MatMul MatMulInteger Max MaxPool Min Mod Mul Neg Pad Pow QLinearConv QLinearMatMul "
    "QuantizeLinear Reciprocal ReduceLogSumExp ReduceMax ReduceMean ReduceSum Relu Reshape Resize Shape Sigmoid "
    "SimplifiedLayerNormalization Sin Slice Softmax Split Sqrt Squeeze Sub Tanh Transpose Unsqueeze".split()
)
OPERATORS = {
    "": _STANDARD,
    "ai.onnx": _STANDARD,
    "com.microsoft": frozenset(
        "GroupQueryAttention MatMulIntegerToFloat MatMulNBits MultiHeadAttention SkipSimplifiedLayerNormalization".split()
    ),
}
MAX_NODES = 50_000
MAX_FIELDS = 1_000_000  # read in a second; a tower of six billion weights has about ten thousand

# Known fields by number (onnx.proto); those that are read have a name.
_MODEL = {7: "graph", 8: "opset"} | dict.fromkeys((1, 2, 3, 4, 5, 6, 14), "")
_GRAPH = {1: "node", 5: "tensor"} | dict.fromkeys((2, 10, 11, 12, 13, 14, 16), "")
_NODE = {4: "operator", 5: "attribute", 7: "domain"} | dict.fromkeys((1, 2, 3, 6, 9), "")
_ATTRIBUTE = {5: "tensor"} | dict.fromkeys((1, 2, 3, 4, 7, 8, 9, 13, 20), "")
_TENSOR = {13: "external_data", 14: "data_location"} | dict.fromkeys((1, 2, 4, 5, 6, 7, 8, 9, 10, 11, 12, 16), "")
_OPSET = {1: "domain", 2: ""}
_ENTRY = {1: "key", 2: "value"}


class _Refused(Exception):
    """A graph is not on the lists; `problem` says why."""

    def __init__(self, problem: Message) -> None:
        super().__init__(problem)
        self.problem = problem


def check_graph(data: bytes, role: str, external: tuple[str, int] | None = None) -> None:
    """Raise PackageError for a graph with anything that is not on the lists.

    `external` is the name and size of the one file that may hold its weights.
    """
    try:
        if data[4:8] == b"ORTM":  # onnxruntime's own format
            raise _Refused(Message("inference.not_onnx"))
        _Reader(external).model(memoryview(data))
    except _Refused as refused:
        raise PackageError("inference.graph_refused", role=role, problem=refused.problem) from None


class _Reader:
    """Reads the messages of a model, and counts fields and nodes."""

    def __init__(self, external: tuple[str, int] | None) -> None:
        self.external = external
        self.fields_left = MAX_FIELDS
        self.nodes_left = MAX_NODES

    def model(self, message: memoryview) -> None:
        for name, value in self._fields(message, _MODEL):
            if name == "graph":
                self._graph(_message(value))
            elif name == "opset":
                for inner, domain in self._fields(_message(value), _OPSET):
                    if inner == "domain" and _text(domain) not in OPERATORS:
                        raise _Refused(Message("inference.unknown_domain"))

    def _graph(self, message: memoryview) -> None:
        for name, value in self._fields(message, _GRAPH):
            if name == "node":
                self.nodes_left -= 1
                if self.nodes_left < 0:
                    raise _Refused(Message("inference.too_many_nodes", limit=MAX_NODES))
                self._node(_message(value))
            elif name == "tensor":
                self._tensor(_message(value))

    def _node(self, message: memoryview) -> None:
        domains, operators = [], []
        for name, value in self._fields(message, _NODE):
            if name == "domain":
                domains.append(_text(value))
            elif name == "operator":
                operators.append(_text(value))
            elif name == "attribute":
                for inner, tensor in self._fields(_message(value), _ATTRIBUTE):
                    if inner == "tensor":
                        self._tensor(_message(tensor))
        # Of a repeated field, one reader may take the last value and another the first.
        if len(domains) > 1 or len(operators) != 1:
            raise _Refused(Message("inference.ambiguous_node"))
        if operators[0] not in OPERATORS.get(domains[0] if domains else "", ()):
            raise _Refused(Message("inference.unknown_operator"))

    def _tensor(self, message: memoryview) -> None:
        entries: dict[str, str] = {}
        is_external = False
        for name, value in self._fields(message, _TENSOR):
            if name == "data_location":
                is_external |= value != 0
            elif name == "external_data":
                is_external = True
                pair = {inner: _text(text) for inner, text in self._fields(_message(value), _ENTRY)}
                if pair.get("key", "") in entries:
                    raise _Refused(Message("inference.ambiguous_tensor"))
                entries[pair.get("key", "")] = pair.get("value", "")
        if is_external:
            self._check_external(entries)

    def _check_external(self, entries: dict[str, str]) -> None:
        """Refuse external data unless it lies within the one file that may hold it."""
        if self.external is None or entries.get("location") != self.external[0]:
            raise _Refused(Message("inference.outside_weights"))
        numbers = [entries.get("offset", "0"), entries.get("length", "0")]
        if not all(number.isascii() and number.isdigit() and len(number) < 16 for number in numbers):
            raise _Refused(Message("inference.misplaced_weights"))
        if sum(map(int, numbers)) > self.external[1] or set(entries) - {"location", "offset", "length", "checksum"}:
            raise _Refused(Message("inference.misplaced_weights"))

    def _fields(self, message: memoryview, known: dict[int, str]) -> Iterator[tuple[str, int | memoryview]]:
        """Yield the fields of a message by name, in order: a number for a varint, else bytes."""
        at = 0
        while at < len(message):
            self.fields_left -= 1
            if self.fields_left < 0:
                raise _Refused(Message("inference.too_many_fields", limit=MAX_FIELDS))
            key, at = _varint(message, at)
            number, kind = key >> 3, key & 7
            if number not in known:
                raise _Refused(Message("inference.unknown_parts"))
            if kind == 0:
                value, at = _varint(message, at)
                yield known[number], value
                continue
            if kind == 2:
                length, at = _varint(message, at)
            elif kind in (1, 5):
                length = 8 if kind == 1 else 4
            else:
                raise _Refused(Message("inference.not_onnx"))
            if length > len(message) - at:
                raise _Refused(Message("inference.not_onnx"))
            yield known[number], message[at : at + length]
            at += length


def _varint(message: memoryview, at: int) -> tuple[int, int]:
    """Return a number of at most 64 bits, and the index after it."""
    value = 0
    for index in range(10):
        if at + index >= len(message):
            break
        byte = message[at + index]
        value |= (byte & 0x7F) << 7 * index
        if byte < 0x80:
            return value, at + index + 1
    raise _Refused(Message("inference.not_onnx"))


def _message(value: int | memoryview) -> memoryview:
    if isinstance(value, int):
        raise _Refused(Message("inference.not_onnx"))
    return value


def _text(value: int | memoryview) -> str:
    try:
        return bytes(_message(value)[:256]).decode("utf-8")
    except UnicodeDecodeError:
        raise _Refused(Message("inference.not_onnx")) from None
