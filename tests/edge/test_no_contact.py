"""No command opens a socket of the internet, and none writes anything but what was named: told by the kernel, by strace."""

import json
import os
import re
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from medrega_edge import __version__
from medrega_edge.images.samples import sample_path
from tests.edge.dicoms import dicom
from tests.edge.test_bundle import wheel
from tools.traced import available, traced

pytestmark = pytest.mark.skipif(not available(), reason="needs strace, and leave to trace")

SCAN = sample_path("abdomen-mri")
LOCATE = "locate the liver"
# command -> (arguments, exit code, what it may write: names in its folder; a name that ends in * begins so)
QUICK = {
    "ask": (["ask", SCAN, LOCATE, "--json", "--save", "marked.png"], 0, ["marked.png"]),
    "batch": (
        ["batch", "in", "--question", LOCATE, "--out", "a.jsonl", "--csv", "a.csv", "--gallery", "a.html"],
        1,
        ["a.jsonl*", "a.csv", "a.html*"],
    ),
}
LONG = {
    "version": (["--version"], 0, []),
    "help": (["--help"], 0, []),
    "ask in text": (["ask", "--sample", "abdomen-mri", "请定位肝脏"], 0, []),
    "ask about nothing": (["ask", "nowhere.png", LOCATE], 3, []),
    "locate": (["locate", SCAN, "liver", "spleen"], 0, []),
    "identify": (["identify", SCAN, "--box", "54,72,182,194"], 0, []),
    "classify": (["classify", SCAN, "--labels", "a,b"], (0, 2), []),
    "report": (["report", SCAN, "--grounded"], (0, 2), []),
    "mcp": (["mcp"], 0, []),
    "chat": (["chat", SCAN], 0, []),
    "batch of lines": (["batch", "q.jsonl", "--out", "a.jsonl"], 0, ["a.jsonl*"]),
    "model list": (["model", "list"], 0, []),
    "model info": (["model", "info"], 0, []),
    "model verify": (["model", "verify"], 0, []),
    "model path": (["model", "path"], 0, []),
    "bundle create": (["bundle", "create", "b.zip", "--wheels", "wheels"], 0, ["b.zip"]),
    "bundle verify": (["bundle", "verify", "in/letter.png"], 4, []),
    "usage": (["ask"], 2, []),
    "ask about a series": (["ask", "series", LOCATE, "--slice", "1", "--json"], 0, []),
}


def prepared(folder):
    folder.mkdir()
    (folder / "in").mkdir()
    Image.fromarray(np.random.default_rng(0).integers(0, 255, (64, 64), dtype=np.uint8)).save(folder / "in" / "a.png")
    (folder / "in" / "letter.png").write_text("no image")
    row = {"id": 1, "image": "in/a.png", "question": LOCATE}
    (folder / "q.jsonl").write_text(json.dumps(row) + "\n")
    (folder / "series").mkdir()
    for number in range(3):
        (folder / "series" / f"{number}.dcm").write_bytes(dicom(np.arange(256, dtype="u2").reshape(16, 16) + number))
    (folder / "wheels").mkdir()
    wheel(folder / "wheels", "medrega-edge", __version__)
    return folder


def is_named(path, folder, names):
    """Whether a written path is one of `names` in `folder`, or the temporary file beside it that becomes it."""
    path = os.path.relpath(folder / path, folder)
    if path.startswith(".medrega-") and path.endswith(".tmp"):
        return bool(names)
    return any(path == name or (name.endswith("*") and path.startswith(name[:-1])) for name in names)


def check(folder, arguments, code, names, before=()):
    there = set(prepared(folder).iterdir())
    run, sockets, written = traced(folder, *arguments, stdin=b"locate the liver\n\n", before=before)
    assert run.returncode in (code if isinstance(code, tuple) else (code,)), run.stderr.decode()
    assert sockets == []
    assert {path for path in written if not is_named(path, folder, names)} == set()
    assert set(folder.iterdir()) - there == {folder / name.rstrip("*") for name in names}


