import numpy as np
import pytest

from medrega_bench.evaluation.accuracy import bootstrap, compare, figure, tables


def row(image, value, language="en", text="x"):
    return {
        "id": f"{image}/{value}/{language}",
        "task": "detect",
        "image": image,
        "modality": "mri",
        "object": "liver",
        "language": language,
        "raw_text": text,
        "iou": value,
        "box": value > 0,
    }


def name_row(image, right):
    row_of_names = row(image, 0.0) | {"id": f"{image}/name", "task": "identify", "right": right}
    del row_of_names["iou"], row_of_names["box"]
    return row_of_names


def test_figures_by_hand():
    made = figure([row("a", 0.5), row("a", 0.0), row("b", 1.0), row("c", 0.3)])
    assert made.n == 4
    assert made.images == 3
    assert made.mean_iou == pytest.approx(0.45)
    assert made.acc50 == pytest.approx(0.5)
    assert made.no_box == pytest.approx(0.25)
    assert made.mean_iou_interval[0] <= 0.45 <= made.mean_iou_interval[1]


def test_the_bootstrap_resamples_images_not_questions():
    values = np.repeat([0.0, 1.0], 50)
    two_images = [np.arange(50), np.arange(50, 100)]
    assert bootstrap(values, two_images) == (0.0, 1.0)
    hundred = bootstrap(values, [np.array([i]) for i in range(100)])
    assert 0.35 < hundred[0] < 0.45
    assert 0.55 < hundred[1] < 0.65


def test_tables_group():
    made = tables([row("a", 0.5), row("b", 0.7, "zh"), name_row("a", True), name_row("b", False)])
    assert made["overall"]["all"]["n"] == 2
    assert made["identify"]["en"]["accuracy"] == 0.5
    assert made["language"]["zh"]["mean_iou"] == pytest.approx(0.7)
    assert made["object"]["liver"]["n"] == 2


def test_loss_by_hand():
    made = compare([row("a", 0.5), row("b", 0.5)], [row("a", 0.5), row("b", 0.5) | {"iou": 0.2, "raw_text": "y"}])
    assert made["mean_iou_loss"] == pytest.approx(0.15)
    assert made["text_differs"] == 0.5
    assert made["iou_differs_by_a_tenth"] == 0.5
    with pytest.raises(ValueError, match="different questions"):
        compare([row("a", 0.5)], [row("b", 0.5)])
