"""Answer -> DICOM files for the archive that the scan came from.

Each object belongs to the scan's study, forms a series of its own, refers to the scan, and says that it is for research use
only. It carries the patient's name and number, as an archive needs them; so it is written only into a folder that the user
names, or sent where the user's file says.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import logging
import os
import warnings
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, NamedTuple

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    ColorSoftcopyPresentationStateStorage,
    ComprehensiveSRStorage,
    EncapsulatedPDFStorage,
    GrayscaleSoftcopyPresentationStateStorage,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
    SegmentationStorage,
)

from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.header import read_header
from medrega_edge.images.medical_image import as_image_error
from medrega_edge.images.signatures import FIRST_BYTES, is_dicom
from medrega_edge.io.atomic import atomic_write, check_output_path, make_folder
from medrega_edge.output.dicom.patient_and_study import complete, remove_escapes

if TYPE_CHECKING:
    from PIL import Image

    from medrega_edge.answer import Answer, ModelFacts
    from medrega_edge.output.dicom.tracking import Tracked
    from medrega_edge.volumes.answer import VolumeAnswer

# By whether the scan has several frames.
_STANDING_IN = (SecondaryCaptureImageStorage, MultiFrameGrayscaleByteSecondaryCaptureImageStorage)
_PLACES = ("StudyInstanceUID", "SeriesInstanceUID", "SOPClassUID", "SOPInstanceUID")  # what evidence refers to
SOP_CLASSES = {  # of the objects that there are, by the kind that names them
    "sr": (ComprehensiveSRStorage,),
    "gsps": (GrayscaleSoftcopyPresentationStateStorage, ColorSoftcopyPresentationStateStorage),
    "sc": (SecondaryCaptureImageStorage,),
    "seg": (SegmentationStorage,),
    "pdf": (EncapsulatedPDFStorage,),
}
KINDS = tuple(SOP_CLASSES)
VOLUME_KINDS = ("sr", "seg")  # that there are of a whole series
SERIES_NUMBERS = {kind: 7000 + place for place, kind in enumerate(KINDS)}
NO_NAMES: Mapping[str, str] = MappingProxyType({})


class Place(NamedTuple):
    """Where an object stands: a series, by its Series Instance UID, and the Instance Number there."""

    series: str
    number: int


@dataclass(frozen=True)
class _Subject:
    """What objects of one answer are about: the scan, a picture with the regions drawn, and the question, or ""."""

    answer: Answer
    source: Dataset
    picture: Image.Image
    question: str
    tracked: Tracked


def parse_kinds(text: str) -> tuple[str, ...]:
    """Read "sr,gsps,sc,seg,pdf" or some of these; raises UsageError."""
    kinds = tuple(dict.fromkeys(kind.strip() for kind in text.split(",")))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError("output.unknown_object", name=unknown[0][:20], names=list(KINDS))
    return kinds


def object_paths(folder: Path, kinds: Sequence[str], image: Path) -> dict[str, Path]:
    """The path of each object about `image`, checked before any work; the folder is made if it is not there.

    Raises UsageError for a folder that cannot be written or an image that is no DICOM file, ResourceError as
    `check_libraries`. An image that cannot be read, or a folder of images, passes: `read_image` reports it better.
    """
    if os.path.isfile(image):  # Path.is_file raises for a name that is too long
        with suppress(OSError), image.open("rb") as file:
            _check_scan(file.read(FIRST_BYTES))
    check_libraries(kinds)
    make_folder(folder)
    paths = {kind: folder / f"medrega-{kind}.dcm" for kind in kinds}
    for path in paths.values():
        check_output_path(path, image)
    return paths


def write_objects(
    answer: Answer,
    scan: Path,
    picture: Image.Image,
    paths: dict[str, Path],
    question: str = "",
    english: Mapping[str, str] = NO_NAMES,
) -> None:
    """Write an object for each kind in `paths` about an answer to a DICOM scan; `picture` has the regions drawn.

    Raises UsageError if the scan is no DICOM file or has changed since, and as `segmentation` does; ImageError if it lacks
    what an archive needs, ResourceError as `object_paths`.
    """
    data = scan.read_bytes()
    _check_scan(data)
    for path in paths.values():
        check_output_path(path, scan)
    _write(made_objects(answer, data, picture, tuple(paths), question, english=english), paths)


def made_objects(
    answer: Answer,
    data: bytes,
    picture: Image.Image,
    kinds: Sequence[str],
    question: str = "",
    places: Mapping[str, Place] | None = None,
    english: Mapping[str, str] = NO_NAMES,
) -> dict[str, bytes]:
    """Return the bytes of an object of each kind about an answer to a DICOM scan, whose file has the bytes `data`.

    `picture` has the regions drawn. `question` is the user's; without one the report leaves it out, and the page of a PDF
    says how it was understood. An object whose kind is in `places` stands there, another one in a new series. `english` has
    the English names of labels that are in Chinese, as `Terminology.english`: codes are found by them. Raises as
    `write_objects`.
    """
    _check_scan(data)
    if hashlib.sha256(data).hexdigest() != answer.image.sha256:
        raise UsageError("output.scan_changed")
    check_libraries(kinds)
    from medrega_edge.output.dicom.tracking import track

    with _quiet():
        source = read_header(data, Message("image.given"))
        with as_image_error(Message("output.scan_incomplete")):
            complete(source)
            stated = _stand_in([source])
            tracked = track(answer, english)
            subject = _Subject(answer, source, picture, question, tracked)
            built = {kind: _build(kind, subject) for kind in kinds}
            for kind, place in (places or {}).items():
                if kind in built:
                    built[kind].SeriesInstanceUID, built[kind].InstanceNumber = place
            return {kind: _encode(made, stated, answer.model) for kind, made in built.items()}


def write_volume_objects(
    answer: VolumeAnswer,
    files: Sequence[tuple[Path, int | None]],
    paths: dict[str, Path],
    question: str = "",
    english: Mapping[str, str] = NO_NAMES,
) -> None:
    """Write an object for each kind in `paths` about a whole series, of whose slices `files` are the files and frames.

    The kinds are those of `VOLUME_KINDS`. Raises as `write_objects`.
    """
    for path in paths.values():
        check_output_path(path, *(file for file, _ in files))
    _write(made_volume_objects(answer, files, tuple(paths), question, english), paths)


def made_volume_objects(
    answer: VolumeAnswer,
    files: Sequence[tuple[Path, int | None]],
    kinds: Sequence[str],
    question: str = "",
    english: Mapping[str, str] = NO_NAMES,
) -> dict[str, bytes]:
    """Return the bytes of an object of each kind about a whole series; the rest as in `write_volume_objects`."""
    check_libraries(kinds)
    from medrega_edge.output.dicom.segmentation import segmentation_of_series
    from medrega_edge.output.dicom.structured_report import structured_report_of_series
    from medrega_edge.output.dicom.tracking import track

    masked = {one.slice for r in answer.regions for one, mask in zip(r.boxes, r.masks, strict=False) if mask}
    numbers = sorted({one.slice for region in answer.regions for one in region.boxes}) or [len(files) // 2]
    tracked = track(answer, english)
    with _quiet(), as_image_error(Message("output.scan_incomplete")):
        read = cache(lambda path: read_header(path.read_bytes(), Message("image.given")))  # one file may hold all slices
        sources = {number: read(files[number][0]) for number in numbers}
        seen = {files[number][0] for number in numbers}
        others = [_place_of(path) for path in dict.fromkeys(path for path, _ in files) if path not in seen]
        for source in sources.values():
            complete(source)
        stated = _stand_in([*sources.values(), *others])
        objects: dict[str, bytes] = {}
        for kind in kinds:
            if kind == "sr":
                framed = {place: (source, files[place][1]) for place, source in sources.items()}
                evidence = [*sources.values(), *others]
                made = structured_report_of_series(answer, framed, SERIES_NUMBERS[kind], tracked, evidence, question)
            else:
                own = {place: source for place, source in sources.items() if place in masked}
                made = segmentation_of_series(answer, own, SERIES_NUMBERS[kind], tracked.regions)
            objects[kind] = _encode(made, stated, answer.model)
    return objects


def _write(objects: Mapping[str, bytes], paths: Mapping[str, Path]) -> None:
    for kind, path in paths.items():
        with atomic_write(path) as file:
            file.write(objects[kind])


def _place_of(path: Path) -> Dataset:
    """The UIDs of a scan: a report refers to every slice that was asked, also to those without a box."""
    return read_header(path.read_bytes(), Message("image.given"), _PLACES)


@contextmanager
def _quiet() -> Iterator[None]:
    """Keep highdicom's and pydicom's words back: they may quote a patient's header."""
    logging.getLogger("highdicom").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _stand_in(sources: Iterable[Dataset]) -> dict[str, UID]:
    """Give scans of a maker's own class, which highdicom refuses, a public one; returns their own, by SOP Instance UID."""
    stated: dict[str, UID] = {}
    for source in sources:
        stated.setdefault(str(source.SOPInstanceUID), source.SOPClassUID)  # all slices may come from one file
        if source.SOPClassUID.is_private:
            source.SOPClassUID = _STANDING_IN[int(source.get("NumberOfFrames") or 1) > 1]
    return stated


