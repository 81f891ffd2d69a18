"""The receiver with peers that behave: pynetdicom's, and dcmtk's where it is installed."""

import io
import socket
import ssl
import subprocess
from contextlib import ExitStack
from dataclasses import replace

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra 'pacs'")

import numpy as np
from pydicom import dcmread
from pydicom.uid import (
    MPEG2MPML,
    ComprehensiveSRStorage,
    CTImageStorage,
    DeflatedExplicitVRLittleEndian,
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    GrayscaleSoftcopyPresentationStateStorage,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEGBaseline8Bit,
    JPEGLSLossless,
    MRImageStorage,
    RLELossless,
    SegmentationStorage,
    generate_uid,
)
from pynetdicom import AE, build_context

from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.images.medical_image import Source, View
from medrega_edge.images.samples import sample_path
from medrega_edge.node.config import Tls
from medrega_edge.node.entity import readable_syntaxes
from medrega_edge.node.events import short_hash
from medrega_edge.node.peer import Senders
from medrega_edge.node.receiver import Receiver
from medrega_edge.node.sender import echo
from medrega_edge.node.store import Store
from tests.node.raw_peer import RawPeer, association_request
from tests.node.standins import NODE, SCANNER, certificates, configuration, dcmtk, instance, running, scanner

SAMPLE = sample_path("abdomen-mri")
VERIFICATION = "1.2.840.10008.1.1"


def association(port, *contexts, title=SCANNER, called=NODE, tls=None, address="127.0.0.1"):
    entity = AE(ae_title=title)
    entity.acse_timeout = entity.dimse_timeout = entity.network_timeout = 10
    return entity.associate(address, port, contexts=list(contexts), ae_title=called, tls_args=tls)


def send(port, *datasets, **other):
    """The statuses of the answers to instances, sent by one association."""
    kinds = {(each.SOPClassUID, each.file_meta.TransferSyntaxUID) for each in datasets}
    opened = association(port, *(build_context(*kind) for kind in kinds), **other)
    assert opened.is_established
    statuses = [opened.send_c_store(each).Status for each in datasets]
    opened.release()
    return statuses


def as_dataset(data):
    return dcmread(io.BytesIO(data))


def encoded(dataset):
    """The bytes of a data set in the syntax that its file states, as a library writes them."""
    from pynetdicom.dsutils import encode

    syntax = dataset.file_meta.TransferSyntaxUID
    return encode(dataset, syntax.is_implicit_VR, syntax.is_little_endian, syntax.is_deflated)


def test_an_echo():
    with running() as node:
        opened = association(node.port, build_context(VERIFICATION))
        assert opened.send_c_echo().Status == 0x0000
        opened.release()
    assert node.events == []


def test_an_instance_is_stored_as_it_was_sent():
    with running() as node:
        dataset = dcmread(SAMPLE)
        assert send(node.port, dataset) == [0x0000]
        data, study = node.queue.files[dataset.SOPInstanceUID]
        assert data[:132] == bytes(128) + b"DICM" and data.endswith(encoded(dataset))
        stored = as_dataset(data)
        assert stored.file_meta.TransferSyntaxUID == dataset.file_meta.TransferSyntaxUID
        assert stored.file_meta.MediaStorageSOPInstanceUID == dataset.SOPInstanceUID
        assert (stored.pixel_array == dataset.pixel_array).all() and study == dataset.StudyInstanceUID
        assert node.queue.peers == ["ct"]
        hashes = {"instance": short_hash(dataset.SOPInstanceUID), "study": short_hash(study)}
        assert node.events == [{"event": "received", "peer": "ct", "outcome": "added", **hashes}]


PLAIN = [ImplicitVRLittleEndian, ExplicitVRLittleEndian, DeflatedExplicitVRLittleEndian, ExplicitVRBigEndian]


@pytest.mark.parametrize("syntax", PLAIN, ids=lambda syntax: syntax.keyword)
def test_every_uncompressed_syntax_is_stored_and_can_be_read(syntax):
    """In each of them our reader sees the same picture."""
    from medrega_edge.i18n.message import Message
    from medrega_edge.images.dicom.reader import read_dicom

    def pixels(data):
        return read_dicom(Source(data, Message("image.given"), None, ""), View()).pixels

    original = instance(np.arange(1024, dtype="u2").reshape(32, 32))
    dataset = as_dataset(original)
    if syntax == ExplicitVRBigEndian:
        dataset.PixelData = np.arange(1024, dtype=">u2").tobytes()
    dataset.file_meta.TransferSyntaxUID = syntax
    with running() as node:
        sent = dcmread_again(dataset, syntax)
        assert send(node.port, sent) == [0x0000]
        ((data, _),) = node.queue.files.values()
    assert (pixels(data) == pixels(original)).all()


