"""How near two rules come to the box of a turned object: around the ellipse that fills its box, and around its corners.

    python -m tools.turned_boxes --data DATA --masks MASKS

Turns masks of val by the angles of `medrega bench robust` and prints the mean IoU of either with the box of the turned mask.
"""

import argparse
import math
import sys
from pathlib import Path

import numpy as np
from PIL import Image

from medrega_bench.perturbations.catalogue import PERTURBATIONS
from medrega_bench.perturbations.picture import Perturbed, turn
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.evaluation.records import read_records
from medrega_edge.evaluation.true_masks import read_mask_lines, true_masks

WHOLE = 0.98  # share of a mask that is still in the picture when it is turned


def main():
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--data", type=Path, required=True)
    options.add_argument("--masks", type=Path, required=True)
    given = options.parse_args()
    lines = read_mask_lines(given.masks)
    records = [record for record in read_records(given.data, "val") if record.id in lines]
    masks = [mask for record in records for _, mask in true_masks(given.masks, lines[record.id], record)]
    for degrees in PERTURBATIONS["rotation"].sizes:
        found = [pair for pair in (_overlaps(mask, degrees) for mask in masks) if pair]
        ellipse, corners = np.mean(found, axis=0)
        sys.stdout.write(f"{degrees:.0f} degrees, {len(found)} objects: ellipse {ellipse:.3f}, corners {corners:.3f}\n")


def _overlaps(mask, degrees):
    turned = np.asarray(Image.fromarray(mask.astype(np.uint8) * 255).rotate(degrees, Image.Resampling.BILINEAR)) > 127
    if turned.sum() < WHOLE * mask.sum():
        return None
    true, before = _box(turned), _box(mask)
    ellipse = Perturbed(np.zeros((*mask.shape, 1), np.float32), turn(degrees, *mask.shape)).box(before)
    cos, sin = math.cos(math.radians(degrees)), math.sin(math.radians(degrees))
    width, height = before.x2 - before.x1, before.y2 - before.y1
    x, y = (ellipse.x1 + ellipse.x2) / 2, (ellipse.y1 + ellipse.y2) / 2
    across, down = (cos * width + sin * height) / 2, (sin * width + cos * height) / 2
    return iou(ellipse, true), iou(PixelBox(x - across, y - down, x + across, y + down), true)


def _box(mask):
    rows, columns = np.flatnonzero(mask.any(axis=1)), np.flatnonzero(mask.any(axis=0))
    return PixelBox(columns[0], rows[0], columns[-1] + 1, rows[-1] + 1)


if __name__ == "__main__":
    main()
