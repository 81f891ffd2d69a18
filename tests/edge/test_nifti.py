"""NIfTI volumes, made in memory with a mark in one corner, seen in each plane and from each orientation on disk."""

import gzip
import itertools

import numpy as np
import pytest

from medrega_edge.errors import ChoiceError, ImageError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from tests.codes import raises_code

nibabel = pytest.importorskip("nibabel")

RIGHT, FRONT, HEAD = (19, 9, 8), (3, 21, 7), (4, 8, 17)  # voxels of a volume whose axes run right, to the front, up
SHAPE = (20, 22, 18)


AXIAL_SLICE = Message("image.plane_slice", plane=Message("image.axial"))


def volume():
    values = np.zeros(SHAPE, np.int16)
    for value, place in ((100, RIGHT), (200, FRONT), (300, HEAD)):
        values[place] = value
    return values


def nifti(values, affine=None, kind=None, pack=False, scale=(1.0, 0.0), at=None):
    """A file; `at` are numbers of 16 bits to write into it afterwards, by their place."""
    kind = kind or nibabel.Nifti1Image
    image = kind(values, np.diag([2.0, 3.0, 4.0, 1.0]) if affine is None else affine)
    image.header.set_slope_inter(*scale)
    data = bytearray(image.to_bytes())
    for place, numbers in (at or {}).items():
        data[place : place + 2 * len(numbers)] = np.array(numbers, "<i2").tobytes()
    return gzip.compress(data) if pack else bytes(data)


DIM, CODES = 40, 252  # places of the header's sizes, and of qform_code and sform_code


noise = np.random.default_rng(0).integers(0, 999, SHAPE, np.int16)
PLACES = {  # plane -> slice that holds the mark, (row, column) of the mark: worked out by hand
    ("axial", 8): (RIGHT, (21 - 9, 19 - 19)),  # the right is on the left, the front on top
    ("axial", 7): (FRONT, (21 - 21, 19 - 3)),
    ("coronal", 8): (HEAD, (17 - 17, 19 - 4)),  # the right is on the left, the head on top
    ("coronal", 9): (RIGHT, (17 - 8, 19 - 19)),
    ("sagittal", 3): (FRONT, (17 - 7, 21 - 21)),  # the front is on the left, the head on top
    ("sagittal", 4): (HEAD, (17 - 17, 21 - 8)),
}
SIZES = {"axial": (20, 22), "coronal": (20, 18), "sagittal": (22, 18)}
SIDES = {"axial": ("R", "A", "L", "P"), "coronal": ("R", "H", "L", "F"), "sagittal": ("A", "H", "P", "F")}
SPACING = {"axial": (2, 3), "coronal": (2, 4), "sagittal": (3, 4)}


@pytest.mark.parametrize(("plane", "at"), PLACES)
def test_each_plane_is_seen_as_radiologists_do(plane, at):
    image = read_image(nifti(volume()), View(plane=plane, slice=at))
    assert (image.width, image.height) == SIZES[plane]
    assert np.argwhere(image.pixels[..., 0] == 255).tolist() == [list(PLACES[plane, at][1])]
    assert image.patient_orientation == SIDES[plane]
    assert image.spacing_mm == SPACING[plane]
    params = dict(image.warnings[0].params)
    assert (params["plane"].code, params["number"]) == (f"image.{plane}", at)
    assert params["side"].code == ("image.front" if plane == "sagittal" else "image.right")


@pytest.mark.parametrize("axes", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("signs", list(itertools.product((1, -1), repeat=3)))
def test_how_a_volume_lies_on_disk_does_not_matter(axes, signs):
    ornt = np.array(list(zip(axes, signs, strict=True)), float)
    affine = np.diag([2.0, 3.0, 4.0, 1.0]) @ nibabel.orientations.inv_ornt_aff(ornt, SHAPE)
    turned = nifti(nibabel.apply_orientation(volume(), ornt), affine)
    for plane, at in PLACES:
        one, other = (read_image(data, View(plane=plane, slice=at)) for data in (turned, nifti(volume())))
        np.testing.assert_array_equal(one.pixels, other.pixels)
        assert one.spacing_mm == pytest.approx(other.spacing_mm)


@pytest.mark.parametrize("kind", ["Nifti1Image", "Nifti2Image"])
@pytest.mark.parametrize("pack", [False, True])
def test_both_versions_packed_or_not_and_the_file_scale(kind, pack):
    data = nifti(np.full(SHAPE, 50, np.int16), kind=getattr(nibabel, kind), pack=pack, scale=(2.0, -60.0))
    image = read_image(data, View(slice=3, window="40,400"))
    assert image.window == (40, 400)
    assert set(np.unique(image.pixels)) == {128}  # 2 * 50 - 60 = 40, the centre


def test_a_volume_in_time():
    data = nifti(np.stack([volume(), volume() * 0 + 7], axis=3))
    with raises_code(ChoiceError, "image.several_pictures", noun=AXIAL_SLICE, count=18):
        read_image(data)
    with raises_code(ChoiceError, "image.several_pictures", noun=Message("image.frame"), count=2):
        read_image(data, View(slice=1))
    assert read_image(data, View(frame=1, slice=8)).pixels.max() == 0


def test_a_volume_that_does_not_say_how_the_patient_lay():
    image = read_image(nifti(volume(), at={CODES: [0, 0]}), View(slice=1))
    assert image.warnings[1] == Message("image.patient_side_unknown")


@pytest.mark.parametrize(
    ("make", "view", "code"),
    [
        (lambda: nifti(volume()), View(), "image.several_pictures"),
        (lambda: nifti(volume()), View(slice=18), "image.no_such_picture"),
        (lambda: nifti(noise, pack=True)[:-80], View(slice=1), "image.damaged_compression"),
        (lambda: nifti(volume())[:-80], View(slice=1), "image.voxels_missing"),
        (lambda: nifti(volume(), at={DIM: [3, 32767, 32767, 32767]}), View(slice=1), "image.voxels_missing"),
        (lambda: nifti(volume(), at={DIM: [7] + [32767] * 7}), View(slice=1), "image.wrong_dimensions"),
        (lambda: nifti(volume()[:, :9, :9]), View(slice=1), "image.too_small"),
        (lambda: nifti(np.full(SHAPE, np.nan, np.float32)), View(slice=1), "image.not_a_number"),
        (lambda: gzip.compress(nifti(volume()) + bytes(200 << 20), 1), View(slice=1), "image.inflates_too_far"),
        (lambda: gzip.compress(b"a letter" * 99), View(), "image.unknown_format"),
    ],
)
def test_what_cannot_be_used_gives_one_sentence(make, view, code):
    with raises_code(ImageError, code):
        read_image(make(), view)


def test_planes_are_named_and_go_with_volumes():
    with raises_code(UsageError, "image.no_plane", plane="oblique", planes=("axial", "coronal", "sagittal")):
        read_image(nifti(volume()), View(plane="oblique"))
    with raises_code(ImageError, "image.not_a_volume"):
        read_image(b"anything", View(plane="axial"))


def test_without_nibabel_the_extra_is_named(monkeypatch):
    import sys

    data = nifti(volume())
    monkeypatch.setitem(sys.modules, "nibabel", None)
    with raises_code(ResourceError, "image.needs_nibabel"):
        read_image(data)
