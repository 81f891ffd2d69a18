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


# Places of the header's sizes, units, display range, of qform_code and sform_code, and of what these two announce.
DIM, UNITS, CAL, CODES, QFORM, SFORM = 40, 123, 124, 252, 256, 280


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
    ("unit", "factor"), [("unknown", 1), ("mm", 1), ("meter", 1000), ("micron", 0.001), (4, None), (7, None)]
)
def test_millimetres_follow_the_unit_of_the_file(unit, factor):
    image = nibabel.Nifti1Image(volume(), np.diag([-7.0, 8.0, 9.0, 1.0]))
    if factor:
        image.header.set_xyzt_units(unit, "sec")
    else:
        image.header["xyzt_units"] = unit
    data = image.to_bytes()
    if factor:
        image = nibabel.Nifti1Image(volume(), np.diag([-7.0 / factor, 8.0 / factor, 9.0 / factor, 1.0]), image.header)
        data = image.to_bytes()
    assert read_image(data, View(slice=1)).spacing_mm == (None if factor is None else (7, 8))
    if factor:
        assert read_image(data, View(slice=1, plane="sagittal")).spacing_mm == (8, 9)


def test_two_sizes_of_a_voxel_give_no_millimetres():
    data = bytearray(nifti(volume()))
    data[80:84] = np.array([2.1], "<f4").tobytes()  # pixdim of the first axis
    image = read_image(bytes(data), View(slice=1))
    assert image.spacing_mm is None
    assert Message("image.two_scales") in image.warnings


def test_an_sform_that_is_no_orientation_gives_way_to_the_qform():
    plain = nibabel.Nifti1Image(volume(), np.diag([2.0, -3.0, 4.0, 1.0]))
    plain.set_qform(plain.affine, 1)
    data = bytearray(plain.to_bytes())
    data[SFORM : SFORM + 48] = bytes(48)
    image, whole = (read_image(bytes(one), View(slice=8)) for one in (data, plain.to_bytes()))
    np.testing.assert_array_equal(image.pixels, whole.pixels)
    assert image.spacing_mm == whole.spacing_mm == (2, 3)
    assert set(image.warnings) - set(whole.warnings) == {Message("image.sform_unusable")}


CT = np.where(np.arange(20 * 22 * 18).reshape(SHAPE) % 5 == 0, -1024, 20).astype("i2")
CT[:, 4:9, :] = 110
METAL = CT.copy()
METAL[3:6, 3, :] = 30000
BRAIN = (noise % 50 + 100).astype("i2")
SPIKE = BRAIN.copy()
SPIKE[3, 3, :] = 30000


@pytest.mark.parametrize(
    ("values", "cal", "window", "function", "code"),
    [
        (CT, (0, 0), (40, 400), "LINEAR", "image.like_hounsfield"),
        (METAL, (0, 0), (40, 400), "LINEAR", "image.like_hounsfield"),
        (METAL, (-160, 240), (40, 400), "LINEAR_EXACT", "image.display_range"),
        (CT, (-2000, 3000), (40, 400), "LINEAR", "image.like_hounsfield"),  # a range that leaves out nothing says nothing
        (BRAIN, (0, 0), (124.5, 49), "LINEAR_EXACT", None),
        (BRAIN, (np.nan, np.inf), (124.5, 49), "LINEAR_EXACT", None),
        (BRAIN, (110, 120), (115, 10), "LINEAR_EXACT", "image.display_range"),
        (BRAIN * 10, (0, 1000.5), (1245, 490), "LINEAR_EXACT", None),  # left behind: nearly all would be white
        (SPIKE, (0, 0), (124.5, 49), "LINEAR_EXACT", "image.outliers"),
    ],
)
def test_the_window_of_a_volume_shows_tissue(values, cal, window, function, code):
    data = bytearray(nifti(values))
    data[CAL : CAL + 8] = np.array(cal[::-1], "<f4").tobytes()
    image = read_image(bytes(data), View(slice=3))
    assert (image.window, image.window_function) == (window, function)
    assert [warning.code for warning in image.warnings[1:]] == ([code] if code else [])
    assert len(np.unique(image.pixels)) > 2
    assert read_image(bytes(data), View(slice=3, window="1,2")).window == (1, 2)


@pytest.mark.parametrize("at", [100, 352, 5000])
def test_a_gzip_of_several_members_is_read_as_one(at):
    data = nifti(noise)
    packed = gzip.compress(data[:at]) + gzip.compress(data[at:])
    np.testing.assert_array_equal(read_image(packed, View(slice=3)).pixels, read_image(data, View(slice=3)).pixels)
    with raises_code(ImageError, "image.damaged_compression"):
        read_image(packed[:-9], View(slice=3))


def test_a_bomb_ends_at_the_limit(monkeypatch):
    from medrega_edge.images import inflating
    from medrega_edge.images import nifti as reader

    for module in (inflating, reader):
        monkeypatch.setattr(module, "MAX_BYTES", 1 << 20)
    with raises_code(ImageError, "image.large_volume", limit=1):
        read_image(gzip.compress(nifti(volume()) + bytes(9 << 20)), View(slice=1))


def test_axes_of_length_one_behind_time_are_no_dimensions():
    data = nifti(np.stack([volume(), volume() * 0 + 7], axis=3)[..., None, None])
    assert read_image(data, View(frame=0, slice=8)).pixels.max() == 255


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
        (lambda: nifti(volume().astype("c8")), View(slice=1), "image.voxels_not_grey"),
        (lambda: nifti(np.zeros(SHAPE, [("R", "u1"), ("G", "u1"), ("B", "u1")])), View(slice=1), "image.voxels_not_grey"),
        (lambda: nifti(np.full(SHAPE, np.nan, np.float32)), View(slice=1), "image.not_a_number"),
        (lambda: gzip.compress(nifti(volume(), at={DIM: [3, 999, 999, 999]})), View(slice=1), "image.large_volume"),
        (lambda: gzip.compress(nifti(volume(), at={DIM: [3, 99, 99, 99]})), View(slice=98), "image.voxels_missing"),
        (lambda: gzip.compress(nifti(volume(), at={DIM: [3, 99, 22, 18]})), View(slice=1), "image.voxels_missing"),
        (
            lambda: nifti(volume(), at={CODES: [1, 1], SFORM: [0] * 24, QFORM: [-1] * 12}),
            View(slice=1),
            "image.no_orientation",
        ),
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


@pytest.mark.parametrize(("degrees", "is_noted"), [(0, False), (20, False), (30, True), (45 - 1e-3, True)])
def test_an_oblique_volume_says_so(degrees, is_noted):
    sine, cosine = np.sin(np.radians(degrees)), np.cos(np.radians(degrees))
    affine = np.eye(4)
    affine[:3, :3] = np.array([[cosine, -sine, 0], [sine, cosine, 0], [0, 0, 1]]) @ np.diag([2.0, 3.0, 4.0])
    image = read_image(nifti(volume(), affine), View(slice=8))
    assert (Message("image.oblique_volume") in image.warnings) == is_noted
    assert image.spacing_mm == (2, 3)
