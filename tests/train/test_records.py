"""What is certainly not in an image, and what certainly is although nobody boxed it."""

import os
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medrega_bench.datasets.references import reference
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.evaluation.records import AnnotatedQuestion, AnnotatedRegion, read_records
from medrega_train.augment import clean_view
from medrega_train.questions import MAX_BOXES, QuestionSampler
from medrega_train.records import Absence, area_of, denied, implied, split_of
from medrega_train.reports import report

from .test_augment import picture, record

DATA = Path(os.environ.get("MEDREGA_DATA", Path(__file__).parents[3] / "shared" / "data"))
with_data = pytest.mark.skipif(not (DATA / "records.jsonl").is_file(), reason="the shared images are not on this machine")
BOX = (10, 10, 40, 30)


def image(dataset, *names, labels=(), modality=Modality.CT, boxes=1):
    regions = tuple(AnnotatedRegion(name, f"{name} zh", (PixelBox(*BOX),) * boxes, "organ") for name in names)
    return replace(record("torso", labels=labels), dataset=dataset, regions=regions, modality=modality)


RECORDS = [
    image("chaos_mr", "liver", "left kidney"),
    image("slake", "heart", labels=("chest",)),
    image("acdc", "left ventricle"),
    image("kvasir_seg", "polyp"),
    image("edd2020", "Barrett's esophagus"),
    image("codras_fundus", "optic disc"),
    image("spine_xray", "vertebra", boxes=MAX_BOXES + 1),
    image("spider_spine_mr", "L5 vertebra"),
    image("cheng_brain_tumor", "glioma"),
    image("usgra_us", "peripheral nerve"),
    image("lc25000_lung", labels=("lung adenocarcinoma",)),
    image("lungsegdb_ct", "left lung"),
    image("slake", "larynx", labels=("neck",)),
    image("slake", "pneumothorax", labels=("chest", "abnormal"), modality=Modality.XRAY),
    image("shenzhen_cxr", labels=("chest", "normal"), modality=Modality.XRAY),
]
ABSENCE = Absence(RECORDS)


def elsewhere(dataset, *names, labels=(), modality=Modality.CT):
    return ABSENCE.elsewhere(image(dataset, *names, labels=labels, modality=modality))


def test_a_whole_is_not_absent_where_a_part_is_there():
    assert {"heart", "polyp"} <= set(elsewhere("codras_fundus", "optic disc"))
    assert "heart" not in elsewhere("codras_fundus", "left ventricle")  # whatever the data set
    assert "vertebra" not in elsewhere("kvasir_seg", "L5 vertebra")
    assert "liver" not in elsewhere("kvasir_seg", "liver tumor")
    assert "esophagus" not in elsewhere("edd2020", "Barrett's esophagus")


def test_a_part_is_not_absent_where_the_whole_is_there():
    assert "left ventricle" not in elsewhere("cheng_brain_tumor", "heart")
    assert "L5 vertebra" not in elsewhere("codras_fundus", "vertebra")


def test_tissue_is_part_of_its_organ_and_a_neck_may_show_a_lung():
    assert "left lung" not in elsewhere("lc25000_lung") and "heart" in elsewhere("lc25000_lung")
    assert "left lung" not in elsewhere("slake", labels=("neck",)) and "optic disc" in elsewhere("slake", labels=("neck",))
    assert "left lung" in elsewhere("cheng_brain_tumor")


def test_what_may_be_anywhere_is_never_absent():
    assert not any("peripheral nerve" in ABSENCE.elsewhere(one) for one in RECORDS)


def test_a_normal_chest_film_rules_lesions_out_and_another_does_not():
    film = image("shenzhen_cxr", labels=("chest", "normal"), modality=Modality.XRAY)
    assert "pneumothorax" in ABSENCE.missing(film)
    assert ABSENCE.missing(replace(film, labels=("chest", "tuberculosis"))) == []
    assert ABSENCE.missing(image("chaos_mr", labels=("abdomen", "normal"))) == []


