"""Masks of whole volumes: each voxel of the file is the voxel of the scan that the mask was made of."""

from dataclasses import replace

import numpy as np
import pydicom
import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.images.medical_image import View
from medrega_edge.masks import Mask
from medrega_edge.measures import measure
from medrega_edge.output.dicom.writer import write_volume_objects
from medrega_edge.output.volume_masks import label_volume, write_volume_masks
from medrega_edge.volumes.answer import VolumeAnswer, VolumeRegion
from medrega_edge.volumes.linking import SliceBox
from medrega_edge.volumes.reader import open_volume
from tests.codes import raises_code
from tests.edge.dicoms import dicom
from tests.edge.stub import medrega, put
from tests.edge.test_derived import answer
from tests.edge.test_series import AXIAL, SAGITTAL, stack
from tests.edge.test_volumes import MasksEngine, SlicesEngine, series

nibabel = pytest.importorskip("nibabel")
BOX = PixelBox(0, 0, 5, 4)
BRIGHT = 900


def answer_about(volume, *masks):
    """An answer whose regions have these masks, `{slice: [height, width]}` each."""
    regions = []
    for number, found in enumerate(masks):
        boxes = tuple(SliceBox(slice_, BOX, 0.9) for slice_ in found)
        made = tuple(Mask.of(np.asarray(inside), 0.9) for inside in found.values())
        regions.append(VolumeRegion(("liver", "left kidney")[number], boxes, None, made))
    one = answer()
    height, width = volume.read(0).values.shape
    image = replace(one.image, height=height, width=width)
    return VolumeAnswer("", "en", volume.count, None, tuple(regions), (), image, one.model, "cpu", 0.0, ())


def of_bright(volume):
    values = {number: volume.read(number).values for number in range(volume.count)}
    return {number: each > BRIGHT for number, each in values.items() if (each > BRIGHT).any()}


@pytest.mark.parametrize("plane", ["axial", "coronal", "sagittal"])
@pytest.mark.parametrize("axes", ["RAS", "LPS", "PIR", "SAL"])
def test_a_nifti_mask_has_the_grid_of_its_scan(tmp_path, plane, axes):
    values = np.random.default_rng(0).integers(0, 1000, (17, 18, 19)).astype(np.int16)
    codes = nibabel.orientations.axcodes2ornt(tuple(axes))
    straight = np.array([[2, 0.1, 0, -30], [-0.1, 3, 0, 5], [0, 0, 4, 9], [0, 0, 0, 1.0]])
    whole = nibabel.Nifti1Image(values, straight).as_reoriented(codes)
    nibabel.save(whole, tmp_path / "scan.nii.gz")
    volume = open_volume(tmp_path / "scan.nii.gz", View(plane=plane))
    write_volume_masks(answer_about(volume, of_bright(volume)), volume.grid(), tmp_path / "masks.nii.gz")
    made = nibabel.load(tmp_path / "masks.nii.gz")
    assert np.allclose(made.affine, whole.affine, atol=1e-4)
    assert np.array_equal(np.asarray(made.dataobj), np.asarray(whole.dataobj) > BRIGHT)
    assert made.header.get_xyzt_units()[0] == "mm"


def test_the_first_of_two_regions_has_a_common_voxel(tmp_path):
    volume = open_volume(series(tmp_path / "ct", count=3))
    whole, half = np.ones((16, 16), bool), np.zeros((16, 16), bool)
    half[:8] = True
    values = label_volume(answer_about(volume, {1: half}, {1: whole, 2: whole}))
    assert (values[0].max(), values[1, 0, 0], values[1, 9, 0], values[2].min()) == (0, 1, 2, 2)


