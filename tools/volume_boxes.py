"""Measure boxes of whole volumes by their IoU in three dimensions, and millilitres, for each labelled structure.

    python -m tools.volume_boxes FOLDER [--model PACKAGE]

FOLDER holds volumes.jsonl with `image`, `labels_file` (NIfTI on the same grid) and `values` {label: value}. A structure that
the model has no name for is left out.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Sequence
from pathlib import Path
from statistics import fmean, median

import nibabel
import numpy as np
import numpy.typing as npt

from medrega_edge.domain import Language
from medrega_edge.engine import load
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.volumes.linking import SliceBox
from medrega_edge.volumes.locate import locate_in_volume
from medrega_edge.volumes.reader import open_volume

Extent = tuple[float, float, float, float, float, float]  # x1, y1, z1, x2, y2, z2 in pixels and slices


def truth(labels: npt.NDArray[np.integer], value: int) -> Extent:
    """Return the box of a label in a volume `[right, front, head]` (RAS+) as pictures show it: x to the left, y down."""
    width, height, _ = labels.shape
    x, y, z = np.nonzero(labels == value)
    return width - 1 - x.max(), height - 1 - y.max(), z.min(), width - x.min(), height - y.min(), z.max() + 1


def around(boxes: Sequence[SliceBox]) -> Extent:
    """Return the box around boxes of slices."""
    x1, y1, x2, y2 = (np.array([one.box for one in boxes]).T) if boxes else np.zeros((4, 1))
    numbers = [one.slice for one in boxes] or [0]
    end = max(numbers) + bool(boxes)
    return x1.min(), y1.min(), min(numbers), x2.max(), y2.max(), end


def iou(one: Extent, other: Extent) -> float:
    """Return intersection over union of two boxes."""
    sides = [max(0.0, min(one[k + 3], other[k + 3]) - max(one[k], other[k])) for k in range(3)]
    shared = float(np.prod(sides))
    volumes = [float(np.prod([box[k + 3] - box[k] for k in range(3)])) for box in (one, other)]
    return shared / (sum(volumes) - shared) if shared else 0.0


def main() -> None:
    """Print a line for each structure, and the means."""
    options = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    options.add_argument("folder", type=Path)
    options.add_argument("--model")
    given = options.parse_args()
    engine = load(given.model)
    known = {english for english, _ in engine.terminology.labels}
    linked, errors = [], []
    for line in (given.folder / "volumes.jsonl").read_text(encoding="utf-8").splitlines():
        row = json.loads(line)
        names = [name for name in row["values"] if name in known]
        if not names:
            continue
        volume = open_volume(given.folder / row["image"])
        labels = np.asarray(nibabel.as_closest_canonical(nibabel.load(given.folder / row["labels_file"])).dataobj)
        voxel = float(np.prod(row["spacing_mm"]))
        request = Segment(names) if engine.has_masks else Detect(names)
        answer = locate_in_volume(engine, volume, request, Language.EN)
        sys.stdout.write(f"{row['id']}: {volume.count} slices in {answer.seconds:.1f} s\n")
        for name in names:
            right = truth(labels, row["values"][name])
            chain = next((region.boxes for region in answer.regions if region.label == name), ())
            linked.append(iou(around(chain), right))
            sys.stdout.write(f"  {name:28s} IoU {linked[-1]:.2f}")
            found = next((region.millilitres for region in answer.regions if region.label == name), None)
            if found is not None:
                real = float((labels == row["values"][name]).sum()) * voxel / 1000
                errors.append(abs(found - real) / real)
                sys.stdout.write(f"   {found:.0f} ml of {real:.0f}: {found / real - 1:+.0%}")
            sys.stdout.write("\n")
    sys.stdout.write(f"{len(linked)} structures: mean IoU {fmean(linked):.3f}\n")
    if errors:
        sys.stdout.write(f"{len(errors)} volumes: median error {median(errors):.1%}\n")


if __name__ == "__main__":
    main()
