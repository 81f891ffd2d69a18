import numpy as np
import pytest

from medrega_bench.evaluation.figures import Measured, ratios
from medrega_edge.evaluation.bootstrap import mean_interval


def test_ratios_are_sums_over_sums():
    made = ratios([{"mean": (0.5, 1.0), "micro": (1.0, 4.0)}, {"mean": (1.0, 1.0), "micro": (0.0, 0.0)}])
    assert made.values() == {"mean": 0.75, "micro": 0.25}


def test_nothing_to_measure_is_none_or_what_upstream_writes_and_has_no_interval():
    rows = [{"closed": (0.0, 0.0)}]
    assert ratios(rows).values() == {"closed": None}
    assert ratios(rows, empty=0.0).values() == {"closed": 0.0}
    assert ratios(rows, empty=0.0).intervals(["a"]) == {"closed": None}


def test_the_interval_of_a_mean_is_the_bootstrap_of_the_mean():
    rng = np.random.default_rng(0)
    values = rng.random(60)
    images = [f"image {i % 20}" for i in range(60)]
    made = ratios([{"x": (float(value), 1.0)} for value in values]).intervals(images)["x"]
    assert made == pytest.approx(mean_interval(values, images))


def test_questions_of_one_image_stay_together():
    rows = [{"x": (float(i < 50), 1.0)} for i in range(100)]
    assert ratios(rows).intervals(["a"] * 50 + ["b"] * 50)["x"] == (0.0, 1.0)
    low, high = ratios(rows).intervals([str(i) for i in range(100)])["x"]
    assert 0.35 < low < 0.45
    assert 0.55 < high < 0.65


def test_a_figure_may_be_any_function_of_the_sums():
    made = Measured(np.array([[1.0, 2.0], [3.0, 2.0]]), lambda sums: {"ratio": float(sums[0] / sums[1])})
    assert made.values() == {"ratio": 1.0}


def test_the_bootstrap_resamples_images_not_questions():
    values = np.repeat([0.0, 1.0], 50)
    assert mean_interval(values, ["a"] * 50 + ["b"] * 50) == (0.0, 1.0)
    low, high = mean_interval(values, [str(i) for i in range(100)])
    assert 0.35 < low < 0.45
    assert 0.55 < high < 0.65
