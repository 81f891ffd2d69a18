"""What a region head says becomes boxes: medians, peaks, suppression, and the package's answers in pixels."""

import io
import json
import math

import numpy as np
import pytest
from PIL import Image

from medrega_edge import load
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.errors import PackageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.grammars import RegionGrammar
from medrega_edge.inference.region_head import (
    MAX_BOXES,
    Readings,
    boxes_at,
    boxes_of,
    interpolated_median,
    mass_around,
    median_box,
    peaks,
    suppress,
)
from medrega_edge.package.manifest import MANIFEST, Manifest
from medrega_edge.package.package import Package
from medrega_edge.prompts.region_markup import format_region, parse
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.reporting import Report
from tests.codes import raises_code
from tests.edge import toy_package
from tests.edge.stub import medrega
from tests.edge.toy_package import BINS, REGIONS, build, picture

WHOLE = (1.0, 1.0)


def at(*bins, of=10):
    """A distribution that is even over some bins."""
    return np.array([1 / len(bins) if i in bins else 0.0 for i in range(of)], np.float32)


@pytest.mark.parametrize(
    ("distribution", "median"),
    [
        (at(3), 0.35),
        (at(3, 4), 0.4),
        (at(0), 0.05),
        (at(9), 0.95),
        (at(2, 3, 4), 0.35),
        (at(1, 8), 0.2),  # the gap begins where half is reached
        (np.array([0.1, 0.2, 0.3, 0.4], np.float32), (2 + 2 / 3) / 4),
        (np.zeros(4, np.float32), 1.0),
        (np.full(4, np.nan, np.float32), 0.0),
    ],
)
def test_the_median_is_interpolated_in_its_bin(distribution, median):
    assert interpolated_median(distribution) == pytest.approx(median, abs=1e-6)


@pytest.mark.parametrize(
    ("distribution", "place", "reach", "mass"),
    [
        (at(3), 0.35, 0.05, 1.0),
        (at(3), 0.35, 0.0, 1.0),  # half a bin at least
        (at(3), 0.4, 0.05, 0.5),
        (at(2, 3, 4, 5), 0.4, 0.1, 0.5),
        (at(2, 3, 4, 5), 0.4, 0.15, 0.75),
        (at(0, 1), 0.1, 0.5, 1.0),
        (at(9), 0.1, 0.2, 0.0),
    ],
)
def test_the_mass_around_a_place(distribution, place, reach, mass):
    assert mass_around(distribution, place, reach) == pytest.approx(mass, abs=1e-6)


def readings(edges=None, presence=0.8, centres=None, distances=None, bins=10):
    if edges is None:
        edges = np.stack([at(2), at(3), at(6), at(7)])
    if centres is None:
        centres = np.zeros((bins, bins), np.float32)
    if distances is None:
        distances = np.full((4, bins, bins), 0.05, np.float32)
    return Readings(edges, presence, np.asarray(centres, np.float32), np.asarray(distances, np.float32))


def test_one_box_has_the_medians_and_the_mean_certainty_of_its_edges():
    assert median_box(readings(), WHOLE) == pytest.approx((0.25, 0.35, 0.65, 0.75, 0.8))
    unsure = np.stack([at(0, 2, 4), at(3), at(6), at(7)])  # of the left edge a third lies within 0.4 / 6 of the median 0.25
    assert median_box(readings(unsure), WHOLE).score == pytest.approx(0.8 * (1 / 3) ** 0.25, abs=1e-6)


def test_edges_that_crossed_are_put_in_order():
    crossed = np.stack([at(6), at(7), at(2), at(3)])
    assert median_box(readings(crossed), WHOLE)[:4] == pytest.approx((0.25, 0.35, 0.65, 0.75))


def test_a_box_is_clipped_to_what_the_image_covers():
    assert median_box(readings(), (1.0, 0.5))[:4] == pytest.approx((0.25, 0.35, 0.65, 0.5))


