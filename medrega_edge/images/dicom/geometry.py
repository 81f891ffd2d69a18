"""Where a DICOM picture lies in the patient: millimetres of a pixel and directions at its sides."""

from __future__ import annotations

from collections.abc import Iterable
from fractions import Fraction

import numpy as np
from pydicom.dataset import Dataset

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import PROJECTIONS, Modality
from medrega_edge.images.dicom.functional_groups import frame_value
from medrega_edge.images.dicom.numbers import first_number, vector

Spacing = tuple[float, float]  # millimetres across and down

_OPPOSITE = {"R": "L", "L": "R", "A": "P", "P": "A", "H": "F", "F": "H"}
_MAX_LEAN = 0.1  # the cosine between rows and columns, which are at right angles: six degrees
_MIN_COSINE = 0.4  # a direction that leans by more than 24 degrees gets two letters

_TWO_DIMENSIONAL, _CENTIMETRES = 1, 3  # of RegionSpatialFormat and of PhysicalUnits (C.8.5.5.1.1, C.8.5.5.1.15)
_REGION_BOUNDS = ("RegionLocationMinX0", "RegionLocationMinY0", "RegionLocationMaxX1", "RegionLocationMaxY1")
_REGION_UNITS = ("PhysicalUnitsXDirection", "PhysicalUnitsYDirection")


def pixel_spacing(dataset: Dataset, frame: int, modality: Modality | None) -> tuple[Spacing | None, tuple[PixelBox, ...]]:
    """Spacing in the patient, None if the file does not state it, and the areas where it holds; no area means everywhere."""
    if regions := dataset.get("SequenceOfUltrasoundRegions"):
        return _ultrasound_spacing(regions)
    spacing = frame_value(dataset, frame, "PixelMeasuresSequence", "PixelSpacing")
    detector = dataset.get("ImagerPixelSpacing")
    calibrated = "PixelSpacingCalibrationType" in dataset or spacing != detector
    numbers = vector(spacing, 2)
    # A projection is larger than the patient: without calibration its spacing is that of the detector.
    if numbers is None or (modality in PROJECTIONS and not calibrated):
        return None, ()
    down, across = numbers
    return (across, down) if 0 < across < 1000 and 0 < down < 1000 else None, ()


def pixel_aspect_ratio(dataset: Dataset, frame: int | None) -> list[int]:
    """Height and width of a pixel, as whole numbers; [1, 1] if the file does not state them."""
    for size in (
        frame_value(dataset, frame or 0, "PixelMeasuresSequence", "PixelSpacing"),
        *(dataset.get(keyword) for keyword in ("ImagerPixelSpacing", "NominalScannedPixelSpacing", "PixelAspectRatio")),
    ):
        numbers = vector(size, 2)
        if numbers and min(numbers) > 0:
            return list(Fraction(numbers[0] / numbers[1]).limit_denominator(1000).as_integer_ratio())
    return [1, 1]


def _ultrasound_spacing(regions: Iterable[Dataset]) -> tuple[Spacing | None, tuple[PixelBox, ...]]:
    """Spacing of an ultrasound picture and the areas where it holds (C.8.5.5).

    Regions of tissue have a scale; curves over time do not. The spacing is that of the largest region in centimetres
    across and down. Its areas are all regions of the same scale.
    """
    scaled: list[tuple[PixelBox, Spacing]] = []
    for region in regions:
        numbers = [first_number(region.get(keyword)) for keyword in (*_REGION_BOUNDS, "PhysicalDeltaX", "PhysicalDeltaY")]
        kinds = [region.get(keyword) for keyword in ("RegionSpatialFormat", *_REGION_UNITS)]
        if kinds != [_TWO_DIMENSIONAL, _CENTIMETRES, _CENTIMETRES] or None in numbers:
            continue
        x1, y1, x2, y2, across, down = (abs(number or 0.0) for number in numbers)  # a delta may count to the left or upwards
        if x1 < x2 < 1e6 and y1 < y2 < 1e6 and 0 < across < 100 and 0 < down < 100:
            scaled.append((PixelBox(x1, y1, x2 + 1, y2 + 1), (10 * across, 10 * down)))  # the bounds are inclusive
    if not scaled:
        return None, ()
    _, spacing = max(scaled, key=lambda pair: (pair[0].x2 - pair[0].x1) * (pair[0].y2 - pair[0].y1))
    return spacing, tuple(area for area, scale in scaled if np.allclose(scale, spacing, rtol=1e-4))


def patient_orientation(dataset: Dataset, frame: int) -> tuple[str, str, str, str] | None:
    """The patient's directions at the left, top, right and bottom, in DICOM's letters; None if not stated."""
    cosines = frame_value(dataset, frame, "PlaneOrientationSequence", "ImageOrientationPatient")
    try:
        if cosines is not None:
            numbers = vector(cosines, 6)
            if numbers is None or not all(abs(number) <= 1.001 for number in numbers):
                return None
            if abs(np.dot(numbers[:3], numbers[3:])) > _MAX_LEAN:
                return None
            right, bottom = _direction_letters(numbers[:3]), _direction_letters(numbers[3:])
        else:
            right, bottom = (str(value) for value in dataset.get("PatientOrientation") or ("", ""))
        left, top = ("".join(_OPPOSITE[letter] for letter in direction) for direction in (right, bottom))
    except (TypeError, ValueError, KeyError):
        return None
    return (left, top, right, bottom) if left and top and len(left) <= 3 and len(top) <= 3 else None


def _direction_letters(cosines: tuple[float, ...]) -> str:
    """Letters of a direction in DICOM's patient coordinates (to the left, the back, the head), the strongest first."""
    pairs = zip(cosines, ("LR", "PA", "HF"), strict=True)
    strong = sorted(((abs(value), letters[value < 0]) for value, letters in pairs if abs(value) > _MIN_COSINE), reverse=True)
    return "".join(letter for _, letter in strong)
