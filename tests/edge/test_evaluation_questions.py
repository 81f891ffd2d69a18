"""Questions with truth: one schema to read and to write."""

import json
from pathlib import Path

import pytest

from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import LabelledBoxes, Question, Truth, read_questions, spread, write_questions

LINE = {"id": 1, "image": "a.png", "question": "肝脏在哪里？", "task": "detect", "truth": {"text": "x"}}


def write(path, *lines):
    path.write_text("\n".join(json.dumps(x) if not isinstance(x, str) else x for x in lines), encoding="utf-8")
    return path


def test_questions_are_read(tmp_path):
    truth = {"text": "x", "regions": [{"label": "liver", "boxes": [[1, 2, 3, 4], [5, 6, 7, 8]]}]}
    first, second = read_questions(write(tmp_path / "q.jsonl", LINE, "", LINE | {"truth": truth, "image": "/b.png"}))
    assert (first.id, first.language, first.image, first.truth.regions) == ("1", Language.ZH, tmp_path / "a.png", ())
    assert str(second.image) == "/b.png" and [box.x1 for box in second.truth.regions[0].boxes] == [1, 5]
    assert first.sha256 != second.sha256 and len(first.sha256) == 64


@pytest.mark.parametrize(
    ("line", "problem"),
    [
        ("[]", "object"),
        ("{", "JSON"),
        (LINE | {"task": "guess"}, "task"),
        (LINE | {"truth": {}}, "truth.text"),
        (LINE | {"box": [1, 2, 3]}, "box: a box is four numbers"),
        (LINE | {"several": "yes"}, "several"),
        (LINE | {"frame": 3}, "frame"),
        (LINE | {"setting": "vqa_zh"}, "setting: that of this question is absent"),
        ({key: value for key, value in LINE.items() if key != "question"}, "question: Field required"),
    ],
)
def test_a_bad_line_is_named(tmp_path, line, problem):
    with pytest.raises(UsageError) as error:
        read_questions(write(tmp_path / "q.jsonl", LINE, line))
    assert error.value.code == "evaluation.line_unusable"
    assert (error.value.message.params["line"], error.value.message.params["file"]) == (2, "q.jsonl")
    assert problem in error.value.message.params["problem"]


def test_an_empty_or_missing_file_is_refused(tmp_path):
    with pytest.raises(UsageError) as error:
        read_questions(write(tmp_path / "q.jsonl", ""))
    assert error.value.code == "evaluation.no_question"
    with pytest.raises(UsageError) as error:
        read_questions(tmp_path / "gone.jsonl")
    assert error.value.code == "evaluation.file_unreadable"


def test_what_is_written_is_read_again(tmp_path):
    liver = LabelledBoxes("liver", (PixelBox(20, 10, 100, 50.5),))
    asked = [
        Question(id="a", image=tmp_path / "肝.png", question="locate the liver", task=Task.DETECT,
                 truth=Truth(liver.text(Geometry(200, 100)), (liver,)), object="liver"),
        Question(id="b", image=tmp_path / "肝.png", question="符合哪几项", task=Task.CLASSIFY,
                 truth=Truth("a; b", (), ("a", "b")), labels=("a", "b", "c"), several=True),
        Question(id="c", image=tmp_path / "肝.png", question="What?", task=Task.IDENTIFY, truth=Truth("liver"),
                 box=PixelBox(1, 2, 3, 4)),
    ]  # fmt: skip
    write_questions(asked, tmp_path / "q.jsonl")
    again = read_questions(tmp_path / "q.jsonl")
    assert [one.to_dict() for one in again] == [one.to_dict() for one in asked]
    assert [one.setting for one in again] == ["single_object_single_region", "classification_multi", "region_to_text"]


def test_the_setting_follows_from_the_question():
    def setting(task, language=Language.EN, *regions):
        boxes = tuple(LabelledBoxes(str(n), (PixelBox(0, 0, 1, 1),) * count) for n, count in enumerate(regions))
        return Question(
            id="a", image=Path("a.png"), question="?", task=task, truth=Truth("", boxes), language=language
        ).setting

    assert setting(Task.VQA, Language.ZH) == "vqa_zh" and setting(Task.REPORT) == "report_en"
    assert setting(Task.DETECT) == "absent"
    assert setting(Task.DETECT, Language.EN, 1) == "single_object_single_region"
    assert setting(Task.DETECT, Language.EN, 2) == "single_object_multi_region"
    assert setting(Task.DETECT, Language.EN, 1, 1) == "multi_object_single_region"
    assert setting(Task.GROUNDED_REPORT, Language.EN, 1, 2) == "multi_object_multi_region"


def test_a_choice_is_spread_evenly():
    assert spread(list("abcdefghij"), 3) == ["a", "d", "g"]
    assert spread(list("ab"), 99) == spread(list("ab"), None) == ["a", "b"]
