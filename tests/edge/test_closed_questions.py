"""Closed questions: which ask for yes or no, which offer a choice, and which the body part of the image answers."""

import pytest

from medrega_edge.vocabulary.answers import asks_yes_or_no, offered
from medrega_edge.vocabulary.body_parts import can_hold, part_of, parts_with

ANSWERS = (
    "Yes",
    "No",
    "CT",
    "MRI",
    "X-Ray",
    "Kidney",
    "Right Kidney",
    "Right",
    "Lower Right",
    "Liver",
    "T1",
    "T2",
    "右侧",
    "右下",
)


@pytest.mark.parametrize(
    ("question", "asks"),
    [
        ("Is the lung healthy?", True),
        ("Is/Are there abnormalities?", True),
        ("Is this a CT or an MRI?", False),
        ("Which organ is this?", False),
        ("图像中包含肝脏吗?", True),
        ("肺是否健康?", True),
        ("左肾在右侧还是右下?", False),
        ("有哪些器官?", False),
        ("图中最大的器官是什么?", False),
        ("图中最大的器官是什么？", False),
        ("这是怎么拍的?", False),
        ("肝脏正常么?", True),
    ],
)
def test_which_questions_ask_for_yes_or_no(question, asks):
    assert asks_yes_or_no(question) is asks


@pytest.mark.parametrize(
    ("question", "choices"),
    [
        ("Which is larger, liver or right kidney?", {"Liver", "Right Kidney", "Right"}),
        ("Is this MRI, CT or X-Ray?", {"MRI", "CT", "X-Ray"}),
        ("Does it show a liver or a kidney?", {"Liver", "Kidney", "Yes", "No"}),
        ("Which weighting is it, T1 weighted or T2 weighted?", {"T1", "T2"}),
        ("Which is larger, liver or duodenum?", {"Liver", "duodenum"}),  # the second is no known answer
        ("Which is larger, rectum or liver?", {"rectum", "Liver"}),  # CT is no word of the first
        ("What is denser, the mass or the surrounding tissue?", {"mass", "surrounding tissue"}),
        ("左肾在哪,右侧还是右下?", {"右侧", "右下"}),
        ("Is the liver healthy?", set()),
        ("Is it benign or malignant?", {"benign", "malignant"}),
        ("Was it taken with or without contrast?", {"with contrast", "without contrast"}),
        ("Is it more or less dense than fat?", {"more dense", "less dense"}),
        ("Which is smallest, rectum, liver or kidney?", {"rectum", "Liver", "Kidney"}),
        ("Which organ is right, liver or kidney?", {"Liver", "Kidney"}),
        ("Is contrast used or not?", {"Yes", "No"}),
        ("Does the liver show a mass or lesion?", {"Yes", "No"}),
        ("What test or procedure shows the diagnosis?", set()),
    ],
)
def test_a_choice_holds_the_answers_that_a_question_offers(question, choices):
    assert set(offered(question, ANSWERS)) == choices


@pytest.mark.parametrize(
    ("question", "parts"),
    [
        ("Is this a study of the chest?", {"chest"}),
        ("Do the organs in the image exist in the pelvic cavity?", {"pelvis"}),
        ("Do any of the organs in the picture belong to the urinary system?", {"abdomen", "pelvis"}),
        ("Are there organs in the picture that can detoxicate?", {"abdomen"}),
        ("图像中的器官是否存在于胸腔?", {"chest"}),
        ("图片中有属于神经系统的器官吗?", {"head", "neck"}),
        ("Which system do the organs belong to?", set()),
        ("Is the chest normal?", set()),
        ("Does the scan show the brain tumor?", set()),
        ("Are the organs of the nervous system normal?", set()),
        ("Is there normal blood flow in this organ?", set()),
        ("肿瘤是否位于头部左侧?", set()),
        ("Are there some organs controlling heartbeat and breathing in this image?", {"head"}),
        ("Does the x-ray show the chest tube?", set()),
        ("Does the CT show the head of the pancreas?", set()),
        ("Does the picture contain liver?", set()),
    ],
)
def test_which_body_parts_answer_a_question_with_yes(question, parts):
    assert parts_with(question) == parts


def test_names_of_body_parts():
    answers = [part_of(name, "answers") for name in ("Chest", "Brain.", "Pelvic Cavity", "Liver")]
    assert answers == ["chest", "head", "pelvis", None]
    assert [part_of(name, "organs") for name in ("heart", "ovary", "spine", "chest")] == ["chest", "pelvis", None, None]
    assert part_of("head and face", "reported_as") == "head"


def test_which_labels_a_body_part_can_show():
    assert not can_hold("abdomen", "left femur") and not can_hold("head", "liver") and not can_hold("chest", "bladder")
    assert can_hold("abdomen", "right kidney") and can_hold("head", "intraventricular hemorrhage")
    assert can_hold("chest", "left ventricle") and not can_hold("abdomen", "left ventricle")
    assert can_hold("neck", "vertebra")  # anywhere