@pytest.mark.parametrize(("cosines", "axis"), [(AXIAL, 2), (SAGITTAL, 0)])
def test_a_mask_of_a_series_lies_where_its_slices_do(tmp_path, cosines, axis):
    places = [tuple(10.0 + 2.5 * number if i == axis else -7.0 for i in range(3)) for number in range(4)]
    folder = stack(tmp_path / "ct", places, cosines=cosines, PixelSpacing=[0.5, 0.8])
    volume = open_volume(folder)
    inside = np.zeros((16, 16), bool)
    inside[3, 5] = True
    write_volume_masks(answer_about(volume, {2: inside}), volume.grid(), tmp_path / "masks.nii.gz")
    made = nibabel.load(tmp_path / "masks.nii.gz")
    (voxel,) = np.argwhere(np.asarray(made.dataobj))
    corner = np.full(3, -7.0)
    corner[axis] = volume.positions[2] if cosines == AXIAL else corner[axis]
    step = 5 * 0.8 * np.array(cosines[:3]) + 3 * 0.5 * np.array(cosines[3:])
    expected = (corner + step) * [-1, -1, 1]
    found = made.affine[:3, :3] @ voxel + made.affine[:3, 3]
    kept = [i for i in range(3) if cosines == AXIAL or i != axis]
    assert np.allclose(found[kept], expected[kept], atol=1e-3)
    if cosines == SAGITTAL:
        assert found[axis] * -1 in [place[axis] for place in places]


def test_a_nifti_file_needs_even_slices_and_a_place(tmp_path):
    uneven = stack(tmp_path / "a", [(0, 0, z) for z in (0, 2, 4, 9)], cosines=AXIAL, PixelSpacing=[1, 1])
    with raises_code(ImageError, "volume.uneven_slices"):
        open_volume(uneven).grid()
    with raises_code(ImageError, "volume.no_grid"):
        open_volume(stack(tmp_path / "b", [(0, 0, z) for z in range(3)], cosines=AXIAL)).grid()
    image = nibabel.Nifti1Image(np.zeros((16, 16, 16), np.int16), None)
    nibabel.save(image, tmp_path / "no_place.nii")
    with raises_code(ImageError, "volume.no_grid"):
        open_volume(tmp_path / "no_place.nii").grid()


def scan_of(folder, count=4):
    """A series that an archive takes."""
    folder.mkdir()
    for number in range(count):
        tags = {
            "SOPClassUID": "1.2.840.10008.5.1.4.1.1.2", "SOPInstanceUID": f"1.2.3.{number + 1}", "StudyInstanceUID": "1.2",
            "SeriesInstanceUID": "1.2.3", "FrameOfReferenceUID": "1.2.4", "Modality": "CT", "InstanceNumber": str(number),
            "ImageOrientationPatient": list(AXIAL), "ImagePositionPatient": [0, 0, 2.5 * number], "PixelSpacing": [1, 1],
            "SliceThickness": "2.5", "PatientName": "A^B", "PatientID": "7", "PatientSex": "O", "PatientBirthDate": "",
            "StudyDate": "20260101", "StudyTime": "120000", "AccessionNumber": "", "StudyID": "1",
            "ReferringPhysicianName": "",
        }  # fmt: skip
        values = np.random.default_rng(number).integers(0, 1000, (16, 16)).astype(np.uint16)
        (folder / f"{number}.dcm").write_bytes(dicom(values, **tags))
    return folder


def test_a_segmentation_object_of_a_series_is_read_back_equal(tmp_path):
    highdicom = pytest.importorskip("highdicom")
    volume = open_volume(scan_of(tmp_path / "ct"))
    random = np.random.default_rng(0)
    liver, kidney = ({number: random.random((16, 16)) > 0.6 for number in numbers} for numbers in ((1, 2), (2, 3)))
    write_volume_objects(answer_about(volume, liver, kidney), volume.files, {"seg": tmp_path / "seg.dcm"})
    seg = highdicom.seg.segread(tmp_path / "seg.dcm")
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["liver", "left kidney"]
    assert seg.SeriesInstanceUID != "1.2.3" and seg.StudyInstanceUID == "1.2"
    names = [f"1.2.3.{number + 1}" for number in (1, 2, 3)]
    pixels = seg.get_pixels_by_source_instance(names, assert_missing_frames_are_empty=True)
    for segment, masks in enumerate((liver, kidney)):
        for place, number in enumerate((1, 2, 3)):
            expected = masks.get(number, np.zeros((16, 16), bool))
            assert np.array_equal(pixels[place, ..., segment] > 0, expected)


