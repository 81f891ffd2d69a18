"""`medrega inspect`: every step of a reading is said, in words and as JSON, and the picture that was read is written."""

import io
import json

import numpy as np
import pytest
from PIL import Image

from medrega_edge.errors import ChoiceError, UsageError
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from tests.codes import raises_code
from tests.edge.dicoms import colour, dataset, dicom, lut, row, window
from tests.edge.stub import medrega

SECRET = "Doe^Zyxwena"
grey = row([0, 819, 4095], "u2")
rescale = {"RescaleSlope": "2", "RescaleIntercept": "-1024"}
DICOM_STEPS = {
    "window of the file": (grey, window(9, 9), ["reading.window"], []),
    "two windows": (grey, window(["9", "8"], ["9", "8"]), ["reading.window"], ["reading.further_windows"]),
    "rescale": (grey, rescale | window(9, 9), ["reading.rescale", "reading.window"], []),
    "modality table": (row([0, 1, 2], "u1"), lut([2, 0, 16], [0, 9], "ModalityLUTSequence"),
                       ["reading.modality_table", "reading.window"], []),
    "VOI table": (grey, lut([2, 0, 8], [0, 255]), ["reading.voi_table"], []),
    "VOI table and window": (grey, lut([2, 0, 8], [0, 255]) | window(9, 9), ["reading.voi_table"],
                             ["reading.further_windows"]),
    "8 bits": (row([0, 99, 255], "u1"), {}, ["reading.as_stored"], []),
    "low is white": (grey, {"PhotometricInterpretation": "MONOCHROME1"}, ["reading.window", "reading.inverted"], []),
    "padding": (grey, {"PixelPaddingValue": 0}, ["reading.window", "reading.padding"], []),
    "shutter": (grey, {"ShutterShape": "CIRCULAR"}, ["reading.window"], ["reading.shutter"]),
    "profile": (grey, {"ICCProfile": b"\0\0"}, ["reading.window"], ["reading.colour_profile"]),
    "aspect": (grey, {"PixelSpacing": ["1", "2"]}, ["reading.window"], ["reading.aspect"]),
    "presentation table": (grey, {"PresentationLUTShape": "INVERSE"}, ["reading.window"], ["reading.presentation_table"]),
    "agreeing presentation table": (grey, {"PresentationLUTShape": "IDENTITY"}, ["reading.window"], []),
}  # fmt: skip


@pytest.mark.parametrize("name", DICOM_STEPS)
def test_each_step_of_a_dicom_file_is_said(name):
    values, tags, steps, not_applied = DICOM_STEPS[name]
    image = read_image(dicom(values, **tags))
    assert [step.code for step in image.reading] == ["reading.dicom", *steps]
    assert [what.code for what in image.not_applied] == not_applied


@pytest.mark.parametrize(
    ("tags", "view", "source"),
    [
        (window(9, 9), View(), "reading.from_file"),
        (window(9, 9), View(window="5,7"), "reading.from_user"),
        ({"Modality": "CT"} | rescale, View(), "reading.from_preset"),
        ({}, View(), "reading.from_values"),
    ],
)
def test_a_window_says_where_it_comes_from(tags, view, source):
    image = read_image(dicom(grey, **tags), view)
    step = image.reading[-1].params
    assert step["source"].code == source
    assert ((step["centre"], step["width"]), step["function"]) == (image.window, image.window_function)


def test_overlays_and_colour():
    overlay = dataset()
    overlay.add_new(0x60003000, "OW", b"\0\0")
    assert read_image(dicom(grey, overlay=overlay[0x60003000])).not_applied[0].code == "reading.overlays"
    assert [step.code for step in read_image(colour(np.zeros((16, 16, 3), "u1"))).reading] == ["reading.dicom"]


def test_each_step_of_a_picture_is_said():
    exif = Image.Exif()
    exif[0x0112] = 6
    turned, profile = Image.new("RGB", (20, 30)), {"icc_profile": b"x" * 200}
    transparent, wide = Image.new("RGBA", (20, 30)), Image.fromarray(np.arange(400, dtype="u2").reshape(20, 20))
    for picture, options, steps, not_applied in (
        (turned, {"exif": exif} | profile, ["reading.turned"], ["reading.colour_profile"]),
        (transparent, {}, ["reading.on_black"], []),
        (wide, {}, ["reading.window"], []),
    ):
        buffer = io.BytesIO()
        picture.save(buffer, "PNG", **options)
        image = read_image(buffer.getvalue())
        assert [step.code for step in image.reading] == ["reading.raster", *steps]
        assert [what.code for what in image.not_applied] == not_applied


def test_each_step_of_a_volume_is_said():
    nibabel = pytest.importorskip("nibabel")
    volume = nibabel.Nifti1Image(np.arange(20 * 20 * 20, dtype="i2").reshape(20, 20, 20), np.diag([2.0, 3.0, 4.0, 1.0]))
    volume.header.set_slope_inter(2.0, -5.0)
    image = read_image(volume.to_bytes(), View(slice=1))
    codes = [step.code for step in image.reading]
    assert codes == ["reading.nifti", "reading.rescale", "reading.axes", "reading.window"]


def test_the_command_says_the_same_in_words_and_as_json_and_writes_what_was_read(tmp_path, capsys):
    path = tmp_path / f"{SECRET}.dcm"
    path.write_bytes(dicom(grey, Modality="CT", PatientName=SECRET, PixelSpacing=["1", "2"], **rescale))
    image = read_image(path)
    medrega("inspect", path, "--save-png", tmp_path / "a.png")
    words = capsys.readouterr().out
    assert all(str(step) in words for step in (*image.reading, *image.not_applied, *image.warnings))
    np.testing.assert_array_equal(np.asarray(Image.open(tmp_path / "a.png")), image.pixels)
    medrega("inspect", path, "--json")
    document = json.loads(printed := capsys.readouterr().out)
    assert document["image"]["window"] == list(image.window)
    assert document["image"]["spacing_mm"] == [2, 1]
    for key in ("reading", "not_applied", "warnings"):
        assert document[key] == json.loads(json.dumps([message.to_dict() for message in getattr(image, key)]))
    assert SECRET not in words + printed


def test_what_inspect_cannot_do(tmp_path):
    path = tmp_path / "a.dcm"
    path.write_bytes(dicom(np.zeros((3, 16, 16), "u1")))
    with raises_code(ChoiceError, "image.several_pictures"):
        medrega("inspect", path)
    with raises_code(UsageError, "output.not_png"):
        medrega("inspect", path, "--frame", "0", "--save-png", tmp_path / "a.jpg")
    with raises_code(UsageError, "cli.image_or_sample"):
        medrega("inspect")
