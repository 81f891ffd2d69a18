"""Eighteen identifying strings in tags, names and paths, and forty faults: none comes out unless it is asked for."""

import io
import itertools
import json
import os
import tempfile

import numpy as np
import pytest
from PIL import Image

from tests.edge.dicoms import dicom

# The eighteen kinds of HIPAA's safe harbour, each as a string that stands nowhere else.
PLANTED = {
    "name": "Doe^Zyxwena", "place": "Qvortown", "date": "18530711", "telephone": "555-0173", "fax": "555-0199",
    "email": "zyx@qvor.example", "social security": "078-05-1120", "medical record": "MRN7741903",
    "health plan": "HPB4410027", "account": "ACC9920184", "licence": "LIC3308871", "vehicle": "VIN1QV77Z",
    "device": "SN-QV-55120", "url": "http://qvor.example/zyx", "ip": "203.0.113.77", "biometric": "BIO66120",
    "photograph": "zyxwena-face", "other": "1.2.826.0.1.99.18530711",
}  # fmt: skip
TAGS = {
    "PatientName": "name", "PatientAddress": "place", "PatientBirthDate": "date", "PatientTelephoneNumbers": "telephone",
    "ReferringPhysicianTelephoneNumbers": "fax", "PatientComments": "email", "OtherPatientIDs": "social security",
    "PatientID": "medical record", "InsurancePlanIdentification": "health plan", "AdmissionID": "account",
    "OperatorsName": "licence", "RequestedProcedureDescription": "vehicle", "DeviceSerialNumber": "device",
    "RetrieveURI": "url", "StationName": "ip", "ImageComments": "biometric", "SeriesDescription": "photograph",
    "StudyInstanceUID": "other",
}  # fmt: skip
FORBIDDEN = [form for text in PLANTED.values() for form in {text, text.replace("/", "_"), text.split("^")[-1]}]


@pytest.fixture
def place(tmp_path, monkeypatch):
    """A folder `in` full of identifiers, and `out`, `tmp` and a home that have to stay without."""
    import pydicom

    folder = tmp_path / "in" / "Doe^Zyxwena" / "Qvortown MRN7741903"
    folder.mkdir(parents=True)
    data = pydicom.dcmread(io.BytesIO(dicom(np.tile(np.arange(64, dtype=np.uint16) * 40, (64, 1)), Modality="CT")))
    for tag, kind in TAGS.items():
        setattr(data, tag, PLANTED[kind])
    block = data.private_block(0x0009, "QVOR", create=True)
    for number, text in enumerate(PLANTED.values()):
        block.add_new(number, "LO", text)
    data.save_as(folder / "18530711 zyxwena-face.dcm")
    Image.new("L", (32, 32), 90).save(folder / "HPB4410027 078-05-1120 zyx@qvor.example.png")
    (folder / "LIC3308871 ACC9920184.png").write_text("no image, VIN1QV77Z")
    for name in ("out", "tmp", "home"):
        (tmp_path / name).mkdir()
    monkeypatch.setenv("TMPDIR", str(tmp_path / "tmp"))
    monkeypatch.setenv("HOME", str(tmp_path / "home"))
    monkeypatch.setattr(tempfile, "tempdir", None)
    return tmp_path


@pytest.fixture
def run(place, medrega):
    """Run a command in this process; returns (code, all that came out of it anywhere)."""

    def command(*arguments, stdin=""):
        ran = medrega(*arguments, stdin=stdin)
        said = ran.out + ran.err
        for name in ("out", "tmp", "home"):
            for path in sorted((place / name).rglob("*")):
                said += path.name + (path.read_bytes().decode("utf-8", "replace") if path.is_file() else "")
                if path.is_file():
                    path.unlink()
        return ran.code, said

    return command


def leaked(said):
    return [text for text in FORBIDDEN if text in said]