def test_peaks_are_the_largest_of_their_neighbours_best_first():
    centres = np.zeros((6, 6), np.float32)
    centres[1, 1], centres[1, 2], centres[4, 4], centres[0, 5], centres[5, 0] = 0.7, 0.6, 0.9, 0.3, 0.7
    rows, columns = peaks(centres, 0.5)
    assert list(zip(rows.tolist(), columns.tolist(), strict=True)) == [(4, 4), (1, 1), (5, 0)]
    assert [len(each) for each in peaks(centres, 0.95)] == [0, 0]


def test_the_box_at_a_place_reaches_as_far_as_it_says():
    distances = np.zeros((4, 10, 10), np.float32)
    distances[:, 2, 7] = 0.1, 0.2, 0.05, 0.3
    assert boxes_at(np.array([2]), np.array([7]), distances)[0] == pytest.approx((0.65, 0.05, 0.8, 0.55))


def test_of_boxes_that_overlap_the_better_one_stays():
    boxes = np.array([[0, 0, 2, 2], [0, 0, 2, 1.9], [1, 0, 3, 2], [5, 5, 6, 6], [0, 0, 2, 2]], float)
    assert suppress(boxes, 0.5) == [0, 2, 3]
    assert suppress(boxes, 0.3) == [0, 3]
    assert suppress(boxes, 1.0) == [0, 1, 2, 3, 4]
    assert suppress(boxes[:0], 0.5) == []


def several(*places, bins=10):
    centres = np.zeros((bins, bins), np.float32)
    for row, column, probability in places:
        centres[row, column] = probability
    return readings(centres=centres, bins=bins, edges=np.stack([at(2, of=bins)] * 4))


def test_two_peaks_are_two_boxes_and_one_is_the_median_box():
    boxes = boxes_of(several((2, 2, 0.6), (7, 7, 0.9)), REGIONS, WHOLE)
    assert [box.score for box in boxes] == pytest.approx([0.8 * 0.9, 0.8 * 0.6])
    assert boxes[0][:4] == pytest.approx((0.7, 0.7, 0.8, 0.8))
    one = several((2, 2, 0.6), (7, 7, 0.4))
    assert boxes_of(one, REGIONS, WHOLE) == [median_box(one, WHOLE)]


def test_a_peak_beside_the_image_is_none():
    both = several((2, 2, 0.6), (7, 7, 0.9))
    assert boxes_of(both, REGIONS, (1.0, 0.6)) == [median_box(both, (1.0, 0.6))]


def test_an_object_has_so_many_boxes_and_no_more():
    bins = 48
    places = [(row, column, 0.9) for row in range(0, bins, 4) for column in range(0, bins, 4)]
    assert len(places) > MAX_BOXES
    crowd = several(*places, bins=bins)
    assert len(boxes_of(crowd._replace(distances=crowd.distances / 10), REGIONS, WHOLE)) == MAX_BOXES


def test_readings_that_are_no_numbers_still_give_a_box():
    nothing = np.full((4, 10), np.nan, np.float32)
    (box,) = boxes_of(readings(nothing, centres=np.full((10, 10), np.nan)), REGIONS, WHOLE)
    assert all(math.isfinite(number) for number in box)


# ---- packages ----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def toy(tmp_path_factory):
    return load(build(tmp_path_factory.mktemp("packages") / "toy"))


def opened(engine, pixels):
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    return engine.open(buffer.getvalue())


SHAPES = [  # size, and a box of it whose edges lie on edges or middles of places
    (480, 240, (80, 40, 240, 160)),
    (240, 480, (40, 120, 140, 400)),
    (480, 480, (80, 120, 360, 320)),
    (481, 333, (80, 40, 240, 160)),
]


@pytest.mark.parametrize("fit", ["pad", "stretch"])
@pytest.mark.parametrize(("width", "height", "box"), SHAPES)
def test_the_box_lies_where_the_object_is(tmp_path, fit, width, height, box):
    engine = load(build(tmp_path / "toy", fit=fit))
    image = opened(engine, picture(width, height, liver=box))
    (region,) = engine.detect(image, "liver").regions
    assert region.label == "liver"
    assert iou(region.box, PixelBox(*box)) > 0.9
    step = max(width, height) / BINS
    assert np.abs(np.subtract(region.box, box)).max() < step / 4


