"""Weights of words and box in the answer to "is it there?", fitted to the yes and no of a data set's own questions."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medrega_edge.domain import Task
from medrega_edge.engine import Engine
from medrega_edge.evaluation.records import Record
from medrega_edge.prompts.templates import PresenceWeights
from medrega_edge.tasks.base import TaskContext
from medrega_edge.tasks.presence import Evidence, asked_structure, gather
from medrega_edge.vocabulary.answers import is_yes

PENALTY = 0.01  # of the squared weights of words and box, beside the mean loss of an answer
_STEPS = 50  # of Newton's method, which needs fewer than ten

Floats = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Case:
    """One question for the presence of a structure: what speaks for it, and whether it is there."""

    image: Path
    evidence: Evidence
    truth: bool


def gather_cases(engine: Engine, records: Sequence[Record]) -> Iterator[Case]:
    """Ask every question of the records that yes or no answers and that names one structure."""
    for record in records:
        polar = [(pair, truth) for pair in record.qa if (truth := is_yes(pair.answer)) is not None]
        if not polar:
            continue
        image = engine.open(record.image)
        for pair, truth in polar:
            context = engine.context(image, pair.lang)
            question = context.clean(pair.question)
            if evidence := _evidence(context, question):
                yield Case(record.image, evidence, truth)


def _evidence(context: TaskContext, question: str) -> Evidence | None:
    names = asked_structure(context, question)
    prompt = context.prompts.prompt(Task.VQA, context.language, question)
    gathered = gather(context, prompt, names) if names else None
    return gathered and gathered[0]


def fit(cases: Sequence[Case]) -> PresenceWeights:
    """Logistic regression with a small penalty, by Newton's method."""
    columns, truth = _columns(cases), np.array([case.truth for case in cases], np.float64)
    penalty = np.array([PENALTY, PENALTY, 0.0])
    weights = np.zeros(3)
    for _ in range(_STEPS):
        shares = 1 / (1 + np.exp(-columns @ weights))
        slope = columns.T @ (shares - truth) / len(truth) + penalty * weights
        curvature = (columns * (shares * (1 - shares))[:, None]).T @ columns / len(truth) + np.diag(penalty + 1e-9)
        weights -= np.linalg.solve(curvature, slope)
    words, box, bias = (round(float(weight), 4) for weight in weights)
    return PresenceWeights(words, box, bias)


def accuracy(cases: Sequence[Case]) -> tuple[float, float]:
    """Share of right answers by words alone, and by words and box; the weights of one half of the images judge the other."""
    sides = {image: number % 2 for number, image in enumerate(dict.fromkeys(case.image for case in cases))}
    right = []
    for side in (0, 1):
        weights = fit([case for case in cases if sides[case.image] != side])
        judged = [case for case in cases if sides[case.image] == side]
        scores = _columns(judged) @ np.array([weights.words, weights.box, weights.bias])
        right += [(score >= 0) == case.truth for score, case in zip(scores, judged, strict=True)]
    return float(np.mean([(case.evidence.words >= 0.5) == case.truth for case in cases])), float(np.mean(right))


def _columns(cases: Sequence[Case]) -> Floats:
    return np.array([(*case.evidence.log_odds, 1.0) for case in cases])
