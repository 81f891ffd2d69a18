"""Results on their way: C-STORE to an archive of pynetdicom's or dcmtk's, STOW-RS to an archive of bytes."""

import io
import json
import socket
import subprocess
import threading
from contextlib import contextmanager, suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra 'pacs'")
pytest.importorskip("dicomweb_client", reason="needs the extra 'pacs'")

import numpy as np
from pydicom import dcmread
from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, MRImageStorage, generate_uid
from pynetdicom import AE, evt

from medrega_edge.node.config import Tls
from medrega_edge.node.made import MadeObject
from medrega_edge.node.sender import DeliveryError, RefusedError, deliver, echo
from medrega_edge.node.stow import session_with
from tests.node.standins import NODE, certificates, configuration, dcmtk, instance, scanner, wait_until

ARCHIVE = "ARCHIVE"
VERIFICATION = "1.2.840.10008.1.1"


def made_object(sop_class=CTImageStorage):
    uid = generate_uid(prefix=None)
    return MadeObject("sc", sop_class, uid, instance(SOPInstanceUID=uid, SOPClassUID=sop_class))


class Archive:
    """An archive at `peer`, with what it `got`, as bytes of the data set by UID; it answers with `status`."""

    def __init__(self, status=0x0000, kinds=(CTImageStorage,), tls=None, **peer):
        self.got, self.status, self.callers = {}, status, []
        entity = AE(ae_title=ARCHIVE)
        entity.require_called_aet = True
        entity.require_calling_aet = [NODE]
        entity.add_supported_context(VERIFICATION)
        for kind in kinds:
            entity.add_supported_context(kind, ExplicitVRLittleEndian)
        handlers = [(evt.EVT_C_STORE, self._store)]
        self.server = entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=handlers, ssl_context=tls)
        port = self.server.server_address[1]
        self.peer = scanner(**({"name": "archive", "ae_title": ARCHIVE, "port": port} | peer))

    def _store(self, event):
        uid = event.request.AffectedSOPInstanceUID
        status = self.status(uid) if callable(self.status) else self.status
        if status in (0, 0xB000):
            self.got[uid] = event.encoded_dataset(include_meta=False)
        return status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.server.shutdown()
        wait_until(lambda: not self.server.ae.active_associations, "an association does not end")


@pytest.fixture(autouse=True)
def no_thread_is_left():
    before = set(threading.enumerate())
    yield
    wait_until(lambda: set(threading.enumerate()) <= before, "a thread is left behind")


# ---- C-STORE


def test_objects_arrive_as_they_were_made():
    objects = [made_object() for _ in range(3)]
    with Archive() as archive:
        deliver(objects, archive.peer, configuration())
        deliver(objects, archive.peer, configuration())  # the same once more is the same
    assert list(archive.got) == [each.sop_uid for each in objects]
    assert all(each.data.endswith(archive.got[each.sop_uid]) for each in objects)


@pytest.mark.parametrize("status", [0x0000, 0xB000, 0xB007, 0x0107, 0x0111])
def test_a_warning_is_taken_for_stored_and_so_is_what_is_there_already(status):
    with Archive(status) as archive:
        deliver([made_object()], archive.peer, configuration())


@pytest.mark.parametrize(
    ("status", "is_permanent"),
    [(0xA700, False), (0xA701, False), (0x0110, False), (0x0124, False), (0xA900, True), (0xC000, True), (0x0122, True)],
)
def test_a_refused_object(status, is_permanent):
    with Archive(status) as archive, pytest.raises(DeliveryError, match=f"{status:04X}") as raised:
        deliver([made_object()], archive.peer, configuration())
    assert raised.value.is_permanent == is_permanent
    assert isinstance(raised.value, RefusedError) == is_permanent


def test_one_of_several_refused():
    """The others are sent nevertheless; what can heal decides over what cannot."""
    objects = [made_object() for _ in range(3)]
    statuses = {objects[0].sop_uid: 0xC000, objects[1].sop_uid: 0xA700, objects[2].sop_uid: 0}
    with Archive(statuses.get) as archive:
        with pytest.raises(DeliveryError) as raised:
            deliver(objects, archive.peer, configuration())
        assert not raised.value.is_permanent and list(archive.got) == [objects[2].sop_uid]