def test_raw_text_keeps_its_markup_and_the_text_says_it(toy):
    image = opened(toy, picture(480, 240, liver=(80, 40, 240, 160)))
    answer = toy.detect(image, "肝脏")
    (region,) = parse(answer.raw_text).regions
    assert answer.raw_text == format_region(region)
    assert region.boxes[0].as_list() == pytest.approx([167, 167, 500, 666], abs=5)
    assert [region.label for region in answer.regions] == ["肝脏"]
    assert (answer.finish, answer.warnings) == ("stop", ())


def test_a_box_costs_the_prompt_and_one_pass(toy):
    image = opened(toy, picture(480, 240, liver=(80, 40, 240, 160)))
    before = toy.language_model.forward_passes
    toy.detect(image, "liver")
    assert toy.language_model.forward_passes - before == 3  # the image's prefix, the question, up to the query
    toy.detect(image, "liver")
    assert toy.language_model.forward_passes - before == 5


def test_a_box_in_a_question_brings_what_lies_there(tmp_path, monkeypatch):
    engine = load(build(tmp_path / "toy", tasks=("identify",)))
    model, seen = engine.language_model, []
    extend = model._decoder.extend
    monkeypatch.setattr(model._decoder, "extend", lambda embeds: seen.append(embeds.copy()) or extend(embeds))
    image = opened(engine, picture(480, 240, liver=(0, 0, 240, 240), spleen=(240, 0, 480, 240)))
    engine.identify(image, PixelBox(0, 0, 240, 240))  # the left half is red, the right one green
    question = next(embeds for embeds in seen if len(embeds) > 20)
    seen.clear()
    monkeypatch.setattr(type(image.maps), "pooled", lambda self, boxes: np.zeros(64, np.float32))
    engine.identify(image, PixelBox(0, 0, 240, 240))
    plain = next(embeds for embeds in seen if len(embeds) > 20)
    (changed,) = np.nonzero((question != plain).any(axis=1))
    assert len(changed) == 1
    added = question[changed[0]] - plain[changed[0]]
    assert added[:3] == pytest.approx([1, 0, 0], abs=0.05) and not added[3:].any()


def test_lists_of_boxes_are_found_in_a_text(toy):
    vocabulary = toy.language_model.vocabulary
    text = "what is <box>[[0, 12, 500, 999]]</box>, <box>[[1, 2, 3, 4], [5, 6, 7, 8]]</box> and <box>[[1, 2]]</box>?"
    ids = toy.language_model.encode_continuation(text, "")
    found = vocabulary.box_lists(ids)
    assert [boxes for _, boxes in found] == [[[0, 12, 500, 999]], [[1, 2, 3, 4], [5, 6, 7, 8]]]
    assert all(ids[end] == vocabulary.box_close for end, _ in found)


def test_each_name_has_its_own_query(toy):
    boxes = {"liver": (80, 40, 240, 160), "spleen": (280, 80, 440, 200)}
    answer = toy.detect(opened(toy, picture(480, 240, **boxes)), ["spleen", "liver"])
    assert [region.label for region in answer.regions] == ["spleen", "liver"]
    for region in answer.regions:
        assert iou(region.box, PixelBox(*boxes[region.label])) > 0.9


GLANDS = [(40, 40, 80, 80), (200, 120, 240, 160), (400, 0, 440, 40), (320, 160, 360, 200)]


def test_an_object_with_several_peaks_has_several_boxes(toy):
    answer = toy.detect(opened(toy, picture(480, 240, gland=GLANDS)), "gland")
    found = sorted(tuple(round(number) for number in region.box) for region in answer.regions)
    assert found == sorted(GLANDS)
    scores = [region.confidence for region in answer.regions]
    assert scores == sorted(scores, reverse=True)
    assert all(0.5 < score <= 1 for score in scores)


