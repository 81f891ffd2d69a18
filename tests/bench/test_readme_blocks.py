import json

import pytest

from medrega_bench.evaluation.accuracy import compare, tables
from medrega_bench.reports.readme_blocks import update_blocks
from medrega_edge.errors import GateError, UsageError

from .test_accuracy import name_row, row


def result():
    rows = [row("a", 0.5), row("b", 0.7, "zh"), name_row("a", True)]
    return {
        "date": "2026-11-23", "command": "medrega bench", "split": "test",
        "model": {"name": "m", "version": "1", "precision": "p", "sha256": "0" * 64},
        "environment": {"processor": "cpu", "threads": 2, "versions": {"onnxruntime": "1"}},
        "tables": tables(rows), "loss": compare(rows, rows),
    }  # fmt: skip


def document(folder, kind="accuracy"):
    (folder / "result.json").write_text(json.dumps(result()))
    path = folder / "README.md"
    path.write_text(f"before\n<!-- bench:{kind} result.json -->\nstale\n<!-- /bench -->\nafter\n")
    return path


@pytest.mark.parametrize("kind", ["accuracy", "loss"])
def test_a_block_is_made_from_its_result_once(tmp_path, kind):
    path = document(tmp_path, kind)
    with pytest.raises(GateError, match="stale"):
        update_blocks(path, check=True)
    assert "stale" in path.read_text()
    assert update_blocks(path, check=False)
    text = path.read_text()
    assert "0.600" in text
    assert "stale" not in text
    assert text.startswith("before\n")
    assert text.endswith("after\n")
    assert not update_blocks(path, check=True)


def test_an_unknown_block_or_document_is_named(tmp_path):
    with pytest.raises(UsageError, match="unknown block 'juggling'; choose one of: accuracy, "):
        update_blocks(document(tmp_path, "juggling"), check=True)
    with pytest.raises(UsageError, match=r"no text 'nowhere\.md' here"):
        update_blocks(tmp_path / "nowhere.md", check=True)
