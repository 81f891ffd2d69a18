"""Graphs that are refused before onnxruntime sees them, spelt in protobuf by hand."""

from contextlib import contextmanager

import pytest

from medrega_edge.errors import PackageError
from medrega_edge.inference.graph_validation import MAX_NODES, OPERATORS, check_graph
from medrega_edge.package.registry import find_package
from tests.codes import raises_code
from tests.cost import costs_at_most
from tests.edge.onnx_bytes import field


@contextmanager
def refused_as(problem):
    with raises_code(PackageError, "inference.graph_refused") as refused:
        yield
    assert refused.value.message.params["problem"].code == f"inference.{problem}"


def node(operator="Add", domain="", *extra):
    return field(1, field(1, "a") + field(2, "b") + field(4, operator) + field(7, domain) + b"".join(extra))


def model(graph=None, *extra, domain=""):
    opset = field(8, field(1, domain) + field(2, 20))
    return field(1, 10) + field(7, node() if graph is None else graph) + opset + b"".join(extra)


def outside(location, **entries):
    """A graph with one tensor that lies outside of it."""
    pairs = {"location": location, **{key: str(value) for key, value in entries.items()}}
    places = b"".join(field(13, field(1, key) + field(2, value)) for key, value in pairs.items())
    return model(node() + field(5, field(8, "w") + places + field(14, 1)))


@pytest.mark.parametrize("role", ["vision", "decoder"])
def test_the_default_package_passes(role):
    check_graph(find_package().read(role), role)


@pytest.mark.parametrize(
    ("data", "problem"),
    [
        (model(node("Loop")), "unknown_operator"),
        (model(node("If")), "unknown_operator"),
        (model(node("Scan")), "unknown_operator"),
        (model(node("ConstantOfShape")), "unknown_operator"),
        (model(node("add")), "unknown_operator"),
        (model(node("Add", "com.evil")), "unknown_operator"),
        (model(node("MatMulNBits")), "unknown_operator"),  # of another domain
        (model(node("Add", "com.microsoft")), "unknown_operator"),
        (model(domain="com.evil"), "unknown_domain"),
        (model(node("x" * 100_000)), "unknown_operator"),
        (model(field(1, field(1, "a"))), "ambiguous_node"),
        (model(node("Add", "", field(4, "Loop"))), "ambiguous_node"),
        (model(node("Add", "", field(7, "com.evil"))), "ambiguous_node"),
        (model(node("Add", "", field(5, field(1, "body") + field(6, node())))), "unknown_parts"),  # a subgraph
        (model(node("Add", "", field(5, field(1, "bodies") + field(11, node())))), "unknown_parts"),
        (model(node("Add", "", field(8, "overload"))), "unknown_parts"),
        (model(None, field(25, field(1, "f"))), "unknown_parts"),  # functions
        (model(None, field(20, b"")), "unknown_parts"),  # training
        (model(field(15, b"")), "unknown_parts"),  # sparse tensors
        (model(None, field(99, b"new")), "unknown_parts"),
        (model(None, field(7, node("Loop"))), "unknown_operator"),  # a second graph, which protobuf merges into the first
        (model(node("Constant", "", field(5, field(5, field(14, 1))))), "outside_weights"),
        (b"\x08", "not_onnx"),
        (b"\x3a\xff\xff\xff\xff\x0f", "not_onnx"),
        (b"\x3a" + b"\xff" * 11, "not_onnx"),
        (b"\x3b", "not_onnx"),
        (field(7, 5), "not_onnx"),
        (model(field(1, field(4, b"\xff\xfe"))), "not_onnx"),
        (b"\x32\x04\0\0ORTM" + model(), "not_onnx"),
    ],
)  # fmt: skip
def test_a_graph_with_more_than_plain_operators_is_refused(data, problem):
    with refused_as(problem):
        check_graph(data, "vision")


PATHS = ["../w", "/etc/passwd", "sub/w.data", "w.data/", "./w.data", "W.DATA", "w.data\0", "C:\\w.data", "\\\\host\\w", "",
         "/proc/self/fd/3", "*/_ORT_MEM_ADDR_/*", "ｗ.data", "w.data ", "file:w.data"]  # fmt: skip


@pytest.mark.parametrize("path", PATHS)
def test_weights_elsewhere_are_refused(path):
    for allowed in (None, ("w.data", 1000)):
        with refused_as("outside_weights"):
            check_graph(outside(path), "decoder", allowed)


@pytest.mark.parametrize("entries", [{"offset": 990, "length": 11}, {"offset": -1}, {"length": "1e3"}, {"offset": 2**64},
                                     {"offset": "٣"}, {"other": 1}, {"offset": 1001}])  # fmt: skip
def test_weights_at_impossible_places_are_refused(entries):
    with refused_as("misplaced_weights"):
        check_graph(outside("w.data", **entries), "decoder", ("w.data", 1000))
    check_graph(outside("w.data", offset=900, length=100), "decoder", ("w.data", 1000))


@pytest.mark.slow
def test_floods_are_refused_fast():
    with costs_at_most():
        with refused_as("too_many_nodes"):
            check_graph(model(field(1, field(4, "Add")) * (MAX_NODES + 1)), "vision")
        with refused_as("too_many_fields"):
            check_graph(model(node() + field(5, field(4, 1) * 1_200_000)), "vision")
        deep = b""
        for _ in range(1000):
            deep = field(1, field(4, "Add") + field(5, field(6, deep)))
        with refused_as("unknown_parts"):
            check_graph(model(deep), "vision")


def test_no_operator_that_loops_branches_draws_or_fills():
    forbidden = {
        "Loop",
        "If",
        "Scan",
        "SequenceMap",
        "ConstantOfShape",
        "RandomNormal",
        "Range",
        "Tile",
        "NonZero",
    }
    assert not forbidden & frozenset().union(*OPERATORS.values())


def test_a_refused_graph_never_reaches_onnxruntime(tmp_path, monkeypatch):
    """A package made whole around a bad graph: its hashes fit, so only this check stands in between."""
    import dataclasses
    import shutil

    from medrega_edge import load
    from medrega_edge.inference.devices import load_onnxruntime
    from medrega_edge.package.manifest import MANIFEST, file_entry
    from medrega_edge.package.package import Package
    from medrega_edge.package.registry import default_folder

    folder = shutil.copytree(default_folder(), tmp_path / "bad")
    manifest = Package.open(folder).manifest
    path = folder / manifest.files["vision"].path
    path.write_bytes(outside("/etc/passwd"))
    files = manifest.files | {"vision": file_entry(path, "int8")}
    (folder / MANIFEST).write_text(dataclasses.replace(manifest, files=files).to_json(), encoding="utf-8")
    runtime = load_onnxruntime()
    seen = []
    real = runtime.InferenceSession
    monkeypatch.setattr(runtime, "InferenceSession", lambda data, *a, **k: (seen.append(data), real(data, *a, **k))[1])
    with refused_as("outside_weights"):
        load(folder)
    assert path.read_bytes() not in seen
