"""Measures of a mask: diameters against brute force and known shapes, units, mean values, and where they are shown."""

import csv
import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from medrega_edge import load
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.images.medical_image import MedicalImage
from medrega_edge.images.reader import read_image
from medrega_edge.measures import diameters, measure
from medrega_edge.output.overlay import draw_answer
from tests.edge.dicoms import dicom
from tests.edge.stub import medrega
from tests.edge.test_region_head import opened
from tests.edge.toy_package import MASKS, build, picture

SIDES = ((0.5, 0), (-0.5, 0), (0, 0.5), (0, -0.5))


def brute_force(inside, scale):
    """The longest distance of all pairs of middles of pixels' sides, and the largest width at right angles to it.

    The width at a place is that between lines through any two points, of which one lies before it and one behind.
    """
    rows, columns = np.nonzero(inside)
    points = np.concatenate([np.stack([columns + 0.5 + dx, rows + 0.5 + dy], 1) for dx, dy in SIDES]) * scale
    gaps = np.hypot(*(points[:, None] - points[None]).transpose(2, 0, 1))
    start, end = np.unravel_index(gaps.argmax(), gaps.shape)
    along = (points[end] - points[start]) / gaps.max()
    places, offsets = points @ along, points @ (-along[1], along[0])
    widths = []
    for place in np.unique(places.round(9)):
        before, behind = places < place - 1e-6, places > place + 1e-6
        here = [offsets[~before & ~behind]]
        if before.any() and behind.any():
            share = (place - places[before][:, None]) / (places[behind][None] - places[before][:, None])
            here.append((offsets[before][:, None] * (1 - share) + offsets[behind][None] * share).ravel())
        everything = np.concatenate(here)
        widths.append(np.ptp(everything))
    return gaps.max(), max(widths)


def blob(random):
    """A connected shape with bays."""
    inside = np.zeros((24, 24), bool)
    for x, y, w, h in random.integers(1, 11, (4, 4)):
        inside[y : y + h, x : x + w] = True
        inside[y, min(x, 9) : 10] = True
    inside[1:11, 9] = True
    return inside


@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.7, 1.9)])
def test_diameters_are_those_of_all_pairs(scale):
    random = np.random.default_rng(7)
    for _ in range(6):
        inside = blob(random)
        longest, perpendicular = diameters(inside, scale)
        assert (longest.length, perpendicular.length) == pytest.approx(brute_force(inside, scale))
        one, other = (np.diff(np.reshape(each.line, (2, 2)), axis=0)[0] * scale for each in (longest, perpendicular))
        assert np.hypot(*one) == pytest.approx(longest.length) and np.hypot(*other) == pytest.approx(perpendicular.length)
        assert one @ other == pytest.approx(0, abs=1e-6)
        assert perpendicular.length <= longest.length + 1e-9


@pytest.mark.parametrize("angle", [0.0, 0.4, 1.1, 2.5])
@pytest.mark.parametrize("scale", [(1.0, 1.0), (0.5, 0.8)])
def test_an_ellipse_has_its_axes(angle, scale):
    y, x = (np.mgrid[:400, :400] + 0.5) * np.array(scale)[::-1, None, None]
    dx, dy = x - 200 * scale[0], y - 200 * scale[1]
    along, across = dx * np.cos(angle) + dy * np.sin(angle), dy * np.cos(angle) - dx * np.sin(angle)
    inside = (along / 60) ** 2 + (across / 25) ** 2 <= 1
    longest, perpendicular = diameters(inside, scale)
    assert longest.length == pytest.approx(120, abs=max(scale))
    assert perpendicular.length == pytest.approx(50, abs=1.5 * max(scale))


def test_a_square_has_its_edges():
    """A row of pixels is as long as its outer edges, like a box; a single pixel has its own size."""
    row = np.zeros((5, 9), bool)
    row[2, 1:8] = True
    longest, perpendicular = diameters(row, (1.0, 1.0))
    assert (longest.length, longest.line) == (7, (1, 2.5, 8, 2.5)) and perpendicular.length == 1
    one = np.zeros((3, 3), bool)
    one[1, 1] = True
    assert [each.length for each in diameters(one, (0.5, 0.25))] == [0.5, 0.25]


def test_a_stray_piece_far_away_is_not_measured():
    inside = np.zeros((60, 60), bool)
    inside[5:15, 5:25] = True
    alone = diameters(inside, (1.0, 1.0))
    inside[50:58, 50:58] = True
    inside[15, 25] = True  # touches the object at a corner only
    assert diameters(inside, (1.0, 1.0)) == alone


def test_a_ring_is_one_piece():
    inside = np.zeros((30, 40), bool)
    inside[5:25, 5:35] = True
    whole = diameters(inside, (1.0, 1.0))
    inside[6:24, 6:34] = False
    assert diameters(inside, (1.0, 1.0)) == whole


SOME = np.zeros((20, 30), bool)
SOME[4:8, 10:18] = True
BOX = PixelBox(10, 4, 18, 8)
GREY = np.zeros((20, 30, 3), np.uint8)


@pytest.mark.parametrize(
    ("spacing", "areas", "unit", "length"),
    [
        (None, (), "px", 8.0),
        ((0.5, 0.5), (), "mm", 4.0),
        ((0.5, 0.5), (PixelBox(0, 0, 20, 20),), "mm", 4.0),
        ((0.5, 0.5), (PixelBox(0, 0, 17, 20),), "px", 8.0),
    ],
)
def test_millimetres_only_where_the_size_of_a_pixel_is_sure(spacing, areas, unit, length):
    made = measure(SOME, BOX, MedicalImage(GREY, "", spacing_mm=spacing, spacing_areas=areas))
    assert made.unit == unit and made.longest.length == pytest.approx(length, rel=0.1)


