"""Folders of DICOM files: series described and chosen by number, slices in anatomical order, notes on what is odd."""

import json
import random

import numpy as np
import pytest

from medrega_edge.errors import ChoiceError, ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.series import scan_folder
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from medrega_edge.io.atomic import image_names
from tests.codes import raises_code
from tests.edge.dicoms import bare, dataset, deflated, dicom
from tests.edge.stub import medrega, put

AXIAL, CORONAL, SAGITTAL = (1, 0, 0, 0, 1, 0), (1, 0, 0, 0, 0, -1), (0, 1, 0, 0, 0, -1)
SECRET = "Doe^Zyxwena"
SHAPE = (20, 22, 18)  # of a volume whose axes run to the left, the back, the head, as DICOM's do
VOLUME = np.random.default_rng(0).integers(0, 1000, SHAPE, dtype=np.uint16)
WINDOW = {"WindowCenter": "500", "WindowWidth": "1001"}


def slice_file(number, place, *, series="1.2.1", cosines=AXIAL, pixels=None, **tags):
    """One slice whose grey is its `number`, lying at `place` (x, y, z)."""
    values = np.full((16, 16), number, "u1") if pixels is None else pixels
    named = {
        "Modality": "CT", "StudyInstanceUID": "1.2", "SeriesInstanceUID": series, "SOPInstanceUID": f"{series}.{number}",
        "InstanceNumber": str(number), "ImageOrientationPatient": list(cosines), "ImagePositionPatient": list(place),
        "SeriesDescription": SECRET, "PatientName": SECRET, "ProtocolName": SECRET,
    }  # fmt: skip
    values[0] = 200  # no picture of few shades
    tags = {name: value for name, value in (named | tags).items() if value is not None or name not in named}
    return dicom(values, **tags)


def stack(folder, places, shuffled=True, **tags):
    """A series whose slices have names in a random order, and numbers from 1 on in the order given."""
    names = [f"{number:03}.dcm" for number in range(len(places))]
    if shuffled:
        random.Random(0).shuffle(names)
    folder.mkdir(exist_ok=True)
    for number, (name, place) in enumerate(zip(names, places, strict=True), 1):
        (folder / name).write_bytes(slice_file(number, place, **tags))
    return folder


PLANES = {
    "axial": Message("image.axial"),
    "coronal": Message("image.coronal"),
    "sagittal": Message("image.sagittal"),
    "oblique": Message("dicom.oblique"),
}
SIZE = Message("dicom.size", width=16, height=16)


def slices(count, plane, modality="CT"):
    """The description of a series."""
    return Message("dicom.slices", modality=modality, count=count, plane=plane, size=SIZE)


def shown(folder, **view):
    return int(read_image(folder, View(**view)).pixels[5, 5, 0])


@pytest.mark.parametrize(
    ("cosines", "axis", "sign", "plane"),
    [
        (AXIAL, 2, 1, "axial"),  # slices count towards the head,
        ((-1, 0, 0, 0, 1, 0), 2, 1, "axial"),  # however the picture is turned;
        (CORONAL, 1, -1, "coronal"),  # towards the front, and DICOM's axis runs to the back;
        (SAGITTAL, 0, -1, "sagittal"),  # towards the right, and DICOM's axis runs to the left
        ((0.8, 0.6, 0, 0, 0, -1), 1, -1, "oblique"),
    ],
)
def test_slices_count_towards_head_front_and_right(tmp_path, cosines, axis, sign, plane):
    places = [[0.0, 0.0, 0.0] for _ in range(5)]
    for number, place in enumerate(places):
        place[axis] = sign * (number - 2) * 2.5
    folder = stack(tmp_path / "in", places, cosines=cosines)
    assert [shown(folder, slice=at) for at in range(5)] == [1, 2, 3, 4, 5]
    image = read_image(folder, View(slice=3))
    assert (image.series, image.slice) == (0, 3)
    description = slices(5, PLANES[plane])
    assert image.warnings[0] == Message("dicom.slice_of_series", number=3, count=5, series=0, description=description)


