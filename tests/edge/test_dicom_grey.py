"""What a screen shows of a grey DICOM file, against values worked out by hand from PS3.3 C.11 and C.7.6.3.

Each case: stored values of one row, tags, and the grey (0..255) that the standard defines, to be met within 1.
"""

import numpy as np
import pytest

from medrega_edge.errors import ImageError, UsageError
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from medrega_edge.tasks.window_words import window_preset_for
from tests.codes import raises_code
from tests.edge.dicoms import colour, dataset, dicom, lut, row, window, written

CT = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "0"}
MODALITY_LUT = lut([4, 0, 16], [0, 300, 1500, 3000], "ModalityLUTSequence")


GREY = {
    # LINEAR: ((x - (c - 0.5)) / (w - 1) + 0.5) * 255, cut off at both ends
    "8 bits, window of all": ("u1", [0, 100, 255], window(128, 256), [0, 100, 255]),
    "12 bits, window of all": ("u2", [0, 819, 2047, 4095], window(2048, 4096), [0, 51, 127.5, 255]),
    "a window of width 1 is a step": ("u2", [2047, 2048], window(2048, 1), [0, 255]),
    "a window around zero": ("i2", [-51, -50, 0, 49, 50], window(0, 100), [0, 0, 128.8, 255, 255]),
    "a window of half numbers": ("i2", [-10, 0, 10], window("0.5", "20"), [0, 127.5, 255]),
    "a narrow window": ("i2", [9, 10, 11, 12], window(11, 3), [0, 63.75, 191.25, 255]),
    "the first of two windows": ("u2", [0, 50, 99], window(["50", "500"], ["100", "1000"]), [0, 128.8, 255]),
    "a width of 2 and a half": ("i2", [0, 1, 2], window(1, "2.5"), [42.5, 212.5, 255]),
    # LINEAR_EXACT: ((x - c) / w + 0.5) * 255
    "linear exact": ("i2", [-50, -25, 0, 50], window(0, 100, "LINEAR_EXACT"), [0, 63.75, 127.5, 255]),
    "linear exact, width below 1": ("f4", [0.0, 0.25, 0.5], window("0.25", "0.5"), [0, 127.5, 255]),
    # SIGMOID: 255 / (1 + exp(-4 (x - c) / w))
    "sigmoid": ("i2", [-100, -25, 0, 25, 100], window(0, 100, "SIGMOID"), [4.6, 68.6, 127.5, 186.4, 250.4]),
    "sigmoid in small letters": ("i2", [-25, 0, 25], window(0, 100, "sigmoid"), [68.6, 127.5, 186.4]),
    "sigmoid, far away": ("i2", [-32000, 32000], window(0, 1, "SIGMOID"), [0, 255]),
    # rescale: stored * slope + intercept, then the window
    "rescale of a CT": ("u2", [824, 1064, 1263], window(40, 400) | {"RescaleSlope": "1", "RescaleIntercept": "-1024"},
                        [0, 127.8, 255]),
    "a slope of two": ("u2", [0, 25, 50], window(50, 100) | {"RescaleSlope": "2", "RescaleIntercept": "0"}, [0, 128.8, 255]),
    "a slope of a half": ("u2", [0, 99, 198], window(50, 100) | {"RescaleSlope": "0.5", "RescaleIntercept": "0"},
                          [0, 127.5, 255]),
    "a negative slope": ("u2", [0, 99], window(-49, 100) | {"RescaleSlope": "-1", "RescaleIntercept": "0"}, [255, 0]),
    "a slope alone": ("u2", [0, 99], window(100, 200) | {"RescaleSlope": "2"}, [0, 253.7]),
    "an intercept alone": ("u2", [0, 99], window(0, 100) | {"RescaleIntercept": "-50"}, [0, 254]),
    "a decimal comma": ("u2", [0, 10], written(WindowCenter=("DS", "40,5"), WindowWidth=("DS", "20,0"),
                        RescaleSlope=("DS", "1,5"), RescaleIntercept=("DS", "33,0")), [33.6, 234.8]),
    "32 bits": ("u4", [0, 3_000_000_000], {}, [0, 255]),
    "32 bits, signed": ("i4", [-2_000_000_000, 0, 2_000_000_000], {}, [0, 127.5, 255]),
    # without a window: 8 bits are shown as they are, wider ones from the smallest to the largest value
    "12 bits in the upper bits of 16": ("u2", [0x0000, 0x199F, 0xFFF0], {"BitsStored": 12, "HighBit": 15}, [0, 25.5, 255]),
    "12 bits in the middle": ("u2", [0x0000, 0x0333 << 2, 0x0FFF << 2], {"BitsStored": 12, "HighBit": 13}, [0, 51, 255]),
    "12 bits in the upper bits, with a sign": ("i2", [-32768, 0, 32752], {"BitsStored": 12, "HighBit": 15},
                                               [0, 127.5, 255]),
    "12 bits that claim to be the upper ones": ("u2", [0, 819, 4095], {"BitsStored": 12, "HighBit": 15}, [0, 51, 255]),
    "a High Bit that cannot be": ("u2", [0, 819, 4095], {"BitsStored": 12, "HighBit": 40}, [0, 51, 255]),
    "8 bits as they are": ("u1", [3, 60, 200], {}, [3, 60, 200]),
    "8 bits with a sign": ("i1", [-100, 0, 100], {}, [0, 127.5, 255]),
    "8 bits with a rescale": ("u1", [10, 20, 30], {"RescaleSlope": "3", "RescaleIntercept": "1"}, [0, 127.5, 255]),
    "16 bits, full range": ("u2", [1000, 2000, 5000], {}, [0, 63.75, 255]),
    "16 bits with a sign, full range": ("i2", [-300, 0, 100], {}, [0, 191.25, 255]),
    "floats, full range": ("f4", [0.5, 1.0, 2.5], {}, [0, 63.75, 255]),
    "doubles, full range": ("f8", [-1.0, 0.0, 3.0], {}, [0, 63.75, 255]),
    "flat": ("u2", [700, 700], {}, [0, 0]),
    # tables
    "modality table": ("u1", [0, 1, 2, 3, 9], window(1500, 3001) | MODALITY_LUT, [0, 25.5, 127.5, 255, 255]),
    "modality table from 5 on": ("u1", [0, 5, 6], window(50, 101) | lut([2, 5, 16], [0, 100], "ModalityLUTSequence"),
                                 [0, 0, 255]),
    "VOI table of 8 bits": ("u1", [0, 10, 11, 12, 13, 99], lut([4, 10, 8], [0, 50, 200, 255]), [0, 0, 50, 200, 255, 255]),
    "VOI table of 12 bits": ("u2", [0, 1, 2], lut([3, 0, 12], [0, 819, 4095]), [0, 51, 255]),
    "VOI table as numbers": ("u2", [0, 1, 2], lut([3, 0, 12], [0, 819, 4095], words=False), [0, 51, 255]),
    "VOI table of 16 bits": ("u2", [0, 1, 2], lut([3, 0, 16], [0, 13107, 65535]), [0, 51, 255]),
    "VOI table of 15 bits of 16": ("u2", [0, 1, 2], lut([3, 0, 16], [0, 13107, 32767]), [0, 51, 127.5]),
    "VOI table of 12 bits that states 16": ("u2", [0, 1, 2], lut([3, 0, 16], [0, 819, 4095]), [0, 51, 255]),
    "VOI table of 8 bits that states 16": ("u2", [0, 1, 2], lut([3, 0, 16], [0, 51, 200]), [0, 51, 200]),
    "VOI table of 10 bits that states 12": ("u2", [0, 1, 2], lut([3, 0, 12], [0, 205, 1023]), [0, 51, 255]),
    "VOI table goes before the window": ("u1", [0, 1], lut([2, 0, 8], [255, 0]) | window(1, 2), [255, 0]),
    "VOI table after a rescale": ("u2", [1024, 1025], lut([2, 0, 8], [20, 40]) | {"RescaleSlope": "1", "RescaleIntercept":
                                  "-1024"}, [20, 40]),
    "VOI table, first input negative": ("i2", [-3, -2, -1, 0], lut([3, -2, 8], [10, 20, 30]), [10, 10, 20, 30]),
    # white is low
    "inverted, windowed": ("u2", [0, 819, 4095], window(2048, 4096) | {"PhotometricInterpretation": "MONOCHROME1"},
                           [255, 204, 0]),
    "inverted, 8 bits": ("u1", [3, 60, 200], {"PhotometricInterpretation": "MONOCHROME1"}, [252, 195, 55]),
    "inverted, full range": ("u2", [10, 20, 50], {"PhotometricInterpretation": "MONOCHROME1"}, [255, 191.25, 0]),
    "inverted, VOI table": ("u1", [0, 1], lut([2, 0, 8], [50, 200]) | {"PhotometricInterpretation": "MONOCHROME1"},
                            [205, 55]),
    # what was not scanned
    "padding is black": ("i2", [-2000, 0, 50, 100], {"PixelPaddingValue": -2000}, [0, 0, 127.5, 255]),
    "padding of signed pixels as an unsigned number": ("i2", [-2000, 0, 50, 100], written(PixelPaddingValue=("US", 63536)),
                                                      [0, 0, 127.5, 255]),
    "padding of unsigned pixels as a signed number": ("u2", [63536, 0, 50, 100], written(PixelPaddingValue=("SS", -2000)),
                                                      [0, 0, 127.5, 255]),
    "a window without numbers": ("u2", [0, 5, 10], written(WindowCenter=("DS", "a"), WindowWidth=("DS", "b")),
                                 [0, 127.5, 255]),
    "padding above Bits Stored": ("u2", [63536, 10, 20, 30], {"PixelPaddingValue": 63536, "BitsStored": 12, "HighBit": 11},
                                  [0, 0, 127.5, 255]),
    "padding of floats": ("f4", [-1e9, 0, 50, 100], {"FloatPixelPaddingValue": -1e9}, [0, 0, 127.5, 255]),
    "padding beyond 8 bits is none": ("u1", [255, 0, 128], {"PixelPaddingValue": 65535}, [255, 0, 128]),
    "a range of padding": ("u2", [5, 7, 10, 20], {"PixelPaddingValue": 5, "PixelPaddingRangeLimit": 9}, [0, 0, 0, 255]),
    "padding is black in inverted images": ("u2", [0, 10, 30], {"PixelPaddingValue": 0, "PhotometricInterpretation":
                                            "MONOCHROME1"}, [0, 255, 0]),
    # a CT that names no window is shown in soft tissue
    "CT without a window": ("i2", [-160, 39, 239], CT, [0, 127, 255]),
    "a picture of a CT is no CT": ("u1", [3, 60, 200], {"Modality": "CT"}, [3, 60, 200]),
    "a CT that is not in Hounsfield units": ("u2", [0, 2000, 4000], {"Modality": "CT"}, [0, 127.5, 255]),
    "a window of width 0 is none": ("u2", [0, 5, 10], window(5, 0), [0, 127.5, 255]),
    "a window that is no number is none": ("u2", [0, 5, 10], {"WindowCenter": "", "WindowWidth": ""}, [0, 127.5, 255]),
}  # fmt: skip


