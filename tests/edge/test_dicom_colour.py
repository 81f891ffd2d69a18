"""What a screen shows of a DICOM file in colour, against values worked out by hand from PS3.3 C.7.6.3.1.2 and C.7.9."""

import numpy as np
import pytest

from medrega_edge.errors import ImageError
from medrega_edge.images.reader import read_image
from tests.codes import raises_code
from tests.edge.dicoms import colour, dicom, filled, row

RED, GREEN, GREY_128 = [255, 0, 0], [0, 255, 0], [128, 128, 128]


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
@pytest.mark.filterwarnings("ignore:Invalid value for VR CS:UserWarning")  # pydicom, of the name that this test writes
def test_other_kinds_of_colour_are_refused_without_their_name(photometric):
    with raises_code(ImageError, "dicom.unknown_photometric") as caught:
        read_image(colour(filled(RED), PhotometricInterpretation=photometric))
    assert "PATIENT" not in repr(caught.value.to_dict())
