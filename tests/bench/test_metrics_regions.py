"""Every case here is worked by hand; the comments show how."""

import numpy as np
import pytest

from medrega_bench.evaluation.figures import Pair
from medrega_bench.metrics.average_precision import AveragePrecision
from medrega_bench.metrics.regions import (
    box_confidences,
    detection,
    match,
    multi_object_multi_region,
    multi_object_single_region,
    read_answer,
    read_truth,
    single_object_multi_region,
    single_object_single_region,
)
from medrega_edge.boxes import PixelBox
from medrega_edge.errors import UsageError

WHOLE = [0, 0, 100, 100]  # area 10,000
HALF = [0, 0, 100, 50]  # IoU 0.5 with WHOLE
FOUR_FIFTHS = [0, 0, 100, 80]  # IoU 0.8 with WHOLE
QUARTER = [0, 0, 50, 50]  # IoU 0.25 with WHOLE
FAR = [500, 500, 600, 600]  # touches none of them
FAR_TOO = [500, 500, 600, 560]  # IoU 0.6 with FAR


def said(*objects):
    return ", ".join(f"<ref>{name}</ref><box>{list(boxes)}</box>" for name, *boxes in objects)


def pair(answer, truth, **more):
    return Pair(answer, truth, **more)


def test_one_region_counts_above_a_threshold_and_the_name_is_not_looked_at():
    truth = said(("liver", WHOLE))
    made = single_object_single_region(
        [
            pair(said(("spleen", FOUR_FIFTHS)), truth),  # 0.8
            pair(said(("liver", HALF)), truth),  # 0.5: not above 0.5
            pair(said(("liver", QUARTER, WHOLE)), truth),  # two boxes for one: the best counts, 1.0
            pair("There is no liver in this image.", truth),  # 0
        ]
    ).values()
    assert made == pytest.approx({"acc25": 3 / 4, "acc50": 2 / 4, "acc75": 2 / 4, "iou": (0.8 + 0.5 + 1.0) / 4})


def test_with_as_many_boxes_as_true_ones_the_first_is_held_against_the_first():
    made = single_object_single_region([pair(said(("a", FAR, WHOLE)), said(("a", WHOLE, FAR)))]).values()
    assert made["iou"] == 0


def test_several_regions_swap_precision_and_recall_and_count_from_three_quarters():
    # Two true boxes, one given: IoU 0.8 is a hit. "precision" is 1/2 (of the true), "recall" 1/1 (of the given), f1 2/3.
    # Then one true box, and one given at 0.6: no hit at 0.75. Mean IoU is over the two assigned pairs: (0.8 + 0.6) / 2.
    made = single_object_multi_region(
        [
            pair(said(("v", FOUR_FIFTHS)), said(("v", WHOLE, FAR))),
            pair(said(("v", FAR_TOO)), said(("v", FAR))),
        ]
    ).values()
    assert made == pytest.approx({"precision": 0.5 / 2, "recall": 1.0 / 2, "f1": (2 / 3) / 2, "iou": 0.7})


def test_several_objects_of_one_region():
    # liver at 0.8 (hit, right name); "heart" at 0.6 on the spleen (hit, wrong name).
    made = multi_object_single_region(
        [pair(said(("liver", FOUR_FIFTHS), ("heart", FAR_TOO)), said(("liver", WHOLE), ("spleen", FAR)))]
    ).values()
    assert made == pytest.approx(
        {
            "box.box_acc": 1.0,
            "box.box_iou": (0.8 + 0.6) / 2,
            "object.object_acc": 1 / 2,
            "object.object_iou": (0.8 + 0.6) / 1,  # of all named pairs, over the rightly named ones
            "object-box.object_box_acc": 1 / 2,
            "object-box.object_box_alignment": 1 / 2,
            "object-box.object_box_detection": 1.0,
        }
    )