def test_the_middle_slice_unless_another_is_named(tmp_path):
    folder = stack(tmp_path / "in", [(0, 0, z) for z in (0, 3, 6, 9)])
    image = read_image(folder)
    assert (image.slice, int(image.pixels[5, 5, 0])) == (2, 3)
    assert [warning.code for warning in image.warnings] == ["dicom.slice_of_series", "dicom.middle_slice"]
    for at in (-1, 4):
        with raises_code(ImageError, "image.no_such_picture", noun=Message("image.slice"), option="--slice", last=3):
            read_image(folder, View(slice=at))
    for view in (View(frame=0), View(plane="axial")):
        with raises_code(ImageError, "dicom.frame_of_a_folder"):
            read_image(folder, view)
    with raises_code(ImageError, "image.series_of_a_file"):
        read_image(next(folder.iterdir()), View(series=0))


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
def test_the_same_volume_as_nifti_shows_the_same_under_the_same_number(tmp_path, plane):
    """Both count and turn alike: an independent reader of the same voxels, through nibabel."""
    nibabel = pytest.importorskip("nibabel")
    affine = np.diag([-2.0, -3.0, 4.0, 1.0])  # DICOM's axes in NIfTI's, which run to the right, the front, the head
    nifti = nibabel.Nifti1Image(VOLUME.astype(np.int16), affine).to_bytes()
    cosines, axis = {"axial": (AXIAL, 2), "coronal": (CORONAL, 1), "sagittal": (SAGITTAL, 0)}[plane]
    folder = tmp_path / "in"
    folder.mkdir()
    spacing = [2.0, 3.0, 4.0]
    down = {"axial": 3.0, "coronal": 4.0, "sagittal": 4.0}[plane]
    across = {"axial": 2.0, "coronal": 2.0, "sagittal": 3.0}[plane]
    for at in random.Random(0).sample(range(SHAPE[axis]), SHAPE[axis]):
        cut = np.take(VOLUME, at, axis).T  # rows go down, and to the back or, turned, to the feet
        if plane != "axial":
            cut = cut[::-1]
        place = [0.0, 0.0, 0.0] if plane == "axial" else [0.0, 0.0, 4.0 * (SHAPE[2] - 1)]
        place[axis] = at * spacing[axis]
        data = slice_file(at, place, cosines=cosines, pixels=cut.copy(), PixelSpacing=[str(down), str(across)], **WINDOW)
        (folder / f"{random.Random(at).random()}.dcm").write_bytes(data)
    for at in range(SHAPE[axis]):
        one = read_image(folder, View(slice=at))
        other = read_image(nifti, View(plane=plane, slice=at, window="500,1001"))
        unmarked = (slice(1, None), slice(None))  # the first row holds the mark of these tests
        np.testing.assert_array_equal(one.pixels[unmarked], other.pixels[unmarked])
        assert (one.patient_orientation, one.spacing_mm, one.slice) == (
            other.patient_orientation,
            other.spacing_mm,
            other.slice,
        )


