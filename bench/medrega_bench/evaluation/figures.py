"""Figures as functions of sums over questions, and their bootstrap intervals over images.

A metric counts what it needs in each item once; a figure is made of the sums. So one resampling of images serves
every figure, also those that are no mean: macro F1, corpus BLEU, calibration error.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np

from medrega_bench.result_files import Estimate
from medrega_edge.evaluation.bootstrap import FloatArray, Interval, groups_of, mean_interval, multiplicities, percentiles
from medrega_edge.i18n.message import Message


@dataclass(frozen=True)
class Pair:
    """An answer beside its truth, as text; `place` names it in messages.

    `classes` are the candidates of a classification, in the question's order. `confidence` 0..1 is that of the whole
    answer, `confidences` are those of its boxes in the order written, where known.
    """

    answer: str
    truth: str
    classes: tuple[str, ...] = ()
    confidence: float | None = None
    confidences: tuple[float, ...] | None = None
    place: Message | str = Message("bench.item")


@dataclass(frozen=True)
class Measured:
    """`counts` [items, k] and `figures`, which turns their sums [k] into named figures, None where nothing was measured.

    `empty` stands in the place of None: upstream writes 0 there.
    """

    counts: FloatArray
    figures: Callable[[FloatArray], dict[str, float | None]]
    empty: float | None = None

    def values(self) -> dict[str, float | None]:
        """Return the figures over all items."""
        return {
            name: self.empty if value is None else value for name, value in self.figures(self.counts.sum(axis=0)).items()
        }

    def numbers(self) -> dict[str, int]:
        """Return how many items each figure is of: a figure of yes or no questions is not of the open ones."""
        each = [self.figures(row) for row in self.counts]
        return {name: sum(one[name] is not None for one in each) for name in each[0]}

    def intervals(self, images: Sequence[str]) -> dict[str, Interval | None]:
        """Return the 95 % interval of each figure; `images` names the image of each item."""
        groups = groups_of(images)
        sums = np.stack([self.counts[group].sum(axis=0) for group in groups])
        drawn = [self.figures(row) for row in multiplicities(len(groups)) @ sums]
        return {name: percentiles([row[name] for row in drawn]) for name in self.figures(self.counts.sum(axis=0))}


@dataclass(frozen=True)
class Change:
    """How much a figure rose from one run to another, with its 95 % interval."""

    value: float
    interval: Interval


def changes(before: tuple[Measured, Sequence[str]], after: tuple[Measured, Sequence[str]]) -> dict[str, Change | None]:
    """Return how much each figure rose between two runs, each given with the image of every item; None without both.

    Each resample draws the same images for both, so what is hard for both cancels. The runs count the same things.
    """
    images = {image: place for place, image in enumerate(dict.fromkeys([*before[1], *after[1]]))}
    drawn = multiplicities(len(images))
    figures: list[list[dict[str, float | None]]] = []
    for measured, of in (before, after):
        sums = np.zeros((len(images), measured.counts.shape[1]))
        np.add.at(sums, [images[image] for image in of], measured.counts)
        figures.append([measured.figures(row) for row in (sums.sum(axis=0), *(drawn @ sums))])

    def change(name: str) -> Change | None:
        both = [(a[name], b[name]) for a, b in zip(*figures, strict=True)]
        first, *rises = [None if a is None or b is None else b - a for a, b in both]
        interval = percentiles(rises)
        return None if first is None or interval is None else Change(first, interval)

    return {name: change(name) for name in figures[0][0]}


def ratios(rows: Sequence[Mapping[str, tuple[float, float]]], empty: float | None = None) -> Measured:
    """Figures that are a sum over a sum: each row gives (numerator, denominator) per name; (x, 1) makes a mean."""
    names = list(rows[0])
    counts = np.array([[part for name in names for part in row[name]] for row in rows], float)

    def figures(sums: FloatArray) -> dict[str, float | None]:
        pairs = zip(names, sums[0::2], sums[1::2], strict=True)
        return {name: float(above / below) if below else None for name, above, below in pairs}

    return Measured(counts, figures, empty)


def estimate(values: Sequence[float], images: Sequence[str]) -> Estimate:
    """Return the mean of values with its 95 % interval over images; `images` names the image of each."""
    return Estimate(len(values), float(np.mean(values)), mean_interval(np.array(values, float), images))
