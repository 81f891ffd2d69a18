"""Boxes of an answer and true boxes, paired one to one so that the sum of IoU is largest."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medrega_edge.boxes import GridBox, PixelBox, iou

HIT = 0.5  # IoU from which a box counts as found


@dataclass(frozen=True)
class Matching:
    """Boxes of an answer, each assigned to at most one true box.

    `pairs` are (answer's box, true box, IoU), also those that do not overlap; `given` and `true` count all boxes.
    """

    pairs: tuple[tuple[int, int, float], ...]
    given: int
    true: int

    def hits(self, threshold: float = HIT) -> list[tuple[int, int]]:
        """Return the pairs from an IoU of `threshold`."""
        return [(row, column) for row, column, overlap in self.pairs if overlap >= threshold]


def match(given: Sequence[PixelBox | GridBox], true: Sequence[PixelBox | GridBox]) -> Matching:
    """Assign boxes one to one by the Hungarian algorithm on 1 - IoU."""
    overlaps = np.array([[iou(a, b) for b in true] for a in given], float).reshape(len(given), len(true))
    pairs = ((row, column, float(overlaps[row, column])) for row, column in assign(1 - overlaps))
    return Matching(tuple(pairs), len(given), len(true))


def assign(cost: npt.NDArray[np.float64]) -> list[tuple[int, int]]:
    """Return the (row, column) pairs of the cheapest one-to-one assignment, in the order of rows.

    Shortest augmenting paths (Crouse, 2016). Ties fall as in `scipy.optimize.linear_sum_assignment`, because upstream's
    metrics pair boxes that do not overlap by it.
    """
    if cost.shape[0] > cost.shape[1]:
        return sorted((row, column) for column, row in assign(cost.T))
    rows, columns = cost.shape
    row_potential, column_potential = np.zeros(rows), np.zeros(columns)
    column_of, row_of = np.full(rows, -1), np.full(columns, -1)
    for start in range(rows):
        shortest, previous = np.full(columns, np.inf), np.full(columns, -1)
        remaining = list(range(columns))[::-1]
        tree: list[int] = []  # rows on the paths that were followed
        reached: list[int] = []  # columns on them
        row, length, sink = start, 0.0, -1
        while sink < 0:
            tree.append(row)
            nearest, lowest = -1, np.inf
            for place, column in enumerate(remaining):
                reduced = length + cost[row, column] - row_potential[row] - column_potential[column]
                if reduced < shortest[column]:
                    shortest[column], previous[column] = reduced, row
                if shortest[column] < lowest or (shortest[column] == lowest and row_of[column] < 0):
                    nearest, lowest = place, shortest[column]
            length, column = lowest, remaining[nearest]
            if row_of[column] < 0:
                sink = column
            else:
                row = int(row_of[column])
            reached.append(column)
            remaining[nearest] = remaining[-1]
            remaining.pop()
        row_potential[start] += length
        for other in tree[1:]:
            row_potential[other] += length - shortest[column_of[other]]
        for column in reached:
            column_potential[column] -= length - shortest[column]
        column = sink
        while True:
            row = int(previous[column])
            row_of[column] = row
            column_of[row], column = column, int(column_of[row])
            if row == start:
                break
    return [(row, int(column)) for row, column in enumerate(column_of)]
