"""An archive as the source of a batch: the rows of a folder of its files, and nothing from anywhere else."""

import json
import os
import pickle
import re
import subprocess
import sys
import time

import numpy as np
import pytest

pytest.importorskip("dicomweb_client", reason="needs the extra [pacs]")

from medrega_edge.batch import dicomweb
from medrega_edge.batch.dicomweb import Archive, ArchiveImages
from medrega_edge.batch.dicomweb_filters import fits
from medrega_edge.batch.jobs import BatchQuestion
from medrega_edge.errors import ImageError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from tests.codes import raises_code
from tests.edge.archive import ROOT, multipart, serving
from tests.edge.archive import Archive as HeldFiles
from tests.edge.dicoms import dicom
from tests.edge.stub import medrega, put
from tests.edge.test_batch import rows_of
from tests.edge.test_no_contact import is_named
from tests.edge.test_series import slice_file
from tools.traced import available, traced

CONNECTED = re.compile(r'connect\(.*htons\((\d+)\).*inet_addr\("([^"]*)"\)')  # as strace writes it
ASKING = BatchQuestion("locate the liver")
PLACES = [(0, 0, 30), (0, 0, 10), (0, 0, 20)]  # of slices 1, 2, 3: in the body their order is 2, 3, 1


@pytest.fixture
def stub(monkeypatch):
    monkeypatch.setattr(dicomweb, "WAITS", (0.0, 0.0, 0.0))
    return put(monkeypatch)


def study(number=1, modality="CT"):
    """Three slices in a series, a cine of two frames in another, and a report."""
    tags = {"StudyInstanceUID": f"1.2.{number}", "PatientID": f"P{number}", "StudyDate": f"2026010{number}"}
    files = [
        slice_file(slice_number, place, series=f"1.2.{number}.7", Modality=modality, SeriesNumber="2", **tags)
        for slice_number, place in enumerate(PLACES, 1)
    ]
    cine = np.full((2, 32, 32), [[[10]], [[20]]], np.uint8)
    cine[:, 0] = 200
    uids = {"SeriesInstanceUID": f"1.2.{number}.9", "SOPInstanceUID": f"1.2.{number}.9.1"}
    files.append(dicom(cine, Modality="US", SeriesNumber="1", **tags, **uids))
    report = {"SeriesInstanceUID": f"1.2.{number}.8", "SOPInstanceUID": f"1.2.{number}.8.1"}
    files.append(dicom(cine[0], Modality="SR", SeriesNumber="3", **tags, **report))
    return files


@pytest.fixture
def archive():
    with serving(HeldFiles([*study(1), *study(2, "MR")])) as running:
        yield running


def ask(address, out, *more):
    return medrega("batch", address, "--question", "locate the liver", "--out", out, *more)


def is_search(path):
    return "/instances/" not in path


def test_the_rows_are_those_of_a_folder_of_the_same_files(stub, archive, tmp_path, capsys):
    folder = tmp_path / "in"
    for number, (data, _) in enumerate(archive.files.values()):
        (folder / str(number)).parent.mkdir(exist_ok=True)
        (folder / f"{9 - number % 10}{number}.dcm").write_bytes(data)
    assert ask(folder, tmp_path / "folder.jsonl") == 0
    said = capsys.readouterr().err.splitlines()
    assert ask(archive.url, tmp_path / "archive.jsonl") == 0
    rows, wanted = rows_of(tmp_path / "archive.jsonl"), rows_of(tmp_path / "folder.jsonl")
    assert len(rows) == 10
    assert {row["image"].pop("path") for row in rows} < set(archive.names())
    for row in wanted:
        del row["image"]["path"]
    assert rows == wanted
    found = Message("dicomweb.found", count=8, series=4, studies=2)
    told = capsys.readouterr().err.splitlines()
    assert told[:-1] == [str(Message("dicomweb.searching")), str(found), *said[:-1]] and told[-1].startswith("wrote")


