import json
import os
from pathlib import Path

import pytest

from medrega_bench.datasets.dataset_selection import choose
from medrega_bench.datasets.questions import LeftOut, questions_of
from medrega_edge.domain import Language, Task
from medrega_edge.evaluation.questions import Question
from medrega_edge.evaluation.records import read_records
from medrega_edge.prompts.region_markup import parse

DATA = Path(os.environ.get("MEDREGA_DATA", Path(__file__).parents[3] / "shared" / "data"))


def record(**changes):
    row = {
        "id": "r1", "dataset": "set", "image": "images/肝.png", "width": 200, "height": 100, "modality": "ct",
        "split": "test", "dup_of_eval": False, "labels": [], "qa": [],
        "regions": [
            {"label_en": "liver", "label_zh": "肝脏", "kind": "organ", "boxes": [[20, 10, 100, 50]]},
            {"label_en": "vertebra", "label_zh": "椎骨", "kind": "organ", "boxes": [[9, 50, 20, 90], [0, 0, 9, 9]]},
            {"label_en": "retinal blood vessels", "label_zh": "血管", "kind": "structure", "boxes": [[0, 0, 200, 100]]},
        ],
    }  # fmt: skip
    return row | changes


def write(folder, *rows):
    lines = [row if isinstance(row, str) else json.dumps(row, ensure_ascii=False) for row in rows]
    (folder / "records.jsonl").write_text("\n".join(lines), encoding="utf-8")
    return folder


def asked(folder, split="test"):
    made = list(questions_of(read_records(folder, split)))
    return [one for one in made if isinstance(one, Question)], [str(one.reason) for one in made if isinstance(one, LeftOut)]


def test_one_question_an_object_and_language_and_the_truth_is_readable(tmp_path):
    made, _ = asked(write(tmp_path, record()))
    rows = [one.to_dict() for one in made if one.object == "liver"]
    assert [row["question"] for row in rows] == ["locate the liver", "What is this?", "请定位肝脏", "这是什么？"]
    assert [row["truth"]["text"] for row in rows[1::2]] == ["liver", "肝脏"]
    assert [row["box"] for row in rows[1::2]] == [[20, 10, 100, 50]] * 2
    for row in rows[::2]:
        assert Path(row["image"]).is_absolute()
        assert row["setting"] == "single_object_single_region"
        parsed = parse(row["truth"]["text"])
        assert parsed.problems == ()
        assert parsed.regions[0].boxes[0].as_list() == [100, 100, 500, 500]
        assert row["truth"]["regions"][0]["boxes"] == [[20, 10, 100, 50]]


def test_several_regions_are_asked_for_at_once_top_to_bottom(tmp_path):
    made, _ = asked(write(tmp_path, record()))
    (english, chinese) = [one for one in made if one.object == "vertebra"]
    assert english.setting == chinese.setting == "single_object_multi_region"
    assert english.truth.text == "<ref>vertebra</ref><box>[[0, 0, 45, 90], [45, 500, 100, 899]]</box>"
    assert chinese.truth.regions[0].label == "椎骨"


def test_questions_and_classes_of_the_image(tmp_path):
    qa = [
        {"lang": "zh", "question": "肝脏健康吗？", "answer": "健康"},
        {"lang": "en", "question": "Is it CT?", "answer": "Yes"},
    ]
    skin = record(regions=[], qa=qa, labels=["melanoma"], modality="dermoscopy")
    hand = record(regions=[], id="r2", labels=["hand", "oblique"], modality="xray")
    made, _ = asked(write(tmp_path, skin, hand))
    assert [(one.setting, one.question, one.truth.text) for one in made[:2]] == [
        ("vqa_zh", "肝脏健康吗？", "健康"),
        ("vqa_en", "Is it CT?", "Yes"),
    ]
    by_setting = {one.setting: one for one in made if one.task is Task.CLASSIFY and one.language is Language.EN}
    assert by_setting["classification_single"].truth.labels == ("melanoma",)
    several = by_setting["classification_multi"].to_dict()
    assert several["truth"] == {"text": "hand; oblique", "regions": [], "labels": ["hand", "oblique"]}
    assert several["labels"][:2] == ["hand", "leg"]
    assert several["several"]
    assert several["question"].startswith("Which fit, one or more: hand; leg; ")


def test_classes_of_another_modality_give_no_question(tmp_path):
    made, _ = asked(write(tmp_path, record(regions=[], labels=["melanoma", "normal"])))  # of a CT scan
    assert made == []


def test_what_gives_no_question_is_said(tmp_path):
    many = {"label_en": "cell", "label_zh": "细胞", "boxes": [[i, 0, i + 1, 1] for i in range(7)]}
    folder = write(tmp_path, record(split="train"), record(dup_of_eval=True), record(regions=[record()["regions"][2], many]))
    made, left_out = asked(folder)
    assert made == []
    assert left_out == [
        "an image that almost equals one of another split",
        "retinal blood vessels fill the whole image",
        "an object with more than 6 boxes",
    ]


def test_ids_differ(tmp_path):
    made, _ = asked(write(tmp_path, record(labels=["tuberculosis", "fracture"], modality="xray"), record(id="r2")))
    assert len({one.id for one in made}) == len(made)


@pytest.mark.data
@pytest.mark.skipif(not (DATA / "records.jsonl").is_file(), reason="the shared images are not on this machine")
def test_the_real_data_gives_the_questions_that_the_results_count():
    first_batch = (record for record in read_records(DATA, "test") if record.batch == 1)
    made = [one for one in questions_of(first_batch) if isinstance(one, Question)]
    assert len({one.id for one in made}) == len(made)
    assert {one.setting for one in made} >= {
        "single_object_single_region",
        "region_to_text",
        "single_object_multi_region",
        "vqa_en",
        "vqa_zh",
        "classification_single",
    }
    for one in made[:: max(1, len(made) // 50)]:
        assert one.image.is_file()
    result = Path(__file__).parents[2] / "bench" / "results" / "lite-test-tasks.json"
    counted = json.loads(result.read_text("utf-8"))["tables"]["settings"]
    for setting in ("single_object_single_region", "region_to_text", "vqa_en", "vqa_zh"):
        assert counted[setting]["all"]["n"] == sum(one.setting == setting for one in made), setting


def test_a_delivery_of_the_data_is_asked_alone(tmp_path):
    rows = [record(id="a"), record(id="b", batch=1), record(id="c", batch=2)]
    rows += [record(id="t", split="train", qa=[{"question": "Is it?", "answer": "Yes", "lang": "en"}])]
    folder = write(tmp_path, *rows)

    def images(batch):
        items, _ = choose(folder, "test", None, folder, batch)
        return {item.question.id.split("/")[0] for item in items}

    assert images(None) == {"a", "b", "c"}
    assert (images(1), images(2)) == ({"a", "b"}, {"c"})