def test_what_is_absent_has_no_box(toy):
    answer = toy.detect(opened(toy, picture(480, 240, liver=(80, 40, 240, 160))), "polyp")
    assert answer.regions == ()
    assert answer.not_found == ["polyp"]


def test_the_confidence_is_presence_times_the_certainty_of_the_head(toy):
    image = opened(toy, picture(480, 240, liver=(80, 40, 240, 160)))
    (certain,) = toy.detect(image, "liver").regions
    pale = picture(480, 240, liver=(80, 40, 240, 160))
    pale[pale == 255] = 190  # half as present
    (unsure,) = toy.detect(opened(toy, pale), "liver").regions
    assert unsure.box == pytest.approx(certain.box, abs=0.5)
    assert 0.4 < unsure.confidence / certain.confidence < 0.6


def test_boxes_that_do_not_fit_are_cut_to_whole_ones(toy):
    image = opened(toy, picture(480, 240, gland=GLANDS))
    whole = toy.detect(image, "gland")
    tokens = whole.generated_tokens
    for limit in range(1, tokens + 2):
        cut = toy.run(image, Detect("gland"), max_tokens=limit)
        assert cut.regions == whole.regions[: len(cut.regions)]
        assert cut.generated_tokens <= limit
        assert (len(cut.regions) < 4) <= (Message("task.cut_off") in cut.warnings)
        assert (cut.finish == "length") is (Message("task.cut_off") in cut.warnings)
    assert len(toy.run(image, Detect("gland"), max_tokens=tokens - 1).regions) == 3
    assert toy.run(image, Detect("gland"), max_tokens=12).regions == ()


def test_dozens_of_boxes_need_no_room_in_the_context(tmp_path):
    engine = load(build(tmp_path / "toy", context=128))
    glands = [(x, y, x + 40, y + 40) for x in range(0, 480, 80) for y in range(0, 480, 80)]
    image = opened(engine, picture(480, 480, gland=glands, liver=(80, 40, 240, 160)))
    answer = engine.detect(image, ["gland", "liver"])
    assert (len(answer.regions), answer.finish) == (37, "stop")
    assert answer.generated_tokens > 500


def test_free_text_goes_on_behind_the_boxes(toy):
    boxes = {"liver": (80, 40, 240, 160), "spleen": (280, 80, 440, 200)}
    answer = toy.run(opened(toy, picture(480, 240, **boxes)), Report(grounded=True))
    assert answer.raw_text.count("<ref>") == 2
    assert [region.label for region in answer.regions] == ["liver", "spleen"]
    for region in answer.regions:
        assert iou(region.box, PixelBox(*boxes[region.label])) > 0.9
        assert region.confidence > 0.5
    assert answer.text.startswith("liver,spleen")


def test_what_is_streamed_joins_to_the_text(toy):
    boxes = {"liver": (80, 40, 240, 160), "spleen": (280, 80, 440, 200)}
    image, pieces = opened(toy, picture(480, 240, **boxes)), []
    prompt = PromptBook.from_json(toy.package.text("prompts")).prompt("grounded_report", "en", "x")
    grammar = RegionGrammar(toy.language_model.vocabulary)
    generation = toy.language_model.generate(image, prompt, grammar, 200, pieces.append)
    assert "".join(pieces) == generation.raw_text
    assert len(generation.box_scores) == 2


@pytest.mark.parametrize("task", [Detect(["liver", "gland"]), Report(grounded=True)])
def test_jump_forward_and_the_cache_change_nothing(toy, task):
    pixels = picture(480, 240, liver=(80, 40, 240, 160), gland=GLANDS, spleen=(280, 80, 440, 200))
    first = toy.run(opened(toy, pixels), task)
    again = toy.run(opened(toy, pixels), task)
    cold = load(toy.package.folder, threads=1)
    fresh = cold.run(opened(cold, pixels), task)
    cold.language_model.jump_forward = False
    slow = cold.run(opened(cold, pixels), task)
    for other in (again, fresh, slow):
        assert (other.raw_text, other.regions) == (first.raw_text, first.regions)