def test_several_series_are_described_without_names_and_chosen_by_number(tmp_path):
    folder = stack(tmp_path / "in", [(0, 0, z) for z in range(3)], series="1.2.9", SeriesNumber="2")
    stack(folder / "b", [(0, y, 0) for y in range(4)], series="1.2.3", SeriesNumber="7", cosines=CORONAL, Modality="MR")
    (folder / "c.dcm").write_bytes(slice_file(9, (0, 0, 0), series="1.2.5", SeriesNumber="4", Modality=SECRET))
    with pytest.raises(ChoiceError) as caught:
        read_image(folder)
    assert caught.value.code == "dicom.several_series"
    described = [
        slices(3, PLANES["axial"]),
        Message("dicom.single_picture", modality=Message("dicom.unknown_modality"), size=SIZE),
        slices(4, PLANES["coronal"], "MR"),
    ]
    numbered = [Message("dicom.numbered_series", number=number, series=one) for number, one in enumerate(described)]
    assert caught.value.message.params["series"] == tuple(numbered)
    assert str(caught.value) == (
        "The folder holds 3 series; choose one with --series (0: CT, 3 axial slices of 16 x 16; "
        "1: unknown kind, 1 picture of 16 x 16; 2: MR, 4 coronal slices of 16 x 16)."
    )
    assert (caught.value.count, caught.value.option) == (3, "--series")
    assert shown(folder, series=0, slice=2) == 3
    assert shown(folder, series=1) == 9
    assert shown(folder, series=2, slice=0) == 4  # towards the front
    with raises_code(ImageError, "dicom.no_series", series=3, last=2):
        read_image(folder, View(series=3))
    for number in range(3):
        assert SECRET not in repr(read_image(folder, View(series=number)).warnings)


def test_files_without_their_beginning_have_their_place_among_the_others(tmp_path):
    folder = stack(tmp_path / "in", [(0, 0, place) for place in range(6)])
    for path in sorted(folder.iterdir())[::2]:
        path.write_bytes(bare(path.read_bytes()))
    found = scan_folder(folder, image_names(folder))
    assert [series.description for series in found.series] == [slices(6, PLANES["axial"])]
    assert [shown(folder, slice=at) for at in range(6)] == [1, 2, 3, 4, 5, 6]


def test_what_is_no_picture_is_left_out_and_counted(tmp_path):
    folder = stack(tmp_path / "in", [(0, 0, z) for z in range(3)])
    (folder / "letter.txt").write_text("no image")
    (folder / "report.dcm").write_bytes(slice_file(20, (0, 0, 0), Rows=None, Columns=None, PixelData=None, Modality="SR"))
    (folder / "outline.dcm").write_bytes(slice_file(21, (0, 0, 0), series="1.2.7", Modality="SEG"))
    (folder / "copy.dcm").write_bytes((folder / "001.dcm").read_bytes())
    (folder / "cut.dcm").write_bytes((folder / "001.dcm").read_bytes()[:400])
    for name in ("DICOMDIR", "dicomdir"):
        (folder / name).write_bytes((folder / "001.dcm").read_bytes())
    directory = slice_file(22, (0, 0, 0), kind="1.2.840.10008.1.3.10", Rows=None, Columns=None, PixelData=None)
    (folder / "DICOMDIR;1").write_bytes(directory)
    image = read_image(folder, View(slice=0))
    left_out = [
        Message("dicom.left_out_no_dicom", count=1),
        Message("dicom.left_out_damaged", count=1),
        Message("dicom.left_out_no_picture", count=3),
        Message("dicom.left_out_copies", count=1),
    ]
    assert image.warnings[1] == Message("dicom.left_out", files=left_out)
    for path in folder.glob("0*.dcm"):
        path.unlink()
    (folder / "copy.dcm").unlink()
    with raises_code(ImageError, "dicom.folder_without_picture"):
        read_image(folder)


def missing(count, *gaps, elsewhere=False):
    """The note on `count` missing slices between the slices of each gap."""
    where = [Message("dicom.gap", before=before, after=after) for before, after in gaps]
    return Message("dicom.missing_slices", count=count, gaps=where + [Message("dicom.elsewhere")] * elsewhere)


