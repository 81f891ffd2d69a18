"""Intervals of boxes and lengths: whose they are, when they are loaded, and where an answer shows them."""

import dataclasses
import json

import pytest

from medrega_edge import load
from medrega_edge.boxes import PixelBox
from medrega_edge.errors import PackageError
from medrega_edge.package import intervals
from medrega_edge.package.intervals import BoxMargins, Group, Intervals, LengthFactors, Margins
from medrega_edge.package.manifest import INTERVALS, INTERVALS_FILE, MANIFEST, Manifest, file_entry
from medrega_edge.package.package import Package
from tests.codes import raises_code
from tests.edge.test_region_head import opened
from tests.edge.toy_package import MASKS, build, picture

LENGTHS = {name: LengthFactors(60, 0.5, 2.0) for name in intervals.LENGTHS}
KINDS = {
    "": {"": Margins(BoxMargins(60, 0.25, 0.125), LENGTHS, BoxMargins(60, 0.125, 0.0625))},
    "ct": dict.fromkeys(intervals.OWN_LEVELS, Margins(BoxMargins(60, 0.5, 0.6))),
}


@pytest.fixture(autouse=True)
def own_files(tmp_path, monkeypatch):
    """The user's place for data."""
    monkeypatch.setattr(intervals, "user_folders", lambda: [tmp_path / "data" / "packages"])
    return tmp_path / "data" / "intervals"


def with_intervals(folder, **changes):
    """A toy package that has intervals of its own weights, or of others."""
    build(folder, masks=MASKS)
    manifest = Package.open(folder).manifest
    found = dataclasses.replace(Intervals(manifest.weights, 0.9, "60 boxes", KINDS), **changes)
    path = folder / INTERVALS_FILE
    path.write_text(found.to_json(), "utf-8")
    files = {**manifest.files, INTERVALS: file_entry(path, "text")}
    (folder / MANIFEST).write_text(dataclasses.replace(manifest, files=files).to_json(), "utf-8")
    return folder


def scan(engine, **changes):
    image = opened(engine, picture(480, 240, liver=(80, 40, 240, 160)))
    return dataclasses.replace(image, image=dataclasses.replace(image.image, **changes))


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return load(with_intervals(tmp_path_factory.mktemp("toy") / "toy"))


def test_a_box_has_an_inner_and_an_outer_one(toy):
    answer = toy.detect(scan(toy), "liver")
    (region,) = answer.regions
    x1, y1, x2, y2 = region.box
    width, height = x2 - x1, y2 - y1
    interval = region.interval
    assert interval.outer == PixelBox(x1 - width / 4, y1 - height / 4, x2 + width / 4, y2 + height / 4)
    assert interval.inner == PixelBox(x1 + width / 8, y1 + height / 8, x2 - width / 8, y2 - height / 8)
    assert (interval.width, interval.height) == ((width / 2, width * 2), (height / 2, height * 2))
    document = answer.to_dict()["regions"][0]["interval"]
    assert document["level"] == 0.9 and "width_mm" not in document
    assert document["outer"] == [round(value, 2) for value in interval.outer]
    sized = toy.detect(scan(toy, spacing_mm=(0.5, 0.25)), "liver").to_dict()["regions"][0]["interval"]
    assert sized["height_mm"] == pytest.approx([value / 4 for value in document["height"]], abs=0.01)


def test_an_outer_box_ends_with_the_image(toy):
    image = opened(toy, picture(480, 240, liver=(8, 8, 400, 200)))
    outer = toy.detect(image, "liver").regions[0].interval.outer
    assert outer == PixelBox(0, 0, 480, 240)


def test_a_kind_of_image_has_its_own_numbers_and_else_those_of_all(toy):
    (region,) = toy.detect(scan(toy, modality="ct"), "liver").regions
    assert region.interval.inner is None  # each side would move in by more than half
    assert region.interval.outer.x1 == pytest.approx(max(0, region.box.x1 - (region.box.x2 - region.box.x1) / 2))
    assert region.interval.width[1] == pytest.approx(2 * (region.box.x2 - region.box.x1))
    assert toy.detect(scan(toy, modality="ct"), "liver").to_dict()["regions"][0]["interval"]["inner"] is None


def test_numbers_are_those_of_kind_and_confidence_then_of_the_confidence_then_of_all():
    def margins(outer):
        return Margins(BoxMargins(60, outer, 0.1))

    kinds = {
        "": {"": margins(0.1), "sure": margins(0.2), "sure structure": margins(0.25), "likely": margins(0.3)},
        "ct": {"sure structure": margins(0.5)},
    }
    found = Intervals("w", 0.9, "made", kinds)

    def outer(modality, confidence, is_finding=False):
        return found.around(PixelBox(0, 0, 10, 10), Group(modality, confidence, is_finding))[1].x2 / 10 - 1

    assert outer("ct", 0.9) == pytest.approx(0.5) and outer("ct", 0.6) == pytest.approx(0.3)
    assert outer("ct", 0.1) == outer("mri", 0.1) == pytest.approx(0.1)
    old = Intervals("w", 0.9, "made", {"": {"": margins(0.1), "sure": margins(0.2)}, "ct": {"sure": margins(0.5)}})
    assert old.around(PixelBox(0, 0, 10, 10), Group("ct", 0.9, True))[1].x2 == pytest.approx(15)  # a file of before
    assert outer(None, 0.85) == pytest.approx(0.25) and outer("ct", 0.85, True) == pytest.approx(0.2)
    assert found.of_length(10, "width", Group("ct", 0.9, False)) is None


