"""A server of its own process, as `medrega serve` starts it."""

import json
import os
import re
import signal
import subprocess
import sys
import threading
import urllib.request
from contextlib import contextmanager
from pathlib import Path
from urllib.error import HTTPError

from medrega_edge.images.samples import sample_path

SCAN = sample_path("abdomen-mri")
READY = re.compile(r"(https?://\S+?)[;/]")


class Running:
    """`url` of the server, its `process`, and `lines`, what it has written on standard error."""

    def __init__(self, process, lines, url):
        self.process, self.lines, self.url = process, lines, url

    def request(self, path, body=None, headers=(), method=None, context=None):
        """Status, headers and body of a response; `body` is bytes or what becomes JSON."""
        if isinstance(body, tuple):  # a form
            (body,), headers = body, {**dict(headers), "Content-Type": "multipart/form-data; boundary=x7"}
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        asked = urllib.request.Request(self.url + path, data, dict(headers), method=method)
        try:
            with urllib.request.urlopen(asked, timeout=60, context=context) as response:
                return response.status, response.headers, response.read()
        except HTTPError as error:
            return error.code, error.headers, error.read()

    def json(self, path, body=None, status=200, **more):
        """The JSON of a response that has to have this status."""
        got, _, data = self.request(path, body, **more)
        assert got == status, data[:500]
        return json.loads(data)

    def send(self, data=None):
        """Send an image; return its id."""
        return self.json("/v1/images", SCAN.read_bytes() if data is None else data, status=201)["id"]

    def workers(self):
        """Process ids of the workers."""
        children = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        pids = [int(pid) for file in children for pid in file.read_text().split()]
        return [pid for pid in pids if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


@contextmanager
def running(*options, command="serve", environment=(), first="--port", port="0"):
    """Start `medrega COMMAND OPTIONS` on a free port, wait until it is ready, and stop it at the end."""
    words = [sys.executable, "-m", "medrega_edge", command, *map(str, options), first, port]
    own = {name: value for name, value in os.environ.items() if name != "MEDREGA_TOKEN"} | dict(environment)
    process = subprocess.Popen(
        words, stderr=subprocess.PIPE, stdout=subprocess.PIPE, text=True, env=own | {"LANG": "C.UTF-8"}
    )
    lines, url = [], None
    for line in process.stderr:
        lines.append(line)
        if (found := READY.search(line)) is not None:
            url = found[1]
            break
    assert url is not None, "".join(lines)
    reader = threading.Thread(target=lambda: lines.extend(process.stderr), daemon=True)
    reader.start()
    try:
        yield Running(process, lines, url)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        process.wait(timeout=60)
        reader.join(timeout=60)
        process.stdout.close()
        process.stderr.close()