def test_a_kind_that_the_archive_does_not_take():
    objects = [made_object(), made_object(MRImageStorage)]
    with Archive() as archive:
        for sent in (objects, objects[1:]):
            with pytest.raises(RefusedError) as raised:
                deliver(sent, archive.peer, configuration())
            assert raised.value.code == "deliver.kind_refused"
    assert list(archive.got) == [objects[0].sop_uid]


def test_an_archive_that_does_not_know_the_node():
    with Archive() as archive, pytest.raises(DeliveryError) as raised:
        deliver([made_object()], scanner(name="a", ae_title="OTHER", port=archive.peer.port), configuration())
    assert raised.value.code == "deliver.peer_rejects" and not raised.value.is_permanent


def test_nobody_there():
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))  # bound, and nobody listens
        peer = scanner(port=taken.getsockname()[1])
        for call in (lambda: deliver([made_object()], peer, configuration()), lambda: echo(peer, configuration())):
            with pytest.raises(DeliveryError) as raised:
                call()
            assert raised.value.code == "deliver.peer_away" and not raised.value.is_permanent


NONSENSE = [
    *(b"", b"HTTP/1.1 400 Bad Request\r\n\r\n", b"\x03\0\0\0\0\4\0\1"),  # the last two bytes are missing
    *(b"\x02\0\0\0\1\0abc", b"\x02\0\xff\xff\xff\xff", b"\x02\0\0\0\0\x08garbage!", b"\4\0\0\0\0\x06\0\0\0\2\1\3"),
]


@pytest.mark.parametrize("says", NONSENSE, ids=range(len(NONSENSE)))
def test_a_peer_that_answers_nothing_or_nonsense(says):
    with socket.create_server(("127.0.0.1", 0)) as server:

        def answer():
            connection, _ = server.accept()
            with connection, suppress(OSError):
                connection.sendall(says)
                while connection.recv(100_000):  # until the node hangs up
                    pass

        thread = threading.Thread(target=answer)
        thread.start()
        with pytest.raises(DeliveryError) as raised:
            deliver([made_object()], scanner(port=server.getsockname()[1]), configuration())
        assert not raised.value.is_permanent
        thread.join()


def test_an_archive_that_aborts_in_the_midst():
    archive = Archive()
    with archive:
        archive.server.bind(evt.EVT_C_STORE, lambda event: event.assoc.abort() or 0)
        with pytest.raises(DeliveryError) as raised:
            deliver([made_object(), made_object()], archive.peer, configuration())
    assert raised.value.code == "deliver.no_answer" and not raised.value.is_permanent


def test_an_echo():
    with Archive() as archive:
        echo(archive.peer, configuration())
    echo(scanner(stow="https://archive/dicom-web"), configuration())  # has no port to ask


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("certificates"))


def server_side(made, name="peer"):
    import ssl

    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=made["authority"][0])
    context.verify_mode = ssl.CERT_REQUIRED
    context.load_cert_chain(*made[name])
    return context


def test_an_archive_with_tls(made):
    config = configuration(tls=Tls(*made["node"], made["authority"][0]))
    with Archive(tls=server_side(made)) as archive:
        peer = scanner(name="archive", ae_title=ARCHIVE, port=archive.peer.port, tls=True)
        deliver([made_object()], peer, config)
        assert len(archive.got) == 1
        with pytest.raises(DeliveryError):  # without TLS
            deliver([made_object()], archive.peer, config)
    assert len(archive.got) == 1


def test_an_archive_with_the_certificate_of_a_stranger_gets_nothing(made):
    config = configuration(tls=Tls(*made["node"], made["authority"][0]))
    with Archive(tls=server_side(made, "stranger")) as archive:
        peer = scanner(name="archive", ae_title=ARCHIVE, port=archive.peer.port, tls=True)
        with pytest.raises(DeliveryError) as raised:
            deliver([made_object()], peer, config)
    assert raised.value.code == "deliver.peer_away" and archive.got == {}