def commands(place):
    folder = place / "in" / "Doe^Zyxwena" / "Qvortown MRN7741903"
    scan, png, bad = sorted(folder.iterdir())[0], *sorted(folder.glob("*.png"))
    out = place / "out"
    questions = folder / "BIO66120.jsonl"
    rows = [{"id": n, "image": path.name, "question": "locate the liver"} for n, path in enumerate((scan, png, bad))]
    questions.write_text(
        "".join(json.dumps(row) + "\n" for row in [*rows, {"id": 3, "image": "SN-QV-55120", "question": "x"}])
    )
    spare = folder / "SN-QV-55120"
    yield from (
        ("ask", scan, "locate the liver"),
        ("ask", scan, "locate the liver", "--json", "--save", out / "a.png"),
        ("ask", png, "请定位肝脏", "--json"),
        ("ask", bad, "locate the liver"),
        ("ask", folder, "locate the liver"),
        ("ask", folder, "locate the liver", "--series", "0", "--json"),
        ("ask", folder, "locate the liver", "--series", "9"),
        ("batch", folder, "--question", "locate the liver", "--series", "0", "--out", out / "a.jsonl", "--de-identified"),
        ("ask", spare, "locate the liver"),
        ("ask", scan, "locate the liver", "--save", folder),
        ("ask", scan, "locate the liver", "--save", folder / "555-0173.gif"),
        ("ask", scan, "locate the liver", "--save", folder / "none" / "555-0173.png"),
        ("ask", scan, "locate the liver", "--save", scan),
        ("ask", scan, "locate the liver", bad),
        ("ask", scan, "locate the liver", "--frame", bad),
        ("ask", scan, "locate the liver", f"--{PLANTED['name']}"),
        ("ask", scan, "locate the liver", "--frame", "3"),
        ("ask", png, "locate the liver", "--window", "lung"),
        (scan, "locate the liver"),
        ("locate", scan, "liver", "spleen"),
        ("identify", scan, "--box", "4,4,40,40", "--json"),
        ("classify", scan, "--labels", "a,b"),
        ("report", scan, "--grounded"),
        ("chat", scan),
        (
            "batch",
            folder,
            "--question",
            "locate the liver",
            "--out",
            out / "a.jsonl",
            "--csv",
            out / "a.csv",
            "--gallery",
            out / "a.html",
            "--save-dir",
            out / "marked",
            "--de-identified",
            "--force",
        ),
        ("batch", questions, "--out", out / "a.jsonl", "--csv", out / "a.csv", "--de-identified", "--force"),
        ("batch", scan, "--out", out / "a.jsonl"),
        ("batch", bad, "--out", out / "a.jsonl"),
        ("batch", spare, "--out", out / "a.jsonl"),
        ("batch", questions, "--out", folder),
        ("batch", folder, "--question", "x", "--out", folder / "a.jsonl"),
        ("watch", spare, "--question", "locate the liver", "--out", out / "answers"),
        ("watch", folder, "--question", "locate the liver", "--out", folder / "answers"),
        ("model", "list"),
        ("model", "info", "--labels"),
        ("bundle", "verify", bad),
        ("bundle", "verify", spare),
        ("bundle", "create", out / "b.zip", "--wheels", folder),
        ("bundle", "create", spare / "b.zip", "--wheels", spare),
    )


@pytest.mark.slow
def test_no_command_tells_an_identifier(place, run, record_property):
    codes = set()
    told = list(commands(place))
    record_property("identifiers planted", len(PLANTED))
    record_property("commands that could tell them", len(told))
    for arguments in told:
        code, said = run(*arguments, stdin="locate the liver\n\n")
        said = said.replace(f"No such file: {arguments[1]}", "")  # what was typed and is not there
        assert not leaked(said), (arguments[0], leaked(said), said)
        assert "Traceback" not in said
        codes.add(code)
    assert {0, 1, 2, 3} <= codes
    assert 70 not in codes


def test_paths_come_out_when_asked_for(place, run):
    scan = next((place / "in").rglob("*.dcm"))
    code, said = run("ask", scan, "locate the liver", "--json", "--include-identifiers")
    assert code == 0
    assert json.loads(said[said.index("{") :])["image"]["path"] == str(scan)


POINTS = (
    "medrega_edge.images.reader.is_dicom",
    "medrega_edge.images.dicom.reader.read_header",
    "medrega_edge.images.dicom.reader.check_pixel_data",
    "medrega_edge.images.dicom.rendering.pixel_array",
    "medrega_edge.images.dicom.rendering.apply_window",
    "medrega_edge.images.reader.read_bytes",
    "medrega_edge.engine.fit_image",
    "medrega_edge.engine.Engine._modality",
    "medrega_edge.tasks.detection.Detect.run",
    "medrega_edge.answer.Answer.to_dict",
)
SAYING = " ".join(PLANTED.values())
FAULTS = (
    lambda: KeyError(SAYING),
    lambda: OSError(2, SAYING, SAYING),
    lambda: UnicodeDecodeError("ascii", SAYING.encode(), 0, 1, SAYING),
    lambda: RuntimeError(SAYING, SAYING.encode()),
)


@pytest.mark.slow
@pytest.mark.parametrize(("point", "fault"), list(itertools.product(POINTS, range(len(FAULTS)))))
def test_a_fault_anywhere_tells_no_identifier(place, run, monkeypatch, point, fault):
    def fail(*_, **__):
        raise FAULTS[fault]()

    monkeypatch.setattr(point, fail)
    scan = next((place / "in").rglob("*.dcm"))
    for arguments in (
        ("ask", scan, "locate the liver", "--json"),
        ("batch", scan.parent, "--question", "locate the liver", "--out", place / "out" / "a.jsonl", "--de-identified"),
    ):
        code, said = run(*arguments)
        assert code, "the fault was not met"
        assert not leaked(said), said
        assert "Traceback" not in said


def test_no_core_file_is_written(run):
    import resource

    run("model", "list")
    assert resource.getrlimit(resource.RLIMIT_CORE)[0] == 0


def test_what_a_command_reads_is_left_as_it_is(place, run):
    kept = {path: (path.read_bytes(), os.stat(path).st_mtime_ns) for path in (place / "in").rglob("*") if path.is_file()}
    scan = next(path for path in kept if path.suffix == ".dcm")
    run("batch", scan.parent, "--question", "locate the liver", "--out", place / "out" / "a.jsonl")
    run("ask", scan, "locate the liver", "--save", place / "out" / "a.png")
    assert {path: (path.read_bytes(), os.stat(path).st_mtime_ns) for path in kept} == kept
