"""Secondary capture of the picture with its regions drawn, for viewers that show neither report nor presentation state."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from highdicom import sc
from PIL import Image
from pydicom.dataset import Dataset

from medrega_edge import __version__
from medrega_edge.answer import Answer
from medrega_edge.domain import NOTICE
from medrega_edge.images.dicom.geometry import pixel_aspect_ratio
from medrega_edge.output.dicom.common import MANUFACTURER, frame_numbers, identity


def secondary_capture(answer: Answer, source: Dataset, series_number: int, picture: Image.Image) -> Dataset:
    """Build a secondary capture of `picture`, RGB, derived from the scan `source`."""
    made: Dataset = sc.SCImage.from_ref_dataset(
        source,
        pixel_array=np.ascontiguousarray(picture),
        photometric_interpretation="RGB",
        bits_allocated=8,
        coordinate_system="PATIENT",
        patient_orientation=("L", "P"),
        transfer_syntax_uid="1.2.840.10008.1.2.1",
        **identity(series_number),
    )
    orientation = answer.image.sides
    made.PatientOrientation = [orientation[2], orientation[3]] if orientation else None
    aspect = pixel_aspect_ratio(source, answer.image.frame)
    if aspect != [1, 1]:
        made.PixelAspectRatio = aspect
    made.DerivationDescription = f"{MANUFACTURER} {__version__}: regions drawn into a copy. {NOTICE}"
    made.ImageType = ["DERIVED", "SECONDARY"]
    made.SourceImageSequence = [_reference(answer, source)]
    now = datetime.now()
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    return made


def _reference(answer: Answer, source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if frames := frame_numbers(answer):
        item.ReferencedFrameNumber = frames
    return item