def test_an_answer_to_an_image_s_own_question_denies_a_name():
    def asked(*pairs):
        return replace(image("slake", "liver"), qa=tuple(AnnotatedQuestion(Language.EN, q, a) for q, a in pairs))

    one = asked(("Does the picture contain kidney?", "No"), ("Does the picture contain spleen ?", "no."))
    assert denied(one) == {"left kidney", "right kidney", "spleen"}
    assert {"left kidney", "spleen"} <= set(ABSENCE.missing(one))
    assert denied(asked(("Does the picture contain spleen?", "Yes"), ("Is the lung healthy?", "No"))) == set()
    assert "liver" not in ABSENCE.missing(asked(("Does the picture contain liver?", "No")))  # its box says that it is there


def test_what_is_certain_without_a_box():
    assert implied(image("acdc"), {"left ventricle"}) == {"heart", "heart and mediastinum", "left ventricular myocardium"}
    assert implied(image("spider_spine_mr"), {"L5 vertebra", "vertebra"}) == set()
    film = image("shenzhen_cxr", labels=("chest",), modality=Modality.XRAY)
    assert implied(film, {"left lung"}) == {"right lung", "heart", "heart and mediastinum"}


def test_a_name_is_denied_as_often_as_it_is_asked_for():
    absence = Absence(RECORDS, {"heart": 1, "polyp": 9})
    rng = np.random.default_rng(0)
    drawn = Counter(absence.draw(image("codras_fundus", "optic disc"), 1, rng)[0] for _ in range(2000))
    assert set(drawn) == {"heart", "polyp"}
    assert drawn["heart"] / 2000 == pytest.approx(0.1, abs=0.03)
    assert sorted(absence.draw(image("codras_fundus"), 5, rng)) == ["heart", "polyp"]
    assert absence.draw(image("usgra_us"), 5, rng) == []


def questions(one, unfinished):
    sampler = QuestionSampler(RECORDS, unfinished=unfinished)
    drawn = sampler.draw(one, clean_view(one, picture(BOX), 64), 300, np.random.default_rng(0))
    return [question for question in drawn if question.task is Task.DETECT]


def test_what_is_never_asked_for_where_it_is_is_never_denied():
    denied = {question.answer for question in questions(RECORDS[3], False)}
    assert not any("no vertebra in" in answer for answer in denied)  # of all vertebrae, the only image has too many boxes
    assert any("no L5 vertebra in" in answer for answer in denied)


def test_answers_that_stop_where_boxes_follow():
    spine = questions(RECORDS[6], True)
    opened = [question for question in spine if not question.finished]
    assert {question.answer for question in opened} == {"<ref>vertebra</ref><box>[[", "<ref>vertebra zh</ref><box>[["}
    assert {len(question.boxes) for question in opened} == {MAX_BOXES + 1}
    heart = [question for question in questions(RECORDS[2], True) if not question.finished]
    assert {question.answer for question in heart} == {"<ref>heart</ref><box>[[", "<ref>heart zh</ref><box>[["}
    assert {question.boxes for question in heart} == {()}
    assert all(question.finished for one in RECORDS for question in questions(one, False))


