"""Secondary capture of the picture with its regions drawn, for viewers that show neither report nor presentation state."""

from __future__ import annotations

from datetime import datetime

import numpy as np
from highdicom import sc
from PIL import Image
from pydicom.dataset import Dataset
from pydicom.encaps import generate_fragments
from pydicom.uid import JPEGBaseline8Bit, JPEGExtended12Bit, JPEGLSNearLossless

from medrega_edge import __version__
from medrega_edge.answer import Answer
from medrega_edge.domain import MANUFACTURER, NOTICE
from medrega_edge.images.dicom.geometry import pixel_aspect_ratio
from medrega_edge.output.dicom.common import frame_numbers, identity

# highdicom leaves these out; an archive may tell patients apart by the issuer.
_OF_PATIENT_AND_STUDY = ("IssuerOfPatientID", "IssuerOfPatientIDQualifiersSequence", "StudyDescription")
# JPEG 2000 may be lossless in its lossy syntax; there the header counts.
_LOSSY = {JPEGBaseline8Bit: "ISO_10918_1", JPEGExtended12Bit: "ISO_10918_1", JPEGLSNearLossless: "ISO_14495_1"}


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
        **identity(series_number, "AI picture (SC)", answer.model),
    )
    orientation = answer.image.sides
    made.PatientOrientation = [orientation[2], orientation[3]] if orientation else None
    aspect = pixel_aspect_ratio(source, answer.image.frame)
    if aspect != [1, 1]:
        made.PixelAspectRatio = aspect
    made.DerivationDescription = f"{MANUFACTURER} {__version__}: regions drawn into a copy. {NOTICE}"
    made.ImageType = ["DERIVED", "SECONDARY"]
    for keyword in _OF_PATIENT_AND_STUDY:
        if source.get(keyword):
            made[keyword] = source[keyword]
    _copy_lossy_compression(made, source)
    made.SourceImageSequence = [_reference(answer, source)]
    now = datetime.now()
    made.ContentDate, made.ContentTime = now.strftime("%Y%m%d"), now.strftime("%H%M%S")
    return made


def _copy_lossy_compression(made: Dataset, source: Dataset) -> None:
    """Say of the copy that its scan lost information to compression, once and for all (PS3.3 C.7.6.1.1.5)."""
    method = _LOSSY.get(source.file_meta.TransferSyntaxUID)
    if source.get("LossyImageCompression") != "01" and method is None:
        return
    made.LossyImageCompression = "01"
    if method:
        samples = source.Rows * source.Columns * source.SamplesPerPixel * int(source.get("NumberOfFrames") or 1)
        ratio = samples * source.BitsAllocated / 8 / sum(map(len, generate_fragments(source.PixelData)))
        made.LossyImageCompressionRatio, made.LossyImageCompressionMethod = f"{ratio:.2f}", method
    for keyword in ("LossyImageCompressionRatio", "LossyImageCompressionMethod"):
        if source.get(keyword):
            made[keyword] = source[keyword]


def _reference(answer: Answer, source: Dataset) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID = source.SOPClassUID
    item.ReferencedSOPInstanceUID = source.SOPInstanceUID
    if frames := frame_numbers(answer):
        item.ReferencedFrameNumber = frames
    return item
