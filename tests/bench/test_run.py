"""`medrega bench run`, `compare` and `gate` from end to end, with the default package."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from medrega_bench.cli import bench_app
from medrega_edge.errors import GateError
from medrega_edge.package import default_folder


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


def test_four_reports_and_one_kept(measured):
    assert sorted(path.name for path in measured.iterdir()) == ["figures.csv", "report.html", "report.md", "result.json"]
    result = json.loads((measured / "result.json").read_text())
    assert result["packages"][0]["overall"]["value"] > 0
    assert len(result["packages"][0]["rows"]) + result["packages"][0]["left_out"] == 24
    assert "/" not in "".join(row["image"] for row in result["packages"][0]["rows"])
    assert "data:image/jpeg" in (measured / "report.html").read_text()
    assert next((measured.parent / "kept").iterdir()).read_text() == (measured / "result.json").read_text()


def test_the_same_package_passes_and_nothing_changed(measured, tmp_path):
    result = measured / "result.json"
    assert bench("gate", result, "--baseline", measured.parent / "kept").output.strip() == "passes"
    assert bench("gate", result, "--baseline", result, "--gate", "changed<=0").output.strip() == "passes"
    run = bench("compare", result, result, "--out", tmp_path / "difference.md")
    assert "0 answers flipped" in run.output
    assert "not significant" in run.output
    assert (tmp_path / "difference.md").is_file()


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


@pytest.mark.slow
def test_a_package_spoiled_on_purpose_does_not_pass(tmp_path):
    spoiled = tmp_path / "spoiled"
    shutil.copytree(default_folder(), spoiled)
    manifest = json.loads((spoiled / "manifest.json").read_text())
    manifest["vision"]["std"] = [100.0, 100.0, 100.0]  # every image becomes an even grey
    (spoiled / "manifest.json").write_text(json.dumps(manifest))
    for name, model in (("good", default_folder()), ("bad", spoiled)):
        assert bench("run", "--no-speed", "--model", model, "--out", tmp_path / name).exit_code == 0
    with pytest.raises(GateError, match="fell by"):
        bench("gate", tmp_path / "bad" / "result.json", "--baseline", tmp_path / "good" / "result.json")
    passed = bench("gate", tmp_path / "good" / "result.json", "--baseline", tmp_path / "good" / "result.json")
    assert passed.output.strip() == "passes"