@pytest.mark.slow
@pytest.mark.parametrize("name", QUICK)
def test_no_socket_and_nothing_written_but_what_was_named(tmp_path, name):
    check(tmp_path / "here", *QUICK[name])


@pytest.mark.slow
@pytest.mark.parametrize("name", LONG)
def test_every_other_command_the_same(tmp_path, name):
    check(tmp_path / "here", *LONG[name])


# Runs a command, interrupts it when it has written two answers, and ends with its exit code.
INTERRUPTED_AFTER_TWO_ANSWERS = """
import glob, signal, subprocess, sys, time
process = subprocess.Popen(sys.argv[1:])
while len(glob.glob("answers/*.jsonl")) < 2 and process.poll() is None:
    time.sleep(0.05)
process.send_signal(signal.SIGINT)
sys.exit(process.wait())
"""


@pytest.mark.slow
def test_watching_the_same(tmp_path):
    arguments = ["watch", "in", "--question", LOCATE, "--out", "answers", "--settle", "0.1"]
    check(tmp_path / "here", arguments, 130, ["answers*"], before=[sys.executable, "-c", INTERRUPTED_AFTER_TWO_ANSWERS])
    assert len(list((tmp_path / "here" / "answers").glob("*.jsonl"))) == 2


# Starts a server, asks it over its listener, stops it, and ends with its exit code.
ASKED_AND_STOPPED = """
import json, signal, subprocess, sys, urllib.request
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, text=True)
line = next(line for line in process.stderr if "http://" in line)
url = line[line.index("http://"):].split(";")[0]
scan = open({scan!r}, "rb").read()
image = json.load(urllib.request.urlopen(url + "/v1/images", scan))["id"]
body = json.dumps({{"image": {{"id": image}}, "question": "outline the liver", "kind": "sr"}}).encode()
for path in ("regions", "picture", "objects"):
    assert urllib.request.urlopen(url + "/v1/" + path, body).read()
assert urllib.request.urlopen(url + "/").status == 200
process.send_signal(signal.SIGTERM)
process.stderr.read()
sys.exit(process.wait())
"""


@pytest.mark.slow
def test_a_server_listens_on_loopback_and_does_nothing_else(tmp_path):
    """Connections of the asking program are to the listener; the server itself connects to nothing and writes nothing."""
    pytest.importorskip("starlette")
    folder = prepared(tmp_path / "here")
    there = set(folder.iterdir())
    asking = [sys.executable, "-c", ASKED_AND_STOPPED.format(scan=str(SCAN))]
    run, sockets, written = traced(folder, "serve", "--port", "0", before=asking)
    assert run.returncode == 0, run.stderr.decode()
    addresses = {address for call in sockets for address in re.findall(r'inet_addr\("([^"]*)"\)', call)}
    assert addresses == {"127.0.0.1"} and not any("AF_INET6" in call and "connect" in call for call in sockets)
    bound = [call for call in sockets if call.startswith("bind(")]
    assert len(bound) == 1 and "127.0.0.1" in bound[0]
    assert written == set() and set(folder.iterdir()) == there


NODE = """
peer = [
  {{ name = "scanner", ae_title = "SCANNER", address = "127.0.0.1" }},
  {{ name = "archive", ae_title = "ARCHIVE", address = "127.0.0.1", port = {port} }},
  {{ name = "other", ae_title = "OTHER", address = "127.0.0.1", port = 1 }},
]
rule = [{{ name = "liver", question = "locate the liver", outputs = ["sr"], send_to = "archive" }}]
[node]
port = 0
quiet_seconds = 0.2
"""