def test_a_report_of_a_series_has_each_box_and_what_is_measured(tmp_path):
    highdicom = pytest.importorskip("highdicom")
    volume = open_volume(scan_of(tmp_path / "ct"))
    inside = np.zeros((16, 16), bool)
    inside[2:6, 3:13] = True
    found = answer_about(volume, {1: inside, 2: inside})
    image = replace(volume.read(1), spacing_mm=(1.0, 1.0))
    measures = tuple(measure(inside, mask.box, image) for mask in found.regions[0].masks)
    liver = replace(found.regions[0], measures=measures, millilitres=1.25)
    write_volume_objects(replace(found, regions=(liver,), absent=("spleen",)), volume.files, {"sr": tmp_path / "sr.dcm"})
    report = highdicom.sr.srread(tmp_path / "sr.dcm")
    assert (report.StudyInstanceUID, report.Modality) == ("1.2", "SR")
    (group,) = report.content.get_volumetric_roi_measurement_groups()
    assert group.finding_type.value == "10200004" and group.tracking_identifier == "liver"
    assert [place.graphic_type.value for place in group.roi] == ["POLYLINE"] * 2
    sources = [place.ContentSequence[0].ReferencedSOPSequence[0].ReferencedSOPInstanceUID for place in group.roi]
    assert sources == ["1.2.3.2", "1.2.3.3"] and group.roi[0].value[2].tolist() == [5, 4]
    values = {each.name.meaning: (each.value, each.unit.value) for each in group.get_measurements()}
    assert values.pop("Score of the model") == (0.9, "1")
    axes = {"Long Axis": measures[0].longest, "Short Axis": measures[0].perpendicular}
    lengths = {name: (pytest.approx(axis.length, abs=0.005), "mm") for name, axis in axes.items()}
    assert values == {"Volume": (1.25, "ml")} | lengths
    (absent,) = report.content.get_image_measurement_groups()
    assert absent.finding_type.meaning == "spleen" and "not-found" in str(pydicom.dcmread(tmp_path / "sr.dcm"))


def test_a_report_of_a_series_of_two_classes_names_that_of_each_slice(tmp_path):
    highdicom = pytest.importorskip("highdicom")
    folder = scan_of(tmp_path / "ct")
    classes = {"1.2.3.2": "1.2.840.10008.5.1.4.1.1.4", "1.2.3.3": "1.2.752.24.5.9.7"}  # MR, and one of a maker
    for number in (1, 2):
        scan = pydicom.dcmread(folder / f"{number}.dcm")
        scan.SOPClassUID = scan.file_meta.MediaStorageSOPClassUID = classes[scan.SOPInstanceUID]
        scan.save_as(folder / f"{number}.dcm")
    volume, inside = open_volume(folder), np.ones((16, 16), bool)
    write_volume_objects(answer_about(volume, dict.fromkeys((0, 1, 2), inside)), volume.files, {"sr": tmp_path / "sr.dcm"})
    (group,) = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_volumetric_roi_measurement_groups()
    named = [place.ContentSequence[0].ReferencedSOPSequence[0] for place in group.roi]
    ct = {"1.2.3.1": "1.2.840.10008.5.1.4.1.1.2"}
    assert {str(each.ReferencedSOPInstanceUID): str(each.ReferencedSOPClassUID) for each in named} == ct | classes


