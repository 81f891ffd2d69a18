"""A folder of DICOM files -> its series, the slices of each in the order in which they lie in the patient.

Knows headers; looks at no pixel. Slices count from 0 towards the patient's head, front or right, as those of a NIfTI volume
do. Nothing of a header leaves this module but kinds, numbers, sizes and directions: a series is told by these and chosen by
its number, because its description may name a patient.
"""

from __future__ import annotations

import math
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.errors import ChoiceError, ImageError
from medrega_edge.images.medical_image import MAX_BYTES, View, choose
from medrega_edge.io.atomic import image_names

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Numbers = tuple[float, ...]

_READ = (
    *("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "SeriesNumber", "InstanceNumber", "Modality"),
    *("Rows", "Columns", "NumberOfFrames", "ImageOrientationPatient", "ImagePositionPatient"),
)
_KINDS = ("CT", "MR", "CR", "DX", "RF", "XA", "MG", "US", "OP", "OPT", "ES", "SM", "GM", "PT", "NM", "OT")  # that are told
_NO_PICTURES = (  # reports, states, plans, curves; SEG and RTDOSE have rows and columns, of what somebody worked out
    *("SR", "PR", "KO", "SEG", "RTSTRUCT", "RTPLAN", "RTDOSE", "RTRECORD", "REG", "FID", "DOC", "PLAN", "AU", "ECG", "EPS"),
    *("HD", "RESP", "RWV", "SMR", "M3D", "OSS", "POS"),
)
_PLANES = ("sagittal", "coronal", "axial")  # by the axis that a slice's normal follows; else it is oblique
_COUNTED = (-1, -1, 1)  # slices count to the right, the front and the head; DICOM's axes run to the left, the back, the head
_STRAIGHT = 0.9  # of the normal along one axis, from which on a plane has that axis' name
_LEAST_STEP = 0.01  # millimetres; pictures nearer than that lie in one place
_GAPS_TOLD = 3
_HEAD = 1 << 20  # bytes in which nearly every header ends
_TITLES_TOLD = 20

# Why a file belongs to no series, as it is told behind their number.
NO_DICOM, DAMAGED = "that are no DICOM", "damaged or of an unknown kind"
NO_PICTURE, COPY = "DICOM objects that are no pictures", "copies of a picture"


@dataclass(frozen=True)
class Picture:
    """One picture of a series: a file below the folder, and its frame where that holds several."""

    name: str
    frame: int | None = None


@dataclass(frozen=True)
class Series:
    """Files in their order, each with how many pictures it holds.

    `title` tells the series from others, `said` what a reader has to know of it.
    """

    files: tuple[tuple[str, int], ...]
    title: str
    said: tuple[str, ...]

    @property
    def count(self) -> int:
        """How many pictures there are."""
        return sum(frames for _, frames in self.files)

    def picture(self, at: int) -> Picture:
        """The picture number `at`, counted from 0."""
        for name, frames in self.files:
            if at < frames:
                return Picture(name, at if frames > 1 else None)
            at -= frames
        raise IndexError


@dataclass(frozen=True)
class SelectedSlice:
    """The picture chosen: of which series, the how manieth (None where it is the only one), and what to say of it."""

    picture: Picture
    series: int
    slice: int | None
    said: tuple[str, ...]


@dataclass(frozen=True)
class FolderScan:
    """What is in a folder: its series, and the files that belong to none, by the reason why.

    `studies` counts the studies of the series, which may be those of several patients.
    """

    series: tuple[Series, ...]
    others: dict[str, tuple[str, ...]]
    studies: int

    def said(self, *left_out: str) -> tuple[str, ...]:
        """What a reader has to know of the folder, of which the files that belong to none for these reasons are left out."""
        left = [f"{len(self.others[reason])} {reason}" for reason in left_out if self.others[reason]]
        said = [f"left out of the folder: {', '.join(left)}"] if left else []
        if self.studies > 1:
            said.append(f"the folder holds {self.studies} studies, which may be of several patients")
        return tuple(said)


@dataclass(frozen=True)
class _Header:
    """What the order of pictures depends on."""

    name: str
    study: str
    series: str
    instance: str
    numbers: tuple[float, float]  # of the series and of the instance; infinite where there is none
    kind: str
    size: tuple[int, int]  # columns, rows
    frames: int
    cosines: Numbers | None
    position: Numbers | None


def pick(folder: Path, view: View) -> SelectedSlice:
    """Choose one picture of a folder; raises ImageError, ChoiceError where several series are there and none is named.

    Without `view.slice` it is the middle one of its series, which is said.
    """
    if view.frame is not None or view.plane is not None:
        raise ImageError("A picture of a folder is chosen with --series and --slice; leave --frame and --plane out.")
    found = contents(folder, image_names(folder))
    if not found.series:
        raise ImageError("The path given for the image is a folder without a DICOM picture; name one image file in it.")
    number = chosen(found, view.series)
    series = found.series[number]
    count = series.count
    middle = count // 2 if view.slice is None and count > 1 else view.slice
    at = choose(middle, count, "The chosen series", "slice", "--slice")
    said = [] if at is None else [f"slice {at} of {count} of series {number}, {series.title}"]
    if view.slice is None and at is not None:
        said.append("it is the middle slice, because --slice names none")
    return SelectedSlice(series.picture(at or 0), number, at, (*said, *series.said, *found.said(*found.others)))


def chosen(found: FolderScan, wanted: int | None) -> int:
    """The number of the series that is meant; raises ImageError, never guesses."""
    last = len(found.series) - 1
    if last < 0:
        raise ImageError("The folder holds no DICOM picture; leave --series out.")
    if wanted is None and last > 0:
        titles = [f"{number}: {one.title}" for number, one in enumerate(found.series)]
        more = ["and more"] if len(titles) > _TITLES_TOLD else []
        told = "; ".join(titles[:_TITLES_TOLD] + more)
        raise ChoiceError(f"The folder holds {last + 1} series; choose one with --series ({told}).", last + 1, "--series")
    if wanted is not None and not 0 <= wanted <= last:
        raise ImageError(f"The folder has no series {wanted}; choose one with --series 0..{last}.")
    return wanted or 0


def contents(folder: Path, names: Sequence[str]) -> FolderScan:
    """Sort the files `names` below a folder into series; a file that cannot be read as DICOM belongs to none."""
    others: dict[str, list[str]] = {reason: [] for reason in (NO_DICOM, DAMAGED, NO_PICTURE, COPY)}
    groups: dict[tuple[str, str], list[_Header]] = {}
    seen: set[str] = set()
    for name in names:
        header = _header(folder, name)
        if isinstance(header, str):
            others[header].append(name)
        elif header.instance in seen:
            others[COPY].append(name)
        else:
            seen |= {header.instance} - {""}
            groups.setdefault((header.study, header.series), []).append(header)
    ordered = sorted(groups.items(), key=lambda item: (item[0][0], min(one.numbers[0] for one in item[1]), item[0][1]))
    series = tuple(_series(headers) for _, headers in ordered)
    return FolderScan(series, {reason: tuple(left) for reason, left in others.items()}, len({study for study, _ in groups}))


def _header(folder: Path, name: str) -> _Header | str:
    """The header of one file, or the reason why it has none."""
    from medrega_edge.images.dicom.validation import FIRST_BYTES, is_dicom

    try:
        path = folder / name
        with path.open("rb") as file:
            if not is_dicom(file.read(FIRST_BYTES)):
                return NO_DICOM
            if path.stat().st_size > MAX_BYTES:
                return DAMAGED
            for size in (_HEAD, -1):  # all of it only where what is wanted does not stand in front, as in a deflated file
                file.seek(0)
                found = _parsed(name, file.read(size))
                if found != DAMAGED:
                    return found
    except OSError:
        pass  # the picture itself will be refused with a reason when it is read
    return DAMAGED


def _parsed(name: str, data: bytes) -> _Header | str:
    from medrega_edge.images.dicom.validation import load_pydicom, read_header

    load_pydicom()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # pydicom's would quote header values, and they may be a patient's
        try:
            return _facts(name, read_header(data, "the file", _READ))
        except MemoryError:
            raise
        except Exception:  # whatever pydicom raises on damage
            return DAMAGED


def _facts(name: str, header: Dataset) -> _Header | str:
    kind = str(header.get("Modality", ""))
    if kind in _NO_PICTURES:
        return NO_PICTURE
    if "Rows" not in header or "Columns" not in header:
        return DAMAGED
    study, series, instance = (str(header.get(f"{part}InstanceUID", "")) for part in ("Study", "Series", "SOP"))
    return _Header(
        name=name,
        study=study,
        series=series,
        instance=instance,
        numbers=(_number(header.get("SeriesNumber")), _number(header.get("InstanceNumber"))),
        kind=kind,
        size=(int(header.Columns), int(header.Rows)),
        frames=max(int(header.get("NumberOfFrames") or 1), 1),
        cosines=_vector(header.get("ImageOrientationPatient"), 6),
        position=_vector(header.get("ImagePositionPatient"), 3),
    )


def _number(value: Any) -> float:
    """A finite number, infinity where there is none: it stands behind all others."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.inf
    return number if math.isfinite(number) else math.inf


def _vector(value: Any, length: int) -> Numbers | None:
    """So many finite numbers, None where they are not there."""
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == length and all(abs(number) < 1e6 for number in numbers) else None


def _series(headers: list[_Header]) -> Series:
    """Put the pictures of a series in order."""
    places = _places(headers)
    if places is None:
        ordered = sorted(headers, key=lambda one: one.numbers[1])  # equal numbers stay in the order of names
        plane, said = "", ["ordered by their numbers, because the files do not say where their slices lie"]
    else:
        plane, along = places
        ordered = sorted(headers, key=lambda one: (along[one.name], one.numbers[1]))
        said = _gaps([along[one.name] for one in ordered])
    files = tuple((one.name, one.frames) for one in ordered)
    pictures = sum(frames for _, frames in files)
    kind = headers[0].kind if headers[0].kind in _KINDS else "unknown kind"
    sizes = {one.size for one in headers}
    size = f"{headers[0].size[0]} x {headers[0].size[1]}" if len(sizes) == 1 else "several sizes"
    count = f"{pictures} {plane or 'pictures'}" if pictures > 1 else "1 picture"
    return Series(files, f"{kind}, {count} of {size}", tuple(said) if len(files) > 1 else ())


def _places(headers: list[_Header]) -> tuple[str, dict[str, float]] | None:
    """What slices in this direction are called, and where along it each file's lies, in millimetres.

    None where they do not all say it, or lie in several directions, or hold several frames.
    """
    cosines = headers[0].cosines
    if cosines is None or any(one.frames > 1 or one.position is None or not _same(one.cosines, cosines) for one in headers):
        return None
    across, down = cosines[:3], cosines[3:]
    normal = [across[k - 2] * down[k - 1] - across[k - 1] * down[k - 2] for k in range(3)]  # the cross product
    axis = max(range(3), key=lambda k: abs(normal[k]))
    if abs(normal[axis]) < 0.5:
        return None  # no two directions at a right angle
    towards = math.copysign(1.0, normal[axis]) * _COUNTED[axis]
    plane = _PLANES[axis] if abs(normal[axis]) > _STRAIGHT else "oblique"
    along = {one.name: towards * sum(a * b for a, b in zip(normal, one.position or (), strict=True)) for one in headers}
    return f"{plane} slices", along


def _same(one: Numbers | None, other: Numbers) -> bool:
    return one is not None and max(abs(a - b) for a, b in zip(one, other, strict=True)) < 1e-3


def _gaps(along: list[float]) -> list[str]:
    """What is odd about where slices lie: places that are missing, and places that are taken twice."""
    distinct = [along[0]]
    taken = 0
    number_at = [0]
    for number, place in enumerate(along[1:], 1):
        if place - distinct[-1] < _LEAST_STEP:
            taken += 1
            continue
        distinct.append(place)
        number_at.append(number)
    said = []
    steps = [after - before for before, after in zip(distinct, distinct[1:], strict=False)]
    usual = sorted(steps)[(len(steps) - 1) // 2] if steps else 0.0
    gaps = [at for at, step in enumerate(steps) if step > 1.5 * usual]
    if gaps:
        missing = sum(round(steps[at] / usual) - 1 for at in gaps)
        where = ", ".join(f"{number_at[at + 1] - 1} and {number_at[at + 1]}" for at in gaps[:_GAPS_TOLD])
        more = ", and elsewhere" if len(gaps) > _GAPS_TOLD else ""
        said.append(f"{missing} slices seem to be missing, between slices {where}{more}")
    if taken:
        said.append(f"{taken} slices lie where another one does, as several phases or echoes do")
    return said
