"""Boxes in the slices of a volume -> the boxes of one object: a chain from slice to slice.

A single slice errs: it misses what is there, and it sees a kidney in the spleen. An object goes on from slice to slice, and
its boxes overlap. So the chain with the largest sum wins: of the log-odds of its boxes above a threshold, and of what their
overlap adds.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from medrega_edge.boxes import PixelBox, iou
from medrega_edge.inference.confidence import logit

# Chosen on eight organs of two MRI volumes of the validation split: IoU of the box in three dimensions 0.70 in the mean, and
# 0.54 for the box around all boxes of a confidence of 0.5.
SURE = 0.8  # confidence of a box from which on it speaks for a chain; a single slice is often sure of a wrong box
LIKELY = 0.5  # the same for an object that is surely seen in few slices, and likely in FEW times as many
FEW = 3
USUAL_OVERLAP = 0.5  # IoU with the box before, from which on it speaks for a chain
LEAST_OVERLAP = 0.1  # below, they are no boxes of one object
MOST_MISSING = 2  # slices without a box within a chain
MISSING_COST = 2.0  # of each of them
_HIGHEST = 0.98  # no box counts for more


@dataclass(frozen=True)
class SliceBox:
    """A box in one slice, counted from 0, with the confidence of its region, and whether that is a best guess."""

    slice: int
    box: PixelBox
    confidence: float
    is_guess: bool = False


def best_chain(boxes: Sequence[SliceBox]) -> list[SliceBox]:
    """Return the boxes of the object that is most probably there, at most one a slice, in the order of slices.

    Empty where no box, and no chain of boxes, is more probably there than not.
    """
    sure, likely = (_chain(boxes, present) for present in (SURE, LIKELY))
    return likely if FEW * len(sure) < len(likely) else sure


def chains(boxes: Sequence[SliceBox], are_several: bool) -> list[list[SliceBox]]:
    """Return the objects of a name, each as `best_chain` does, the most probable first; one at most if not `are_several`.

    A further object has boxes that lie beside those of the objects before it.
    """
    found: list[list[SliceBox]] = []
    left = list(boxes)
    while chain := best_chain(left):
        found.append(chain)
        taken = {one.slice: one.box for one in chain}
        left = [one for one in left if one.slice not in taken or iou(one.box, taken[one.slice]) < LEAST_OVERLAP]
        if not are_several:
            break
    return found


def _chain(boxes: Sequence[SliceBox], present: float) -> list[SliceBox]:
    """The best chain of boxes that speak for it from the confidence `present` on."""
    ordered = sorted(boxes, key=lambda one: one.slice)
    sums: list[float] = []
    before: list[int | None] = []
    for number, one in enumerate(ordered):
        best, link = 0.0, None
        for earlier in range(number - 1, -1, -1):
            other = ordered[earlier]
            step = one.slice - other.slice
            if step > MOST_MISSING + 1:
                break
            if step == 0:
                continue
            overlap = iou(one.box, other.box)
            joined = sums[earlier] + overlap - USUAL_OVERLAP - MISSING_COST * (step - 1)
            if overlap >= LEAST_OVERLAP and joined > best:
                best, link = joined, earlier
        sums.append(best + logit(one.confidence, 1 - _HIGHEST) - logit(present))
        before.append(link)
    end: int | None = max(range(len(sums)), key=sums.__getitem__, default=None)
    if end is None or sums[end] <= 0:
        return []
    chain = []
    while end is not None:
        chain.append(ordered[end])
        end = before[end]
    return chain[::-1]
