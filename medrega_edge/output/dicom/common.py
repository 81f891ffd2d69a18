"""What all DICOM objects share: identity, what made them, references to the scan, boxes as polylines."""

from __future__ import annotations

import uuid
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom.sr import CodedConcept
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code
from pydicom.uid import generate_uid

from medrega_edge import __version__
from medrega_edge.answer import Answer, ModelFacts, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import MANUFACTURER, NOTICE

_PROCESSING = Code("109102", "DCM", "Processing Equipment")
SCHEME = "99MEDREGA"  # designator of our own codes, for what no public scheme has


def new_uid() -> str:
    """A new UID of the kind 2.25."""
    return str(generate_uid(prefix=None))


def same_uid(*parts: str) -> str:
    """A UID of the kind 2.25 that is always the same for the same texts, and another one for others."""
    return f"2.25.{uuid.uuid5(uuid.NAMESPACE_OID, repr(parts)).int}"


def device_uid(model: ModelFacts) -> str:
    """The UID of a package as a device: always the same for the same weights, another one for others."""
    return same_uid(model.sha256)


def identity(series_number: int, content: str, model: ModelFacts) -> dict[str, Any]:
    """Arguments of highdicom's constructors that make an object the only one of a new series, which `content` describes.

    `content` has 22 characters at most, so that the notice has room beside it.
    """
    return {
        "series_instance_uid": new_uid(),
        "series_number": series_number,
        "sop_instance_uid": new_uid(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "manufacturer_model_name": model.name[:64],
        "software_versions": __version__,
        "device_serial_number": model.sha256[:64],
        "series_description": f"{content}. {NOTICE}",
        "specific_character_set": "ISO_IR 192",
    }


def add_equipment(made: Dataset, model: ModelFacts) -> None:
    """Say in an object which algorithm made its content (IHE AIR, RAD TF-3 6.5.3.1), before what else took part in it."""
    item = Dataset()
    item.PurposeOfReferenceCodeSequence = [CodedConcept.from_code(_PROCESSING)]
    item.Manufacturer = MANUFACTURER
    item.ManufacturerModelName = model.name[:64]
    item.DeviceSerialNumber = model.sha256[:64]
    item.SoftwareVersions = model.version[:64]
    item.DeviceUID = device_uid(model)
    item.ContributionDescription = NOTICE
    made.ContributingEquipmentSequence = [item, *(made.get("ContributingEquipmentSequence") or ())]


def frame_numbers(answer: Answer) -> list[int] | None:
    """The frame of the scan that the answer is about, counted from 1 as DICOM does; None if the scan has one frame."""
    return None if answer.image.frame is None else [answer.image.frame + 1]


def polyline(box: PixelBox) -> npt.NDArray[np.float32]:
    """The box as a closed line `[5, 2]`: in DICOM too the top left corner of the first pixel is (0, 0)."""
    x1, y1, x2, y2 = box
    return np.array([(x1, y1), (x2, y1), (x2, y2), (x1, y2), (x1, y1)], np.float32)


def diameter_lines(region: Region) -> list[npt.NDArray[np.float32]]:
    """The longest diameter of a region's mask and the one perpendicular to it, `[2, 2]` each; none without a mask."""
    if region.measures is None:
        return []
    diameters = (region.measures.longest, region.measures.perpendicular)
    return [np.array(diameter.line, np.float32).reshape(2, 2) for diameter in diameters]