def dcmread_again(dataset, syntax):
    """The data set as a library reads it from a file of this syntax."""
    buffer = io.BytesIO()
    kinds = {"implicit_vr": syntax.is_implicit_VR, "little_endian": syntax.is_little_endian}
    dataset._read_implicit = dataset._read_little = None  # what it was read from says nothing of what is written
    dataset.save_as(buffer, enforce_file_format=True, **kinds)
    return as_dataset(buffer.getvalue())


def test_the_compressed_syntaxes_are_those_with_a_decoder():
    assert {JPEGBaseline8Bit, JPEG2000Lossless, RLELossless, *PLAIN} <= set(readable_syntaxes())
    assert MPEG2MPML not in readable_syntaxes()


def test_a_compressed_instance_stays_compressed():
    from pydicom.data import get_testdata_file

    dataset = dcmread(get_testdata_file("MR_small_RLE.dcm"))
    with running() as node:
        assert send(node.port, dataset) == [0x0000]
        ((data, _),) = node.queue.files.values()
    assert as_dataset(data).file_meta.TransferSyntaxUID == RLELossless and dataset.PixelData in data


@pytest.mark.parametrize("syntax", [MPEG2MPML, *({JPEGLSLossless} - set(readable_syntaxes()))])
def test_a_syntax_that_nobody_here_can_read_is_not_agreed_to(syntax):
    with running() as node:
        opened = association(node.port, build_context(CTImageStorage, syntax), build_context(VERIFICATION))
        assert [cx.abstract_syntax for cx in opened.rejected_contexts] == [CTImageStorage]
        opened.release()


def test_what_a_study_has_beside_images_is_taken_too():
    kinds = [ComprehensiveSRStorage, GrayscaleSoftcopyPresentationStateStorage, SegmentationStorage, MRImageStorage]
    datasets = []
    for kind in kinds:
        dataset = as_dataset(instance(SOPClassUID=kind, SOPInstanceUID=generate_uid()))
        if kind in kinds[:2]:
            del dataset.PixelData
        datasets.append(dataset)
    with running() as node:
        assert send(node.port, *datasets) == [0] * len(kinds)
        assert len(node.queue.files) == len(kinds)


def test_a_description_of_another_alphabet():
    taken = {}
    with running() as node:
        receive = node.queue.receive
        node.queue.receive = lambda data, header, peer: (taken.update(header), receive(data, header, peer))[1]
        tags = {"SpecificCharacterSet": "ISO_IR 192", "SeriesDescription": "肝脏 T2", "BodyPartExamined": "LIVER"}
        assert send(node.port, as_dataset(instance(**tags))) == [0]
    assert taken["SeriesDescription"] == "肝脏 T2" and taken["BodyPartExamined"] == "LIVER" and taken["Modality"] == "CT"
    assert "PatientName" not in taken


def test_eight_scanners_at_once():
    from concurrent.futures import ThreadPoolExecutor

    studies = [[as_dataset(instance(study=f"1.2.{n}")) for _ in range(10)] for n in range(8)]
    with running(configuration(idle_seconds=10)) as node, ThreadPoolExecutor(8) as pool:
        for statuses in pool.map(lambda study: send(node.port, *study), studies):
            assert statuses == [0] * 10
        assert len(node.queue.files) == 80


def test_the_queue_on_the_disk(tmp_path):
    """The store itself: the same again, another with its UID, a study at its limit, and all of it after a restart."""
    first, second, third = (as_dataset(instance(SOPInstanceUID=f"1.2.{n}")) for n in range(3))
    other = as_dataset(instance(np.ones((16, 16), "u2"), SOPInstanceUID="1.2.0"))
    config = configuration(folder=tmp_path, study_instances=2)
    with Store(tmp_path, config.limits) as store, running(config, store) as node:
        assert send(node.port, first, second, first, other, third) == [0, 0, 0, 0x0111, 0xA700]
        assert node.told("received") == ["added", "added", "known"]
    with Store(tmp_path, config.limits) as store, running(config, store) as node:
        assert send(node.port, first, other) == [0, 0x0111]
        assert store.holds(["1.2.0", "1.2.1", "1.2.2"]) == {"1.2.0", "1.2.1"}
        files = list((tmp_path / "received").rglob("*.dcm"))
    assert {path.read_bytes()[-512:] for path in files} == {first.PixelData} and len(files) == 2


def test_ipv6():
    config = replace(configuration([scanner(address="::1")]), host="::1")
    try:
        with socket.create_server(("::1", 0), family=socket.AF_INET6):
            pass
    except OSError:
        pytest.skip("this machine has no IPv6")
    with running(config) as node:
        assert send(node.port, dcmread(SAMPLE), address="::1") == [0x0000]
        echo(scanner(name="node", ae_title=NODE, address="::1", port=node.port), replace(config, ae_title=SCANNER))


