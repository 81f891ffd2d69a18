"""NIfTI -> MedicalImage: one slice of a volume in the orientation that radiologists are used to.

nibabel, an extra, reads the file. The sizes in the header are checked against the bytes before it decodes a voxel.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import ImageError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.inflating import inflate
from medrega_edge.images.medical_image import MedicalImage, Source, View, as_image_error, check_size, select_index
from medrega_edge.images.signatures import GZIP_MAGIC
from medrega_edge.images.windowing import apply_window, full_range, parse_window, to_rgb


class _Plane(NamedTuple):
    """A plane through a volume whose axes run to the patient's right, front and head (nibabel's RAS+).

    `axis` is the axis that is cut. `orientation` are the patient's directions at the left, top, right and bottom of the
    picture, which begins at the far ends of the other two axes. `left` is the first of them in words.
    """

    name: Message
    axis: int
    orientation: tuple[str, str, str, str]
    left: Message


PLANES = {
    "axial": _Plane(Message("image.axial"), 2, ("R", "A", "L", "P"), Message("image.right")),
    "coronal": _Plane(Message("image.coronal"), 1, ("R", "H", "L", "F"), Message("image.right")),
    "sagittal": _Plane(Message("image.sagittal"), 0, ("A", "H", "P", "F"), Message("image.front")),
}


class _Cut(NamedTuple):
    """One slice: values `[rows, columns]` as radiologists see it, its place in the volume, and its pixel size."""

    values: npt.NDArray[np.float32]
    slice: int | None
    frame: int | None
    slice_count: int
    spacing_mm: tuple[float, float]


def read_nifti(source: Source, view: View) -> MedicalImage:
    """Read one slice of a NIfTI volume; raises ImageError, UsageError, or ResourceError where nibabel is missing."""
    import medrega_edge.images.dicom  # noqa: F401  # imports pydicom before nibabel does

    name = source.name
    try:
        import nibabel
        from nibabel import imageglobals
    except ImportError:
        raise ResourceError("image.needs_nibabel", image=name) from None
    if view.plane is not None and view.plane not in PLANES:
        raise UsageError("image.no_plane", plane=view.plane[:20], planes=list(PLANES))
    plane = PLANES[view.plane or "axial"]
    imageglobals.logger.disabled = True  # it would write its repairs of a header to standard error
    data = inflate(source.data, 31, name) if source.data.startswith(GZIP_MAGIC) else source.data
    with as_image_error(Message("image.damaged_nifti", image=name)):
        nifti_class: Any = nibabel.Nifti2Image if data[4:7] == b"n+2" else nibabel.Nifti1Image
        volume = nifti_class.from_bytes(data)
        shape = _checked_shape(volume, len(data) - int(volume.dataobj.offset), name)
        cut = _cut(volume, shape, np.asarray(nibabel.io_orientation(volume.affine)), plane, view, name)
        has_orientation = int(volume.header["qform_code"]) > 0 or int(volume.header["sform_code"]) > 0
    window = full_range(cut.values) if view.window is None else parse_window(view.window)
    grey = apply_window(cut.values, window, "LINEAR_EXACT" if view.window is None else "LINEAR")
    notes = [
        Message("image.slice_of_volume", plane=plane.name, number=cut.slice or 0, count=cut.slice_count, side=plane.left)
    ]
    if not has_orientation:
        notes.append(Message("image.patient_side_unknown"))
    return MedicalImage(
        to_rgb(grey),
        source.sha256,
        source.path,
        frame=cut.frame,
        slice=cut.slice,
        window=window,
        spacing_mm=cut.spacing_mm if all(math.isfinite(mm) and 0 < mm < 1000 for mm in cut.spacing_mm) else None,
        patient_orientation=plane.orientation,
        warnings=tuple(notes),
    )


def _cut(
    volume: Any, shape: tuple[int, ...], ornt: npt.NDArray[np.floating], plane: _Plane, view: View, name: Message
) -> _Cut:
    """Cut the slice that `view` names; `ornt` is nibabel's: for each axis of the file its RAS axis and its direction."""
    if not np.isfinite(ornt).all():
        raise ImageError("image.no_orientation", image=name)
    axes = [int(np.flatnonzero(ornt[:, 0] == ras)[0]) for ras in range(3)]  # RAS axis -> axis of the file
    flips = [ornt[file_axis, 1] < 0 for file_axis in axes]
    across, down = (ras for ras in range(3) if ras != plane.axis)
    check_size(shape[axes[across]], shape[axes[down]], name)
    count = shape[axes[plane.axis]]
    chosen = select_index(view.slice, count, name, Message("image.plane_slice", plane=plane.name), "--slice")
    frame = select_index(view.frame, shape[3] if len(shape) > 3 else 1, name)
    index: list[Any] = [slice(None)] * 3 + [frame or 0] * (len(shape) - 3)
    index[axes[plane.axis]] = count - 1 - (chosen or 0) if flips[plane.axis] else chosen or 0
    values = np.asarray(volume.dataobj[tuple(index)], dtype=np.float32)
    if axes[across] > axes[down]:
        values = values.T
    # Towards the right, front and head now; the picture begins at their far ends, and its first axis goes down.
    values = values[:: 1 if flips[across] else -1, :: 1 if flips[down] else -1].T
    if not np.isfinite(values).all():
        raise ImageError("image.not_a_number", image=name)
    zooms = volume.header.get_zooms()
    return _Cut(values, chosen, frame, count, (float(zooms[axes[across]]), float(zooms[axes[down]])))


def _checked_shape(volume: Any, size: int, name: Message) -> tuple[int, ...]:
    """The shape, if so many voxels fit into `size` bytes; raises ImageError."""
    shape = tuple(int(length) for length in volume.shape)
    if not 3 <= len(shape) <= 4:
        raise ImageError("image.wrong_dimensions", image=name, count=len(shape))
    dtype = volume.header.get_data_dtype()
    if dtype.kind not in "iuf" or min(shape) < 1 or math.prod(shape) * dtype.itemsize > size:
        raise ImageError("image.voxels_missing", image=name)
    return shape
