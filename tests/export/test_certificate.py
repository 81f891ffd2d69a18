"""What counts as right, how losses are summed up, and that questions are read as they stand."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path

import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import GateError, UsageError
from medrega_export import certificate as c
from medrega_export.questions import Question, choose, read_questions

LEFT, RIGHT = PixelBox(0, 0, 10, 10), PixelBox(20, 0, 30, 10)
HALF = PixelBox(0, 0, 10, 5)


def question(task: Task = Task.DETECT, boxes=((("liver"), LEFT),), text: str = "liver", modality=None) -> Question:
    return Question("q", Path("a.png"), "?", task, Language.EN, None, modality, text, tuple(boxes), "0" * 64)


def given(*boxes: PixelBox, prose: str = "", raw: str = "") -> c.Given:
    return c.Given(raw or str(boxes), prose, boxes, 0)


@pytest.mark.parametrize(
    ("boxes", "truth", "expected"),
    [
        ([LEFT], [LEFT], (1.0, 1.0)),
        ([HALF], [LEFT], (0.5, 1.0)),
        ([RIGHT], [LEFT], (0.0, 0.0)),
        ([], [LEFT], (0.0, 0.0)),
        ([LEFT, RIGHT], [LEFT], (0.5, 0.5)),
        ([RIGHT, LEFT], [LEFT, RIGHT], (1.0, 1.0)),
        ([LEFT, LEFT], [LEFT, RIGHT], (0.5, 0.5)),
        ([], [], (1.0, 1.0)),
        ([LEFT], [], (0.0, 0.0)),
    ],
)
def test_places(boxes: list, truth: list, expected: tuple) -> None:
    assert c.place_score(boxes, truth) == expected


def test_names() -> None:
    assert c.same_name(" Liver. ", "liver")
    assert c.same_name("肝脏。", "肝脏")
    assert not c.same_name("left kidney", "right kidney")


def test_a_name_is_judged_by_its_prose_a_change_by_the_raw_text() -> None:
    asked = question(Task.IDENTIFY, boxes=())
    one = c.judge(asked, "i", given(prose="Liver", raw="liver"), given(prose="spleen", raw="spleen"))
    assert one.iou is None and one.correct == (1.0, 0.0) and one.changed


def test_the_loss_is_that_of_the_package() -> None:
    judged = [c.judge(question(), f"i{i}", given(LEFT), given(HALF if i else LEFT)) for i in range(4)]
    (entry,) = c.summarise(judged)
    assert entry["n"] == 4 and entry["images"] == 4 and entry["changed"] == 0.75 and entry["moved"] == 0.75
    assert entry["mean_iou"]["reference"] == 1.0
    assert entry["mean_iou"]["loss"] == pytest.approx(0.375)
    low, high = entry["mean_iou"]["interval"]
    assert 0.0 <= low < 0.375 < high <= 0.5
    assert c.summarise(judged) == c.summarise(judged)  # seeded


def test_the_interval_is_over_images_not_questions() -> None:
    one_image = [c.judge(question(), "same", given(LEFT), given(HALF if i else LEFT)) for i in range(4)]
    (entry,) = c.summarise(one_image)
    assert entry["mean_iou"]["interval"] == [pytest.approx(0.375)] * 2


def test_groups_by_modality_come_on_top() -> None:
    judged = [c.judge(question(modality=m), "i", given(LEFT), given(LEFT)) for m in (Modality.CT, Modality.MRI, None)]
    entries = c.summarise(judged)
    assert [(e["modality"], e["n"]) for e in entries] == [(None, 3), ("ct", 1), ("mri", 1)]


def test_the_worst_items_and_the_flips_are_named_by_hash_alone() -> None:
    judged = [
        dataclasses.replace(c.judge(question(), "i", given(LEFT), given(*answer)), item=name)
        for name, answer in (("same", [LEFT]), ("half", [HALF]), ("gone", []))
    ]
    judged.append(dataclasses.replace(c.judge(question(), "i", given(), given(LEFT)), item="won"))
    named = c.losses(judged)
    assert [(one["item"], one["score"]) for one in named["worst"]] == [("gone", [1.0, 0.0]), ("half", [1.0, 0.5])]
    assert {one["item"]: one["to"] for one in named["flips"]} == {"gone": "wrong", "won": "right"}
    assert set(named["worst"][0]) == {"item", "task", "language", "modality", "score"}


def write(path: Path, *lines: object) -> Path:
    path.write_text("\n".join(json.dumps(x) if not isinstance(x, str) else x for x in lines), encoding="utf-8")
    return path


LINE = {"id": 1, "image": "a.png", "question": "肝脏在哪里？", "task": "detect", "truth": {"text": "x"}}


def test_questions_are_read(tmp_path: Path) -> None:
    truth = {"text": "x", "regions": [{"label": "liver", "boxes": [[1, 2, 3, 4], [5, 6, 7, 8]]}]}
    first, second = read_questions(write(tmp_path / "q.jsonl", LINE, "", LINE | {"truth": truth, "image": "/b.png"}))
    assert first.language is Language.ZH and first.image == tmp_path / "a.png" and first.boxes == ()
    assert second.image == Path("/b.png") and [box.x1 for _, box in second.boxes] == [1.0, 5.0]
    assert first.sha256 != second.sha256


@pytest.mark.parametrize(
    "line", ["[]", "{", LINE | {"task": "guess"}, LINE | {"truth": {}}, {k: v for k, v in LINE.items() if k != "image"}]
)
def test_a_bad_line_is_named(tmp_path: Path, line: object) -> None:
    with pytest.raises(UsageError, match=r"Line 2 of 'q\.jsonl'"):
        read_questions(write(tmp_path / "q.jsonl", LINE, line))


def test_an_empty_file_is_refused(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="holds no question"):
        read_questions(write(tmp_path / "q.jsonl", ""))


def test_a_choice_is_spread_over_the_file() -> None:
    questions = [question(text=str(i)) for i in range(10)]
    assert [q.text for q in choose(questions, 3)] == ["0", "3", "6"]
    assert choose(questions, 99) == questions


@pytest.mark.export
def test_a_gate_names_the_stage() -> None:
    pytest.importorskip("torch")
    from medrega_export.graphs.numerical_error import Thresholds

    Thresholds().check({"vision_int8": 0.01, "gptq": 9.0})
    with pytest.raises(GateError, match="vision_int8"):
        Thresholds().check({"vision_int8": 0.2})
    with pytest.raises(GateError, match="decoder_fp32"):
        Thresholds().check({"decoder_fp32": float("nan")})
