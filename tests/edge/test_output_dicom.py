"""DICOM objects about answers, read back: coordinates, references, notices. No model runs here."""

import dataclasses
import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from PIL import Image

pytest.importorskip("highdicom")

from medrega_edge.answer import Answer, ImageFacts, ModelFacts, Region, Timings
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import NOTICE
from medrega_edge.errors import ImageError, MedregaError, ResourceError, UsageError
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from medrega_edge.images.samples import sample_path
from medrega_edge.output.dicom.writer import object_paths, parse_kinds, write_objects
from medrega_edge.output.overlay import draw_regions
from tests.codes import raises_code
from tests.edge.dicoms import bare, colour, dataset, dicom

STUDY = {
    "PatientName": "Doe^Jane", "PatientID": "1", "PatientBirthDate": "", "PatientSex": "O", "StudyDate": "20260101",
    "StudyTime": "120000", "AccessionNumber": "", "ReferringPhysicianName": "", "StudyID": "1", "SeriesNumber": "1",
    "InstanceNumber": "1", "StudyInstanceUID": "2.25.1", "SeriesInstanceUID": "2.25.2", "Modality": "MR",
    "SpecificCharacterSet": "ISO_IR 192", "FrameOfReferenceUID": "2.25.3",
}  # fmt: skip
REGIONS = (
    Region("liver", PixelBox(10.25, 20.5, 60.0, 71.75), 0.8123),
    Region("左肾", PixelBox(0.0, 0.0, 100.0, 80.0), None),
)
noise = np.random.default_rng(0).integers(0, 4096, (3, 80, 100), dtype=np.uint16)
SLOPES = [
    dataset(PixelValueTransformationSequence=[dataset(RescaleSlope=str(k + 1), RescaleIntercept="0", RescaleType="US")])
    for k in range(3)
]
SEVERAL = "1.2.840.10008.5.1.4.1.1.7.3"  # a class of several frames
SCANS = {
    "grey": dicom(noise[0], bits=12, **STUDY),
    "frames": dicom(noise, bits=12, kind=SEVERAL, **STUDY),
    "enhanced frames": dicom(noise, bits=12, kind=SEVERAL, PerFrameFunctionalGroupsSequence=SLOPES, **STUDY),
    "colour": colour(noise[0, :, :, None].repeat(3, axis=2).astype("u1"), **STUDY),
    "sample": None,
}


def written(tmp_path, name, regions=REGIONS):
    scan = sample_path("abdomen-mri") if SCANS[name] is None else tmp_path / "scan.dcm"
    if SCANS[name] is not None:
        scan.write_bytes(SCANS[name])
    return written_about(scan, tmp_path, regions, frame=1 if "frames" in name else None)


def written_about(scan, tmp_path, regions, frame=None, source=None):
    image = read_image(scan, View(frame=frame))
    facts = ImageFacts(str(scan), image.width, image.height, "mri", image.frame, image.window, image.sha256)
    facts = dataclasses.replace(facts, sides=image.patient_orientation)
    model = ModelFacts("nano", "1.0", "ab" * 32, "int4")
    answer = Answer("text", "raw", "detect", "en", regions, (), facts, model, "cpu", "stop", 1, 1, Timings())
    to = object_paths(tmp_path, ("sr", "gsps", "sc"), source or scan)
    write_objects(answer, scan, draw_regions(image, answer), to)
    return pydicom.dcmread(scan, force=True), image, {kind: pydicom.dcmread(path) for kind, path in to.items()}


def find(items, keyword):
    """All values of a keyword anywhere inside a dataset."""
    return [element.value for element in items.iterall() if element.keyword == keyword]


@pytest.mark.parametrize("name", SCANS)
def test_objects_read_back_what_was_answered(tmp_path, name):
    scan, image, made = written(tmp_path, name)
    boxes = []
    for region in REGIONS:
        x1, y1, x2, y2 = region.box
        boxes.append([x1, y1, x2, y1, x2, y2, x1, y2, x1, y1])
    for kind in ("sr", "gsps"):
        assert [list(line) for line in find(made[kind], "GraphicData")] == boxes
    assert 0.8123 in [float(value) for value in find(made["sr"], "NumericValue")]
    labels = find(made["sr"], "TextValue")
    assert {"liver", "左肾", NOTICE, "nano", "1.0"} <= set(labels)
    assert [text.rstrip() for text in find(made["gsps"], "UnformattedTextValue")] == ["liver 0.81", "左肾", NOTICE]
    assert made["gsps"].SOPClassUID.name.startswith("Color" if name == "colour" else "Grayscale")
    if image.window:
        assert [image.window] == [
            (float(item.WindowCenter), float(item.WindowWidth)) for item in made["gsps"].SoftcopyVOILUTSequence
        ]
    if name == "enhanced frames":
        assert made["gsps"].RescaleSlope == 2
    capture = made["sc"].pixel_array
    assert capture.shape[2] == 3
    assert capture.shape[1] >= image.width


@pytest.mark.parametrize("name", SCANS)
def test_objects_belong_to_the_study_and_refer_to_the_scan(tmp_path, name):
    scan, image, made = written(tmp_path, name)
    uids = set()
    for one in made.values():
        assert one.StudyInstanceUID == scan.StudyInstanceUID
        assert one.PatientID == scan.PatientID
        assert scan.SOPInstanceUID in find(one, "ReferencedSOPInstanceUID")
        assert scan.SOPClassUID in find(one, "ReferencedSOPClassUID")
        assert NOTICE in one.SeriesDescription
        uids |= {one.SOPInstanceUID, one.SeriesInstanceUID, one.file_meta.MediaStorageSOPInstanceUID}
        assert all(uid.is_valid for uid in (one.SOPInstanceUID, one.SeriesInstanceUID))
        if image.frame is not None:
            assert {2} == {int(value) for value in find(one, "ReferencedFrameNumber")}
    assert len(uids) == 2 * len(made)
    assert scan.SeriesInstanceUID not in uids


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize("regions", [REGIONS, ()])
@pytest.mark.parametrize("name", SCANS)
def test_an_independent_validator_finds_no_error(tmp_path, name, regions):
    written(tmp_path, name, regions)
    assert faults(tmp_path) == []