def test_a_report_of_a_file_with_frames_names_the_frame(tmp_path):
    highdicom = pytest.importorskip("highdicom")
    scan = pydicom.dcmread(scan_of(tmp_path / "ct", 1) / "0.dcm")
    scan.NumberOfFrames, scan.PixelData = 3, scan.PixelData * 3
    scan.SOPClassUID = "1.2.840.10008.5.1.4.1.1.7.3"
    scan.save_as(tmp_path / "frames.dcm")
    volume = open_volume(tmp_path / "frames.dcm")
    write_volume_objects(answer_about(volume, {1: np.ones((16, 16), bool)}), volume.files, {"sr": tmp_path / "sr.dcm"})
    (group,) = highdicom.sr.srread(tmp_path / "sr.dcm").content.get_volumetric_roi_measurement_groups()
    assert group.roi[0].ContentSequence[0].ReferencedSOPSequence[0].ReferencedFrameNumber == 2


def test_the_command_writes_masks_of_the_whole_volume(tmp_path, monkeypatch, capsys):
    put(monkeypatch)
    monkeypatch.setattr("medrega_edge.engine.load", lambda *_, **__: MasksEngine())
    folder, file = scan_of(tmp_path / "ct"), tmp_path / "masks.nii.gz"
    objects = ("--dicom", "sr,seg", "--dicom-to", str(tmp_path / "objects"))
    assert medrega("segment", str(folder), "liver", "--volume", "--mask", str(file), *objects) == 0
    assert "masks.nii.gz" in capsys.readouterr().err
    assert np.asarray(nibabel.load(file).dataobj).sum() == 3 * 20
    for kind in ("sr", "seg"):
        assert (tmp_path / "objects" / f"medrega-{kind}.dcm").stat().st_size > 1000
    for options, code in (
        (("--mask", str(tmp_path / "masks.png")), "volume.mask_of_nifti"),
        (("--dicom", "sr,gsps", "--dicom-to", str(tmp_path)), "volume.objects"),
        (("--box", "1,1,5,5"), "task.names_or_box"),
    ):
        with raises_code(UsageError, code):
            medrega("segment", str(folder), "liver", "--volume", *options)
    with raises_code(UsageError, "cli.mask_of_boxes"):
        medrega("locate", str(folder), "liver", "--volume", "--mask", str(file))


def test_where_nothing_is_found_the_file_is_empty_and_no_object_is_written(tmp_path, monkeypatch, capsys):
    class Blind(MasksEngine):
        def run(self, image, task, language="en", **_):
            return replace(SlicesEngine.run(self, image, task, language), regions=())

    put(monkeypatch)
    monkeypatch.setattr("medrega_edge.engine.load", lambda *_, **__: Blind())
    folder, file = scan_of(tmp_path / "ct"), tmp_path / "masks.nii"
    objects = ("--dicom", "seg,sr", "--dicom-to", str(tmp_path / "objects"))
    assert medrega("segment", str(folder), "liver", "--volume", "--mask", str(file), *objects) == 0
    assert not np.asarray(nibabel.load(file).dataobj).any()
    assert [path.name for path in (tmp_path / "objects").iterdir()] == ["medrega-sr.dcm"]


def test_an_object_of_a_file_with_frames_is_refused_before_any_slice_is_asked(tmp_path, monkeypatch):
    engine = MasksEngine()
    put(monkeypatch)
    monkeypatch.setattr("medrega_edge.engine.load", lambda *_, **__: engine)
    (tmp_path / "frames.dcm").write_bytes(
        dicom(np.zeros((3, 16, 16), np.uint8) + np.arange(16, dtype=np.uint8), NumberOfFrames=3)
    )
    with raises_code(UsageError, "output.seg_of_frames"):
        medrega(
            "segment", str(tmp_path / "frames.dcm"), "liver", "--volume", "--dicom", "seg", "--dicom-to", str(tmp_path / "o")
        )
    assert engine.notes == []
