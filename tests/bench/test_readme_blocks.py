import json

import pytest

from medrega_bench.evaluation.results import TasksResult
from medrega_bench.evaluation.tables import tables
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.reports.readme_blocks import update_blocks
from medrega_bench.result_files import to_json_values
from medrega_edge.errors import GateError, UsageError

from .handmade import HALF, row


def result():
    rows = [row(1), row(2, answer=HALF), row(3, "region_to_text", "liver", "liver")]
    result = TasksResult(
        date="2026-11-23",
        command="medrega bench",
        split="test",
        model=ModelIdentity("m", "1", "p", "0" * 64),
        environment=Environment("cpu", 2, 4.0, "Linux", "3.11", {"onnxruntime": "1"}),
        tables=tables(rows),
    )
    return to_json_values(result)


def older():
    """As `medrega bench accuracy` wrote it until 0.4.0."""
    figure = {"n": 2, "images": 2, "mean_iou": 0.75, "mean_iou_interval": [0.5, 1.0], "acc50": 0.5,
              "acc50_interval": [0.0, 1.0], "no_box": 0.0}  # fmt: skip
    named = {"n": 1, "accuracy": 1.0, "accuracy_interval": [1.0, 1.0]}
    groups = {"language": {"en": figure}, "modality": {"mri": figure}, "object": {"liver": figure}}
    return result() | {"tables": {"overall": {"all": figure}, **groups, "identify": {"en": named}}, "loss": {}}


def document(folder, kind="accuracy", made=None):
    (folder / "result.json").write_text(json.dumps(made or result()))
    path = folder / "README.md"
    path.write_text(f"before\n<!-- bench:{kind} result.json -->\nstale\n<!-- /bench -->\nafter\n")
    return path


@pytest.mark.parametrize("made", [result(), older()])
def test_a_block_is_made_from_its_result_once(tmp_path, made):
    path = document(tmp_path, made=made)
    with pytest.raises(GateError) as error:
        update_blocks(path, check=True)
    assert error.value.code == "bench.stale"
    assert "stale" in path.read_text()
    assert update_blocks(path, check=False)
    text = path.read_text()
    assert "| **all** | 2 | 75.0 (50.0 to 100.0) |" in text
    assert "| liver | 2 | 75.0 (50.0 to 100.0) |" in text
    assert "| language: en | 1 | 100.0 (100.0 to 100.0) |" in text
    assert "stale" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert not update_blocks(path, check=True)


def test_an_unknown_block_or_document_is_named(tmp_path):
    with pytest.raises(UsageError) as error:
        update_blocks(document(tmp_path, "juggling"), check=True)
    assert error.value.code == "bench.unknown_block" and "accuracy" in error.value.message.params["blocks"]
    with pytest.raises(UsageError) as error:
        update_blocks(tmp_path / "nowhere.md", check=True)
    assert error.value.code == "bench.no_document"
