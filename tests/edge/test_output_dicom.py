"""DICOM objects about answers, read back: coordinates, references, notices. No model runs here."""

import dataclasses
import io
import shutil
import subprocess
import sys

import numpy as np
import pydicom
import pytest
from PIL import Image
from pydicom.datadict import dictionary_VR

pytest.importorskip("highdicom")

from medrega_edge.answer import Answer, Certified, ImageFacts, ModelFacts, Region, Timings
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import NOTICE, Modality
from medrega_edge.errors import ImageError, MedregaError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from medrega_edge.images.samples import sample_path
from medrega_edge.masks import Mask
from medrega_edge.measures import measure
from medrega_edge.output.dicom.writer import made_objects, object_paths, parse_kinds, write_objects
from medrega_edge.output.overlay import draw_answer
from tests.codes import raises_code
from tests.edge.dicoms import bare, colour, dataset, dicom, lut, window
from tests.edge.dicoms import written as written_as

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
    "frames of a class of one frame": dicom(noise, bits=12, **STUDY),
    "enhanced frames": dicom(noise, bits=12, kind=SEVERAL, PerFrameFunctionalGroupsSequence=SLOPES, **STUDY),
    "colour": colour(noise[0, :, :, None].repeat(3, axis=2).astype("u1"), **STUDY),
    "sample": None,
}


def written(tmp_path, name, regions=REGIONS):
    scan = sample_path("abdomen-mri") if SCANS[name] is None else tmp_path / "scan.dcm"
    if SCANS[name] is not None:
        scan.write_bytes(SCANS[name])
    return written_about(scan, tmp_path, regions, frame=1 if "frames" in name else None)


def written_about(scan, tmp_path, regions, frame=None, source=None, window=None, kinds=("sr", "gsps", "sc"), searched=()):
    image = read_image(scan, View(frame=frame, window=window))
    facts = ImageFacts(
        str(scan), image.width, image.height, "mri", image.frame, image.window, image.sha256, image.spacing_mm
    )
    facts = dataclasses.replace(facts, sides=image.patient_orientation, window_function=image.window_function)
    model = ModelFacts("nano", "1.0", "ab" * 32, "int4")
    answer = Answer("text", "raw", "detect", "en", regions, (), facts, model, "cpu", "stop", 1, 1, Timings())
    answer = dataclasses.replace(answer, searched=searched)
    to = object_paths(tmp_path, kinds, source or scan)
    write_objects(answer, scan, draw_answer(image, answer), to)
    return pydicom.dcmread(scan, force=True), image, {kind: pydicom.dcmread(path) for kind, path in to.items()}


@pytest.mark.parametrize("name", ["grey", "colour", "sample"])
def test_masks_read_back_equal_and_say_what_made_them(tmp_path, name):
    import highdicom

    def masked(region, rows, columns):
        scan = read_image(sample_path("abdomen-mri")) if name == "sample" else None
        inside = np.zeros((scan.height, scan.width) if scan else (80, 100), bool)
        inside[rows, columns] = True
        return dataclasses.replace(region, mask=Mask.of(inside, 0.75))

    regions = (masked(REGIONS[0], slice(10, 30), slice(5, 60)), masked(REGIONS[1], slice(20, 70), slice(40, 90)))
    scan = sample_path("abdomen-mri") if name == "sample" else tmp_path / "scan.dcm"
    if name != "sample":
        scan.write_bytes(SCANS[name])
    source, image, made = written_about(scan, tmp_path, regions, kinds=("seg",))
    seg = made["seg"]
    assert (seg.StudyInstanceUID, seg.PatientID) == (source.StudyInstanceUID, source.PatientID)
    assert set(find(seg, "ReferencedSOPInstanceUID")) == {source.SOPInstanceUID}
    assert [item.SegmentLabel for item in seg.SegmentSequence] == ["liver", "左肾"]
    assert seg.SegmentSequence[0].SegmentedPropertyTypeCodeSequence[0].CodeValue == "10200004"
    assert seg.SegmentSequence[0].SegmentationAlgorithmIdentificationSequence[0].AlgorithmName == "nano"
    assert len(set(find(seg, "TrackingUID"))) == 2
    stored = [seg.pixel_array] if seg.NumberOfFrames == 1 else list(seg.pixel_array)  # pydicom's own reader
    assert [frame.astype(bool).tolist() for frame in stored] == [region.mask.inside().tolist() for region in regions]
    again = highdicom.seg.segread(tmp_path / "medrega-seg.dcm")
    assert again.number_of_segments == 2