def test_a_de_identified_row_has_no_uid_in_it(stub, archive, tmp_path, capsys):
    out, table, pictures = tmp_path / "a.jsonl", tmp_path / "a.csv", tmp_path / "marked"
    archive.faults.append(lambda path, _: (404, {}, b"") if path.endswith("7.2") else None)
    assert ask(archive.url, out, "--csv", table, "--save-dir", pictures, "--de-identified") == 1
    names = " ".join(str(path.relative_to(pictures)) for path in pictures.rglob("*"))
    said = "".join([out.read_text("utf-8"), table.read_text("utf-8"), names, *capsys.readouterr()])
    assert len(rows_of(out)) == 10 and "1.2.1" not in said and "1.2.2" not in said and "studies/" not in said


def test_filters_are_sent_to_the_search_that_knows_them(stub, archive, tmp_path):
    address = f"{archive.url}?StudyDate=20260101&Modality=CT&InstanceNumber=2&PatientID=P*"
    assert ask(address, tmp_path / "a.jsonl") == 0
    assert [row["image"]["path"] for row in rows_of(tmp_path / "a.jsonl")] == [
        "studies/1.2.1/series/1.2.1.7/instances/1.2.1.7.2"
    ]
    first, *_ = archive.asked
    assert "StudyDate=20260101" in first and "PatientID=P" in first and "Modality" not in first
    assert not [path for path in archive.asked if "1.2.2" in path]
    assert ask(f"{archive.url}?StudyInstanceUID=1.2.2", tmp_path / "b.jsonl") == 0
    assert len(rows_of(tmp_path / "b.jsonl")) == 5


def test_an_archive_that_ignores_a_filter_is_found_out(stub, archive, tmp_path):
    archive.is_deaf = True
    with raises_code(ResourceError, "dicomweb.filter_ignored", keyword="PatientID"):
        ask(f"{archive.url}?PatientID=P1", tmp_path / "a.jsonl")
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("is_stuck", [False, True])
def test_short_pages_lose_nothing_and_one_that_repeats_ends(archive, is_stuck):
    archive.page = 2
    if is_stuck:
        search = archive.search
        archive.search = lambda uids, query: search(uids, query | {"offset": "0"})
        archive.page = 3
    assert len(list(Archive.at(archive.url).headers())) == 10


def test_an_instance_that_cannot_be_had_is_an_error_of_its_row(stub, archive, tmp_path, capsys):
    other = archive.answer(f"{ROOT}/studies/1.2.1/series/1.2.1.7/instances/1.2.1.7.1", {})
    two = (200, {"Content-Type": "multipart/related; boundary=0f3c2"}, multipart(b"a", b"b"))
    wanted = {
        "1.2.1.7.1": ((404, {}, b"Doe^Zyxwena"), "dicomweb.not_given"),
        "1.2.1.7.2": ((200, {"Content-Type": "text/html"}, b"<html>"), "dicomweb.broken_answer"),
        "1.2.1.7.3": (other, "dicomweb.other_instance"),
        "1.2.2.7.1": ((200, {"Content-Type": "application/dicom"}, b"\x89PNG" + bytes(200)), "dicomweb.other_instance"),
        "1.2.2.7.2": (two, "dicomweb.broken_answer"),
        "1.2.2.7.3": ((500, {}, b""), "dicomweb.not_given"),
    }  # fmt: skip
    archive.faults.append(lambda path, _: wanted.get(path.rpartition("/")[2], [None])[0])
    assert ask(archive.url, tmp_path / "a.jsonl") == 1
    rows = rows_of(tmp_path / "a.jsonl")
    failed = {row["image"]["path"].rpartition("/")[2]: row["error"]["code"] for row in rows if "error" in row}
    assert failed == {uid: code for uid, (_, code) in wanted.items()}
    assert len(rows) == 10 and all(row["id"] is None for row in rows if "error" in row)
    assert "Zyxwena" not in (tmp_path / "a.jsonl").read_text("utf-8") + "".join(capsys.readouterr())


