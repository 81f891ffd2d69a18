"""Names in free text, both languages: what is named, in which order, on which side of the patient."""

import json
import os
from collections import Counter
from importlib.resources import files
from pathlib import Path

import pytest
from pydicom.sr.codedict import codes as dicom_codes

from medrega_edge.domain import Language
from medrega_edge.evaluation.records import read_records
from medrega_edge.vocabulary.label_sets import BODY_PARTS, FINDINGS, LABEL_SETS
from medrega_edge.vocabulary.terminology import Terminology, term_of, term_table

DATA = Path(os.environ.get("MEDREGA_DATA", Path(__file__).parents[3] / "shared" / "data"))
with_data = pytest.mark.skipif(not (DATA / "records.jsonl").is_file(), reason="the shared images are not on this machine")

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


SEVERAL = Terminology(
    [
        ("L5 vertebra", "第5腰椎"),
        ("brain edema", "脑水肿"),
        ("colon", "结肠"),
        ("intervertebral disc", "椎间盘"),
        ("intraretinal fluid", "视网膜内积液"),
        ("left atrium", "左心房"),
        ("left lung", "左肺"),
        ("left ventricle", "左心室"),
        ("left ventricle and left atrium", "左心室与左心房"),
        ("left ventricular myocardium", "左心室心肌"),
        ("liver", "肝脏"),
        ("liver cancer", "肝癌"),
        ("liver tumor", "肝脏肿瘤"),
        ("molar", "磨牙"),
        ("optic disc", "视盘"),
        ("polyp", "息肉"),
        ("premolar", "前磨牙"),
        ("pulmonary artery", "肺动脉"),
        ("right lung", "右肺"),
        ("third molar", "第三磨牙（智齿）"),
        ("tooth", "牙齿"),
    ]
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("locate the liver tumour", ["liver tumor"]),
        ("肝脏肿瘤", ["liver tumor"]),  # also a synonym of liver cancer, where no label has this name
        ("结肠息肉", ["polyp"]),
        ("黄斑水肿在哪", ["intraretinal fluid"]),
        ("右肺动脉", ["pulmonary artery"]),
        ("the left pulmonary artery", ["pulmonary artery"]),
        ("optic disc and spinal discs", ["optic disc", "intervertebral disc"]),
        ("LV", ["left ventricle"]),
        ("左室", ["left ventricle"]),
        ("LV and LA", ["left ventricle", "left atrium"]),
        ("left ventricle and left atrium", ["left ventricle and left atrium"]),
        ("the left ventricle and the left atrium", ["left ventricle", "left atrium"]),
        ("左心室和左心房", ["left ventricle", "left atrium"]),
        ("LV wall", ["left ventricular myocardium"]),
        ("wisdom teeth, molars, bicuspids and teeth", ["third molar", "molar", "premolar", "tooth"]),
        ("智齿和前磨牙", ["third molar", "premolar"]),
        ("腰5椎体", ["L5 vertebra"]),
        ("L5", ["L5 vertebra"]),
    ],
)
def test_a_synonym_names_one_thing(text, names):
    assert [en for en, _ in SEVERAL.find(text)] == names


def test_the_table_is_sound():
    rows = json.loads(files("medrega_edge.vocabulary").joinpath("terms.json").read_text("utf-8"))
    assert len({row["en"] for row in rows}) == len(rows) == len(term_table())
    codes = [row["snomed"] for row in rows if "snomed" in row]
    assert len(set(codes)) == len(codes)
    assert all(_verhoeff(code) for code in codes)
    for key in ("also_en", "also_zh"):
        names = Counter(name.casefold() for row in rows for name in row.get(key, ()))
        assert [name for name, count in names.items() if count > 1] == []
    assert all(name == name.casefold() for row in rows for name in row.get("also_en", ()))


def test_codes_mean_what_dicom_says():
    """Codes that DICOM lists mean the same there: the table's name and the meaning share a word."""
    meanings: dict[str, set[str]] = {}
    for code in dicom_codes.SCT.concepts.values():
        meanings.setdefault(code.value, set()).update(code.meaning.casefold().split())
    known = [term for term in term_table().values() if term.snomed in meanings]
    assert len(known) > 75
    for term in known:
        words = {word.removesuffix("s") for name in (term.en, *term.also_en) for word in name.split()}
        assert words & {word.removesuffix("s") for word in meanings[term.snomed]}, term


@pytest.mark.parametrize(
    ("label", "name"),
    [
        ("left kidney", "kidney"),
        ("left ventricle", "left ventricle"),
        ("左室", "left ventricle"),
        ("右肾", "kidney"),
        ("智齿", "third molar"),
        ("L3 vertebra", "L3 vertebra"),
        ("kidney tumor", "kidney tumor"),
        ("spleen", "spleen"),
        ("unicorn", None),
    ],
)
def test_a_label_has_the_entry_of_its_side_or_of_both(label, name):
    term = term_of(label)
    assert (term.en if term else None) == name


@pytest.mark.slow
@pytest.mark.data
@with_data
def test_every_label_of_the_data_has_an_entry_and_is_found_by_its_names_and_synonyms():
    regions = {(region.label_en, region.label_zh) for record in read_records(DATA) for region in record.targets}
    data = Terminology(sorted(regions))
    assert len({en for en, _ in regions}) == len(regions) > 180
    own_names = {name.casefold() for label in regions for name in label}
    without_entry = set()
    for label in regions:
        term = term_of(label[0])
        if term is None:
            without_entry.add(label[0])
            continue
        assert data.find(label[0]) == [label]
        assert data.find(label[1]) == [label]
        for synonym in term.also_en + term.also_zh:
            found = data.find(synonym)
            if synonym.casefold() not in own_names:
                assert label in found and {term_of(en) for en, _ in found} <= {term, *map(term_of, _sides(label[0]))}
    assert without_entry == set()


def _sides(label):
    return [label.replace("left ", "right "), label.replace("right ", "left ")]


@pytest.mark.data
@with_data
def test_classes_of_the_data_are_written_as_in_the_label_sets():
    written = {}
    rows = [json.loads(line) for line in (DATA / "records.jsonl").read_text("utf-8").splitlines()]
    for row in rows:
        written.update(zip(row["labels"], row.get("labels_zh") or (), strict=bool(row.get("labels_zh"))))
    ours = FINDINGS | {en: zh for label_set in LABEL_SETS.values() for en, zh in label_set.labels}
    assert {en for en in ours if written.get(en, ours[en]) != ours[en]} == set()
    assert {en for row in rows for en in row["labels"]} >= {*FINDINGS, *BODY_PARTS} - {
        *("breast", "skin", "eye", "gastrointestinal tract", "fetus", "teeth"),  # of the data set, not of the record
    }


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
