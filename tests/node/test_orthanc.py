"""Tried on a real archive: Debian's Orthanc with DICOMweb, which forwards studies to a node and gets its results back."""

import io
import json
import shutil
import subprocess
import sys
import threading
import time
from contextlib import contextmanager
from pathlib import Path

import pydicom
import pytest

pytest.importorskip("dicomweb_client", reason="needs the extra [pacs]")

from medrega_edge.batch.dicomweb import Archive
from medrega_edge.errors import UsageError
from medrega_edge.images.samples import sample_path
from tests.codes import raises_code
from tests.edge.stub import medrega, put
from tests.edge.test_batch import rows_of
from tools import orthanc

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(orthanc.missing() is not None, reason=orthanc.missing() or ""),
]

SCAN = sample_path("abdomen-mri")
TESTS = SCAN.parent
SECONDS = 60  # for a study to go round
# modality of a result -> its SOP class
RESULTS = {
    "SR": "1.2.840.10008.5.1.4.1.1.88.33",  # Comprehensive SR; 3D SR and Enhanced SR end otherwise
    "PR": "1.2.840.10008.5.1.4.1.1.11.1",
    "OT": "1.2.840.10008.5.1.4.1.1.7",
    "SEG": "1.2.840.10008.5.1.4.1.1.66.4",
    "DOC": "1.2.840.10008.5.1.4.1.1.104.1",
}


@pytest.fixture(scope="module")
def archive():
    """An archive with an MR by C-STORE, and a CT, an MR and a compressed picture by its REST service."""
    with orthanc.running() as running:
        running.send(SCAN)
        for name in ("CT_small.dcm", "MR_small.dcm", "examples_jpeg2k.dcm"):
            running.post("/instances", (TESTS / name).read_bytes())
        yield running


@pytest.fixture
def stub(monkeypatch):
    return put(monkeypatch)


def ask(source, out, *more):
    return medrega("batch", source, "--question", "locate the liver", "--out", out, *more)


def test_a_batch_about_an_archive_is_that_about_a_folder_of_its_files(archive, stub, tmp_path):
    folder = tmp_path / "in"
    folder.mkdir()
    for instance in archive.get("/instances"):
        (folder / instance).write_bytes(archive.file(instance))
    assert ask(archive.dicomweb, tmp_path / "archive.jsonl") == 0
    assert ask(folder, tmp_path / "folder.jsonl") == 0
    rows, wanted = rows_of(tmp_path / "archive.jsonl"), rows_of(tmp_path / "folder.jsonl")
    for row in (*rows, *wanted):
        assert row["image"].pop("path")
    assert rows == wanted and len(rows) == 4


def test_files_come_as_they_are_stored_compressed_or_not(archive):
    held = {archive.file(instance) for instance in archive.get("/instances")}
    source = Archive.at(archive.dicomweb)
    fetched = {source.fetch(name) for name, _ in source.headers()}
    assert fetched == held and (TESTS / "examples_jpeg2k.dcm").read_bytes() in fetched


@pytest.mark.parametrize(
    ("filters", "count"),
    [
        ("Modality=CT", 1), ("Modality=MR", 2), ("PatientID=1CT1", 1), ("PatientName=Comp*", 3),
        ("PatientName=compressedSamples?CT1", 1),
        ("StudyDate=20040101-20041231", 3), ("StudyDate=20040119&Modality=CT", 1),
        ("SOPInstanceUID=1.3.6.1.4.1.5962.1.1.1.1.1.20040119072730.12322", 1),
    ],
)  # fmt: skip
def test_its_search_knows_the_filters(archive, filters, count):
    assert len(list(Archive.at(f"{archive.dicomweb}?{filters}").headers())) == count


def test_a_search_that_finds_nothing_is_said(archive, tmp_path):
    with raises_code(UsageError, "dicomweb.nothing_found"):
        ask(f"{archive.dicomweb}?PatientID=nobody", tmp_path / "a.jsonl")


def test_a_de_identified_batch_names_neither_patient_nor_study(archive, stub, tmp_path, capsys):
    out = tmp_path / "a.jsonl"
    assert ask(archive.dicomweb, out, "--de-identified", "--csv", tmp_path / "a.csv") == 0
    said = out.read_text("utf-8") + (tmp_path / "a.csv").read_text("utf-8") + "".join(capsys.readouterr())
    for instance in archive.get("/instances"):
        data = pydicom.dcmread(io.BytesIO(archive.file(instance)), stop_before_pixels=True)
        for word in ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "PatientName"):
            assert not data.get(word) or str(data[word].value) not in said


