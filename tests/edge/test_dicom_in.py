"""What a screen shows of a DICOM file, against grey values worked out by hand from PS3.3 C.11 and C.7.6.3.

Each case: stored values of one row, tags, and the grey (0..255) that the standard says, to be met within 1.
"""

import dataclasses
import io

import numpy as np
import pydicom
import pytest
from pydicom.uid import (
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGLSLossless,
    RLELossless,
)

from medrega_edge.errors import ImageError, ResourceError, UsageError
from medrega_edge.images import View, read_image
from medrega_edge.results import ImageFacts
from medrega_edge.windows import preset_for
from tests.edge.dicoms import colour, dataset, deflated, dicom, row

CT = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "0"}


def window(centre, width, function=None):
    tags = {"WindowCenter": centre, "WindowWidth": width}
    return tags | ({"VOILUTFunction": function} if function else {})


def lut(descriptor, data, kind="VOILUTSequence", words=True):
    """A table as bytes (OW) or as numbers (US): files hold either."""
    item = dataset(LUTDescriptor=descriptor, LUTData=np.array(data, "<u2").tobytes())
    if not words:
        item["LUTData"].VR, item.LUTData = "US", data
    return {kind: [item]}


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
    "sigmoid, far away": ("i2", [-32000, 32000], window(0, 1, "SIGMOID"), [0, 255]),
    # rescale: stored * slope + intercept, then the window
    "rescale of a CT": ("u2", [824, 1064, 1263], window(40, 400) | {"RescaleSlope": "1", "RescaleIntercept": "-1024"},
                        [0, 127.8, 255]),
    "a slope of two": ("u2", [0, 25, 50], window(50, 100) | {"RescaleSlope": "2", "RescaleIntercept": "0"}, [0, 128.8, 255]),
    "a slope of a half": ("u2", [0, 99, 198], window(50, 100) | {"RescaleSlope": "0.5", "RescaleIntercept": "0"},
                          [0, 127.5, 255]),
    "a negative slope": ("u2", [0, 99], window(-49, 100) | {"RescaleSlope": "-1", "RescaleIntercept": "0"}, [255, 0]),
    "no rescale without an intercept": ("u2", [0, 99], window(50, 100) | {"RescaleSlope": "7"}, [0, 255]),
    "32 bits": ("u4", [0, 3_000_000_000], {}, [0, 255]),
    "32 bits, signed": ("i4", [-2_000_000_000, 0, 2_000_000_000], {}, [0, 127.5, 255]),
    # without a window: 8 bits are shown as they are, wider ones from the smallest to the largest value
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
    image = read_image(data, view=View(window=preset))
    assert image.window == read_image(data, view=View(window=f"{image.window[0]},{image.window[1]}")).window
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
    image = read_image(dicom(row([-2000, 2000], "i2"), **CT), view=View(preset=preset_for(asked)))
    assert image.window == preset
    assert "names no window" in image.warnings[0]
    named = read_image(dicom(row([-2000, 2000], "i2"), **CT, **window(7, 9)), view=View(preset=preset_for(asked)))
    assert (named.window, named.warnings) == ((7, 9), ())


@pytest.mark.parametrize("text", ["", "lungs", "40", "40,0", "40,-5", "nan,5", "1,2,3", "1e99,5", "\x1b[2J"])
def test_a_window_that_is_none_is_refused(text):
    with pytest.raises(UsageError, match="lung, soft, brain, bone, liver, mediastinum"):
        read_image(dicom(row([0, 1], "i2"), **CT), view=View(window=text))


def test_a_window_where_none_applies_is_refused():
    with pytest.raises(ImageError, match="no CT"):
        read_image(dicom(row([0, 9], "u2"), Modality="MR"), view=View(window="lung"))
    with pytest.raises(ImageError, match="in colour"):
        read_image(colour(np.zeros((16, 16, 3), "u1")), view=View(window="40,400"))


# --- colour ---

RED, GREEN, GREY_128 = [255, 0, 0], [0, 255, 0], [128, 128, 128]


def filled(*pixels, kind="u1"):
    return np.tile(np.array([*pixels, *[pixels[-1]] * (16 - len(pixels))], kind), (16, 1, 1))


def palette(red, green, blue, descriptor, segmented=""):
    tags = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name, data in (("Red", red), ("Green", green), ("Blue", blue)):
        tags[f"{name}PaletteColorLookupTableDescriptor"] = descriptor
        kind = "u1" if descriptor[2] == 8 else "<u2"
        tags[f"{segmented}{name}PaletteColorLookupTableData"] = np.array(data, kind).tobytes()
    return tags


