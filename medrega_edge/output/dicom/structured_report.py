"""Structured report after TID 1500: each region with its name, its score and the algorithm, and each name without one.

It is about one image, or about the objects of a whole series. Beside the regions stand the question, the answer in words
and the warnings: an answer without a region is these words alone.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from medrega_edge.answer import Answer, ModelFacts, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import MANUFACTURER, NOTICE
from medrega_edge.measures import Measures
from medrega_edge.output.dicom.common import SCHEME, device_uid, frame_numbers, identity, new_uid, polyline
from medrega_edge.output.dicom.tracking import Tracked, Tracking
from medrega_edge.output.region_rows import figures_of_all
from medrega_edge.volumes.answer import VolumeAnswer, VolumeRegion

_SQUARE = {"mm": Code("mm2", "UCUM", "square millimetre"), "px": Code("{pixels}", "UCUM", "pixels")}
_LENGTH = {"mm": Code("mm", "UCUM", "millimetre"), "px": Code("{pixels}", "UCUM", "pixels")}
_MILLILITRE = Code("ml", "UCUM", "millilitre")
_VALUE = {"HU": Code("[hnsf'U]", "UCUM", "Hounsfield unit")}
_CERTAINTY = Code("certainty", SCHEME, "Certainty")
_BEST_GUESS = Code("best-guess", SCHEME, "Best guess, which may be wrong")
_FINDING = Code("121071", "DCM", "Finding")
_NOT_FOUND = Code("not-found", SCHEME, "Not found by the model")
_NO_REGION = Code("none", SCHEME, "No region found")
_IN_WORDS = Code("C0034375", "UMLS", "Qualitative Evaluations")  # container of TID 1500, row 16
_QUESTION = Code("question", SCHEME, "Question")
_ANSWER = Code("answer", SCHEME, "Answer of the model")
_FIGURE = Code("figure", SCHEME, "Figure of the answer")
_WARNING = Code("warning", SCHEME, "Warning")


def structured_report(answer: Answer, source: Dataset, series_number: int, tracked: Tracked, question: str = "") -> Dataset:
    """Build a Comprehensive SR about the scan `source`; `tracked` names its findings, `question` is the user's, or empty."""
    frames = frame_numbers(answer)
    seen = sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID, frames)
    groups = [_region(*pair, answer, source, frames) for pair in zip(answer.regions, tracked.regions, strict=True)]
    groups += [_without_region(tracking, _NOT_FOUND, answer.model, [seen]) for tracking in tracked.absent]
    groups = groups or [_without_region(None, _NO_REGION, answer.model, [seen])]
    return _report(groups, [source], answer, series_number, question)


def structured_report_of_series(
    answer: VolumeAnswer,
    sources: Mapping[int, tuple[Dataset, int | None]],
    series_number: int,
    tracked: Tracked,
    evidence: Sequence[Dataset],
    question: str = "",
) -> Dataset:
    """Build a Comprehensive SR about a series: each object with its box in each slice, its volume and its diameters.

    `sources` are the scans of all slices with a box, and one at least, each with its frame, by the number of the slice.
    `evidence` are the scans of all slices, of which those without a box may be no more than their UIDs.
    """
    groups = [_object(*pair, answer.model, sources) for pair in zip(answer.regions, tracked.regions, strict=True)]
    groups += [_without_region(tracking, _NOT_FOUND, answer.model, None) for tracking in tracked.absent]
    groups = groups or [_without_region(None, _NO_REGION, answer.model, None)]
    return _report(groups, evidence, answer, series_number, question)