def _check_scan(data: bytes) -> None:
    if data and not is_dicom(data):
        raise UsageError("output.scan_no_dicom")


def check_libraries(kinds: Sequence[str]) -> None:
    """Raise ResourceError where the library is missing that objects of these kinds are made with."""
    try:
        importlib.import_module("highdicom")
    except ImportError:
        raise ResourceError("output.needs_highdicom") from None
    if "pdf" in kinds:
        try:
            importlib.import_module("reportlab")
        except ImportError:
            raise ResourceError("output.needs_reportlab") from None


def _build(kind: str, subject: _Subject) -> Dataset:
    from medrega_edge.output.dicom.presentation_state import presentation_state
    from medrega_edge.output.dicom.secondary_capture import secondary_capture
    from medrega_edge.output.dicom.segmentation import segmentation
    from medrega_edge.output.dicom.structured_report import structured_report

    answer, source, tracked = subject.answer, subject.source, subject.tracked
    series_number = SERIES_NUMBERS[kind]
    if kind == "sr":
        return structured_report(answer, source, series_number, tracked, subject.question)
    if kind == "seg":
        return segmentation(answer, source, series_number, tracked.regions)
    if kind == "pdf":
        from medrega_edge.output.dicom.encapsulated_pdf import encapsulated_pdf  # only here: it needs reportlab

        return encapsulated_pdf(answer, source, series_number, subject.picture, subject.question)
    if kind == "gsps":
        made = presentation_state(answer, source, series_number, tracked.regions)
    else:
        made = secondary_capture(answer, source, series_number, subject.picture)
    made.Laterality = None  # has to be there, and only a person knows it
    return made


def _encode(made: Dataset, classes: Mapping[str, UID], model: ModelFacts) -> bytes:
    """The bytes of an object of a package that refers to scans of these classes, by SOP Instance UID."""
    from medrega_edge.output.dicom.common import add_equipment

    def refer(item: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = classes.get(str(item.get("ReferencedSOPInstanceUID")), element.value)

    made.walk(refer)
    add_equipment(made, model)
    remove_escapes(made)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
