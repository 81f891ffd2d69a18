"""NIfTI -> MedicalImage: one slice of a volume, turned to the view that radiologists are used to.

Knows planes and the volume's own orientation; reads through nibabel, which is an extra. The header's sizes are held
against the bytes before nibabel touches the voxels.
"""

from __future__ import annotations

import math
import zlib
from typing import Any

import numpy as np

from medrega_edge.errors import ImageError, ResourceError, UsageError
from medrega_edge.images.dicom.validation import inflate
from medrega_edge.images.medical_image import MedicalImage, Source, View, as_image_error, check_size, choose
from medrega_edge.images.windowing import full_range, parse_window, through_window, to_rgb

# A volume turned so that its axes run to the patient's right, front and head (nibabel's RAS+): for each plane the axis
# that is cut, and what stands at the left, top, right and bottom when the two others are shown from their far ends.
PLANES = {"axial": (2, ("R", "A", "L", "P")), "coronal": (1, ("R", "H", "L", "F")), "sagittal": (0, ("A", "H", "P", "F"))}
_WORDS = {"R": "the right", "A": "the front"}

_MARKS = ((348, 344, b"n+1\0"), (540, 4, b"n+2\0"))  # the header's length, and where its magic stands


def is_nifti(data: bytes) -> bool:
    """Whether these bytes begin as a NIfTI file does, packed by gzip or not."""
    if data.startswith(b"\x1f\x8b"):
        try:
            data = zlib.decompressobj(31).decompress(data[:4096], 600)
        except zlib.error:
            return False
    lengths = (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
    return any(length in lengths and data[at : at + 4] == magic for length, at, magic in _MARKS)


def read_nifti(source: Source, view: View) -> MedicalImage:
    """Read one slice of a NIfTI volume; raises ImageError, UsageError, or ResourceError where nibabel is missing."""
    try:
        import nibabel
        from nibabel import imageglobals
    except ImportError:
        raise ResourceError(
            f"{source.name} is a NIfTI file; to read it, install: pip install 'medrega-edge[nifti]'."
        ) from None
    name = source.name
    plane = view.plane or "axial"
    if plane not in PLANES:
        raise UsageError(f"There is no plane '{plane[:20]}'; choose one of: {', '.join(PLANES)}.")
    axis, sides = PLANES[plane]
    imageglobals.logger.disabled = True  # it would write to standard error what it mends in a header
    data = inflate(source.data, 31, name) if source.data.startswith(b"\x1f\x8b") else source.data
    with as_image_error(f"{name} is a damaged NIfTI file and cannot be read; export it again."):
        kind: Any = nibabel.Nifti2Image if data[4:7] == b"n+2" else nibabel.Nifti1Image
        volume = kind.from_bytes(data)
        shape = _checked_shape(volume, len(data) - int(volume.dataobj.offset), name)
        ornt = np.asarray(nibabel.io_orientation(volume.affine))
        if not np.isfinite(ornt).all():
            raise ImageError(f"{name} does not say how its axes lie in the patient; export it again.")
        axes = [int(np.flatnonzero(ornt[:, 0] == want)[0]) for want in range(3)]  # RAS axis -> axis of the file
        flips = [ornt[own, 1] < 0 for own in axes]
        across, down = (want for want in range(3) if want != axis)
        check_size(shape[axes[across]], shape[axes[down]], name)
        count = shape[axes[axis]]
        chosen = choose(view.slice, count, name, f"{plane} slice", "--slice")
        frame = choose(view.frame, shape[3] if len(shape) > 3 else 1, name)
        at = chosen or 0
        index: list[Any] = [slice(None)] * 3 + [frame or 0] * (len(shape) - 3)
        index[axes[axis]] = count - 1 - at if flips[axis] else at
        values = np.asarray(volume.dataobj[tuple(index)], dtype=np.float32)
        if axes[across] > axes[down]:
            values = values.T
        # Towards the right, front and head now; the picture begins at their far ends, and its first axis goes down.
        values = values[:: 1 if flips[across] else -1, :: 1 if flips[down] else -1].T
        if not np.isfinite(values).all():
            raise ImageError(f"{name} has values that are no numbers; export it again.")
        zooms = [float(zoom) for zoom in volume.header.get_zooms()[:3]]
        is_placed = int(volume.header["qform_code"]) > 0 or int(volume.header["sform_code"]) > 0
    window = full_range(values) if view.window is None else parse_window(view.window)
    grey = through_window(values, window, "LINEAR_EXACT" if view.window is None else "LINEAR")
    said = [f"{plane} slice {at} of {count}, seen as radiologists do: {_WORDS[sides[0]]} of the patient is on the left"]
    if not is_placed:
        said.append("the file does not say how the patient lay: left and right may be swapped")
    spacing = (zooms[axes[across]], zooms[axes[down]])
    known = all(math.isfinite(zoom) and 0 < zoom < 1000 for zoom in spacing)
    spacing_mm = spacing if known else None
    pixels = to_rgb(grey)
    return MedicalImage(
        pixels, source.sha256, source.path, None, frame, window, spacing_mm, sides, tuple(said), slice=chosen
    )


def _checked_shape(volume: Any, size: int, name: str) -> tuple[int, ...]:
    """The volume's shape, held against the `size` of its voxels in bytes; raises ImageError."""
    shape = tuple(int(side) for side in volume.shape)
    if not 3 <= len(shape) <= 4:
        raise ImageError(f"{name} has {len(shape)} dimensions; volumes of three, or four with time, are read.")
    kind = volume.header.get_data_dtype()
    if kind.kind not in "iuf" or min(shape) < 1 or math.prod(shape) * kind.itemsize > size:
        raise ImageError(f"{name} claims more voxels than it holds, or of a kind that is no grey; export it again.")
    return shape
