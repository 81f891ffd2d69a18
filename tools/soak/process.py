"""The node as a process: started, watched, killed, started again; its memory, threads, files and every line that it says."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from tools.soak.instances import PATIENT

START_SECONDS = 90.0  # a start that takes longer has failed
PAUSE = 0.5  # seconds before the next start, where one failed
UID = re.compile(r"\d+(\.\d+){4,}")


@dataclass
class Sample:
    """What the process took at a moment: seconds since the soak began, life of the node, instances answered in all."""

    seconds: float
    life: int
    answered: int
    rss_mb: float
    threads: int
    files: int


class Node:
    """`medrega node run` of a configuration; `port` while it is ready, else None."""

    def __init__(self, config):
        """Take the path of the configuration."""
        self._config, self.process, self.port, self.life = config, None, None, 0
        self.events, self.failures, self.told = Counter(), Counter(), []  # `told`: lines that name a UID or a patient
        self.failed_starts, self.kills = Counter(), 0
        self._ready, self._readers = threading.Event(), []

    def launch(self):
        """Start the process, and do not wait for it."""
        command = [sys.executable, "-m", "medrega_edge", "node", "run", str(self._config)]
        self._ready = threading.Event()
        self.life += 1
        self.process = subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env={**os.environ, "LC_ALL": "C.UTF-8"})
        reader = threading.Thread(target=self._read, args=(self.process, self._ready), daemon=True)
        reader.start()
        self._readers.append(reader)

    def start(self):
        """Start until it is ready, as a service manager does; returns the seconds."""
        begun = time.monotonic()
        while True:
            if self.process is None or self.process.poll() is not None:
                self.launch()
            while not self._ready.wait(0.02) and self.process.poll() is None:
                if time.monotonic() - begun > START_SECONDS:
                    raise TimeoutError("the node does not start")
            if self._ready.is_set():
                return time.monotonic() - begun
            self.failed_starts[self.process.returncode] += 1
            time.sleep(PAUSE)

    def kill(self):
        """End the process with SIGKILL."""
        self.port = None
        self.process.kill()
        self.process.wait()
        self.kills += 1

    def stop(self):
        """End it with SIGTERM; returns the exit code."""
        self.process.send_signal(signal.SIGTERM)
        code = self.process.wait(START_SECONDS)
        self.port = None
        for reader in self._readers:
            reader.join(10)
        return code

    def _read(self, process, ready):
        with process.stderr:
            for line in process.stderr:
                if UID.search(line) or PATIENT in line:
                    self.told.append(line)
                if line.startswith("{"):
                    event = json.loads(line)
                    self.events[event["event"]] += 1
                    if event["event"] in ("failed", "refused", "rejected", "postponed"):
                        self.failures[f"{event['event']} {event.get('part', '')} {event.get('code')}"] += 1
                elif " port " in line:
                    self.port = int(line.split(" port ")[1].split(";")[0])
                    ready.set()

    def sample(self, seconds, answered):
        """Return what it takes now, None where it does not run."""
        place = Path(f"/proc/{self.process.pid}")
        with suppress(OSError):
            status = dict(line.split(":", 1) for line in (place / "status").read_text().splitlines())
            files = len(list((place / "fd").iterdir()))
            if self.port is not None:
                kilobytes = int(status["VmRSS"].split()[0])
                return Sample(seconds, self.life, answered, kilobytes / 1024, int(status["Threads"]), files)
        return None