def test_storescp_of_dcmtk(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    program = subprocess.Popen(
        [dcmtk("storescp"), "-aet", ARCHIVE, "-od", str(tmp_path), str(port)], stderr=subprocess.DEVNULL
    )
    try:
        peer = scanner(name="archive", ae_title=ARCHIVE, port=port)

        def is_there():
            try:
                echo(peer, configuration())
            except DeliveryError:
                return False
            return True

        wait_until(is_there, "storescp does not come")
        objects = [made_object() for _ in range(3)]
        deliver(objects, peer, configuration())
        got = [dcmread(path) for path in tmp_path.iterdir()]
    finally:
        program.terminate()
        program.wait()
    assert {each.SOPInstanceUID for each in got} == {each.sop_uid for each in objects}


# ---- STOW-RS


@contextmanager
def web(answer, tls=None):
    """An archive over HTTP: `answer(request)` gives (status, headers, body). Gives (its URL, the requests that it got)."""
    got = []

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self):
            if self.headers.get("Transfer-Encoding") == "chunked":
                body = b""
                while size := int(self.rfile.readline(), 16):
                    body += self.rfile.read(size)
                    self.rfile.readline()
                self.rfile.readline()
            else:
                body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
            got.append((self.command, self.path, dict(self.headers), body))
            status, headers, said = answer(self)
            self.send_response(status)
            for name, value in {"Content-Length": str(len(said)), **headers}.items():
                self.send_header(name, value)
            self.end_headers()
            self.wfile.write(said)

        do_GET = do_POST

        def log_message(self, *_):
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    if tls is not None:
        server.socket = tls.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever, args=(0.05,))
    thread.start()
    try:
        yield f"http{'s' if tls else ''}://127.0.0.1:{server.server_address[1]}/dicom-web", got
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


def stored(request):
    return 200, {"Content-Type": "application/dicom+json"}, json.dumps({}).encode()


def test_objects_go_in_one_request_with_the_token(tmp_path):
    (tmp_path / "token").write_text("secret-token\n")
    objects = [made_object(), made_object()]
    with web(stored) as (url, got):
        deliver(objects, scanner(name="pacs", stow=url, token_file=tmp_path / "token"), configuration())
    ((method, path, headers, body),) = got
    assert (method, path) == ("POST", "/dicom-web/studies")
    assert headers["Authorization"] == "Bearer secret-token" and headers["Content-Type"].startswith("multipart/related")
    assert headers["Host"] == url.split("/")[2]
    parts = [part.partition(b"\r\n\r\n")[2] for part in body.split(b"\r\n--")[1:-1]]
    assert [dcmread(io.BytesIO(part)).SOPInstanceUID for part in parts] == [each.sop_uid for each in objects]


@pytest.mark.parametrize(
    ("status", "is_permanent"),
    [
        (400, True),
        (401, False),
        (403, False),
        (404, False),
        (409, True),
        (413, True),
        (429, False),
        (500, False),
        (503, False),
    ],
)
def test_another_status(status, is_permanent):
    with web(lambda _: (status, {}, b"Doe^Jane")) as (url, got), pytest.raises(DeliveryError, match=str(status)) as raised:
        deliver([made_object()], scanner(name="pacs", stow=url), configuration())
    assert raised.value.is_permanent == is_permanent and "Doe" not in str(raised.value)
    assert len(got) == 1  # the queue tries again, not the library


FAILED = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA700]}}]}}
NEVER = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0xA900]}}]}}
THERE = {"00081198": {"vr": "SQ", "Value": [{"00081197": {"vr": "US", "Value": [0x0111]}}]}}
JSON = {"Content-Type": "application/dicom+json; charset=utf-8"}
XML = {"Content-Type": "application/dicom+xml"}


@pytest.mark.parametrize(
    ("status", "headers", "body", "is_permanent"),
    [
        (202, JSON, json.dumps(FAILED), False),
        (200, JSON, json.dumps(FAILED), False),  # some archives do so
        (202, JSON, json.dumps([NEVER]), True),
        (202, {}, "", False),
        (202, JSON, "[1", False),
        (
            200,
            XML,
            '<NativeDicomModel><DicomAttribute tag="00081198" vr="SQ" keyword="FailedSOPSequence"/></NativeDicomModel>',
            False,
        ),
    ],
)
def test_what_is_not_stored_is_never_taken_for_stored(status, headers, body, is_permanent):
    with web(lambda _: (status, headers, body.encode())) as (url, _), pytest.raises(DeliveryError) as raised:
        deliver([made_object()], scanner(name="pacs", stow=url), configuration())
    assert raised.value.code == "deliver.not_all_stored" and raised.value.is_permanent == is_permanent


