"""Masks: run lengths, the mask head of a package, what an answer says of them, and the files that hold them."""

import dataclasses
import json

import numpy as np
import pytest
from PIL import Image

from medrega_edge import load
from medrega_edge.answer import Answer, ImageFacts, ModelFacts, Region, Timings
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.errors import PackageError, ResourceError, UsageError
from medrega_edge.inference import memory
from medrega_edge.inference.mask_head import cut_out, expected_iou, placed, spread, surroundings
from medrega_edge.masks import Mask, compress, expand, run_lengths
from medrega_edge.output.mask_file import label_picture, write_masks
from medrega_edge.output.overlay import draw_answer
from medrega_edge.package.manifest import MANIFEST, MASK_HEAD
from medrega_edge.package.package import Package
from medrega_edge.prompts.intent import Kind
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.segmentation import Segment
from tests.codes import raises_code
from tests.edge import toy_package
from tests.edge.stub import medrega
from tests.edge.test_region_head import opened
from tests.edge.toy_package import MASKS, build, picture

AREA = 160 * 120 - 26  # the mask of a square of 48 pixels, enlarged, has round corners


def test_run_lengths_of_a_case_worked_by_hand():
    """Three rows and four columns: down the columns 0 0 1, 1 1 1, 0 0 0, 1 0 0."""
    inside = np.array([[0, 1, 0, 1], [0, 1, 0, 0], [1, 1, 0, 0]], bool)
    assert run_lengths(inside) == [2, 4, 3, 1, 2]
    # Lengths 2, 4, 3, then 1 - 4 = -3 and 2 - 3 = -1, each one digit of 5 bits: 2 4 3 29 31, and 48 added.
    assert compress([2, 4, 3, 1, 2]) == "243MO"
    mask = Mask.of(inside, 0.5)
    assert (mask.area, mask.centroid, mask.box) == (5, (1.7, 1.5), PixelBox(0, 0, 4, 3))
    assert np.array_equal(mask.inside(), inside)


@pytest.mark.parametrize("lengths", [[0, 12], [5, 1000000, 3], [0, 1, 100, 40, 7, 33, 16, 15]])
def test_the_compressed_form_survives(lengths):
    assert expand(compress(lengths)) == lengths


def test_run_lengths_are_those_of_pycocotools():
    coco = pytest.importorskip("pycocotools.mask")
    random = np.random.default_rng(0)
    for share in (0.02, 0.5, 0.97):
        inside = np.kron(random.random((7, 9)) < share, np.ones((5, 40), bool)) ^ (random.random((35, 360)) < 0.01)
        mask = Mask.of(inside, 0.5)
        assert mask.counts.encode() == coco.encode(np.asfortranarray(inside, np.uint8))["counts"]
        assert np.array_equal(mask.inside(), inside)


def test_nothing_inside_is_no_mask():
    assert Mask.of(np.zeros((4, 5), bool), 0.5) is None


def test_a_box_is_cut_out_with_its_margin_and_black_beyond_the_image():
    pixels = np.full((10, 20), 50, np.uint8)
    pixels[:, 10:] = 150
    area = surroundings(PixelBox(8, -3, 12, 99), 0.25, 20, 10)
    assert area == PixelBox(7, -2.5, 13, 12.5)  # the box ends with the image, its margin does not
    square = cut_out(pixels, area, 60)
    assert square.shape == (60, 60) and (square[30, 5], square[30, 55], square[2, 30], square[57, 30]) == (50, 150, 0, 0)
    assert np.array_equal(cut_out(np.stack([pixels] * 3, -1), area, 60)[..., 1], square)
    values = spread(square)
    assert values.shape == (3, 60, 60) and (values.min(), values.max()) == (0, 1)
    assert spread(np.full((4, 4), 7, np.uint8)).max() == 0  # one value alone