def test_after_an_object_with_two_boxes_upstream_shifts_the_names():
    # Given boxes: liver, liver, spleen; names by object: liver, spleen. The spleen's box is the third: it has no name.
    answer = said(("liver", WHOLE, QUARTER), ("spleen", FAR))
    made = multi_object_single_region([pair(answer, said(("liver", WHOLE), ("spleen", FAR)))]).values()
    assert made["object.object_acc"] == 1 / 2
    by_box = multi_object_multi_region([pair(answer, said(("liver", WHOLE), ("spleen", FAR)))]).values()
    assert by_box["object.object_pre"] == 1.0


def test_several_objects_of_several_regions():
    # Three true boxes, two given: liver at 0.8 with the right name, "heart" at 0.6 on the spleen.
    made = multi_object_multi_region(
        [pair(said(("liver", FOUR_FIFTHS), ("heart", FAR_TOO)), said(("liver", WHOLE), ("spleen", FAR, [0, 800, 9, 900])))]
    ).values()
    assert made == pytest.approx(
        {
            "box.box_pre": 2 / 3,
            "box.box_recall": 2 / 2,
            "box.box_f1": 2 * (2 / 3) / (5 / 3),
            "box.box_iou": (0.8 + 0.6) / 3,
            "object.object_pre": 1 / 3,
            "object.object_rec": 1 / 2,
            "object.object_f1": 2 * (1 / 3) * (1 / 2) / (5 / 6),
            "object.object_iou": 0.8,
            "object-box.object_box_pre": 1 / 3,
            "object-box.object_box_recall": 1 / 2,
            "object-box.object_box_f1": 2 * (1 / 3) * (1 / 2) / (5 / 6),
            "object-box.object_box_alignment": 1 / 2,
            "object-box.object_box_detection": 1.0,
        }
    )


@pytest.mark.parametrize(
    "measure",
    [single_object_single_region, single_object_multi_region, multi_object_single_region, multi_object_multi_region],
)
def test_an_answer_without_boxes_is_nought_everywhere(measure):
    made = measure([pair("I cannot see it.", said(("liver", WHOLE)))])
    assert set(made.values().values()) == {0.0}
    assert made.intervals(["a"])


def test_upstream_reads_any_text_before_boxes_as_the_name():
    assert [(x.name, len(x.boxes)) for x in read_answer("Liver[[1, 2, 3, 4],[5,6,7,8]] and spleen [[1, 1, 2, 2]]")] == [
        ("liver", 2),
        (" and spleen ", 1),
    ]
    assert read_answer("<box>[[1, 2, 3]]</box>") == []


@pytest.mark.parametrize("truth", ["liver", "<ref>liver</ref><box>[[1, 2, 3]]</box>", said(("a", WHOLE)) + "<box>[]</box>"])
def test_a_truth_that_cannot_be_read_is_an_error_that_names_its_place(truth):
    with pytest.raises(UsageError) as caught:
        read_truth(Pair("", truth, place="Line 7"))
    assert (caught.value.code, caught.value.message.params) == ("bench.truth_not_regions", {"place": "Line 7"})


def test_boxes_are_assigned_for_the_largest_sum():
    # The first given box fits both true ones (0.8 and 1.0); the second only WHOLE, so it gets it: 1.0 + 0.8 > 1.0 + 0.
    whole, most, far = PixelBox(*WHOLE), PixelBox(*FOUR_FIFTHS), PixelBox(*FAR)
    matching = match([most, far], [far, whole])
    assert matching.pairs == ((0, 1, 0.8), (1, 0, 1.0))
    assert matching.hits(0.9) == [(1, 0)]
    assert match([], [whole]).pairs == ()


def test_standard_precision_and_recall_divide_by_what_everybody_divides_by():
    # Given: liver 0.8 (right), spleen on FAR at 0.6 (right), a heart that is not there. True: liver, spleen, kidney.
    answer = said(("Liver", FOUR_FIFTHS), ("spleen", FAR_TOO), ("heart", QUARTER))
    truth = said(("liver", WHOLE), ("spleen", FAR), ("kidney", [0, 800, 9, 900]))
    made = detection([pair(answer, truth), pair("nothing", said(("liver", WHOLE)))]).values()
    assert made == pytest.approx(
        {"precision": 2 / 3, "recall": 2 / 4, "f1": 2 * 2 / 7, "mean_iou": 1.4 / 4, "without_box": 1 / 2}
    )
    assert detection([pair("nothing", truth)]).values()["precision"] is None


