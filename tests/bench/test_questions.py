import json
import os
from pathlib import Path

import pytest

from medrega_bench.questions import questions_of, read_records
from medrega_edge.errors import UsageError
from medrega_edge.regions import parse

DATA = Path(os.environ.get("MEDREGA_DATA", Path(__file__).parents[3] / "shared" / "data"))


def record(**changes):
    row = {
        "id": "r1", "image": "images/肝.png", "width": 200, "height": 100, "modality": "ct", "split": "test",
        "dup_of_eval": False,
        "regions": [
            {"label_en": "liver", "label_zh": "肝脏", "kind": "organ", "boxes": [[20, 10, 100, 50]]},
            {"label_en": "vertebra", "label_zh": "椎骨", "kind": "organ", "boxes": [[0, 0, 9, 9], [9, 9, 20, 20]]},
            {"label_en": "retinal blood vessels", "label_zh": "血管", "kind": "structure", "boxes": [[0, 0, 200, 100]]},
        ],
    }  # fmt: skip
    return row | changes


def write(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "records.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def test_one_question_an_object_and_language_and_the_truth_is_readable(tmp_path):
    made = list(questions_of(read_records(write(tmp_path, record()), "test"), tmp_path))
    assert [row["question"] for row in made] == ["locate the liver", "What is this?", "请定位肝脏", "这是什么？"]
    assert [row["truth"]["text"] for row in made[1::2]] == ["liver", "肝脏"]
    assert [row["box"] for row in made[1::2]] == [[20, 10, 100, 50]] * 2
    for row in made[::2]:
        assert Path(row["image"]).is_absolute()
        parsed = parse(row["truth"]["text"])
        assert parsed.problems == ()
        assert parsed.regions[0].boxes[0].as_list() == [100, 100, 500, 500]
        assert row["truth"]["regions"][0]["boxes"] == [[20, 10, 100, 50]]


def test_other_splits_and_near_duplicates_are_left_out(tmp_path):
    folder = write(tmp_path, record(split="train"), record(dup_of_eval=True), record(id="kept"))
    assert [row["id"] for row in read_records(folder, "test")] == ["kept"]


def test_a_bad_line_is_named(tmp_path):
    with pytest.raises(UsageError, match="Line 2"):
        list(read_records(write(tmp_path, record(), "{broken"), "test"))
    with pytest.raises(UsageError, match=r"no records\.jsonl"):
        list(read_records(tmp_path / "nowhere", "test"))


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "records.jsonl").is_file(), reason="the shared images are not on this machine")
def test_the_real_data_gives_the_questions_that_the_results_count():
    made = list(questions_of(read_records(DATA, "test"), DATA))
    assert len({row["id"] for row in made}) == len(made)
    for row in made[:: max(1, len(made) // 50)]:
        assert Path(row["image"]).is_file()
    result = Path(__file__).parents[2] / "bench" / "results" / "nano-test.json"
    assert json.loads(result.read_text("utf-8"))["tables"]["overall"]["all"]["n"] == len(made) / 2
