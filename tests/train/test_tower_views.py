"""Views for the tower: a bright ellipse goes in, and its box says where it comes out."""

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import AnnotatedRegion, Record
from medrega_train.tower_views import FILL, View, _with_mass, clean_view, fitted, random_view, turn_boxes, visible

SIDE = 128


def record(*boxes, dataset="ph2", width=100, height=60):
    return Record(
        id="r",
        dataset=dataset,
        image=Path("x.png"),
        split="train",
        modality=Modality.CT,
        width=width,
        height=height,
        regions=(AnnotatedRegion("skin lesion", "皮肤病变", tuple(PixelBox(*box) for box in boxes), "lesion"),),
    )


def picture(box, width=100, height=60, channels=0):
    y, x = np.mgrid[0:height, 0:width] + 0.5
    x1, y1, x2, y2 = box
    inside = ((x - (x1 + x2) / 2) / ((x2 - x1) / 2)) ** 2 + ((y - (y1 + y2) / 2) / ((y2 - y1) / 2)) ** 2 <= 1
    grey = np.where(inside, 255, 127).astype(np.uint8)
    return np.repeat(grey[..., None], channels, axis=2) if channels else grey


def found(pixels):
    """The box of what is brighter than the rest, as fractions."""
    grey = pixels.astype(float) if pixels.ndim == 2 else pixels.astype(float).mean(axis=2)
    ys, xs = np.nonzero(grey > np.median(grey) + (grey.max() - np.median(grey)) / 2)
    return np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / pixels.shape[0]


def test_the_longest_side_fills_the_clean_view():
    box = (20, 10, 60, 40)
    view = clean_view(record(box), picture(box), SIDE)
    assert view.pixels.shape == (SIDE, SIDE)
    assert (view.pixels[round(60 * 1.28) :] == FILL).all()
    assert view.boxes[0] == pytest.approx(np.array([[0.2, 0.1, 0.6, 0.4]]), abs=0.01)
    assert np.abs(found(view.pixels) - view.boxes[0][0]).max() < 0.02


@pytest.mark.parametrize(("width", "height"), [(512, 300), (300, 512), (64, 64)])
def test_a_fitted_image_lies_on_whole_pixels(width, height):
    placement = fitted(width, height, 384)
    assert max(width * placement.scale[0], height * placement.scale[1]) == 384
    assert (width * placement.scale[0]) % 1 == pytest.approx(0, abs=1e-9)


@pytest.mark.parametrize("channels", [0, 3])
@pytest.mark.parametrize("sideless", [False, True])
def test_boxes_follow_the_picture(sideless, channels):
    box, seen = (30, 15, 70, 45), 0
    for seed in range(60):
        rng = np.random.default_rng(seed)
        view = random_view(record(box), picture(box, channels=channels), SIDE, sideless, rng)
        if len(view.boxes[0]):
            assert view.pixels.shape[:2] == (SIDE, SIDE)
            if channels == 0:  # a tint of colours or noise may hide which pixel is brightest
                assert np.abs(found(view.pixels) - view.boxes[0][0]).max() < 0.04, seed
            seen += 1
    assert seen > 50


def test_what_has_a_side_is_never_mirrored():
    box = (5, 20, 35, 40)  # on the left
    for seed in range(40):
        view = random_view(record(box, dataset="chaos_mr"), picture(box), SIDE, False, np.random.default_rng(seed))
        for x1, _, x2, _ in view.boxes[0]:
            assert (x1 + x2) / 2 < 0.6


def test_a_turned_box_does_not_grow_like_its_corners():
    turned = turn_boxes(np.array([[0.4, 0.4, 0.6, 0.6]], np.float32), np.radians(10))
    assert turned[0] == pytest.approx([0.4, 0.4, 0.6, 0.6], abs=1e-6)  # a circle stays as it is
    quarter = turn_boxes(np.array([[0.1, 0.2, 0.3, 0.6]], np.float32), np.pi / 2)
    assert quarter[0] == pytest.approx([0.2, 0.7, 0.6, 0.9], abs=1e-6)  # counter-clockwise, y points down


def test_a_box_that_is_mostly_cut_away_is_dropped():
    boxes = np.array([[-0.9, 0.0, 0.1, 1.0], [-0.1, 0.2, 0.9, 0.4]], np.float32)
    assert visible(boxes) == pytest.approx(np.array([[0.0, 0.2, 0.9, 0.4]]))


def test_a_box_beyond_the_extent_of_a_turned_image_is_no_region():
    pytest.importorskip("torch")
    from medrega_train.padded_views import _as_asked

    boxes = (np.array([[0.61, 0.1, 0.7, 0.3], [0.3, 0.1, 0.5, 0.3]], np.float32),)
    view = View(np.zeros((SIDE, SIDE, 3), np.uint8), boxes, (0.6, 1.0))
    (region,) = _as_asked(record((61, 10, 70, 30), (30, 10, 50, 30)), view).regions
    assert region.boxes == pytest.approx(np.array([[0.5, 0.1, 0.5 / 0.6, 0.3]]))
    assert not region.whole
    gone = View(view.pixels, (boxes[0][:1],), (0.6, 1.0))
    assert _as_asked(record((61, 10, 70, 30)), gone).regions == ()


def test_a_mass_lies_within_its_organ():
    flat, box = np.full((SIDE, SIDE), 100, np.uint8), np.array([[0.2, 0.3, 0.7, 0.6]], np.float32)
    views = (_with_mass(flat, (box,), np.random.default_rng(seed)) for seed in range(60))
    changes = [np.abs(view.astype(int) - 100) for view in views]
    drawn = [change > 30 for change in changes if change.max() > 60]
    assert len(drawn) > 10
    for found in drawn:
        ys, xs = np.nonzero(found)
        edges = np.array([xs.min(), ys.min(), xs.max() + 1, ys.max() + 1]) / SIDE
        assert (edges[:2] > box[0, :2] - 0.05).all() and (edges[2:] < box[0, 2:] + 0.05).all()  # its rim is soft


def test_no_mass_is_drawn_where_nothing_is_boxed():
    flat = np.full((SIDE, SIDE), 100, np.uint8)
    for seed in range(20):
        assert (_with_mass(flat, (np.zeros((0, 4), np.float32),), np.random.default_rng(seed)) == flat).all()


def test_an_image_of_a_lesion_gets_no_other(monkeypatch):
    asked = []
    monkeypatch.setattr("medrega_train.tower_views._with_mass", lambda pixels, boxes, rng: asked.append(boxes) or pixels)
    box, rng = (20, 10, 60, 40), np.random.default_rng(0)
    random_view(record(box), picture(box), SIDE, False, rng)
    assert not asked
    organ = replace(record(box), regions=(AnnotatedRegion("liver", "肝脏", (PixelBox(*box),), "structure"),))
    for _ in range(20):
        random_view(organ, picture(box), SIDE, False, rng)
    assert 5 < len(asked) < 25
