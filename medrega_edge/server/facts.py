"""What a file holds: the size of its pictures, how many there are, and where they lie. Nothing of it names a patient."""

from __future__ import annotations

import hashlib
from dataclasses import replace
from typing import Any

from medrega_edge.domain import Language, Modality
from medrega_edge.errors import ChoiceError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.header import read_header
from medrega_edge.images.dicom.numbers import vector
from medrega_edge.images.dicom.series import counting_normal, place_along
from medrega_edge.images.medical_image import MedicalImage, Source, View
from medrega_edge.images.nifti import PLANES, slices_of
from medrega_edge.images.reader import read_image
from medrega_edge.images.signatures import is_dicom, is_nifti
from medrega_edge.server.jobs import Picture
from medrega_edge.vocabulary.label_sets import modality_name

_PLACE = ("StudyInstanceUID", "SeriesInstanceUID", "ImageOrientationPatient", "ImagePositionPatient", "InstanceNumber")


def read(data: bytes, sha256: str, picture: Picture, default_preset: str = "soft") -> MedicalImage:
    """Read a picture of a file; raises as `read_image`.

    `data` may be the inflated bytes of the file whose hash is `sha256`. Of a NIfTI file with several volumes the first is
    read.
    """
    is_volume = is_nifti(data)
    frame, number = (None, picture.index) if is_volume else (picture.index, None)
    view = View(frame, picture.window, picture.plane, number, default_preset)
    try:
        image = read_image(data, view)
    except ChoiceError as several:
        if not is_volume or several.option != "--frame":
            raise
        image = read_image(data, replace(view, frame=0))
    return replace(image, sha256=sha256)


def describe(data: bytes, sha256: str, picture: Picture, salt: bytes) -> dict[str, Any]:
    """Return what a viewer has to know of a file and of one of its pictures; raises as `read_image`.

    Of several pictures the one in the middle is read, if none is chosen. `salt` makes the key of a series opaque.
    """
    counts = _counts(data, sha256)
    count = counts.get(picture.plane or "axial", 1)
    try:
        image = read(data, sha256, picture)
    except ChoiceError as several:
        count = several.count
        picture = replace(picture, index=count // 2)
        image = read(data, sha256, picture)
    else:
        if not counts and image.frame is not None:  # one of several, by its number
            count = _frames(data, sha256, picture)
    index_name = None if count == 1 else "slice" if counts else "frame"
    return {
        "id": sha256,
        "width": image.width,
        "height": image.height,
        "modality": image.modality,
        "modality_name": _names(image.modality),
        "count": count,
        "index_name": index_name,
        "index": (image.slice if counts else image.frame) or 0,
        "planes": list(counts),
        "plane": (picture.plane or "axial") if counts else None,
        "counts": counts,
        "window": None if image.window is None else [round(value, 3) for value in image.window],
        "window_unit": image.value_unit,
        "has_windows": image.window is not None,
        "spacing_mm": None if image.spacing_mm is None else list(image.spacing_mm),
        "spacing_areas": [list(area) for area in image.spacing_areas],
        "sides": None if image.patient_orientation is None else list(image.patient_orientation),
        "is_dicom": is_dicom(data),
        **_place(data, salt),
        "warnings": [message_data(warning) for warning in image.warnings],
    }


def message_data(message: Message) -> dict[str, str]:
    """Return a message in both languages."""
    return {"code": message.code, "message": str(message), "message_zh": message.text(Language.ZH)}


def _names(modality: Modality | None) -> dict[str, str]:
    if modality is None:
        unknown = Message("cli.unknown_kind")
        return {language.value: unknown.text(language) for language in Language}
    return {language.value: modality_name(modality, language) for language in Language}


def _frames(data: bytes, sha256: str, picture: Picture) -> int:
    """Return how many frames a file has, which its reader says where none is chosen, before it reads one."""
    try:
        read(data, sha256, replace(picture, index=None))
    except ChoiceError as several:
        return several.count
    return 1


def _counts(data: bytes, sha256: str) -> dict[str, int]:
    """Return the number of slices of a NIfTI volume in each plane; empty for other files."""
    if not is_nifti(data):
        return {}
    source = Source(data, Message("image.given"), None, sha256)
    return {plane: slices_of(source, View(plane=plane)).number for plane in PLANES}


def _place(data: bytes, salt: bytes) -> dict[str, Any]:
    """Return the series of a DICOM file under an opaque key, and where in it the picture lies, in millimetres."""
    nowhere: dict[str, Any] = {"series": None, "position": None, "number": None}
    if not is_dicom(data):
        return nowhere
    try:
        header = read_header(data, Message("image.given"), _PLACE)
        series = [str(header.get(keyword, "")) for keyword in _PLACE[:2]]
        axes = vector(header.get("ImageOrientationPatient"), 6)
        number = header.get("InstanceNumber")
        number = None if number is None else int(number)
        place = vector(header.get("ImagePositionPatient"), 3)
        normal = None if axes is None else counting_normal(axes)
        position = None if normal is None or place is None else round(place_along(normal, place), 3)
    except (ResourceError, MemoryError):
        raise
    except Exception:  # whatever is wrong with a header that a picture was read from, the picture can be shown
        return nowhere
    direction = None if axes is None else [round(float(value), 2) for value in axes]
    key = hashlib.blake2b(repr((series, direction)).encode(), key=salt, digest_size=12).hexdigest() if series[1] else None
    return {"series": key, "position": position, "number": number}
