"""The masks of an answer about a whole volume as one NIfTI file, in the grid of the volume's own file.

Region number i has the value i, the rest 0. Where masks overlap, the region with the lower number has the voxel.
"""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import atomic_write
from medrega_edge.output.mask_file import MILLIMETRE, check_mask_path, nibabel_module
from medrega_edge.volumes.answer import VolumeAnswer
from medrega_edge.volumes.grid import Grid


def check_volume_mask_path(path: Path, *inputs: Path) -> None:
    """Raise as `check_mask_path`, and UsageError for a PNG, which holds one slice."""
    check_mask_path(path, *inputs)
    if path.name.lower().endswith(".png"):
        raise UsageError("volume.mask_of_nifti")


def write_volume_masks(answer: VolumeAnswer, grid: Grid, path: Path) -> None:
    """Write the masks of all slices, whole or not at all; raises as `check_volume_mask_path`."""
    check_volume_mask_path(path)
    nibabel = nibabel_module()
    image = nibabel.Nifti1Image(label_volume(answer).transpose(2, 1, 0), grid.affine)
    image.header.set_xyzt_units(MILLIMETRE)
    if grid.axes is not None:
        mine = nibabel.io_orientation(grid.affine)
        image = image.as_reoriented(nibabel.orientations.ornt_transform(mine, grid.axes))
    data = image.to_bytes()
    with atomic_write(path) as file:
        file.write(gzip.compress(data, mtime=0) if path.name.lower().endswith(".gz") else data)


def label_volume(answer: VolumeAnswer) -> npt.NDArray[np.uint8]:
    """Return the number of the region at each voxel `[slices, height, width]`, 0 where there is none."""
    values = np.zeros((answer.count, answer.image.height, answer.image.width), np.uint8)
    for number, region in reversed(list(enumerate(answer.regions, 1))):
        for one, mask in zip(region.boxes, region.masks, strict=False):
            if mask is not None:
                values[one.slice][mask.inside()] = number
    return values
