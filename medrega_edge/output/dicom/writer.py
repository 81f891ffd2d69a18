"""Answer -> DICOM files for the archive that the scan came from.

Each object belongs to the scan's study, forms a series of its own, refers to the scan, and says that it is for research use
only. It carries the patient's name and number, as an archive needs them; so it is written only into a folder that the user
names.
"""

from __future__ import annotations

import hashlib
import importlib
import io
import logging
import os
import warnings
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

from pydicom.dataelem import DataElement
from pydicom.dataset import Dataset
from pydicom.uid import (
    UID,
    MultiFrameGrayscaleByteSecondaryCaptureImageStorage,
    SecondaryCaptureImageStorage,
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

    from medrega_edge.answer import Answer
    from medrega_edge.volumes.answer import VolumeAnswer

# By whether the scan has several frames.
_STANDING_IN = (SecondaryCaptureImageStorage, MultiFrameGrayscaleByteSecondaryCaptureImageStorage)
KINDS = ("sr", "gsps", "sc", "seg")
VOLUME_KINDS = ("sr", "seg")  # that there are of a whole series
FIRST_SERIES_NUMBER = 7000


def parse_kinds(text: str) -> tuple[str, ...]:
    """Read "sr,gsps,sc,seg" or some of these; raises UsageError."""
    kinds = tuple(dict.fromkeys(kind.strip() for kind in text.split(",")))
    unknown = [kind for kind in kinds if kind not in KINDS]
    if unknown:
        raise UsageError("output.unknown_object", name=unknown[0][:20], names=list(KINDS))
    return kinds


def object_paths(folder: Path, kinds: Sequence[str], image: Path) -> dict[str, Path]:
    """The path of each object about `image`, checked before any work; the folder is made if it is not there.

    Raises UsageError for a folder that cannot be written or an image that is no DICOM file, ResourceError without highdicom.
    An image that cannot be read, or a folder of images, passes: `read_image` reports it better.
    """
    if os.path.isfile(image):  # Path.is_file raises for a name that is too long
        with suppress(OSError), image.open("rb") as file:
            _check_scan(file.read(FIRST_BYTES))
    _check_highdicom()
    make_folder(folder)
    paths = {kind: folder / f"medrega-{kind}.dcm" for kind in kinds}
    for path in paths.values():
        check_output_path(path, image)
    return paths


def write_objects(answer: Answer, scan: Path, picture: Image.Image, paths: dict[str, Path]) -> None:
    """Write an object for each kind in `paths` about an answer to a DICOM scan; `picture` has the regions drawn.

    Raises UsageError if the scan is no DICOM file or has changed since, and as `segmentation` does; ImageError if it lacks
    what an archive needs, ResourceError without highdicom.
    """
    data = scan.read_bytes()
    _check_scan(data)
    for path in paths.values():
        check_output_path(path, scan)
    objects = made_objects(answer, data, picture, tuple(paths))
    for kind, path in paths.items():
        with atomic_write(path) as file:
            file.write(objects[kind])


def made_objects(answer: Answer, data: bytes, picture: Image.Image, kinds: Sequence[str]) -> dict[str, bytes]:
    """Return the bytes of an object of each kind about an answer to a DICOM scan, whose file has the bytes `data`.

    `picture` has the regions drawn. Raises as `write_objects`.
    """
    _check_scan(data)
    if hashlib.sha256(data).hexdigest() != answer.image.sha256:
        raise UsageError("output.scan_changed")
    _check_highdicom()
    logging.getLogger("highdicom").setLevel(logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        source = read_header(data, Message("image.given"))
        with as_image_error(Message("output.scan_incomplete")):
            complete(source)
            stated = _stand_in([source])
            return {
                kind: _encode(_build(kind, answer, source, FIRST_SERIES_NUMBER + number, picture), stated)
                for number, kind in enumerate(kinds)
            }


def write_volume_objects(answer: VolumeAnswer, files: Sequence[tuple[Path, int | None]], paths: dict[str, Path]) -> None:
    """Write an object for each kind in `paths` about a whole series, of whose slices `files` are the files and frames.

    The kinds are those of `VOLUME_KINDS`. Raises as `write_objects`.
    """
    for path in paths.values():
        check_output_path(path, *(file for file, _ in files))
    _check_highdicom()
    from medrega_edge.output.dicom.segmentation import segmentation_of_series
    from medrega_edge.output.dicom.structured_report import structured_report_of_series

    logging.getLogger("highdicom").setLevel(logging.ERROR)
    masked = {one.slice for r in answer.regions for one, mask in zip(r.boxes, r.masks, strict=False) if mask}
    numbers = sorted({one.slice for region in answer.regions for one in region.boxes}) or [len(files) // 2]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        read = cache(lambda path: read_header(path.read_bytes(), Message("image.given")))  # one file may hold all slices
        sources = {number: read(files[number][0]) for number in numbers}
        with as_image_error(Message("output.scan_incomplete")):
            for source in sources.values():
                complete(source)
            stated = _stand_in(sources.values())
            objects: dict[str, bytes] = {}
            for number, kind in enumerate(paths):
                if kind == "sr":
                    framed = {place: (source, files[place][1]) for place, source in sources.items()}
                    made = structured_report_of_series(answer, framed, FIRST_SERIES_NUMBER + number)
                else:
                    own = {place: source for place, source in sources.items() if place in masked}
                    made = segmentation_of_series(answer, own, FIRST_SERIES_NUMBER + number)
                objects[kind] = _encode(made, stated)
    for kind, path in paths.items():
        with atomic_write(path) as file:
            file.write(objects[kind])


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


def _check_highdicom() -> None:
    try:
        importlib.import_module("highdicom")
    except ImportError:
        raise ResourceError("output.needs_highdicom") from None


def _build(kind: str, answer: Answer, source: Dataset, series_number: int, picture: Image.Image) -> Dataset:
    from medrega_edge.output.dicom.presentation_state import presentation_state
    from medrega_edge.output.dicom.secondary_capture import secondary_capture
    from medrega_edge.output.dicom.segmentation import segmentation
    from medrega_edge.output.dicom.structured_report import structured_report

    if kind == "sr":
        return structured_report(answer, source, series_number)
    if kind == "seg":
        return segmentation(answer, source, series_number)
    if kind == "gsps":
        made = presentation_state(answer, source, series_number)
    else:
        made = secondary_capture(answer, source, series_number, picture)
    made.Laterality = None  # has to be there, and only a person knows it
    return made


def _encode(made: Dataset, classes: Mapping[str, UID]) -> bytes:
    """The bytes of an object that refers to scans of these classes, by SOP Instance UID."""

    def refer(item: Dataset, element: DataElement) -> None:
        if element.keyword == "ReferencedSOPClassUID":
            element.value = classes.get(str(item.get("ReferencedSOPInstanceUID")), element.value)

    made.walk(refer)
    remove_escapes(made)
    buffer = io.BytesIO()
    made.save_as(buffer, enforce_file_format=True)
    return buffer.getvalue()
