"""A question gets the classes of its kind of image and body part, or a refusal."""

from dataclasses import replace

import pytest

from medrega_edge.domain import Language, Modality
from medrega_edge.errors import UsageError
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.scene import Scene
from medrega_edge.vocabulary.body_parts import holds_any
from medrega_edge.vocabulary.label_sets import LABEL_SETS, candidate_sets, label_set_of
from tests.codes import raises_code


@pytest.mark.parametrize(
    ("question", "modality", "name"),
    [
        ("what kind of white cell is this", Modality.PATHOLOGY, None),
        ("is it benign or malignant", Modality.PATHOLOGY, None),
        ("良性还是恶性", Modality.PATHOLOGY, None),
        ("is this lung tissue benign", Modality.PATHOLOGY, "lung-tissue"),
        ("is the brain tumor benign or malignant", Modality.CT, None),
        ("which type of hemorrhage", Modality.CT, "brain-hemorrhage"),
        ("is this benign", Modality.DERMOSCOPY, "skin"),
        ("is there macular edema?", Modality.FUNDUS, "macular-edema"),
    ],
)
def test_a_set_is_not_meant_because_it_is_the_only_one(question, modality, name):
    assert label_set_of(question, modality) == name


def asked(engine, question, modality, part):
    return parse_intent(question, Scene(engine.tasks, engine.terminology, modality, engine._prompts, body_part=lambda: part))


def test_classes_of_another_body_part_are_refused(engine):
    question = "is it a glioma or a meningioma or a pituitary tumor"
    with raises_code(UsageError, "task.set_of_other_part", name="brain-tumor", part="abdomen"):
        asked(engine, question, Modality.MRI, "abdomen")
    for part in ("head", None):
        assert isinstance(asked(engine, question, Modality.MRI, part).request, Classify)


@pytest.mark.parametrize("part", ["abdomen", "head", None])
def test_a_set_that_is_named_gets_a_warning(engine, scan, part):
    context = replace(engine.context(scan, Language.EN), certain_part=lambda: part)
    warnings = [each.code for each in Classify("brain-tumor").run(context).warnings]
    assert ("task.labels_of_other_part" in warnings) is (part == "abdomen")


def test_the_eye_has_no_side_in_a_photograph_of_it(engine):
    with raises_code(UsageError, "task.which_of_pair"):
        asked(engine, "left or right eye?", Modality.FUNDUS, "eye")


def test_parts_of_a_set():
    assert holds_any("head", LABEL_SETS["brain-hemorrhage"].parts)
    assert not holds_any("chest", LABEL_SETS["brain-hemorrhage"].parts)
    assert holds_any("chest", ("genitourinary system",))  # which is none of the parts that are recognised


@pytest.mark.parametrize("question", ["glaucoma?", "is there age-related macular degeneration?", "有没有青光眼"])
def test_a_disease_that_no_set_holds_is_refused(engine, question):
    with raises_code(UsageError, "task.unknown_name_here"):
        parse_intent(question, Scene(["classify", "detect", "vqa"], engine.terminology, Modality.FUNDUS))


@pytest.mark.parametrize("question", ["是囊性还是实性", "is it cystic or solid"])
def test_a_question_that_offers_its_own_choice_gets_no_class_of_another_set(question):
    assert candidate_sets(question, Modality.MRI) == ()
    assert "breast" in candidate_sets("is it benign or malignant", Modality.ULTRASOUND)
