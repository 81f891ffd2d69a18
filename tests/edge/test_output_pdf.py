"""The page of an answer as PDF in a DICOM object: read back by pydicom, poppler and dcmtk. No model runs here."""

import dataclasses
import io
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime

import numpy as np
import pydicom
import pytest
from PIL import Image

pytest.importorskip("highdicom", reason="DICOM objects need the extra [dicom]")
pytest.importorskip("reportlab", reason="a PDF needs the extra [pacs]")

from medrega_edge.answer import Answer, Certified, ImageFacts, ModelFacts, Region, Timings
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import NOTICE, NOTICE_ZH, Language, Modality, Task
from medrega_edge.errors import ImageError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.images.reader import read_image
from medrega_edge.masks import Mask
from medrega_edge.measures import measure
from medrega_edge.output.dicom.writer import KINDS, made_objects, object_paths
from medrega_edge.output.overlay import draw_answer
from medrega_edge.output.pdf_fonts import markup, missing_characters
from medrega_edge.output.pdf_page import MOST_ROWS, PageFacts, answer_page
from tests.codes import raises_code
from tests.edge.dicoms import dicom
from tests.edge.test_output_dicom import NAMES, STUDY, find, named, noise

needs_poppler = pytest.mark.skipif(shutil.which("pdftotext") is None, reason="needs pdftotext (Debian: poppler-utils)")
needs_dcmtk = pytest.mark.skipif(shutil.which("dcm2pdf") is None, reason="needs dcm2pdf (Debian: dcmtk)")
QUESTION = {"en": "Locate the liver and the left kidney", "zh": "请定位肝脏和左肾"}
LABELS = {"en": ("liver", "left kidney"), "zh": ("肝脏", "左肾")}
TEXT = {"en": "Found: liver. Best guess, which may be wrong: left kidney.", "zh": "已找到：肝脏。可能有误的猜测：左肾。"}
SPACING = {"PixelSpacing": ["0.7", "0.7"]}


def answer_about(data, language="en", with_masks=False, count=2):
    image = read_image(data)
    facts = ImageFacts(
        None, image.width, image.height, Modality.MRI, image.frame, image.window, image.sha256, image.spacing_mm,
        window_function=image.window_function,
    )  # fmt: skip
    regions = []
    for number in range(count):
        label = LABELS[language][number] if number < 2 else f"region {number}"
        region = Region(label, PixelBox(4.0 + number % 9, 5.0, 60.0, 50.0), 0.92 if number == 0 else 0.31)
        if with_masks:
            inside = np.zeros((image.height, image.width), bool)
            inside[10:40, 8:50] = True
            mask = Mask.of(inside, 0.9)
            region = dataclasses.replace(region, mask=mask, measures=measure(inside, mask.box, image))
        regions.append(region)
    model = ModelFacts("nano", "1.0", "ab" * 32, "int4", Certified(0.83, 120, None, Modality.MRI))
    warnings = (Message("dicom.middle_slice"),)
    answer = Answer(
        TEXT[language], "raw", Task.DETECT, Language(language), tuple(regions), (), facts, model, "cpu", "stop", 1, 1,
        Timings(), warnings, searched=LABELS[language],
    )  # fmt: skip
    return answer, draw_answer(image, answer)


def made(data=None, language="en", **options):
    data = data or dicom(noise[0], bits=12, **STUDY | SPACING)
    answer, picture = answer_about(data, language, **options)
    return pydicom.dcmread(io.BytesIO(made_objects(answer, data, picture, ("pdf",), QUESTION[language])["pdf"]))


def page_of(dataset):
    return dataset.EncapsulatedDocument[: dataset.EncapsulatedDocumentLength]


def words(data, tmp_path, *options):
    """The text that poppler finds in a PDF, each run of white space a space."""
    (tmp_path / "page.pdf").write_bytes(data)
    run = subprocess.run(["pdftotext", *options, tmp_path / "page.pdf", "-"], capture_output=True, check=True)
    return " ".join(run.stdout.decode("utf-8").split())


