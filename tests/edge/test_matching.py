"""Boxes are paired so that the sum of IoU is largest, ties as scipy breaks them."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from medrega_edge.boxes import PixelBox
from medrega_edge.evaluation.matching import assign, match


@settings(deadline=None)
@given(
    st.tuples(st.integers(0, 7), st.integers(0, 7)),
    st.sampled_from([2, 3, 5, 1000]),
    st.integers(0, 2**32 - 1),
)
def test_the_assignment_is_scipys(shape, values, seed):
    scipy = pytest.importorskip("scipy.optimize")
    cost = np.random.default_rng(seed).integers(0, values, shape) / (values - 1)
    rows, columns = scipy.linear_sum_assignment(cost)
    assert assign(cost) == list(zip(rows.tolist(), columns.tolist(), strict=True))


def test_the_sum_counts_and_not_the_best_pair():
    true = [PixelBox(0, 0, 60, 10), PixelBox(0, 0, 100, 10)]
    given_boxes = [PixelBox(0, 0, 80, 10), PixelBox(20, 0, 120, 10)]
    matching = match(given_boxes, true)  # the best pair, 0.8, would leave one of 0.333
    assert [(row, column) for row, column, _ in matching.pairs] == [(0, 0), (1, 1)]
    assert sum(overlap for _, _, overlap in matching.pairs) / 2 == pytest.approx(0.708, abs=5e-4)
    assert matching.hits() == [(0, 0), (1, 1)] and matching.hits(0.7) == [(0, 0)]


def test_nothing_matches_nothing():
    assert match([], [PixelBox(0, 0, 1, 1)]).pairs == ()
    assert match([], []).given == 0
