"""Confidence of a box: probabilities of its leading digits and of its presence, calibrated.

The last digits of a coordinate are noise (a thousandth of the image), so only the first two count. The raw score orders
boxes. Two numbers of the package, fitted on validation images, turn it into the probability that the IoU with the truth is
0.5 or more. Platt scaling: Platt, 1999.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Iterable, Sequence
from itertools import groupby

import numpy as np
import numpy.typing as npt

from medrega_edge.inference.decoding import Step

LEADING_DIGITS = 2
MIN_PROBABILITY = 1e-6
SHRINKAGE = 1.0  # standard deviation of shifts, in log-odds: of 0.3 to 2 the best by cross-validation on val (2026-11-29)


def raw_scores(steps: Sequence[Step], presence: float = 1.0) -> list[float]:
    """Return a score 0..1 for each generated box: geometric mean over its leading digits, times that of presence."""
    logs: dict[int, list[float]] = {}
    for step in steps:
        position = step.digit_position
        if position is not None and position.digit < LEADING_DIGITS:
            probability = 1.0 if step.probability is None else step.probability  # None: the grammar left no choice
            logs.setdefault(position.box, []).append(math.log(max(MIN_PROBABILITY, probability)))
    return [math.exp(sum(box) / len(box)) * presence for _, box in sorted(logs.items())]


def calibrated(score: float, calibration: tuple[float, ...], shift: float = 0.0) -> float:
    """Turn a raw score into a probability with the package's (slope, offset); unchanged without them.

    `shift` is added to the offset: that of boxes of one label in one kind of image.
    """
    if not calibration:
        return score
    slope, offset = calibration
    return 1.0 / (1.0 + math.exp(min(700.0, -(slope * logit(score) + offset + shift))))  # e to the 710 overflows


def fit(scores: Iterable[float], right: Iterable[bool]) -> tuple[float, float]:
    """Find (slope, offset) by maximum likelihood with Platt's softened targets, by Newton's method with halved steps.

    Full steps can run away where the scores hardly tell right from wrong. Raises ValueError without scores.
    """
    x: npt.NDArray[np.float64] = np.array([logit(score) for score in scores])
    hits = np.array(list(right), float)
    if len(x) == 0:
        raise ValueError("no boxes to calibrate on")
    positive, negative = hits.sum(), len(hits) - hits.sum()
    target = np.where(hits > 0, (positive + 1) / (positive + 2), 1 / (negative + 2))
    design = np.stack([x, np.ones_like(x)], axis=1)
    start = np.array([1.0, 0.0])

    def loss(weights: npt.NDArray[np.float64]) -> float:
        z = design @ weights
        return float(np.sum(np.logaddexp(0.0, z) - target * z) + 0.5e-3 * np.sum((weights - start) ** 2))

    weights = start
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(design @ weights, -30.0, 30.0)))
        gradient = design.T @ (p - target) + 1e-3 * (weights - start)
        curvature = (design * (p * (1 - p))[:, None]).T @ design + 1e-3 * np.eye(2)
        step = np.linalg.solve(curvature, gradient)
        while loss(weights - step) > loss(weights) and float(np.abs(step).max()) > 1e-9:
            step = step / 2
        weights = weights - step
        if float(np.abs(step).max()) < 1e-9:
            break
    return float(weights[0]), float(weights[1])


def fit_shift(boxes: Collection[tuple[float, bool]], calibration: tuple[float, ...], prior: float) -> float:
    """Find the shift of a group of boxes, each a score and whether it is right.

    It is the most probable one, with a normal distribution around `prior` beforehand: a group of few stays near to the whole
    that it is a part of.
    """
    slope, offset = calibration
    x: npt.NDArray[np.float64] = slope * np.array([logit(score) for score, _ in boxes]) + offset
    hits, shift = np.array([right for _, right in boxes], float), prior
    for _ in range(50):
        p = 1 / (1 + np.exp(-np.clip(x + shift, -30.0, 30.0)))
        gradient = float((p - hits).sum()) + (shift - prior) / SHRINKAGE**2
        step = gradient / (float((p * (1 - p)).sum()) + 1 / SHRINKAGE**2)
        shift -= min(1.0, max(-1.0, step))
        if abs(step) < 1e-9:
            break
    return shift


def threshold(confidences: Sequence[float], right: Sequence[bool], precision: float) -> float:
    """Return the least confidence from which on that share of all answers is right; 1 where there is none."""
    found, count, hits = 1.0, 0, 0
    pairs = sorted(zip(confidences, right, strict=True), reverse=True)
    for confidence, group in groupby(pairs, key=lambda pair: pair[0]):
        answers = [hit for _, hit in group]
        count, hits = count + len(answers), hits + sum(answers)
        if hits / count >= precision:
            found = confidence
    return found


def logit(score: float, least: float = MIN_PROBABILITY) -> float:
    """Log-odds of a probability; nearer to 0 or 1 than `least` it counts as that."""
    bounded = min(max(score, least), 1 - least)
    return math.log(bounded / (1 - bounded))