def test_the_object_is_what_the_standard_asks_for():
    source = dicom(noise[0], bits=12, **STUDY | SPACING | {"AccessionNumber": "A7"})
    one = made(source)
    scan = pydicom.dcmread(io.BytesIO(source))
    assert one.SOPClassUID == one.file_meta.MediaStorageSOPClassUID == "1.2.840.10008.5.1.4.1.1.104.1"
    assert one.file_meta.TransferSyntaxUID == "1.2.840.10008.1.2.1"
    assert (one.Modality, one.MIMETypeOfEncapsulatedDocument) == ("DOC", "application/pdf")
    for keyword in ("PatientName", "PatientID", "StudyInstanceUID", "StudyDate", "AccessionNumber", "StudyID"):
        assert one[keyword].value == scan[keyword].value
    assert (one.BurnedInAnnotation, one.ConversionType, one.VerificationFlag) == ("YES", "WSD", "UNVERIFIED")
    assert "AcquisitionDateTime" in one and one.ContentDate and one.ContentTime  # type 2: there, maybe empty
    (item,) = one.SourceInstanceSequence
    assert item.ReferencedSOPClassUID == scan.SOPClassUID
    assert item.ReferencedSOPInstanceUID == scan.SOPInstanceUID
    assert one.ConceptNameCodeSequence[0].CodeValue == "126000"
    assert NOTICE in one.DocumentTitle and NOTICE in one.SeriesDescription
    assert len(one.EncapsulatedDocument) % 2 == 0
    assert page_of(one).startswith(b"%PDF-") and page_of(one).rstrip().endswith(b"%%EOF")
    equipment = one.ContributingEquipmentSequence[0]
    assert (equipment.ManufacturerModelName, equipment.SoftwareVersions) == ("nano", "1.0")


def test_there_is_one_page_of_a4():
    assert b"/Count 1" in page_of(made())
    assert re.search(rb"/MediaBox \[ 0 0 595\.\d+ 841\.\d+ \]", page_of(made()))


@needs_poppler
@pytest.mark.parametrize("language", ["en", "zh"])
def test_everything_on_the_page_can_be_searched_and_copied(tmp_path, language):
    text = words(page_of(made(language=language, with_masks=True)), tmp_path)
    answer, _ = answer_about(dicom(noise[0], bits=12, **STUDY | SPACING), language, with_masks=True)
    lengths = (answer.regions[0].measures.longest, answer.regions[0].measures.perpendicular)
    plain = text.replace(" ", "")
    notice = {"en": NOTICE, "zh": NOTICE_ZH}[language]
    for part in (QUESTION[language], TEXT[language], *LABELS[language], notice, "nano 1.0", "Doe Jane", "ab" * 32):
        assert part.replace(" ", "") in plain, part
    longest, across = (diameter.length for diameter in lengths)
    diameters = f"{longest:.1f} x {across:.1f} mm"
    for figure in ("0.92", "0.31", "4, 5, 60, 50", "39 x 32", diameters, "83", "120"):  # 56 and 45 pixels of 0.7 mm
        assert figure.replace(" ", "") in plain, figure
    (tmp_path / "page.pdf").write_bytes(page_of(made(language=language)))
    listed = subprocess.run(["pdffonts", tmp_path / "page.pdf"], capture_output=True, text=True, check=True).stdout
    (own,) = [line for line in listed.splitlines() if "Micro-Hei" in line]
    assert own.split()[-5:-2] == ["yes", "yes", "yes"], listed  # embedded, a part of it, with a map to Unicode


@needs_poppler
def test_without_millimetres_the_page_has_none(tmp_path):
    text = words(page_of(made(dicom(noise[0], bits=12, **STUDY))), tmp_path)
    assert " mm" not in text and "size" not in text


