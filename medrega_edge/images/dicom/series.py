"""A folder of DICOM files -> its series, the slices of each in anatomical order. Only headers are read.

Slices count from 0 towards the patient's head, front or right, as those of a NIfTI volume do. Of a header only kinds,
numbers, sizes and directions go on: a series is described by these and chosen by number, because its own description may
name a patient.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from enum import Enum
from pathlib import Path

from pydicom.dataset import Dataset

from medrega_edge.errors import ChoiceError, ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.header import read_header
from medrega_edge.images.dicom.numbers import number_or_infinity, vector
from medrega_edge.images.medical_image import MAX_BYTES, View, select_index
from medrega_edge.images.signatures import FIRST_BYTES, is_dicom
from medrega_edge.io.atomic import image_names

_KEYWORDS = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber", "InstanceNumber", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "ImageOrientationPatient", "ImagePositionPatient"),
)
_SHOWN_MODALITIES = ("CT", "MR", "CR", "DX", "RF", "XA", "MG", "US", "OP", "OPT", "ES", "SM", "GM", "PT", "NM", "OT")
_NO_PICTURES = (  # modalities of reports, states, plans, curves; SEG and RTDOSE have rows and columns, but of derived data
    *("SR", "PR", "KO", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "REG", "FID", "DOC", "PLAN", "AU", "ECG", "EPS"),
    *("HD", "RESP", "RWV", "SMR", "M3D", "OSS", "POS"),
)
# Planes by the axis that the normal of a slice follows; any other plane is oblique.
_PLANES = (Message("image.sagittal"), Message("image.coronal"), Message("image.axial"))
_COUNTING = (-1, -1, 1)  # slices count to the right, the front, the head; DICOM's axes run to the left, the back, the head
_MIN_ALIGNMENT = 0.9  # of the normal with an axis, for the plane to have that axis' name
_MIN_STEP = 0.01  # millimetres; slices nearer than this lie at the same position
_MAX_GAPS = 3  # in a warning
_MAX_LISTED = 20  # in an error
_HEADER_BYTES = 1 << 20  # nearly every header is shorter


class LeftOut(Enum):
    """Why a file belongs to no series."""

    NO_DICOM = "no_dicom"
    DAMAGED = "damaged"
    NO_PICTURE = "no_picture"
    COPY = "copy"

    def count(self, files: int) -> Message:
        """What a note says of so many files."""
        if self is LeftOut.NO_DICOM:
            return Message("dicom.left_out_no_dicom", count=files)
        if self is LeftOut.DAMAGED:
            return Message("dicom.left_out_damaged", count=files)
        if self is LeftOut.NO_PICTURE:
            return Message("dicom.left_out_no_picture", count=files)
        return Message("dicom.left_out_copies", count=files)


@dataclass(frozen=True)
class Picture:
    """One picture of a series: the path of its file below the folder, and its frame if the file holds several."""

    name: str
    frame: int | None = None


@dataclass(frozen=True)
class Series:
    """The files of one series in anatomical order, each with its number of pictures.

    `description` distinguishes the series from others. `notes` are for the user.
    """

    files: tuple[tuple[str, int], ...]
    description: Message
    notes: tuple[Message, ...]

    @property
    def count(self) -> int:
        """Number of pictures."""
        return sum(frames for _, frames in self.files)

    def picture(self, index: int) -> Picture:
        """The picture at `index`, counted from 0; raises IndexError."""
        for name, frames in self.files:
            if index < frames:
                return Picture(name, index if frames > 1 else None)
            index -= frames
        raise IndexError


@dataclass(frozen=True)
class SelectedSlice:
    """A picture of a folder, the numbers of its series and slice, and notes for the user.

    `slice` is None if the series has a single picture.
    """

    picture: Picture
    series: int
    slice: int | None
    notes: tuple[Message, ...]


@dataclass(frozen=True)
class FolderScan:
    """The series of a folder, the files that belong to none by the reason why, and the number of studies.

    Several studies may be those of several patients.
    """

    series: tuple[Series, ...]
    left_out: dict[LeftOut, tuple[str, ...]]
    studies: int

    def notes(self, *reasons: LeftOut) -> tuple[Message, ...]:
        """Notes about the folder; files that belong to no series for these `reasons` are counted."""
        counts = [reason.count(len(self.left_out[reason])) for reason in reasons if self.left_out[reason]]
        notes = [Message("dicom.left_out", files=counts)] if counts else []
        if self.studies > 1:
            notes.append(Message("dicom.several_studies", count=self.studies))
        return tuple(notes)


@dataclass(frozen=True)
class _Header:
    """What sorts pictures into series and orders them; missing numbers are infinite."""

    name: str
    study: str
    series: str
    instance: str
    series_number: float
    instance_number: float
    modality: str
    size: tuple[int, int]  # columns, rows
    frames: int
    cosines: tuple[float, ...] | None  # directions of rows and columns in the patient
    position: tuple[float, ...] | None  # of the first pixel, millimetres


def select_slice(folder: Path, view: View) -> SelectedSlice:
    """Select one picture of a folder; without `view.slice` the middle one of its series.

    Raises ImageError, or ChoiceError if there are several series and the view names none.
    """
    if view.frame is not None or view.plane is not None:
        raise ImageError("dicom.frame_of_a_folder")
    scan = scan_folder(folder, image_names(folder))
    if not scan.series:
        raise ImageError("dicom.folder_without_picture")
    number = select_series(scan, view.series)
    series = scan.series[number]
    count = series.count
    wanted = count // 2 if view.slice is None and count > 1 else view.slice
    index = select_index(wanted, count, Message("dicom.chosen_series"), Message("image.slice"), "--slice")
    notes = list(series.notes)
    if index is not None:
        where = Message("dicom.slice_of_series", number=index, count=count, series=number, description=series.description)
        notes[:0] = [where, Message("dicom.middle_slice")] if view.slice is None else [where]
    return SelectedSlice(series.picture(index or 0), number, index, (*notes, *scan.notes(*LeftOut)))


def select_series(scan: FolderScan, wanted: int | None) -> int:
    """The wanted series, or the only one; raises ImageError, or ChoiceError if there are several and none is wanted."""
    last = len(scan.series) - 1
    if last < 0:
        raise ImageError("dicom.folder_without_series")
    if wanted is None and last > 0:
        listed = [
            Message("dicom.numbered_series", number=number, series=series.description)
            for number, series in enumerate(scan.series[:_MAX_LISTED])
        ]
        if last >= _MAX_LISTED:
            listed.append(Message("dicom.more_series"))
        raise ChoiceError("dicom.several_series", count=last + 1, option="--series", series=listed)
    if wanted is not None and not 0 <= wanted <= last:
        raise ImageError("dicom.no_series", series=wanted, last=last)
    return wanted or 0


def scan_folder(folder: Path, names: Sequence[str]) -> FolderScan:
    """Sort the files `names` below a folder into series; files that cannot be read as DICOM belong to none."""
    left_out: dict[LeftOut, list[str]] = {reason: [] for reason in LeftOut}
    groups: dict[tuple[str, str], list[_Header]] = {}
    instances: set[str] = set()
    for name in names:
        header = _read_header(folder, name)
        if isinstance(header, LeftOut):
            left_out[header].append(name)
        elif header.instance in instances:
            left_out[LeftOut.COPY].append(name)
        else:
            instances |= {header.instance} - {""}
            groups.setdefault((header.study, header.series), []).append(header)
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], min(h.series_number for h in group[1]), group[0][1]))
    series = tuple(_series(headers) for _, headers in ordered)
    return FolderScan(
        series, {reason: tuple(files) for reason, files in left_out.items()}, len({study for study, _ in groups})
    )


def _read_header(folder: Path, name: str) -> _Header | LeftOut:
    """The header of one file, or the reason why the file belongs to no series."""
    try:
        path = folder / name
        with path.open("rb") as file:
            if not is_dicom(file.read(FIRST_BYTES)):
                return LeftOut.NO_DICOM
            if path.stat().st_size > MAX_BYTES:
                return LeftOut.DAMAGED
            for size in (_HEADER_BYTES, -1):  # the whole file only if its header is longer, or deflated
                file.seek(0)
                header = _parse(name, file.read(size))
                if header is not LeftOut.DAMAGED:
                    return header
    except OSError:
        pass  # reading the picture itself will fail with a reason
    return LeftOut.DAMAGED


def _parse(name: str, data: bytes) -> _Header | LeftOut:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's would quote header values, and they may be a patient's
        try:
            return _header(name, read_header(data, Message("dicom.chosen_picture"), _KEYWORDS))
        except MemoryError:
            raise
        except Exception:  # whatever pydicom raises on damage
            return LeftOut.DAMAGED


def _header(name: str, dataset: Dataset) -> _Header | LeftOut:
    modality = str(dataset.get("Modality", ""))
    if modality in _NO_PICTURES:
        return LeftOut.NO_PICTURE
    if "Rows" not in dataset or "Columns" not in dataset:
        return LeftOut.DAMAGED
    return _Header(
        name=name,
        study=str(dataset.get("StudyInstanceUID", "")),
        series=str(dataset.get("SeriesInstanceUID", "")),
        instance=str(dataset.get("SOPInstanceUID", "")),
        series_number=number_or_infinity(dataset.get("SeriesNumber")),
        instance_number=number_or_infinity(dataset.get("InstanceNumber")),
        modality=modality,
        size=(int(dataset.Columns), int(dataset.Rows)),
        frames=max(int(dataset.get("NumberOfFrames") or 1), 1),
        cosines=vector(dataset.get("ImageOrientationPatient"), 6),
        position=vector(dataset.get("ImagePositionPatient"), 3),
    )


def _series(headers: list[_Header]) -> Series:
    """Order the pictures of one series and describe it."""
    plane_and_positions = _positions(headers)
    if plane_and_positions is None:
        ordered = sorted(headers, key=lambda header: header.instance_number)  # equal numbers stay in the order of names
        plane, notes = None, [Message("dicom.ordered_by_number")]
    else:
        plane, positions = plane_and_positions
        ordered = sorted(headers, key=lambda header: (positions[header.name], header.instance_number))
        notes = _position_notes([positions[header.name] for header in ordered])
    files = tuple((header.name, header.frames) for header in ordered)
    pictures = sum(frames for _, frames in files)
    return Series(files, _description(headers, plane, pictures), tuple(notes) if len(files) > 1 else ())


def _description(headers: list[_Header], plane: Message | None, count: int) -> Message:
    """Modality, number and size of the pictures of a series, and the plane of its slices if it is known."""
    named = headers[0].modality in _SHOWN_MODALITIES
    modality = headers[0].modality if named else Message("dicom.unknown_modality")
    width, height = headers[0].size
    one_size = len({header.size for header in headers}) == 1
    size = Message("dicom.size", width=width, height=height) if one_size else Message("dicom.several_sizes")
    if count == 1:
        return Message("dicom.single_picture", modality=modality, size=size)
    if plane is None:
        return Message("dicom.pictures", modality=modality, count=count, size=size)
    return Message("dicom.slices", modality=modality, count=count, plane=plane, size=size)


def _positions(headers: list[_Header]) -> tuple[Message, dict[str, float]] | None:
    """The plane's name and the position of each file along its normal in millimetres.

    None if a file does not state its position, holds several frames, or lies in another direction than the first.
    """
    cosines = headers[0].cosines
    if cosines is None or any(
        header.frames > 1 or header.position is None or not _is_parallel(header.cosines, cosines) for header in headers
    ):
        return None
    across, down = cosines[:3], cosines[3:]
    normal = [across[k - 2] * down[k - 1] - across[k - 1] * down[k - 2] for k in range(3)]  # the cross product
    axis = max(range(3), key=lambda k: abs(normal[k]))
    if abs(normal[axis]) < 0.5:
        return None  # the two directions are not at a right angle
    sign = math.copysign(1.0, normal[axis]) * _COUNTING[axis]
    plane = _PLANES[axis] if abs(normal[axis]) > _MIN_ALIGNMENT else Message("dicom.oblique")
    positions = {
        header.name: sign * sum(a * b for a, b in zip(normal, header.position or (), strict=True)) for header in headers
    }
    return plane, positions


def _is_parallel(cosines: tuple[float, ...] | None, others: tuple[float, ...]) -> bool:
    return cosines is not None and max(abs(a - b) for a, b in zip(cosines, others, strict=True)) < 1e-3


def _position_notes(positions: list[float]) -> list[Message]:
    """Notes on slices that seem to be missing and on slices at the same position; `positions` are sorted."""
    distinct = [positions[0]]
    shared = 0
    first_slice = [0]  # at each distinct position
    for number, position in enumerate(positions[1:], 1):
        if position - distinct[-1] < _MIN_STEP:
            shared += 1
            continue
        distinct.append(position)
        first_slice.append(number)
    notes = []
    steps = [after - before for before, after in zip(distinct, distinct[1:], strict=False)]
    usual = sorted(steps)[(len(steps) - 1) // 2] if steps else 0.0
    gaps = [index for index, step in enumerate(steps) if step > 1.5 * usual]
    if gaps:
        missing = sum(round(steps[index] / usual) - 1 for index in gaps)
        ends = [first_slice[index + 1] for index in gaps[:_MAX_GAPS]]
        where = [Message("dicom.gap", before=end - 1, after=end) for end in ends]
        if len(gaps) > _MAX_GAPS:
            where.append(Message("dicom.elsewhere"))
        notes.append(Message("dicom.missing_slices", count=missing, gaps=where))
    if shared:
        notes.append(Message("dicom.shared_positions", count=shared))
    return notes