@pytest.mark.parametrize(
    ("heights", "notes"),
    [
        ([0, 2, 4, 6, 8], ()),
        ([0, 2, 4, 8, 10], (missing(1, (2, 3)),)),
        ([0, 2, 4, 12, 14, 20], (missing(5, (2, 3), (4, 5)),)),
        # Pairs: more steps are short than long.
        ([0, 1, 4, 5, 8, 9, 12, 13, 16, 17], (missing(8, (1, 2), (3, 4), (5, 6), elsewhere=True),)),
        ([0, 2, 2, 4, 4, 6], (Message("dicom.shared_positions", count=2),)),
        ([5, 5, 5], (Message("dicom.shared_positions", count=2),)),
        ([0, 2.1, 3.9, 6, 8.05], ()),
    ],
)
def test_missing_and_doubled_positions_are_noted(tmp_path, heights, notes):
    folder = stack(tmp_path / "in", [(0, 0, z) for z in heights])
    assert scan_folder(folder, image_names(folder)).series[0].notes == notes


@pytest.mark.parametrize(
    "tags",
    [
        {"ImagePositionPatient": None},
        {"ImageOrientationPatient": None},
        {"ImagePositionPatient": ["0", "0"]},
        {"ImagePositionPatient": ["1e30", "0", "0"]},
        {"ImageOrientationPatient": [1, 0, 0, 1, 0, 0]},
    ],
)
def test_without_positions_the_numbers_order_the_slices(tmp_path, tags):
    folder = stack(tmp_path / "in", [(0, 0, -z) for z in range(3)], **tags)
    assert [shown(folder, slice=at) for at in range(3)] == [1, 2, 3]
    assert read_image(folder, View(slice=0)).warnings[1] == Message("dicom.ordered_by_number")


def test_frames_of_a_series_are_its_slices(tmp_path):
    frames = np.stack([np.full((16, 16), grey, "u1") for grey in (10, 20, 30)])
    frames[:, 0, 0] = 200
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3"}
    for number in (2, 1):
        data = dicom(frames + number, SOPInstanceUID=f"1.2.3.{number}", InstanceNumber=str(number), **uids)
        (tmp_path / f"{3 - number}.dcm").write_bytes(data)
    assert [shown(tmp_path, slice=at) for at in range(6)] == [11, 21, 31, 12, 22, 32]
    assert read_image(tmp_path, View(slice=4)).frame == 1


def enhanced(heights, cosines=AXIAL, greys=None, **tags):
    """A file whose frames lie at these heights, the grey of each its height unless named."""
    values = np.stack([np.full((16, 16), grey, "u1") for grey in greys or heights])
    values[:, 0] = 200
    per_frame = [
        dataset(
            PlanePositionSequence=[dataset(ImagePositionPatient=[0, 0, height])],
            PlaneOrientationSequence=[dataset(ImageOrientationPatient=list(one))],
        )
        for height, one in zip(heights, cosines if isinstance(cosines, list) else [cosines] * len(heights), strict=True)
    ]
    uids = {"StudyInstanceUID": "1.2", "SeriesInstanceUID": "1.2.3", "Modality": "MR"}
    return dicom(values, PerFrameFunctionalGroupsSequence=per_frame, **uids | tags)


def test_frames_are_ordered_by_where_they_lie(tmp_path):
    ordered = Message("dicom.frames_ordered")
    for heights, is_noted in (([30, 10, 50, 20, 40], True), ([50, 40, 30, 20, 10], True), ([10, 20, 30, 40, 50], False)):
        (tmp_path / "a.dcm").write_bytes(enhanced(heights))
        assert [shown(tmp_path, slice=at) for at in range(5)] == [10, 20, 30, 40, 50]
        image = read_image(tmp_path, View(slice=3))
        assert image.frame == heights.index(40)
        assert (ordered in image.warnings) == is_noted
    (tmp_path / "b.dcm").write_bytes(enhanced([15, 45, 5]))  # another part of the same series
    assert [shown(tmp_path, slice=at) for at in range(8)] == [5, 10, 15, 20, 30, 40, 45, 50]
    assert read_image(tmp_path, View(slice=6)).frame == 1


