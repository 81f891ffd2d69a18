"""Where the pixels of a volume lie in the patient: what a file of masks of the whole volume has to state."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.reader import read_file

_EVEN = 0.02  # share by which the distances of slices may differ
_TO_RAS = np.diag([-1.0, -1.0, 1.0, 1.0])  # DICOM's axes run to the left and the back, NIfTI's to the right and the front


@dataclass(frozen=True, eq=False)
class Grid:
    """`affine` `[4, 4]` takes column, row and slice to millimetres to the patient's right, front and head.

    `axes` are the axes of the file that the volume came from, as nibabel's orientation, for masks in its own order; None for
    the order of columns, rows and slices.
    """

    affine: npt.NDArray[np.floating]
    axes: npt.NDArray[np.floating] | None = None


def grid_of_series(files: Sequence[tuple[Path, int | None]]) -> Grid:
    """Read the grid of a DICOM series from its ordered files, each with its frame.

    Raises ImageError where the files do not state where the slices lie, or these are not equally far apart.
    """
    from medrega_edge.images.dicom.functional_groups import frame_value
    from medrega_edge.images.dicom.header import read_header
    from medrega_edge.images.dicom.numbers import vector

    name = Message("image.given")
    corners: list[npt.NDArray[np.floating]] = []
    directions = np.zeros((3, 2))
    for path, frame in files:
        header = read_header(read_file(path), name, _KEYWORDS)
        cosines = vector(frame_value(header, frame or 0, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
        spacing = vector(frame_value(header, frame or 0, "PixelMeasuresSequence", "PixelSpacing"), 2)
        corner = vector(frame_value(header, frame or 0, "PlanePositionSequence", "ImagePositionPatient"), 3)
        if cosines is None or spacing is None or corner is None:
            raise ImageError("volume.no_grid")
        corners.append(np.array(corner))
        directions = np.array([cosines[:3], cosines[3:]]).T * [spacing[1], spacing[0]]
    steps = np.array([after - before for before, after in pairwise(corners)])
    step = steps.mean(axis=0)
    if np.linalg.norm(steps - step, axis=1).max() > _EVEN * np.linalg.norm(step):
        raise ImageError("volume.uneven_slices")
    affine = np.eye(4)
    affine[:3, :2], affine[:3, 2], affine[:3, 3] = directions, step, corners[0]
    return Grid(_TO_RAS @ affine)


_KEYWORDS = (
    *("ImageOrientationPatient", "ImagePositionPatient", "PixelSpacing", "NumberOfFrames"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
)
