import pytest

from medrega_bench.evaluation import paired
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.comparison import Difference

from .handmade import BOX, HALF, many, row

SEVERAL = "<ref>liver</ref><box>[[0, 0, 100, 100], [200, 0, 300, 100]]</box>"


@pytest.mark.parametrize(
    ("setting", "answer", "truth", "worth", "right"),
    [
        ("single_object_single_region", BOX, BOX, 1.0, 1.0),
        ("single_object_single_region", HALF, BOX, 0.5, 1.0),
        ("single_object_single_region", "", BOX, 0.0, 0.0),
        ("single_object_single_region", BOX.replace("liver", "spleen"), BOX, 0.0, 0.0),
        ("single_object_multi_region", "<ref>liver</ref><box>[[0, 0, 100, 100]]</box>", SEVERAL, 0.5, 0.5),
        ("absent", "", "", 1.0, 1.0),
        ("absent", BOX, "", 0.0, 0.0),
        ("region_to_text", "Liver", "liver", 1.0, 1.0),
        ("vqa_en", "No", "Yes", 0.0, 0.0),
        ("classification_multi", "b; a", "a; b", 1.0, 1.0),
        ("report_en", "the liver is normal", "the liver is normal", 1.0, None),
    ],
)
def test_grades_worked_by_hand(setting, answer, truth, worth, right):
    graded = paired.grade(row(1, setting, answer, truth))
    assert graded.worth == pytest.approx(worth)
    assert graded.accuracy == right


def test_a_loss_on_every_image_is_significant_and_no_loss_is_none():
    entry = paired.compared(many(), many("")).accuracy[0]
    assert entry.mean_iou.loss == 1.0
    assert entry.mean_iou.significant
    assert entry.flipped == entry.changed == 1.0
    entry = paired.compared(many(), many()).accuracy[0]
    assert entry.mean_iou == Difference(1.0, 1.0, 0.0, (0.0, 0.0), significant=False)


def test_a_loss_on_one_image_of_many_is_not():
    after = [row(0, answer=""), *many()[1:]]
    compared = paired.compared(many(), after)
    assert compared.overall.value == pytest.approx(0.05)
    assert not compared.accuracy[0].mean_iou.significant
    assert [flip.id for flip in compared.flips] == ["q0-single_object_single_region"]
    assert compared.flips[0].gain == -1.0


def test_few_images_show_nothing_however_great_the_loss():
    entry = paired.compared(many(count=4), many("", count=4)).accuracy[0]
    assert entry.mean_iou.loss == 1.0
    assert not entry.mean_iou.significant


def test_only_common_questions_are_compared_and_the_others_counted():
    compared = paired.compared(many(count=5), many(count=3))
    assert (compared.n, compared.only_before, compared.only_after) == (3, 2, 0)


def test_results_that_do_not_go_together_are_refused():
    with pytest.raises(UsageError) as error:
        paired.compared(many(count=2), [row(7)])
    assert error.value.code == "bench.nothing_in_common"
    with pytest.raises(UsageError) as error:
        paired.compared([row(1)], [row(1, truth=HALF)])
    assert error.value.code == "bench.two_truths"


def test_a_change_is_one_of_the_raw_text_where_both_results_have_it():
    def changed(before, after):
        return paired.compared([before], [after]).accuracy[0].changed

    assert changed(row(1, raw_text="a"), row(1, raw_text="b")) == 1.0
    assert changed(row(1), row(1, raw_text="b")) == 0.0  # results until 0.4.0 have the answer alone
    assert changed(row(1), row(1, "single_object_single_region", HALF)) == 1.0