# --- there and back ---

NODE = """
[node]
port = {port}
folder = "state"
quiet_seconds = 1.0

[[peer]]
name = "archive"
ae_title = "ORTHANC"
address = "127.0.0.1"
{back}

[[rule]]
name = "liver"
modality = "MR"
segment = ["liver"]
outputs = ["sr", "gsps", "sc", "seg", "pdf"]
send_to = ["archive"]
"""


@contextmanager
def node(folder, text):
    """Run a node by a configuration; yields the list of its events, which grows."""
    (folder / "node.toml").write_text(text, encoding="utf-8")
    words = [sys.executable, "-m", "medrega_edge", "node", "run", str(folder / "node.toml"), "--threads", "1"]
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True)
    events = []

    def read():
        for line in process.stderr:
            events.append(line)

    reader = threading.Thread(target=read, daemon=True)
    reader.start()
    try:
        yield events
        assert process.poll() is None, "".join(events)
    finally:
        process.terminate()
        process.wait(60)
        reader.join()
        process.stderr.close()


def until(condition, told):
    """Wait until a condition holds; `told` says what there was if it does not."""
    end = time.monotonic() + SECONDS
    while not condition():
        assert time.monotonic() < end, told()
        time.sleep(0.2)


def series_of(archive, study):
    """Modality and instances of each series of a study."""
    found = [archive.get(f"/series/{one}") for one in archive.get(f"/studies/{study}")["Series"]]
    return [(one["MainDicomTags"]["Modality"], one["Instances"]) for one in found]


def status(folder):
    words = [sys.executable, "-m", "medrega_edge", "node", "status", str(folder / "node.toml"), "--json"]
    return json.loads(subprocess.run(words, capture_output=True, text=True, check=True).stdout)


@pytest.mark.parametrize("way", ["C-STORE", "STOW-RS"])
def test_a_study_is_forwarded_answered_and_comes_back_as_new_series(stub, tmp_path, way):
    pytest.importorskip("medrega_edge.node.service", reason="needs the node")
    port = orthanc.free_port()
    with orthanc.running(port, orthanc.FORWARD if way == "C-STORE" else "") as archive:
        back = f"port = {archive.dicom}\ncommitment = true" if way == "C-STORE" else f'stow = "{archive.web}/dicom-web"'
        with node(tmp_path, NODE.format(port=port, back=back)) as events:
            until(lambda: any(f"port {port}" in line for line in events), lambda: "".join(events))
            archive.send(SCAN)
            (study,) = archive.get("/studies")
            if way == "STOW-RS":
                archive.post("/modalities/medrega/store", study)

            def told():
                return f"{series_of(archive, study)}\n{''.join(events)}\n{archive.log()}"

            until(lambda: len(series_of(archive, study)) == 6, told)
            check(archive, study)
            until(lambda: status(tmp_path)["delivered"] == 1, told)  # with commitment: when the archive has confirmed it
            if way == "C-STORE":
                check_commitment(archive)
            # The same study again is known, and makes no second results.
            archive.post("/modalities/medrega/store", study)
            until(lambda: sum('"received"' in line for line in events) >= 2, told)
            time.sleep(3)  # longer than the quiet time and the age of a stable series
            check(archive, study)
            assert len(archive.get("/studies")) == 1
            assert status(tmp_path)["known"] >= 1
            assert ask(archive.dicomweb, tmp_path / "a.jsonl") == 0
            assert len(rows_of(tmp_path / "a.jsonl")) == 1  # our own results are not asked about
            assert not list((tmp_path / "state" / "rejected").rglob("*.dcm"))
            assert SCAN.name not in "".join(events) and not identifiers() & set("".join(events).split('"'))


