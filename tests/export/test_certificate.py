"""What a certificate keeps of answers, how losses are named, and that its figures mean what the benchmark's mean."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace

import pytest

from medrega_edge.answer import Region
from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Modality, Task
from medrega_edge.errors import GateError
from medrega_edge.evaluation.comparison import compare, label_accuracies
from medrega_edge.evaluation.questions import LabelledBoxes, Question, Truth
from medrega_edge.evaluation.runner import AnsweredQuestion
from medrega_export import certificate as c
from tests.codes import raises_code

LEFT, RIGHT = PixelBox(0, 0, 10, 10), PixelBox(20, 0, 30, 10)
HALF = PixelBox(0, 0, 10, 5)
SIDE = 999  # of an image whose pixels are the model's grid


def question(name: str, *truth: PixelBox, task: Task = Task.DETECT, text: str = "", modality=None) -> Question:
    regions = (LabelledBoxes("liver", truth),) if truth else ()
    return Question(
        id=name,
        image=Path("a.png"),
        question="?",
        task=task,
        truth=Truth(text, regions),
        modality=modality,
        sha256=name,
        object="liver" if truth else None,
    )


def answered(asked: Question, *boxes: PixelBox, words: str = "", refused: bool = False) -> AnsweredQuestion:
    regions = tuple(Region("liver", box, 0.8) for box in boxes)
    answer = SimpleNamespace(
        regions=regions,
        labels=(),
        confidence=0.7 if words else None,
        text=words,
        words=words,
        raw_text=words or str(boxes),
        language="en",
        warnings=(),
        image=SimpleNamespace(modality="ct"),
    )
    encoded = SimpleNamespace(geometry=Geometry(SIDE, SIDE), image=SimpleNamespace(sha256="i"))
    return AnsweredQuestion(asked, encoded, None if refused else answer)  # type: ignore[arg-type]


def pairs(*cases: tuple[Question, AnsweredQuestion, AnsweredQuestion]) -> list:
    questions, full, package = zip(*cases, strict=True)
    return c.graded_twice(questions, [c.graded(one) for one in full], [c.graded(one) for one in package])


def test_the_same_boxes_score_the_same_in_a_certificate_and_in_the_benchmark() -> None:
    from medrega_bench.datasets.evaluation_set import EvaluationItem
    from medrega_bench.evaluation import paired
    from medrega_bench.evaluation.runner import row_of

    # The best pair first, whatever it leaves, would score 0.567.
    asked = question("q", PixelBox(0, 0, 60, 10), PixelBox(0, 0, 100, 10))
    one = answered(asked, PixelBox(0, 0, 80, 10), PixelBox(20, 0, 120, 10))
    mine = c.graded(one).grade
    theirs = paired.grade(row_of(EvaluationItem(asked, "set", (SIDE, SIDE)), one))
    assert mine is not None and mine.mean_iou == theirs.mean_iou == pytest.approx(0.708, abs=5e-4)
    assert mine == theirs
    (entry,) = compare(pairs((asked, one, one)))
    assert entry.mean_iou is not None and entry.mean_iou.package == mine.mean_iou


def test_a_refusal_is_an_answer_without_a_word() -> None:
    kept = c.graded(answered(question("q", LEFT), refused=True))
    assert (kept.raw_text, kept.grade and kept.grade.worth, kept.warnings, kept.first_box) == ("", 0.0, 1, None)


def test_what_is_not_there_is_a_task_of_its_own() -> None:
    nothing = question("none")
    (pair,) = pairs((nothing, answered(nothing), answered(nothing, LEFT)))
    assert (pair.task, pair.grades[0].accuracy, pair.grades[1].accuracy) == ("absent", 1.0, 0.0)
    assert pair.grades[0].mean_iou is None


def test_reports_are_left_out() -> None:
    told = question("r", task=Task.REPORT, text="CT.")
    assert pairs((told, answered(told, words="CT."), answered(told, words="MRI."))) == []


def test_names_are_judged_by_their_words() -> None:
    asked = question("n", task=Task.IDENTIFY, text="liver", modality=Modality.CT)
    (pair,) = pairs((asked, answered(asked, words="Liver."), answered(asked, words="spleen")))
    assert (pair.task, pair.modality, pair.changed, pair.flipped) == ("identify", "ct", True, True)


def test_the_worst_items_and_the_flips_are_named_by_hash_alone() -> None:
    cases = [("same", [LEFT], [LEFT]), ("half", [LEFT], [HALF]), ("gone", [LEFT], []), ("won", [], [LEFT])]
    asked = {name: question(name, LEFT) for name, _, _ in cases}
    named = c.losses(pairs(*((asked[n], answered(asked[n], *a), answered(asked[n], *b)) for n, a, b in cases)))
    assert [(one["item"], one["score"]) for one in named["worst"]] == [("gone", [1.0, 0.0]), ("half", [1.0, 0.5])]
    assert {one["item"]: one["to"] for one in named["flips"]} == {"gone": "wrong", "won": "right"}
    assert set(named["worst"][0]) == {"item", "task", "language", "modality", "score"}


def test_scores_are_fitted_over_questions_about_one_box() -> None:
    one, two = question("one", LEFT), question("two", LEFT, RIGHT)
    kept = [c.graded(answered(one, HALF)), c.graded(answered(one, RIGHT)), c.graded(answered(two, LEFT))]
    assert [answer.first_box for answer in kept] == [(0.8, True), (0.8, False), None]
    assert c.calibration_of(answer.first_box for answer in kept) == ()  # too few to fit
    assert len(c.calibration_of(answer.first_box for answer in kept * c.ENOUGH_TO_FIT)) == 2


def test_boxes_are_calibrated_by_label_and_kind_of_image_each_once() -> None:
    asked = question("q", LEFT, modality=Modality.CT)
    hit, miss = c.graded(answered(asked, LEFT)), c.graded(answered(asked, RIGHT))
    assert c.shifts_of([asked], [hit], ()) == {}
    shifts = c.shifts_of([asked], [miss], (1.0, 0.0))
    assert shifts["ct"]["liver"] < shifts["ct"][""] < 0.0
    assert c.shifts_of([asked, asked], [miss, miss], (1.0, 0.0)) == shifts  # the same box in the other language


def test_answers_are_given_from_the_confidence_on_from_which_enough_are_right() -> None:
    closed = [c.AnswerInWords(0.9, n % 10 > 0, True) for n in range(100)]
    closed += [c.AnswerInWords(0.3, False, True) for _ in range(100)]
    others = [c.AnswerInWords(0.2, n % 10 > 0, False) for n in range(100)]
    identity = (1.0, 0.0)
    thresholds = c.thresholds_of(closed + others, identity)
    assert thresholds is not None
    assert (thresholds.closed, thresholds.open) == (0.9, 0.2)
    assert c.thresholds_of(closed + others, ()) is None
    few = c.thresholds_of(closed + others[:9], identity)
    assert few is not None and few.open == few.closed == 0.9  # too few others: the threshold of all


@pytest.mark.export
def test_a_gate_names_the_stage() -> None:
    pytest.importorskip("torch")
    from medrega_export.graphs.numerical_error import Thresholds

    Thresholds().check({"vision_int8": 0.01, "gptq": 9.0})
    with raises_code(GateError, "export.stage_error", stage="vision_int8", error=0.2, limit=0.05):
        Thresholds().check({"vision_int8": 0.2})
    with raises_code(GateError, "export.stage_not_a_number", stage="decoder_fp32"):
        Thresholds().check({"decoder_fp32": float("nan")})


def test_words_are_fitted_to_whether_they_are_right() -> None:
    asked = question("q", task=Task.VQA, text="Yes")
    assert [c.graded(answered(asked, words=words)).words for words in ("yes.", "no")] == [
        (0.7, True, True),
        (0.7, False, True),
    ]
    assert c.graded(answered(question("one", LEFT), LEFT)).words is None


def test_labels_have_accuracies_of_their_own_in_each_modality() -> None:
    asked = question("q", LEFT, modality=Modality.CT)
    other = question("r", RIGHT, modality=Modality.MRI)
    graded = pairs(
        *((asked, answered(asked, LEFT), answered(asked, box)) for box in (LEFT, RIGHT)),
        (other, answered(other, LEFT), answered(other, RIGHT)),
    )
    cells = [(cell.label, cell.modality, cell.answers, cell.right) for cell in label_accuracies(graded)]
    assert cells == [("liver", "ct", 2, 0.5), ("liver", "mri", 1, 1.0)]