@pytest.mark.parametrize("name", GREY)
def test_grey_is_what_the_standard_says(name):
    kind, values, tags, expected = GREY[name]
    stored = row(values, kind)
    if kind in ("f4", "f8"):
        keyword = {"f4": "FloatPixelData", "f8": "DoubleFloatPixelData"}[kind]
        tags = tags | {keyword: stored.tobytes(), "PixelData": None, "PixelRepresentation": None, "BitsStored": None}
    pixels = read_image(dicom(stored, **tags)).pixels
    assert pixels.shape == (16, 16, 3)
    for place, grey in enumerate(expected):
        assert abs(int(pixels[3, place, 1]) - grey) <= 1, (place, grey)


@pytest.mark.parametrize("bits", [9, 10, 12, 14, 15])
@pytest.mark.parametrize("kind", ["u2", "i2"])
def test_bits_above_those_stored_mean_nothing(bits, kind):
    signed = kind == "i2"
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    meant = np.array([low, (low + high) // 2, high])
    stored = (meant & ((1 << bits) - 1)) | (0b1 << 15)  # an old overlay in the highest bit
    pixels = read_image(dicom(row(stored.astype("u2").view(kind), kind), bits=bits)).pixels
    assert [abs(int(pixels[0, place, 0]) - grey) <= 1 for place, grey in enumerate([0, 127.5, 255])] == [True] * 3


@pytest.mark.parametrize(
    ("preset", "black", "middle", "white"),
    [  # c - 0.5 -+ (w - 1) / 2, worked out by hand
        ("lung", -1350, -600, 149),
        ("soft", -160, 40, 239),
        ("brain", 0, 40, 79),
        ("bone", -500, 400, 1299),
        ("liver", -45, 30, 104),
        ("mediastinum", -125, 50, 224),
    ],
)
def test_presets_of_a_ct(preset, black, middle, white):
    data = dicom(row([black - 1, black, middle, white, white + 1], "i2"), **CT, **window(0, 10))
    image = read_image(data, View(window=preset))
    assert image.window == read_image(data, View(window=f"{image.window[0]},{image.window[1]}")).window
    assert [int(v) for v in image.pixels[0, [0, 1, 3, 4], 0]] == [0, 0, 255, 255]
    assert abs(int(image.pixels[0, 2, 0]) - 128) <= 2
    assert image.warnings == ()


@pytest.mark.parametrize(
    ("asked", "preset"),
    [
        ("locate the left lung", (-600, 1500)),
        ("右肺有病灶吗？", (-600, 1500)),
        ("is there a rib fracture?", (400, 1800)),
        ("脑出血在哪里", (40, 80)),
        ("请定位肝脏", (30, 150)),
        ("mark the mediastinal lymph nodes", (50, 350)),
        ("locate the spleen", (40, 400)),
        ("", (40, 400)),
    ],
)
def test_a_ct_without_a_window_is_seen_in_that_of_the_question_and_says_so(asked, preset):
    image = read_image(dicom(row([-2000, 2000], "i2"), **CT), View(default_preset=window_preset_for(asked)))
    assert image.window == preset
    assert [warning.code for warning in image.warnings] == ["dicom.default_window"]
    named = read_image(dicom(row([-2000, 2000], "i2"), **CT, **window(7, 9)), View(default_preset=window_preset_for(asked)))
    assert (named.window, named.warnings) == ((7, 9), ())


@pytest.mark.parametrize("text", ["", "lungs", "40", "40,0", "40,-5", "nan,5", "1,2,3", "1e99,5", "\x1b[2J"])
def test_a_window_that_is_none_is_refused(text):
    with raises_code(UsageError, "image.unknown_window", presets=("lung", "soft", "brain", "bone", "liver", "mediastinum")):
        read_image(dicom(row([0, 1], "i2"), **CT), View(window=text))


def test_a_window_where_none_applies_is_refused():
    with raises_code(ImageError, "dicom.preset_without_ct", window="lung"):
        read_image(dicom(row([0, 9], "u2"), Modality="MR"), View(window="lung"))
    with raises_code(ImageError, "dicom.window_on_colour"):
        read_image(colour(np.zeros((16, 16, 3), "u1")), View(window="40,400"))


# --- the first input of a table has the sign of the values that come to it (C.11.2.1.1), whatever type it is written in ---

HOUNSFIELD = {"RescaleSlope": "1", "RescaleIntercept": "-1024"}
FIRST_INPUT = {  # a table that begins at `first`, written without a sign or with one -> grey of the stored values
    "below zero, written as a large number": ("u2", [24, 25, 26], HOUNSFIELD, "US", 65536 - 1000, [10, 60, 210]),
    "below zero, written with a sign": ("u2", [24, 25, 26], HOUNSFIELD, "SS", -1000, [10, 60, 210]),
    "above 32767 in a file without a sign": ("u2", [40000, 40001, 40002], {}, "US", 40000, [10, 60, 210]),
    "above 32767, written with a sign": ("u2", [40000, 40001, 40002], {}, "SS", 40000 - 65536, [10, 60, 210]),
    "signed pixels": ("i2", [-3, -2, -1], {}, "US", 65536 - 3, [10, 60, 210]),
    "behind a modality table nothing is negative": ("i2", [0, 1, 2], lut([3, 0, 16], [40000, 40001, 40002],
                                                    "ModalityLUTSequence"), "SS", 40000 - 65536, [10, 60, 210]),
}  # fmt: skip


@pytest.mark.parametrize("name", FIRST_INPUT)
def test_the_first_input_of_a_table(name):
    kind, stored, tags, written, first, expected = FIRST_INPUT[name]
    item = dataset(LUTData=np.array([10, 60, 210], "<u2").tobytes())
    item.add_new(0x00283002, written, [3, first, 8])
    pixels = read_image(dicom(row(stored, kind), VOILUTSequence=[item], **tags)).pixels
    np.testing.assert_allclose(pixels[0, :3, 0], expected, atol=1)


@pytest.mark.parametrize(
    ("tags", "codes"),
    [
        ({"RescaleSlope": "2"}, ["dicom.no_intercept"]),
        ({"RescaleIntercept": "-50"}, ["dicom.no_slope"]),
        ({"RescaleSlope": "1"}, []),
        ({"RescaleIntercept": "0"}, []),
        (lut([2, 0, 16], [0, 4095]), ["dicom.narrow_table"]),
        (window(500, 10), ["image.single_shade"]),
        (window(0, 2000), ["image.few_shades"]),
        ({}, []),
    ],
)
def test_what_was_assumed_and_what_cannot_be_seen_is_said(tags, codes):
    values = row([0, 50], "u2")
    values[:, 2:] = 99
    values[0, :2] = 20
    assert [warning.code for warning in read_image(dicom(values, **tags)).warnings] == codes


def test_a_rescale_that_is_no_number_is_named():
    with raises_code(ImageError, "dicom.unreadable_number", keyword="RescaleIntercept"):
        read_image(dicom(row([0, 50], "u2"), **written(RescaleIntercept=("DS", "x"))))


def test_a_few_values_far_outside_do_not_eat_the_window():
    values = np.tile(np.arange(100, 200, dtype="i2"), (100, 1))
    values[3, 3] = 30000
    image = read_image(dicom(values))
    assert [warning.code for warning in image.warnings] == ["image.outliers"]
    assert [int(image.pixels[9, at, 0]) for at in (0, 99)] == [0, 255]
    assert abs(int(image.pixels[9, 50, 0]) - 128) <= 3


@pytest.mark.parametrize(
    "keyword", ["SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation"]
)
def test_an_attribute_that_is_missing_is_named(keyword):
    with raises_code(ImageError, "dicom.lacks", keyword=keyword):
        read_image(dicom(row([0, 50], "u2"), **{keyword: None}))


@pytest.mark.parametrize(
    ("tags", "codes"),
    [
        ({"PresentationLUTShape": "INVERSE"}, ["dicom.two_polarities"]),
        ({"PresentationLUTShape": "IDENTITY"}, []),
        ({"PresentationLUTShape": "IDENTITY", "PhotometricInterpretation": "MONOCHROME1"}, ["dicom.two_polarities"]),
        ({"PresentationLUTShape": "INVERSE", "PhotometricInterpretation": "MONOCHROME1"}, []),
        ({"ImageType": ["ORIGINAL", "PRIMARY", "M", "ND", "MOSAIC"]}, ["dicom.mosaic"]),
    ],
)
def test_what_a_person_has_to_know_about_the_picture_is_said(tags, codes):
    assert [warning.code for warning in read_image(dicom(row([0, 50, 99], "u2"), **tags)).warnings] == codes
