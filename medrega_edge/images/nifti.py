"""NIfTI -> MedicalImage: one slice of a volume in the orientation that radiologists are used to.

nibabel, an extra, reads the file. The sizes in the header are checked against the bytes before it decodes a voxel.
"""

from __future__ import annotations

import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt

from medrega_edge.errors import ImageError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.inflating import GzipReader, compression_errors
from medrega_edge.images.medical_image import (
    MAX_BYTES,
    MedicalImage,
    Source,
    View,
    as_image_error,
    check_size,
    select_index,
)
from medrega_edge.images.signatures import GZIP_MAGIC
from medrega_edge.images.windowing import (
    FROM_FILE,
    FROM_PRESET,
    FROM_USER,
    FROM_VALUES,
    NEARLY_ALL,
    PRESETS,
    Window,
    apply_window,
    automatic_window,
    few_shades,
    parse_window,
    to_rgb,
    voi_function,
    window_step,
)


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
    spacing_mm: tuple[float, float] | None
    axes_from: str
    notes: list[Message]


class _Geometry(NamedTuple):
    """How the axes of a file lie in the patient.

    `orientation` is nibabel's: for each axis of the file its RAS axis and its direction. `spacing_mm` is the size of a voxel
    along these axes, NaN where it is unknown. `directions` are the axes as unit columns; `affine` is in millimetres.
    `source` is "sform", "qform", or empty where the file states neither.
    """

    source: str
    orientation: npt.NDArray[np.floating]
    spacing_mm: list[float]
    directions: npt.NDArray[np.floating]
    affine: npt.NDArray[np.floating]
    notes: list[Message]


_MILLIMETRES = {0: 1.0, 1: 1000.0, 2: 1.0, 3: 0.001}  # by the code of the unit: none, metre, millimetre, micrometre
_MIN_ALIGNMENT = 0.9  # of an axis of the file with one of the patient, as for a series of DICOM files
_AIR = (-1100.0, -900.0)  # Hounsfield units
_MAX_LEAN = 0.02  # the cosine between two axes of a picture at right angles: one degree
_MIN_AIR = 0.05  # of a slice, for its values to look like Hounsfield units


def read_nifti(source: Source, view: View) -> MedicalImage:
    """Read one slice of a NIfTI volume; raises ImageError, UsageError, or ResourceError where nibabel is missing."""
    name = source.name
    plane = _plane(view)
    with _opened(source) as (volume, shape, packed, claimed):
        try:
            cut = _cut(volume, shape, _geometry(volume, name), plane, view, name)
        except (OSError, ValueError):  # the slice may be missing
            _check_length(packed, claimed, name)
            raise
        _check_length(packed, claimed, name)
    window, function, origin, window_notes = _window(cut.values, volume.header, view)
    notes = [
        Message("image.slice_of_volume", plane=plane.name, number=cut.slice or 0, count=cut.slice_count, side=plane.left),
        *cut.notes,
        *window_notes,
    ]
    return MedicalImage(
        to_rgb(apply_window(cut.values, window, function)),
        source.sha256,
        source.path,
        frame=cut.frame,
        slice=cut.slice,
        window=window,
        window_function=voi_function(window, function),
        spacing_mm=cut.spacing_mm,
        patient_orientation=plane.orientation,
        warnings=tuple(notes),
        reading=(*_steps(volume, cut), window_step(window, voi_function(window, function), origin)),
        values=cut.values,
    )


class Slices(NamedTuple):
    """The slices of a volume in one plane: their number, their distance in millimetres if it is known, and their place.

    `affine` `[4, 4]` takes column, row and slice, as they are shown, to millimetres to the patient's right, front and head;
    None where the file does not state it. `axes` is nibabel's orientation of the file.
    """

    number: int
    step_mm: float | None
    affine: npt.NDArray[np.floating] | None
    axes: npt.NDArray[np.floating]


def slices_of(source: Source, view: View) -> Slices:
    """Return the slices of a volume in the plane of `view`; raises as `read_nifti`."""
    plane = _plane(view)
    with _opened(source) as (volume, shape, packed, claimed):
        geometry = _geometry(volume, source.name)
        axis = int(np.flatnonzero(geometry.orientation[:, 0] == plane.axis)[0])
        _check_length(packed, claimed, source.name)
    step = geometry.spacing_mm[axis]
    is_known = math.isfinite(step) and 0 < step < 1000
    affine = _affine_as_shown(geometry, shape, plane) if geometry.source and np.isfinite(geometry.spacing_mm).all() else None
    return Slices(shape[axis], step if is_known else None, affine, geometry.orientation)


