"""DICOM -> MedicalImage: one frame, as the standard defines it for a screen.

Of the header only closed sets go on: modality, letters of directions, names of the standard. Free text may name a patient.
"""

from __future__ import annotations

import warnings
from collections.abc import Iterator

from pydicom.dataset import Dataset
from pydicom.errors import InvalidDicomError
from pydicom.multival import MultiValue

from medrega_edge.domain import MANUFACTURER, Modality
from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.functional_groups import functional_group
from medrega_edge.images.dicom.geometry import patient_orientation, pixel_aspect_ratio, pixel_spacing
from medrega_edge.images.dicom.header import read_header
from medrega_edge.images.dicom.rendering import TABLE_TO_INTENSITY, FrameRenderer
from medrega_edge.images.dicom.validation import check_no_video, check_pixel_data
from medrega_edge.images.medical_image import MedicalImage, Source, View, as_image_error, check_size, select_index
from medrega_edge.images.signatures import is_bare_dataset, is_program

_MODALITY = {
    "CT": Modality.CT,
    "MR": Modality.MRI,
    "CR": Modality.XRAY,
    "DX": Modality.XRAY,
    "RF": Modality.XRAY,
    "XA": Modality.XRAY,
    "MG": Modality.MAMMOGRAPHY,
    "US": Modality.ULTRASOUND,
    "OP": Modality.FUNDUS,
    "OPT": Modality.OCT,
    "ES": Modality.ENDOSCOPY,
    "SM": Modality.PATHOLOGY,
    "GM": Modality.PATHOLOGY,
}
_OTHER_KINDS = ("NM", "PT", "IVUS", "IVOCT", "BI", "DMS", "ECG", "TG")  # no free text: it may name a patient


def read_dicom(source: Source, view: View) -> MedicalImage:
    """Read one frame of a DICOM file; raises ImageError, or ResourceError where a decoder has to be installed."""
    name = source.name
    with (
        as_image_error(Message("dicom.damaged", image=name)),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter("ignore")  # pydicom's would quote header values, and they may be a patient's
        try:
            dataset = read_header(source.data, name)
            rows, columns = int(dataset.Rows), int(dataset.Columns)
            count = int(dataset.get("NumberOfFrames", 1) or 1)
        except (InvalidDicomError, AttributeError):
            raise ImageError("dicom.no_picture", image=name) from None
        check_no_video(dataset, name)
        check_size(columns, rows, name)
        index = select_index(view.frame, count, name)
        frame = index or 0
        check_pixel_data(dataset, max(count, 1), frame, name)
        modality = _MODALITY.get(str(dataset.get("Modality", "")))
        rendering = FrameRenderer(dataset, frame, modality, name).render(view)
        orientation = patient_orientation(dataset, frame)
        spacing, areas = pixel_spacing(dataset, frame, modality)
        not_applied = tuple(_not_applied(dataset, frame))
        stated = str(dataset.get("Modality", ""))
    notes = list(rendering.warnings)
    if stated in _OTHER_KINDS:
        notes.append(Message("dicom.other_kind", kind=stated))
    if str(dataset.get("Manufacturer", "")) == MANUFACTURER:
        notes.append(Message("dicom.own_result"))
    if is_program(source.data):
        notes.append(Message("dicom.program"))
    if is_bare_dataset(source.data):
        notes.append(Message("dicom.no_preamble"))
    if "MOSAIC" in (dataset.get("ImageType") or ()):
        notes.append(Message("dicom.mosaic"))
    if _has_two_polarities(dataset):
        notes.append(Message("dicom.two_polarities"))
    if orientation and orientation[0][0] == "L":
        notes.append(Message("dicom.left_on_the_left"))
    return MedicalImage(
        rendering.pixels,
        source.sha256,
        source.path,
        modality=modality,
        frame=index,
        window=rendering.window,
        window_function=rendering.function,
        spacing_mm=spacing,
        spacing_areas=areas,
        patient_orientation=orientation,
        warnings=tuple(notes),
        reading=rendering.steps,
        not_applied=not_applied,
        values=rendering.values,
        value_unit=rendering.unit,
    )


def _not_applied(dataset: Dataset, frame: int) -> Iterator[Message]:
    """What a file states about its display and `FrameRenderer` does not do."""
    voi = functional_group(dataset, frame, "FrameVOILUTSequence", "VOILUTSequence", "WindowCenter")
    tables, centres = len(voi.get("VOILUTSequence") or ()), voi.get("WindowCenter")
    windows = len(centres) if isinstance(centres, MultiValue) else int(bool(centres) or centres == 0)
    if "ICCProfile" in dataset:
        yield Message("reading.colour_profile")
    if any(0x6000 <= tag.group <= 0x60FF for tag in dataset.keys()):
        yield Message("reading.overlays")
    if "ShutterShape" in dataset:
        yield Message("reading.shutter")
    if "PresentationLUTSequence" in dataset or _has_two_polarities(dataset):
        yield Message("reading.presentation_table")
    if dataset.PhotometricInterpretation == "MONOCHROME2" and "RedPaletteColorLookupTableDescriptor" in dataset:
        yield Message("reading.supplemental_palette")
    if "ModalityLUTSequence" in dataset and dataset.get("SOPClassUID") in TABLE_TO_INTENSITY:
        yield Message("reading.table_to_intensity")
    if "MaskSubtractionSequence" in dataset:
        yield Message("reading.mask_subtraction")
    if tables + windows > 1:
        yield Message("reading.further_windows", count=tables + windows - 1)
    if (aspect := pixel_aspect_ratio(dataset, frame)) != [1, 1]:
        yield Message("reading.aspect", down=aspect[0], across=aspect[1])


def _has_two_polarities(dataset: Dataset) -> bool:
    """Whether the Presentation LUT Shape makes dark what the photometric interpretation makes bright (C.11.6.1.2)."""
    shapes = {"MONOCHROME1": "INVERSE", "MONOCHROME2": "IDENTITY"}
    expected = shapes.get(str(dataset.PhotometricInterpretation))
    return expected is not None and str(dataset.get("PresentationLUTShape")) in set(shapes.values()) - {expected}