@pytest.mark.parametrize("language", ["en", "zh"])
def test_a_size_and_a_diameter_are_said_with_their_intervals(toy, language):
    image = scan(toy, spacing_mm=(0.5, 0.5))
    answer = toy.segment(image, "liver", language)
    box, interval = answer.regions[0].box, answer.regions[0].interval
    assert interval.outer.x1 == pytest.approx(box.x1 - (box.x2 - box.x1) / 8) and box == answer.regions[0].mask.box
    longest = answer.regions[0].measures.longest
    assert longest.interval == (longest.length / 2, longest.length * 2)
    assert f"{longest.interval[0]:.1f}" in answer.text and f"{longest.interval[1]:.1f}" in answer.text
    assert answer.to_dict()["regions"][0]["mask"]["longest_diameter"]["interval"] == [
        round(value, 2) for value in longest.interval
    ]
    asked = toy.ask(image, "how big is the liver?" if language == "en" else "肝脏有多大？")
    assert f"{asked.regions[0].interval.width[1] / 2:.0f}" in asked.text and "90 %" in asked.text


def test_the_users_own_box_has_none(toy):
    (region,) = toy.segment(scan(toy), PixelBox(70, 30, 250, 170)).regions
    assert region.interval is None and region.measures.longest.interval is None


def test_a_package_without_them_shows_none(tmp_path):
    engine = load(build(tmp_path / "toy", masks=MASKS))
    answer = engine.segment(scan(engine, spacing_mm=(0.5, 0.5)), "liver")
    assert answer.regions[0].interval is None and "interval" not in json.dumps(answer.to_dict()["regions"])
    assert "90 %" not in answer.text


def test_intervals_of_other_weights_are_not_loaded(tmp_path):
    engine = load(with_intervals(tmp_path / "toy", weights="0" * 64))
    assert engine.detect(scan(engine), "liver").regions[0].interval is None


def test_the_users_own_go_before_those_of_the_package(tmp_path, own_files):
    folder = with_intervals(tmp_path / "toy")
    weights = Package.open(folder).manifest.weights
    wide = {"": {"": Margins(BoxMargins(60, 0.5, 0.125), LENGTHS)}}
    own_files.mkdir(parents=True)
    path = intervals.site_file(weights)
    path.write_text(Intervals(weights, 0.9, "site", wide).to_json(), "utf-8")
    assert path.parent == own_files
    engine = load(folder)
    (region,) = engine.detect(scan(engine), "liver").regions
    assert region.interval.outer.y1 == pytest.approx(max(0, region.box.y1 - (region.box.y2 - region.box.y1) / 2))
    path.write_text(
        Intervals("0" * 64, 0.9, "site", wide).to_json(), "utf-8"
    )  # of other weights: those of the package count
    assert load(folder).detect(scan(engine), "liver").regions[0].interval.outer != region.interval.outer


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data.pop("weights"), "missing_key"),
        (lambda data: data["kinds"].update(colour={}), "wrong_value"),
        (lambda data: data["kinds"][""].update(certain={}), "wrong_value"),
        (lambda data: data["kinds"][""][""]["box"].update(outer="wide"), "wrong_value"),
    ],
)
def test_a_file_that_cannot_be_read_is_refused(tmp_path, own_files, change, code):
    folder = build(tmp_path / "toy")
    weights = Package.open(folder).manifest.weights
    data = json.loads(Intervals(weights, 0.9, "site", KINDS).to_json())
    change(data)
    own_files.mkdir(parents=True)
    intervals.site_file(weights).write_text(json.dumps(data), "utf-8")
    with raises_code(PackageError, f"package.{code}"):
        load(folder)


def test_a_changed_file_of_a_package_is_refused(tmp_path):
    folder = with_intervals(tmp_path / "toy")
    path = folder / INTERVALS_FILE
    path.write_text(path.read_text("utf-8").replace("0.25", "0.05"), "utf-8")
    with raises_code(PackageError, "package.file_changed"):
        load(folder)


def test_weights_are_those_that_boxes_depend_on(tmp_path):
    folder = build(tmp_path / "toy")
    manifest = Manifest.from_json((folder / MANIFEST).read_text("utf-8"))

    def changed(role):
        files = {**manifest.files, role: dataclasses.replace(manifest.files["vision"], sha256="0" * 64)}
        return dataclasses.replace(manifest, files=files).weights

    assert changed("card") == changed("certificate") == changed(INTERVALS) == manifest.weights
    assert manifest.weights not in (changed("vision"), changed("prompts"), changed("mask_head"))
