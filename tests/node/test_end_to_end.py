"""The whole node on loopback: a scanner sends the sample scan by C-STORE, and an archive gets a structured report."""

import json
import os
import queue
import signal
import subprocess
import sys
import threading
from dataclasses import replace

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra 'pacs'")
pytest.importorskip("highdicom", reason="needs the extra 'pacs'")

from pydicom import dcmread
from pynetdicom import AE, StoragePresentationContexts, evt
from pynetdicom.sop_class import Verification

from medrega_edge.images.samples import sample_path
from medrega_edge.io.audit import verify
from medrega_edge.node import service
from medrega_edge.node.config import Limits, Peer, read_config
from medrega_edge.node.store import Store
from tests.node.nodes import RULE, config

SCAN = sample_path("abdomen-mri")
DEADLINE = 60.0  # seconds: a test that waits so long has failed
CONFIG = """
[node]
port = 0
quiet_seconds = 0.2
[[peer]]
name = "scanner"
ae_title = "SCANNER"
address = "127.0.0.1"
[[peer]]
name = "archive"
ae_title = "ARCHIVE"
address = "127.0.0.1"
port = {port}
[[rule]]
name = "liver"
modality = "MR"
question = "locate the liver"
outputs = ["sr", "gsps"]
send_to = "archive"
"""


@pytest.fixture
def archive():
    """A storage provider of pynetdicom's own: its port, and a queue of what it got."""
    got = queue.Queue()

    def keep(event):
        dataset = event.dataset
        dataset.file_meta = event.file_meta
        got.put(dataset)
        return 0x0000

    entity = AE(ae_title="ARCHIVE")
    entity.supported_contexts = StoragePresentationContexts
    entity.add_supported_context(Verification)
    server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, keep)])
    yield server.server_address[1], got
    server.shutdown()


def send(port, *datasets):
    """Send by C-STORE as the scanner; returns the statuses."""
    entity = AE(ae_title="SCANNER")
    for dataset in datasets:
        entity.add_requested_context(dataset.SOPClassUID, dataset.file_meta.TransferSyntaxUID)
    association = entity.associate("127.0.0.1", port, ae_title="MEDREGA")
    assert association.is_established
    try:
        return [association.send_c_store(dataset).Status for dataset in datasets]
    finally:
        association.release()


def test_a_scan_comes_in_and_its_report_goes_to_the_archive(tmp_path, engine, archive):
    port, got = archive
    scan = dcmread(SCAN)
    peers = (Peer("scanner", "SCANNER", "127.0.0.1"), Peer("archive", "ARCHIVE", "127.0.0.1", port=port))
    rule = replace(RULE, modality=("MR",), outputs=("sr",))
    settings = config(tmp_path / "state", quiet_seconds=0.1, peers=peers, rules=(rule,))
    events, ports, stopping = queue.Queue(), queue.Queue(), threading.Event()
    parts = replace(
        service.own_parts(),
        load_engine=lambda settings: engine,
        on_event=lambda event, **fields: events.put((event, fields)),
    )
    node = threading.Thread(target=service.run, args=(settings, ports.put, parts, stopping))
    node.start()
    try:
        own = ports.get(timeout=DEADLINE)
        assert send(own, scan) == [0x0000]
        report = got.get(timeout=DEADLINE)
        assert send(own, scan, report) == [0x0000, 0x0000]  # sent again, and our own result forwarded by the archive
        told = []
        while [event for event, _ in told].count("study-complete") < 2:
            told.append(events.get(timeout=DEADLINE))
    finally:
        stopping.set()
        node.join(DEADLINE)
    assert report.Modality == "SR" and report.StudyInstanceUID == scan.StudyInstanceUID
    assert scan.SOPInstanceUID in str(report)
    assert report.SOPInstanceUID.startswith("2.25.")
    assert [fields["outcome"] for event, fields in told if event == "received"] == ["added", "known", "added"]
    assert [fields["own"] for event, fields in told if event == "study-complete"] == [0, 1]
    assert got.empty() and verify(settings.folder / "audit.jsonl")[0] == 1
    words = json.dumps(told)
    assert scan.SOPInstanceUID not in words and scan.StudyInstanceUID not in words and str(tmp_path) not in words
    with Store(settings.folder, Limits()) as store:
        counts = store.counts()
    assert (counts.received, counts.known, counts.answered, counts.delivered, counts.unmatched) == (2, 1, 1, 1, 1)


def started(path):
    """Start `medrega node run`; returns the process and its port."""
    words = [sys.executable, "-m", "medrega_edge", "node", "run", str(path)]
    environment = {**os.environ, "LC_ALL": "C.UTF-8"}
    process = subprocess.Popen(words, stderr=subprocess.PIPE, text=True, env=environment)
    for line in process.stderr:
        if " port " in line:
            return process, int(line.split(" port ")[1].split(";")[0])
    raise AssertionError(process.wait())


@pytest.mark.slow
def test_the_command_survives_a_kill_and_ends_at_a_signal(tmp_path, archive, medrega):
    port, got = archive
    path = tmp_path / "node.toml"
    path.write_text(CONFIG.format(port=port))
    scan = dcmread(SCAN)
    process, own = started(path)
    with process:
        assert send(own, scan) == [0x0000]
        process.kill()
    process, own = started(path)
    with process:
        kinds = {got.get(timeout=DEADLINE).Modality for _ in range(2)}
        status = json.loads(medrega("node", "status", path, "--json").out)
        assert status["running"] and (status["received"], status["answered"]) == (1, 1)
        assert "port 104" not in medrega("node", "check", path).out
        process.send_signal(signal.SIGTERM)
        rest = process.stderr.read()
    assert process.returncode == 143 and kinds == {"SR", "PR"} and got.empty()
    assert scan.StudyInstanceUID not in rest and scan.SOPInstanceUID not in rest
    folder = read_config(path).folder
    with Store(folder, Limits()) as store:
        assert (store.counts().delivered, store.counts().jobs_waiting) == (1, 0)


def test_peers_are_asked_whether_they_are_there(tmp_path, archive, medrega):
    port, _ = archive
    path = tmp_path / "node.toml"
    path.write_text(CONFIG.format(port=port))
    ran = medrega("node", "check", path)
    assert ran.code == 0 and "peer archive: answers" in ran.out and "peer scanner: sends only" in ran.out
    path.write_text(CONFIG.format(port=1))
    ran = medrega("node", "check", path)
    assert ran.code == 6 and "FAULT" in ran.out
