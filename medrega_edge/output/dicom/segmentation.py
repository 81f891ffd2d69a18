"""Segmentation object: a binary segment for each region with a mask, in the pixels of a scan or of a series of scans."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from statistics import fmean

import numpy as np
import numpy.typing as npt
from highdicom import AlgorithmIdentificationSequence, seg
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from medrega_edge.answer import Answer, ImageFacts, ModelFacts
from medrega_edge.domain import MANUFACTURER, NOTICE
from medrega_edge.errors import UsageError
from medrega_edge.output.dicom.common import identity
from medrega_edge.output.dicom.tracking import Tracking
from medrega_edge.volumes.answer import VolumeAnswer

MOST_PIXELS = 400_000_000  # of all segments, a byte each while the object is made
_NEURAL_NETWORK = Code("123110", "DCM", "Artificial Intelligence")
_ANATOMY = Code("123037004", "SCT", "Anatomical Structure")
_ABNORMAL = Code("49755003", "SCT", "Morphologically Abnormal Structure")


def segmentation(answer: Answer, source: Dataset, series_number: int, tracked: Sequence[Tracking]) -> Dataset:
    """Build a segmentation of the scan `source`, in which `tracked` names each region; raises UsageError.

    An answer without a mask, a scan of several frames and too many segments are refused.
    """
    masked = [pair for pair in zip(answer.regions, tracked, strict=True) if pair[0].mask is not None]
    inside = _empty([source], answer.image, len(masked))
    for segment, (region, _) in enumerate(masked):
        if region.mask is not None:
            inside[0, ..., segment] = region.mask.inside()
    named = [(region.mask.score, tracking) for region, tracking in masked if region.mask]
    return _made([source], inside, named, answer.model, series_number)


def segmentation_of_series(
    answer: VolumeAnswer, sources: Mapping[int, Dataset], series_number: int, tracked: Sequence[Tracking]
) -> Dataset:
    """Build a segmentation of a series from the slices of `sources`: all that have a mask, by their number.

    Raises UsageError as `segmentation`.
    """
    masked = [pair for pair in zip(answer.regions, tracked, strict=True) if any(pair[0].masks)]
    inside = _empty(sources.values(), answer.image, len(masked))
    places = {number: place for place, number in enumerate(sources)}
    for segment, (region, _) in enumerate(masked):
        for one, mask in zip(region.boxes, region.masks, strict=True):
            if mask is not None:
                inside[places[one.slice], ..., segment] = mask.inside()
    named = [(fmean(mask.score for mask in region.masks if mask), tracking) for region, tracking in masked]
    return _made([*sources.values()], inside, named, answer.model, series_number)


def _empty(sources: Collection[Dataset], image: ImageFacts, segments: int) -> npt.NDArray[np.uint8]:
    """Return an empty `[sources, height, width, segments]`; raises UsageError for what no object can hold."""
    if not segments:
        raise UsageError("output.no_mask_for_seg")
    if any(int(source.get("NumberOfFrames") or 1) > 1 for source in sources):
        raise UsageError("output.seg_of_frames")
    shape = (len(sources), image.height, image.width, segments)
    if np.prod(shape, dtype=float) > MOST_PIXELS:
        raise UsageError("output.seg_too_large", segments=segments)
    return np.zeros(shape, np.uint8)


def _made(
    sources: list[Dataset],
    inside: npt.NDArray[np.uint8],
    named: Sequence[tuple[float, Tracking]],
    model: ModelFacts,
    series_number: int,
) -> Dataset:
    """Make the object of `inside` `[sources, height, width, segments]`, each with the score of its mask and its tracking."""
    made: Dataset = seg.Segmentation(
        source_images=sources,
        pixel_array=inside,
        segmentation_type="BINARY",
        segment_descriptions=[_description(number, *each, model) for number, each in enumerate(named, 1)],
        content_description=NOTICE,
        content_label="MASKS",
        **identity(series_number, "AI masks (SEG)", model),
    )
    return made


def _description(number: int, score: float, tracking: Tracking, model: ModelFacts) -> seg.SegmentDescription:
    """One segment: its name, its code, and what made it."""
    parameters = {"notice": NOTICE, "package": model.sha256, "precision": model.precision, "mask score": f"{score:.4f}"}
    return seg.SegmentDescription(
        segment_number=number,
        segment_label=tracking.label[:64],
        segmented_property_category=_ABNORMAL if tracking.is_abnormal else _ANATOMY,
        segmented_property_type=tracking.code,
        algorithm_type="AUTOMATIC",
        algorithm_identification=AlgorithmIdentificationSequence(
            model.name, _NEURAL_NETWORK, model.version, MANUFACTURER, parameters
        ),
        tracking_uid=tracking.uid,
        tracking_id=tracking.identifier,
    )