def faults(folder):
    found = []
    for path in folder.glob("medrega-*.dcm"):
        run = subprocess.run(["dciodvfy", "-new", path], capture_output=True, text=True, check=False)
        found += [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")]
    return found


@pytest.mark.slow
@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_a_hundred_objects_about_scans_of_many_makers(tmp_path, record_property):
    count = 0
    for scan in sorted(sample_path("abdomen-mri").parent.glob("*.dcm")):
        try:
            written_about(scan, tmp_path, (Region("liver", PixelBox(1, 2, 15, 16), 0.5),))
        except MedregaError:  # no picture in it, or no study to belong to
            continue
        count += 3
        # One of them says that it was de-identified and not how, which its objects repeat.
        assert [fault for fault in faults(tmp_path) if "Deidentification" not in fault] == [], scan.name
    assert count >= 100
    record_property("objects that dciodvfy read", count)


def test_objects_about_a_folder_refer_to_the_slice_that_was_looked_at(tmp_path, monkeypatch):
    from tests.edge.stub import medrega, put

    put(monkeypatch)
    folder, out = tmp_path / "in", tmp_path / "out"
    folder.mkdir()
    out.mkdir()
    for name, height in (("c", 0), ("a", 5), ("b", 10)):
        place = {"ImageOrientationPatient": [1, 0, 0, 0, 1, 0], "ImagePositionPatient": [0, 0, height]}
        (folder / name).write_bytes(dicom(noise[0], bits=12, SOPInstanceUID=f"2.25.9{height}", **STUDY | place))
    medrega("ask", folder, "x", "--slice", "1", "--dicom", "sr,gsps,sc", "--dicom-to", out)
    for kind in ("sr", "gsps", "sc"):
        made = pydicom.dcmread(out / f"medrega-{kind}.dcm")
        assert set(find(made, "ReferencedSOPInstanceUID")) == {"2.25.95"}
    if shutil.which("dciodvfy"):
        assert faults(out) == []


COMMANDS = (
    ("ask", "SCAN", "locate the liver"),
    ("locate", "SCAN", "liver"),
    ("identify", "SCAN", "--box", "1,1,9,9"),
    ("classify", "SCAN", "--set", "fracture"),
    ("report", "SCAN"),
)


@pytest.mark.parametrize("arguments", COMMANDS, ids=lambda arguments: arguments[0])
def test_objects_about_no_dicom_file_are_refused_before_a_model_is_loaded(tmp_path, monkeypatch, arguments):
    from medrega_edge import engine
    from tests.edge.stub import medrega

    monkeypatch.setattr(engine, "load", lambda *_, **__: pytest.fail("a model was loaded"))
    scan = tmp_path / "scan.dcm"
    Image.new("L", (40, 40), 60).save(scan, "PNG")
    with raises_code(UsageError, "output.scan_no_dicom"):
        medrega(*[scan if part == "SCAN" else part for part in arguments], "--dicom", "sr", "--dicom-to", tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["scan.dcm"]


def test_an_object_never_takes_the_place_of_the_scan(tmp_path):
    scan = tmp_path / "medrega-sc.dcm"
    scan.write_bytes(SCANS["grey"])
    with raises_code(UsageError, "io.output_is_input"):
        object_paths(tmp_path, ("sc",), scan)
    with raises_code(UsageError, "io.output_is_input"):
        written_about(scan, tmp_path, REGIONS, source=tmp_path)
    assert scan.read_bytes() == SCANS["grey"]


def test_without_highdicom_it_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "highdicom", None)
    with raises_code(ResourceError, "output.needs_highdicom"):
        object_paths(tmp_path, ("sr",), sample_path("abdomen-mri"))


def test_an_answer_without_regions_says_so(tmp_path):
    _, _, made = written(tmp_path, "grey", regions=())
    assert "No region found" in find(made["sr"], "CodeMeaning")
    assert find(made["gsps"], "GraphicData") == []


@pytest.mark.parametrize("cut", [lambda data: data[132:], bare])
def test_a_scan_without_the_beginning_of_a_file_gets_the_same_objects(tmp_path, monkeypatch, cut):
    monkeypatch.setitem(SCANS, "cut", cut(SCANS["grey"]))
    (tmp_path / "whole").mkdir()
    (tmp_path / "cut").mkdir()
    _, _, expected = written(tmp_path / "whole", "grey")
    _, _, made = written(tmp_path / "cut", "cut")
    for kind in expected:
        for keyword in ("GraphicData", "StudyInstanceUID", "ReferencedSOPInstanceUID"):
            assert find(made[kind], keyword) == find(expected[kind], keyword)


def test_a_scan_that_an_archive_could_not_place_is_refused(tmp_path, monkeypatch):
    monkeypatch.setitem(SCANS, "bare", dicom(noise[0], bits=12))
    with raises_code(ImageError, "output.scan_incomplete"):
        written(tmp_path, "bare")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.dcm"]


@pytest.mark.parametrize("text", ["", "sr,pdf", "SR", "sr,,sc", "\x1b"])
def test_kinds_that_do_not_exist(text):
    with raises_code(UsageError, "output.unknown_object", names=("sr", "gsps", "sc")):
        parse_kinds(text)
    assert parse_kinds("sc, sr,sc") == ("sc", "sr")
