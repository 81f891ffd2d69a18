"""What all DICOM objects share: identity, references to the scan, boxes as polylines."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from pydicom.uid import generate_uid

from medrega_edge.answer import Answer, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import NOTICE

MANUFACTURER = "medrega-edge"


def new_uid() -> str:
    """A new UID of the kind 2.25."""
    return str(generate_uid(prefix=None))


def identity(series_number: int) -> dict[str, Any]:
    """Arguments of highdicom's constructors that make an object the only one of a new series."""
    return {
        "series_instance_uid": new_uid(),
        "series_number": series_number,
        "sop_instance_uid": new_uid(),
        "instance_number": 1,
        "manufacturer": MANUFACTURER,
        "series_description": NOTICE,
        "specific_character_set": "ISO_IR 192",
    }


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
