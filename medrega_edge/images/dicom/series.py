"""A folder of DICOM files -> its series, the slices of each in anatomical order. Only headers are read.

Slices count from 0 towards the patient's head, front or right, as those of a NIfTI volume do. Of a header only kinds,
numbers, sizes and directions go on: a series is described by these and chosen by number, because its own description may
name a patient.
"""

from __future__ import annotations

import math
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import Enum
from functools import cached_property, partial
from itertools import accumulate, pairwise
from pathlib import Path
from typing import NamedTuple

from pydicom.dataset import Dataset
from pydicom.uid import MediaStorageDirectoryStorage

from medrega_edge.domain import MANUFACTURER
from medrega_edge.errors import ChoiceError, ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.functional_groups import frame_value
from medrega_edge.images.dicom.header import read_header
from medrega_edge.images.dicom.numbers import number_or_infinity, vector
from medrega_edge.images.medical_image import MAX_BYTES, View, select_index
from medrega_edge.images.signatures import FIRST_BYTES, is_dicom
from medrega_edge.io.atomic import image_names

HEADER_KEYWORDS = (  # all that is read of a header
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber", "InstanceNumber", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "ImageOrientationPatient", "ImagePositionPatient", "ImageType", "Manufacturer"),
    *("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
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
MIN_STEP = 0.01  # millimetres; slices nearer than this lie at the same position
_MAX_GAPS = 3  # in a warning
_MAX_LISTED = 20  # in an error
_MAX_DIRECTIONS = 3  # of a series that is split by them; slices that turn have more
_ASIDE = 3  # a direction with this many times fewer pictures than another is that of localizers
_TAIL = 1 << 16  # bytes at the end of a file, which are those of its pixels
_HEADER_BYTES = 1 << 20  # nearly every header is shorter


class LeftOut(Enum):
    """Why a file belongs to no series."""

    NO_DICOM = "no_dicom"
    DAMAGED = "damaged"
    NO_PICTURE = "no_picture"
    OWN = "own"  # a result of this program, which is no image of its study
    COPY = "copy"

    def count(self, files: int) -> Message:
        """What a note says of so many files."""
        if self is LeftOut.NO_DICOM:
            return Message("dicom.left_out_no_dicom", count=files)
        if self is LeftOut.DAMAGED:
            return Message("dicom.left_out_damaged", count=files)
        if self is LeftOut.NO_PICTURE:
            return Message("dicom.left_out_no_picture", count=files)
        if self is LeftOut.OWN:
            return Message("dicom.left_out_own", count=files)
        return Message("dicom.left_out_copies", count=files)


@dataclass(frozen=True)
class Picture:
    """One picture of a series: the path of its file below the folder, and its frame if the file holds several."""

    name: str
    frame: int | None = None


@dataclass(frozen=True)
class FilePlaces:
    """Where the pictures of a file stand in a series of `count`: `indices` by their frames, or from `start` on."""

    count: int
    indices: Mapping[int, int]
    start: int | None

    def index_of(self, frame: int) -> int | None:
        """Where a frame, 0 of a file with one picture, stands; None if it is not in the series."""
        return self.indices.get(frame) if self.start is None else self.start + frame


@dataclass(frozen=True)
class Series:
    """The pictures of one series that lie in one direction, in anatomical order.

    `files` holds each file with its number of pictures. `order` are the pictures; without it they are in the order of files
    and frames. `description` distinguishes the series from others. `notes` are for the user. `is_aside` is a localizer's: it
    is chosen by its number only. `positions` are those of the pictures in `order`, in millimetres along their normal.
    """

    files: tuple[tuple[str, int], ...]
    description: Message
    notes: tuple[Message, ...]
    order: tuple[Picture, ...] = ()
    is_aside: bool = False
    positions: tuple[float, ...] = ()

    @cached_property
    def count(self) -> int:
        """Number of pictures."""
        return len(self.order) or sum(frames for _, frames in self.files)

    def picture(self, index: int) -> Picture:
        """The picture at `index`, counted from 0; raises IndexError."""
        if self.order:
            return self.order[index]
        for name, frames in self.files:
            if index < frames:
                return Picture(name, index if frames > 1 else None)
            index -= frames
        raise IndexError

    def places_of(self, name: str) -> FilePlaces:
        """Where the pictures of one file stand in the series."""
        if self.order:
            return FilePlaces(self.count, dict(self._indices.get(name, ())), None)
        return FilePlaces(self.count, {}, self._starts.get(name))

    @cached_property
    def _indices(self) -> dict[str, list[tuple[int, int]]]:
        found: dict[str, list[tuple[int, int]]] = {}
        for index, picture in enumerate(self.order):
            found.setdefault(picture.name, []).append((picture.frame or 0, index))
        return found

    @cached_property
    def _starts(self) -> dict[str, int]:
        before = accumulate((frames for _, frames in self.files), initial=0)
        return {name: start for (name, _), start in zip(self.files, before, strict=False)}


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

    Several studies may be those of several patients. `shared_uids` counts the pictures whose SOP Instance UID another
    picture has.
    """

    series: tuple[Series, ...]
    left_out: dict[LeftOut, tuple[str, ...]]
    studies: int
    shared_uids: int = 0

    def notes(self, *reasons: LeftOut) -> tuple[Message, ...]:
        """Notes about the folder; files that belong to no series for these `reasons` are counted."""
        counts = [reason.count(len(self.left_out[reason])) for reason in reasons if self.left_out[reason]]
        notes = [Message("dicom.left_out", files=counts)] if counts else []
        if self.studies > 1:
            notes.append(Message("dicom.several_studies", count=self.studies))
        if self.shared_uids:
            notes.append(Message("dicom.shared_uids", count=self.shared_uids))
        return tuple(notes)


@dataclass(frozen=True)
class _Header:
    """What sorts pictures into series and orders them; missing numbers are infinite.

    `places` are those of the frames, None where a file does not state one.
    """

    name: str
    study: str
    series: str
    instance: str
    series_number: float
    instance_number: float
    modality: str
    size: tuple[int, int]  # columns, rows
    frames: int
    is_localizer: bool
    has_groups: bool  # functional groups, as multi-frame files have
    places: tuple[_Place, ...] | None


class _Place(NamedTuple):
    """Directions of rows and columns in the patient, and millimetres of the first pixel."""

    cosines: tuple[float, ...]
    position: tuple[float, ...]


class _Placed(NamedTuple):
    """A frame of a file, counted from 0, and where it lies."""

    header: _Header
    frame: int
    place: _Place


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
    if view.series is None and (aside := _numbered(scan, lambda other: other.is_aside)):
        notes.append(Message("dicom.set_aside", series=aside))
    return SelectedSlice(series.picture(index or 0), number, index, (*notes, *scan.notes(*LeftOut)))


def select_series(scan: FolderScan, wanted: int | None) -> int:
    """The wanted series, or the only one beside localizers.

    Raises ImageError, or ChoiceError if there are several and none is wanted.
    """
    last = len(scan.series) - 1
    if last < 0:
        raise ImageError("dicom.folder_without_series")
    main = [number for number, series in enumerate(scan.series) if not series.is_aside]
    if wanted is None and len(main) > 1:
        listed = _numbered(scan, lambda _: True)[: _MAX_LISTED + 1]
        if last >= _MAX_LISTED:
            listed[-1] = Message("dicom.more_series")
        raise ChoiceError("dicom.several_series", count=last + 1, option="--series", series=listed)
    if wanted is not None and not 0 <= wanted <= last:
        raise ImageError("dicom.no_series", series=wanted, last=last)
    return main[0] if wanted is None else wanted


def _numbered(scan: FolderScan, condition: Callable[[Series], bool]) -> list[Message]:
    return [
        Message("dicom.numbered_series", number=number, series=series.description)
        for number, series in enumerate(scan.series)
        if condition(series)
    ]


def scan_folder(folder: Path, names: Sequence[str]) -> FolderScan:
    """Sort the files `names` below a folder into series; files that cannot be read as DICOM belong to none."""
    left_out: dict[LeftOut, list[str]] = {reason: [] for reason in LeftOut}
    groups: dict[tuple[str, str], list[_Header]] = {}
    instances: dict[str, list[_Header]] = {}
    shared_uids = 0
    for name in names:
        header = _read_header(folder, name)
        if isinstance(header, LeftOut):
            left_out[header].append(name)
            continue
        others = instances.setdefault(header.instance, []) if header.instance else []
        if any(_is_copy(folder, header, other) for other in others):
            left_out[LeftOut.COPY].append(name)
            continue
        shared_uids += bool(others)
        others.append(header)
        groups.setdefault((header.study, header.series), []).append(header)
    return _sorted(groups, left_out, shared_uids)


def scan_headers(headers: Iterable[tuple[str, Dataset]]) -> FolderScan:
    """Sort instances of an archive into series by their names and headers, which hold the elements HEADER_KEYWORDS.

    An archive holds one instance of a SOP Instance UID, so none is a copy of another.
    """
    left_out: dict[LeftOut, list[str]] = {reason: [] for reason in LeftOut}
    groups: dict[tuple[str, str], list[_Header]] = {}
    for name, dataset in headers:
        header = _or_damaged(partial(_header, name, dataset))
        if isinstance(header, LeftOut):
            left_out[header].append(name)
        else:
            groups.setdefault((header.study, header.series), []).append(header)
    return _sorted(groups, left_out)


def _sorted(
    groups: dict[tuple[str, str], list[_Header]], left_out: dict[LeftOut, list[str]], shared_uids: int = 0
) -> FolderScan:
    """The series of headers that are grouped by study and series."""
    ordered = sorted(groups.items(), key=lambda group: (group[0][0], min(h.series_number for h in group[1]), group[0][1]))
    series = [one for _, headers in ordered for one in _series(headers)]
    return FolderScan(
        tuple(sorted(series, key=lambda one: one.is_aside)),
        {reason: tuple(files) for reason, files in left_out.items()},
        len({study for study, _ in groups}),
        shared_uids,
    )


def why_left_out(path: Path) -> LeftOut | None:
    """Return why a file would belong to no series; None for one with a picture. A copy shows beside other files only."""
    header = _read_header(path.parent, path.name)
    return header if isinstance(header, LeftOut) else None


def _is_copy(folder: Path, one: _Header, other: _Header) -> bool:
    """Whether two files with one SOP Instance UID hold the same picture in the same place; broken exports share UIDs."""
    return one.places == other.places and one.frames == other.frames and _tail(folder, one) == _tail(folder, other)


def _tail(folder: Path, header: _Header) -> bytes:
    with (folder / header.name).open("rb") as file:
        file.seek(max(file.seek(0, os.SEEK_END) - _TAIL, 0))
        return file.read().rstrip(b"\0")


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
                data = file.read(size)
                header = _parse(name, data, is_whole=len(data) == path.stat().st_size)
                if header is not LeftOut.DAMAGED:
                    return header
    except OSError:
        pass  # reading the picture itself will fail with a reason
    return LeftOut.DAMAGED


def _parse(name: str, data: bytes, is_whole: bool) -> _Header | LeftOut:
    header = _or_damaged(lambda: _header(name, read_header(data, Message("dicom.chosen_picture"), HEADER_KEYWORDS)))
    is_cut = not is_whole and isinstance(header, _Header) and header.has_groups and header.places is None
    return LeftOut.DAMAGED if is_cut else header


def _or_damaged(read: Callable[[], _Header | LeftOut]) -> _Header | LeftOut:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's would quote header values, and they may be a patient's
        try:
            return read()
        except MemoryError:
            raise
        except Exception:  # whatever pydicom raises on damage
            return LeftOut.DAMAGED


def _header(name: str, dataset: Dataset) -> _Header | LeftOut:
    if str(dataset.get("Manufacturer", "")) == MANUFACTURER:
        return LeftOut.OWN
    modality = str(dataset.get("Modality", ""))
    meta = getattr(dataset, "file_meta", {})  # an archive tells none
    is_directory = meta.get("MediaStorageSOPClassUID") == MediaStorageDirectoryStorage
    if modality in _NO_PICTURES or is_directory:
        return LeftOut.NO_PICTURE
    if "Rows" not in dataset or "Columns" not in dataset:
        return LeftOut.DAMAGED
    frames = max(int(dataset.get("NumberOfFrames") or 1), 1)
    return _Header(
        name=name,
        study=str(dataset.get("StudyInstanceUID", "")),
        series=str(dataset.get("SeriesInstanceUID", "")),
        instance=str(dataset.get("SOPInstanceUID", "")),
        series_number=number_or_infinity(dataset.get("SeriesNumber")),
        instance_number=number_or_infinity(dataset.get("InstanceNumber")),
        modality=modality,
        size=(int(dataset.Columns), int(dataset.Rows)),
        frames=frames,
        is_localizer="LOCALIZER" in (dataset.get("ImageType") or ()),
        has_groups="SharedFunctionalGroupsSequence" in dataset or "PerFrameFunctionalGroupsSequence" in dataset,
        places=_places(dataset, frames),
    )


def _places(dataset: Dataset, frames: int) -> tuple[_Place, ...] | None:
    """Where the frames lie; None if the file does not state it for all."""
    if frames > 1 and len(dataset.get("PerFrameFunctionalGroupsSequence") or ()) != frames:
        return None
    places = []
    for frame in range(frames):
        cosines = vector(frame_value(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient"), 6)
        position = vector(frame_value(dataset, frame, "PlanePositionSequence", "ImagePositionPatient"), 3)
        if cosines is None or position is None:
            return None
        places.append(_Place(cosines, position))
    return tuple(places)


def _series(headers: list[_Header]) -> list[Series]:
    """Order the pictures of one series and describe it; those that lie in several directions are a series for each."""
    placed = [_Placed(header, frame, place) for header in headers for frame, place in enumerate(header.places or ())]
    if not all(header.places for header in headers):
        return [_by_number(headers, Message("dicom.ordered_by_number"))]
    directions: list[list[_Placed]] = []
    for one in placed:
        for others in directions:
            if _is_parallel(one.place.cosines, others[0].place.cosines):
                others.append(one)
                break
        else:
            directions.append([one])
            if len(directions) > _MAX_DIRECTIONS:
                return [_by_number(headers, Message("dicom.several_directions"))]
    largest = max(directions, key=len)
    has_slices = not all(one.header.is_localizer for one in largest)
    series = []
    for pictures in directions:
        is_few = len(pictures) * _ASIDE <= len(largest)
        is_localizer = has_slices and all(one.header.is_localizer for one in pictures)
        series.append(_by_position(pictures, is_aside=is_few or is_localizer))
    return series


def _by_number(headers: list[_Header], note: Message) -> Series:
    ordered = sorted(headers, key=lambda header: header.instance_number)  # equal numbers stay in the order of names
    files = tuple((header.name, header.frames) for header in ordered)
    count = sum(frames for _, frames in files)
    return Series(files, _description(headers, None, count), (note,) if len(files) > 1 else ())


def _by_position(pictures: list[_Placed], is_aside: bool) -> Series:
    """The series of pictures that lie in the same direction."""
    headers = list({one.header.name: one.header for one in pictures}.values())
    plane_and_positions = _positions(pictures)
    if plane_and_positions is None:
        return _by_number(headers, Message("dicom.ordered_by_number"))
    plane, positions = plane_and_positions
    ranked = sorted(
        range(len(pictures)), key=lambda k: (positions[k], pictures[k].header.instance_number, pictures[k].frame)
    )
    order = [pictures[k] for k in ranked]
    files = Counter(one.header.name for one in order)
    notes = _position_notes([positions[k] for k in ranked])
    if any(before.header is after.header and before.frame > after.frame for before, after in pairwise(order)):
        notes.append(Message("dicom.frames_ordered"))
    return Series(
        tuple(files.items()),
        _description(headers, plane, len(order)),
        tuple(notes) if len(order) > 1 else (),
        tuple(Picture(one.header.name, one.frame if one.header.frames > 1 else None) for one in order),
        is_aside,
        tuple(positions[k] for k in ranked),
    )


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


def _positions(pictures: list[_Placed]) -> tuple[Message, list[float]] | None:
    """The plane's name and the position of each picture along its normal in millimetres; None if it has no normal."""
    normal = counting_normal(pictures[0].place.cosines)
    if normal is None:
        return None
    axis = max(range(3), key=lambda k: abs(normal[k]))
    plane = _PLANES[axis] if abs(normal[axis]) > _MIN_ALIGNMENT else Message("dicom.oblique")
    return plane, [place_along(normal, one.place.position) for one in pictures]


def counting_normal(cosines: Sequence[float]) -> tuple[float, ...] | None:
    """Return the normal of a picture, by its Image Orientation, in the direction in which slices are counted.

    None where its two directions are not at a right angle.
    """
    across, down = cosines[:3], cosines[3:]
    normal = [across[k - 2] * down[k - 1] - across[k - 1] * down[k - 2] for k in range(3)]  # the cross product
    axis = max(range(3), key=lambda k: abs(normal[k]))
    if abs(normal[axis]) < 0.5:
        return None
    sign = math.copysign(1.0, normal[axis]) * _COUNTING[axis]
    return tuple(sign * value for value in normal)


def place_along(normal: Sequence[float], position: Sequence[float]) -> float:
    """Return where a picture lies along a normal, in millimetres, by its Image Position."""
    return sum(a * b for a, b in zip(normal, position, strict=True))


def _is_parallel(cosines: tuple[float, ...], others: tuple[float, ...]) -> bool:
    return max(abs(a - b) for a, b in zip(cosines, others, strict=True)) < 1e-3


def _position_notes(positions: list[float]) -> list[Message]:
    """Notes on slices that seem to be missing and on slices at the same position; `positions` are sorted."""
    distinct = [positions[0]]
    shared = 0
    first_slice = [0]  # at each distinct position
    for number, position in enumerate(positions[1:], 1):
        if position - distinct[-1] < MIN_STEP:
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