@needs_poppler
@pytest.mark.parametrize("name", NAMES)
def test_the_patient_is_named_or_the_page_says_which_characters_it_lacks(tmp_path, name):
    charset, stored, expected = NAMES[name]
    try:
        data = named(charset, stored)
        text = words(page_of(made(data)), tmp_path)
    except ImageError:  # of two character sets: refused, as for every other object
        pytest.fail("the other objects are made of this scan")
    shown = " / ".join(" ".join(part.replace("^", " ").split()) for part in expected.split("=")[:2] if part)
    lacking = missing_characters(shown)
    for character in lacking:
        shown = shown.replace(character, f"[U+{ord(character):04X}]")
    assert shown.replace(" ", "") in text.replace(" ", "")
    assert ("[U+...]" in text) == bool(lacking)


def test_a_character_without_a_glyph_stands_as_its_number():
    assert markup("liver 肝") == "liver 肝"
    assert markup("Jérôme") == 'J<font name="Vera">é</font>r<font name="Vera">ô</font>me'
    assert markup("龘홍") == "[U+9F98][U+D64D]"
    assert missing_characters("龘a홍龘") == ["龘", "홍"]
    assert markup("<b>&\n\x1b") == "&lt;b&gt;&amp;<br/> "


def test_the_fonts_have_every_character_that_the_program_says_itself(engine):
    """In Chinese too: the names that can be located, and every message, so that a page never lacks one of its own."""
    from tools.catalogues import entries

    own = {character for entry in entries("medrega_edge") for character in entry.chinese if entry.code != "help"}
    own |= {character for names in engine.terminology.labels for name in names for character in name}
    own |= set(NOTICE + NOTICE_ZH)
    assert missing_characters("".join(sorted(own))) == []


def test_the_same_answer_gives_the_same_page():
    data = dicom(noise[0], bits=12, **STUDY | SPACING)
    answer, picture = answer_about(data)
    facts = PageFacts("Doe Jane", "1", "2026-01-01", "2.25.9", datetime(2026, 11, 30, 18, 0, tzinfo=UTC))
    assert answer_page(answer, "?", picture, facts) == answer_page(answer, "?", picture, facts)


@needs_poppler
def test_much_is_made_smaller_and_too_many_regions_are_counted(tmp_path):
    data = dicom(noise[0], bits=12, **STUDY | SPACING)
    answer, picture = answer_about(data, count=MOST_ROWS + 7)
    long = dataclasses.replace(answer, text="The liver is here. " * 200, warnings=answer.warnings * 12)
    facts = PageFacts("Doe Jane", "1", "2026-01-01", "2.25.9", datetime.now())
    page = answer_page(long, QUESTION["en"], picture, facts)
    assert b"/Count 1" in page
    text = words(page, tmp_path)
    assert text.count("The liver is here.") == 200
    assert f"region {MOST_ROWS - 1}" in text and f"region {MOST_ROWS} " not in text
    assert "7 more regions" in text
    # Nothing lies outside of the page.
    run = subprocess.run(["pdftotext", "-bbox", tmp_path / "page.pdf", "-"], capture_output=True, text=True, check=True)
    words_at = re.compile(r'<word xMin="(.*?)" yMin="(.*?)" xMax="(.*?)" yMax="(.*?)"')
    corners = [tuple(map(float, found)) for found in words_at.findall(run.stdout)]
    assert len(corners) > 500
    assert all(20 < x1 < x2 < 575 and 20 < y1 < y2 < 825 for x1, y1, x2, y2 in corners)


@needs_poppler
def test_the_picture_on_the_page_is_the_marked_one(tmp_path):
    (tmp_path / "page.pdf").write_bytes(page_of(made()))
    subprocess.run(["pdfimages", "-png", tmp_path / "page.pdf", tmp_path / "picture"], check=True)
    (file,) = tmp_path.glob("picture*.png")
    data = dicom(noise[0], bits=12, **STUDY | SPACING)
    _, expected = answer_about(data)
    with Image.open(file) as shown:
        assert shown.size == expected.size
        assert np.abs(np.asarray(shown).astype(int) - np.asarray(expected)).mean() < 3  # JPEG


