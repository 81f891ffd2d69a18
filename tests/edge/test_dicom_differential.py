"""Pictures of DICOM files beside those of pydicom's and highdicom's own pipelines."""

import io
import warnings
from pathlib import Path

import numpy as np
import pydicom
import pytest
from pydicom.data import get_testdata_file
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_rescale, apply_voi_lut, apply_windowing

from medrega_edge.images.reader import read_image
from tests.edge.dicoms import dataset, dicom

RANDOM = np.random.default_rng(0)


def grey_of(data):
    """Our grey and pydicom's dataset of the same bytes."""
    return read_image(data).pixels[..., 0], pydicom.dcmread(io.BytesIO(data))


def scaled(values, low, high):
    return np.clip((values - low) / (high - low), 0, 1) * 255


@pytest.mark.parametrize("function", ["LINEAR", "LINEAR_EXACT", "SIGMOID"])
@pytest.mark.parametrize("kind", ["u1", "u2", "i2"])
@pytest.mark.parametrize(("slope", "intercept"), [(1, 0), (1, -1024), (0.25, 3)])
def test_windows_as_pydicom_applies_them(function, kind, slope, intercept):
    limits = np.iinfo(kind)
    stored = RANDOM.integers(limits.min, limits.max, (64, 64), endpoint=True).astype(kind)
    centre = float(np.median(stored) * slope + intercept)
    width = max(20.0, float(stored.std() * slope))
    tags = {"RescaleSlope": str(slope), "RescaleIntercept": str(intercept), "VOILUTFunction": function}
    data = dicom(stored, WindowCenter=f"{centre:.4f}", WindowWidth=f"{width:.4f}", **tags)
    ours, header = grey_of(data)
    theirs = apply_windowing(apply_rescale(header.pixel_array, header), header)
    range_of_units = limits.min * slope + intercept, limits.max * slope + intercept
    np.testing.assert_allclose(ours, scaled(theirs, *range_of_units), atol=0.51)


@pytest.mark.parametrize("first", [0, 100, 3000])
def test_tables_of_values_as_pydicom_applies_them(first):
    outputs = np.sort(RANDOM.integers(0, 1 << 16, 500)).astype("<u2")
    stored = RANDOM.integers(0, 4096, (64, 64)).astype("u2")
    table = dataset(LUTDescriptor=[500, first, 16], LUTData=outputs.tobytes())
    ours, header = grey_of(dicom(stored, bits=12, VOILUTSequence=[table]))
    np.testing.assert_allclose(ours, scaled(apply_voi_lut(header.pixel_array, header), 0, 65535), atol=0.51)
    table.ModalityLUTType = "US"
    ours, header = grey_of(dicom(stored, bits=12, ModalityLUTSequence=[table], WindowCenter="9000", WindowWidth="30000"))
    theirs = apply_windowing(apply_modality_lut(header.pixel_array, header), header)
    np.testing.assert_allclose(ours, scaled(theirs, 0, 65535), atol=0.51)


@pytest.mark.parametrize("bits", [8, 16])
@pytest.mark.parametrize("segmented", [False, True])
def test_palettes_as_pydicom_applies_them(bits, segmented):
    tags = {}
    for colour in ("Red", "Green", "Blue"):
        tags[f"{colour}PaletteColorLookupTableDescriptor"] = [256, 0, bits]
        if segmented:  # 56 entries as they are, then a ramp of 200
            numbers = [0, 56, *RANDOM.integers(0, 1 << bits, 56), 1, 200, RANDOM.integers(0, 1 << bits)]
            tags[f"Segmented{colour}PaletteColorLookupTableData"] = np.array(numbers, f"<u{bits // 8}").tobytes()
        else:
            numbers = RANDOM.integers(0, 1 << bits, 256)
            tags[f"{colour}PaletteColorLookupTableData"] = numbers.astype(f"<u{bits // 8}").tobytes()
    stored = RANDOM.integers(0, 256, (64, 64)).astype("u1")
    data = dicom(stored, PhotometricInterpretation="PALETTE COLOR", **tags)
    theirs = apply_color_lut(stored, pydicom.dcmread(io.BytesIO(data)))
    np.testing.assert_allclose(read_image(data).pixels, scaled(theirs, 0, (1 << bits) - 1), atol=1.01)


def test_a_real_palette_as_pydicom_applies_it():
    path = get_testdata_file("examples_palette.dcm", download=False)
    header = pydicom.dcmread(path)
    theirs = apply_color_lut(header.pixel_array, header)
    np.testing.assert_allclose(read_image(path).pixels, scaled(theirs, 0, 65535 if theirs.max() > 255 else 255), atol=0.51)


def windowed_files():
    """pydicom's own grey files of one frame that state a window."""
    for path in sorted((Path(pydicom.__file__).parent / "data" / "test_files").glob("*.dcm")):
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            header = pydicom.dcmread(path, force=True)
        if "WindowWidth" in header and "PixelData" in header and header.get("SamplesPerPixel") == 1:
            if int(header.get("NumberOfFrames") or 1) == 1:
                yield path


@pytest.mark.slow
@pytest.mark.parametrize("path", list(windowed_files()), ids=lambda path: path.name)
def test_real_files_as_highdicom_shows_them(path):
    highdicom = pytest.importorskip("highdicom")
    try:
        frame = highdicom.imread(path).get_frame(1, apply_voi_transform=True, apply_presentation_lut=True)
    except Exception as error:
        pytest.skip(f"highdicom does not read it: {type(error).__name__}")
    np.testing.assert_allclose(read_image(path).pixels[..., 0], scaled(frame, 0, 1), atol=0.51)
