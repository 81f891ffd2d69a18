"""Scores of boxes, and what calibration makes of them."""

import math

import numpy as np
import pytest

from medrega_edge.inference.confidence import MIN_PROBABILITY, calibrated, fit, fit_shift, logit, raw_scores, threshold
from medrega_edge.inference.decoding import DigitPosition, Step


def digit(box, coordinate, place, probability):
    return Step(0, probability, DigitPosition(box, coordinate, place))


def test_a_score_is_the_mean_of_the_leading_digits_times_presence():
    steps = [Step(1, 0.9), digit(0, 0, 0, 0.5), digit(0, 0, 1, 0.5), digit(0, 0, 2, 0.01), digit(0, 1, 0, None)]
    assert raw_scores(steps, 0.8) == [pytest.approx(0.8 * math.exp(math.log(0.25) / 3))]


def test_each_box_has_its_own_score_in_order():
    steps = [digit(0, 0, 0, 0.9), digit(0, 1, 0, 0.9), digit(1, 0, 0, 0.1), digit(1, 1, 0, 0.1)]
    assert raw_scores(steps) == [pytest.approx(0.9), pytest.approx(0.1)]
    assert raw_scores([Step(3, 0.5)]) == []


def test_an_impossible_digit_is_no_certain_one():
    assert raw_scores([digit(0, 0, 0, 0.0)]) == [pytest.approx(MIN_PROBABILITY)]
    assert raw_scores([digit(0, 0, 0, None)]) == [1.0]


def test_fitting_finds_the_scale_it_was_drawn_from():
    rng = np.random.default_rng(0)
    scores = rng.uniform(0.05, 0.95, 4000)
    chance = 1 / (1 + np.exp(-(0.7 * np.log(scores / (1 - scores)) - 1.2)))
    slope, offset = fit(scores, rng.random(4000) < chance)
    assert slope == pytest.approx(0.7, abs=0.1)
    assert offset == pytest.approx(-1.2, abs=0.15)
    told = np.array([calibrated(score, (slope, offset)) for score in scores])
    assert np.abs(told - chance).max() < 0.05
    assert (np.diff(told[np.argsort(scores)]) > 0).all()


@pytest.mark.parametrize("seed", range(20))
def test_a_fit_is_the_likeliest_also_where_scores_are_all_near_one(seed):
    rng = np.random.default_rng(seed)
    scores = 1 - 10 ** -rng.uniform(0.05, rng.uniform(0.2, 12), 300)
    right = rng.random(300) < rng.uniform(0.4, 1)
    x, (hits, misses) = np.array([logit(score) for score in scores]), (right.sum(), (~right).sum())
    target = np.where(right, (hits + 1) / (hits + 2), 1 / (misses + 2))
    slope, offset = fit(scores, right)
    off = 1 / (1 + np.exp(-(slope * x + offset))) - target
    assert abs((off * x).sum() + 1e-3 * (slope - 1)) < 1e-3  # the slope of the likelihood
    assert abs(off.sum() + 1e-3 * offset) < 1e-3


def test_without_calibration_a_score_stays_what_it_is():
    assert calibrated(0.3, ()) == 0.3


def test_extremes_are_finite():
    assert 0 < calibrated(0.0, (1.0, 0.0)) < calibrated(1.0, (1.0, 0.0)) < 1
    assert all(map(math.isfinite, fit([0.0, 1.0, 0.5], [False, True, True])))
    with pytest.raises(ValueError, match="no boxes"):
        fit([], [])


@pytest.mark.parametrize(
    ("right", "precision", "expected"),
    [
        ([True, True, True, False], 0.75, 0.1),
        ([True, True, True, False], 0.8, 0.2),
        ([True, False, True, True], 0.7, 0.1),  # what lies above it counts as a whole
        ([False, False, True, True], 0.8, 1.0),
    ],
)
def test_a_threshold_is_the_least_confidence_above_which_enough_are_right(right, precision, expected):
    assert threshold([0.9, 0.5, 0.2, 0.1], right, precision) == expected


def test_answers_of_one_confidence_are_given_together_or_not_at_all():
    assert threshold([0.9, 0.2, 0.2], [True, True, False], 0.8) == 0.9


def test_a_shift_stays_near_the_whole_for_few_boxes_and_fits_many():
    identity = (1.0, 0.0)
    few, many = ([(0.5, False)] * count for count in (1, 1000))
    assert 0.0 > fit_shift(few, identity, 0.0) > -0.5
    assert fit_shift([(0.5, n % 4 > 0) for n in range(1000)], identity, 0.0) == pytest.approx(math.log(3), abs=0.05)
    assert fit_shift(few, identity, 1.0) > fit_shift(many, identity, 1.0)
    assert calibrated(0.5, identity, math.log(3)) == pytest.approx(0.75)
    assert calibrated(0.4, (), 1.0) == 0.4  # nothing to shift
