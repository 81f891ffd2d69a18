"""What a view teaches: only what is certain about it."""

from dataclasses import replace

import numpy as np
import pytest

pytest.importorskip("torch")

from medrega_edge.boxes import PixelBox  # noqa: E402
from medrega_edge.evaluation.records import NOT_A_TARGET, AnnotatedRegion  # noqa: E402
from medrega_train.records import Absence, area_of, split_of  # noqa: E402
from medrega_train.region_targets import covered  # noqa: E402
from medrega_train.tower_targets import (  # noqa: E402
    Lessons,
    TowerVocabulary,
    collate,
    sideless,
)
from medrega_train.tower_views import clean_view  # noqa: E402
from tests.train.test_tower_views import picture, record  # noqa: E402

pytestmark = pytest.mark.train

BOX = (10, 10, 40, 30)


def image(dataset, *names, labels=(), boxes=1):
    regions = tuple(AnnotatedRegion(name, name, (PixelBox(*BOX),) * boxes, "organ") for name in names)
    return replace(record(BOX), dataset=dataset, regions=regions, labels=labels)


RECORDS = [
    image("chaos_mr", "liver", "left kidney"),
    image("kvasir_seg", "polyp"),
    image("codras_fundus", "optic disc"),
    image("totalseg_example", "liver", "spleen"),
    image("totalseg_example", "liver"),
    image("cheng_brain_tumor", "glioma"),
    image("fracatlas", labels=("no fracture",)),
    image("fracatlas", "fracture", labels=("fracture",)),
]


def test_training_leaves_out_copies_and_other_splits():
    rows = [replace(RECORDS[0], dup_of_eval=True), replace(RECORDS[0], split="val"), RECORDS[1]]
    assert split_of(rows, "train") == [RECORDS[1]]


def test_vessels_that_fill_the_image_are_no_name():
    names = TowerVocabulary.of([*RECORDS, image("chase_db1", NOT_A_TARGET, "optic disc")]).regions
    assert NOT_A_TARGET not in names and "optic disc" in names


def test_a_name_of_another_body_part_is_absent():
    missing, elsewhere = Absence(RECORDS).missing(RECORDS[2]), Absence(RECORDS).elsewhere(RECORDS[2])
    assert "polyp" in elsewhere and "liver" in elsewhere and not missing


def test_what_is_not_boxed_may_still_be_there():
    missing, elsewhere = Absence(RECORDS).missing(RECORDS[0]), Absence(RECORDS).elsewhere(RECORDS[0])
    assert "spleen" not in missing + elsewhere
    assert "polyp" not in elsewhere  # an abdomen can hold one


def test_a_data_set_that_labels_everything_says_what_is_missing():
    assert Absence(RECORDS).missing(RECORDS[4]) == ["spleen"]


def test_a_class_can_rule_a_name_out():
    assert Absence(RECORDS).missing(RECORDS[6]) == ["fracture"]


def test_only_what_has_no_side_may_be_mirrored():
    assert sideless(RECORDS[1]) and not sideless(RECORDS[0])
    assert not sideless(image("busi", "left breast"))


def test_data_sets_of_the_second_batch_have_an_area():
    assert area_of(image("montgomery_cxr")) == "torso" and area_of(image("unheard_of")) is None


def test_a_batch_has_every_question_in_its_place():
    lessons = Lessons(RECORDS, TowerVocabulary.of(RECORDS))
    rng = np.random.default_rng(0)
    cells = image("unheard_of", "polyp", "liver", boxes=2)
    made = [lessons.lesson(r, clean_view(r, picture(BOX), 64), rng) for r in (RECORDS[0], cells)]
    batch = collate(made)
    assert tuple(batch.pixels.shape) == (2, 3, 64, 64)
    assert batch.regions.single.sum(1).tolist() == [2, 0]
    assert batch.regions.present.sum(1).tolist() == [2, 2]
    assert batch.regions.asked.sum(1).tolist() == [
        4,
        2,
    ]  # an optic disc and a glioma are absent; nothing is known of the cells' area
    assert batch.regions.box[0, 0].numpy() == pytest.approx([0.1, 0.1, 0.4, 0.3], abs=0.02)
    assert (batch.regions.coverage[batch.regions.asked & (batch.regions.present == 0)] == 0).all()


def test_an_image_without_questions_makes_a_batch():
    lessons = Lessons(RECORDS, TowerVocabulary.of(RECORDS))
    nothing = image("unheard_of")
    batch = collate([lessons.lesson(nothing, clean_view(nothing, picture(BOX), 64), None)])
    assert batch.regions.asked.sum() == 0


def test_coverage_is_the_share_of_each_place():
    share = covered(np.array([[0.0, 0.0, 0.5, 0.25], [0.75, 0.75, 1.0, 1.0]], np.float32), 2)
    assert share == pytest.approx(np.array([[0.5, 0.0], [0.0, 0.25]]))
