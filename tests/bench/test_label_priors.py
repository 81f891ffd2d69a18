"""Levels are fitted without classes, and judged on the half that they were not fitted on."""

from pathlib import Path

import numpy as np
import pytest

from medrega_bench.evaluation.label_priors import CandidateScores, as_prompts, fit, macro_f1
from medrega_edge.domain import Language


def scored(image, truth, *weights, language=Language.EN):
    return CandidateScores(Path(image), language, "set", ("a", "b"), truth, np.array(weights))


def test_a_prior_for_one_label_is_subtracted():
    # "a" is always likelier, but more so where it is right.
    rows = [("1", "a", -0.1, -3.0), ("2", "a", -0.1, -3.2), ("3", "b", -0.4, -1.0), ("4", "b", -0.4, -1.2)]
    mine = [scored(*row) for row in rows]
    both = [scored(*row, language=language) for row in rows for language in Language]
    for asked in (mine, both):
        before, after = macro_f1(asked)
        assert before == pytest.approx(1 / 3)
        assert after == 1.0
    priors = fit(mine)
    assert priors[Language.EN, ("a", "b")] == pytest.approx([-0.25, -2.1])
    assert as_prompts(priors) == {"en": [{"a": -0.25, "b": -2.1}]}