# What an image shows beyond its boxes, by data set or by its own class.
UMBRELLAS = {
    "acdc": ("heart", "heart and mediastinum"),
    "camus_us": ("heart", "left ventricle", "left atrium", "left ventricular myocardium"),
    "chd_ct": ("heart", "heart and mediastinum", "aorta"),
    "hvsmr2_mr": ("heart", "heart and mediastinum"),
    "left_atrium_mr": ("heart", "heart and mediastinum", "vertebra", "aorta"),
    "spine_xray": ("vertebra", "L5 vertebra", "T12 vertebra", "left ribs", "sacrum", "intervertebral disc", "spinal canal"),
    "spider_spine_mr": ("vertebra", "sacrum", "spinal cord", "intervertebral disc"),
    "montgomery_cxr": ("left lung", "right lung", "heart", "heart and mediastinum", "vertebra", "trachea", "left ribs"),
    "shenzhen_cxr": ("left lung", "right lung", "heart", "heart and mediastinum", "vertebra", "trachea", "right ribs"),
    "covid_cxr_seg": ("left lung", "heart", "vertebra", "trachea"),
    "lungsegdb_ct": ("heart", "vertebra", "aorta", "trachea"),
    "cheng_brain_tumor": ("left frontal lobe", "right cerebral hemisphere", "brain edema", "brain stem", "left eye"),
    "brats23_mr": ("left frontal lobe", "right cerebral hemisphere", "glioma", "brain stem"),
    "mbh_ct": ("left frontal lobe", "right cerebral hemisphere", "left lateral ventricle"),
    "colin27_aal": ("glioma",),
    "kits19_ct": ("left kidney", "right kidney", "liver", "vertebra"),
    "ckd_kidney_mr": ("left kidney", "right kidney", "liver", "spleen"),
    "liver_us": ("liver", "hepatic vessels", "right kidney"),
    "lits_liver_ct": ("liver", "liver tumor", "vertebra", "left kidney"),
    "prostate158_mr": ("bladder", "left femur"),
    "ufba425_dental": ("tooth", "molar", "left mandible", "vertebra", "dental caries"),
    "dc1000_caries": ("tooth", "molar", "left mandible"),
    "npc_mr": ("left mandible", "left parotid gland", "vertebra"),
    "fracatlas": ("left hip bone", "left femur", "sacrum", "left ribs", "left lung"),
    "busi": ("pectoral muscle", "fibroglandular tissue", "left ribs", "costal cartilage"),
    "ddsm_tissue_mammo": ("breast lesion", "pectoral muscle", "fibroglandular tissue"),
    "hc18": ("fetal head", "left lateral ventricle", "left thalamus", "left frontal lobe"),
    "ccaus": ("common carotid artery", "blood vessel", "trachea"),
    "kvasir_seg": ("colon", "stomach", "polyp", "gastrointestinal cancer", "small bowel"),
    "edd2020": ("Barrett's esophagus", "polyp", "stomach", "colon"),
    "codras_fundus": ("optic disc", "optic cup", "hard exudates", "left eye"),
    "duke_dme_oct": ("intraretinal fluid", "left eye"),
    "glas": ("gland", "colon", "cell nucleus", "polyp"),
    "lc25000_lung": ("lung cancer", "left lung", "cell nucleus"),
    "tnbc": ("breast lesion", "cell nucleus"),
    "monusac": ("kidney tumor", "left kidney", "left lung", "prostate cancer"),
    "bccd": ("cell nucleus",),
    "usgra_us": ("peripheral nerve", "blood vessel"),
}
LABELLED_THROUGHOUT = ("totalseg_example", "curvas_ct", "colin27_aal", "vxm_test_scan")


@pytest.fixture(scope="module")
def real():
    return list(read_records(DATA))


@pytest.fixture(scope="module")
def real_absence(real):
    return Absence(split_of(real, "train"))


@pytest.mark.slow
@pytest.mark.data
@with_data
def test_umbrellas_of_the_real_data_are_never_absent(real, real_absence):
    assert UMBRELLAS.keys() <= {one.dataset for one in real}
    wrong = Counter()
    for one in real:
        shown = {region.label_en for region in one.regions} | set(UMBRELLAS.get(one.dataset, ()))
        denied = {*real_absence.elsewhere(one), *real_absence.missing(one)}
        wrong.update((one.dataset, name) for name in denied & shown)
        if one.dataset not in LABELLED_THROUGHOUT:  # their missing parts are known
            wrong.update((one.dataset, name) for name in denied & implied(one, shown))
    assert wrong == {}


@pytest.mark.slow
@pytest.mark.data
@with_data
def test_every_real_label_is_asked_for_and_denied_alike(real):
    train = split_of(real, "train")
    sampler = QuestionSampler(train, unfinished=True)
    rng = np.random.default_rng(0)
    asked, denied = Counter(), Counter()
    for one in train:
        asked.update(sampler._askable(one))
        denied.update(sampler.absent(one, 1, rng))
    assert min(asked["heart"], asked["vertebra"]) > 300
    assert max((denied[name] / asked[name], name) for name in asked)[0] < 4


@pytest.mark.data
@with_data
def test_the_area_of_every_real_image_is_known_or_honestly_unknown(real):
    unknown = {one.dataset for one in real if area_of(one) is None}
    assert unknown == {"usgra_us", "medpix2", "deeplesion_ct", "breastdm_mr"}


@pytest.mark.data
@with_data
def test_the_benchmark_names_the_body_part_that_training_names(real):
    for one in {first.dataset: first for first in real}.values():
        view = clean_view(one, picture(BOX), 64)
        assert report(one, view, Language.EN).split(".")[0] == reference(one, Language.EN).text.split(".")[0], one.dataset