def test_images_of_the_same_pixels_and_another_size_have_their_own_boxes(toy):
    wide = toy.detect(opened(toy, picture(480, 100, gland=(80, 20, 240, 80))), "gland")
    assert wide.regions[0].box.y2 <= 100


def test_a_package_without_a_head_reads_no_maps(tmp_path):
    engine = load(build(tmp_path / "toy", fit="stretch", with_head=False))
    image = opened(engine, picture(60, 30, liver=(0, 0, 30, 15)))
    assert image.maps is None
    assert not engine.language_model.has_region_head
    assert image.geometry.extent == (1.0, 1.0)


def test_its_manifest_survives_its_file(toy):
    manifest = toy.package.manifest
    assert Manifest.from_json(manifest.to_json()) == manifest


def test_model_info_shows_the_head(toy, capsys, monkeypatch):
    medrega("model", "info", toy.package.folder)
    assert f"region head with {BINS} x {BINS} places" in capsys.readouterr().out


def test_model_info_shows_it_in_chinese(toy):
    assert "区域头" in Message("package.info_regions", bins=BINS).text("zh")


def refused(folder):
    with pytest.raises(PackageError) as error:
        load(folder)
    return error.value.code


@pytest.mark.parametrize(
    ("edit", "code"),
    [
        (lambda m: m.update(schema_version=1), "wrong_value"),
        (lambda m: m.pop("regions"), "missing_key"),
        (lambda m: m.update(regions=None), "missing_key"),
        (lambda m: m["files"].pop("region_head"), "missing_role"),
        (lambda m: m["decoder"].pop("hidden_state"), "wrong_value"),
        (lambda m: m["regions"].update(bins=0), "wrong_value"),
        (lambda m: m["regions"].update(several=1.5), "wrong_value"),
        (lambda m: m["regions"].update(overlap=-0.1), "wrong_value"),
        (lambda m: m["regions"].update(colour="blue"), "unknown_key"),
        (lambda m: m["regions"].pop("edges"), "missing_key"),
        (lambda m: m["files"].update(region_head_data=m["files"]["region_head"]), "unknown_role"),
    ],
)
def test_a_manifest_that_does_not_fit_the_head_is_refused(tmp_path, edit, code):
    path = build(tmp_path / "toy") / MANIFEST
    data = json.loads(path.read_text("utf-8"))
    edit(data)
    path.write_text(json.dumps(data), "utf-8")
    assert refused(path.parent) == f"package.{code}"


def test_a_head_that_was_altered_or_lost_is_refused(tmp_path):
    folder = build(tmp_path / "toy")
    path = folder / Package.open(folder).manifest.files["region_head"].path
    data = path.read_bytes()
    path.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    assert refused(folder) == "package.file_changed"
    path.unlink()
    assert refused(folder) == "package.missing_file"


@pytest.mark.parametrize(
    "changes",
    [
        {"bins": BINS + 1},
        {"edges": "borders"},
        {"fine": "region_places"},
        {"head_graph": lambda colours: toy_package.head(colours, bins=BINS * 2)},
        {"head_graph": lambda colours: toy_package.head(colours[:32], hidden=32)},
        {"head_graph": lambda colours: toy_package.head(colours, query="asked")},
        {"vision_graph": lambda: toy_package.head(np.zeros((64, 3), np.float32))},
    ],
)
def test_tensors_that_do_not_fit_the_manifest_are_refused(tmp_path, changes):
    assert refused(build(tmp_path / "toy", **changes)) == "inference.graph_not_as_in_manifest"


def test_maps_of_another_width_are_refused_when_they_meet(tmp_path):
    def four_channels(colours):
        return toy_package.head(np.pad(colours, ((0, 0), (0, 1))), channels=4)

    engine = load(build(tmp_path / "toy", head_graph=four_channels))
    with raises_code(PackageError, "inference.graph_not_as_in_manifest", role="region_head"):
        engine.detect(opened(engine, picture(480, 240)), "liver")
