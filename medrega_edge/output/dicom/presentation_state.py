"""Softcopy presentation state: boxes, names and the notice, which any viewer draws over the scan itself."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt
from highdicom import pr
from PIL import ImageCms
from pydicom.dataset import Dataset
from pydicom.valuerep import format_number_as_ds

from medrega_edge.answer import Answer
from medrega_edge.domain import NOTICE, Modality
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.geometry import pixel_aspect_ratio
from medrega_edge.images.dicom.rendering import FrameRenderer
from medrega_edge.output.dicom.common import diameter_lines, frame_numbers, identity, polyline
from medrega_edge.output.dicom.tracking import Tracking
from medrega_edge.output.overlay import region_name

LAYER = "MEDREGA"
_REPLACED = (
    *("SamplesPerPixel", "PhotometricInterpretation", "SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"),
    *("RescaleSlope", "RescaleIntercept", "RescaleType", "ModalityLUTSequence"),
    *("WindowCenter", "WindowWidth", "VOILUTFunction", "VOILUTSequence"),
)


def presentation_state(answer: Answer, source: Dataset, series_number: int, tracked: Sequence[Tracking]) -> Dataset:
    """Build a grayscale or colour softcopy presentation state about the scan `source`; `tracked` names each region."""
    frames = frame_numbers(answer)
    layer = pr.GraphicLayer(LAYER, order=1, description=NOTICE)
    lines: list[tuple[npt.NDArray[np.float32], Tracking]] = []
    names = []
    for region, tracking in zip(answer.regions, tracked, strict=True):
        lines.append((polyline(region.box), tracking))
        name, corner = region_name(region, answer.is_best_guess(region)), tuple(region.box)[:2]
        names.append(pr.TextObject(name, "PIXEL", anchor_point=corner, **_named(tracking)))
    for region, tracking in zip(answer.regions, tracked, strict=True):
        lines += [(line, tracking) for line in diameter_lines(region)]
    drawn = [pr.GraphicObject("POLYLINE", line, "PIXEL", **_named(tracking)) for line, tracking in lines]
    notice = pr.TextObject(NOTICE, "DISPLAY", bounding_box=(0.0, 0.95, 1.0, 1.0))
    scan = _for_highdicom(source)
    annotation = pr.GraphicAnnotation([scan], layer, graphic_objects=drawn, text_objects=[*names, notice])
    options: dict[str, Any] = {
        "referenced_images": [scan],
        "content_label": "MEDREGA",
        "content_description": NOTICE,
        "graphic_annotations": [annotation],
        "graphic_layers": [layer],
        **identity(series_number, "AI regions (GSPS)", answer.model),
    }
    if scan.SamplesPerPixel == 1:
        made = pr.GrayscaleSoftcopyPresentationState(**options)
        _show_as_seen(made, answer, source)
    else:
        profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
        # DICOM wants the profile of an input device (PS3.3 C.11.15); this one is the same table under a monitor's name.
        made = pr.ColorSoftcopyPresentationState(icc_profile=profile[:12] + b"scnr" + profile[16:], **options)
    made.DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio = pixel_aspect_ratio(source, answer.image.frame)
    if frames:  # the window and the rescale are those of this frame, too
        for item in (made.GraphicAnnotationSequence[0], made.ReferencedSeriesSequence[0]):
            item.ReferencedImageSequence[0].ReferencedFrameNumber = frames
    return made


def _named(tracking: Tracking) -> dict[str, str]:
    return {"tracking_uid": tracking.uid, "tracking_id": tracking.identifier}


def _for_highdicom(source: Dataset) -> Dataset:
    """The scan as highdicom reads it: a palette as RGB, and without grey values, which `_show_as_seen` writes."""
    scan = Dataset()
    scan.update(source)
    for keyword in _REPLACED:  # the two share their elements
        scan.pop(keyword, None)
    is_palette = source.PhotometricInterpretation == "PALETTE COLOR"
    scan.SamplesPerPixel = 3 if is_palette else source.SamplesPerPixel
    scan.PhotometricInterpretation = "RGB" if is_palette else source.PhotometricInterpretation
    scan.SharedFunctionalGroupsSequence = [Dataset()]
    scan.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(int(source.get("NumberOfFrames") or 1))]
    return scan


def _show_as_seen(made: Dataset, answer: Answer, source: Dataset) -> None:
    """Let a viewer map stored values to grey as the reader did for this answer (PS3.3 A.33.1)."""
    renderer = FrameRenderer(source, answer.image.frame or 0, answer.image.modality, Message("image.given"))
    if table := renderer.modality_table():
        made.ModalityLUTSequence = [_item(table.first, table.outputs, ModalityLUTType="US")]
    elif rescale := renderer.rescale():
        made.RescaleSlope, made.RescaleIntercept = (format_number_as_ds(value) for value in rescale)
        hounsfield = answer.image.modality is Modality.CT
        made.RescaleType = str(source.get("RescaleType") or ("HU" if hounsfield else "US"))
    if answer.image.window:
        voi = Dataset()
        voi.WindowCenter, voi.WindowWidth = (format_number_as_ds(value) for value in answer.image.window)
        voi.VOILUTFunction = answer.image.window_function
        made.SoftcopyVOILUTSequence = [voi]
    elif table := renderer.voi_table():
        outputs = np.clip(np.round(table.outputs * (65535 / table.maximum)), 0, 65535)
        made.SoftcopyVOILUTSequence = [Dataset()]
        made.SoftcopyVOILUTSequence[0].VOILUTSequence = [_item(table.first, outputs)]
    made.PresentationLUTShape = "INVERSE" if source.PhotometricInterpretation == "MONOCHROME1" else "IDENTITY"


def _item(first: int, outputs: npt.NDArray[Any], **tags: str) -> Dataset:
    """A lookup table of 16 bits."""
    item = Dataset()
    descriptor = np.array([len(outputs), first, 16]).astype("i2" if first < 0 else "u2").tolist()
    item.add_new("LUTDescriptor", "SS" if first < 0 else "US", descriptor)
    item.add_new("LUTData", "OW", outputs.astype("<u2").tobytes())
    item.update(tags)
    return item
