"""Views keep boxes on their objects: a bright square goes in, a bright square comes out, where its box says."""

from pathlib import Path

import numpy as np
import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import AnnotatedRegion, Record
from medrega_train.augment import clean_view, random_view, swap_sides

SIZE = 128
DATASETS = {"torso": "acdc", "head": "cheng_brain_tumor", "skin": "ph2", "limb": "fracatlas"}
MODALITIES = {"skin": Modality.DERMOSCOPY, "limb": Modality.XRAY}


def record(area, *boxes, label=("left kidney", "左肾"), kind="organ", labels=(), qa=()):
    return Record(
        id="r",
        dataset=DATASETS[area],
        image=Path("x.png"),
        split="train",
        modality=MODALITIES.get(area, Modality.CT),
        width=SIZE,
        height=SIZE,
        regions=(AnnotatedRegion(*label, tuple(PixelBox(*box) for box in boxes), kind),),
        labels=tuple(labels),
        qa=tuple(qa),
        terms="open",
    )


def picture(*boxes):
    pixels = np.full((SIZE, SIZE, 3), 10, np.uint8)
    for x1, y1, x2, y2 in boxes:
        # An ellipse, because that is what a turned box is taken for.
        y, x = np.mgrid[0:SIZE, 0:SIZE] + 0.5
        inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
        pixels[inside] = 240
    return pixels


@pytest.mark.parametrize("area", ["torso", "head", "skin"])
def test_boxes_follow_the_picture(area):
    box = (30, 40, 70, 64)
    seen = 0
    for seed in range(60):
        view = random_view(record(area, box), picture(box), SIZE, np.random.default_rng(seed))
        if not view.regions:
            continue
        grey = view.pixels.astype(float).mean(axis=2)
        middle = (grey.min() + grey.max()) / 2
        ys, xs = np.nonzero(grey > middle)
        found = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / SIZE
        assert np.abs(found - view.regions[0].boxes[0]).max() < 0.03, (area, seed)
        seen += 1
    assert seen > 50


def test_the_torso_is_never_mirrored_and_a_mirrored_head_swaps_its_sides():
    box = (8, 40, 40, 64)
    names = {"torso": set(), "head": set()}
    for area, found in names.items():
        for seed in range(40):
            view = random_view(record(area, box), picture(box), SIZE, np.random.default_rng(seed), strength=0.3)
            for region in view.regions:
                on_the_left = region.boxes[0][0] + region.boxes[0][2] < 1.0
                found.add((region.label_en, region.label_zh, on_the_left))
    assert names["torso"] == {("left kidney", "左肾", True)}
    assert names["head"] == {("left kidney", "左肾", True), ("right kidney", "右肾", False)}


def test_swapping_twice_changes_nothing():
    for names in (("left kidney", "左肾"), ("right lower lobe of lung", "右肺下叶"), ("liver", "肝脏")):
        assert swap_sides(*swap_sides(*names)) == names
    assert swap_sides("left kidney", "左肾") == ("right kidney", "右肾")


def test_a_clean_view_is_the_picture():
    box = (30, 40, 70, 64)
    view = clean_view(record("torso", box), picture(box), SIZE)
    np.testing.assert_array_equal(view.pixels, picture(box))
    np.testing.assert_allclose(view.regions[0].boxes[0] * SIZE, box)


def test_what_leaves_the_view_is_dropped_or_marked():
    boxes = ((0, 0, 10, 10), (60, 60, 80, 80))
    partial = 0
    for seed in range(60):
        view = random_view(record("torso", *boxes), picture(*boxes), SIZE, np.random.default_rng(seed))
        for region in view.regions:
            assert region.whole == (len(region.boxes) == 2)
            partial += not region.whole
            assert region.boxes.min() >= 0
            assert region.boxes.max() <= 1
    assert partial > 0
