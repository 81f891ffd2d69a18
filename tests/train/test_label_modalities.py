"""Which modalities can show a label: nothing that data has is refused, and what no clinic would see is."""

from dataclasses import replace

import pytest

from medrega_edge.domain import Language, Modality
from medrega_edge.evaluation.records import AnnotatedQuestion, read_records
from medrega_edge.prompts.templates import PromptBook
from medrega_train.label_modalities import modalities_of_labels
from medrega_train.questions import prompt_book
from medrega_train.records import split_of

from .test_records import DATA, image, with_data

NARROW = {Modality.FUNDUS, Modality.OCT, Modality.DERMOSCOPY, Modality.ENDOSCOPY, Modality.PATHOLOGY, Modality.MAMMOGRAPHY}
RECORDS = [
    image("chaos_mr", "liver", "L5 vertebra", modality=Modality.MRI),
    image("kvasir_seg", "polyp", modality=Modality.ENDOSCOPY),
    image("usgra_us", "blood vessel", modality=Modality.ULTRASOUND),
    image("bccd", "platelet", modality=Modality.PATHOLOGY),
    image("unheard_of", "left ventricle", modality=Modality.DERMOSCOPY),
    image("unheard_of", "unicorn"),
]


def test_a_label_is_possible_where_it_was_seen_and_where_its_area_shows():
    table = modalities_of_labels(RECORDS)
    assert {Modality.CT, Modality.MRI, Modality.ULTRASOUND, Modality.XRAY} < set(table["liver"])
    assert {Modality.FUNDUS, Modality.OCT, Modality.DERMOSCOPY, Modality.MAMMOGRAPHY}.isdisjoint(table["liver"])
    assert Modality.ENDOSCOPY in table["liver"] and Modality.ENDOSCOPY not in table["L5 vertebra"]  # laparoscopy
    assert table["platelet"] == [Modality.PATHOLOGY]
    assert "blood vessel" not in table and "unicorn" not in table


def test_the_prompts_of_new_weights_have_the_answers_that_they_have_seen():
    asked = [("en", "Yes"), ("en", " no "), ("en", "Yes"), ("zh", "肝脏")]
    pairs = tuple(AnnotatedQuestion(Language(lang), "?", answer) for lang, answer in asked)
    book = prompt_book([replace(RECORDS[0], qa=pairs), *RECORDS])
    assert PromptBook.from_json(book.to_json()).answers == {"en": ("Yes", "no"), "zh": ("肝脏",)}


def test_the_prompts_of_new_weights_have_the_table():
    book = prompt_book(RECORDS)
    assert book.label_modalities["platelet"] == ("pathology",)
    assert PromptBook.from_json(book.to_json()).can_show(Modality.PATHOLOGY, "platelet")


@pytest.fixture(scope="module")
def real():
    return list(read_records(DATA))


@pytest.fixture(scope="module")
def book(real):
    return prompt_book(split_of(real, "train"))


@pytest.mark.slow
@pytest.mark.data
@with_data
def test_no_pair_of_any_split_is_refused(real, book):
    refused = {
        (one.dataset, region.label_en)
        for one in real
        for region in one.targets
        if not book.can_show(one.modality, region.label_en)
    }
    assert refused == set()


@pytest.mark.data
@with_data
@pytest.mark.parametrize(
    ("modality", "names"),
    [
        (Modality.FUNDUS, ("polyp", "liver", "heart", "left ventricle", "tooth", "cell nucleus", "vertebra", "left lung")),
        (Modality.OCT, ("liver", "polyp", "heart", "left kidney", "glioma", "fracture", "red blood cell")),
        (Modality.DERMOSCOPY, ("left ventricle", "left atrium", "heart", "liver", "polyp", "optic disc", "tooth")),
        (Modality.ENDOSCOPY, ("vertebra", "left ventricle", "hard exudates", "platelet", "pneumothorax", "left hip bone")),
        (Modality.PATHOLOGY, ("liver", "left kidney", "heart", "vertebra", "left lung", "fetal head", "sacrum")),
        (Modality.MAMMOGRAPHY, ("liver", "polyp", "heart", "optic disc", "left kidney", "tooth", "glioma")),
        (Modality.XRAY, ("platelet", "optic cup", "intraretinal fluid")),
        (Modality.CT, ("red blood cell", "cell nucleus")),
        (Modality.MRI, ("red blood cell", "cell nucleus")),
        (Modality.ULTRASOUND, ("platelet", "cell nucleus")),
    ],
)
def test_what_no_clinic_sees_is_refused(book, modality, names):
    assert [name for name in names if book.can_show(modality, name)] == []


@pytest.mark.data
@with_data
@pytest.mark.parametrize(
    ("modality", "names"),
    [
        (Modality.ULTRASOUND, ("liver", "left kidney", "spleen", "left eye", "fetal head", "prostate cancer", "fracture")),
        (Modality.XRAY, ("heart", "kidney stone", "polyp", "tooth", "vertebra", "small bowel", "breast lesion")),
        (Modality.CT, ("polyp", "optic disc", "skin lesion", "dental caries", "breast lesion", "fetal head")),
        (Modality.MRI, ("fracture", "tooth", "fetal head", "polyp", "ovarian tumor", "breast lesion")),
        (Modality.ENDOSCOPY, ("esophagus", "trachea", "liver", "bladder", "gallbladder", "left lung", "tooth")),
        (
            Modality.PATHOLOGY,
            ("glioma", "polyp", "skin lesion", "prostate cancer", "Barrett's esophagus", "prostate"),
        ),
        (Modality.MAMMOGRAPHY, ("breast lesion", "pectoral muscle", "skin lesion", "blood vessel")),
        (Modality.FUNDUS, ("optic cup", "hard exudates", "blood vessel", "intraretinal fluid")),
        (Modality.OCT, ("optic disc", "hard exudates", "retinal hemorrhage or microaneurysm")),
        (Modality.DERMOSCOPY, ("skin lesion", "blood vessel", "suspicious lesion")),
    ],
)
def test_what_is_plausible_is_not_refused(book, modality, names):
    assert [name for name in names if not book.can_show(modality, name)] == []


@pytest.mark.data
@with_data
def test_every_label_has_a_narrow_modality_that_cannot_show_it_or_may_be_anywhere(book):
    anywhere = {label for label, _ in book.labels} - book.label_modalities.keys()
    assert anywhere == {
        "blood vessel",
        "bone lesion",
        "gland",
        "peripheral nerve",
        "soft tissue lesion",
        "suspicious lesion",
    }
    assert all(NARROW - set(modalities) for modalities in book.label_modalities.values())