@pytest.mark.parametrize("size", [(20, 10), (700, 900)])
def test_a_mask_lies_where_its_square_was_cut_out(size):
    width, height = size
    area = surroundings(PixelBox(0.2 * width, 0.5 * height, 0.6 * width, height), 0.25, width, height)
    inside = np.zeros((height, width), bool)
    inside[height // 2 :, int(0.2 * width) : int(0.6 * width)] = True
    square = cut_out(inside.astype(np.uint8) * 255, area, 80)
    again = placed(square.astype(np.float32) - 127.5, area, width, height)
    assert (again & inside).sum() / (again | inside).sum() > 0.97
    assert not placed(np.full((8, 8), -1, np.float32), area, width, height).any()


def test_a_mask_promises_the_iou_that_its_places_would_have():
    logits = np.log(np.array([[9.0, 9.0], [1 / 9, 1 / 9]], np.float32))  # 0.9, 0.9, 0.1, 0.1
    assert expected_iou(logits) == pytest.approx(1.8 / 2.2)
    assert expected_iou(np.full((2, 2), -50, np.float32)) == 0


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return load(build(tmp_path_factory.mktemp("toy") / "toy", masks=MASKS))


@pytest.fixture(scope="module")
def image(toy):
    return opened(toy, picture(480, 240, liver=(80, 40, 240, 160)))


def test_a_name_gets_the_mask_of_its_box(toy, image):
    answer = toy.segment(image, ["liver", "polyp"])
    (region,) = answer.regions
    assert region.mask.box == PixelBox(80, 40, 240, 160)
    assert (region.mask.area, region.mask.score) == (AREA, pytest.approx(1.0, abs=0.01))
    assert region.mask.centroid == pytest.approx((160, 100), abs=0.01)
    assert answer.facts["masks"] == 1 and str(AREA) in answer.text
    document = answer.to_dict()["regions"][0]["mask"]
    assert document["size"] == [240, 480] and expand(document["counts"]) == run_lengths(region.mask.inside())
    assert document["score"] > 0.99 and "area_mm2" not in document


def test_the_area_is_in_square_millimetres_where_a_pixel_has_a_size(toy):
    image = opened(toy, picture(480, 240, liver=(80, 40, 240, 160)))
    sized = dataclasses.replace(image, image=dataclasses.replace(image.image, spacing_mm=(0.5, 0.25)))
    answer = toy.segment(sized, "liver")
    assert answer.to_dict()["regions"][0]["mask"]["area_mm2"] == AREA / 8
    assert "24.0 cm²" in answer.text


@pytest.mark.parametrize("spacing", [None, (10.0, 10.0)])
def test_of_many_masks_the_text_tells_the_range(spacing):
    inside = np.zeros((9, 9), bool)
    regions = []
    for count in (4, 1, 9, 2, 3, 5, 7, 6, 8):
        inside.flat[:9], inside.flat[:count] = False, True
        regions.append(Region("cell nucleus", PixelBox(0, 0, 9, 9), 0.9, Mask.of(inside, 0.9)))
    image = ImageFacts(None, 9, 9, None, None, None, "0", spacing)
    model = ModelFacts("m", "1", "0", "p")
    timings = Timings()
    answer = Answer("", "", Task.DETECT, Language.EN, tuple(regions), (), image, model, "cpu", "stop", 1, 1, timings)
    told = Segment(["cell nucleus"]).finish(answer).text
    unit = "pixels, 5 in the median." if spacing is None else "cm², 5.00 cm² in the median."
    ends = "1 to 9" if spacing is None else "1.00 to 9.00"
    assert f"Masks of cell nucleus: 9, from {ends} {unit}" in told and told.count("Mask") == 1


def test_a_box_by_hand(toy, image):
    answer = toy.segment(image, PixelBox(70, 30, 250, 170), "zh")
    assert answer.regions[0].label == "框内目标" and answer.regions[0].mask.area == pytest.approx(AREA, abs=20)
    with raises_code(UsageError, "task.box_outside"):
        toy.segment(image, PixelBox(500, 10, 600, 20))
    with raises_code(UsageError, "task.box_corners"):
        toy.segment(image, PixelBox(50, 10, 40, 20))


def test_an_empty_mask_is_said(toy):
    black = opened(toy, picture(480, 240))
    answer = toy.segment(black, PixelBox(70, 30, 250, 170))
    assert answer.regions[0].mask is None and answer.facts == {"masks": 0}
    assert "empty" in answer.text and "mask" not in answer.to_dict()["regions"][0]


def test_a_box_of_one_grey_holds_nothing_whatever_the_graph_says():
    engine = load()
    grey = opened(engine, np.full((200, 300, 3), 90, np.uint8))
    assert engine.segment(grey, PixelBox(100, 50, 200, 150)).regions[0].mask is None


def test_a_label_whose_masks_are_wrong_gets_none_and_this_is_said(tmp_path):
    engine = load(build(tmp_path / "toy", masks=dataclasses.replace(MASKS, wrong=("spleen",))))
    image = opened(engine, picture(480, 240, liver=(80, 40, 240, 160), spleen=(280, 80, 440, 200)))
    answer = engine.segment(image, ["liver", "spleen"], "zh")
    assert [region.mask is not None for region in answer.regions] == [True, False]
    assert [warning.to_dict()["code"] for warning in answer.warnings] == ["task.wrong_mask"]
    assert answer.warnings[0].params == {"name": "脾脏"} and answer.facts["masks"] == 1


def test_a_question_for_an_outline_gets_masks_and_others_boxes(toy, image):
    for text in ("segment the liver", "outline of the liver", "liver mask", "请分割肝脏", "勾画肝脏轮廓"):
        answer = toy.ask(image, text)
        assert answer.intent == Kind.SEGMENT and answer.regions[0].mask is not None, text
    for text in ("locate the liver", "where is the liver?", "肝脏在哪里", "is there a liver?"):
        answer = toy.ask(image, text)
        assert answer.intent != Kind.SEGMENT and answer.regions[0].mask is None, text


def test_names_and_a_box_exclude_each_other():
    for wrong in ({}, {"names": ["liver"], "box": PixelBox(1, 1, 9, 9)}):
        with raises_code(UsageError, "task.names_or_box"):
            Segment(**wrong)


def test_the_mask_head_loads_when_it_is_needed(tmp_path):
    engine = load(build(tmp_path / "toy", masks=MASKS))
    image = opened(engine, picture(480, 240, liver=(80, 40, 240, 160)))
    engine.detect(image, "liver")
    maker = engine._region_maker
    assert maker._mask_head is None
    first, head = engine.segment(image, "liver"), maker._mask_head
    assert engine.segment(image, "liver").regions == first.regions and maker._mask_head is head


def test_many_boxes_at_once_get_the_masks_of_each_alone(toy, image):
    boxes = [PixelBox(80, 40, 240 - 4 * number, 160) for number in range(11)]
    toy.segment(image, "liver")
    together = list(toy._region_maker._mask_head.segment(image.image, boxes))
    assert together == [next(toy._region_maker._mask_head.segment(image.image, [box])) for box in boxes]


def test_a_first_mask_needs_memory(tmp_path, monkeypatch):
    engine = load(build(tmp_path / "toy", masks=MASKS))
    image = opened(engine, picture(480, 240, liver=(80, 40, 240, 160)))
    monkeypatch.setattr(memory, "free", lambda: memory.MASKS - 1)
    with raises_code(ResourceError, "resource.memory"):
        engine.segment(image, "liver")


def test_a_follow_up_of_a_mask_is_a_mask(toy, image):
    asked = toy.request(image, "segment the liver")
    following = toy.follow_up("and the spleen?", asked)
    assert following.request == Segment(["spleen"])
    assert toy.follow_up("and the spleen?", toy.request(image, "locate the liver")).request == Detect(["spleen"])


def test_a_package_without_masks_refuses_and_still_locates(tmp_path):
    engine = load(build(tmp_path / "toy"))
    image = opened(engine, picture(480, 240, liver=(80, 40, 240, 160)))
    with raises_code(UsageError, "task.no_masks"):
        engine.segment(image, "liver")
    answer = engine.ask(image, "segment the liver")
    assert answer.intent == Kind.LOCATE and answer.regions[0].mask is None


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda m: m.pop("masks"), "missing_key"),
        (lambda m: m["files"].pop(MASK_HEAD), "missing_role"),
        (lambda m: m["masks"].update(side=0), "wrong_value"),
        (lambda m: m["masks"].update(places=0), "wrong_value"),
        (lambda m: m["masks"].update(margin=1.5), "wrong_value"),
        (lambda m: m["masks"].update(calibration=[1.0]), "wrong_value"),
        (lambda m: m["masks"].update(colour="blue"), "unknown_key"),
    ],
)
def test_a_manifest_that_does_not_fit_the_head_is_refused(tmp_path, edit, code):
    path = build(tmp_path / "toy", masks=MASKS) / MANIFEST
    data = json.loads(path.read_text("utf-8"))
    edit(data)
    path.write_text(json.dumps(data), "utf-8")
    with raises_code(PackageError, f"package.{code}"):
        Package.open(path.parent)