def _affine_as_shown(geometry: _Geometry, shape: tuple[int, ...], plane: _Plane) -> npt.NDArray[np.floating]:
    """Where column, row and slice of the pictures lie: they begin at the far ends of two axes, slices at the near end."""
    from nibabel.orientations import inv_ornt_aff

    canonical = geometry.affine @ inv_ornt_aff(geometry.orientation, shape[:3])
    sizes = [shape[int(np.flatnonzero(geometry.orientation[:, 0] == ras)[0])] for ras in range(3)]
    across, down = (ras for ras in range(3) if ras != plane.axis)
    shown = np.zeros((4, 4))
    shown[across, 0], shown[across, 3] = -1, sizes[across] - 1
    shown[down, 1], shown[down, 3] = -1, sizes[down] - 1
    shown[plane.axis, 2], shown[3, 3] = 1, 1
    return np.asarray(canonical @ shown)


def _plane(view: View) -> _Plane:
    if view.plane is not None and view.plane not in PLANES:
        raise UsageError("image.no_plane", plane=view.plane[:20], planes=list(PLANES))
    return PLANES[view.plane or "axial"]


@contextmanager
def _opened(source: Source) -> Iterator[tuple[Any, tuple[int, ...], GzipReader | None, int]]:
    """Open a volume; yields it with its shape, its inflating stream if it is compressed, and the bytes that it claims."""
    import medrega_edge.images.dicom  # noqa: F401  # imports pydicom before nibabel does

    name = source.name
    try:
        import nibabel
        from nibabel import imageglobals
    except ImportError:
        raise ResourceError("image.needs_nibabel", image=name) from None
    imageglobals.logger.disabled = True  # it would write its repairs of a header to standard error
    packed = GzipReader(source.data) if source.data.startswith(GZIP_MAGIC) else None
    stream = packed or io.BytesIO(source.data)
    with as_image_error(Message("image.damaged_nifti", image=name)), compression_errors(name):
        nifti_class: Any = nibabel.Nifti2Image if stream.read(7)[4:7] == b"n+2" else nibabel.Nifti1Image
        stream.seek(0)
        volume = nifti_class.from_stream(stream)
        shape = _checked_shape(volume, name)
        if volume.dataobj.offset < volume.header.single_vox_offset:
            raise ImageError("image.voxels_in_header", image=name)
        claimed = int(volume.dataobj.offset) + math.prod(shape) * volume.header.get_data_dtype().itemsize
        if not packed and claimed > len(source.data):
            raise ImageError("image.voxels_missing", image=name)
        if claimed > MAX_BYTES:
            raise ImageError("image.large_volume", image=name, limit=MAX_BYTES >> 20)
        yield volume, shape, packed, claimed


def _steps(volume: Any, cut: _Cut) -> Iterator[Message]:
    """How the values of a slice were read."""
    shape = " x ".join(map(str, volume.shape))
    yield Message("reading.nifti", kind=str(volume.header.get_data_dtype()), shape=shape)
    slope, intercept = float(volume.dataobj.slope), float(volume.dataobj.inter)
    if (slope, intercept) != (1.0, 0.0):
        yield Message("reading.rescale", slope=slope, intercept=intercept)
    if cut.axes_from:
        yield Message("reading.axes", source=cut.axes_from)


def _geometry(volume: Any, name: Message) -> _Geometry:
    """How the axes of a file lie in the patient: by the sform, else the qform, else as they are; raises ImageError."""
    import nibabel

    header = volume.header
    notes: list[Message] = []
    stated = [kind for kind in ("sform", "qform") if int(header[f"{kind}_code"]) > 0]
    usable: dict[str, tuple[npt.NDArray[np.floating], npt.NDArray[np.floating]]] = {}
    for kind in stated or [""]:
        try:
            affine = getattr(header, f"get_{kind}")() if kind else header.get_base_affine()
        except ValueError:  # a quaternion that is none
            continue
        ornt = np.asarray(nibabel.io_orientation(affine)) if np.isfinite(affine).all() else np.full((3, 2), np.nan)
        if np.isfinite(ornt).all():
            usable[kind] = affine, ornt
    if not usable:
        raise ImageError("image.no_orientation", image=name)
    kind, (affine, ornt) = next(iter(usable.items()))
    if not all(np.array_equal(ornt, other) for _, other in usable.values()):
        notes.append(Message("image.two_orientations"))
    if not kind:
        notes.append(Message("image.patient_side_unknown"))
    elif kind != stated[0]:
        notes.append(Message("image.sform_unusable"))
    sizes = np.linalg.norm(affine[:3, :3], axis=0)
    if (np.abs(affine[:3, :3]).max(axis=0) < _MIN_ALIGNMENT * sizes).any():
        notes.append(Message("image.oblique_volume"))
    millimetres = _MILLIMETRES.get(int(header["xyzt_units"]) & 7)
    if kind and not np.allclose(sizes, np.abs(header["pixdim"][1:4]), rtol=0.01):
        millimetres = None
        notes.append(Message("image.two_scales"))
    spacing = [math.nan] * 3 if millimetres is None else [float(f"{size * millimetres:.6g}") for size in sizes]
    in_millimetres = np.array(affine, float)
    in_millimetres[:3] *= millimetres or math.nan
    return _Geometry(kind, ornt, spacing, affine[:3, :3] / sizes, in_millimetres, notes)