def test_a_file_that_is_not_wrapped_is_taken_as_it_is(archive):
    name = archive.names()[0]
    data = next(iter(archive.files.values()))[0]
    archive.faults.append(lambda path, _: None if is_search(path) else (200, {"Content-Type": "application/dicom"}, data))
    assert Archive.at(archive.url).fetch(name) == data


def test_a_file_that_stops_in_the_middle_is_never_taken_as_whole(stub, archive):
    name = archive.names()[0]
    whole = archive.answer(f"{ROOT}/{name}", {})
    archive.faults.append(lambda path, _: (200, whole[1] | {"Content-Length": str(len(whole[2]))}, whole[2][:-600]))
    with raises_code(ResourceError, "dicomweb.no_answer"):
        Archive.at(archive.url).fetch(name)
    assert len(archive.asked) == 4
    archive.faults[:] = [lambda path, _: (200, whole[1], whole[2][:-600])]  # and says that this was all
    with raises_code(ImageError, "dicomweb.broken_answer"):
        Archive.at(archive.url).fetch(name)


def test_an_archive_that_hangs_up_or_is_busy_is_asked_again(stub, archive, tmp_path):
    bad = [(503, {}, b""), (0, {}, b""), (429, {}, b"")] * 2
    archive.faults.append(lambda path, _: bad.pop() if bad and len(archive.asked) % 3 else None)
    assert ask(archive.url, tmp_path / "a.jsonl") == 0
    assert len(rows_of(tmp_path / "a.jsonl")) == 10 and not bad


def test_a_run_goes_on_where_the_archive_was_lost(stub, archive, tmp_path):
    out, whole = tmp_path / "a.jsonl", tmp_path / "whole.jsonl"
    assert ask(archive.url, whole) == 0
    lost = [True]
    archive.faults.append(lambda path, _: (0, {}, b"") if lost and path.endswith("1.2.2.9.1") else None)
    with raises_code(ResourceError, "dicomweb.no_answer"):
        ask(archive.url, out)
    assert not out.exists() and (tmp_path / "a.jsonl.part").exists()
    lost.clear()
    asked = stub.asked
    assert ask(archive.url, out) == 0
    assert out.read_bytes() == whole.read_bytes() and stub.asked - asked == 5
    archive.files.popitem()
    (tmp_path / "a.jsonl.part").write_bytes(b"medrega work of another job\n1\n")
    with raises_code(UsageError, "batch.other_job"):
        ask(archive.url, out)


def test_no_redirect_is_followed_and_the_token_goes_nowhere_else(stub, archive, tmp_path):
    token = tmp_path / "token"
    token.write_text("s3cr3t-token\n")
    with serving(HeldFiles([])) as other:
        target = other.url.replace("dicomweb:", "http:")
        elsewhere = {"Location": f"{target}/studies"}
        for fault in (
            lambda path, _: (302, elsewhere, b""),
            lambda path, _: None if is_search(path) else (307, elsewhere, b""),
        ):
            archive.faults[:] = [fault]
            with raises_code(UsageError, "dicomweb.redirected"):
                ask(archive.url, tmp_path / "a.jsonl", "--token-file", token)
        assert other.asked == []


def test_the_token_is_sent_and_told_nowhere(stub, archive, tmp_path, capsys):
    token, out = tmp_path / "token", tmp_path / "a.jsonl"
    token.write_text("s3cr3t-token\n")
    archive.faults.append(lambda _, headers: None if headers["Authorization"] == "Bearer s3cr3t-token" else (401, {}, b""))
    with raises_code(ResourceError, "dicomweb.status", status=401):
        ask(archive.url, out)
    assert ask(archive.url, out, "--token-file", token) == 0
    assert "s3cr3t" not in repr(Archive.at(archive.url, token)) + out.read_text("utf-8") + "".join(capsys.readouterr())
    for wrong in ("", "two words", "lines\nmany"):
        token.write_text(wrong)
        with raises_code(UsageError, "dicomweb.token_file"):
            ask(archive.url, out, "--token-file", token)
    with raises_code(UsageError, "dicomweb.option_without_archive"):
        ask(tmp_path, out, "--token-file", token)


