"""Which dialect a server speaks: each question is tried on a few phantoms until its answers hold true boxes."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from medrega_bench.box_fidelity.dialects import DIALECTS, Dialect, Reply, sharing_question
from medrega_bench.box_fidelity.frames import shares_of
from medrega_bench.box_fidelity.hypotheses import Answers
from medrega_bench.box_fidelity.phantoms import Phantom
from medrega_edge.boxes import PixelBox, iou

Ask = Callable[[Phantom, str], Reply]
PROBES = 3
ENOUGH = 0.6  # mean IoU of the probes at which no other question is tried


def probes(phantoms: Sequence[Phantom]) -> list[Phantom]:
    """Return the first phantom of the widest, of the highest and of the largest size, on which frames differ most.

    Where that is one phantom, others follow.
    """
    chosen = (
        max(phantoms, key=lambda one: one.width / one.height),
        max(phantoms, key=lambda one: one.height / one.width),
        max(phantoms, key=lambda one: one.width * one.height),
    )
    return list(dict.fromkeys((*chosen, *phantoms)))[:PROBES]


def choose(ask: Ask, phantoms: Sequence[Phantom]) -> Dialect:
    """Return the dialect whose question brings the best boxes, read as the dialect says; else the most that it can read.

    A question is given up when its first answer cannot be read. Where none can be, it is the first dialect of lists.
    """
    best, best_worth = DIALECTS["list-1000"], (0.0, 0)
    asked: set[str] = set()
    for first in DIALECTS.values():
        group = sharing_question(first)
        if first.name in asked:
            continue
        asked |= {one.name for one in group}
        replies = []
        for phantom in probes(phantoms):
            replies.append((phantom, ask(phantom, first.question(phantom.label))))
            if not first.understands(replies[0][1]):
                break
        for dialect in group:
            worth = _worth(dialect, replies)
            if worth > best_worth:
                best, best_worth = dialect, worth
        if best_worth[0] >= ENOUGH:
            break
    return best


def _worth(dialect: Dialect, replies: Sequence[tuple[Phantom, Reply]]) -> tuple[float, int]:
    """Mean IoU of the probes, in hundredths so that near equals are equal, and how many answers the dialect reads."""
    overlaps, understood = [], 0
    for phantom, reply in replies:
        understood += dialect.understands(reply)
        _, numbers = dialect.read(reply)
        if numbers:
            overlaps.append(iou(phantom.box, pixel_box(dialect, numbers[0], phantom.width, phantom.height)))
    return round(sum(overlaps) / len(replies), 2), understood


def pixel_box(dialect: Dialect, numbers: Sequence[float], width: int, height: int) -> PixelBox:
    """Return the box of an answer in pixels of the original image, as the dialect says."""
    size = np.array([[width, height]], float)
    shares = shares_of(np.array([numbers], float), size, dialect.order, dialect.frame)[0]
    return PixelBox(*(float(share) for share in shares * [width, height, width, height]))


def answers_of(rows: Sequence[tuple[Phantom, Sequence[float]]]) -> Answers:
    """Return boxes that could be read as arrays."""
    sizes = np.array([(phantom.width, phantom.height) for phantom, _ in rows], float).reshape(-1, 2)
    truth = np.array([phantom.box for phantom, _ in rows], float).reshape(-1, 4)
    return Answers(np.array([numbers for _, numbers in rows], float).reshape(-1, 4), sizes, truth / np.tile(sizes, 2))
