"""The masks of an answer as one picture of labels: PNG, or NIfTI of one slice. Region number i has the value i, the rest 0.

Where masks overlap, the region with the lower number has the pixel.
"""

from __future__ import annotations

import gzip
import io
from pathlib import Path
from types import ModuleType

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageColor

from medrega_edge.answer import Answer
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.io.atomic import atomic_write, check_output_path
from medrega_edge.output.overlay import COLOURS

MOST = 255  # regions with a value of their own in 8 bits
_PNG, _NIFTI = ".png", (".nii", ".nii.gz")
MILLIMETRE = 2  # NIfTI's code of the unit


def check_mask_path(path: Path, *inputs: Path) -> None:
    """Raise UsageError, before any work, for a path of another format, that cannot be written or is one of `inputs`.

    Raises ResourceError for a NIfTI file where nibabel is missing.
    """
    if not path.name.lower().endswith((_PNG, *_NIFTI)):
        raise UsageError("output.not_a_mask_file")
    if not path.name.lower().endswith(_PNG):
        nibabel_module()
    check_output_path(path, *inputs)


def write_masks(answer: Answer, path: Path) -> None:
    """Write the masks of an answer, whole or not at all.

    Raises UsageError and ResourceError as `check_mask_path`, and UsageError for too many regions.
    """
    check_mask_path(path)
    values = label_picture(answer)
    data = _png(values) if path.name.lower().endswith(_PNG) else _nifti(values, answer)
    if path.name.lower().endswith(".gz"):
        data = gzip.compress(data, mtime=0)
    with atomic_write(path) as file:
        file.write(data)


def label_picture(answer: Answer) -> npt.NDArray[np.uint8]:
    """Return the number of the region at each pixel of the image `[height, width]`, 0 where there is none."""
    if len(answer.regions) > MOST:
        raise UsageError("output.too_many_masks", count=len(answer.regions), limit=MOST)
    values = np.zeros((answer.image.height, answer.image.width), np.uint8)
    for number, region in reversed(list(enumerate(answer.regions, 1))):
        if region.mask is not None:
            values[region.mask.inside()] = number
    return values


def _png(values: npt.NDArray[np.uint8]) -> bytes:
    """A palette picture, so that a viewer shows colours and a program reads numbers."""
    picture = Image.fromarray(values, mode="L").convert("P")
    colours = [(0, 0, 0), *(ImageColor.getrgb(COLOURS[i % len(COLOURS)]) for i in range(MOST))]
    picture.putdata(values.reshape(-1).tolist())
    picture.putpalette([part for colour in colours for part in colour])
    file = io.BytesIO()
    picture.save(file, "PNG", optimize=True)
    return file.getvalue()


def _nifti(values: npt.NDArray[np.uint8], answer: Answer) -> bytes:
    """One slice with the picture's columns and rows as its first axes; it states pixel sizes and no place in the patient."""
    nibabel = nibabel_module()
    image = nibabel.Nifti1Image(values.T[:, :, None], None)
    if answer.image.spacing_mm is not None and not answer.image.spacing_areas:
        image.header.set_zooms((*answer.image.spacing_mm, 1.0))
        image.header.set_xyzt_units(MILLIMETRE)
    data: bytes = image.to_bytes()
    return data


def nibabel_module() -> ModuleType:
    """Return nibabel; raises ResourceError where it is not installed."""
    import medrega_edge.images.dicom  # noqa: F401  # imports pydicom before nibabel does

    try:
        import nibabel
    except ImportError:
        raise ResourceError("output.needs_nibabel") from None
    return nibabel