def test_a_right_box_with_the_wrong_label_is_wrong():
    assert detection([pair(said(("spleen", WHOLE)), said(("liver", WHOLE)))]).values()["recall"] == 0


def test_a_box_on_the_threshold_is_right_and_only_one_box_is():
    made = detection([pair(said(("liver", HALF, WHOLE)), said(("liver", WHOLE)))]).values()
    assert (made["precision"], made["recall"]) == (1 / 2, 1.0)
    assert detection([pair(said(("liver", HALF)), said(("liver", WHOLE)))]).values()["recall"] == 1.0


def test_average_precision_by_hand():
    # Two true livers in two items. By falling confidence: 0.9 misses, 0.8 hits (0.8). Precision 1/2 at recall 1/2: the
    # 51 recalls from 0 to 0.5 of 101 have 1/2, the rest 0. IoU 0.8 passes 7 of the 10 thresholds 0.50, 0.55, ... 0.95.
    pairs = [
        pair(said(("liver", FAR)), said(("liver", WHOLE)), confidences=(0.9,)),
        pair(said(("liver", FOUR_FIFTHS)), said(("liver", WHOLE)), confidences=(0.8,)),
    ]
    measured = AveragePrecision(pairs)
    one = 51 / 101 / 2
    assert measured.values() == pytest.approx({"AP": 0.7 * one, "AP50": one, "AP75": one})
    low, high = measured.intervals(["a", "b"])["AP50"]
    assert low == 0
    assert high == pytest.approx(1.0)  # the second image twice


def test_average_precision_is_a_mean_over_labels_and_perfect_is_one():
    truth = said(("liver", WHOLE), ("spleen", FAR))
    assert AveragePrecision([pair(truth, truth, confidences=(0.5, 0.5))]).values()["AP"] == pytest.approx(1.0)
    half = AveragePrecision([pair(said(("liver", WHOLE)), truth, confidences=(0.5,))]).values()
    assert half["AP"] == pytest.approx(0.5)
    assert AveragePrecision([pair("nothing", truth, confidences=())]).values()["AP"] == 0


def test_resampling_weighs_items_as_pycocotools_would_count_them():
    rng = np.random.default_rng(0)

    def near(box):
        x, y = (int(v) for v in rng.integers(0, 30, 2))
        return [box[0] + x, box[1] + y, box[2] + x, box[3] + y]

    def drawn():
        truth = said(("liver", WHOLE), ("spleen", FAR, [200, 200, 300, 300])) if rng.random() < 0.7 else said(("liver", FAR))
        answer = said(("liver", near(WHOLE), near(FAR)), ("spleen", near(FAR)))
        return pair(answer, truth, confidences=tuple(rng.random(3)))

    pairs = [drawn() for _ in range(30)]
    times = rng.integers(0, 4, 30)
    repeated = AveragePrecision([one for one, n in zip(pairs, times, strict=True) for _ in range(n)]).values()
    weights = times[None].astype(float)
    by_label = np.stack([ranked.average_precision(weights) for ranked in AveragePrecision(pairs)._ranked], axis=1)
    assert by_label.mean() == pytest.approx(repeated["AP"])
    assert by_label[0].mean() == pytest.approx(repeated["AP50"])


def test_confidences_go_with_their_boxes():
    pairs = [pair(said(("liver", FAR, WHOLE), ("spleen", QUARTER)), said(("liver", WHOLE)), confidences=(0.2, 0.9, 0.4))]
    items, confidences, right = box_confidences(pairs)
    assert items == [0, 0, 0]
    assert sorted(zip(confidences, right, strict=True)) == [(0.2, False), (0.4, False), (0.9, True)]
    with pytest.raises(UsageError) as caught:
        box_confidences([pair(said(("a", WHOLE, FAR)), said(("a", WHOLE)), confidences=(0.5,), place="Line 3")])
    assert caught.value.code == "bench.confidences"
    assert caught.value.message.params == {"place": "Line 3", "confidences": 1, "boxes": 2}
