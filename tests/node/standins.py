"""A queue in memory in place of the store, a configuration, certificates, and a receiver with all that it told."""

import os
import shutil
import subprocess
import threading
import time
from contextlib import contextmanager

import numpy as np
import pytest

from medrega_edge.node.config import Limits, Peer
from medrega_edge.node.receiving import MEGABYTE
from medrega_edge.node.records import Outcome
from tests.edge.dicoms import dicom
from tests.node.nodes import config

NODE, SCANNER = "NODE", "CT1"
IDLE = 0.4  # seconds for which the tests let a peer be silent


class Queue:
    """What the receiver asks of the store, in memory; `most` instances of a study."""

    def __init__(self, most=1000):
        self.most, self.files, self.peers, self._lock = most, {}, [], threading.Lock()
        self.fault = None

    def receive(self, data, header, peer):
        if self.fault is not None:
            raise self.fault
        with self._lock:
            uid, study = header["SOPInstanceUID"], header["StudyInstanceUID"]
            if uid in self.files:
                return Outcome.KNOWN if self.files[uid][0] == data else Outcome.CONFLICT
            if sum(other == study for _, other in self.files.values()) >= self.most:
                return Outcome.FULL
            self.files[uid] = data, study
            self.peers.append(peer)
            return Outcome.ADDED

    def holds(self, sop_uids):
        return set(sop_uids) & self.files.keys()


def configuration(peers=None, tls=None, folder=None, **limits):
    """A configuration of a node on loopback that one scanner may send to."""
    limits = {"idle_seconds": IDLE, "instance_megabytes": 1} | limits
    timing = {"quiet_seconds": 1.0, "longest_seconds": 10.0}
    peers = tuple(peers or [scanner()])
    return config(folder, ae_title=NODE, tls=tls, limits=Limits(**limits), peers=peers, rules=(), **timing)


def scanner(**other):
    return Peer(**({"name": "ct", "ae_title": SCANNER, "address": "127.0.0.1"} | other))


class Running:
    """A receiver that listens at `port`, the `queue` behind it, and the `events` that it told."""

    def __init__(self, config, queue):
        from medrega_edge.node.receiver import Receiver

        self.config, self.queue, self.events = config, queue, []
        self.receiver = Receiver(config, queue, self._tell)
        self.port = self.receiver.start()

    def _tell(self, event, /, **fields):
        self.events.append({"event": event, **fields})

    def told(self, event="refused"):
        """The codes, or outcomes, of events of a kind."""
        return [each.get("code", each.get("outcome")) for each in self.events if each["event"] == event]

    @property
    def budget(self):
        return self.receiver._server.budget

    def associations(self):
        return self.receiver._entity.active_associations


@contextmanager
def running(config=None, queue=None):
    """A receiver, which has to leave no thread and no memory behind."""
    before = set(threading.enumerate())
    node = Running(config or configuration(), queue or Queue())
    try:
        yield node
        wait_until(lambda: not node.associations(), "an association does not end")
        assert node.budget.left == 2 * node.config.limits.instance_megabytes * MEGABYTE
    finally:
        node.receiver.stop()
    wait_until(lambda: set(threading.enumerate()) <= before, "a thread is left behind")


def wait_until(is_so, what, seconds=10):
    end = time.monotonic() + seconds
    while not is_so():
        assert time.monotonic() < end, what
        time.sleep(0.005)


def instance(values=None, study="1.2.3", series="1.2.3.4", **tags):
    """A CT slice as a Part 10 file."""
    from pydicom.uid import CTImageStorage

    values = np.arange(256, dtype="u2").reshape(16, 16) if values is None else values
    header = {"StudyInstanceUID": study, "SeriesInstanceUID": series, "Modality": "CT", "PatientName": "Doe^Jane"}
    kept = {name: value for name, value in (header | tags).items() if value is not None}
    return dicom(values, kind=CTImageStorage, **kept)


def dcmtk(program):
    """The path of a program of dcmtk; pynetdicom installs some of the same names."""
    for folder in os.get_exec_path():
        found = shutil.which(program, path=folder)
        if found and b"$dcmtk" in subprocess.run([found, "--version"], capture_output=True, check=False).stdout:
            return found
    return pytest.skip(f"{program} of dcmtk is not installed")


def certificates(folder):
    """An authority, its certificates for a node and a peer on loopback, and a stranger's, as (certificate, key) by name."""
    if shutil.which("openssl") is None:
        pytest.skip("openssl is not there")
    made = {}
    for name in ("authority", "node", "peer", "stranger"):
        made[name] = folder / f"{name}.pem", folder / f"{name}.key"
        command = [
            "openssl",
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
        ]
        command += ["-keyout", made[name][1], "-out", made[name][0], "-subj", f"/CN={name}"]
        if name in ("node", "peer"):
            authority, key = made["authority"]
            command += ["-CA", authority, "-CAkey", key, "-addext", "subjectAltName=IP:127.0.0.1"]
            command += ["-addext", "basicConstraints=critical,CA:FALSE"]
        else:  # Python 3.13 asks authorities for it, as RFC 5280 does
            command += ["-addext", "keyUsage=critical,keyCertSign,cRLSign"]
        subprocess.run(command, check=True, capture_output=True)
    return made
