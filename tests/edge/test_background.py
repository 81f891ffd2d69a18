"""What a text tells beside its question is no part of it: who asks, the patient's age, laboratory values, a history."""

import pytest

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.prompts.intent.background import without_background


@pytest.mark.parametrize(
    ("text", "asked"),
    [
        ("Neurosurgeon: where is the lesion?", "where is the lesion?"),
        ("Student nurse here. where is the liver", "where is the liver"),
        ("I'm a medical student: where is the liver", "where is the liver"),
        ("68M, fall. any fracture?", "fall. any fracture?"),
        ("a 45-year-old woman, lump", "lump"),
        ("19 yo tall male, chest pain", "chest pain"),
        ("神经外科：占位在哪里", "占位在哪里"),
        ("14岁男孩，主弯凸向哪边", "主弯凸向哪边"),
        ("患者男，56岁，肝在哪", "肝在哪"),
        ("PSA 12 ng/ml，前列腺在哪", " ，前列腺在哪"),
        ("left-sided chest pain, any pneumothorax?", " , any pneumothorax?"),
        ("Could this be cancer? My CA-125 is 45.", "Could this be cancer?  ."),
    ],
)
def test_background_is_taken_out(text, asked):
    assert without_background(text) == asked


@pytest.mark.parametrize(
    "text",
    [
        "How old is he?",
        "3 nodules, where?",
        "左肺：结节？",
        "10 cells, right?",
        "这是3个月大的宝宝，有髋脱位吗",
        "患者：",
        "L5",
    ],
)
def test_what_asks_stays(text):
    assert without_background(text) == text


@pytest.mark.parametrize(
    ("text", "modality", "names"),
    [
        ("sudden right sided weakness, no bleed suspected. Do you see an infarct?", Modality.CT, {"ischemic stroke"}),
        ("突然说话不清楚，左边手脚没力，有脑出血吗？", Modality.CT, {"intraparenchymal hemorrhage"}),
        ("Chronic kidney disease stage 4 - are the kidneys shrunken?", Modality.MRI, {"left kidney", "right kidney"}),
    ],
)
def test_a_history_names_nothing_that_is_asked(terminology, text, modality, names):
    assert {english for english, _ in understand(text, terminology, modality).names} == names


def test_a_value_is_no_tube(parse):  # "ng" is a nasogastric tube
    assert "nasogastric tube" not in {
        english
        for asked in parse("PSA 12 ng/ml，前列腺有没有可疑结节？位置在哪？", Modality.MRI).questions
        for english, _ in asked.intent.names
    }


def test_a_class_whose_name_has_an_age_is_no_question_for_it(terminology):
    asked = understand("正常、糖尿病视网膜病变、年龄相关性黄斑变性，选一个", terminology, Modality.FUNDUS)
    assert asked.kind is not Kind.IMPOSSIBLE
