"""Frames of a DICOM file: one has to be chosen; its own functional groups come before the shared ones (PS3.3 C.7.6.16)."""

import io

import numpy as np
import pydicom
import pytest
from pydicom.uid import ExplicitVRBigEndian, ImplicitVRLittleEndian

from medrega_edge.errors import ChoiceError, ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom import header
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from tests.codes import raises_code
from tests.edge.dicoms import dataset, deflated, dicom, encoded, lut, row, window


def enhanced(**shared):
    """Three frames, each with a window of its own in its functional group."""
    stored = np.stack([row([0, 50, 100], "u2")] * 3)
    frames = [
        dataset(
            FrameVOILUTSequence=[dataset(WindowCenter=str(c), WindowWidth=str(w))],
            PixelValueTransformationSequence=[dataset(RescaleSlope=str(slope), RescaleIntercept="0", RescaleType="US")],
        )
        for c, w, slope in ((50, 101, 1), (50, 201, 1), (100, 201, 2))
    ]
    common = dataset(
        PixelMeasuresSequence=[dataset(PixelSpacing=["0.5", "0.25"])],
        PlaneOrientationSequence=[dataset(ImageOrientationPatient=["0", "1", "0", "0", "0", "-1"])],
    )
    return dicom(stored, PerFrameFunctionalGroupsSequence=frames, SharedFunctionalGroupsSequence=[common], **shared)


@pytest.mark.parametrize(
    ("frame", "window", "expected"),
    [(0, (50, 101), [1.3, 128.8, 255]), (1, (50, 201), [64.4, 128.1, 191.9]), (2, (100, 201), [0.6, 128.1, 255])],
)
def test_an_enhanced_frame_has_its_own_window_and_rescale(frame, window, expected):
    image = read_image(enhanced(), View(frame=frame))
    assert (image.frame, image.window) == (frame, window)
    np.testing.assert_allclose(image.pixels[0, :3, 0], expected, atol=1)
    assert image.spacing_mm == (0.25, 0.5)
    assert image.patient_orientation == ("A", "H", "P", "F")


def test_frames_have_to_be_chosen():
    with raises_code(ChoiceError, "image.several_pictures", noun=Message("image.frame"), count=3):
        read_image(enhanced())
    with raises_code(ImageError, "image.no_such_picture", noun=Message("image.frame"), number=3):
        read_image(enhanced(), View(frame=3))
    frames = np.stack([row([value, 255], "u1") for value in (10, 20, 30)])
    assert [int(read_image(dicom(frames), View(frame=k)).pixels[0, 0, 0]) for k in range(3)] == [10, 20, 30]


# --- functional groups: what belongs together comes from one place ---


def grouped(own=None, shared=None, **tags):
    """Two frames; `own` is the second frame's VOI item, `shared` that of all frames."""
    stored = np.stack([row([0, 50, 100], "u2")] * 2)
    frames = [dataset(), dataset(FrameVOILUTSequence=[own]) if own else dataset()]
    common = dataset(FrameVOILUTSequence=[shared]) if shared else dataset()
    tags |= {"PerFrameFunctionalGroupsSequence": frames, "SharedFunctionalGroupsSequence": [common]}
    return dicom(stored, **tags)


NARROW, WIDE = window(50, 101), window(100, 201)
TABLE = lut([3, 49, 8], [10, 60, 210])
GROUPS = {  # what the second frame shows for 0, 50, 100: (x - (c - 0.5)) / (w - 1) + 0.5, times 255
    "shared by all frames": (grouped(shared=dataset(**WIDE)), [0.6, 64.4, 128.1]),
    "its own before the shared one": (grouped(dataset(**NARROW), dataset(**WIDE)), [1.3, 128.8, 255]),
    "shared before the file's": (grouped(shared=dataset(**NARROW), **WIDE), [1.3, 128.8, 255]),
    "the file's where there is no group": (grouped(**NARROW), [1.3, 128.8, 255]),
    # 255 / (1 + exp(-4 (x - 50) / 101)); a function of the shared window is none of the frame's own
    "its own function": (grouped(dataset(**window(50, 101, "SIGMOID"))), [30.9, 127.5, 224.1]),
    "a function belongs to its window": (grouped(dataset(**NARROW), dataset(**window(9, 9, "SIGMOID"))), [1.3, 128.8, 255]),
    # Frame VOI LUT With LUT (C.7.6.16.2.10b): a table in the group; 50 is its second entry
    "a table in the group": (grouped(dataset(**TABLE)), [10, 60, 210]),
    "a table shared by all frames": (grouped(shared=dataset(**TABLE)), [10, 60, 210]),
    "its own window before a shared table": (grouped(dataset(**NARROW), dataset(**TABLE)), [1.3, 128.8, 255]),
}  # fmt: skip


@pytest.mark.parametrize("name", GROUPS)
def test_what_a_frame_says_goes_before_what_all_say(name):
    data, expected = GROUPS[name]
    np.testing.assert_allclose(read_image(data, View(frame=1)).pixels[0, :3, 0], expected, atol=1)


def test_frame_groups_are_found_in_every_encoding_and_parsed_one_by_one(monkeypatch):
    """Against pydicom's own parser, which reads all of them."""
    groups = [
        dataset(
            PlanePositionSequence=[dataset(ImagePositionPatient=[0, 0, height])],
            FrameContentSequence=[dataset(DimensionIndexValues=[1, height], FrameComments="x" * height)],
            DerivationImageSequence=[],
        )
        for height in range(70)
    ]
    shared = [dataset(PlaneOrientationSequence=[dataset(ImageOrientationPatient=[1, 0, 0, 0, 1, 0])])]
    tags = {"PerFrameFunctionalGroupsSequence": groups, "SharedFunctionalGroupsSequence": shared, "RescaleSlope": "1"}
    plain = dicom(np.zeros((70, 16, 16), "u1"), **tags)
    read = pydicom.dcmread(io.BytesIO(plain))
    for keyword in ("PerFrameFunctionalGroupsSequence", "SharedFunctionalGroupsSequence"):
        read[keyword].is_undefined_length = True
        for item in read[keyword].value:
            item.is_undefined_length_sequence_item = True
            for element in item:
                element.is_undefined_length = True
    buffer = io.BytesIO()
    read.save_as(buffer)
    undefined = buffer.getvalue()
    assert undefined.count(b"\xff\xff\xff\xff") > 200
    monkeypatch.setattr(header, "MAX_READS", 200)
    for data in (plain, undefined):
        for one in (data, encoded(data, ImplicitVRLittleEndian), encoded(data, ExplicitVRBigEndian), deflated(data)):
            found = header.read_header(one, Message("image.given")).PerFrameFunctionalGroupsSequence
            assert len(found) == 70
            for frame in (0, 33, 69):
                assert found[frame] == groups[frame]


@pytest.mark.parametrize("at", [30, 60, 90, 200])
def test_frame_groups_that_are_cut_off_are_left_to_the_parser(at):
    data = dicom(np.zeros((9, 16, 16), "u1"), PerFrameFunctionalGroupsSequence=[dataset(FrameComments="x" * 50)] * 9)
    begin = data.index(b"\x00\x52\x30\x92")
    with pytest.raises(ImageError):
        read_image(data[: begin + at], View(frame=1))
