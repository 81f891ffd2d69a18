"""Profiles: every operator falls into one group, and the shares add up."""

from __future__ import annotations

from collections import Counter

import pytest

from medrega_bench.performance.profiler import GROUPS, summarise


def test_shares_add_up_and_unknown_operators_are_the_rest():
    profile = summarise([Counter({"MatMulIntegerToFloat": 1200, "MultiHeadAttention": 600}), Counter({"NeverSeen": 200})])
    assert profile.groups == pytest.approx({"products": 0.6, "attention": 0.3, "rounding of activations": 0.0, "rest": 0.1})
    assert sum(profile.operators.values()) == pytest.approx(1) and profile.milliseconds == pytest.approx(1)


def test_no_operator_stands_in_two_groups():
    named = [operator for operators in GROUPS.values() for operator in operators]
    assert len(named) == len(set(named))
