"""Is it there: one answer, from the boxes, whatever the task and the language."""

import math
from dataclasses import replace

import pytest

from medrega_edge.answer import LIKELY
from medrega_edge.boxes import GridBox, PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks import body_part, detection, identification
from medrega_edge.tasks.base import Detection, TaskResult
from medrega_edge.tasks.presence import answer_presence, asked_structure, look_for
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.answers import is_yes
from medrega_edge.vocabulary.body_parts import can_hold
from medrega_edge.vocabulary.presence import certain_from, floor, is_known
from tools.presence import fit

LIVER = ("liver", "肝脏")
QUESTIONS = {Language.EN: "Does the picture contain liver?", Language.ZH: "图片中包含肝脏吗？"}


@pytest.fixture
def surely(engine, scan):
    """A context of the sample scan in which every box has this confidence."""

    def make(confidence, language=Language.EN, part=None):
        context = engine.context(scan, language)
        return replace(context, confidence=lambda *_: confidence, certain_part=lambda: part)

    return make


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("Yes", True),
        ("no.", False),
        ("Liver", None),
        ("包含", True),
        ("没有。", False),
        ("左侧", None),
    ],
)
def test_what_says_yes(answer, says):
    assert is_yes(answer) is says


def test_open_questions_are_not_answered_by_yes_or_no(surely):
    context = surely(0.9)
    assert answer_presence(context, QUESTIONS[Language.EN], _prompt(context, QUESTIONS[Language.EN])) is not None
    asked = "Where is there evidence of a liver?"
    assert asked_structure(context, asked) == (LIVER,)  # its phrases alone would take it for one of presence
    assert answer_presence(context, asked, _prompt(context, asked)) is None


def _prompt(context, question):
    return context.prompts.prompt(Task.VQA, context.language, question)


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Does the picture contain liver?", {"liver"}),
        ("Does the picture contain kidney?", {"left kidney", "right kidney"}),
        ("Is there a liver or a spleen?", set()),  # two answers
        ("Is there any abnormality?", set()),  # of no one name
        ("Where is the liver?", set()),
        ("Is the liver healthy?", set()),
    ],
)
def test_whose_presence_is_asked_for(engine, scan, question, names):
    assert {english for english, _ in asked_structure(engine.context(scan, Language.EN), question)} == names


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize(
    ("confidence", "says", "is_unsure"), [(0.9, True, False), (0.5, True, False), (0.2, False, True), (0.01, False, False)]
)
def test_a_closed_question_is_answered_from_the_box(surely, language, confidence, says, is_unsure):
    result = AnswerQuestion(QUESTIONS[language]).run(surely(confidence, language))
    assert (is_yes(result.text), result.is_unsure) == (says, is_unsure)
    found = look_for(surely(confidence, language), LIVER)
    assert (found.is_found, found.is_perhaps) == (says, is_unsure)


def test_a_box_below_the_floor_is_not_found(surely):
    found = look_for(surely(floor() - 0.01), LIVER).located
    assert not found.detections
    assert [warning.code for warning in found.warnings] == ["task.below_floor"]
    assert look_for(surely(floor()), LIVER).located.detections


def test_a_body_part_without_the_organ_has_none(surely):
    found = look_for(surely(0.9, part="head"), LIVER)
    assert (found.is_found, found.is_perhaps) == (False, False)
    assert [warning.code for warning in found.located.warnings] == ["task.impossible_in_part"]
    assert look_for(surely(0.9, part="abdomen"), LIVER).is_found


def test_a_score_that_healthy_images_have_too_is_no_proof(surely, monkeypatch):
    monkeypatch.setattr(detection, "certain_from", lambda *_: 0.9)
    assert not look_for(surely(0.85), LIVER).is_found
    assert look_for(surely(0.85), LIVER).is_perhaps
    assert look_for(surely(0.95), LIVER).is_found


def test_a_name_that_such_images_never_had_is_no_more_than_perhaps(surely):
    femur = look_for(surely(0.99), ("left femur", "左侧股骨"))
    assert not is_known(Modality.MRI, "left femur")
    assert (femur.is_found, femur.is_perhaps) == (False, True)


@pytest.mark.parametrize("is_wider_found", [True, False])
def test_a_heart_without_a_box_of_its_own_gets_that_of_heart_and_mediastinum(surely, monkeypatch, is_wider_found):
    asked = []

    def stub(context, english, label):
        asked.append(english)
        is_found = is_wider_found and english == "heart and mediastinum"
        return TaskResult("", (Detection(label, GridBox(0, 0, 500, 500), 0.9),) if is_found else ())

    monkeypatch.setattr(detection, "_locate", stub)
    located = detection.locate(surely(0.9), ("heart", "心脏"))
    assert asked == ["heart", "heart and mediastinum"]
    assert [each.label for each in located.detections] == ["heart"] * is_wider_found
    assert [warning.code for warning in located.warnings] == ["task.wider_box"] * is_wider_found


