"""The same picture in every transfer syntax, and a decoder that is not installed."""

import hashlib
import io
import struct

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.encaps import encapsulate
from pydicom.pixels import convert_color_space
from pydicom.uid import (
    JPEG2000,
    UID,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    RLELossless,
)

from medrega_edge.errors import ImageError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.images.reader import read_image
from medrega_edge.images.signatures import FIRST_BYTES, is_dicom
from tests.codes import raises_code
from tests.edge.dicoms import bare, colour, dataset, deflated, dicom, encoded, filled

noise = np.random.default_rng(1).integers(0, 4096, (72, 64), dtype="u2")


@pytest.mark.parametrize("syntax", [ImplicitVRLittleEndian, ExplicitVRBigEndian, DeflatedExplicitVRLittleEndian])
def test_uncompressed_syntaxes_show_the_same(syntax):
    plain = dicom(noise, bits=12)
    turned = dicom(noise, bits=12, PixelData=noise.astype(">u2").tobytes())
    if syntax == DeflatedExplicitVRLittleEndian:
        again = deflated(plain)
    else:
        again = encoded(turned if syntax == ExplicitVRBigEndian else plain, syntax)
    np.testing.assert_array_equal(read_image(again).pixels, read_image(plain).pixels)


CT = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024", "PixelSpacing": ["0.5", "0.25"]}
TABLE = dataset(LUTDescriptor=[4, 0, 8], LUTData=np.array([0, 40, 200, 255], "<u2").tobytes())
BARE = {
    "no preamble": lambda data: data[132:],
    "no preamble, deflated": lambda data: deflated(data)[132:],
    "explicit": bare,
    "implicit": lambda data: bare(encoded(data, ImplicitVRLittleEndian)),
}


@pytest.mark.parametrize("form", BARE)
@pytest.mark.parametrize("tags", [{}, CT, {"VOILUTSequence": [TABLE]}, {"SpecificCharacterSet": "ISO_IR 192"}])
def test_without_the_beginning_of_a_file_the_picture_is_the_same(form, tags):
    plain = dicom(noise, bits=12, **tags)
    data = BARE[form](plain)
    assert is_dicom(data[:FIRST_BYTES])
    image, whole = read_image(data), read_image(plain)
    np.testing.assert_array_equal(image.pixels, whole.pixels)
    assert (image.modality, image.window, image.spacing_mm) == (whole.modality, whole.window, whole.spacing_mm)
    assert set(image.warnings) - set(whole.warnings) == {Message("dicom.no_preamble")}
    assert image.sha256 == hashlib.sha256(data).hexdigest()


def test_compressed_pixels_need_the_beginning_of_the_file_that_says_how():
    data = pydicom.dcmread(io.BytesIO(dicom(noise, bits=12)))
    data.compress(RLELossless)
    buffer = io.BytesIO()
    data.save_as(buffer)
    whole = buffer.getvalue()
    np.testing.assert_array_equal(read_image(whole[132:]).pixels, read_image(whole).pixels)
    with raises_code(ImageError, "dicom.unknown_compression"):
        read_image(bare(whole))


@pytest.mark.parametrize(
    "data",
    [
        bare(encoded(dicom(noise), ExplicitVRBigEndian)),
        b"\x08\0",
        b"\x08\0\x05\0CS",
        b"\x08\0\x05\0CS\x04\0ISO ",  # nothing behind it
        b"\x08\0\x05\0CS\xff\xff" + bytes(1 << 17),
        b"\x08\0\x16\0\xff\xff\xff\xff" + bytes(5000),
        b"\x08\0\x16\0UI\x02\x001.\x08\0\x05\0CS\x04\0ISO ",  # not in the order of tags
        b"\x10\0\x10\0PN\x02\0A \x10\0\x20\0LO\x02\0A ",
    ],
)
def test_what_only_looks_a_little_like_a_dataset_is_none(data):
    assert not is_dicom(data)
    with raises_code(ImageError, "image.unknown_format"):
        read_image(data)


@pytest.mark.parametrize("syntax", [RLELossless, JPEGLSLossless, JPEG2000Lossless])
@pytest.mark.parametrize(
    "make", [lambda: dicom(noise, bits=12), lambda: colour(np.tile(filled([255, 0, 0], [0, 255, 0], [1, 2, 3]), (4, 4, 1)))]
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
    with raises_code(ResourceError, "dicom.needs_codecs", syntax="JPEG-LS Lossless Image Compression"):
        read_image(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False))