def test_a_certificate_is_verified(stub, tmp_path, monkeypatch):
    key, cert = tmp_path / "key.pem", tmp_path / "cert.pem"
    command = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", key, "-out", cert, "-days", "2"]
    try:
        subject = ["-subj", "/CN=127.0.0.1", "-addext", "subjectAltName=IP:127.0.0.1"]
        subprocess.run([*command, *subject], check=True, capture_output=True)
    except FileNotFoundError:
        pytest.skip("openssl is not there")
    with serving(HeldFiles(study()), (cert, key)) as archive:
        with raises_code(ResourceError, "dicomweb.certificate"):
            ask(archive.url, tmp_path / "a.jsonl")
        assert archive.asked == []
        monkeypatch.setenv(dicomweb.CERTIFICATES, str(tmp_path / "none.pem"))
        dicomweb._session.cache_clear()
        dicomweb._client.cache_clear()
        with raises_code(ResourceError, "dicomweb.certificate"):
            ask(archive.url, tmp_path / "a.jsonl")
        monkeypatch.setenv(dicomweb.CERTIFICATES, str(cert))
        dicomweb._session.cache_clear()
        dicomweb._client.cache_clear()
        assert ask(archive.url, tmp_path / "a.jsonl") == 0


def test_what_is_no_dicom_json_is_said(stub, archive, tmp_path):
    for body in (b"<html>", b"[1]", b'[{"0020000D": {"Value": ["../../etc"]}}]', b'{"a": 1}'):
        archive.faults[:] = [lambda path, _, body=body: (200, {"Content-Type": "application/dicom+json"}, body)]
        with raises_code(ResourceError, "dicomweb.unreadable"):
            ask(archive.url, tmp_path / "a.jsonl")
    archive.faults[:] = [lambda path, _: (204, {}, b"")]
    with raises_code(UsageError, "dicomweb.nothing_found"):
        ask(archive.url, tmp_path / "a.jsonl")


def test_without_encryption_only_this_machine_is_asked():
    for host in ("localhost", "127.0.0.1:8042", "[::1]:8042"):
        assert Archive.at(f"dicomweb://{host}/a").url == f"http://{host}/a"
    for host in ("192.0.2.1", "archive.example", "127.0.0.1.example", "10.0.0.1:8042"):
        with raises_code(UsageError, "dicomweb.plain"):
            Archive.at(f"dicomweb://{host}/a")
        assert Archive.at(f"dicomweb://{host}/a", plain=True).url == f"http://{host}/a"
        assert Archive.at(f"dicomwebs://{host}/a/").url == f"https://{host}/a"


@pytest.mark.parametrize(
    ("address", "code"),
    {
        "dicomweb://": "dicomweb.address",
        "dicomweb://localhost:port/a": "dicomweb.address",
        "dicomweb://user:secret@localhost/a": "dicomweb.address",
        "dicomweb://localhost/a#b": "dicomweb.address",
        "dicomweb://localhost/a?Modality": "dicomweb.address",
        "dicomweb://localhost/a?Modalty=CT": "dicomweb.filter",
        "dicomweb://localhost/a?Modality=CT&Modality=MR": "dicomweb.filter",
        "dicomweb://localhost/a?Modality=": "dicomweb.empty_filter",
    }.items(),
)
def test_an_address_that_cannot_be_meant_is_refused(address, code, tmp_path):
    with raises_code(UsageError, code) as caught:
        ask(address, tmp_path / "a.jsonl")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("vr", "wanted", "values", "is_fit"),
    [
        ("UI", "1.2.3", ["1.2.3"], True), ("UI", "1.2", ["1.2.3"], False), ("UI", "1.2,1.2.3", ["1.2.3"], True),
        ("DA", "20260101", ["20260101"], True), ("DA", "20260101", ["20260102"], False),
        ("DA", "20260101-", ["20260102"], True), ("DA", "-20260101", ["20260102"], False),
        ("DA", "20260101-20260131", ["20260115"], True), ("DA", "20260101-20260131", ["20260201"], False),
        ("TM", "10-11", ["113000"], True), ("TM", "10-11", ["120000"], False),
        ("CS", "CT", ["CT"], True), ("CS", "ct", ["CT"], True), ("CS", "CT", ["MR"], False), ("CS", "CT\\MR", ["MR"], True),
        ("LO", "*liver*", ["CT Liver [3]"], True), ("LO", "ct [3]", ["CT [3]"], True), ("LO", "ct [3]", ["CT 3"], False),
        ("IS", "2", [2], True), ("IS", "02", ["2"], True), ("IS", "2", [20], False),
        ("PN", "Doe^J*", [{"Alphabetic": "DOE^JANE^^"}], True),
        ("PN", "王*", [{"Alphabetic": "Wang", "Ideographic": "王^小"}], True),
        ("PN", "Doe", [{"Alphabetic": "Doe^Jane"}], False),
    ],
)  # fmt: skip
def test_what_an_instance_says_is_held_against_a_filter(vr, wanted, values, is_fit):
    assert fits(vr, wanted, values) is is_fit