def test_an_x_ray_gives_the_wider_name_that_its_kind_was_trained_on(surely, monkeypatch):
    asked = []

    def stub(context, english, label):
        asked.append(english)
        return TaskResult("", (Detection(label, GridBox(0, 0, 500, 500), 0.9),))

    monkeypatch.setattr(detection, "_locate", stub)
    xray = replace(surely(0.9), image_modality=lambda: Modality.XRAY)
    located = detection.locate(xray, ("trachea", "气管"))
    assert asked == ["trachea and main bronchi"]
    assert [each.label for each in located.detections] == ["trachea"]
    assert [warning.code for warning in located.warnings] == ["task.wider_box"]


@pytest.mark.parametrize(("reported", "part"), [("pelvis", None), ("chest", "chest"), ("heart", "chest"), (None, "chest")])
def test_a_body_part_is_certain_only_where_a_report_agrees(surely, monkeypatch, reported, part):
    monkeypatch.setattr(body_part, "_reported_part", lambda _: (reported, 0.95))
    monkeypatch.setattr(body_part, "_share_of", lambda *_: {"chest": 0.95, "pelvis": 0.01})
    assert body_part.certain_part(surely(0.9)) == part


def test_a_tube_is_no_more_than_perhaps_there():
    assert certain_from(Modality.XRAY, "nasogastric tube") == math.inf
    assert certain_from(Modality.XRAY, "left lung") == LIKELY


@pytest.mark.parametrize(
    ("probability", "is_there", "doubts"), [(0.5, False, True), (0.5, True, False), (0.95, False, False)]
)
def test_a_name_for_a_box_in_which_it_is_not_located_is_in_doubt(surely, monkeypatch, probability, is_there, doubts):
    context, box = surely(0.9), PixelBox(10, 10, 60, 60)
    place = context.geometry.to_grid(box if is_there else PixelBox(100, 100, 120, 120))
    monkeypatch.setattr(type(context), "choose", lambda *_: (context.generate_prose(_[1]), [0], probability))
    monkeypatch.setattr(identification, "locate", lambda *_: TaskResult("", (Detection("x", place, 0.9),)))
    warnings = identification.Identify(box).run(context).warnings
    assert ("task.not_located_here" in [warning.code for warning in warnings]) is doubts


def test_the_numbers_of_the_table():
    assert 0 < floor() < LIKELY < 1
    assert certain_from(Modality.XRAY, "cardiomegaly") == math.inf  # healthy films get the same box
    assert certain_from(Modality.CT, "liver") == LIKELY
    assert is_known(Modality.CT, "liver") and not is_known(Modality.FUNDUS, "liver")


@pytest.mark.parametrize(
    ("part", "label", "can"),
    [
        ("head", "tooth", True),
        ("abdomen", "molar", False),
        ("abdomen", "right femur", False),
        ("abdomen", "lung cancer", False),
        ("chest", "lung cancer", True),
        ("head", "pneumonia", False),
        ("spine", "vertebra", True),
        ("eye", "vertebra", False),
        ("teeth", "pectoral muscle", False),
        ("limb", "peripheral nerve", True),
        ("spine", "peripheral nerve", False),
        ("gut", "polyp", True),
        ("head", "fracture", True),
    ],
)
def test_what_a_body_part_can_hold(part, label, can):
    assert can_hold(part, label) is can


def test_prompts_of_older_packages_are_read():
    book = PromptBook("{image}", {}, presence={"words": 0.1, "box": 0.2, "bias": 0.0})
    assert PromptBook.from_json(book.to_json()) == book


def test_the_table_is_fitted_to_what_images_without_a_finding_show():
    def cases(name, present, absent, is_guess=False):
        shown = [(True, each) for each in present] + [(False, each) for each in absent]
        return [("ct", name, is_shown, confidence, is_guess) for is_shown, confidence in shown]

    liver = [("ct", "liver", True, 0.5, False)] * 100
    floor_of_all, certain = fit(
        [
            *cases("kidney tumor", [0.9] * 10, [0.9] * 10),
            *cases("liver tumor", [0.9] * 10, [0.2] * 10),
            *cases("lung mass", [0.97] * 10, [0.65] * 10),
            *cases("bone lesion", [0.9], [0.1]),
            *cases("brain edema", [0.9] * 10, []),  # which all images show
            *cases("glioma", [0.9] * 10, [0.2] * 10) + cases("glioma", [], [0.9] * 10, is_guess=True),
            *cases("lung nodule", [], [0.2] * 50),  # no image shows that a high score is right
            *liver,
        ]
    )
    assert certain["ct"] == {
        "kidney tumor": None,
        "liver tumor": LIKELY,
        "lung mass": 0.7,
        "bone lesion": None,
        "brain edema": LIKELY,
        "glioma": LIKELY,
        "lung nodule": None,
    }
    assert floor_of_all == 0.1
    assert fit([("ct", "liver", True, 0.04, False)] * 100)[0] == 0.04


def test_a_name_that_no_image_like_this_one_had_is_no_more_than_perhaps(surely):
    context = replace(surely(0.99), is_unfamiliar_name=lambda english: english == "liver")
    liver = look_for(context, LIVER)
    assert (liver.is_found, liver.is_perhaps) == (False, True)
    assert [warning.code for warning in liver.located.warnings] == ["task.unfamiliar_name"]
    assert look_for(context, ("spleen", "脾脏")).is_found
