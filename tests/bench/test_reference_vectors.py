"""The figures that upstream's own evaluators returned, to 1e-4, through the command."""

import json
import os
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medrega_bench.cli.main import bench_app

SHARED = Path(os.environ.get("MEDREGA_DATA", Path(__file__).parents[3] / "shared" / "data")).parent
VECTORS = SHARED / "metrics" / "reference_vectors.json"

pytestmark = [
    pytest.mark.data,
    pytest.mark.skipif(not VECTORS.is_file(), reason="upstream's reference vectors are not on this machine"),
]

SETTINGS = (
    "single_object_single_region",
    "single_object_multi_region",
    "multi_object_single_region",
    "multi_object_multi_region",
    "vqa_en",
    "vqa_zh",
    "region_to_text",
    "classification_single",
    "classification_multi",
)


@pytest.fixture(scope="module")
def vectors():
    return json.loads(VECTORS.read_text("utf-8"))


def test_every_setting_of_the_vectors_is_tested(vectors):
    assert set(vectors) == set(SETTINGS)


@pytest.mark.parametrize("setting", SETTINGS)
def test_upstreams_figures(vectors, setting, tmp_path):
    given = vectors[setting]
    path = tmp_path / "answers.jsonl"
    path.write_text("\n".join(json.dumps(item, ensure_ascii=False) for item in given["items"]), encoding="utf-8")
    classes = ["--classes", ",".join(given["classes"])] if "classes" in given else []
    run = CliRunner().invoke(bench_app, ["score", str(path), "--setting", setting, "--json", *classes])
    assert run.exit_code == 0, run.output
    made = json.loads(run.stdout)
    assert made["items"] == len(given["items"])
    assert_same(made["figures"], made["intervals"], given["expected"])


def assert_same(figures, intervals, expected):
    assert set(figures) == set(expected)
    for name, value in expected.items():
        if isinstance(value, dict):
            assert_same(figures[name], intervals[name], value)
            continue
        assert figures[name] == pytest.approx(float(value), abs=1e-4)
        if name != "closedQuestionsAccuracy" or value:  # of the Chinese questions none is closed
            low, high = intervals[name]
            assert low <= figures[name] <= high