@pytest.mark.parametrize("unit", ["mm", "px"])
def test_measures_of_a_mask_read_back(tmp_path, unit):
    from highdicom import sr

    inside = np.zeros((80, 100), bool)
    inside[10:20, 5:65] = True
    mask = Mask.of(inside, 0.75)
    spacing = {"PixelSpacing": ["0.5", "0.5"]} if unit == "mm" else {}
    file = dicom(noise[0], bits=12, **STUDY | {"Modality": "CT"}, RescaleSlope="1", RescaleIntercept="-1024", **spacing)
    (tmp_path / "scan.dcm").write_bytes(file)
    scan = read_image(tmp_path / "scan.dcm")
    region = dataclasses.replace(REGIONS[0], mask=mask, measures=measure(inside, mask.box, scan))
    _, _, made = written_about(tmp_path / "scan.dcm", tmp_path, (region, REGIONS[1]), kinds=("sr", "gsps"))
    groups = sr.srread(tmp_path / "medrega-sr.dcm").content.get_planar_roi_measurement_groups()
    found = {each.name.meaning: each for each in groups[0].get_measurements()}
    assert [found[name].value for name in ("Long Axis", "Short Axis")] == [
        pytest.approx(diameter.length, abs=0.01) for diameter in (region.measures.longest, region.measures.perpendicular)
    ]
    assert found["Long Axis"].unit.value == {"mm": "mm", "px": "{pixels}"}[unit]
    assert found["Area"].value == {"mm": 150, "px": 600}[unit]
    mean = noise[0][inside].mean() - 1024
    assert found["Attenuation Coefficient"].value == pytest.approx(mean, abs=0.01)
    drawn = [graphic.GraphicData for graphic in made["gsps"].GraphicAnnotationSequence[0].GraphicObjectSequence]
    lines = [each for each in drawn if len(each) == 4]
    assert np.allclose(lines, [region.measures.longest.line, region.measures.perpendicular.line])
    assert not [each for each in groups[1].get_measurements() if each.name.meaning == "Area"]


def test_a_segmentation_needs_a_mask(tmp_path):
    (tmp_path / "scan.dcm").write_bytes(SCANS["grey"])
    with raises_code(UsageError, "output.no_mask_for_seg"):
        written_about(tmp_path / "scan.dcm", tmp_path, REGIONS, kinds=("seg",))
    (tmp_path / "scan.dcm").write_bytes(SCANS["frames"])
    masked = dataclasses.replace(REGIONS[0], mask=Mask.of(np.ones((80, 100), bool), 0.5))
    with raises_code(UsageError, "output.seg_of_frames"):
        written_about(tmp_path / "scan.dcm", tmp_path, (masked,), frame=1, kinds=("seg",))


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


def test_a_finding_has_one_number_and_one_name_in_every_object(tmp_path):
    """By the Tracking UID (IHE AIR) a viewer knows that a line of the report, a segment and a drawn box are one finding."""
    inside = np.zeros((80, 100), bool)
    inside[10:30, 5:60] = True
    image = read_image(SCANS["grey"])
    mask = Mask.of(inside, 0.75)
    liver = dataclasses.replace(REGIONS[0], mask=mask, measures=measure(inside, mask.box, image))
    regions = (liver, REGIONS[1], dataclasses.replace(liver, box=PixelBox(1.0, 2.0, 30.0, 40.0)))
    (tmp_path / "scan.dcm").write_bytes(SCANS["grey"])
    _, _, made = written_about(tmp_path / "scan.dcm", tmp_path, regions, kinds=("sr", "gsps", "seg"), searched=("spleen",))
    from highdicom import sr

    groups = sr.srread(tmp_path / "medrega-sr.dcm").content.get_planar_roi_measurement_groups()
    reported = [(group.tracking_uid, group.tracking_identifier) for group in groups]
    assert [name for _, name in reported] == ["liver 1", "左肾", "liver 2"]
    assert len({uid for uid, _ in reported}) == 3
    assert [(each.TrackingUID, each.TrackingID) for each in made["seg"].SegmentSequence] == [reported[0], reported[2]]
    (layer,) = made["gsps"].GraphicAnnotationSequence
    drawn = [(each.TrackingUID, each.TrackingID) for each in layer.GraphicObjectSequence]
    diameters = [reported[place] for place in (0, 0, 2, 2)]
    assert drawn == [*reported, *diameters]
    names = [(each.get("TrackingUID"), each.get("TrackingID")) for each in layer.TextObjectSequence]
    assert names == [*reported, (None, None)]