# Starts a node, sends it a scan as a scanner would, stops it when its result was delivered, and ends with its exit code.
SENT_AND_STOPPED = """
import signal, subprocess, sys
from pydicom import dcmread
from pynetdicom import AE
process = subprocess.Popen(sys.argv[1:], stderr=subprocess.PIPE, text=True)
port = next(int(line.split(" port ")[1].split(";")[0]) for line in process.stderr if " port " in line)
scan = dcmread({scan!r})
scanner = AE("SCANNER")
scanner.add_requested_context(scan.SOPClassUID, scan.file_meta.TransferSyntaxUID)
association = scanner.associate("127.0.0.1", port, ae_title="MEDREGA")
assert association.send_c_store(scan).Status == 0
association.release()
print(port, next(line for line in process.stderr if "delivered" in line))
process.send_signal(signal.SIGTERM)
process.stderr.read()
sys.exit(process.wait())
"""


@pytest.mark.slow
def test_a_node_calls_the_peer_that_gets_its_results_and_nobody_else(tmp_path):
    """Besides the scanner's call to the listener there is one to the archive; only its folder is written."""
    pytest.importorskip("pynetdicom", reason="needs the extra 'pacs'")
    from pynetdicom import AE, StoragePresentationContexts, evt

    archive = AE("ARCHIVE")
    archive.supported_contexts = StoragePresentationContexts
    server = archive.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_C_STORE, lambda _: 0)])
    folder = prepared(tmp_path / "here")
    port = server.server_address[1]
    (folder / "node.toml").write_text(NODE.format(port=port))
    sending = [sys.executable, "-c", SENT_AND_STOPPED.format(scan=str(SCAN))]
    run, sockets, written = traced(folder, "node", "run", "node.toml", before=sending)
    server.shutdown()
    assert run.returncode == 143, run.stderr.decode()
    own = int(run.stdout.split()[0])
    # Calls to port 0 are the C library's, which compares addresses so and sends nothing.
    connected = [call for call in sockets if call.startswith("connect(") and "htons(0)" not in call]
    assert {int(number) for call in connected for number in re.findall(r"htons\((\d+)\)", call)} == {own, port}
    assert all('inet_addr("127.0.0.1")' in call for call in connected), connected
    bound = [call for call in sockets if call.startswith("bind(") and "htons(0)" not in call]
    assert bound == [] or all(f"htons({own})" in call for call in bound)
    assert {path for path in written if not os.path.relpath(folder / path, folder).startswith("state")} == set()


@pytest.mark.parametrize("form", ["DICOM", "NIfTI"])
def test_what_pydicom_would_import_stays_out_and_can_be_imported_later(tmp_path, form):
    """`requests` binds a socket when it is imported, and pydicom, which nibabel imports too, imports it if installed."""
    path = SCAN
    if form == "NIfTI":
        nibabel = pytest.importorskip("nibabel")
        path = tmp_path / "volume.nii"
        path.write_bytes(nibabel.Nifti1Image(np.zeros((16, 16, 16), np.int16), np.eye(4)).to_bytes())
    (tmp_path / "requests.py").touch()
    probe = (
        "import sys; from medrega_edge.images.medical_image import View; from medrega_edge.images.reader import read_image\n"
        f"read_image({str(path)!r}, View(slice={3 if form == 'NIfTI' else None}))\n"
        "assert 'pydicom' in sys.modules and 'requests' not in sys.modules; import requests"
    )
    environment = os.environ | {"PYTHONPATH": os.pathsep.join([str(tmp_path), *sys.path])}
    run = subprocess.run([sys.executable, "-c", probe], env=environment, capture_output=True, check=False)
    assert run.returncode == 0, run.stderr


def test_a_socket_would_be_seen(tmp_path):
    """The trace tells a command that calls out: the same strace, another program."""
    (tmp_path / "medrega_edge").mkdir()
    (tmp_path / "medrega_edge" / "__init__.py").touch()
    code = "import socket; socket.socket(); open('secret', 'w')"
    (tmp_path / "medrega_edge" / "__main__.py").write_text(code)
    _, sockets, written = traced(tmp_path)
    assert sockets
    assert written == {"secret"}
