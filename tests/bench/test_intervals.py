"""`medrega bench calibrate` and `coverage`: split conformal quantiles against simulation, and both commands."""

import dataclasses
import json
import math

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medrega_bench.cli.main import bench_app
from medrega_bench.evaluation import intervals as home
from medrega_bench.evaluation.intervals import FEWEST_PATIENTS, Case, coverage, fit, highest
from medrega_edge import load
from medrega_edge.boxes import PixelBox
from medrega_edge.package import intervals
from medrega_edge.package.intervals import Group
from medrega_edge.package.package import Package
from tests.edge.toy_package import MASKS, build, picture

FEW = 20  # images of the commands' test: enough for a quantile


def test_a_further_score_is_below_with_the_probability_that_is_claimed():
    """Brute force: of n + 1 exchangeable scores, each one in turn is the further one."""
    random = np.random.default_rng(3)
    for n in (19, 60, 99):
        shares = []
        for _ in range(20):
            scores = list(random.permutation(np.round(random.exponential(size=n + 1), 1)))  # with ties
            shares += [scores[k] <= highest(scores[:k] + scores[k + 1 :], range(n), 0.9) for k in range(n + 1)]
        assert 0.9 <= np.mean(shares) < 0.9 + 0.07
    assert highest(range(99), range(99), 0.9) == math.ceil(100 * 0.9) - 1


def test_objects_of_a_further_patient_are_below_with_the_probability_that_is_claimed():
    """Objects of one patient are alike: as if each were another patient, the claim would be too large."""
    random = np.random.default_rng(3)
    patients, each, held, naive = 12, 15, [], []
    for _ in range(400):
        scores = random.exponential(size=(patients + 1, 1)) * random.uniform(0.8, 1.2, (patients + 1, each))
        known, further = scores[:-1].ravel().tolist(), scores[-1]
        held.append(np.mean(further <= highest(known, np.repeat(range(patients), each), 0.9)))
        naive.append(np.mean(further <= highest(known, range(len(known)), 0.9)))
    assert np.mean(naive) < 0.89 < np.mean(held)
    few = home.FEWEST_PATIENTS
    assert highest([1.0] * 90, list(range(few)) * 10, 0.9) == 1.0
    assert highest([1.0] * 90, [number % (few - 1) for number in range(90)], 0.9) is None


def test_the_numbers_are_those_of_a_second_program():
    """MAPIE's split conformal regression, with one object of each patient, and a predictor that is given."""
    from mapie.regression import SplitConformalRegressor
    from sklearn.base import BaseEstimator, RegressorMixin

    class Given(RegressorMixin, BaseEstimator):
        is_fitted = True

        def fit(self, features, truth):
            return self

        def predict(self, features):
            return features[:, 0]

    random = np.random.default_rng(7)
    for count in (60, 151):
        lengths = random.uniform(1, 9, (count, 1))
        true = lengths[:, 0] + random.standard_t(3, count)
        theirs = SplitConformalRegressor(Given(), confidence_level=0.9, prefit=True).conformalize(lengths, true)
        _, ends = theirs.predict_interval(np.zeros((1, 1)))
        assert ends[0, 1, 0] == pytest.approx(highest(np.abs(true - lengths[:, 0]), range(count), 0.9))


def made(random, count, kind, noise, confidence=0.9):
    """Boxes whose sides are wrong by some noise, relative to the box, and a length that is too short."""
    for number in range(count):
        box = np.array([100, 200, 160, 320]) + random.normal(0, 3, 4)
        off = random.normal(0, noise, 4) * [60, 120, 60, 120]
        true = PixelBox(*(box + off))
        lengths = {"width": (60.0, 60.0 * math.exp(random.normal(0.1, noise)))}
        yield Case(str(number), kind, PixelBox(*box), true, confidence, lengths)


def test_intervals_hold_what_they_claim_on_other_boxes():
    random = np.random.default_rng(5)
    kinds = (("ct", 0.05), ("mri", 0.2))
    fitted = fit([case for kind, noise in kinds for case in made(random, 400, kind, noise)], "w", "made")
    others = [case for kind, noise in kinds for case in made(random, 1000, kind, noise)]
    found = {(each.kind, each.measure): each for each in coverage(others, fitted) if not each.confidence}
    for key, one in found.items():
        assert 0.86 < one.overlapping.value < 0.95, key
    assert found["ct", "outer"].size < found["mri", "outer"].size
    assert found["", "width"].all.n == found["", "outer"].all.n == 2000


def test_sure_boxes_have_narrower_intervals():
    random = np.random.default_rng(5)
    sure, unsure = (list(made(random, 300, "ct", noise, level)) for noise, level in ((0.05, 0.9), (0.2, 0.2)))
    fitted = fit([*sure, *unsure], "w", "made")
    found = {
        each.confidence: each for each in coverage([*sure, *unsure], fitted) if (each.kind, each.measure) == ("", "outer")
    }
    assert found["sure"].size < 1.5 < found["unsure"].size
    assert all(one.overlapping.value == pytest.approx(0.9, abs=0.02) for one in found.values())


def around(fitted, kind, confidence=0.9):
    return fitted.around(PixelBox(0, 0, 10, 10), Group(kind, confidence, False))