def test_names_in_chinese_have_the_codes_of_their_english(engine):
    """A report in Chinese says by code what one in English says, and a lesion is no part of the anatomy in either."""
    names = (("liver", "10200004"), ("liver lesion", None), ("spleen", "78961009"))
    chinese = dict(engine.terminology.labels)
    inside = np.zeros((80, 100), bool)
    inside[10:30, 5:60] = True
    mask, image = Mask.of(inside, 0.75), read_image(SCANS["grey"])
    facts = ImageFacts(None, image.width, image.height, "mri", None, image.window, image.sha256)
    model, found = ModelFacts("nano", "1.0", "ab" * 32, "int4"), {}
    for language in ("en", "zh"):
        labels = [name if language == "en" else chinese[name] for name, _ in names]
        regions = tuple(Region(label, PixelBox(5.0, 10.0, 60.0, 30.0), 0.9, mask) for label in labels[:2])
        answer = Answer("text", "raw", "detect", language, regions, (), facts, model, "cpu", "stop", 1, 1, Timings())
        answer = dataclasses.replace(answer, searched=tuple(labels))
        picture, english = draw_answer(image, answer), engine.terminology.english
        objects = made_objects(answer, SCANS["grey"], picture, ("sr", "seg"), english=english)
        report, masks = (pydicom.dcmread(io.BytesIO(objects[kind])) for kind in ("sr", "seg"))
        findings = [item for item in report.iterall() if item.keyword == "ConceptCodeSequence"]
        codes = [item.value[0].CodeValue for item in findings]
        kinds = [each.SegmentedPropertyCategoryCodeSequence[0].CodeValue for each in masks.SegmentSequence]
        types = [each.SegmentedPropertyTypeCodeSequence[0].CodeValue for each in masks.SegmentSequence]
        found[language] = ([code for code in codes if code in {*types, "78961009"}], kinds, types)
    assert found["zh"] == found["en"]
    codes, kinds, types = found["zh"]
    assert codes == [*types, "78961009"] and types[0] == "10200004"
    assert kinds == ["123037004", "49755003"]  # anatomical structure, morphologically abnormal structure


@pytest.mark.parametrize("kind", ["sr", "gsps", "sc"])
def test_every_object_says_what_made_it_and_what_it_is(tmp_path, kind):
    _, _, made = written(tmp_path, "grey")
    one = made[kind]
    assert (one.Manufacturer, one.ManufacturerModelName, one.DeviceSerialNumber) == ("medrega-edge", "nano", "ab" * 32)
    equipment = one.ContributingEquipmentSequence[0]
    assert equipment.PurposeOfReferenceCodeSequence[0].CodeValue == "109102"
    assert (equipment.ManufacturerModelName, equipment.SoftwareVersions) == ("nano", "1.0")
    assert equipment.DeviceUID.is_valid and equipment.DeviceUID.startswith("2.25.")
    words, _, notice = one.SeriesDescription.partition(". ")
    assert words.startswith("AI ") and notice == NOTICE and len(one.SeriesDescription) <= 64
    (tmp_path / "again").mkdir()
    _, _, again = written(tmp_path / "again", "grey", regions=())
    assert again[kind].ContributingEquipmentSequence[0].DeviceUID == equipment.DeviceUID  # the same weights


