"""`medrega bench robust`: perturbations, boxes that move with the picture, severities, and what drops cost."""

import json
import math
import re
from collections import Counter
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medrega_bench import result_files
from medrega_bench.cli.main import bench_app
from medrega_bench.datasets.evaluation_set import items_of
from medrega_bench.evaluation import robustness
from medrega_bench.evaluation.robustness import ImageAnswers, View
from medrega_bench.evaluation.robustness_figures import costs, measured
from medrega_bench.evaluation.robustness_result import RobustResult
from medrega_bench.evaluation.severity_fit import Picture, fit, strength_for
from medrega_bench.metrics.similarity import ssim, viewed
from medrega_bench.performance.environment import ModelIdentity
from medrega_bench.perturbations import general, medical
from medrega_bench.perturbations.catalogue import PERTURBATIONS, TARGETS, severities
from medrega_bench.perturbations.picture import Perturbed, Placement, from_bytes, to_bytes
from medrega_bench.reports.curves import apart
from medrega_bench.reports.drawing import svg
from medrega_bench.reports.phrases import words
from medrega_bench.reports.render import html
from medrega_bench.reports.robust_report import chart, costs_block, document, kinds_block, perturbations_block
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.records import AnnotatedRegion, Record
from medrega_edge.images.reader import read_image
from tests.edge.toy_package import build, picture

pytestmark = pytest.mark.slow  # seconds: the fast tests have a minute

PROC = Path("/proc")  # where not even root writes a file
BOX = PixelBox(20, 20, 60, 70)
GENERAL = [each for each in PERTURBATIONS.values() if each.is_general]


def drawn(height=120, width=160, ellipse=False):
    """A bright shape that fills BOX, on a dark ground."""
    y, x = np.mgrid[0:height, 0:width] + 0.5
    dx, dy = (x - 40) / 20, (y - 45) / 25
    inside = np.hypot(dx, dy) <= 1 if ellipse else (abs(dx) <= 1) & (abs(dy) <= 1)
    return np.where(inside, 0.9, 0.2).astype(np.float32)[..., None]


def rng():
    return np.random.default_rng(7)


