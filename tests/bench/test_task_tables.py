"""The tables that a document makes of the result of `medrega bench tasks`, and the picture beside it."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest

from medrega_bench import result_files
from medrega_bench.evaluation.image_ablation import reliance
from medrega_bench.evaluation.results import TasksResult, read_tasks
from medrega_bench.evaluation.tables import tables
from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.reports.readme_blocks import update_blocks
from medrega_bench.reports.report_figures import report_figures
from medrega_edge.errors import GateError
from medrega_edge.vocabulary.label_sets import MODALITY_NAMES

from .handmade import BOX, HALF, row, without_none

COMMITTED = Path(__file__).parents[2] / "bench" / "results" / "lite-test-tasks.json"


def result():
    vqa = {"truth": "Yes", "answer": "Yes", "dataset": "slake", "blank": "No", "other": "Yes", "question_only": "No",
           "question_trained": "Yes", "cot": "Yes"}  # fmt: skip
    rows = [row(n, answer=BOX if n % 2 else HALF) for n in range(8)]
    rows += [row(n, "vqa_en", **vqa) for n in range(8)]
    rows += [row(n, "report_en", "Seen: liver.", "Seen: liver.", sentences=[[BOX, BOX]], note=None) for n in range(8)]
    return TasksResult(
        date="2026-11-23",
        command="medrega bench",
        split="test",
        model=ModelIdentity("m", "1", "p", "0" * 64),
        environment=Environment("cpu", 2, 4.0, "Linux", "3.11", {"onnxruntime": "1"}),
        tables=tables(rows),
        reliance=reliance(rows),
        reports=report_figures(rows),
    )


def written(folder, kind):
    result_files.write(folder / "tasks.json", result())
    path = folder / "README.md"
    path.write_text(f"<!-- bench:{kind} tasks.json -->\n<!-- /bench -->\n")
    assert update_blocks(path, check=False)
    assert not update_blocks(path, check=True)
    return path.read_text()


def test_a_gain_stands_beside_its_figure(tmp_path):
    text = written(tmp_path, "reliance")
    gains = "| 0.0 | +100.0 (+100.0 to +100.0) | 100.0 | +0.0 (+0.0 to +0.0) | 0.0 | 100.0 | +0.0 (+0.0 to +0.0) | 100.0 |"
    assert f"| SLAKE, English: closed accuracy | 100.0 (100.0 to 100.0) {gains}" in text


def test_modalities_and_reports(tmp_path):
    text = written(tmp_path, "modalities")
    assert "| MRI | 50.0 (8) |  | 100.0 (8) |  |  | 100.0 (8) | 100.0 |" in text
    assert text.count("\n| ") == len(MODALITY_NAMES) + 1
    text = written(tmp_path, "reports")
    assert "| English, against their annotations | 8 | 100.0 |" in text


def test_a_picture_lies_beside_its_result_and_goes_stale_with_it(tmp_path):
    text = written(tmp_path, "reliability")
    assert "![reliability](tasks-reliability.svg)" in text
    assert "100.0 % overlap the true one by half; their mean confidence says 80.0 %" in text  # half is enough
    picture = tmp_path / "tasks-reliability.svg"
    root = ElementTree.fromstring(picture.read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    assert "prefers-color-scheme: dark" in picture.read_text()
    picture.write_text("<svg/>")
    with pytest.raises(GateError) as error:
        update_blocks(tmp_path / "README.md", check=True)
    assert error.value.message.params == {"file": "tasks-reliability.svg"}


def test_every_kind_of_image_has_a_figure():
    settings = json.loads(COMMITTED.read_text("utf-8"))["tables"]["settings"].values()
    shown = {name for entry in settings for name in entry["modality"]}
    assert shown == {modality.value for modality in MODALITY_NAMES}


def test_the_short_table_puts_the_question_alone_beside_the_image(tmp_path):
    text = written(tmp_path, "summary")
    assert "| yes/no question, SLAKE English | 8 | 100.0 (100.0 to 100.0) |  | 100.0 |" in text
    assert "| locate an object: IoU >= 0.5 | 8 | 50.0 " in text


def test_the_committed_result_keeps_every_value(tmp_path):
    content = json.loads(COMMITTED.read_text("utf-8"))
    result_files.write(tmp_path / "tasks.json", read_tasks(content, COMMITTED.name))
    assert without_none(json.loads((tmp_path / "tasks.json").read_text("utf-8"))) == without_none(content)