def test_a_report_has_the_answer_in_words_and_the_warnings(tmp_path):
    image = read_image(SCANS["grey"])
    facts = ImageFacts(None, image.width, image.height, "mri", None, image.window, image.sha256)
    certified = Certified(0.9, 50, None, Modality.MRI)
    model = ModelFacts("nano", "1.0", "ab" * 32, "int4", certified)
    warning = Message("dicom.middle_slice")
    answer = Answer("Yes.", "raw", "vqa", "en", (), (), facts, model, "cpu", "stop", 1, 1, Timings(), (warning,))
    answer = dataclasses.replace(answer, confidence=0.83)
    objects = made_objects(answer, SCANS["grey"], draw_answer(image, answer), ("sr",), "Is it the liver?")
    report = pydicom.dcmread(io.BytesIO(objects["sr"]))
    (words,) = [each for each in report.ContentSequence if each.ConceptNameCodeSequence[0].CodeValue == "C0034375"]
    said = [(each.ConceptNameCodeSequence[0].CodeValue, each.TextValue) for each in words.ContentSequence]
    figures = ["score: 0.83", "typical accuracy of such answers (MRI): 90% of 50 measured"]
    expected = [("question", "Is it the liver?"), ("answer", "Yes."), *(("figure", figure) for figure in figures)]
    expected += [("figure", "window (centre, width): {:g}, {:g}".format(*image.window)), ("warning", str(warning))]
    assert said == expected


