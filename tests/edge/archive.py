"""An archive that speaks DICOMweb, for tests: it holds files in memory, and answers wrongly where a test wants it to."""

import io
import json
import ssl
import threading
from contextlib import contextmanager
from fnmatch import fnmatchcase
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from urllib.parse import parse_qsl, urlsplit

import pydicom

ROOT = "/dicom-web"
LEVELS = ("StudyInstanceUID", "SeriesInstanceUID", "SOPInstanceUID")
TAGS = ("0020000D", "0020000E", "00080018")
BOUNDARY = "0f3c2"


class Archive:
    """`faults` are asked first: each takes a path and the headers and returns (status, headers, body), or None.

    `asked` are the paths, with their queries. `page` is the most results of a search. `is_deaf` ignores filters.
    """

    def __init__(self, files, page=1000, is_deaf=False):
        self.files = {}
        for data in files:
            header = pydicom.dcmread(io.BytesIO(data), stop_before_pixels=True)
            self.files[tuple(str(header[level].value) for level in LEVELS)] = (data, header)
        self.page, self.is_deaf = page, is_deaf
        self.asked, self.faults, self.url = [], [], ""

    def names(self):
        return ["studies/{}/series/{}/instances/{}".format(*uids) for uids in self.files]

    def answer(self, path, headers):
        """Status, headers and body."""
        parts = urlsplit(path)
        steps = parts.path.removeprefix(ROOT).strip("/").split("/")
        uids, last = steps[1::2], steps[-1]
        if last == "metadata":
            found = [header for known, (_, header) in self.files.items() if known[:2] == (steps[1], steps[3])]
            return described([one.to_json_dict() for one in found])
        if len(steps) == 6:
            if tuple(uids) not in self.files:
                return 404, {}, b""
            kind = f'multipart/related; type="application/dicom"; boundary={BOUNDARY}'
            return 200, {"Content-Type": kind}, multipart(self.files[tuple(uids)][0])
        found = self.search(uids, dict(parse_qsl(parts.query)))
        return described(found) if found else (204, {}, b"")

    def search(self, uids, query):
        level = len(uids)
        offset, limit = int(query.pop("offset", 0)), min(self.page, int(query.pop("limit", 1000)))
        found = {}
        for known, (_, header) in self.files.items():
            fits = all(fnmatchcase(str(header.get(word, "")), value) for word, value in query.items())
            if list(known[:level]) == uids and (fits or self.is_deaf):
                found[known[level]] = {TAGS[level]: {"vr": "UI", "Value": [known[level]]}}
        return list(found.values())[offset : offset + limit]


def described(found):
    """An answer of QIDO-RS, or of metadata."""
    return 200, {"Content-Type": "application/dicom+json"}, json.dumps(found).encode()


def multipart(*files):
    """The body of an answer of WADO-RS."""
    head = f"--{BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n".encode()
    return b"".join(head + data + b"\r\n" for data in files) + f"--{BOUNDARY}--\r\n".encode()


@contextmanager
def serving(archive, certificate=None):
    """Serve an archive on a free port of this machine, with TLS if there is a certificate; its `url` is its address."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self):
            archive.asked.append(self.path)
            for fault in archive.faults:
                if (answer := fault(self.path, self.headers)) is not None:
                    break
            else:
                answer = archive.answer(self.path, self.headers)
            status, headers, body = answer
            if status == 0:  # hangs up in the middle
                self.close_connection = True
                return
            self.send_response(status)
            for name, value in ({"Content-Length": str(len(body))} | headers).items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(body)
            self.close_connection = "Content-Length" in headers  # a wrong one: the rest never comes

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    if certificate:
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*certificate)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        server.handle_error = lambda *_: None  # a client that does not trust it hangs up
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
    thread.start()
    archive.url = f"dicomweb{'s' if certificate else ''}://127.0.0.1:{server.server_port}{ROOT}"
    try:
        yield archive
    finally:
        server.shutdown()
        server.server_close()
        thread.join()