@pytest.mark.parametrize(
    "changes",
    [
        {"masks": dataclasses.replace(MASKS, side=24)},
        {"masks": dataclasses.replace(MASKS, places=24)},
        {"masks": dataclasses.replace(MASKS, logits="mask")},
        {"mask_graph": toy_package.vision},
    ],
)
def test_a_graph_that_does_not_fit_the_manifest_is_refused(tmp_path, changes):
    engine = load(build(tmp_path / "toy", **({"masks": MASKS} | changes)))
    image = opened(engine, picture(480, 240, liver=(80, 40, 240, 160)))
    with raises_code(PackageError, "inference.graph_not_as_in_manifest", role=MASK_HEAD):
        engine.segment(image, "liver")


def test_a_picture_of_numbers_and_a_contour(toy, image, tmp_path):
    answer = toy.segment(image, "liver")
    values = label_picture(answer)
    write_masks(answer, tmp_path / "masks.png")
    with Image.open(tmp_path / "masks.png") as read:
        assert read.mode == "P" and np.array_equal(np.asarray(read), values)
    assert values.sum() == AREA and values[100, 100] == 1
    drawn = np.asarray(draw_answer(image.image, answer))
    assert (drawn == (0xE6, 0x9F, 0x00)).all(axis=-1).any()
    with raises_code(UsageError, "output.not_a_mask_file"):
        write_masks(answer, tmp_path / "masks.jpg")


def test_a_nifti_of_one_slice(toy, image, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    answer = toy.segment(image, "liver")
    sized = dataclasses.replace(answer, image=dataclasses.replace(answer.image, spacing_mm=(0.5, 0.25)))
    write_masks(sized, tmp_path / "masks.nii.gz")
    read = nibabel.load(tmp_path / "masks.nii.gz")
    assert read.shape == (480, 240, 1) and read.header.get_zooms()[:2] == (0.5, 0.25)
    assert np.array_equal(np.asarray(read.dataobj)[:, :, 0].T, label_picture(answer))


def test_the_command(toy, tmp_path, capsys, monkeypatch):
    scan, masks = tmp_path / "scan.png", tmp_path / "masks.png"
    Image.fromarray(picture(480, 240, liver=(80, 40, 240, 160))).save(scan)
    folder = toy.package.folder
    medrega("segment", scan, "liver", "--model", folder, "--mask", masks, "--save", tmp_path / "marked.png", "--json")
    assert json.loads(capsys.readouterr().out)["regions"][0]["mask"]["area"] == AREA
    assert masks.exists() and (tmp_path / "marked.png").exists()