def check(archive, study):
    """One new series of each kind, with references to the scan, and nothing else."""
    scan = pydicom.dcmread(SCAN, stop_before_pixels=True)
    found = dict(series_of(archive, study))
    assert len(series_of(archive, study)) == 6 and found.keys() == {"MR", *RESULTS}
    for modality, kind in RESULTS.items():
        (instance,) = found[modality]
        made = pydicom.dcmread(io.BytesIO(archive.file(instance)))
        assert made.SOPClassUID == kind or modality == "SR"
        assert made.StudyInstanceUID == scan.StudyInstanceUID and made.PatientID == scan.PatientID
        assert made.SeriesInstanceUID != scan.SeriesInstanceUID
        if modality in ("SR", "PR", "SEG", "OT"):
            assert scan.SOPInstanceUID in str(made)
        if modality == "DOC" and shutil.which("pdftotext"):
            run = subprocess.run(["pdftotext", "-", "-"], input=made.EncapsulatedDocument, capture_output=True, check=True)
            text = run.stdout.decode()
            assert "liver" in text.lower() and "Research use only" in text


def check_commitment(archive):
    """The archive asks the node whether it has the scan, and is told so for it alone."""
    scan = pydicom.dcmread(SCAN, stop_before_pixels=True)
    for uid, wanted in ((scan.SOPInstanceUID, "Success"), ("1.2.3.4", "Failure")):
        asked = {"DicomInstances": [{"SOPClassUID": scan.SOPClassUID, "SOPInstanceUID": uid}]}
        request = archive.post("/modalities/medrega/storage-commitment", asked)["ID"]
        until(lambda request=request: archive.get(f"/storage-commitment/{request}")["Status"] != "Pending", archive.log)
        assert archive.get(f"/storage-commitment/{request}")["Status"] == wanted


def identifiers():
    scan = pydicom.dcmread(SCAN, stop_before_pixels=True)
    words = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID", "PatientID", "PatientName")
    return {str(scan[word].value) for word in words if scan.get(word)}


TLS = """
[node.tls]
certificate = "node.pem"
key = "node.key"
authority = "authority.pem"
"""


def certificates(folder):
    """PEM files below a folder: an authority, certificates of node and scanner that it signed, and a stranger's."""

    def openssl(*words):
        subprocess.run(["openssl", *words], cwd=folder, check=True, capture_output=True)

    for name in ("authority", "stranger"):
        new = ["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
        openssl(*new, "-keyout", f"{name}.key", "-out", f"{name}.pem", "-subj", f"/CN={name}")
    for name in ("node", "scanner"):
        openssl(
            "req", "-newkey", "rsa:2048", "-nodes", "-keyout", f"{name}.key", "-out", f"{name}.csr", "-subj", f"/CN={name}"
        )
        sign = ["x509", "-req", "-in", f"{name}.csr", "-CA", "authority.pem", "-CAkey", "authority.key", "-CAcreateserial"]
        openssl(*sign, "-out", f"{name}.pem", "-days", "2")


def test_dcmtk_sends_over_tls_with_a_certificate_of_the_authority_alone(tmp_path):
    pytest.importorskip("medrega_edge.node.service", reason="needs the node")
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there")
    certificates(tmp_path)
    port = orthanc.free_port()
    text = NODE.format(port=port, back="port = 4343").replace("ORTHANC", "SCANNER").replace("\n[[peer]]", f"{TLS}\n[[peer]]")
    words = [orthanc.STORESCU, "-aet", "SCANNER", "-aec", "MEDREGA", "127.0.0.1", str(port), str(SCAN)]

    def sent(*options):
        run = subprocess.run([*words, *options], cwd=tmp_path, capture_output=True, check=False)
        return run.returncode == 0

    with node(tmp_path, text) as events:
        until(lambda: any(f"port {port}" in line for line in events), lambda: "".join(events))
        trusted = ("+cf", "authority.pem")
        assert not sent() and not sent("+tls", "stranger.key", "stranger.pem", *trusted)
        assert status(tmp_path)["received"] == 0
        assert sent("+tls", "scanner.key", "scanner.pem", *trusted)
        assert status(tmp_path)["received"] == 1


def test_the_page_leads_to_a_report_in_the_archive(tmp_path):
    """docs/node.md, as it stands, but for what installs and for the ports; the whole walk is `python -m tools.walk_node`."""
    pytest.importorskip("medrega_edge.node.service", reason="needs the node")
    from tools.walk_node import walk

    found = walk(Path(tmp_path), installed=True)
    assert found["reports"] >= 1 and not found["failed"]
