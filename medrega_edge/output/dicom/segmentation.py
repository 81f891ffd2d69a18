"""Segmentation object: a binary segment for each region with a mask, in the scan's own pixels."""

from __future__ import annotations

import numpy as np
from highdicom import AlgorithmIdentificationSequence, seg
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from medrega_edge.answer import Answer, Region
from medrega_edge.domain import NOTICE
from medrega_edge.errors import UsageError
from medrega_edge.output.dicom.common import MANUFACTURER, identity, new_uid
from medrega_edge.output.dicom.structured_report import finding
from medrega_edge.vocabulary.terminology import term_of
from medrega_edge.vocabulary.wording import is_finding

MOST_PIXELS = 400_000_000  # of all segments, a byte each while the object is made
_NEURAL_NETWORK = Code("123110", "DCM", "Artificial Intelligence")
_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")


def segmentation(answer: Answer, source: Dataset, series_number: int) -> Dataset:
    """Build a segmentation of the scan `source`; raises UsageError.

    An answer without a mask, a scan of several frames and too many segments are refused.
    """
    masked = [region for region in answer.regions if region.mask is not None]
    if not masked:
        raise UsageError("output.no_mask_for_seg")
    if int(source.get("NumberOfFrames") or 1) > 1:
        raise UsageError("output.seg_of_frames")
    shape = (1, answer.image.height, answer.image.width, len(masked))
    if np.prod(shape, dtype=float) > MOST_PIXELS:
        raise UsageError("output.seg_too_large", segments=len(masked))
    inside = np.stack([region.mask.inside() for region in masked if region.mask], axis=-1)[None].astype(np.uint8)
    model = answer.model
    made: Dataset = seg.Segmentation(
        source_images=[source],
        pixel_array=inside,
        segmentation_type="BINARY",
        segment_descriptions=[_description(number, region, answer) for number, region in enumerate(masked, 1)],
        manufacturer_model_name=model.name,
        software_versions=model.version,
        device_serial_number=model.sha256[:64],
        content_description=NOTICE,
        content_label="MASKS",
        **identity(series_number),
    )
    return made


def _description(number: int, region: Region, answer: Answer) -> seg.SegmentDescription:
    """One segment: its name, its code, and what made it."""
    model, term = answer.model, term_of(region.label)
    parameters = {"notice": NOTICE, "package": model.sha256, "precision": model.precision}
    if region.mask is not None:
        parameters["mask score"] = f"{region.mask.score:.4f}"
    return seg.SegmentDescription(
        segment_number=number,
        segment_label=region.label[:64],
        segmented_property_category=_ABNORMAL if term is not None and is_finding(term.en) else _ANATOMY,
        segmented_property_type=finding(region.label),
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            model.name, _NEURAL_NETWORK, model.version, MANUFACTURER, parameters
        ),
        tracking_uid=new_uid(),
        tracking_id=f"{number} {region.label}"[:64],
    )
