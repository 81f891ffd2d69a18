"""`medrega bench familiarity`: the points and limits of kinds of images, and the command."""

import json
import shutil
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medrega_bench.cli.main import bench_app
from medrega_bench.evaluation import familiarity
from medrega_bench.evaluation.familiarity import Embedded, Fitted, add_to, fit
from medrega_edge.domain import Modality
from medrega_edge.engine import load
from medrega_edge.images.samples import sample_path
from medrega_edge.inference.familiar_images import FamiliarImages
from medrega_edge.package.manifest import FAMILIAR_QUESTIONS, FamiliarKind
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package

UNFAMILIAR = "task.unfamiliar_image"


def codes(answer):
    return [warning.code for warning in answer.warnings]


def clusters(rng, centres, count, dataset="a"):
    places = rng.normal(0, 0.1, (count * len(centres), 4)).astype(np.float32)
    centred = places + np.repeat(np.asarray(centres, np.float32), count, axis=0)
    return [Embedded(each, Modality.CT, dataset) for each in centred]


def test_the_limit_lets_held_out_images_pass_and_no_others():
    rng = np.random.default_rng(0)
    known = [(0, 0, 0, 0), (5, 0, 0, 0)]
    fitted = fit(clusters(rng, known, 100), clusters(rng, known, 50))
    assert fitted.table.dtype == np.float16 and fitted.table.shape == (4 + fitted.kinds["ct"].points, 4)
    images = FamiliarImages(fitted.table, fitted.names, fitted.numbers())

    def passes(image):
        return not images.is_unfamiliar(image.embedding[None], image.modality)

    assert np.mean([passes(image) for image in clusters(rng, known, 100)]) > 0.9
    assert not any(passes(image) for image in clusters(rng, [(0, 4, 0, 0)], 50))


def test_a_kind_with_few_held_out_images_has_no_limit():
    rng = np.random.default_rng(0)
    assert fit(clusters(rng, [(0, 0, 0, 0)], 30), clusters(rng, [(0, 0, 0, 0)], familiarity.FEWEST - 1)).kinds == {}


def test_a_name_is_familiar_where_images_had_it():
    """Livers lie in one cluster, hearts in the other, and spleens in one image of fifty of the first."""
    rng = np.random.default_rng(0)

    def images(count):
        named = [("liver", clusters(rng, [(0, 0, 0, 0)], count)), ("heart", clusters(rng, [(9, 0, 0, 0)], count))]
        return [replace(each, names=frozenset({name})) for name, found in named for each in found]

    seen = images(100)
    seen[:2] = [replace(each, names=each.names | {"spleen"}) for each in seen[:2]]
    fitted = fit(seen, images(50))
    known = FamiliarImages(fitted.table, fitted.names, fitted.numbers())
    answers = {
        (place, name): known.is_unfamiliar_name(np.float32([[place, 0, 0, 0]]), Modality.CT, name)
        for place in (0, 9)
        for name in ("liver", "heart", "spleen", "kidney")
    }
    assert {key for key, is_unfamiliar in answers.items() if not is_unfamiliar} >= {(0, "liver"), (9, "heart")}
    assert answers[0, "heart"] and answers[9, "liver"] and answers[9, "spleen"] and answers[0, "kidney"]
    assert not known.is_unfamiliar_name(np.zeros((1, 4), np.float32), Modality.MRI, "liver")  # a kind without points


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(find_package(None).folder, tmp_path / "package")
    return tmp_path / "package"


def test_it_is_added_to_a_package_and_leaves_its_weights(folder):
    before = Package.open(folder)
    hidden = before.manifest.decoder.hidden
    table = np.concatenate([np.eye(hidden), np.zeros((2, hidden))]).astype(np.float16)
    fitted = Fitted(table, {"mri": FamiliarKind(2, 1e-3)}, {"mri": {"liver": [0, 1]}}, 1.5)
    add_to(before, fitted, {"what is this?": 3})
    after = Package.open(folder)
    after.verify()
    assert after.manifest.weights == before.manifest.weights
    engine = load(folder)
    answer = engine.detect(engine.open(sample_path("abdomen-mri")), ["liver"])
    assert UNFAMILIAR in codes(answer) and answer.best_guesses == ["liver"]


@pytest.mark.slow
def test_the_command_adds_both_to_a_package(folder, tmp_path):
    """Squares are what it saw, so the sample scan is unlike all of it."""
    rng = np.random.default_rng(0)
    records = []
    for number in range(30 + familiarity.FEWEST):
        pixels = np.full((64, 64), 40, np.uint8)
        x, y = rng.integers(4, 30, 2)
        pixels[y : y + 20, x : x + 20] = 200
        Image.fromarray(pixels).save(tmp_path / f"{number}.png")
        split = "train" if number < 30 else "val"
        record = {"id": str(number), "dataset": "drawn", "image": f"{number}.png", "modality": "mri", "split": split}
        asked = [{"lang": "en", "question": "Is there a square?", "answer": "yes", "type": "closed"}]
        records.append(record | {"width": 64, "height": 64, "qa": asked})
    (tmp_path / "records.jsonl").write_text("".join(json.dumps(each) + "\n" for each in records), "utf-8")
    words = ["familiarity", "--data", str(tmp_path), "--model", str(folder)]
    few = CliRunner().invoke(bench_app, [*words, "--held-out", "none"])
    assert few.exception.code == "bench.few_familiar"
    run = CliRunner().invoke(bench_app, words)
    assert run.exit_code == 0, run.output
    package = Package.open(folder)
    package.verify()
    assert json.loads(package.text(FAMILIAR_QUESTIONS)) == {"Is there a square?": 30}
    assert list(package.manifest.familiarity.images) == ["mri"]
    engine = load(folder)
    assert UNFAMILIAR in codes(engine.detect(engine.open(sample_path("abdomen-mri")), ["liver"]))
