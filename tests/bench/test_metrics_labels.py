"""Every case here is worked by hand; the comments show how."""

import pytest

from medrega_bench.evaluation.figures import Pair
from medrega_bench.metrics.labels import calibration, classification, classification_multi, classification_single
from medrega_edge.errors import UsageError

CLASSES = ("normal", "diabetic macular edema", "melanoma")


def asked(answer, truth, classes=CLASSES, **more):
    return Pair(answer, truth, classes, **more)


def test_single_label_takes_the_nearest_class_and_the_first_where_none_is_near():
    # "macular edema." is nearest to the second class; "polyp" to none, so upstream takes "normal".
    made = classification_single(
        [
            asked("Macular edema.", "diabetic macular edema"),
            asked("polyp", "diabetic macular edema"),
            asked("normal", "normal"),
        ],
    ).values()
    # normal: 1 right, 1 too many: F1 2/3. edema: 1 right, 1 missed: 2/3. melanoma does not appear and does not count.
    assert made == pytest.approx({"F1-macro": 2 / 3, "Accuracy": 2 / 3})


def test_multi_label_counts_every_class_and_whole_sets():
    made = classification_multi(
        [asked("normal", "normal"), asked("melanoma, normal", "melanoma, diabetic macular edema")]
    ).values()
    # normal: 1 right, 1 too many: 2/3. edema: missed: 0. melanoma: 1. Sets exactly right: 1 of 2.
    assert made == pytest.approx({"F1-macro": (2 / 3 + 0 + 1) / 3, "Accuracy": 1 / 2})
    # A class that appears nowhere has F1 0 and lowers the mean, as in upstream.
    assert classification_multi([asked("normal", "normal")]).values()["F1-macro"] == pytest.approx(1 / 3)


def test_the_standard_metric_wants_the_very_name():
    pairs = [asked("macular edema", "diabetic macular edema"), asked("Normal", "normal")]
    # edema: missed, and what was said is no class: F1 0. normal: 1.
    assert classification(pairs).values() == pytest.approx({"f1_macro": 1 / 2, "accuracy": 1 / 2})


def test_each_item_is_held_against_its_own_classes():
    # "nevus" is no class of the first question, so upstream takes its first class there; F1 of "a" 2/3, "nevus" 1.
    pairs = [asked("nevus", "a", ("a", "b")), asked("a", "a", ("a", "b")), asked("nevus", "nevus", ("common", "nevus"))]
    assert classification_single(pairs).values() == pytest.approx({"F1-macro": 1.0, "Accuracy": 1.0})
    assert classification(pairs).values() == pytest.approx({"f1_macro": (2 / 3 + 1) / 2, "accuracy": 2 / 3})


def test_intervals_resample_images():
    pairs = [asked("normal", "normal")] * 3 + [asked("normal", "melanoma")]
    low, high = classification_single(pairs).intervals(["a", "a", "a", "b"])["Accuracy"]
    assert (low, high) == (0, 1)


def test_a_truth_that_is_no_class_is_named():
    with pytest.raises(UsageError) as caught:
        classification_single([asked("normal", "polyp", place="Line 4")])
    assert caught.value.code == "bench.truth_not_a_class"
    assert caught.value.message.params == {"place": "Line 4", "truth": "polyp"}


def test_calibration_error_by_hand():
    # Bins are 1/15 wide: 0.91 and 0.92 share the one from 13/15 to 14/15, with mean confidence 0.915, half of them right,
    # two thirds of all answers. 0.2 is alone in its bin and right: a gap of 0.8, a third of all answers.
    made = calibration([0.91, 0.92, 0.2], [True, False, True]).values()
    assert made["ece"] == pytest.approx(2 / 3 * abs(0.915 - 0.5) + 1 / 3 * 0.8)
    assert made["mean_confidence"] == pytest.approx((0.91 + 0.92 + 0.2) / 3)
    assert made["share_right"] == pytest.approx(2 / 3)
    assert calibration([1.0, 1.0], [True, True]).values()["ece"] == 0
    assert calibration([1.0, 0.0], [False, True]).values()["ece"] == 1