def test_a_kind_that_few_patients_measured_has_no_interval():
    random = np.random.default_rng(5)
    few = FEWEST_PATIENTS - 1
    fitted = fit([*made(random, 200, "ct", 0.1), *made(random, few, "oct", 0.2)], "w", "made")
    assert set(fitted.kinds) == {"", "ct"} and fitted.kinds[""][""].box.n == 200 + few
    assert around(fitted, "oct") is None and fitted.of_length(60, "width", Group("oct", 0.9, False)) is None
    assert around(fitted, None) != around(fitted, "ct")
    assert around(fitted, "ct") is not None and fitted.of_length(60, "height", Group("ct", 0.9, False)) is None


def test_few_objects_of_a_confidence_get_the_numbers_of_other_kinds():
    random = np.random.default_rng(5)
    few = FEWEST_PATIENTS - 1
    sure, unsure = made(random, few, "oct", 0.2), made(random, few, "oct", 0.2, 0.2)
    renamed = (dataclasses.replace(case, patient=f"other {case.patient}") for case in unsure)
    fitted = fit([*made(random, 200, "ct", 0.1), *sure, *renamed], "w", "made")
    assert set(fitted.kinds["oct"]) == {""} and around(fitted, "oct") == around(fitted, None) != around(fitted, "ct")


def test_boxes_beside_the_object_count_among_all_only():
    random = np.random.default_rng(5)
    cases = list(made(random, 100, "ct", 0.1))
    beside = [Case("x", "ct", PixelBox(0, 0, 5, 5), PixelBox(50, 50, 60, 60), 0.9, {}) for _ in range(100)]
    fitted = fit([*cases, *beside], "w", "made")
    assert fitted == fit(cases, "w", "made")
    (outer,) = (
        each
        for each in coverage([*cases, *beside], fitted)
        if (each.kind, each.confidence, each.measure) == ("", "", "outer")
    )
    assert (outer.overlapping.n, outer.all.n) == (100, 200)
    assert outer.all.value == pytest.approx(outer.overlapping.value / 2)


@pytest.fixture
def data(tmp_path, monkeypatch):
    """Enough images of one scan whose liver is annotated a little too small, with its mask."""
    monkeypatch.setattr(intervals, "user_folders", lambda: [tmp_path / "own" / "packages"])
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    values = np.zeros((240, 480), np.uint8)
    values[48:160, 80:240] = 2
    Image.fromarray(values).save(tmp_path / "masks" / "a.png")
    region = {"label_en": "liver", "label_zh": "肝脏", "kind": "organ", "boxes": [[80, 48, 240, 160]]}
    records, lines = [], []
    for split in ("val", "test"):
        for number in range(FEW):
            name = f"{split}{number}"
            Image.fromarray(picture(480, 240, liver=(80, 40, 240, 160))).save(tmp_path / "images" / f"{name}.png")
            record = {"id": name, "dataset": "toy", "image": f"images/{name}.png", "modality": "mri", "split": split}
            records.append(record | {"width": 480, "height": 240, "regions": [region], "patient": f"p{number // 2}"})
            lines.append({"id": name, "mask": "masks/a.png", "values": {"liver": 2}})
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records), "utf-8")
    (tmp_path / "masks" / "masks.jsonl").write_text("".join(json.dumps(each) + "\n" for each in lines), "utf-8")
    return tmp_path


def bench(command, data, *words):
    return CliRunner().invoke(bench_app, [command, "--data", str(data), "--masks", str(data / "masks"), *map(str, words)])


def test_the_commands_fit_and_measure(data):
    package = build(data / "toy", masks=MASKS)
    before = Package.open(package)
    run = bench("coverage", data, "--model", package, "--out", data / "coverage.json")
    assert run.exception.code == "bench.no_intervals"
    run = bench("calibrate", data, "--model", package)
    assert run.exit_code == 0, run.output
    assert Package.open(package).sha256 == before.sha256
    own = intervals.site_file(before.manifest.weights)
    fitted = json.loads(own.read_text("utf-8"))
    assert fitted["kinds"][""][""]["box"]["n"] == FEW and set(fitted["kinds"][""][""]["lengths"]) == set(intervals.LENGTHS)
    own.unlink()
    run = bench("calibrate", data, "--model", package, "--into-package", "--split", "val")
    assert run.exit_code == 0, run.output
    added = Package.open(package)
    added.verify()
    assert added.manifest.weights == before.manifest.weights and json.loads(added.text("intervals")) == fitted
    run = bench("coverage", data, "--model", package, "--out", data / "coverage.json")
    assert run.exit_code == 0, run.output
    result = json.loads((data / "coverage.json").read_text("utf-8"))
    assert {(one["measure"], one["overlapping"]["value"]) for one in result["coverage"]} == {
        (measure, 1.0) for measure in home.MEASURES
    }
    engine = load(package)
    interval = engine.detect(engine.open(data / "images" / "val0.png"), "liver").regions[0].interval
    assert interval.height[0] <= 112 <= interval.height[1] + 1e-6


def test_too_few_patients_are_refused(data):
    lines = (data / "records.jsonl").read_text("utf-8").splitlines(keepends=True)
    (data / "records.jsonl").write_text("".join(lines[: 2 * (FEWEST_PATIENTS - 1)]), "utf-8")  # two images of each
    run = bench("calibrate", data, "--model", build(data / "toy", masks=MASKS), "--split", "val")
    assert run.exception.code == "bench.few_boxes"