def bright_box(pixels):
    rows, columns = (np.flatnonzero((pixels[..., 0] > 0.55).any(axis=axis)) for axis in (1, 0))
    return PixelBox(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


# ---- SSIM ------------------------------------------------------------------------------------------------------------


def test_ssim_of_flat_pictures_is_their_luminance_term():
    a, b = np.full((20, 30), 0.5, np.float32), np.full((20, 30), 0.25, np.float32)
    by_hand = (2 * 0.5 * 0.25 + 1e-4) / (0.5**2 + 0.25**2 + 1e-4)
    assert ssim(a, b) == pytest.approx(by_hand, abs=1e-5) and ssim(a, a) == pytest.approx(1)


def test_ssim_of_one_window_by_hand():
    a, b = rng().uniform(size=(2, 11, 11)).astype(np.float32)
    line = np.exp(-(np.arange(-5, 6) ** 2) / 4.5)
    weights = np.outer(line, line) / line.sum() ** 2
    ma, mb = (weights * a).sum(), (weights * b).sum()
    va, vb, cov = ((weights * (p - m) * (q - n)).sum() for p, m, q, n in ((a, ma, a, ma), (b, mb, b, mb), (a, ma, b, mb)))
    by_hand = (2 * ma * mb + 1e-4) * (2 * cov + 9e-4) / ((ma**2 + mb**2 + 1e-4) * (va + vb + 9e-4))
    assert ssim(a, b) == pytest.approx(by_hand, abs=1e-4)


def test_ssim_of_a_negative_is_below_zero():
    a = (np.indices((32, 32)).sum(axis=0) % 2).astype(np.float32)
    assert ssim(a, 1 - a) < -0.9


def test_ssim_looks_at_brightness_of_about_256_pixels():
    colour = np.zeros((512, 600, 3), np.float32)
    colour[..., 1] = 1
    assert viewed(colour).shape == (256, 300) and viewed(colour).mean() == pytest.approx(0.587)
    assert viewed(np.zeros((300, 300, 1), np.float32)).shape == (300, 300)


# ---- perturbations ---------------------------------------------------------------------------------------------------


def test_there_are_12_general_and_10_medical_ones():
    assert Counter(each.is_general for each in PERTURBATIONS.values()) == {True: 12, False: 10}


@pytest.mark.parametrize("name", PERTURBATIONS)
def test_each_changes_a_picture_and_draws_the_same_every_time(name):
    perturbation = PERTURBATIONS[name]
    for kind in perturbation.changes:
        strengths = [each.strength for each in severities().of(perturbation, kind)]
        assert len(strengths) == 3 and strengths == sorted(strengths)
        first, second = (perturbation.apply(drawn(), kind, strengths[1], "image").pixels for _ in range(2))
        assert (first == second).all() and first.dtype == np.float32 and first.shape[2] == 1
        assert not np.array_equal(to_bytes(first), to_bytes(drawn()))
        in_colour = perturbation.apply(np.repeat(drawn(), 3, axis=2), kind, strengths[1], "image")
        assert in_colour.pixels.shape[2] == 3


@pytest.mark.parametrize("each", GENERAL, ids=lambda each: each.name)
def test_boxes_move_with_the_picture(each):
    strength = each.sizes[1] if each.sizes else severities().of(each, Modality.CT)[0].strength
    moved = each.apply(drawn(ellipse=True), Modality.CT, strength, "image")
    if each.name in ("text_overlay", "occlusion"):  # over the object lies something bright
        assert moved.box(BOX) in (BOX, None)
        return
    assert iou(moved.box(BOX), bright_box(moved.pixels)) > 0.9
    if each.name in ("rotation", "crop", "shift", "border"):  # with the box left where it was, it is wrong
        assert iou(BOX, bright_box(moved.pixels)) < 0.9


def test_moved_boxes_by_hand():
    def box(change, strength):
        found = change(drawn(), strength, rng())
        return found, found.box(BOX)

    framed, in_frame = box(general.border, 0.1)
    assert framed.pixels.shape == (144, 192, 1) and in_frame == PixelBox(36, 32, 76, 82)
    moved, shifted = box(general.shift, 0.1)
    dx, dy = moved.placement.x0, moved.placement.y0
    assert (abs(dx), abs(dy)) == (16, 12) and shifted == PixelBox(20 + dx, 20 + dy, 60 + dx, 70 + dy)
    cut, in_crop = box(general.crop, 0.25)
    x, y = cut.placement.x0, cut.placement.y0
    assert cut.pixels.shape == (90, 120, 1) and in_crop == PixelBox(max(0, 20 + x), max(0, 20 + y), 60 + x, 70 + y)
    quarter = Perturbed(drawn(), Placement(0, 1, 0, -1, 0, 120))  # a quarter of a turn: x' = y, y' = 120 - x
    assert quarter.box(BOX) == PixelBox(20, 60, 70, 100)
    eighth = math.sqrt(0.5)
    turned = Perturbed(np.zeros((200, 200, 1), np.float32), Placement(eighth, eighth, 0, -eighth, eighth, 100)).box(BOX)
    radius = math.sqrt((20**2 + 25**2) / 2)  # of the ellipse that fills the box, turned by an eighth
    assert turned.x2 - turned.x1 == pytest.approx(2 * radius) and turned.y2 - turned.y1 == pytest.approx(2 * radius)


def test_what_has_left_the_picture_has_no_box():
    pixels = drawn()
    inside = Perturbed(pixels, Placement(x0=-39))  # 21 of 40 columns are left
    assert inside.box(BOX) == PixelBox(0, 20, 21, 70)
    assert Perturbed(pixels, Placement(x0=-41)).box(BOX) is None
    assert Perturbed(pixels, hidden=PixelBox(0, 0, 41, 120)).box(BOX) is None
    assert Perturbed(pixels, hidden=PixelBox(0, 0, 39, 120)).box(BOX) == BOX


def test_occlusion_covers_its_share():
    covered = general.occlusion(drawn(), 0.2, rng())
    assert (covered.pixels == 0.5).mean() == pytest.approx(0.2, abs=0.01)
    assert covered.hidden.area / drawn().size == pytest.approx(0.2, abs=0.01)


def test_medical_artefacts_are_what_they_are_called():
    body = drawn() * (np.indices((120, 160))[1] > 40)[..., None]  # air at the left
    air = np.s_[:, :40]
    assert medical.motion(body, 0.0, rng()).pixels == pytest.approx(body, abs=1e-4)
    for change, strength in ((medical.bias_field, 1), (medical.ct_noise, 0.1), (medical.metal_streaks, 0.5)):
        changed = change(body, strength, rng()).pixels
        assert np.isin(changed[air], (0, 1)).all() and changed[air].mean() < 0.02  # 1: metal at the edge of the body
        assert not (changed == body).all()
    ghosts = medical.ghosting(body, 0.5, rng()).pixels - body
    assert ghosts.min() >= 0 and ghosts.mean() == pytest.approx(body.mean())  # two whole copies of half the strength
    assert medical.metal_streaks(body, 0.5, rng()).pixels.max() >= 1
    narrow = medical.window_error(drawn(), 1.0, rng()).pixels
    assert np.ptp(narrow) > np.ptp(drawn())
    assert (medical.illumination(drawn(), 1.0, rng()).pixels <= drawn()).all()
    haired = medical.hair(drawn(), 0.1, rng()).pixels
    assert haired.min() < 0.15 and 0.02 < (haired < drawn() - 0.03).mean() < 0.3
    dose = medical.quantum_noise(np.where(np.indices((200, 200))[0] < 100, 0.2, 0.9)[..., None], 0.05, rng()).pixels
    assert dose[100:].std() > 2 * dose[:100].std()
    flat = np.full((200, 200, 1), 0.5, np.float32)
    loud = medical.speckle(flat, 0.2, rng()).pixels
    assert loud.std() == pytest.approx(0.5 * 0.2, rel=0.4) and (medical.speckle(0 * flat, 0.2, rng()).pixels == 0).all()
    gained = medical.gain(np.where(np.indices((200, 200))[1] < 60, 0, 0.5)[..., None], 0.3, rng()).pixels
    assert abs(gained[:, :40]).max() < 1e-6 and abs(gained[:, 100:] - 0.5).min() > 0.01


def test_grey_pictures_stay_grey_and_colours_stay():
    grey, colour = np.full((20, 20, 3), 90, np.uint8), np.zeros((20, 20, 3), np.uint8)
    colour[..., 0] = 200
    assert from_bytes(grey).shape == (20, 20, 1) and (to_bytes(from_bytes(grey)) == grey).all()
    assert from_bytes(colour).shape == (20, 20, 3) and (to_bytes(from_bytes(colour)) == colour).all()


# ---- severities ------------------------------------------------------------------------------------------------------


def test_a_strength_is_bisected_and_stops_at_its_bound():
    found = strength_for(0.75, lambda strength: 1 - strength, (0.001, 1.0))
    assert found.strength == pytest.approx(0.25, abs=0.01) and found.ssim == pytest.approx(0.75, abs=0.01)
    capped = strength_for(0.6, lambda strength: 1 - strength / 10, (0.001, 1.0))
    assert (capped.strength, capped.ssim) == (1.0, 0.9)


def test_fitted_strengths_reach_their_ssim():
    textured = 0.5 * drawn(60, 80) + 0.3 * rng().uniform(size=(60, 80, 1)).astype(np.float32)
    pictures = [Picture("image", textured, viewed(textured))]
    for name in ("noise", "illumination"):
        three = fit(PERTURBATIONS[name], Modality.DERMOSCOPY, pictures)
        assert [each.ssim for each in three] == pytest.approx(TARGETS, abs=0.02)


def test_committed_strengths_reach_their_ssim_or_are_as_strong_as_makes_sense():
    table = severities()
    assert table.targets == TARGETS and set(table.strengths) == set(PERTURBATIONS)
    for name, kinds in table.strengths.items():
        perturbation = PERTURBATIONS[name]
        assert set(kinds) == set(perturbation.changes)
        for three in kinds.values():
            if perturbation.sizes:
                assert tuple(each.strength for each in three) == perturbation.sizes
                continue
            reaches = [each.ssim == pytest.approx(target, abs=0.05) for each, target in zip(three, TARGETS, strict=True)]
            assert reaches[0] and (all(reaches) or three[2].strength == perturbation.bounds[1]), name
            assert three[0].strength < three[1].strength < three[2].strength


# ---- asking ----------------------------------------------------------------------------------------------------------


class FakeEngine:
    """Finds what is bright, as `answer` says; `asked` counts."""

    def __init__(self, answer):
        self.answer, self.asked = answer, 0

    def encode(self, image):
        return SimpleNamespace(image=image)

    def modality(self, encoded):
        return Modality.DERMOSCOPY

    def run(self, encoded, request, language):
        self.asked += 1
        box = self.answer(from_bytes(encoded.image.pixels))
        regions = [SimpleNamespace(box=box, confidence=0.8)] if box else []
        return SimpleNamespace(regions=regions, is_unfamiliar=False)


@pytest.fixture
def lesions(tmp_path):
    """Two small drawn skin lesions with their questions."""
    records = []
    for number, x in enumerate((30, 36)):
        pixels = np.full((72, 96, 3), (220, 170, 150), np.uint8)
        pixels[24:48, x : x + 30] = (110, 60, 40)
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        region = AnnotatedRegion("skin lesion", "皮肤病变", (PixelBox(x, 24, x + 30, 48),), "lesion")
        kind = Modality.DERMOSCOPY
        records.append(Record(f"skin{number}", "drawn", tmp_path / f"{number}.png", kind, 96, 72, regions=(region,)))
    return robustness.subjects(records, list(items_of(records)), None)


def dark_box(pixels):
    """The lesion: darker than skin, and not as dark as what comes in from outside."""
    lesion = (pixels[..., 0] < 0.65) & (pixels[..., 0] > 0.2)
    rows, columns = (np.flatnonzero(lesion.mean(axis=axis) > 0.06) for axis in (1, 0))
    if not len(rows) or not len(columns):
        return None
    return PixelBox(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


def cells_of(answers):
    result = measured(ModelIdentity("a", "1", "int4", "0" * 64), answers)
    return result, {(cell.perturbation, cell.severity): cell for cell in result.cells if cell.kind == ""}


def test_who_looks_at_the_picture_loses_little_and_who_remembers_the_box_loses_it(lesions):
    sighted = list(robustness.answers(FakeEngine(dark_box), lesions, severities()))
    result, cells = cells_of(sighted)
    assert result.clean[0].accuracy.value == 1
    assert cells["border", 3].drop.value == 0 and cells["crop", 1].drop.value == 0
    stubborn = []
    for subject in lesions:
        true = subject.questions[0].truth.regions[0].boxes[0]
        stubborn += robustness.answers(FakeEngine(lambda pixels, true=true: true), [subject], severities())
    _, cells = cells_of(stubborn)
    assert cells["blur", 3].drop.value == 0  # nothing has moved
    assert cells["border", 3].drop.value == 1 and cells["shift", 3].iou_drop.value > 0.3


def test_answers_are_kept(lesions, tmp_path):
    journal, engine = tmp_path / "answers.jsonl", FakeEngine(dark_box)
    first = list(robustness.answers(engine, lesions, severities(), journal))
    asked = engine.asked
    assert list(robustness.answers(engine, lesions, severities(), journal)) == first and engine.asked == asked
    journal.write_bytes(journal.read_bytes()[:-40])
    again = list(robustness.answers(engine, lesions, severities(), journal))
    assert [image.views for image in again] == [image.views for image in first]
    assert asked < engine.asked < 2 * asked  # the torn image alone was asked again
    assert list(robustness.answers(engine, lesions, severities(), journal)) == again


def test_what_cannot_be_read_of_a_journal_is_asked_again(lesions, tmp_path):
    journal, engine = tmp_path / "answers.jsonl", FakeEngine(dark_box)
    first = list(robustness.answers(engine, lesions, severities(), journal))
    whole, asked = journal.read_bytes(), engine.asked
    older = json.dumps({"asked": "0" * 16, "views": []}).encode()
    torn = '{"asked": "病'.encode()[:-1]
    journal.write_bytes(b"\n".join((older, b"[1]", torn, b"\xff\xfe", whole)))
    assert list(robustness.answers(engine, lesions, severities(), journal)) == first and engine.asked == asked
    journal.write_bytes(torn)
    assert [image.views for image in robustness.answers(engine, lesions, severities(), journal)] == [
        image.views for image in first
    ]
    assert journal.read_bytes().startswith(torn + b"\n{")


def test_a_journal_that_cannot_be_opened_is_told(lesions, tmp_path):
    for journal in (tmp_path, tmp_path / "none" / "answers.jsonl"):
        with pytest.raises(UsageError) as error:
            list(robustness.answers(FakeEngine(dark_box), lesions[:1], severities(), journal))
        assert error.value.code == "io.unwritable"


def test_images_are_spread_over_kinds(tmp_path):
    def record(number, kind, dataset):
        regions = (AnnotatedRegion("liver", "肝脏", (PixelBox(1, 1, 9, 9),)),)
        return Record(f"{kind}{number}", dataset, tmp_path / f"{kind}{number}.png", kind, 32, 32, regions=regions)

    records = [record(number, Modality.CT, "large") for number in range(20)]
    records += [record(90, Modality.CT, "small"), record(91, Modality.MRI, "other")]
    chosen = robustness.subjects(records, list(items_of(records)), 3)
    assert {(each.record.modality, each.record.dataset) for each in chosen} == {
        ("ct", "large"),
        ("ct", "small"),
        ("mri", "other"),
    }
    assert chosen == robustness.subjects(records, list(items_of(records)), 3)
    assert chosen == robustness.subjects(records, list(items_of(records)), 9)[:3]


# ---- figures ---------------------------------------------------------------------------------------------------------


def view(name, severity, overlaps, confidences, unfamiliar=False, classes=()):
    return View(name, severity, tuple(overlaps), tuple(confidences), True, unfamiliar, tuple(classes))


def image(number, *views):
    clean = view("", 0, (0.8, 0.6), (0.9, 0.9))
    return ImageAnswers(f"{number}", f"patient{number}", "ct", 1.0, (clean, *views))


def test_drops_by_hand():
    answers = [
        image(1, view("blur", 1, (0.7, 0.2), (0.9, 0.7)), view("crop", 1, (0.8, None), (0.9, None))),
        image(2, view("blur", 1, (0.4, 0.0), (0.8, None), unfamiliar=True), view("crop", 1, (0.1, 0.6), (0.5, 0.9))),
    ]
    result, cells = cells_of(answers)
    blur, crop = cells["blur", 1], cells["crop", 1]
    assert (blur.objects, blur.left, blur.clean_accuracy, blur.accuracy.value) == (4, 0, 1.0, 0.25)
    assert blur.drop.value == 0.75 and blur.drop.interval == (0.5, 1.0)  # one patient drops by 0.5, the other by 1
    assert blur.iou_drop.value == pytest.approx(0.7 - 1.3 / 4) and blur.without_box == 0.25
    assert blur.confidence == pytest.approx(0.8) and blur.gap == pytest.approx(0.8 - 1 / 3, abs=1e-4)
    assert blur.unfamiliar == 0.5
    assert (crop.objects, crop.left) == (3, 1) and crop.drop.value == pytest.approx(1 / 3, abs=1e-4)
    mean = next(each for each in result.means if each.kind == "" and each.severity == 0)
    assert mean.drop.value == pytest.approx((0.75 + 1 / 3) / 2, abs=1e-4)  # each perturbation counts the same


def test_classes_have_their_number():
    clean = view("", 0, (0.8,), (0.9,), classes=(True, False))
    blur = view("blur", 1, (0.8,), (0.9,), classes=(False, False))
    result, cells = cells_of(
        [ImageAnswers("1", "patient1", "ct", 1.0, (clean, blur)), image(2, view("blur", 1, (0.8,), (0.9,)))]
    )
    assert (result.clean[0].classes, result.clean[0].classes_asked) == (0.5, 2)
    assert (cells["blur", 1].classes, cells["blur", 1].classes_asked) == (0.0, 2)


def test_the_committed_table_says_of_how_many_classes():
    path = Path(__file__).parents[2] / "bench" / "results" / "robust.json"
    rows = perturbations_block(result_files.parse(RobustResult, json.loads(path.read_text("utf-8")), path.name)).splitlines()
    whole = [line for line in rows if line.startswith(("| images themselves", "| blur"))]
    assert len(whole) == 2 and all(re.search(r"\d \(n = \d+\) \|$", line) for line in whole)
    assert "(n = 0)" not in "".join(rows)


def test_an_answerer_whose_confidence_stays_high_has_a_gap():
    humble = [image(1, view("blur", 1, (0.1, 0.1), (0.05, 0.05)))]
    proud = [image(1, view("blur", 1, (0.1, 0.1), (0.95, 0.95)))]
    assert cells_of(humble)[1]["blur", 1].gap == pytest.approx(0.05)
    assert cells_of(proud)[1]["blur", 1].gap == pytest.approx(0.95) and cells_of(proud)[1]["blur", 1].ece == 0.95


def test_the_cost_of_quantisation_by_hand():
    full = [image(n, view("blur", 1, (0.7, 0.6), (0.9, 0.9))) for n in range(6)]
    quantised = [image(n, view("blur", 1, (0.7, 0.3), (0.9, 0.9))) for n in range(6)]
    found = {(cost.perturbation, cost.severity): cost for cost in costs(quantised, full)}
    assert found["blur", 1].drop.value == 0.5 and found["blur", 1].iou_drop.value == pytest.approx(0.15)
    assert found["", 0].drop.interval == (0.5, 0.5) and found["", 0].loss.value == 0.5 and found["none", 0].loss.value == 0
    assert {cost.drop.value for cost in costs(full, full)} == {cost.loss.value for cost in costs(full, full)} == {0.0}


def test_a_package_that_is_worse_from_the_start_drops_less():
    full = [image(n, view("blur", 1, (0.1, 0.1), (0.9, 0.9))) for n in range(6)]
    blind = [replace(one, views=(view("", 0, (0.1, 0.6), (0.9, 0.9)), *one.views[1:])) for one in full]
    found = {(cost.perturbation, cost.severity): cost for cost in costs(blind, full)}
    assert found["none", 0].loss.value == 0.5 and found["", 0].loss.value == 0 and found["", 0].drop.value == -0.5


# ---- command and reports ---------------------------------------------------------------------------------------------


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Images of a liver, and four perturbations for the time that more would take."""
    for name in set(PERTURBATIONS) - {"blur", "border", "motion", "hair"}:
        monkeypatch.delitem(PERTURBATIONS, name)
    (tmp_path / "images").mkdir()
    records = []
    for number in range(5):
        Image.fromarray(picture(240, 120, liver=(40, 20, 120, 80))).save(tmp_path / "images" / f"{number}.png")
        regions = [{"label_en": "liver", "label_zh": "肝脏", "kind": "organ", "boxes": [[40, 20, 120, 80]]}]
        record = {"id": f"a{number}", "dataset": "toy", "image": f"images/{number}.png", "modality": "mri"}
        records.append(record | {"width": 240, "height": 120, "split": "test", "patient": f"p{number}", "regions": regions})
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(record) + "\n" for record in records), "utf-8")
    (tmp_path / "answers").mkdir()
    return tmp_path


def bench(data, *options):
    command = ["robust", "--data", data, "--out", data / "result.json", "--limit", 5, *options]
    return CliRunner().invoke(bench_app, [str(word) for word in command])


def test_the_command_measures_two_packages_and_writes_a_page(data, tmp_path):
    toy = build(tmp_path / "toy")
    run = bench(data, "--model", toy, "--reference", toy, "--answers", data / "answers", "--report", data / "page.html")
    assert run.exit_code == 0, run.output
    assert "mean drop" in run.output and "Research use only" in run.output and "border" in run.output
    text = (data / "result.json").read_text("utf-8")
    result = json.loads(text)
    assert result["package"]["clean"][0]["objects"] == 5 and result["data"]["images"] == 5
    assert {cell["perturbation"] for cell in result["package"]["cells"]} == {"blur", "border", "motion"}  # no hair in MRI
    assert {cost["drop"]["value"] for cost in result["costs"]} == {0.0}
    assert str(tmp_path) not in text and '"p1"' not in text
    page = (data / "page.html").read_text("utf-8")
    assert "Research use only" in page and "blur" in page and "<svg" in page


def test_what_is_wrong_is_named(data):
    assert bench(data, "--split", "val").exception.code == "bench.empty_split"
    assert bench(data, "--answers", data / "none").exception.code == "bench.no_answers_folder"
    if PROC.is_dir():
        assert bench(data, "--answers", PROC).exception.code == "io.unwritable"
        assert bench(data, "--report", PROC / "page.html").exception.code == "io.unwritable"


def test_every_command_tells_of_a_folder_of_answers_that_is_none(tmp_path):
    masks = ("--masks", tmp_path)
    for name, *more in (("tasks",), ("robust",), ("coverage", *masks)):
        words = [name, "--data", tmp_path, "--out", tmp_path / "x.json", *more, "--answers"]
        for folder, code in ((tmp_path / "gone", "bench.no_answers_folder"), *([(PROC, "io.unwritable")] * PROC.is_dir())):
            error = CliRunner().invoke(bench_app, [str(word) for word in (*words, folder)]).exception
            assert isinstance(error, UsageError) and error.code == code, name
    assert list(tmp_path.iterdir()) == []


def test_a_result_becomes_tables_and_curves(data, tmp_path):
    assert bench(data, "--model", build(tmp_path / "toy")).exit_code == 0
    result = result_files.parse(RobustResult, json.loads((data / "result.json").read_text("utf-8")), "result.json")
    assert "| all | 5 | 5 |" in kinds_block(result)
    assert "| motion (MRI) |" in perturbations_block(result) and "| images themselves |" in perturbations_block(result)
    assert "Measured" in costs_block(result)
    picture = svg(chart(result), alone=True)
    assert picture == svg(chart(result), alone=True) and "MRI" in picture
    assert "模糊" in html(document(result, Language.ZH))


def test_every_perturbation_has_a_name_in_both_languages():
    for language in Language:
        assert all(words(language)[f"perturbation_{name}"] for name in PERTURBATIONS)


def test_names_of_curves_do_not_lie_over_each_other():
    placed = apart({"a": 100.0, "b": 101.0, "c": 99.0, "d": 200.0})
    heights = sorted(placed.values())
    assert all(b - a >= 14.9 for a, b in zip(heights, heights[1:], strict=False)) and placed["d"] == 200
    assert placed["c"] < placed["a"] < placed["b"]


def test_read_image_gives_what_is_perturbed(tmp_path):
    Image.fromarray(picture(64, 48)).save(tmp_path / "a.png")
    pixels = read_image(tmp_path / "a.png").pixels
    assert (to_bytes(from_bytes(pixels)) == pixels).all()