def test_who_may_send():
    senders = Senders([scanner(address="10.0.0.0/24"), scanner(name="b", ae_title="B", address="::1")])
    assert senders.knows("10.0.0.7") and not senders.knows("10.0.1.7")
    assert senders.find(SCANNER, "10.0.0.7").name == "ct"
    assert senders.find(SCANNER, "::ffff:10.0.0.7").name == "ct"  # IPv4 as a listener of IPv6 sees it
    assert senders.find("B", "10.0.0.7") is None and senders.find("B", "::1").name == "b"
    assert senders.find(SCANNER, "no address") is None


def test_a_port_that_is_taken():
    with running() as node:
        config = configuration()
        second = Receiver(type(config)(**vars(config) | {"port": node.port}), node.queue, lambda *_, **__: None)
        with pytest.raises(ResourceError, match=str(node.port)):
            second.start()
        second.stop()


# ---- TLS


@pytest.fixture(scope="module")
def made(tmp_path_factory):
    return certificates(tmp_path_factory.mktemp("certificates"))


def guarded(made, **limits):
    return configuration(tls=Tls(*made["node"], made["authority"][0]), **limits)


def client(made, name):
    context = ssl.create_default_context(cafile=made["authority"][0])
    if name is not None:
        context.load_cert_chain(*made[name])
    return context, "127.0.0.1"


def test_a_peer_with_a_certificate_of_the_authority(made):
    with running(guarded(made)) as node:
        assert send(node.port, dcmread(SAMPLE), tls=client(made, "peer")) == [0x0000]


def is_let_in(port, context=None):
    """Whether the node answers an association request, sent by a socket with this context."""
    try:
        with socket.create_connection(("127.0.0.1", port), 10) as plain:
            opened = plain if context is None else context.wrap_socket(plain, server_hostname="127.0.0.1")
            with opened:
                opened.sendall(association_request())
                return opened.recv(1) == b"\2"
    except OSError:
        return False


def test_a_peer_without_a_certificate_of_the_authority(made):
    with running(guarded(made)) as node:
        assert is_let_in(node.port, client(made, "peer")[0])
        for name in (None, "stranger"):
            assert not is_let_in(node.port, client(made, name)[0])
        assert not is_let_in(node.port)  # nor without TLS
        assert node.told() == ["receive.no_handshake"] * 2  # the 1st and the 2nd


def test_a_peer_that_never_shakes_hands_keeps_nobody_out(made):
    with running(guarded(made, idle_seconds=1)) as node, ExitStack() as stack:
        silent = [stack.enter_context(RawPeer(node.port)) for _ in range(5)]
        assert send(node.port, dcmread(SAMPLE), tls=client(made, "peer")) == [0x0000]
        assert all(peer.is_ended() for peer in silent)  # after the idle time
        assert set(node.told()) == {"receive.no_handshake"}


def test_a_certificate_that_cannot_be_used(made):
    with pytest.raises(UsageError):
        Receiver(configuration(tls=Tls(made["node"][0], made["peer"][1], None)), None, None)


# ---- a second program


def run_dcmtk(program, *arguments):
    command = [dcmtk(program), *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)


def test_dcmtk_echoes_and_stores(tmp_path):
    (tmp_path / "ct.dcm").write_bytes(instance())
    with running(configuration(idle_seconds=10)) as node:
        to = ["-aet", SCANNER, "-aec", NODE, "127.0.0.1", node.port]
        assert run_dcmtk("echoscu", *to).returncode == 0
        assert run_dcmtk("echoscu", "-aet", "OTHER", *to[2:]).returncode != 0
        assert run_dcmtk("storescu", *to, SAMPLE, tmp_path / "ct.dcm").returncode == 0
        assert dcmread(SAMPLE).SOPInstanceUID in node.queue.files and len(node.queue.files) == 2


@pytest.mark.parametrize("option", ["-xi", "-xe", "-xb", "-xd"])
def test_dcmtk_in_each_uncompressed_syntax(option):
    with running(configuration(idle_seconds=10)) as node:
        ran = run_dcmtk("storescu", option, "-aet", SCANNER, "-aec", NODE, "127.0.0.1", node.port, SAMPLE)
        assert ran.returncode == 0, ran.stderr
        ((data, _),) = node.queue.files.values()
    dataset = as_dataset(data)
    assert (dataset.pixel_array == dcmread(SAMPLE).pixel_array).all()


def test_dcmtk_with_tls(made):
    with running(guarded(made, idle_seconds=10)) as node:
        to = ["-aet", SCANNER, "-aec", NODE, "127.0.0.1", node.port]
        keys = ["+tls", made["peer"][1], made["peer"][0], "+cf", made["authority"][0]]
        ran = run_dcmtk("storescu", *keys, *to, SAMPLE)
        assert ran.returncode == 0, ran.stderr
        assert len(node.queue.files) == 1
        assert run_dcmtk("storescu", *to, SAMPLE).returncode != 0
