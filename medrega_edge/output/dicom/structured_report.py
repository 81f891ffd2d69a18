"""Structured report after TID 1500: each region with its name, its score and the algorithm, and each name without one."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from typing import Any

from highdicom import sr
from pydicom.dataset import Dataset
from pydicom.sr.coding import Code

from medrega_edge.answer import Answer, ModelFacts, Region
from medrega_edge.domain import NOTICE
from medrega_edge.output.dicom.common import MANUFACTURER, frame_numbers, identity, new_uid, polyline
from medrega_edge.vocabulary.terminology import term_of

_SQUARE = {"mm": Code("mm2", "UCUM", "square millimetre"), "px": Code("{pixels}", "UCUM", "pixels")}
_LENGTH = {"mm": Code("mm", "UCUM", "millimetre"), "px": Code("{pixels}", "UCUM", "pixels")}
_VALUE = {"HU": Code("[hnsf'U]", "UCUM", "Hounsfield unit")}
SCHEME = "99MEDREGA"  # designator of our own codes, for what no public scheme has
_CERTAINTY = Code("certainty", SCHEME, "Certainty")
_BEST_GUESS = Code("best-guess", SCHEME, "Best guess, which may be wrong")
_FINDING = Code("121071", "DCM", "Finding")
_NOT_FOUND = Code("not-found", SCHEME, "Not found by the model")
_NO_REGION = Code("none", SCHEME, "No region found")


def structured_report(answer: Answer, source: Dataset, series_number: int) -> Dataset:
    """Build a Comprehensive SR about the scan `source`."""
    frames = frame_numbers(answer)
    device = sr.DeviceObserverIdentifyingAttributes(uid=new_uid(), name=MANUFACTURER, model_name=answer.model.name)
    observer = sr.ObserverContext(Code("121007", "DCM", "Device"), device)
    groups = [_region(region, answer, source, frames) for region in answer.regions]
    groups += [_without_region(name, _NOT_FOUND, answer.model, source, frames) for name in answer.not_found]
    groups = groups or [_without_region(None, _NO_REGION, answer.model, source, frames)]
    report = sr.MeasurementReport(
        observation_context=sr.ObservationContext(observer_device_context=observer),
        procedure_reported=Code("363679005", "SCT", "Imaging procedure"),
        imaging_measurements=groups,
        title=Code("126000", "DCM", "Imaging Measurement Report"),
    )
    return sr.ComprehensiveSR(evidence=[source], content=report, is_complete=True, **identity(series_number))


def _region(region: Region, answer: Answer, source: Dataset, frames: list[int] | None) -> Any:
    """TID 1410, a planar region: the box is a closed line in the image's own pixels."""
    image = sr.SourceImageForRegion(source.SOPClassUID, source.SOPInstanceUID, frames)
    score = Code("score", SCHEME, "Score of the model")
    no_unit = Code("1", "UCUM", "no units")
    scores = [] if region.confidence is None else [sr.Measurement(score, round(region.confidence, 4), no_unit)]
    return sr.PlanarROIMeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=new_uid(), identifier=region.label[:64]),
        referenced_region=sr.ImageRegion("POLYLINE", polyline(region), image),
        finding_type=finding(region.label),
        algorithm_id=_algorithm(answer.model),
        measurements=[*scores, *_measurements(region, answer)],
        qualitative_evaluations=[sr.QualitativeEvaluation(_CERTAINTY, _BEST_GUESS)] if answer.is_best_guess(region) else [],
    )


def _measurements(region: Region, answer: Answer) -> Iterator[Any]:
    """TID 300: area, both diameters, and the mean of the values. A region has no place for the diameters' lines."""
    mask, measures = region.mask, region.measures
    if mask is None or measures is None:
        return
    square = answer.image.in_square_millimetres(mask)
    area, unit = (mask.area, "px") if square is None else (round(square, 2), "mm")
    yield sr.Measurement(Code("42798000", "SCT", "Area"), area, _SQUARE[unit])
    long, short = Code("103339001", "SCT", "Long Axis"), Code("103340004", "SCT", "Short Axis")
    for name, diameter in ((long, measures.longest), (short, measures.perpendicular)):
        yield sr.Measurement(name, round(diameter.length, 2), _LENGTH[measures.unit])
    if measures.mean is not None and measures.mean_unit is not None:
        attenuation, mean = Code("112031", "DCM", "Attenuation Coefficient"), Code("373098007", "SCT", "Mean")
        yield sr.Measurement(attenuation, round(measures.mean, 2), _VALUE[measures.mean_unit], derivation=mean)


def _without_region(name: str | None, value: Code, model: ModelFacts, source: Dataset, frames: list[int] | None) -> Any:
    """What was searched for and not found; without a name that nothing was found."""
    return sr.MeasurementsAndQualitativeEvaluations(
        tracking_identifier=sr.TrackingIdentifier(uid=new_uid(), identifier=(name or "no region")[:64]),
        source_images=[sr.SourceImageForMeasurementGroup(source.SOPClassUID, source.SOPInstanceUID, frames)],
        algorithm_id=_algorithm(model),
        finding_type=None if name is None else finding(name),
        qualitative_evaluations=[sr.QualitativeEvaluation(_FINDING, value)],
    )


def _algorithm(model: ModelFacts) -> Any:
    parameters = [NOTICE, f"package {model.sha256}", f"precision {model.precision}"]
    return sr.AlgorithmIdentification(model.name, model.version, parameters, manufacturer=MANUFACTURER)


def finding(label: str) -> Any:
    """Return the label's SNOMED CT code where the terminology has one, else a code of our own whose meaning is the label."""
    term = term_of(label)
    if term is None or term.snomed is None:
        return Code(hashlib.sha256(label.encode()).hexdigest()[:16], SCHEME, label[:64])
    return Code(term.snomed, "SCT", term.en)