@needs_dcmtk
def test_dcmtk_takes_the_same_page_out(tmp_path):
    one = made()
    one.save_as(tmp_path / "object.dcm", enforce_file_format=True)
    subprocess.run(["dcm2pdf", tmp_path / "object.dcm", tmp_path / "out.pdf"], check=True, capture_output=True)
    assert (tmp_path / "out.pdf").read_bytes().rstrip(b"\0") == page_of(one).rstrip(b"\0")


@pytest.mark.skipif(shutil.which("dciodvfy") is None, reason="needs dciodvfy (Debian: dicom3tools)")
def test_an_independent_validator_finds_no_error(tmp_path):
    made().save_as(tmp_path / "object.dcm", enforce_file_format=True)
    run = subprocess.run(["dciodvfy", "-new", tmp_path / "object.dcm"], capture_output=True, text=True, check=False)
    assert [line for line in (run.stdout + run.stderr).splitlines() if line.startswith("Error")] == []


def test_the_command_writes_a_pdf(tmp_path, monkeypatch):
    from tests.edge.stub import medrega, put

    put(monkeypatch)
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(dicom(noise[0], bits=12, **STUDY))
    assert medrega("ask", scan, "locate the liver", "--dicom", "sr,pdf", "--dicom-to", tmp_path / "out") == 0
    one = pydicom.dcmread(tmp_path / "out" / "medrega-pdf.dcm")
    assert one.PatientName == "Doe^Jane" and find(one, "ReferencedSOPInstanceUID")


def test_without_reportlab_it_is_told_before_any_work(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "reportlab", None)
    scan = tmp_path / "scan.dcm"
    scan.write_bytes(dicom(noise[0], bits=12, **STUDY))
    with raises_code(ResourceError, "output.needs_reportlab"):
        object_paths(tmp_path, ("sr", "pdf"), scan)
    assert sorted(object_paths(tmp_path, KINDS[:4], scan)) == ["gsps", "sc", "seg", "sr"]


@needs_poppler
def test_pixels_that_are_not_square_keep_their_shape(tmp_path):
    (tmp_path / "page.pdf").write_bytes(page_of(made(dicom(noise[0], bits=12, **STUDY | {"PixelSpacing": ["0.5", "0.25"]}))))
    run = subprocess.run(["pdfimages", "-list", tmp_path / "page.pdf"], capture_output=True, text=True, check=True)
    columns = dict(
        zip(*(line.split() for line in run.stdout.replace("-" * 87, "").split("\n") if line.strip("- ")), strict=False)
    )
    assert int(columns["x-ppi"]) / int(columns["y-ppi"]) == pytest.approx(2, abs=0.05)


@needs_poppler
def test_an_answer_in_words_has_its_score(tmp_path):
    data = dicom(noise[0], bits=12, **STUDY)
    answer, picture = answer_about(data, count=0)
    facts = PageFacts("Doe Jane", "1", "2026-01-01", "2.25.9", datetime.now())
    text = words(answer_page(dataclasses.replace(answer, text="Yes.", confidence=0.83), "Is it?", picture, facts), tmp_path)
    assert "answer: Yes." in text and "score: 0.83" in text
    unsure = dataclasses.replace(answer, text="Not sure.", guess="Yes.", confidence=0.3)
    text = words(answer_page(unsure, "Is it?", picture, facts), tmp_path)
    assert "answer: Not sure." in text and "0.30" not in text


@needs_poppler
@pytest.mark.parametrize(("language", "said"), [("en", "not regarded: apical"), ("zh", "未考虑：apical")])
def test_words_that_the_answer_does_not_regard_stand_on_the_page(tmp_path, language, said):
    answer, picture = answer_about(dicom(noise[0], bits=12, **STUDY | SPACING), language)
    answer = dataclasses.replace(answer, facts={"not_regarded": ["apical"]})
    facts = PageFacts("", "", "", "", datetime.now())
    text = words(answer_page(answer, QUESTION[language], picture, facts), tmp_path)
    assert said.replace(" ", "") in text.replace(" ", "")
