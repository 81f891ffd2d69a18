"""Training squares for the mask head: boxes of images with true masks, cut out once, and views of them that err.

A cut shows a box with room around it, so that a view of it can be that of a box whose edges are off.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.nn import functional as F

from medrega_edge.boxes import PixelBox
from medrega_edge.evaluation.records import Record
from medrega_edge.evaluation.true_masks import MaskLine, true_masks
from medrega_edge.images.reader import read_image
from medrega_edge.inference.mask_head import cut_out
from medrega_edge.masks import Inside
from medrega_train.mask_network import MARGIN, PLACES, SIDE

CUT = 320  # pixels of the square of a cut
ROOM = 0.65  # of the sides of a box, on each side of it in a cut
LEAST = 3  # pixels of a side of a box
MOST_PARTS = 4  # boxes of one name in one image
SPREADS = (0.0, 0.03, 0.06, 0.1, 0.15)  # deviation of an edge, in sides of the box; one of them for each view
FARTHEST = 0.3  # that an edge is off

Pixels = npt.NDArray[np.uint8]
Edges = npt.NDArray[np.float64]  # [N, 4], x1 y1 x2 y2 in sides of the true box, which is 0 0 1 1


@dataclass(frozen=True, eq=False)
class Cut:
    """A box of an image with room around it: `pixels` `[CUT, CUT, 3]`, and `mask` `[CUT, CUT]`, 255 inside."""

    dataset: str
    label: str
    pixels: Pixels
    mask: Pixels


def cuts(records: Sequence[Record], lines: Mapping[str, MaskLine], folder: Path, seed: int = 0) -> Iterator[Cut]:
    """Yield a cut for each box that has a mask. Of several boxes of a name, each has what lies in it."""
    random = np.random.default_rng(seed)
    for record in records:
        image: Pixels | None = None
        for region, inside in true_masks(folder, lines[record.id], record):
            several = len(region.boxes) > 1
            for place in random.permutation(len(region.boxes))[:MOST_PARTS]:
                box = region.boxes[place]
                own = within(inside, box) if several else inside
                if not own.any() or min(box.x2 - box.x1, box.y2 - box.y1) < LEAST:
                    continue
                image = read_image(record.image).pixels if image is None else image
                area, mask = box.grown(ROOM), own.astype(np.uint8) * 255
                yield Cut(record.dataset, region.label_en, cut_out(image, area, CUT), cut_out(mask, area, CUT))


def within(inside: Inside, box: PixelBox) -> Inside:
    """Return what of a mask lies in a box."""
    part = np.zeros_like(inside)
    rows, columns = slice(int(box.y1), math.ceil(box.y2)), slice(int(box.x1), math.ceil(box.x2))
    part[rows, columns] = inside[rows, columns]
    return part


def erring(count: int, random: np.random.Generator, spreads: Sequence[float] = SPREADS) -> Edges:
    """Return boxes whose edges are moved by a normal deviation."""
    spread = random.choice(spreads, count)[:, None]
    boxes: Edges = np.array([0.0, 0.0, 1.0, 1.0]) + (random.normal(0, 1, (count, 4)) * spread).clip(-FARTHEST, FARTHEST)
    return boxes


def views(chosen: Sequence[Cut], boxes: Edges) -> tuple[Tensor, Tensor]:
    """Return what the network reads of each box `[N, 3, SIDE, SIDE]`, 0..255, and the masks `[N, PLACES, PLACES]`, 0..1."""
    sides = boxes[:, 2:] - boxes[:, :2]
    corners, ends = boxes[:, :2] - MARGIN * sides, boxes[:, 2:] + MARGIN * sides
    corners, ends = ((edge + ROOM) / (1 + 2 * ROOM) * 2 - 1 for edge in (corners, ends))  # -1..1 over the cut
    maps = torch.zeros(len(boxes), 2, 3)
    maps[:, (0, 1), (0, 1)] = torch.from_numpy((ends - corners) / 2).float()
    maps[:, :, 2] = torch.from_numpy((ends + corners) / 2).float()
    grid = F.affine_grid(maps, [len(boxes), 3, SIDE, SIDE], align_corners=False)
    pixels = torch.from_numpy(np.stack([each.pixels for each in chosen])).permute(0, 3, 1, 2).float()
    masks = torch.from_numpy(np.stack([each.mask for each in chosen]))[:, None].float() / 255
    seen, true = (F.grid_sample(each, grid, align_corners=False) for each in (pixels, masks))
    low, high = (edge(seen, (1, 2, 3), keepdim=True) for edge in (torch.amin, torch.amax))
    return (seen - low) / (high - low).clamp(min=1) * 255, F.avg_pool2d(true, SIDE // PLACES)[:, 0]


def varied(pixels: Tensor, masks: Tensor, random: np.random.Generator) -> tuple[Tensor, Tensor]:
    """Mirror or turn a batch; vary brightness, contrast, gamma and noise of each square."""
    if random.random() < 0.5:
        pixels, masks = pixels.flip(3), masks.flip(2)
    if random.random() < 0.5:
        pixels, masks = pixels.flip(2), masks.flip(1)
    if random.random() < 0.3:
        pixels, masks = pixels.transpose(2, 3), masks.transpose(1, 2)

    def drawn(low: float, high: float) -> Tensor:
        return torch.from_numpy(random.uniform(low, high, (len(pixels), 1, 1, 1))).float()

    pixels = 255 * (pixels / 255).clamp(0, 1) ** drawn(0.65, 1.5)
    pixels = (pixels - 127) * drawn(0.75, 1.15) + 127 + drawn(-20, 20)
    return (pixels + torch.randn_like(pixels) * drawn(0, 6)).clamp(0, 255), masks
