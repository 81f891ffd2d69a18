"""The same picture in every transfer syntax, and a decoder that is not installed."""

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

from medrega_edge.errors import ResourceError
from medrega_edge.images import read_image
from tests.edge.dicoms import colour, deflated, dicom, filled

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
    with pytest.raises(ResourceError, match=r"JPEG-LS Lossless.*medrega-edge\[codecs\]"):
        read_image(get_testdata_file("MR_small_jpeg_ls_lossless.dcm", download=False))
