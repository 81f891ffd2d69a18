"""`medrega bench run`, `compare` and `gate` from end to end, with the default package."""

import dataclasses
import json
import shutil
import subprocess
import sys

import numpy as np
import pytest
from typer.testing import CliRunner

from medrega_bench.cli.main import bench_app
from medrega_edge.package.manifest import file_entry
from medrega_edge.package.registry import default_folder


def bench(*words):
    return CliRunner().invoke(bench_app, [str(word) for word in words], catch_exceptions=False)


@pytest.fixture(scope="module")
def measured(tmp_path_factory):
    folder = tmp_path_factory.mktemp("bench")
    (folder / "kept").mkdir()
    out = folder / "report"
    run = bench("run", "--no-speed", "--limit", 24, "--out", out, "--keep", folder / "kept")
    assert run.exit_code == 0, run.output
    return out


@pytest.mark.slow
def test_four_reports_and_one_kept(measured):
    assert sorted(path.name for path in measured.iterdir()) == ["figures.csv", "report.html", "report.md", "result.json"]
    result = json.loads((measured / "result.json").read_text())
    assert result["packages"][0]["overall"]["value"] > 0
    assert len(result["packages"][0]["rows"]) + result["packages"][0]["left_out"] == 24
    assert "/" not in "".join(row["image"] for row in result["packages"][0]["rows"])
    assert "data:image/jpeg" in (measured / "report.html").read_text()
    assert next((measured.parent / "kept").iterdir()).read_text() == (measured / "result.json").read_text()


@pytest.mark.slow
def test_the_same_package_passes_and_nothing_changed(measured, tmp_path):
    result = measured / "result.json"
    assert bench("gate", result, "--baseline", measured.parent / "kept").output.strip() == "passes"
    assert bench("gate", result, "--baseline", result, "--gate", "changed<=0").output.strip() == "passes"
    run = bench("compare", result, result, "--out", tmp_path / "difference.md")
    assert "0 answers flipped" in run.output
    assert "not significant" in run.output
    assert (tmp_path / "difference.md").is_file()


@pytest.mark.slow
def test_ids_of_users_questions_are_hashed_and_no_picture_is_shown(measured, tmp_path):
    record = {
        "id": "jane-doe", "dataset": "ours", "image": "jane-doe.png", "modality": "mri", "width": 100, "height": 100,
        "dup_of_eval": False, "split": "test", "labels": [], "qa": [],
        "regions": [{"label_en": "liver", "label_zh": "肝脏", "kind": "organ", "boxes": [[10, 10, 60, 60]]}],
    }  # fmt: skip
    from PIL import Image

    Image.new("RGB", (100, 100)).save(tmp_path / "jane-doe.png")
    (tmp_path / "records.jsonl").write_text(json.dumps(record) + "\n")
    run = bench("run", "--no-speed", "--data", tmp_path, "--out", tmp_path / "report")
    assert run.exit_code == 0, run.output
    for path in (tmp_path / "report").iterdir():
        text = path.read_text()
        assert "jane" not in text
        assert "data:image/jpeg" not in text


def sees_grey(folder):
    """Every image becomes an even grey."""
    manifest = json.loads((folder / "manifest.json").read_text())
    manifest["vision"]["std"] = [100.0, 100.0, 100.0]
    (folder / "manifest.json").write_text(json.dumps(manifest))


def scaled(folder, factors):
    """Every scale of a group of weights is multiplied by its factor; `factors` takes a generator and a shape."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(folder / "decoder.onnx")
    rng = np.random.default_rng(0)
    scales = [
        tensor
        for tensor in graph.graph.initializer
        if any(tensor.name == node.input[2] for node in graph.graph.node if node.op_type == "MatMulNBits")
    ]
    assert len(scales) > 4
    for tensor in scales:
        values = onnx.numpy_helper.to_array(tensor)
        off = (values * factors(rng, values.shape)).astype(values.dtype)
        tensor.CopyFrom(onnx.numpy_helper.from_array(off, tensor.name))
    onnx.save(graph, folder / "decoder.onnx")
    manifest = json.loads((folder / "manifest.json").read_text())
    entry = file_entry(folder / "decoder.onnx", manifest["files"]["decoder"]["precision"])
    manifest["files"]["decoder"] = dataclasses.asdict(entry)
    (folder / "manifest.json").write_text(json.dumps(manifest))


def wrong_scales(folder):
    """Half of the groups of weights of every layer get the wrong sign, as a misread scale or zero point would make them."""
    scaled(folder, lambda rng, shape: rng.choice([-1, 1], shape))


def noisy_scales(folder):
    """Every scale is off by up to a half: many answers change, and about as many for the better as for the worse."""
    scaled(folder, lambda rng, shape: rng.uniform(0.5, 1.5, shape))


@pytest.fixture(scope="module")
def good(tmp_path_factory):
    out = tmp_path_factory.mktemp("good") / "report"
    assert bench("run", "--no-speed", "--model", default_folder(), "--out", out).exit_code == 0
    return out / "result.json"


@pytest.mark.slow
@pytest.mark.parametrize(
    ("spoil", "why"),
    [(sees_grey, "fell by"), (wrong_scales, "fell by"), (noisy_scales, "turned right or wrong")],
    ids=lambda one: getattr(one, "__name__", ""),
)
def test_a_package_spoiled_on_purpose_does_not_pass(tmp_path, good, spoil, why):
    spoiled = tmp_path / "spoiled"
    shutil.copytree(default_folder(), spoiled)
    spoil(spoiled)
    assert bench("run", "--no-speed", "--model", spoiled, "--out", tmp_path / "bad").exit_code == 0
    gate = [sys.executable, "-m", "medrega_edge", "bench", "gate"]
    refused = subprocess.run([*gate, tmp_path / "bad" / "result.json", "--baseline", good], capture_output=True, text=True)
    assert refused.returncode == 5
    assert why in refused.stderr


@pytest.mark.slow
def test_a_package_that_is_whole_passes_on_other_threads(tmp_path, good):
    for threads in (1, 2):
        out = tmp_path / str(threads)
        assert bench("run", "--no-speed", "--threads", threads, "--out", out).exit_code == 0
        assert bench("gate", out / "result.json", "--baseline", good).output == "passes\n"


@pytest.mark.slow
def test_two_packages_are_compared_on_the_same_questions(tmp_path):
    spoiled = tmp_path / "spoiled"
    shutil.copytree(default_folder(), spoiled)
    sees_grey(spoiled)
    run = bench("compare", default_folder(), spoiled, "--limit", 60, "--out", tmp_path / "difference.json")
    assert run.exit_code == 0, run.output
    assert " answers flipped" in run.output
    assert ", significant" in run.output
    assert "more; --out lists them all" in run.output
    difference = json.loads((tmp_path / "difference.json").read_text())
    assert difference["only_before"] == difference["only_after"] == 0
    assert {"question", "truth", "before", "after"} <= difference["flips"][0].keys()
