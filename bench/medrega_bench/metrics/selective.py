"""Answering only what one is sure of: the risk at each coverage, the area under it, and thresholds chosen beforehand.

Coverage is the share of all questions that is answered, risk the share of these answers that is wrong (El-Yaniv and Wiener,
JMLR 11, 2010). AURC is the mean risk over all coverages (Geifman, Uziel and El-Yaniv, ICLR 2019).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import accumulate


@dataclass(frozen=True)
class Case:
    """One question: how sure its answer is, 0..1, whether it is right, the image and its patient.

    No answer is 0 sure and wrong. One that is not stated is said to be "Not sure.", however sure it is.
    """

    confidence: float
    right: bool
    image: str
    patient: str
    is_stated: bool = True

    @property
    def as_told(self) -> Case:
        """The case as a user sees it: an answer that is not stated is none, at any threshold."""
        return self if self.is_stated else replace(self, confidence=0.0)


def curve(cases: Sequence[Case]) -> list[tuple[float, float]]:
    """Return (coverage, risk) after each answer, the surest first; equally sure answers are given together."""
    ordered = sorted(cases, key=lambda case: -case.confidence)
    wrong = accumulate(not case.right for case in ordered)
    points = []
    for number, (case, errors) in enumerate(zip(ordered, wrong, strict=True), 1):
        if number == len(ordered) or ordered[number].confidence < case.confidence:
            points.append((number / len(ordered), errors / number))
    return points


def aurc(cases: Sequence[Case]) -> float:
    """Return the area under the curve: risk as a step between coverages. Less is better; 0 without an error."""
    area = before = 0.0
    for coverage, risk in curve(cases):
        area += (coverage - before) * risk
        before = coverage
    return area


def least_sure(cases: Sequence[Case], most_wrong: float) -> float | None:
    """Return the least confidence from which on at most that share of the answers is wrong; None where there is none.

    Of the thresholds that hold, it is the one with the most answers.
    """
    ordered = sorted({case.confidence for case in cases})
    for threshold in ordered:
        stated = [case.right for case in cases if case.confidence >= threshold]
        if threshold > 0 and stated.count(False) <= most_wrong * len(stated):
            return threshold
    return None