def jp2(values, **sizes):
    """A JPEG 2000 code stream inside a JP2 file, whose header may state another size."""
    buffer = io.BytesIO()
    Image.fromarray(values).save(buffer, "JPEG2000", no_jp2=False)
    data = buffer.getvalue()
    at = data.index(b"ihdr") + 4
    rows, columns = sizes.get("rows", values.shape[0]), sizes.get("columns", values.shape[1])
    return data[:at] + struct.pack(">II", rows, columns) + data[at + 8 :]


@pytest.mark.parametrize("syntax", [JPEG2000Lossless, JPEG2000])
def test_a_jp2_file_in_place_of_a_code_stream_is_read(syntax):
    grey = (np.arange(32 * 40) % 251).astype("u1").reshape(32, 40)
    colours = np.stack([grey, grey.max() - grey, grey // 2], axis=2)
    data = dicom(grey, syntax=syntax, PixelData=encapsulate([jp2(grey)]))
    np.testing.assert_array_equal(read_image(data).pixels[..., 0], grey)
    data = colour(colours, syntax=syntax, PhotometricInterpretation="RGB", PixelData=encapsulate([jp2(colours)]))
    np.testing.assert_array_equal(read_image(data).pixels, colours)


@pytest.mark.parametrize("make", [
    lambda grey: jp2(grey, rows=64),
    lambda grey: jp2(grey, columns=2**31),
    lambda grey: jp2(grey).replace(b"jp2c", b"free"),
    lambda grey: jp2(grey).replace(b"ihdr", b"free"),
    lambda grey: jp2(grey)[:30],
    lambda grey: jp2(grey)[:12] + b"\0\0\0\0free" * 9,
    lambda grey: jp2(grey)[:12] + b"\0\0\0\x08free" * 99_999,
])  # fmt: skip
def test_a_jp2_file_that_contradicts_itself_is_refused(make):
    grey = np.zeros((32, 40), "u1")
    with raises_code(ImageError, "dicom.differing_sizes"):
        read_image(dicom(grey, syntax=JPEG2000Lossless, PixelData=encapsulate([make(grey)])))


@pytest.mark.parametrize("photometric", ["YBR_FULL_422", "YBR_PARTIAL_420", "RGB"])
@pytest.mark.parametrize("number", ["4.100", "4.100.1", "4.101", "4.102", "4.103", "4.104.1", "4.105", "4.106", "4.107",
                                    "4.108", "7.1"])  # fmt: skip
def test_a_video_is_named_as_one(number, photometric):
    data = colour(np.zeros((16, 16, 3), "u1"), PhotometricInterpretation=photometric, NumberOfFrames="250",
                  syntax=UID(f"1.2.840.10008.1.2.{number}"), PixelData=encapsulate([b"\0\0\1\xba" * 9]))  # fmt: skip
    with raises_code(ImageError, "dicom.video"):
        read_image(data)


@pytest.mark.parametrize(
    ("photometric", "is_transformed", "is_ybr"),
    [
        ("YBR_RCT", True, False),
        ("RGB", True, False),  # the stream knows better
        ("RGB", False, False),
        ("YBR_FULL", False, True),
        ("YBR_FULL_422", False, True),
        ("YBR_FULL", True, False),  # the stream knows better
        ("YBR_FULL_422", True, False),
    ],
)
def test_colours_of_jpeg_2000_are_those_of_its_own_transform(photometric, is_transformed, is_ybr):
    rgb = np.zeros((32, 32, 3), "u1")
    rgb[:16, :16], rgb[:16, 16:], rgb[16:, :16], rgb[16:, 16:] = [200, 40, 40], [40, 200, 40], [40, 40, 200], [200, 200, 40]
    buffer = io.BytesIO()
    stored = convert_color_space(rgb, "RGB", "YBR_FULL") if is_ybr else rgb
    Image.fromarray(stored).save(buffer, "JPEG2000", no_jp2=True, mct=int(is_transformed))
    data = colour(rgb, PhotometricInterpretation=photometric, syntax=JPEG2000, PixelData=encapsulate([buffer.getvalue()]))
    assert abs(read_image(data).pixels.astype(int) - rgb).max() <= 1


def test_colours_at_half_width_are_those_of_pillow_with_and_without_codecs():
    pixels = np.random.default_rng(4).integers(0, 256, (48, 40, 3), dtype="u1")
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, "JPEG", quality=90, subsampling="4:2:2")
    stream = buffer.getvalue()
    tags = {"PhotometricInterpretation": "YBR_FULL_422", "PixelData": encapsulate([stream])}
    data = colour(pixels, syntax=JPEGBaseline8Bit, **tags)
    expected = np.asarray(Image.open(io.BytesIO(stream)).convert("RGB")).astype(int)
    assert np.abs(read_image(data).pixels - expected).max() <= 1