@pytest.mark.skipif(shutil.which("dsrdump") is None, reason="needs dsrdump (Debian: dcmtk)")
@pytest.mark.parametrize("name", SCANS)
def test_dcmtk_reads_the_report(tmp_path, name):
    written(tmp_path, name)
    run = subprocess.run(["dsrdump", "-Er", "+Pn", tmp_path / "medrega-sr.dcm"], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    assert "Imaging Measurement Report" in run.stdout and "liver" in run.stdout


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
@pytest.mark.parametrize("regions", [REGIONS, ()])
@pytest.mark.parametrize("name", sorted(SCANS.keys() - {"frames of a class of one frame"}))  # which is a fault itself
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


@pytest.mark.parametrize("name", ["spleen", "脾"])
def test_a_report_names_what_was_searched_for_and_what_is_a_best_guess(tmp_path, name):
    (tmp_path / "scan.dcm").write_bytes(SCANS["grey"])
    guess = dataclasses.replace(REGIONS[0], confidence=0.3)
    _, _, made = written_about(tmp_path / "scan.dcm", tmp_path, (guess,), searched=("liver", name))
    meanings, codes = find(made["sr"], "CodeMeaning"), find(made["sr"], "CodeValue")
    assert meanings.count("Not found by the model") == 1
    assert codes.count("78961009") == codes.count("best-guess") == 1  # the spleen; the liver is a guess
    assert name in find(made["sr"], "TextValue")
    assert [text.rstrip() for text in find(made["gsps"], "UnformattedTextValue")][0] == "liver 0.30 ?"
    _, _, made = written_about(tmp_path / "scan.dcm", tmp_path, (REGIONS[0],), searched=("liver",))
    assert not {"best-guess", "not-found", "none"} & set(find(made["sr"], "CodeValue"))


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
    with raises_code(ImageError, "output.scan_lacks", keyword="StudyInstanceUID"):
        written(tmp_path, "bare")
    assert [path.name for path in tmp_path.iterdir()] == ["scan.dcm"]


@pytest.mark.parametrize("text", ["", "sr,rtf", "SR", "sr,,sc", "\x1b"])
def test_kinds_that_do_not_exist(text):
    with raises_code(UsageError, "output.unknown_object", names=("sr", "gsps", "sc", "seg", "pdf")):
        parse_kinds(text)
    assert parse_kinds("sc, sr,sc") == ("sc", "sr")


def shown_by_a_viewer(scan, state):
    """The grey 0..255 that a viewer shows of a scan with a presentation state, by pydicom's own transformations."""
    from pydicom.pixels import apply_modality_lut, apply_voi_lut

    values = scan.pixel_array[state.get("ReferencedFrameNumber", 1) - 1] if scan.get("NumberOfFrames") else scan.pixel_array
    state.PixelRepresentation = scan.PixelRepresentation
    values = apply_modality_lut(values.astype(int), state).astype(float)
    low, high = 0, (1 << scan.BitsStored) - 1
    if voi := state.get("SoftcopyVOILUTSequence"):
        item = voi[0]
        item.update({"PixelRepresentation": 0, "PhotometricInterpretation": "MONOCHROME2", "BitsStored": 16})
        if "VOILUTSequence" in item:
            values, high = apply_voi_lut(values.astype(int), item).astype(float), 65535
        else:  # spread over the 16 bits that the item states
            values, high = apply_voi_lut(values, item), 65535
    grey = np.clip((values - low) / (high - low), 0, 1) * 255
    return 255 - grey if state.PresentationLUTShape == "INVERSE" else grey


MODALITY_TABLE = lut([4, -1, 16], [5, 300, 1500, 3000], "ModalityLUTSequence")
MODALITY_TABLE["ModalityLUTSequence"][0]["LUTDescriptor"].VR = "SS"
STEPS = np.tile(np.arange(64, dtype="u2") * 64, (32, 1))
SEEN = {
    "full range": (STEPS, {}),
    "full range, signed": (STEPS.astype("i2") - 1000, {}),
    "8 bits": ((STEPS // 16).astype("u1"), {}),
    "linear": (STEPS, window(2000, 1500)),
    "linear exact": (STEPS, window(2000, 1500, "LINEAR_EXACT")),
    "sigmoid": (STEPS, window(2000, 1500, "SIGMOID")),
    "rescale": (STEPS, window(100, 900) | {"RescaleSlope": "0.5", "RescaleIntercept": "-500.25"}),
    "slope alone": (STEPS, window(3000, 3000) | {"RescaleSlope": "2"}),
    "intercept alone": (STEPS, window(300, 3000) | {"RescaleIntercept": "-1000"}),
    "CT without a window": (STEPS, {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024"}),
    "VOI table": (STEPS, lut([4, 1000, 8], [0, 50, 200, 255])),
    "VOI table of 12 bits": (STEPS, lut([3, 1000, 12], [0, 819, 4095])),
    "VOI table that states too many bits": (STEPS, lut([3, 1000, 16], [0, 819, 4095])),
    "VOI table before a window": (STEPS, lut([3, 1000, 8], [0, 90, 255]) | window(9, 9)),
    "VOI table from below zero": (STEPS.astype("i2") - 1000, lut([4096, -1024, 16], list(range(0, 65536, 16)))),
    "modality table": (
        (STEPS // 64).astype("u1"),
        lut([4, 0, 16], [5, 300, 1500, 3000], "ModalityLUTSequence") | window(1500, 3001),
    ),
    "modality table from below zero": ((STEPS // 64).astype("u1"), MODALITY_TABLE | window(1500, 3001)),
    "bits above those stored": (STEPS | 0x3000, {"BitsStored": 12, "HighBit": 11}),
}


@pytest.mark.parametrize("name", SEEN)
def test_a_viewer_shows_with_the_state_what_was_looked_at(tmp_path, name):
    values, tags = SEEN[name]
    path = tmp_path / "scan.dcm"
    for photometric, chosen in (("MONOCHROME1", None), ("MONOCHROME2", None), ("MONOCHROME1", "900,333")):
        path.write_bytes(dicom(values, **STUDY | {"PhotometricInterpretation": photometric} | tags))
        scan, image, made = written_about(path, tmp_path, (), window=chosen, kinds=("gsps",))
        assert made["gsps"].PresentationLUTShape == ("INVERSE" if photometric == "MONOCHROME1" else "IDENTITY")
        assert abs(shown_by_a_viewer(scan, made["gsps"]) - image.pixels[..., 0]).max() <= 1, (photometric, chosen)


# dcmtk 3.6.7 passes over the VOI LUT Function of a state, and reads a table's first value without a sign.
DCMTK_READS_OTHERWISE = {"sigmoid", "modality table from below zero"}


@pytest.mark.skipif(shutil.which("dcmp2pgm") is None, reason="dcmtk is not installed")
@pytest.mark.parametrize("name", sorted(SEEN.keys() - DCMTK_READS_OTHERWISE))
def test_dcmtk_shows_with_the_state_what_was_looked_at(tmp_path, name):
    values, tags = SEEN[name]
    path, state, picture = tmp_path / "scan.dcm", tmp_path / "state.dcm", tmp_path / "shown.pgm"
    for photometric in ("MONOCHROME1", "MONOCHROME2"):
        path.write_bytes(dicom(values, **STUDY | {"PhotometricInterpretation": photometric} | tags))
        _, image, made = written_about(path, tmp_path, (), kinds=("gsps",))
        made["gsps"].save_as(state, enforce_file_format=True)
        subprocess.run(["dcmp2pgm", "-p", str(state), str(path), str(picture)], check=True, capture_output=True)
        shown = np.asarray(Image.open(picture)).astype(int)
        assert abs(shown - image.pixels[..., 0]).max() <= 1, photometric


def test_pixels_keep_their_shape_in_the_objects(tmp_path):
    path = tmp_path / "scan.dcm"
    for tags, aspect in (
        ({"PixelSpacing": ["0.5", "0.25"]}, [2, 1]),
        ({"ImagerPixelSpacing": ["0.1", "0.3"]}, [1, 3]),
        ({"PixelAspectRatio": ["4", "3"]}, [4, 3]),
        ({"PixelSpacing": ["0.7", "0.7"]}, [1, 1]),
    ):
        path.write_bytes(dicom(noise[0], bits=12, **STUDY | tags))
        _, _, made = written_about(path, tmp_path, REGIONS, kinds=("gsps", "sc"))
        assert made["gsps"].DisplayedAreaSelectionSequence[0].PresentationPixelAspectRatio == aspect
        assert made["sc"].get("PixelAspectRatio", [1, 1]) == aspect


NAMES = {  # PS3.5 Annexes H to K, and what programs write without stating it
    "ISO 2022 IR 58": (
        "\\ISO 2022 IR 58",
        b"Zhang^XiaoDong=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab=",
        "Zhang^XiaoDong=张^小东",
    ),
    "ISO 2022 IR 58, not stated": ("", b"Zhang=\x1b$)A\xd5\xc5^\x1b$)A\xd0\xa1\xb6\xab", "Zhang=张^小东"),
    "ISO 2022 IR 87": (
        "\\ISO 2022 IR 87",
        b"Yamada^Tarou=\x1b$B;3ED\x1b(B^\x1b$BB@O:\x1b(B=\x1b$B$d$^$@\x1b(B^\x1b$B$?$m$&\x1b(B",
        "Yamada^Tarou=山田^太郎=やまだ^たろう",
    ),
    "ISO 2022 IR 13 and 87": (
        "ISO 2022 IR 13\\ISO 2022 IR 87",
        b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3=\x1b$B;3ED\x1b(J^\x1b$BB@O:\x1b(J",
        "ﾔﾏﾀﾞ^ﾀﾛｳ=山田^太郎",
    ),
    "ISO 2022 IR 149": (
        "\\ISO 2022 IR 149",
        b"Hong^Gildong=\x1b$)C\xfb\xf3^\x1b$)C\xd1\xce\xd4\xd7=\x1b$)C\xc8\xab^\x1b$)C\xb1\xe6\xb5\xbf",
        "Hong^Gildong=洪^吉洞=홍^길동",
    ),
    "ISO_IR 100": ("ISO_IR 100", b"Buc^J\xe9r\xf4me", "Buc^Jérôme"),
    "ISO_IR 101": ("ISO_IR 101", "Wałęsa".encode("iso8859_2"), "Wałęsa"),
    "ISO_IR 144": ("ISO_IR 144", "Люкceмбypг".encode("iso8859_5"), "Люкceмбypг"),
    "ISO_IR 126": ("ISO_IR 126", "Διονυσιος".encode("iso8859_7"), "Διονυσιος"),
    "ISO_IR 127": ("ISO_IR 127", "قباني^لنزار".encode("iso8859_6"), "قباني^لنزار"),
    "ISO_IR 138": ("ISO_IR 138", "שרון^דבורה".encode("iso8859_8"), "שרון^דבורה"),
    "ISO_IR 148": ("ISO_IR 148", "Çavuşoğlu".encode("iso8859_9"), "Çavuşoğlu"),
    "ISO_IR 166": ("ISO_IR 166", "นามสกุล".encode("tis620"), "นามสกุล"),
    "ISO_IR 13": ("ISO_IR 13", b"\xd4\xcf\xc0\xde^\xc0\xdb\xb3", "ﾔﾏﾀﾞ^ﾀﾛｳ"),
    "Latin and Cyrillic": (
        "ISO 2022 IR 100\\ISO 2022 IR 144", b"M\xfcller=\x1b-L" + "Люк".encode("iso8859_5"), "Müller=Люк",
    ),
    "ISO_IR 192": ("ISO_IR 192", "Wang^XiaoDong=王^小东".encode(), "Wang^XiaoDong=王^小东"),
    "UTF-8, not stated": ("", "Wang^XiaoDong=王^小东".encode(), "Wang^XiaoDong=王^小东"),
    "GB18030": ("GB18030", "Wang^XiaoDong=王^小东".encode("gb18030"), "Wang^XiaoDong=王^小东"),
    "GBK": ("GBK", "Wang^XiaoDong=王^小东".encode("gbk"), "Wang^XiaoDong=王^小东"),
}  # fmt: skip


def named(charset, name, **tags):
    """A scan with these bytes as the patient's name."""
    name += b" " * (len(name) % 2)
    data = dicom(noise[0], bits=12, **STUDY | {"PatientName": "@" * len(name), "SpecificCharacterSet": charset} | tags)
    return data.replace(b"@" * len(name), name)


def test_names_of_every_character_set_leave_in_utf8(tmp_path):
    path = tmp_path / "scan.dcm"
    for case, (charset, name, meant) in NAMES.items():
        path.write_bytes(named(charset, name))
        kinds = ("sr", "gsps", "sc") if case.startswith("ISO 2022 IR 58") else ("gsps",)
        _, _, made = written_about(path, tmp_path, (), kinds=kinds)
        for one in made.values():
            assert one.SpecificCharacterSet == "ISO_IR 192"
            assert str(one.PatientName).rstrip("=") == meant, case


def test_a_name_in_an_unknown_character_set_is_refused(tmp_path):
    path = tmp_path / "scan.dcm"
    path.write_bytes(named("", "王^小东".encode("gbk")))
    with raises_code(ImageError, "output.unknown_characters"):
        written_about(path, tmp_path, ())


TYPE_2 = (
    *("PatientName", "PatientID", "PatientBirthDate", "PatientSex", "StudyID", "StudyDate", "StudyTime"),
    *("AccessionNumber", "ReferringPhysicianName"),
)


def test_what_a_deidentified_scan_lacks_is_written_empty(tmp_path):
    path = tmp_path / "scan.dcm"
    wrong = {"PatientSex": "W", "PatientBirthDate": "unknown", "StudyTime": "noon"}
    for lacking in (TYPE_2, wrong):
        data = {word: value for word, value in STUDY.items() if word not in lacking}
        if lacking is wrong:
            data |= written_as(**{word: (dictionary_VR(word), value) for word, value in wrong.items()})
        path.write_bytes(dicom(noise[0], bits=12, **data))
        _, _, made = written_about(path, tmp_path, REGIONS)
        for one in made.values():
            assert all(word in one for word in TYPE_2), lacking
            assert all(not one.get(word) for word in lacking), lacking
    if shutil.which("dciodvfy"):
        assert faults(tmp_path) == []


def test_a_date_from_before_dicom_is_written_as_one_of_today(tmp_path):
    path = tmp_path / "scan.dcm"
    path.write_bytes(dicom(noise[0], bits=12, **STUDY | written_as(StudyDate=("DA", "1997.04.24"))))
    _, _, made = written_about(path, tmp_path, REGIONS)
    for one in made.values():
        assert one.get_item("StudyDate").value in (b"19970424", "19970424")