def test_the_mean_is_that_of_the_files_own_values():
    ramp = np.arange(600, dtype=np.float32).reshape(20, 30)
    assert measure(SOME, BOX, MedicalImage(GREY, "", values=ramp)).mean == ramp[SOME].mean()
    ramp[5] = np.nan  # nothing was scanned there
    assert measure(SOME, BOX, MedicalImage(GREY, "", values=ramp)).mean == np.nanmean(ramp[SOME])
    assert measure(SOME, BOX, MedicalImage(GREY + 7, "")).mean == 7
    colour = GREY + np.array([1, 2, 3], np.uint8)
    assert measure(SOME, BOX, MedicalImage(colour, "")).mean is None


@pytest.mark.parametrize(
    ("header", "unit"),
    [
        ({"Modality": "CT", "RescaleSlope": "2", "RescaleIntercept": "-1024"}, "HU"),
        ({"Modality": "CT", "RescaleSlope": "2", "RescaleIntercept": "-1024", "RescaleType": "HU"}, "HU"),
        ({"Modality": "CT", "RescaleSlope": "2", "RescaleIntercept": "-1024", "RescaleType": "ED"}, None),
        ({"Modality": "MR", "RescaleSlope": "2", "RescaleIntercept": "-1024"}, None),
    ],
)
def test_values_of_a_ct_are_hounsfield_units_whatever_the_window(header, unit):
    stored = np.arange(600, dtype=np.uint16).reshape(20, 30)
    stored[0] = 4000
    file = dicom(stored, bits=12, PixelPaddingValue=4000, WindowCenter="0", WindowWidth="10", **header)
    image = read_image(file)
    assert image.value_unit == unit and np.isnan(image.values[0]).all()
    assert np.array_equal(image.values[1:], stored[1:] * 2.0 - 1024)


def test_values_of_a_ct_without_a_rescale_have_no_unit():
    image = read_image(dicom(np.arange(600, dtype=np.uint16).reshape(20, 30), bits=12, Modality="CT"))
    assert image.value_unit is None and image.values[1, 1] == 31


def test_values_of_a_png_of_16_bits(tmp_path):
    wide = np.arange(600, dtype=np.uint16).reshape(20, 30) * 100
    Image.fromarray(wide).save(tmp_path / "wide.png")
    assert np.array_equal(read_image(tmp_path / "wide.png").values, wide)


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return load(build(tmp_path_factory.mktemp("toy") / "toy", masks=MASKS))


def answered(toy, language="en", **changes):
    image = opened(toy, picture(480, 240, liver=(80, 40, 240, 160)))
    image = dataclasses.replace(image, image=dataclasses.replace(image.image, **changes))
    return image, toy.segment(image, "liver", language)


def test_an_answer_says_the_diameters_and_draws_them(toy):
    image, answer = answered(toy, spacing_mm=(0.5, 0.5), values=np.full((240, 480), 45.0), value_unit="HU")
    measures = answer.regions[0].measures
    assert measures.longest.length == pytest.approx(100, abs=5) and measures.unit == "mm"
    document = answer.to_dict()["regions"][0]["mask"]
    assert document["longest_diameter"] == {
        "length": round(measures.longest.length, 2),
        "line": [round(value, 2) for value in measures.longest.line],
    }
    assert (document["length_unit"], document["mean_value"], document["value_unit"]) == ("mm", 45.0, "HU")
    assert f"{measures.longest.length:.1f} mm" in answer.text and "45 HU" in answer.text
    assert "pixels_because" not in answer.facts
    bare = dataclasses.replace(answer, regions=(dataclasses.replace(answer.regions[0], measures=None),))
    drawn, before = (np.asarray(draw_answer(image.image, each)).astype(int) for each in (answer, bare))
    changed = np.argwhere((drawn != before).any(axis=-1))
    middle = np.array([*changed.min(axis=0), *changed.max(axis=0)]).reshape(2, 2).mean(axis=0)
    assert middle == pytest.approx(np.array([100, 160]) * 640 / 480, abs=5)  # that of the mask


@pytest.mark.parametrize("language", ["en", "zh"])
@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({}, "no_spacing"),
        ({"modality": Modality.XRAY}, "projection"),
        ({"spacing_mm": (0.5, 0.5), "spacing_areas": (PixelBox(0, 0, 100, 100),)}, "outside_scale"),
    ],
)
def test_pixels_are_said_with_the_reason(toy, language, changes, reason):
    _, answer = answered(toy, language, **changes)
    assert answer.regions[0].measures.unit == "px" and answer.facts["pixels_because"] == [reason]
    assert " px" in answer.text


def test_the_terminal_and_a_table_have_them(toy, tmp_path, capsys):
    scan, out = tmp_path / "scans" / "scan.png", tmp_path / "a.jsonl"
    scan.parent.mkdir()
    Image.fromarray(picture(480, 240, liver=(80, 40, 240, 160))).save(scan)
    medrega("segment", scan, "liver", "--model", toy.package.folder, "--lang", "zh")
    printed = capsys.readouterr().out
    longest = toy.segment(toy.open(scan), "liver").regions[0].measures.longest.length
    assert printed.count(f"{longest:.1f}") == 2 and "px" in printed
    options = ("--question", "segment the liver", "--csv", tmp_path / "a.csv", "--model", toy.package.folder)
    medrega("batch", scan.parent, "--out", out, *options)
    row = json.loads(out.read_text("utf-8"))["regions"][0]["mask"]
    with (tmp_path / "a.csv").open(encoding="utf-8-sig", newline="") as file:
        (line,) = csv.DictReader(file)
    assert line["longest_diameter"] == str(row["longest_diameter"]["length"])
    assert (line["length_unit"], line["area"]) == ("px", str(row["area"]))