LINE = [0, 1, 0, 1, 4, 255]  # discrete: one entry, 0; linear: four entries up to 255 -> 0, 64, 128, 191, 255
AGAIN = [0, 2, 10, 200, 0, 1, 30, 2, 1, 0, 0, 0, 0, 0]  # 10, 200; 30; then one segment from byte 0 on: 10, 200
COLOUR = {
    "RGB by pixel": (colour(filled(RED, GREEN, [1, 2, 3])), [RED, GREEN, [1, 2, 3]]),
    "RGB by plane": (colour(filled(RED, GREEN, [1, 2, 3]), PlanarConfiguration=1), [RED, GREEN, [1, 2, 3]]),
    "RGB of 16 bits": (colour(filled([65535, 0, 13107], kind="u2")), [[255, 0, 51]]),
    "RGB of 12 bits": (colour(filled([4095, 0, 819], kind="u2"), bits=12), [[255, 0, 51]]),
    # R = Y + 1.402 (Cr - 128), G = Y - 0.344 (Cb - 128) - 0.714 (Cr - 128), B = Y + 1.772 (Cb - 128)
    "YBR full": (colour(filled([76, 85, 255], [128, 128, 128], [100, 128, 150]), PhotometricInterpretation="YBR_FULL"),
                 [[254, 0, 0], GREY_128, [130.8, 84.3, 100]]),
    "YBR full by plane": (colour(filled([76, 85, 255], [128] * 3), PhotometricInterpretation="YBR_FULL",
                                 PlanarConfiguration=1), [[254, 0, 0], GREY_128]),
    # two pixels share their colour: Y1 Y2 Cb Cr
    "YBR 4:2:2": (colour(filled(RED), PhotometricInterpretation="YBR_FULL_422", PixelData=bytes([76, 128, 85, 255] * 128)),
                  [[254, 0, 0], [255, 52, 51.8]]),
    "palette of 8 bits": (dicom(row([0, 1, 2, 9], "u1"), **palette([0, 255, 7], [9, 0, 8], [1, 2, 3], [3, 0, 8])),
                          [[0, 9, 1], [255, 0, 2], [7, 8, 3], [7, 8, 3]]),
    "palette of 16 bits": (dicom(row([0, 1], "u1"), **palette([0, 65535], [13107, 0], [0, 0], [2, 0, 16])),
                           [[0, 51, 0], RED]),
    "palette from 100 on": (dicom(row([0, 100, 101, 255], "u1"), **palette([1, 2], [3, 4], [5, 6], [2, 100, 8])),
                            [[1, 3, 5], [1, 3, 5], [2, 4, 6], [2, 4, 6]]),
    "palette of a picture of 16 bits": (dicom(row([0, 300, 301], "u2"), **palette([0, 7], [0, 8], [0, 9], [2, 300, 8])),
                                        [[0, 0, 0], [0, 0, 0], [7, 8, 9]]),
    "palette of 8 bits in words of 16": (dicom(row([0, 1], "u1"), **palette([0, 255], [0, 51], [0, 0], [2, 0, 16])),
                                         [[0, 0, 0], [255, 51, 0]]),
    "segmented palette, discrete and linear": (
        dicom(row([0, 1, 2, 4], "u1"), **palette(LINE, LINE, LINE, [5, 0, 8], "Segmented")),
        [[0] * 3, [63.75] * 3, [127.5] * 3, [255] * 3]),
    "segmented palette, a segment again": (
        dicom(row([0, 2, 3, 4], "u1"), **palette(AGAIN, AGAIN, AGAIN, [5, 0, 8], "Segmented")),
        [[10] * 3, [30] * 3, [10] * 3, [200] * 3]),
}  # fmt: skip


@pytest.mark.parametrize("name", COLOUR)
def test_colour_is_what_the_standard_says(name):
    data, expected = COLOUR[name]
    image = read_image(data)
    assert image.window is None
    for place, wanted in enumerate(expected):
        np.testing.assert_allclose(image.pixels[5, place].astype(int), wanted, atol=1)


@pytest.mark.parametrize("photometric", ["ARGB", "CMYK", "HSV", "YBR_PARTIAL_420", "PATIENT^NAME"])
def test_other_kinds_of_colour_are_refused_without_their_name(photometric):
    with pytest.raises(ImageError, match="are not read") as caught:
        read_image(colour(filled(RED), PhotometricInterpretation=photometric))
    assert "PATIENT" not in str(caught.value)


# --- transfer syntaxes ---

