import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrega_edge.boxes import GRID_MAX, Geometry, GridBox, PixelBox, iou
from medrega_edge.prompts.region_markup import RegionText, format_region, parse

edges = st.tuples(st.integers(0, GRID_MAX), st.integers(0, GRID_MAX)).filter(lambda e: e[0] != e[1]).map(sorted)
grid_boxes = st.tuples(edges, edges).map(lambda e: GridBox(e[0][0], e[1][0], e[0][1], e[1][1]))
names = st.text(st.characters(exclude_characters="<>", exclude_categories=["Cs"]), min_size=1).map(str.strip).filter(bool)
region_texts = st.builds(RegionText, names, st.lists(grid_boxes, min_size=1, max_size=4).map(tuple))
sides = st.integers(16, 4096)


@given(st.lists(region_texts, min_size=1, max_size=3))
def test_parse_inverts_format(regions):
    parsed = parse(", ".join(format_region(region) for region in regions))
    assert list(parsed.regions) == regions
    assert parsed.problems == ()


@given(st.lists(st.sampled_from(["<ref>", "</ref>", "<box>", "</box>", "[[", "[", "]]", "]", "12", "999", ", ", "x", "肝"])))
def test_markers_that_are_not_understood_are_reported(pieces):
    parsed = parse("".join(pieces))
    assert "<" not in parsed.prose
    if not parsed.regions and "<box>" in pieces:
        assert parsed.problems


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("<ref>liver</ref><box>[[5, 5, 5, 9]]</box>", "impossible_box"),
        ("<ref>liver</ref><box>[[900, 0, 1200, 9]]</box>", "impossible_box"),
        ("<ref>liver</ref><box>[[1, 2, 3]]</box>", "unreadable_box"),
        ("<ref>liver</ref><box>1, 2, 3, 4</box>", "unreadable_boxes"),
        ("<ref>liver</ref><box>[[1, 2, 3, 4]", "lone_marker"),
        ("<ref></ref><box>[[1, 2, 3, 4]]</box>", "nameless_region"),
    ],
)
def test_bad_boxes_are_named(text, problem):
    parsed = parse(text)
    assert parsed.regions == ()
    assert f"prompt.{problem}" in [found.code for found in parsed.problems]


def test_prose_keeps_the_name():
    parsed = parse("<ref>liver</ref><box>[[1, 2, 3, 4]]</box> is large.")
    assert parsed.prose == "liver is large."


@given(grid_boxes, sides, sides)
def test_grid_to_pixels_and_back(box, width, height):
    geometry = Geometry(width, height)
    assert geometry.to_grid(geometry.to_pixels(box)) == box


@given(sides, sides, st.data())
def test_pixels_to_grid_and_back_within_one_grid_step(width, height, data):
    x1 = data.draw(st.integers(0, width - 1))
    y1 = data.draw(st.integers(0, height - 1))
    x2 = data.draw(st.integers(x1 + 1, width))
    y2 = data.draw(st.integers(y1 + 1, height))
    geometry = Geometry(width, height)
    back = geometry.to_pixels(geometry.to_grid(PixelBox(x1, y1, x2, y2)))
    for got, want, side in zip(back.as_list(), (x1, y1, x2, y2), (width, height) * 2, strict=True):
        assert abs(got - want) <= 1.5 * side / GRID_MAX


@given(grid_boxes, sides, sides)
def test_square_to_grid_and_back(box, width, height):
    longest = max(width, height)
    geometry = Geometry(width, height, (width / longest, height / longest))
    square = [side / longest for side in geometry.to_pixels(box)]
    assert geometry.from_square(square) == box


def test_a_box_beyond_the_image_is_clamped_to_it():
    geometry = Geometry(200, 100, (1.0, 0.5))
    assert geometry.from_square((-0.2, 0.1, 1.3, 0.9)).as_list() == [0, 200, 999, 999]
    assert geometry.from_square((0.5, 0.7, 0.6, 0.8)).as_list() == [500, 998, 599, 999]
    assert geometry.from_square((0.25, 0.25, 0.25, 0.25)).as_list() == [250, 500, 251, 501]


@pytest.mark.parametrize(
    "box", [(5, 5, 5, 9), (9, 0, 3, 4), (100, 0, 120, 9), (-9, -9, 0, 0), (0, 0, float("inf"), 9), (float("nan"), 0, 9, 9)]
)
def test_boxes_without_a_place_are_refused(box):
    with pytest.raises(ValueError, match="box"):
        Geometry(100, 100).to_grid(PixelBox(*box))


def test_iou_by_hand():
    assert iou(PixelBox(0, 0, 10, 10), PixelBox(5, 0, 15, 10)) == pytest.approx(50 / 150)
    assert iou(PixelBox(0, 0, 10, 10), PixelBox(10, 0, 20, 10)) == 0.0
    assert iou(PixelBox(0, 0, 10, 10), PixelBox(0, 0, 10, 10)) == 1.0