def test_a_batch_says_where_each_frame_stands(tmp_path, monkeypatch):
    put(monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(enhanced([30, 10, 20]))
    medrega("batch", folder, "--question", "x", "--out", tmp_path / "a.jsonl")
    assert [(row["image"]["frame"], row["image"]["slice"]) for row in rows_of(tmp_path / "a.jsonl")] == [
        (0, 2),
        (1, 0),
        (2, 1),
    ]


def test_localizers_are_set_aside_and_named(tmp_path):
    folder = stack(tmp_path / "in", [(0, 0, -z) for z in range(4)])
    (folder / "scout.dcm").write_bytes(slice_file(9, (0, 0, 0), cosines=SAGITTAL, InstanceNumber="0"))
    assert [shown(folder, slice=at) for at in range(4)] == [4, 3, 2, 1]
    named = Message("dicom.numbered_series", number=1, series=Message("dicom.single_picture", modality="CT", size=SIZE))
    assert read_image(folder, View(slice=0)).warnings[-1] == Message("dicom.set_aside", series=[named])
    assert shown(folder, series=1) == 9
    with raises_code(ImageError, "dicom.no_series", series=2, last=1):
        read_image(folder, View(series=2))


def test_localizers_are_known_by_their_image_type(tmp_path):
    folder = stack(tmp_path / "in", [(0, 0, z) for z in range(3)])
    for number in (7, 8):
        scout = slice_file(number, (number, 0, 0), cosines=SAGITTAL, ImageType=["ORIGINAL", "PRIMARY", "LOCALIZER"])
        (folder / f"{number}.dcm").write_bytes(scout)
    assert [shown(folder, slice=at) for at in range(3)] == [1, 2, 3]


def test_stacks_in_two_directions_are_two_series(tmp_path):
    (tmp_path / "a.dcm").write_bytes(enhanced([10, 20, 30, 40], [AXIAL, CORONAL, AXIAL, CORONAL]))
    with raises_code(ChoiceError, "dicom.several_series", count=2):
        read_image(tmp_path)
    assert [shown(tmp_path, series=0, slice=at) for at in range(2)] == [10, 30]


def test_slices_that_turn_are_in_the_order_of_their_numbers_and_that_is_said(tmp_path):
    (tmp_path / "in").mkdir()
    for number in range(1, 6):
        turned = (np.cos(number), np.sin(number), 0, 0, 0, -1)
        (tmp_path / "in" / f"{9 - number}.dcm").write_bytes(slice_file(number, (0, 0, 0), cosines=turned))
    assert [shown(tmp_path / "in", slice=at) for at in range(5)] == [1, 2, 3, 4, 5]
    assert Message("dicom.several_directions") in read_image(tmp_path / "in").warnings


def test_pictures_that_share_a_uid_are_no_copies(tmp_path):
    folder = stack(tmp_path / "in", [(0, 0, z) for z in range(3)], SOPInstanceUID="1.2.3")
    (folder / "copy.dcm").write_bytes((folder / "000.dcm").read_bytes())
    assert [shown(folder, slice=at) for at in range(3)] == [1, 2, 3]
    codes = [warning.code for warning in read_image(folder, View(slice=0)).warnings]
    assert codes == ["dicom.slice_of_series", "dicom.left_out", "dicom.shared_uids"]


def test_a_header_that_claims_a_billion_frames_costs_nothing(tmp_path):
    (tmp_path / "a.dcm").write_bytes(slice_file(1, (0, 0, 0), NumberOfFrames="2000000000"))
    with raises_code(ImageError, "dicom.fewer_bytes", claimed=512_000_000_000, held=256):
        read_image(tmp_path)


def test_a_header_that_ends_late_or_is_deflated_is_read_all_the_same(tmp_path):
    plain = slice_file(1, (0, 0, 0))
    late = slice_file(2, (0, 0, 5))
    at = late.index(b"\x20\x00\x0d\x00UI")  # a long private value comes before the study's UID
    late = late[:at] + b"\x19\x00\x10\x10OB\0\0" + (2 << 20).to_bytes(4, "little") + bytes(2 << 20) + late[at:]
    for name, data in (("a", plain), ("b", late), ("c", deflated(slice_file(3, (0, 0, 9))))):
        (tmp_path / name).write_bytes(data)
    assert [shown(tmp_path, slice=at) for at in range(3)] == [1, 2, 3]


def test_a_series_of_a_folder_without_any_is_refused(tmp_path, monkeypatch):
    put(monkeypatch)
    (tmp_path / "in").mkdir()
    (tmp_path / "in" / "letter.txt").write_text("no image")
    with raises_code(ImageError, "dicom.folder_without_series"):
        medrega("batch", tmp_path / "in", "--question", "x", "--series", "0", "--out", tmp_path / "a.jsonl")


def test_several_studies_are_noted(tmp_path):
    stack(tmp_path, [(0, 0, 0)], series="1.2.3")
    (tmp_path / "b.dcm").write_bytes(slice_file(5, (0, 0, 0), series="1.2.4", StudyInstanceUID="1.3"))
    assert read_image(tmp_path, View(series=1)).warnings[-1] == Message("dicom.several_studies", count=2)


# --- through the commands, with a stub for the model ---


def rows_of(path):
    return [json.loads(line) for line in path.read_text("utf-8").splitlines()]


def test_batch_goes_through_series_in_order_and_says_where_each_picture_stands(tmp_path, monkeypatch, capsys):
    put(monkeypatch)
    folder = stack(tmp_path / "in", [(0, 0, z) for z in (0, 2, 8)], series="1.2.9", SeriesNumber="2")
    stack(folder / "b", [(0, 0, z) for z in range(2)], series="1.2.3", SeriesNumber="1")
    (folder / "letter.png").write_text("no image")
    (folder / "report.dcm").write_bytes(slice_file(20, (0, 0, 0), Rows=None, Columns=None, PixelData=None, Modality="SR"))
    out = tmp_path / "a.jsonl"
    from typer import Exit

    try:
        code = medrega("batch", folder, "--question", "x", "--out", out, "--csv", tmp_path / "a.csv")
    except Exit as end:
        code = end.exit_code
    assert code == 1  # the letter
    rows = rows_of(out)
    places = [(row["image"]["series"], row["image"]["slice"]) for row in rows[:-1]]
    assert places == [(0, 0), (0, 1), (1, 0), (1, 1), (1, 2)]
    assert [row["text"].split()[-1] for row in rows[:2]] == ["13.438", "14.375"]  # by grey: number 1, then 2
    assert rows[-1]["error"]["kind"] == "image"
    progress = capsys.readouterr().err
    left_out = Message("dicom.left_out", files=[Message("dicom.left_out_no_picture", count=1)])
    for note in (
        Message("batch.series", number=0, note=slices(2, PLANES["axial"])),
        Message("batch.series", number=1, note=missing(2, (1, 2))),
        left_out,
    ):
        assert str(note) in progress
    assert "1,2," in (tmp_path / "a.csv").read_text("utf-8-sig")
    out.unlink()
    medrega("batch", folder, "--question", "x", "--out", out, "--series", "1")
    assert [(row["image"]["series"], row["image"]["slice"]) for row in rows_of(out)] == [(1, 0), (1, 1), (1, 2)]


def test_questions_may_name_a_folder_with_series_and_slice(tmp_path, monkeypatch):
    put(monkeypatch)
    stack(tmp_path / "in", [(0, 0, z) for z in range(3)])
    questions = tmp_path / "q.jsonl"
    lines = [{"id": at, "image": "in", "question": "x", "series": 0, "slice": at} for at in (2, 0)]
    questions.write_text("".join(json.dumps(line) + "\n" for line in lines))
    medrega("batch", questions, "--out", tmp_path / "a.jsonl")
    assert [row["text"].split()[-1] for row in rows_of(tmp_path / "a.jsonl")] == ["15.312", "13.438"]
