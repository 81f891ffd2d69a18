"""Names in free text, both languages: what is named, in which order, on which side of the patient."""

import json
from importlib.resources import files

import pytest

from medrega_edge.domain import Language
from medrega_edge.vocabulary.terminology import Terminology, term_table

LABELS = [
    ("liver", "肝脏"),
    ("liver cancer", "肝癌"),
    ("spleen", "脾脏"),
    ("left kidney", "左肾"),
    ("right kidney", "右肾"),
    ("left lung", "左肺"),
    ("right lung", "右肺"),
    ("right upper lobe of lung", "右肺上叶"),
    ("left femoral head", "左侧股骨头"),
    ("right femoral head", "右侧股骨头"),
    ("left ventricle", "左心室"),
    ("left ventricular myocardium", "左心室心肌"),
    ("skin lesion", "皮肤病变"),
]
TERMS = Terminology(LABELS)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("locate the liver", ["liver"]),
        ("Where is the HEPAR?", ["liver"]),
        ("请定位肝", ["liver"]),
        ("请定位肝癌", ["liver cancer"]),
        ("liver cancer and liver", ["liver cancer", "liver"]),
        ("locate the liver, the spleen and both kidneys", ["liver", "spleen", "left kidney", "right kidney"]),
        ("kidneys", ["left kidney", "right kidney"]),
        ("left and right kidneys", ["left kidney", "right kidney"]),
        ("双肾", ["left kidney", "right kidney"]),
        ("双侧肾脏在哪", ["left kidney", "right kidney"]),
        ("左肾和脾", ["left kidney", "spleen"]),
        ("左侧肾脏", ["left kidney"]),
        ("right   kidney", ["right kidney"]),
        ("左心室心肌", ["left ventricular myocardium"]),
        ("the left ventricle", ["left ventricle"]),
        ("lungs", ["left lung", "right lung"]),
        ("femoral heads", ["left femoral head", "right femoral head"]),
        ("left head of femur", ["left femoral head"]),
        ("右肺上叶", ["right upper lobe of lung"]),
        ("delivery of the silver liverwort", []),
        ("the liver, the liver", ["liver"]),
        ("", []),
    ],
)
def test_names_are_found(text, names):
    assert [en for en, _ in TERMS.find(text)] == names


@pytest.mark.parametrize("label", LABELS)
def test_every_label_finds_itself_in_both_languages(label):
    assert TERMS.find(label[0]) == [label]
    assert TERMS.find(label[1]) == [label]
    assert TERMS.name(label[0], Language.ZH) == label[1]


@pytest.mark.parametrize(
    ("text", "is_list"),
    [
        ("liver", True),
        ("liver, spleen and both kidneys", True),
        ("肝、脾", True),
        ("肝脾", True),
        ("liver & spleen.", True),
        ("unicorn, liver", True),
        ("liver and a unicorn", True),
        ("独角兽、肝脏", True),
        ("old T2 lesion, COVID-19; the liver", True),
        ("unicorn, dragon", False),
        ("肝脏正常吗", False),
        ("肝脏，正常吗", False),
        ("肝脏大小、形态", False),
        ("is the liver large", False),
        ("is the liver normal, and the spleen?", False),
        ("is the liver normal, and the spleen", False),
        ("liver, spleen: normal", False),
        ("liver, spleen?", False),
        ("compare the liver and the spleen", False),
        ("a patient with a long history of pain, liver", False),
        ("", False),
    ],
)
def test_a_list_of_names_is_no_sentence(text, is_list):
    assert TERMS.is_list(text) is is_list


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("locate the liver, the spleen and both kidneys", []),
        ("Could you please mark the left and right kidneys in this scan? Thanks!", []),
        ("Show me where the liver is and draw a bounding box on it", []),
        ("请帮我定位肝脏和脾脏在图中的位置，并标出来，谢谢。", []),
        ("liver, unicorn", [2]),
        ("locate the unicorn, the liver and the flux capacitor", [1, 3]),
        ("Where is the liver and is it normal?", [2]),
        ("请定位肝脏以及独角兽", [2]),
        ("左肾、右边", [2]),
    ],
)
def test_parts_that_name_nothing_are_told(text, unknown):
    assert TERMS.unknown_parts(text) == unknown


def test_the_table_is_sound():
    rows = json.loads(files("medrega_edge.vocabulary").joinpath("terms.json").read_text("utf-8"))
    assert len({row["en"] for row in rows}) == len(rows) == len(term_table())
    codes = [row["snomed"] for row in rows if "snomed" in row]
    assert len(set(codes)) == len(codes)
    assert all(_verhoeff(code) for code in codes)


def _verhoeff(code):
    """SNOMED CT identifiers end in a Verhoeff check digit: a mistyped code does not pass."""
    turn = [1, 5, 7, 6, 2, 8, 3, 0, 9, 4]
    permutations = [list(range(10)), turn]
    for _ in range(6):
        permutations.append([turn[x] for x in permutations[-1]])

    def times(a, b):  # the dihedral group of order 10
        if a < 5:
            return (a + b) % 5 if b < 5 else 5 + (a + b - 5) % 5
        return 5 + (a - 5 - b) % 5 if b < 5 else (a - b) % 5

    check = 0
    for place, digit in enumerate(reversed(code)):
        check = times(check, permutations[place % 8][int(digit)])
    return check == 0


def test_a_mistyped_code_would_not_pass():
    assert _verhoeff("10200004")
    assert not _verhoeff("10200014")
