"""`medrega bench masks`: Dice by name and by box against true masks."""

import json

import numpy as np
import pytest
from PIL import Image
from typer.testing import CliRunner

from medrega_bench.cli.main import bench_app
from medrega_bench.evaluation.masks import MaskRow, dice, figures, fit_scores, outside, score_error
from medrega_edge.boxes import PixelBox
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.true_masks import read_mask_lines
from medrega_edge.inference.confidence import calibrated
from medrega_edge.masks import Mask
from tests.edge.toy_package import MASKS, build, picture


def test_dice_and_the_share_outside_a_box():
    a, b = np.zeros((2, 4, 6), bool)
    a[1:3, 1:5], b[1:3, 3:6] = True, True
    assert dice(a, b) == 2 * 4 / (8 + 6)
    assert outside(Mask.of(a, 1.0), PixelBox(2, 0, 6, 4)) == 0.25


def row(dataset, label, by_name, by_box, iou=0.5, score=0.9, leaves=False):
    return MaskRow(dataset, f"{dataset}{label}", label, by_name, by_box, iou, score, leaves)


def test_figures_are_means_and_leave_unknown_names_out():
    rows = [row("a", "x", 0.5, 0.75), row("a", "y", None, 0.25, leaves=True), row("b", "x", 1.0, 1.0)]
    given = {(each.dataset, each.label): each for each in figures(rows)}
    assert list(given) == [("", ""), ("a", ""), ("a", "x"), ("a", "y"), ("b", "")]
    assert (given["", ""].by_name.value, given["", ""].by_name.n) == (0.75, 2)
    assert (given["a", ""].by_box.value, given["a", ""].leaves, given["a", "y"].by_name) == (0.5, 0.5, None)


def test_scores_become_the_expected_iou():
    rows = [row("a", "x", 1.0, 1.0, iou=iou, score=score) for score, iou in ((0.95, 0.7), (0.95, 0.8), (0.6, 0.2))]
    fitted = fit_scores(rows)
    assert calibrated(0.95, fitted) == pytest.approx(0.75, abs=0.03)
    assert score_error(rows, fitted) < score_error(rows, ())


@pytest.fixture
def data(tmp_path):
    """An image whose liver is known and whose heart is no name of the toy package."""
    (tmp_path / "images").mkdir()
    (tmp_path / "masks").mkdir()
    Image.fromarray(picture(480, 240, liver=(80, 40, 240, 160))).save(tmp_path / "images" / "a.png")
    values = np.zeros((240, 480), np.uint8)
    values[40:160, 80:240] = 2
    Image.fromarray(values).save(tmp_path / "masks" / "a.png")
    regions = [
        {"label_en": name, "label_zh": name, "kind": "organ", "boxes": [[80, 40, 240, 160]]} for name in ("liver", "heart")
    ]
    record = {"id": "a", "dataset": "toy", "image": "images/a.png", "modality": "mri", "width": 480, "height": 240}
    record |= {"split": "val", "regions": regions}
    (tmp_path / "records.jsonl").write_text(json.dumps(record) + "\n", "utf-8")
    line = {"id": "a", "mask": "masks/a.png", "values": {"liver": 2, "heart": 2}}
    (tmp_path / "masks" / "masks.jsonl").write_text(json.dumps(line) + "\n", "utf-8")
    return tmp_path


def bench(data, *words):
    command = ["masks", "--data", data, "--masks", data / "masks", "--out", data / "result.json", *words]
    return CliRunner().invoke(bench_app, [str(word) for word in command])


def test_the_command_measures_a_package(data, tmp_path):
    run = bench(data, "--split", "val", "--model", build(tmp_path / "toy", masks=MASKS))
    assert run.exit_code == 0, run.output
    result = json.loads((data / "result.json").read_text("utf-8"))
    whole = result["figures"][0]
    assert whole["by_name"]["n"] == 1 and whole["by_box"]["n"] == 2
    assert whole["by_name"]["value"] > 0.99 and whole["by_box"]["value"] > 0.99
    assert result["images"] == 1 and result["mask_ms"]["n"] == 3
    assert whole["box_iou"]["n"] == whole["mended_iou"]["n"] == 1 and whole["mended_iou"]["value"] > 0.99


def test_what_is_missing_is_named(data, tmp_path):
    with pytest.raises(UsageError) as error:
        read_mask_lines(tmp_path)
    assert error.value.code == "bench.no_masks"
    run = bench(data, "--split", "test", "--model", build(tmp_path / "toy", masks=MASKS))
    assert run.exception.code == "bench.no_masks_in_split"
    (data / "masks" / "a.png").unlink()
    assert bench(data, "--split", "val", "--model", tmp_path / "toy").exception.code == "bench.mask_missing"