def _report(
    groups: Sequence[Any], evidence: Sequence[Dataset], answer: Answer | VolumeAnswer, series_number: int, question: str
) -> Dataset:
    model = answer.model
    device = sr.DeviceObserverIdentifyingAttributes(
        uid=device_uid(model), name=MANUFACTURER, manufacturer_name=MANUFACTURER, model_name=model.name
    )
    observer = sr.ObserverContext(Code("121007", "DCM", "Device"), device)
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=Code("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups,
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    report[0].ContentSequence.extend(_in_words(answer, question))
    own = identity(series_number, "AI report (SR)", model)
    return sr.ComprehensiveSR(evidence=list(evidence), content=report, is_complete=True, **own)


def _in_words(answer: Answer | VolumeAnswer, question: str) -> list[Any]:
    """What was asked, the answer, its figures, and what the user is warned of: a report of boxes alone would lose it."""
    words = [(_QUESTION, question), (_ANSWER, answer.text)]
    if isinstance(answer, Answer):
        words += [(_FIGURE, figure.text(answer.language)) for figure in figures_of_all(answer)]
    words += [(_WARNING, warning.text(answer.language)) for warning in answer.warnings]
    items = [sr.TextContentItem(name, text, relationship_type="CONTAINS") for name, text in words if text.strip()]
    container = sr.ContainerContentItem(_IN_WORDS, relationship_type="CONTAINS")
    container.ContentSequence = sr.ContentSequence(items)
    return [container] if items else []


def _region(region: Region, tracking: Tracking, answer: Answer, source: Dataset, frames: list[int] | None) -> Any:
    """TID 1410, a planar region: the box is a closed line in the image's own pixels."""
    scores = [] if region.confidence is None else [_score(region.confidence)]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(tracking.uid, tracking.identifier),
        referenced_region=_image_region(region.box, source, frames),
        finding_type=tracking.code,
        algorithm_id=_algorithm(answer.model),
        measurements=[*scores, *_measurements(region, answer)],
        qualitative_evaluations=_certainty(answer.is_best_guess(region)),
    )


def _object(
    region: VolumeRegion, tracking: Tracking, model: ModelFacts, sources: Mapping[int, tuple[Dataset, int | None]]
) -> Any:
    """TID 1411, a region of several slices: the box in each is a closed line in the pixels of its image."""
    places = []
    for one in region.boxes:
        source, frame = sources[one.slice]
        places.append(_image_region(one.box, source, None if frame is None else [frame + 1]))
    measurements = [_score(region.confidence)]
    if region.millilitres is not None:
        measurements.append(sr.Measurement(Code("118565006", "SCT", "Volume"), round(region.millilitres, 2), _MILLILITRE))
    if region.longest is not None:
        measurements += _diameters(region.longest[1])
    return sr.VolumetricROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(tracking.uid, tracking.identifier),
        referenced_regions=places,
        finding_type=tracking.code,
        algorithm_id=_algorithm(model),
        measurements=measurements,
        qualitative_evaluations=_certainty(region.is_best_guess),
    )


def _image_region(box: PixelBox, source: Dataset, frames: list[int] | None) -> Any:
    image = sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID, frames)
    return sr.ImageRegion("POLYLINE", polyline(box), image)


def _score(confidence: float) -> Any:
    return sr.Measurement(Code("score", SCHEME, "Score of the model"), round(confidence, 4), Code("1", "UCUM", "no units"))


def _certainty(is_best_guess: bool) -> list[Any]:
    return [sr.QualitativeEvaluation(_CERTAINTY, _BEST_GUESS)] if is_best_guess else []


def _measurements(region: Region, answer: Answer) -> Iterator[Any]:
    """TID 300: area, both diameters, and the mean of the values. A region has no place for the diameters' lines."""
    mask, measures = region.mask, region.measures
    if mask is None or measures is None:
        return
    square = answer.image.in_square_millimetres(mask)
    area, unit = (mask.area, "px") if square is None else (round(square, 2), "mm")
    yield sr.Measurement(Code("42798000", "SCT", "Area"), area, _SQUARE[unit])
    yield from _diameters(measures)
    if measures.mean is not None and measures.mean_unit is not None:
        attenuation, mean = Code("112031", "DCM", "Attenuation Coefficient"), Code("373098007", "SCT", "Mean")
        yield sr.Measurement(attenuation, round(measures.mean, 2), _VALUE[measures.mean_unit], derivation=mean)


def _diameters(measures: Measures) -> Iterator[Any]:
    long, short = Code("103339001", "SCT", "Long Axis"), Code("103340004", "SCT", "Short Axis")
    for name, diameter in ((long, measures.longest), (short, measures.perpendicular)):
        yield sr.Measurement(name, round(diameter.length, 2), _LENGTH[measures.unit])


def _without_region(tracking: Tracking | None, value: Code, model: ModelFacts, images: Sequence[Any] | None) -> Any:
    """What was searched for in the images, None for all of the series, and not found; without a name that nothing was."""
    uid, identifier = (new_uid(), "no region") if tracking is None else (tracking.uid, tracking.identifier)
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid, identifier),
        source_images=images,
        algorithm_id=_algorithm(model),
        finding_type=None if tracking is None else tracking.code,
        qualitative_evaluations=[sr.QualitativeEvaluation(_FINDING, value)],
    )


def _algorithm(model: ModelFacts) -> Any:
    parameters = [NOTICE, f"package {model.sha256}", f"precision {model.precision}"]
    return sr.AlgorithmIdentification(model.name, model.version, parameters, manufacturer=MANUFACTURER)
