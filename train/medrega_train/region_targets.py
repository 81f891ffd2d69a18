"""What the region head should say of a question, and how far it is from it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from medrega_train.dense_head import generalised_iou
from medrega_train.region_head import RegionLogits, boxes_at, centre_loss, edge_loss, inside_loss

Array = npt.NDArray[np.float32]

_BUMP_WIDTH = 0.1  # of the box: standard deviation of the bump at its centre


@dataclass(frozen=True)
class RegionTargets:
    """Targets of Q questions to each of B views; boxes are fractions of the view, maps have G x G places.

    An object has one box, several, or none where it is absent.
    """

    asked: Tensor  # [B, Q] bool; the others fill up
    present: Tensor  # [B, Q] float
    single: Tensor  # [B, Q] bool
    box: Tensor  # [B, Q, 4]; the first one
    coverage: Tensor  # [B, Q, G, G]; the share of each place that is covered
    heat: Tensor  # [B, Q, G, G]; 1 at the centre of each box
    claims: Tensor  # [N, 4] long; view, question, row and column of a place at or beside the centre of a box
    claimed: Tensor  # [N, 4]; the boxes that these places claim

    @classmethod
    def of(cls, boxes: Sequence[Sequence[Array]], grid: int) -> RegionTargets:
        """`boxes[i][q]` is `[n, 4]`: those of question q to view i."""
        shape = (len(boxes), max(1, max(len(questions) for questions in boxes)))
        asked, present, single = np.zeros(shape, bool), np.zeros(shape, np.float32), np.zeros(shape, bool)
        box, heat = np.zeros((*shape, 4), np.float32), np.zeros((*shape, grid, grid), np.float32)
        coverage = np.zeros_like(heat)
        claims: list[npt.NDArray[np.int64]] = [np.zeros((0, 4), np.int64)]
        claimed: list[Array] = [np.zeros((0, 4), np.float32)]
        for i, questions in enumerate(boxes):
            for q, found in enumerate(questions):
                asked[i, q], present[i, q], single[i, q] = True, float(len(found) > 0), len(found) == 1
                if len(found):
                    box[i, q], coverage[i, q], heat[i, q] = found[0], covered(found, grid), bumps(found, grid)
                    places, owners = near_centres(found, grid)
                    claims.append(np.concatenate([np.broadcast_to([i, q], (len(places), 2)), places], axis=1))
                    claimed.append(found[owners])
        arrays = (asked, present, single, box, coverage, heat, np.concatenate(claims), np.concatenate(claimed))
        return cls(*map(torch.from_numpy, arrays))

    def to(self, device: torch.device) -> RegionTargets:
        """Move every tensor."""
        return RegionTargets(**{name: value.to(device) for name, value in vars(self).items()})


def region_losses(logits: RegionLogits, targets: RegionTargets) -> dict[str, Tensor]:
    """Return the parts of the loss, weighted; each is a mean over what it is about."""
    asked, single = targets.asked, targets.single
    there = asked & (targets.present > 0)
    presence = F.binary_cross_entropy_with_logits(logits.presence, targets.present, reduction="none")
    view, question, row, column = targets.claims.unbind(1)
    reached = boxes_at(row, column, logits.distances[view, question, :, row, column], logits.edges.shape[-1])
    return {
        "edges": _mean(edge_loss(logits.edges[single], targets.box[single])),
        "inside": 0.5 * _mean(inside_loss(logits.inside[there], targets.coverage[there])),
        "centres": 0.3 * _mean(centre_loss(logits.centres[asked], targets.heat[asked])),
        "reach": 0.5 * _mean(1 - generalised_iou(reached, targets.claimed)),
        "presence": 0.5 * _mean(presence[asked]),
    }


def _mean(values: Tensor) -> Tensor:
    return values.sum() / max(1, len(values))


def covered(boxes: Array, grid: int) -> Array:
    """The share of each of `grid` x `grid` places that the boxes `[n, 4]` cover, by the box that covers most of it."""
    edges = np.arange(grid + 1, dtype=np.float32) / grid
    x = np.clip(np.minimum(edges[1:], boxes[:, 2:3]) - np.maximum(edges[:-1], boxes[:, 0:1]), 0, None) * grid
    y = np.clip(np.minimum(edges[1:], boxes[:, 3:4]) - np.maximum(edges[:-1], boxes[:, 1:2]), 0, None) * grid
    share: Array = np.max(y[:, :, None] * x[:, None, :], axis=0)
    return share


def pooling(boxes: Array, grid: int) -> Array:
    """How much of some boxes `[n, 4]` lies at each of `grid` x `grid` places, row by row; sums to 1."""
    share = covered(boxes, grid).reshape(-1)
    pooled: Array = share / max(float(share.sum()), 1e-6)
    return pooled


def bumps(boxes: Array, grid: int) -> Array:
    """A map `[grid, grid]` with a Gaussian bump of height 1 at the place of each box's centre; wide boxes have wide ones."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 * grid
    widths = np.maximum(0.6, _BUMP_WIDTH * (boxes[:, 2:] - boxes[:, :2]) * grid)
    middle = np.arange(grid, dtype=np.float32) + 0.5
    nearest = np.floor(np.clip(centres, 0, grid - 1e-3)) + 0.5
    x = np.exp(-0.5 * ((middle - nearest[:, :1]) / widths[:, :1]) ** 2)
    y = np.exp(-0.5 * ((middle - nearest[:, 1:]) / widths[:, 1:]) ** 2)
    heat: Array = np.max(y[:, :, None] * x[:, None, :], axis=0).astype(np.float32)
    return heat


def near_centres(boxes: Array, grid: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places (row, column) `[n, 2]` at the centres of boxes and beside them where they lie inside, and whose they are `[n]`.

    A place that is near several centres belongs to the smallest box.
    """
    owner: dict[tuple[int, int], int] = {}
    largest_first = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")
    for number in largest_first:
        x1, y1, x2, y2 = boxes[number] * grid
        column, row = (int(np.clip((a + b) / 2, 0, grid - 1e-3)) for a, b in ((x1, x2), (y1, y2)))
        for i in range(max(0, row - 1), min(grid, row + 2)):
            for j in range(max(0, column - 1), min(grid, column + 2)):
                if (i, j) == (row, column) or (x1 < j + 0.5 < x2 and y1 < i + 0.5 < y2):
                    owner[i, j] = int(number)
    return np.array(list(owner), np.int64).reshape(-1, 2), np.array(list(owner.values()), np.int64)
