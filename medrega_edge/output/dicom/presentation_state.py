"""Softcopy presentation state: boxes, names and the notice, which any viewer draws over the scan itself."""

from __future__ import annotations

from typing import Any

from highdicom import pr
from PIL import ImageCms
from pydicom.dataset import Dataset

from medrega_edge import __version__
from medrega_edge.answer import Answer, Region
from medrega_edge.domain import NOTICE
from medrega_edge.images.dicom.functional_groups import frame_value
from medrega_edge.output.dicom.common import frame_numbers, identity, polyline

LAYER = "MEDREGA"


def presentation_state(answer: Answer, source: Dataset, series_number: int) -> Dataset:
    """Build a grayscale or colour softcopy presentation state about the scan `source`."""
    frames = frame_numbers(answer)
    layer = pr.GraphicLayer(LAYER, order=1, description=NOTICE)
    boxes = [pr.GraphicObject("POLYLINE", polyline(region), "PIXEL") for region in answer.regions]
    names = [pr.TextObject(_name(region), "PIXEL", anchor_point=tuple(region.box)[:2]) for region in answer.regions]
    notice = pr.TextObject(NOTICE, "DISPLAY", bounding_box=(0.0, 0.95, 1.0, 1.0))
    scan = _for_highdicom(source, answer.image.frame)
    annotation = pr.GraphicAnnotation(
        [scan], layer, referenced_frame_number=frames, graphic_objects=boxes, text_objects=[*names, notice]
    )
    options: dict[str, Any] = {
        "referenced_images": [scan],
        "manufacturer_model_name": answer.model.name[:64],
        "software_versions": __version__,
        "device_serial_number": answer.model.sha256[:12],
        "content_label": "MEDREGA",
        "content_description": NOTICE,
        "graphic_annotations": [annotation],
        "graphic_layers": [layer],
        **identity(series_number),
    }
    if scan.SamplesPerPixel == 1:
        if answer.image.window:  # the viewer opens with the window that the model's input had
            options["voi_lut_transformations"] = [pr.SoftcopyVOILUTTransformation(*answer.image.window)]
        return pr.GrayscaleSoftcopyPresentationState(**options)
    profile = ImageCms.ImageCmsProfile(ImageCms.createProfile("sRGB")).tobytes()
    # DICOM wants the profile of an input device (PS3.3 C.11.15); this one is the same table under a monitor's name.
    return pr.ColorSoftcopyPresentationState(icc_profile=profile[:12] + b"scnr" + profile[16:], **options)


def _for_highdicom(source: Dataset, frame: int | None) -> Dataset:
    """The scan as highdicom expects it: a palette as RGB; of several frames, the rescale of `frame` for all."""
    scan = Dataset()
    scan.update(source)
    if source.PhotometricInterpretation == "PALETTE COLOR":
        scan.SamplesPerPixel, scan.PhotometricInterpretation = 3, "RGB"
    if frame is None:
        return scan
    keywords = ("RescaleSlope", "RescaleIntercept", "RescaleType")
    rescale = {keyword: frame_value(source, frame, "PixelValueTransformationSequence", keyword) for keyword in keywords}
    transformation, shared = Dataset(), Dataset()
    if None not in rescale.values():
        transformation.update(rescale)
        shared.PixelValueTransformationSequence = [transformation]
    scan.SharedFunctionalGroupsSequence = [shared]
    scan.PerFrameFunctionalGroupsSequence = [Dataset() for _ in range(int(source.NumberOfFrames))]
    return scan


def _name(region: Region) -> str:
    return region.label if region.confidence is None else f"{region.label} {region.confidence:.2f}"
