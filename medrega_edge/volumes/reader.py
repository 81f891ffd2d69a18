"""A series of DICOM files, a file with several frames, or a NIfTI volume -> its slices, read one at a time.

Pixels of one slice are in memory at a time; of a compressed NIfTI file also its inflated bytes.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from statistics import median

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.inflating import GzipReader, compression_errors
from medrega_edge.images.medical_image import MAX_BYTES, MedicalImage, Source, View
from medrega_edge.images.nifti import slices_of
from medrega_edge.images.reader import read_bytes, read_file, read_picture
from medrega_edge.images.signatures import GZIP_MAGIC, is_dicom, is_nifti
from medrega_edge.io.atomic import image_names
from medrega_edge.volumes.grid import Grid, grid_of_series


def no_grid() -> Grid:
    """Raise ImageError: nothing states where the pixels lie."""
    raise ImageError("volume.no_grid")


@dataclass(frozen=True)
class Volume:
    """The slices of one volume, counted from 0 towards the patient's head, front or right.

    `read` reads one slice and raises ImageError. `step_mm` is the usual distance of two slices, None where it is unknown;
    `positions` are those of all slices in millimetres, empty where unknown. `notes` are for the user. `key` tells it from
    other volumes and other states of its files. `grid` tells where its pixels lie, and raises ImageError where the files do
    not. `files` are those of a DICOM series, each with its frame, in the order of slices.
    """

    count: int
    read: Callable[[int], MedicalImage]
    step_mm: float | None
    positions: tuple[float, ...] = ()
    notes: tuple[Message, ...] = ()
    key: tuple[object, ...] = ()
    grid: Callable[[], Grid] = no_grid
    files: tuple[tuple[Path, int | None], ...] = ()

    def thickness_mm(self, first: int, last: int) -> float | None:
        """Return the distance from the lower face of slice `first` to the upper face of slice `last`, if it is known."""
        if self.step_mm is None:
            return None
        if self.positions:
            return self.positions[last] - self.positions[first] + self.step_mm
        return (last - first + 1) * self.step_mm


def open_volume(source: str | Path, view: View = View()) -> Volume:
    """Open a folder with DICOM files, a DICOM file with several frames, or a NIfTI file, without reading its slices.

    `view.series` chooses among series, `view.plane` and `view.frame` cut a NIfTI volume. Raises ImageError for what has one
    slice only, or several at one position; ChoiceError if there are several series and the view names none.
    """
    path = Path(source)
    if view.slice is not None:
        raise ImageError("volume.slice_given")
    if os.path.isdir(path):
        return open_series(path, image_names(path), view)
    data = read_file(path)
    if is_nifti(data):
        return _of_nifti(data, str(path), view)
    if is_dicom(data):
        return open_series(path.parent, [path.name], view)
    raise ImageError("volume.no_volume")


def open_series(folder: Path, names: Sequence[str], view: View = View()) -> Volume:
    """Open the series that the files `names` below a folder hold; raises as `open_volume`."""
    from medrega_edge.images.dicom.series import MIN_STEP, LeftOut, scan_folder, select_series

    if view.frame is not None or view.plane is not None:
        raise ImageError("dicom.frame_of_a_folder")
    scan = scan_folder(folder, names)
    if not scan.series:
        raise ImageError("dicom.folder_without_picture")
    number = select_series(scan, view.series)
    series = scan.series[number]
    if series.count < 2:
        raise ImageError("volume.single_slice")
    steps = [after - before for before, after in pairwise(series.positions)]
    if any(step < MIN_STEP for step in steps):
        raise ImageError("volume.shared_positions", count=sum(step < MIN_STEP for step in steps))

    pictures = [series.picture(index) for index in range(series.count)]
    files = tuple((folder / picture.name, picture.frame) for picture in pictures)

    def read(index: int) -> MedicalImage:
        return replace(read_picture(folder, series.picture(index), view), series=number, slice=index)

    return Volume(
        series.count,
        read,
        median(steps) if steps else None,
        series.positions,
        (*series.notes, *scan.notes(*LeftOut)),
        tuple((name, *_state(folder / name)) for name, _ in series.files),
        lambda: grid_of_series(files),
        files,
    )


def _state(path: Path) -> tuple[int, int]:
    """What changes with a file."""
    try:
        stat = path.stat()
    except OSError:  # the slice's own error says it better
        return 0, 0
    return stat.st_size, stat.st_mtime_ns


def _of_nifti(data: bytes, path: str, view: View) -> Volume:
    if view.series is not None:
        raise ImageError("image.series_of_a_file")
    name, sha256 = Message("image.given"), hashlib.sha256(data).hexdigest()
    slices = slices_of(Source(data, name, path, ""), view)
    if slices.number < 2:
        raise ImageError("volume.single_slice")
    if data.startswith(GZIP_MAGIC):  # else every slice would inflate the file from its start
        with compression_errors(name):
            data = GzipReader(data).read(MAX_BYTES)

    def read(index: int) -> MedicalImage:
        return replace(read_bytes(data, name, path, replace(view, slice=index)), sha256=sha256)

    def grid() -> Grid:
        return no_grid() if slices.affine is None else Grid(slices.affine, slices.axes)

    return Volume(slices.number, read, slices.step_mm, key=(sha256,), grid=grid)
