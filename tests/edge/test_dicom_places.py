"""Where a DICOM picture lies in the patient and how large it is: directions, millimetres, scales of ultrasound, modality."""

import dataclasses

import pytest

from medrega_edge.answer import ImageFacts
from medrega_edge.boxes import PixelBox
from medrega_edge.images.reader import read_image
from tests.edge.dicoms import dataset, dicom, row


@pytest.mark.parametrize(
    ("cosines", "sides"),
    [
        ([1, 0, 0, 0, 1, 0], ("R", "A", "L", "P")),  # axial
        ([1, 0, 0, 0, 0, -1], ("R", "H", "L", "F")),  # coronal
        ([0, 1, 0, 0, 0, -1], ("A", "H", "P", "F")),  # sagittal
        ([-1, 0, 0, 0, -1, 0], ("L", "P", "R", "A")),  # axial, turned by half
        ([0.8, 0.6, 0, 0, 0, -1], ("RA", "H", "LP", "F")),  # oblique
        ([1, 0, 0, 0, 0.7, -0.714], ("R", "HA", "L", "FP")),
    ],
)
def test_directions_of_the_patient(cosines, sides):
    image = read_image(dicom(row([1, 200], "u1"), ImageOrientationPatient=cosines))
    assert image.patient_orientation == sides
    assert [warning.code for warning in image.warnings] == ["dicom.left_on_the_left"] * (sides[0] == "L")


@pytest.mark.parametrize(
    ("tags", "sides"),
    [
        ({"PatientOrientation": ["L", "F"]}, ("R", "H", "L", "F")),
        ({"PatientOrientation": ["AR", "FL"]}, ("PL", "HR", "AR", "FL")),
        ({"PatientOrientation": ["L", ""]}, None),
        ({"PatientOrientation": ["<b>", "F"]}, None),
        ({"ImageOrientationPatient": [1, 0, 0, 0, 1]}, None),
        ({"ImageOrientationPatient": [900, 0, 0, 0, 1, 0]}, None),
        ({}, None),
    ],
)
def test_directions_by_letters_or_not_at_all(tags, sides):
    assert read_image(dicom(row([1, 2], "u1"), **tags)).patient_orientation == sides


@pytest.mark.parametrize(
    ("tags", "spacing"),
    [
        ({"PixelSpacing": ["0.5", "0.25"]}, (0.25, 0.5)),
        ({"Modality": "DX", "ImagerPixelSpacing": ["0.1", "0.1"]}, None),  # at the detector, not in the patient
        ({"Modality": "DX", "ImagerPixelSpacing": ["0.1", "0.1"], "PixelSpacing": ["0.1", "0.1"]}, None),
        ({"Modality": "DX", "ImagerPixelSpacing": ["0.1", "0.1"], "PixelSpacing": ["0.09", "0.09"]}, (0.09, 0.09)),
        ({"PixelSpacing": ["0", "0.5"]}, None),
        ({"PixelSpacing": ["-1", "0.5"]}, None),
        ({}, None),
    ],
)
def test_spacing(tags, spacing):
    assert read_image(dicom(row([1, 2], "u1"), **tags)).spacing_mm == spacing


def test_modality_and_nothing_else_of_the_header():
    image = read_image(dicom(row([1, 2], "u1"), Modality="CT\x1b[31m"))
    assert image.modality is None
    assert read_image(dicom(row([1, 2], "u1"), Modality="MG")).modality == "mammography"


# --- ultrasound: a picture of several regions, each with a scale of its own (PS3.3 C.8.5.5) ---

CM, SECONDS, CM_PER_SECOND = 3, 4, 7
TISSUE_2D, M_MODE, SPECTRAL = 1, 2, 3


def region(x1, y1, x2, y2, across, down, units=(CM, CM), form=TISSUE_2D):
    return dataset(
        RegionSpatialFormat=form, RegionDataType=1, RegionFlags=0, RegionLocationMinX0=x1, RegionLocationMinY0=y1,
        RegionLocationMaxX1=x2, RegionLocationMaxY1=y2, PhysicalUnitsXDirection=units[0], PhysicalUnitsYDirection=units[1],
        PhysicalDeltaX=across, PhysicalDeltaY=down,
    )  # fmt: skip


CURVE = region(0, 60, 99, 99, 0.01, 0.5, (SECONDS, CM_PER_SECOND), SPECTRAL)
ULTRASOUND = {  # regions -> millimetres of a pixel across and down, where they hold
    "one region": ([region(10, 5, 59, 44, 0.02, 0.03)], (0.2, 0.3), ((10, 5, 60, 45),)),
    "the curve has no millimetres": ([CURVE, region(0, 0, 99, 59, 0.05, 0.05)], (0.5, 0.5), ((0, 0, 100, 60),)),
    "only a curve": ([CURVE], None, ()),
    "motion over time": ([region(0, 0, 99, 99, 0.01, 0.05, (SECONDS, CM), M_MODE)], None, ()),
    "two pictures in one scale": ([region(0, 0, 49, 99, 0.04, 0.04), region(50, 0, 99, 99, 0.04, 0.04)], (0.4, 0.4),
                                  ((0, 0, 50, 100), (50, 0, 100, 100))),
    "two pictures in two scales: the larger": ([region(0, 0, 29, 99, 0.02, 0.02), region(30, 0, 99, 99, 0.04, 0.04)],
                                               (0.4, 0.4), ((30, 0, 100, 100),)),
    "a delta that counts upwards": ([region(0, 0, 99, 99, 0.02, -0.03)], (0.2, 0.3), ((0, 0, 100, 100),)),
    "a delta of nothing": ([region(0, 0, 99, 99, 0.0, 0.03)], None, ()),
    "a delta that is no number": ([region(0, 0, 99, 99, float("nan"), 0.03)], None, ()),
    "a region turned inside out": ([region(50, 0, 10, 99, 0.02, 0.03)], None, ()),
}  # fmt: skip


@pytest.mark.parametrize("name", ULTRASOUND)
def test_ultrasound_has_the_scale_of_its_regions_and_only_there(name):
    regions, spacing, areas = ULTRASOUND[name]
    data = dicom(row([1, 2], "u2"), Modality="US", PixelSpacing=["9", "9"], SequenceOfUltrasoundRegions=regions)
    image = read_image(data)
    assert image.spacing_mm == (pytest.approx(spacing) if spacing else None)
    assert image.spacing_areas == areas


def test_a_box_has_millimetres_where_its_pixels_have():
    facts = ImageFacts(
        None, 100, 100, "ultrasound", None, None, "0", spacing_mm=(0.5, 0.25), spacing_areas=(PixelBox(10, 0, 60, 50),)
    )
    assert facts.in_millimetres(PixelBox(10, 4, 60, 50)) == (5, 1, 30, 12.5)
    assert facts.in_millimetres(PixelBox(9, 4, 60, 50)) is None
    assert facts.in_millimetres(PixelBox(10, 4, 60, 51)) is None
    everywhere = dataclasses.replace(facts, spacing_areas=())
    assert everywhere.in_millimetres(PixelBox(0, 0, 100, 100)) == (0, 0, 50, 25)
    assert dataclasses.replace(facts, spacing_mm=None).in_millimetres(PixelBox(10, 4, 60, 50)) is None