def test_a_job_can_be_sent_to_another_process(archive):
    job = pickle.loads(pickle.dumps(ArchiveImages(Archive.at(archive.url), ASKING)))
    assert len(job) == 8
    data = job._file(job._names[0])
    assert json.loads(json.dumps(job.job_key())) and data in [one for one, _ in archive.files.values()]


@pytest.mark.slow
def test_killed_it_ends_the_same_and_leaves_no_image_on_the_disk(tmp_path):
    """The shipped model in as many processes as there are cores; every answer takes its image from the archive."""
    temporary = tmp_path / "tmp"
    temporary.mkdir()
    whole, out = tmp_path / "whole.jsonl", tmp_path / "a.jsonl"
    journal = tmp_path / "a.jsonl.part"
    files = [slice_file(number, (0, 0, number), SOPInstanceUID=f"1.2.3.{number}") for number in range(1, 61)]
    with serving(HeldFiles(files)) as archive:

        def run(out):
            words = [
                sys.executable,
                "-m",
                "medrega_edge",
                "batch",
                archive.url,
                "--question",
                "locate the liver",
                "--out",
                out,
            ]
            environment = os.environ | {"TMPDIR": str(temporary)}
            return subprocess.Popen(words, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

        with run(whole) as process:
            assert process.wait() == 0, process.stderr.read()
        for least in (3, 30):  # rows
            with run(out) as process:
                while process.poll() is None and (not journal.exists() or journal.read_bytes().count(b"\n") <= least):
                    time.sleep(0.001)
                process.kill()
        assert journal.exists() and not out.exists()
        with run(out) as process:
            assert process.wait() == 0, process.stderr.read()
    assert out.read_bytes() == whole.read_bytes() and len(rows_of(out)) == 60
    assert list(temporary.iterdir()) == []


@pytest.mark.slow
@pytest.mark.skipif(not available(), reason="needs strace, and leave to trace")
def test_no_other_address_is_called_and_nothing_else_is_written(tmp_path):
    folder = tmp_path / "here"
    folder.mkdir()
    with serving(HeldFiles(study())) as archive:
        arguments = ["batch", archive.url, "--question", "locate the liver", "--out", "a.jsonl", "--threads", "1"]
        elsewhere = {"http_proxy": "http://192.0.2.1:3128", "PYTHONPATH": os.environ.get("PYTHONPATH", "")}
        run, sockets, written = traced(folder, *arguments, **elsewhere)
    assert run.returncode == 0, run.stderr.decode()
    assert {(found.group(2), int(found.group(1))) for call in sockets if (found := CONNECTED.match(call))} == {
        ("127.0.0.1", int(archive.url.split(":")[2].partition("/")[0]))
    }
    assert {path for path in written if not is_named(path, folder, ["a.jsonl*"])} == set()
    assert [path.name for path in folder.iterdir()] == ["a.jsonl"]
