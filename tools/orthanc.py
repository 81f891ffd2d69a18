"""Debian's Orthanc with DICOMweb on free ports of this machine, for trials: `python -m tools.orthanc [--node PORT]`.

It has a configuration and a database of its own in a temporary folder, which go with it. A service of Debian's that runs
beside it is left alone. `--node PORT` names a node MEDREGA on this machine; series of CT and MR are forwarded to it.
"""

import argparse
import json
import shutil
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from contextlib import contextmanager
from pathlib import Path

from tools.fuzz_images import print_line

PROGRAM = shutil.which("Orthanc", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin")
PLUGIN = next(Path("/usr").glob("share/orthanc/plugins/libOrthancDicomWeb.so*"), None)
STORESCU = shutil.which("storescu", path="/usr/bin:/usr/local/bin")  # dcmtk's; pynetdicom has another of this name
TITLE = "ORTHANC"
SECONDS = 60  # for a start
# Forwards what the node has rules for, and not what it makes of them: SR, PR, SEG, OT and DOC.
FORWARD = """
function OnStableSeries(id, tags, metadata)
  if tags['Modality'] == 'CT' or tags['Modality'] == 'MR' then
    RestApiPost('/modalities/medrega/store', '{"Resources": ["' .. id .. '"], "Synchronous": false}', false)
  end
end
"""


def missing():
    """What is not installed, as a sentence; None if all is there."""
    wanted = {"Orthanc": PROGRAM, "orthanc-dicomweb": PLUGIN, "storescu": STORESCU}
    names = [name for name, path in wanted.items() if path is None]
    return f"{', '.join(names)} not installed: apt-get install orthanc orthanc-dicomweb dcmtk" if names else None


def free_port():
    """A port that no program of this machine listens on."""
    with socket.socket() as one:
        one.bind(("127.0.0.1", 0))
        return one.getsockname()[1]


class Orthanc:
    """A running archive: `dicom` is its port, `web` the address of its REST service, `dicomweb` what DICOMweb is at."""

    def __init__(self, folder, process, dicom, http):
        self.folder, self.process, self.dicom = folder, process, dicom
        self.web = f"http://127.0.0.1:{http}"
        self.dicomweb = f"dicomweb://127.0.0.1:{http}/dicom-web"

    def get(self, path):
        """The JSON of a path of the REST service."""
        with urllib.request.urlopen(f"{self.web}{path}", timeout=30) as answer:
            return json.load(answer)

    def file(self, instance):
        """The bytes of an instance, by Orthanc's own name for it."""
        with urllib.request.urlopen(f"{self.web}/instances/{instance}/file", timeout=30) as answer:
            return answer.read()

    def post(self, path, body):
        """Post JSON, or bytes; returns the JSON of the answer."""
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        with urllib.request.urlopen(urllib.request.Request(f"{self.web}{path}", data), timeout=60) as answer:
            return json.load(answer)

    def found(self, level, **query):
        """Orthanc's own names of what C-FIND would find."""
        return self.post("/tools/find", {"Level": level, "Query": query})

    def send(self, *paths):
        """Send files by dcmtk's storescu, as a scanner would."""
        words = [STORESCU, "-aet", "SCANNER", "-aec", TITLE, "127.0.0.1", str(self.dicom), *map(str, paths)]
        run = subprocess.run(words, capture_output=True, text=True, check=False)
        assert run.returncode == 0, run.stderr

    def log(self):
        """The end of its log."""
        return (self.folder / "log").read_text("utf-8", "replace")[-4000:]


def configuration(folder, dicom, http, node=None, lua=""):
    """The configuration of an archive that programs of this machine alone may use."""
    (folder / "forward.lua").write_text(lua, encoding="utf-8")
    return {
        "Name": "trial", "StorageDirectory": str(folder / "storage"), "IndexDirectory": str(folder / "storage"),
        "DicomAet": TITLE, "DicomPort": dicom, "HttpPort": http, "RemoteAccessAllowed": False,
        "AuthenticationEnabled": False, "Plugins": [str(PLUGIN)], "StableAge": 1,
        "DicomAlwaysAllowStore": True, "DicomModalities": {"medrega": ["MEDREGA", "127.0.0.1", node]} if node else {},
        "LuaScripts": [str(folder / "forward.lua")] if lua else [], "OverwriteInstances": False,
        "DicomWeb": {"Enable": True, "Root": "/dicom-web/", "EnableWado": False},
    }  # fmt: skip


@contextmanager
def running(node=None, lua=""):
    """Start one that knows a node MEDREGA at a port, and runs a script in Lua; yields an Orthanc, and stops it."""
    with tempfile.TemporaryDirectory(prefix="orthanc-") as place:
        folder = Path(place)
        dicom, http = free_port(), free_port()
        (folder / "orthanc.json").write_text(json.dumps(configuration(folder, dicom, http, node, lua)), encoding="utf-8")
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen([PROGRAM, str(folder / "orthanc.json")], stdout=log, stderr=log, cwd=folder)
        archive = Orthanc(folder, process, dicom, http)
        try:
            _wait(archive)
            yield archive
        finally:
            process.terminate()
            try:
                process.wait(30)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait(archive):
    """Wait until it answers; raises RuntimeError with its log if it ends or takes too long."""
    until = time.monotonic() + SECONDS
    while time.monotonic() < until and archive.process.poll() is None:
        try:
            archive.get("/dicom-web/studies")
            return
        except (urllib.error.URLError, ConnectionError, ValueError):
            time.sleep(0.1)
    raise RuntimeError(f"Orthanc did not start:\n{archive.log()}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--node", type=int, help="Port of a node MEDREGA on this machine.")
    given = parser.parse_args()
    if problem := missing():
        raise SystemExit(problem)
    with running(given.node, FORWARD if given.node else "") as archive:
        print_line(f"DICOM {TITLE} 127.0.0.1:{archive.dicom}; {archive.web}; {archive.dicomweb}; Ctrl-C ends it")
        try:
            archive.process.wait()
        except KeyboardInterrupt:
            pass


if __name__ == "__main__":
    main()
