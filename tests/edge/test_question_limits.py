"""What a question limits, denies or compares: none of it may be answered by a plain yes."""

import pytest

from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.scene import Scene
from medrega_edge.vocabulary.answers import closed_and_open
from medrega_edge.vocabulary.body_parts import fits_report
from medrega_edge.vocabulary.terminology import Terminology

TASKS = ("detect", "vqa", "report", "classify")


@pytest.fixture(scope="module")
def terminology():
    return Terminology(PromptBook.from_json(find_package().text("prompts")).labels)


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("Are there more than 5 white cells?", Kind.COUNT, ["white blood cell"]),
        ("Is there only one kidney?", Kind.COUNT, ["left kidney", "right kidney"]),
        ("How far apart are the two kidneys?", Kind.DISTANCE, ["left kidney", "right kidney"]),
        ("Mark all organs except the liver", Kind.ORGANS, []),
        ("Don't show the heart, only the lungs", Kind.LOCATE, ["left lung", "right lung"]),
        ("不要定位心脏，只定位左肺", Kind.LOCATE, ["left lung"]),
        ("fracture known. any effusion?", Kind.PRESENCE, ["pleural effusion"]),
        ("caudate vs putamen on the left, which is bigger", Kind.COMPARE, ["left caudate nucleus", "left putamen"]),
        ("?fracture", Kind.PRESENCE, ["fracture"]),
        ("乳腺的低回声病变，勾边", Kind.LOCATE, ["breast lesion"]),
        ("没强化的肿瘤在哪", Kind.LOCATE, ["brain non-enhancing tumor"]),
        ("我想要一张带框的心脏图", Kind.LOCATE, ["heart"]),
        ("what is the cup/disc ratio?", Kind.COMPARE, ["optic cup", "optic disc"]),
    ],
)
def test_limits_are_understood(terminology, text, kind, names):
    modality = Modality.FUNDUS if "optic cup" in names else Modality.CT
    found = understand(text, terminology, modality)
    assert (found.kind, sorted(english for english, _ in found.names)) == (kind, names)


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Is the heart inside the left lung?", "task.impossible_relation"),
        ("Is the polyp in the upper half?", "task.impossible_relation"),
        ("Which kidney is lower?", "task.impossible_relation"),
        ("Is the liver brighter than the spleen?", "task.impossible_brightness"),
        ("肝比脾亮吗", "task.impossible_brightness"),
        ("any heart disease?", "task.unknown_name_here"),
        ("有心脏病吗", "task.unknown_name_here"),
        ("有没有肝病", "task.unknown_name_here"),
        ("which grade is this", "task.no_fitting_set"),
        ("What organs are on the right side?", "task.impossible_relation"),
        ("thank you", "task.help"),
    ],
)
def test_what_no_box_tells_is_refused(terminology, text, code):
    with pytest.raises(UsageError) as refused:
        parse_intent(text, Scene(TASKS, terminology, Modality.MRI))
    assert refused.value.message.code == code


def test_a_denial_gets_no_yes(engine, scan):
    plain_found, yes = "Found: liver.", "Yes, found: liver."
    for text, plain in (
        ("is there no liver?", plain_found),
        ("There's no liver here, is there?", plain_found),
        ("is there a liver?", yes),
    ):
        assert engine.run(scan, engine.request(scan, text)).text == plain


def test_a_state_of_what_cannot_be_there_is_no_yes(engine, scan):
    assert engine.run(scan, engine.request(scan, "is the myocardium thick?")).text.startswith("Not found:")


def test_slips_among_names_are_corrected_and_said(engine, scan):
    answer = engine.detect(scan, "livver")
    assert [region.label for region in answer.regions] == ["liver"]
    assert "answer.typo" in [warning.code for warning in answer.warnings]


def test_a_mole_is_a_class_not_the_box_of_a_lesion(terminology):
    assert parse_intent("Is it a nevus?", Scene(TASKS, terminology, Modality.DERMOSCOPY)).task is Task.CLASSIFY


def test_ventricles_in_a_head_are_those_of_the_brain(terminology):
    found = parse_intent("where are the ventricles?", Scene(TASKS, terminology, Modality.CT, body_part=lambda: "head"))
    assert "left lateral ventricle" in found.request.names
    assert "left ventricle" not in found.request.names


def test_an_open_question_gets_no_yes():
    closed, others = closed_and_open(("yes", "no", "liver", "none"))
    assert (closed, others) == (("yes", "no"), ("liver", "none"))


def test_a_report_names_what_its_body_part_holds():
    assert not fits_report("head and face", "left hip bone", Modality.XRAY)
    assert fits_report("abdomen and pelvis", "prostate", Modality.CT)
    assert fits_report("spine and muscles", "left lung", Modality.XRAY)
    assert not fits_report("liver", "fetal head", Modality.ULTRASOUND)
    assert not fits_report("liver", "ovarian tumor", Modality.ULTRASOUND)
    assert fits_report("liver", "blood vessel", Modality.ULTRASOUND)


def test_a_question_may_ask_for_a_language():
    assert language_of("report in Chinese") is Language.ZH
    assert language_of("用英文写报告") is Language.EN
    assert language_of("is there Chinese text?") is Language.EN
