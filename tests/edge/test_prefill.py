"""A package with a graph for prefixes: it reads the image, and nothing else; without it, everything is as it was."""

import dataclasses
import io
import json

import numpy as np
import pytest
from PIL import Image

from medrega_edge import load
from medrega_edge.errors import PackageError, ResourceError
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.memory import peak
from medrega_edge.package.manifest import MANIFEST, PREFILL, PREFILL_FILE, FileEntry, Manifest
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package
from tests.codes import raises_code
from tests.edge.onnx_bytes import graph, node, value
from tests.edge.toy_package import CONTEXT, HIDDEN, build, picture, prefill


def _png(pixels):
    held = io.BytesIO()
    Image.fromarray(pixels).save(held, "png")
    return held.getvalue()


SCAN = _png(picture(480, 240, liver=(80, 40, 240, 160)))


def answered(engine, question):
    answer = engine.ask(engine.open(SCAN), question).to_dict()
    return {key: answer[key] for key in ("raw_text", "regions", "warnings")}


@pytest.fixture(scope="module")
def packages(tmp_path_factory):
    root = tmp_path_factory.mktemp("packages")
    return build(root / "plain"), build(root / "prefill", prefill_graph=prefill)


def passes(decoder):
    """Count the runs of both graphs."""
    counts = {"decoder": 0, "prefill": 0}

    def counted(name, session):
        class Session:
            def run_with_iobinding(self, binding):
                counts[name] += 1
                session.run_with_iobinding(binding)

        return Session()

    decoder._session = counted("decoder", decoder._session)
    if decoder._prefill:
        session, binding = decoder._prefill
        decoder._prefill = counted("prefill", session), binding
    return counts


def test_it_reads_each_image_once_and_nothing_else(packages):
    plain, quick = (load(folder) for folder in packages)
    counts = passes(quick.language_model._decoder)
    for question in ("locate the liver", "locate the spleen", "report"):
        assert answered(quick, question) == answered(plain, question)
    assert counts["prefill"] == 3 and counts["decoder"] > 3  # each question opened the image anew
    assert quick.language_model.forward_passes == plain.language_model.forward_passes
    image = quick.open(SCAN)
    for question in ("locate the liver", "locate the gland"):
        quick.ask(image, question)
    assert counts["prefill"] == 4


def test_both_graphs_share_one_cache(packages):
    embeds = np.random.default_rng(0).standard_normal((9, HIDDEN), np.float32)
    plain, quick = (Decoder(Package.open(folder).read_all(), 1, "cpu") for folder in packages)
    for decoder in (plain, quick):
        decoder.read_prefix(embeds[:7])
        assert (decoder.length, decoder.forward_passes) == (7, 1)
    assert np.array_equal(plain.prefix(), quick.prefix())
    assert np.array_equal(plain.extend(embeds[7:]), quick.extend(embeds[7:]))
    with raises_code(ResourceError, "resource.context_full", positions=CONTEXT):
        quick.read_prefix(np.zeros((CONTEXT, HIDDEN), np.float32))
    assert quick.length == 9


def test_answers_are_the_same_from_a_cache_on_disk(packages, tmp_path):
    alone = load(packages[1])
    for expected in (1, 0):
        cached = load(packages[1], cache=tmp_path / "cache")
        counts = passes(cached.language_model._decoder)
        assert answered(cached, "locate the liver") == answered(alone, "locate the liver")
        assert counts["prefill"] == expected


def test_its_file_is_one_of_those_that_answers_depend_on(packages):
    plain, quick = (Package.open(folder).manifest for folder in packages)
    assert plain.weights != quick.weights
    assert quick.files[PREFILL].path == PREFILL_FILE
    assert Manifest.from_json(quick.to_json()) == quick
    Package.open(packages[1]).verify()


def test_model_info_says_so(packages, medrega):
    for folder, expected in zip(packages, (False, True), strict=True):
        shown = medrega("model", "info", str(folder)).out
        assert ("prefix      of an image read in a graph of its own, toy" in shown) == expected


def test_a_changed_file_is_refused(tmp_path):
    folder = build(tmp_path / "toy", prefill_graph=prefill)
    path = folder / PREFILL_FILE
    path.write_bytes(path.read_bytes()[:-1] + b"!")
    with raises_code(PackageError, "package.file_changed", file=PREFILL_FILE):
        load(folder)


def other(context):
    """A graph with other outputs."""
    nodes = [node("Identity", "inputs_embeds", "logits")]
    return graph(nodes, {}, [value("inputs_embeds", 1, "length", HIDDEN)], [value("logits", 1, "length", HIDDEN)])


def forbidden(context):
    return graph([node("Loop", "inputs_embeds", "logits")], {}, [], [])


@pytest.mark.parametrize(
    ("made", "code"), [(other, "inference.graph_not_as_in_manifest"), (forbidden, "inference.graph_refused")]
)
def test_a_graph_that_is_no_such_graph_is_refused(made, code, tmp_path):
    with raises_code(PackageError, code, role=PREFILL):
        load(build(tmp_path / "toy", prefill_graph=made))


def test_its_weights_count_once(monkeypatch):
    manifest = find_package().manifest
    data = FileEntry("prefill.onnx.data", "", 10**9, "int8")
    more = dataclasses.replace(manifest, files={**manifest.files, "prefill_data": data})
    assert peak(more) == peak(manifest) + 10**9
    assert peak(more, mapped=True) == peak(manifest, mapped=True)


def test_the_default_package_says_nothing_of_it():
    text = find_package().path("card").with_name(MANIFEST).read_text(encoding="utf-8")
    assert PREFILL not in json.loads(text)["files"]
    assert Manifest.from_json(text).to_json() == text