noise = np.random.default_rng(1).integers(0, 4096, (72, 64), dtype="u2")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_syntaxes_show_the_same(syntax):
    plain = dicom(noise, bits=12)
    data = pydicom.dcmread(io.BytesIO(plain))
    if syntax == DeflatedExplicitVRLittleEndian:
        again = deflated(plain)
    else:
        if syntax == ExplicitVRBigEndian:
            data.PixelData = noise.astype(">u2").tobytes()
        buffer = io.BytesIO()
        data.file_meta.TransferSyntaxUID = syntax
        pydicom.dcmwrite(
            buffer, data, implicit_vr=syntax.is_implicit_VR, little_endian=syntax.is_little_endian, force_encoding=True
        )
        again = buffer.getvalue()
    np.testing.assert_array_equal(read_image(again).pixels, read_image(plain).pixels)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize(
    "make", [lambda: dicom(noise, bits=12), lambda: colour(np.tile(filled(RED, GREEN, [1, 2, 3]), (4, 4, 1)))]
)
def test_lossless_compression_shows_the_same(syntax, make):
    plain = make()
    data = pydicom.dcmread(io.BytesIO(plain))
    try:
        data.compress(syntax)
    except RuntimeError as error:
        pytest.skip(f"no encoder here: {error}")
    buffer = io.BytesIO()
    data.save_as(buffer)
    np.testing.assert_array_equal(read_image(buffer.getvalue()).pixels, read_image(plain).pixels)


@pytest.mark.parametrize(
    ("file", "same_as"),
    [
        ("MR_small_jpeg_ls_lossless.dcm", "MR_small.dcm"),
        ("MR_small_jp2klossless.dcm", "MR_small.dcm"),
        ("MR_small_RLE.dcm", "MR_small.dcm"),
        ("MR_small_bigendian.dcm", "MR_small.dcm"),
        ("SC_rgb_jpeg_gdcm.dcm", "SC_rgb_gdcm_KY.dcm"),  # JPEG Lossless
    ],
)
def test_files_of_other_programs_show_the_same(file, same_as):
    from pydicom.data import get_testdata_file

    pytest.importorskip("pylibjpeg")
    one, other = (read_image(get_testdata_file(name, download=False)).pixels for name in (file, same_as))
    np.testing.assert_array_equal(one, other)


def test_a_decoder_that_is_not_installed_is_named(monkeypatch):
    import pydicom.pixels.decoders.base as base
    from pydicom.data import get_testdata_file

    monkeypatch.setattr(base.Decoder, "is_available", property(lambda self: False))
    with pytest.raises(ResourceError, match=r"JPEG-LS Lossless.*medrega-edge\[codecs\]"):
        read_image(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False))


# --- frames, places, directions ---


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
    image = read_image(enhanced(), frame)
    assert (image.frame, image.window) == (frame, window)
    np.testing.assert_allclose(image.pixels[0, :3, 0], expected, atol=1)
    assert image.spacing == (0.25, 0.5)
    assert image.sides == ("A", "H", "P", "F")


def test_frames_have_to_be_chosen():
    with pytest.raises(ImageError, match="3 frames"):
        read_image(enhanced())
    with pytest.raises(ImageError, match="no frame 3"):
        read_image(enhanced(), frame=3)
    frames = np.stack([row([value, 255], "u1") for value in (10, 20, 30)])
    assert [int(read_image(dicom(frames), frame=k).pixels[0, 0, 0]) for k in range(3)] == [10, 20, 30]


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
    image = read_image(dicom(row([1, 2], "u1"), ImageOrientationPatient=cosines))
    assert image.sides == sides
    assert bool(image.warnings) == (sides[0] == "L")


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
    assert read_image(dicom(row([1, 2], "u1"), **tags)).sides == sides


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
    assert read_image(dicom(row([1, 2], "u1"), **tags)).spacing == spacing


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
    data = dicom(noise[:100, :64], Modality="US", PixelSpacing=["9", "9"], SequenceOfUltrasoundRegions=regions)
    image = read_image(data)
    assert image.spacing == (pytest.approx(spacing) if spacing else None)
    assert image.spacing_areas == areas


def test_a_box_has_millimetres_where_its_pixels_have():
    facts = ImageFacts(
        None, 100, 100, "ultrasound", None, None, "0", spacing_mm=(0.5, 0.25), spacing_areas=((10, 0, 60, 50),)
    )
    assert facts.in_millimetres((10, 4, 60, 50)) == (5, 1, 30, 12.5)
    assert facts.in_millimetres((9, 4, 60, 50)) is None
    assert facts.in_millimetres((10, 4, 60, 51)) is None
    everywhere = dataclasses.replace(facts, spacing_areas=())
    assert everywhere.in_millimetres((0, 0, 100, 100)) == (0, 0, 50, 25)
    assert dataclasses.replace(facts, spacing_mm=None).in_millimetres((10, 4, 60, 50)) is None


# --- functional groups: what belongs together comes from one place ---


def grouped(own=None, shared=None, **tags):
    """Two frames; `own` is what the second one says of its values of interest, `shared` what all frames say."""
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
    np.testing.assert_allclose(read_image(data, frame=1).pixels[0, :3, 0], expected, atol=1)


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