@pytest.mark.parametrize(
    ("status", "headers", "body"),
    [
        (200, {}, ""),
        (200, JSON, "{}"),
        (202, JSON, "{}"),
        (202, JSON, json.dumps(THERE)),
        (200, XML, "<a>"),
        (200, {}, "ok"),
    ],
)
def test_stored(status, headers, body):
    with web(lambda _: (status, headers, body.encode())) as (url, got):
        deliver([made_object()], scanner(name="pacs", stow=url), configuration())
    assert len(got) == 1


@pytest.mark.parametrize("status", [301, 302, 303, 307, 308])
def test_a_redirect_is_not_followed(status):
    """Neither to another host nor on the same one: what was agreed is one URL."""
    with web(stored) as (other, elsewhere), web(lambda _: (status, {"Location": other + "/studies"}, b"")) as (url, got):
        with pytest.raises(RefusedError) as raised:
            deliver([made_object()], scanner(name="pacs", stow=url), configuration())
        assert raised.value.code == "deliver.redirected" and len(got) == 1 and elsewhere == []
    with web(lambda r: (307, {"Location": "/elsewhere"}, b"")) as (url, got):
        with pytest.raises(RefusedError):
            deliver([made_object()], scanner(name="pacs", stow=url), configuration())
        assert len(got) == 1


def test_the_environment_has_no_say(monkeypatch, tmp_path):
    """Neither a proxy nor a password of the user's."""
    with web(stored) as (proxy, elsewhere), web(stored) as (url, got):
        for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "ALL_PROXY"):
            monkeypatch.setenv(name, proxy)
        (tmp_path / ".netrc").write_text("machine 127.0.0.1 login user password pass\n")
        monkeypatch.setenv("NETRC", str(tmp_path / ".netrc"))
        deliver([made_object()], scanner(name="pacs", stow=url), configuration())
        assert elsewhere == [] and "Authorization" not in got[0][2]


def test_a_large_object_goes_in_pieces():
    large = MadeObject("seg", CTImageStorage, "1.2.3", instance(np.zeros((1200, 1200), "u2"), SOPInstanceUID="1.2.3"))
    with web(stored) as (url, got):
        deliver([large], scanner(name="pacs", stow=url), configuration())
    assert len(got[0][3]) > len(large.data) > 2_000_000


def test_an_archive_over_https(made):
    """Its certificate is of the authority, and it gets the node's; a stranger's archive gets nothing."""
    config = configuration(tls=Tls(*made["node"], made["authority"][0]))
    with web(stored, server_side(made)) as (url, got):
        deliver([made_object()], scanner(name="pacs", stow=url, tls=True), config)
        assert len(got) == 1
        for peer in (
            scanner(name="pacs", stow=url),
            scanner(name="pacs", stow=url.replace("127.0.0.1", "localhost"), tls=True),
        ):
            with pytest.raises(DeliveryError):  # without a certificate, and by another name than the archive's
                deliver([made_object()], peer, config)
    with web(stored, server_side(made, "stranger")) as (url, other), pytest.raises(DeliveryError) as raised:
        deliver([made_object()], scanner(name="pacs", stow=url, tls=True), config)
    assert raised.value.code == "deliver.peer_away" and len(got) == 1 and other == []


def test_a_session_reaches_no_other_place():
    import requests

    with session_with(scanner(name="pacs", stow="http://127.0.0.1:1/dicom-web/"), configuration()) as session:
        for url in (
            "http://127.0.0.1:1/other",
            "http://127.0.0.1:1/dicom-web",
            "https://example.org/",
            "http://127.0.0.1:12/dicom-web/",
        ):
            with pytest.raises(requests.exceptions.InvalidSchema):
                session.post(url, data=b"x")


def test_an_archive_that_never_answers():
    with socket.create_server(("127.0.0.1", 0)) as server:
        peer = scanner(name="pacs", stow=f"http://127.0.0.1:{server.getsockname()[1]}/dicom-web")
        with pytest.raises(DeliveryError) as raised:
            deliver([made_object()], peer, configuration())
    assert raised.value.code == "deliver.peer_away"


@pytest.mark.parametrize("token", [None, "", "two words", "line\nend"])
def test_a_token_that_cannot_be_sent(tmp_path, token):
    if token is not None:
        (tmp_path / "token").write_text(token)
    with web(stored) as (url, got), pytest.raises(DeliveryError) as raised:
        deliver([made_object()], scanner(name="pacs", stow=url, token_file=tmp_path / "token"), configuration())
    assert raised.value.code == "deliver.no_token" and got == []