def _window(values: npt.NDArray[np.float32], header: Any, view: View) -> tuple[Window, str, Message, tuple[Message, ...]]:
    """The window of a slice with its VOI LUT Function and where it comes from: user, file, preset for CT, or values."""
    if view.window is not None:
        return parse_window(view.window), "LINEAR", FROM_USER, ()
    low, high = float(header["cal_min"]), float(header["cal_max"])
    lowest, highest = float(values.min()), float(values.max())
    window = (low + high) / 2, high - low
    is_narrower = math.isfinite(high - low) and low < high and (lowest < low < highest or lowest < high < highest)
    # Programs leave a display range behind that fits other values.
    if is_narrower and few_shades(to_rgb(apply_window(values, window, "LINEAR_EXACT"))) < NEARLY_ALL:
        return window, "LINEAR_EXACT", FROM_FILE, (Message("image.display_range", centre=window[0], width=window[1]),)
    if np.mean((values >= _AIR[0]) & (values <= _AIR[1])) > _MIN_AIR and highest > 0:
        centre, width = PRESETS[view.default_preset]
        note = Message("image.like_hounsfield", preset=view.default_preset, centre=centre, width=width)
        return (centre, width), "LINEAR", FROM_PRESET, (note,)
    window, notes = automatic_window(values)
    return window, "LINEAR_EXACT", FROM_VALUES, notes


def _cut(volume: Any, shape: tuple[int, ...], geometry: _Geometry, plane: _Plane, view: View, name: Message) -> _Cut:
    """Cut the slice that `view` names; raises ImageError or ChoiceError."""
    ornt = geometry.orientation
    axes = [int(np.flatnonzero(ornt[:, 0] == ras)[0]) for ras in range(3)]  # RAS axis -> axis of the file
    flips = [ornt[file_axis, 1] < 0 for file_axis in axes]
    across, down = (ras for ras in range(3) if ras != plane.axis)
    check_size(shape[axes[across]], shape[axes[down]], name)
    count = shape[axes[plane.axis]]
    chosen = select_index(view.slice, count, name, Message("image.plane_slice", plane=plane.name), "--slice")
    frame = select_index(view.frame, shape[3] if len(shape) > 3 else 1, name)
    index: list[Any] = [slice(None)] * 3 + [frame or 0, 0, 0, 0][: volume.ndim - 3]
    index[axes[plane.axis]] = count - 1 - (chosen or 0) if flips[plane.axis] else chosen or 0
    values = np.asarray(volume.dataobj[tuple(index)], dtype=np.float32)
    if axes[across] > axes[down]:
        values = values.T
    # Towards the right, front and head now; the picture begins at their far ends, and its first axis goes down.
    values = values[:: 1 if flips[across] else -1, :: 1 if flips[down] else -1].T
    if not np.isfinite(values).all():
        raise ImageError("image.not_a_number", image=name)
    right_angle = abs(geometry.directions[:, axes[across]] @ geometry.directions[:, axes[down]]) <= _MAX_LEAN
    notes = [*geometry.notes, *(() if right_angle else (Message("image.sheared"),))]
    spacing = geometry.spacing_mm[axes[across]], geometry.spacing_mm[axes[down]]
    is_scaled = all(math.isfinite(mm) and 0 < mm < 1000 for mm in spacing)
    return _Cut(values, chosen, frame, count, spacing if is_scaled else None, geometry.source, notes)


def _check_length(packed: GzipReader | None, claimed: int, name: Message) -> None:
    """Read a compressed file to its end, which checks its sums; raises ImageError if it holds fewer bytes than it claims."""
    if packed is None:
        return
    held = packed.read_to_end()
    if held > MAX_BYTES:
        raise ImageError("image.large_volume", image=name, limit=MAX_BYTES >> 20)
    if held < claimed:
        raise ImageError("image.voxels_missing", image=name)


def _checked_shape(volume: Any, name: Message) -> tuple[int, ...]:
    """The shape, without the axes of length 1 behind time; raises ImageError for what is no volume of a usual size."""
    shape = tuple(int(length) for length in volume.shape)
    while len(shape) > 4 and shape[-1] == 1:
        shape = shape[:-1]
    if not 3 <= len(shape) <= 4:
        raise ImageError("image.wrong_dimensions", image=name, count=len(shape))
    kind = volume.header.get_data_dtype()
    if kind.kind not in "iuf":
        raise ImageError("image.voxels_not_grey", image=name, kind="RGB" if kind.fields else str(kind))
    if min(shape) < 1:
        raise ImageError("image.voxels_missing", image=name)
    return shape
