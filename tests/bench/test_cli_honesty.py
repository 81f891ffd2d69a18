"""`medrega bench field` and `honesty` from end to end, on a data folder of one scan, with the package that ships."""

import json
import shutil

import pytest
from typer.testing import CliRunner

from medrega_bench.cli.main import bench_app
from medrega_bench.evaluation import rewordings
from medrega_bench.evaluation.field_result import FieldResult
from medrega_bench.evaluation.honesty import HonestyResult
from medrega_bench.result_files import parse
from medrega_edge.errors import UsageError
from medrega_edge.images.samples import sample_path

BOXES = {"liver": [54, 85, 167, 194], "left kidney": [150, 140, 190, 180], "right kidney": [70, 150, 110, 190]}
NAMES = {"liver": "肝脏", "left kidney": "左肾", "right kidney": "右肾"}


def bench(*words):
    return CliRunner().invoke(bench_app, [str(word) for word in words])


@pytest.fixture
def data(tmp_path):
    """Three splits of one scan each: free questions, boxes, a class; two data sets, as the figures ask for."""
    folder = tmp_path / "DOE^JANE" / "data"
    folder.mkdir(parents=True)
    shutil.copy(sample_path("abdomen-mri"), folder / "DOE^JANE.dcm")
    regions = [{"label_en": name, "label_zh": NAMES[name], "kind": "organ", "boxes": [box]} for name, box in BOXES.items()]
    asked = [
        {"lang": "en", "question": "Does the picture contain liver?", "answer": "Yes", "type": "closed"},
        {"lang": "en", "question": "What is the largest organ in the picture?", "answer": "Liver"},
        {"lang": "zh", "question": "图片中体积最大的器官是什么?", "answer": "肝脏"},
    ]
    lines = [
        {
            "id": f"{dataset}_{split}",
            "dataset": dataset,
            "image": "DOE^JANE.dcm",
            "patient": "DOE^JANE",
            "modality": "mri",
            "width": 256,
            "height": 256,
            "split": split,
            "regions": regions,
            "labels": ["chronic kidney disease"],
            "qa": asked,
        }
        for split in ("train", "val", "test")
        for dataset in ("slake", "vqa_rad", "ckd")
    ]
    (folder / "records.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines), encoding="utf-8")
    (folder / "split.json").write_text(json.dumps({"source": "they", "images": {"test": ["DOE^JANE", "gone"]}}))
    return folder


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore:The parameter 'token_pattern'")
def test_both_commands_write_a_result_without_a_name_and_resume(data, tmp_path, monkeypatch):
    pytest.importorskip("starlette")
    (tmp_path / "kept").mkdir()
    kept = ("--data", data, "--answers", tmp_path / "kept")
    words = ("field", *kept, "--vqa-rad-split", data / "split.json", "--out", tmp_path / "field.json")
    monkeypatch.setattr("sys.argv", ["medrega", "bench", *map(str, words)])  # what stands in the result
    run = bench(*words)
    assert run.exit_code == 0, run.output
    written = (tmp_path / "field.json").read_text("utf-8")
    field = parse(FieldResult, json.loads(written), "field.json")
    assert field.slake_boxes.iou.n == 3 and field.sides[0].asked == 2  # one image, though it stands in three data sets
    assert (field.vqa_rad_images.test, field.vqa_rad_images.missing) == (1, 1)
    assert {one.kind for one in field.selective} == {"boxes", "free"}
    run = bench("honesty", *kept, "--most", "2", "--out", tmp_path / "honesty.json")
    assert run.exit_code == 0, run.output
    text = (tmp_path / "honesty.json").read_text("utf-8")
    honesty = parse(HonestyResult, json.loads(text), "honesty.json")
    assert [one.door for one in honesty.no_image] == ["ask", "library", "batch", "chat"]
    assert all(one.refused.value == 1.0 for one in honesty.no_image)
    assert {one.kind for one in honesty.consistency} == {*rewordings.wordings()}
    assert field.command.startswith("medrega bench field --data data --answers kept --vqa-rad-split split.json")
    lines = next((tmp_path / "kept").glob("*-asked.jsonl")).read_text("utf-8")
    for result in (written, text, lines):
        assert "DOE" not in result and str(tmp_path) not in result
    assert bench("honesty", *kept, "--most", "2", "--out", tmp_path / "again.json").exit_code == 0
    assert next((tmp_path / "kept").glob("*-asked.jsonl")).read_text("utf-8") == lines
    again = json.loads((tmp_path / "again.json").read_text("utf-8"))
    assert {**again, "command": "", "environment": ""} == {**json.loads(text), "command": "", "environment": ""}


@pytest.mark.parametrize("command", ["field", "honesty"])
def test_a_folder_of_answers_that_is_none_is_refused_at_once(command, tmp_path):
    (tmp_path / "file").write_text("", encoding="utf-8")
    for name in ("gone", "file"):
        run = bench(command, "--data", tmp_path, "--out", tmp_path / "x.json", "--answers", tmp_path / name)
        assert isinstance(run.exception, UsageError) and run.exception.code == "bench.no_answers_folder"
