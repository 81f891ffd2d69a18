"""A finding that is asked for in several structures, on a side, or by another name than such images have."""

from dataclasses import replace

import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import understand
from medrega_edge.prompts.intent.parts import parts


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("is there a mass in the liver or kidney", ["is there a mass in the liver", "is there a mass in the kidney"]),
        ("liver and spleen lesions?", ["liver lesions", "spleen lesions"]),
        (
            "Any cyst in the liver, spleen or kidneys?",
            ["any cyst in the " + each for each in ("liver", "spleen", "kidneys")],
        ),
        ("where is the aorta? liver and kidney tumors?", ["where is the aorta", "liver tumors", "kidney tumors"]),
        ("肝脏、脾脏有无占位", ["肝脏有无占位", "脾脏有无占位"]),
    ],
)
def test_a_finding_is_asked_for_in_each_structure(terminology, text, asked):
    assert parts(text, terminology, Modality.CT) == asked


@pytest.mark.parametrize(
    "text",
    [
        "locate the liver and the kidney tumor",
        "左肾和右肾有没有结石",
        "where are the liver and the spleen",
        "how far is the liver tumor from the spleen",
    ],
)
def test_structures_of_one_question_stay_together(terminology, text):
    assert parts(text, terminology, Modality.CT) == []


def test_both_structures_and_a_finding_are_located(terminology):
    names = understand("Locate both kidneys and the tumour, but ignore cysts.", terminology, Modality.CT).names
    assert {english for english, _ in names} == {"left kidney", "right kidney", "kidney tumor"}


def test_each_side_is_told(parse, engine, scan):  # "a stone in the left kidney? in the right?" had one text for both
    asked = parse("any stone in the left kidney?", Modality.CT)
    answer = engine.ask(scan, "is there a liver?")
    stone = replace(answer.regions[0], label="kidney stone", confidence=0.9)
    there = replace(stone, box=PixelBox(answer.image.width - 40, 20, answer.image.width - 20, 40))
    here = replace(answer, regions=(there,), image=replace(answer.image, sides=None, modality=Modality.CT))
    assert asked.finish(here).text.startswith("Left side: ")


def test_a_view_from_the_side_has_no_sides(parse, engine, scan):
    asked = parse("any stone in the left kidney?", Modality.CT)
    answer = engine.ask(scan, "is there a liver?")
    told = asked.finish(replace(answer, image=replace(answer.image, sides=("AP", "HF"), modality=Modality.CT)))
    assert "task.words_left_out" in [warning.code for warning in told.warnings] and "Left side" not in told.text


@pytest.mark.parametrize("text", ["左边手脚没力，有脑出血吗", "pain in right hip. Is there a fracture?", "肝右叶有没有病变"])
def test_a_side_of_a_limb_or_a_lobe_is_no_side_of_a_finding(terminology, text):
    assert understand(text, terminology, Modality.CT).side is None


def test_traditional_characters_are_read(parse):
    assert parse("胸部X光有沒有肺結核", Modality.XRAY).task == "classify"
    assert parse("請問這張是正常肺組織嗎", Modality.PATHOLOGY).intent.kind == "report"


def test_what_such_images_have_by_another_name_is_located_by_it(parse):
    asked = parse("请标出所有椎体。", Modality.MRI)
    assert {english[:1] for english, _ in asked.intent.names} <= {"L", "T"}
    asked = parse("Locate the lumbar vertebrae only.", Modality.XRAY)
    assert [english for english, _ in asked.intent.names] == ["vertebra"]
    assert [note.code for note in asked.notes] == ["task.words_left_out"]


def test_any_abnormality_of_a_structure_is_what_such_images_had(parse):
    asked = parse("Where is the abnormality in the lungs?", Modality.XRAY)
    assert {"pneumonia", "lung nodule"} <= {english for english, _ in asked.intent.names}
