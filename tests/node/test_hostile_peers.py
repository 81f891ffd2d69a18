"""Peers that no library would make: each is bounded and told, and the node answers the next one."""

import gc
import socket
import threading
import tracemalloc
import warnings
from contextlib import ExitStack, suppress
from pathlib import Path

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra 'pacs'")

import numpy as np
from pydicom.uid import CTImageStorage, MRImageStorage

from medrega_edge.errors import ImageError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.node.listener import Refusals
from tests.node.raw_peer import (
    ABORT,
    ACCEPT,
    COMMAND,
    ECHO,
    LAST,
    REJECT,
    RawPeer,
    association_request,
    command,
    fragment,
    pdu,
)
from tests.node.standins import SCANNER, Queue, configuration, instance, running, scanner, wait_until

pytestmark = pytest.mark.slow  # half a second each: they wait for a peer to give up

UID = "1.2.3.4.5"
VERIFICATION = "1.2.840.10008.1.1"


def data_set(**tags):
    """The data set of an instance, without preamble and group 0002."""
    with warnings.catch_warnings(action="ignore"):  # pydicom's, of what the tests want wrong
        data = instance(**{"SOPInstanceUID": UID} | tags)
    return data[144 + int.from_bytes(data[140:144], "little") :]


def assert_answers(node):
    """An echo by bytes: the node is well."""
    with RawPeer(node.port).associate(sop_class=VERIFICATION) as peer:
        peer.send(fragment(command(ECHO, VERIFICATION, has_data=False), COMMAND | LAST))
        assert peer.status()[0] == 0x0000


# ---- who may come


@pytest.mark.parametrize(("request_", "reason"), [({"called": "OTHER"}, 7), ({"calling": "THIEF"}, 3)])
def test_another_title_is_rejected(request_, reason):
    with running() as node:
        with RawPeer(node.port) as peer:
            kind, body = peer.send(association_request(**request_)).receive()
            assert kind == REJECT and tuple(body[1:]) == (1, 1, reason)
        assert len(node.told()) == 1
        assert_answers(node)


def test_a_title_from_another_address_is_rejected():
    """Another peer may send from here, but not under this title."""
    peers = [scanner(), scanner(name="far", ae_title="FAR", address="10.1.2.0/24")]
    with running(configuration(peers)) as node, RawPeer(node.port) as peer:
        kind, body = peer.send(association_request(calling="FAR")).receive()
        assert kind == REJECT and tuple(body[1:]) == (1, 1, 3)
        assert node.told() == ["receive.unknown_title"]


def test_another_address_is_closed_before_it_is_read():
    with running(configuration([scanner(address="10.1.2.3")])) as node:
        for _ in range(5):
            with RawPeer(node.port) as peer:
                assert peer.receive() == (None, b"")
        counts = [event["count"] for event in node.events]
        assert node.told() == ["receive.unknown_address"] * 3 and counts == [1, 2, 4]  # not a line each
        assert not node.associations()


def test_a_fault_of_ours_lets_nobody_in_and_ends_no_listener():
    with running() as node:
        knows = node.receiver._senders.knows
        node.receiver._senders.knows = lambda address: 1 // 0
        with RawPeer(node.port) as peer:
            assert peer.receive() == (None, b"")
        node.receiver._senders.knows = knows
        assert_answers(node)


def test_a_refusal_is_told_again_after_an_hour():
    told, now = [], [0.0]
    refusals = Refusals(lambda _, **fields: told.append(fields["count"]), lambda: now[0])
    for second in (0, 1, 2, 3, 4, 3000, 6604, 6605):
        now[0] = second
        refusals.add(Message("receive.unknown_address"))
    assert told == [1, 2, 4, 7, 8]


# ---- PDUs


def test_a_pdu_of_four_gigabytes():
    with running() as node:
        tracemalloc.start()
        with RawPeer(node.port).associate() as peer:
            peer.send(pdu(4, b"\0" * 100_000, length=0xFFFFFFFF))
            assert peer.is_ended()
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 8_000_000
        assert node.told() == ["receive.large_pdu"]
        assert_answers(node)


def test_a_pdu_larger_than_agreed_and_one_that_is_not():
    with running(configuration(pdu_bytes=4096)) as node:
        with RawPeer(node.port).associate() as peer:
            assert peer.store(data_set(), UID, piece=4090) == (0, "")
        with RawPeer(node.port).associate() as peer:
            assert peer.store(data_set(PatientComments="x" * 9000), UID, piece=4091) == (None, None)
        assert node.told() == ["receive.large_pdu"]


@pytest.mark.parametrize("is_associated", [False, True])
def test_a_pdu_of_no_type(is_associated):
    with running() as node:
        with RawPeer(node.port) as peer:
            if is_associated:
                peer.associate()
            peer.send(pdu(9, b"x" * 100))
            assert peer.is_ended()
        assert node.told() == ["receive.wrong_pdu"]
        assert_answers(node)


@pytest.mark.parametrize("kind", [2, 3, 4, 5, 6, 7])
def test_a_pdu_at_the_wrong_time(kind):
    with running() as node:
        with RawPeer(node.port) as peer:
            peer.send(pdu(kind, b"\0" * 4))
            assert peer.is_ended()
        with RawPeer(node.port).associate() as peer:
            peer.send(pdu(1 if kind == 5 else kind, b"\0" * 4))
            assert peer.is_ended()
        assert_answers(node)


def test_an_association_request_of_garbage():
    with running() as node:
        for body in (b"", bytes(4), np.random.default_rng(0).bytes(500)):
            with RawPeer(node.port) as peer:
                peer.send(pdu(1, body))
                assert peer.is_ended()
        assert_answers(node)


@pytest.mark.parametrize("seed", range(2))
def test_an_association_request_with_a_few_wrong_bytes(seed):
    """Whether the node agrees or not, no thread of it fails or stays."""
    random = np.random.default_rng(seed)
    with running(configuration(associations=100)) as node:
        for _ in range(25):
            body = bytearray(association_request()[6:])
            for _ in range(int(random.integers(1, 6))):
                body[int(random.integers(len(body)))] = int(random.integers(256))
            with RawPeer(node.port) as peer:
                peer.send(pdu(1, bytes(body)))
                peer.receive()
        wait_until(lambda: not node.associations(), "they stay")
        assert_answers(node)


@pytest.mark.parametrize("seed", range(2))
def test_a_command_with_a_few_wrong_bytes(seed):
    random = np.random.default_rng(seed)
    with running(configuration(associations=100)) as node:
        for _ in range(25):
            body = bytearray(command())
            for _ in range(int(random.integers(1, 4))):
                body[int(random.integers(len(body)))] = int(random.integers(256))
            with RawPeer(node.port).associate() as peer:
                peer.send(fragment(bytes(body), COMMAND | LAST)).send(fragment(data_set(), LAST))
                peer.socket.settimeout(0.05)
                with suppress(OSError):
                    peer.receive()
        wait_until(lambda: not node.associations(), "they stay")
        assert set(node.queue.files) <= {UID}
        assert_answers(node)


@pytest.mark.parametrize("seed", range(6))
def test_random_bytes(seed):
    random = np.random.default_rng(seed)
    with running() as node:
        with RawPeer(node.port).associate() as peer:
            peer.send(fragment(random.bytes(200), int(random.integers(4)), int(random.integers(256))))
            peer.send(fragment(random.bytes(200), LAST))
            assert peer.is_ended()
        assert_answers(node)


# ---- halves


@pytest.mark.parametrize("half", [b"", b"\1\0\0", association_request()[:100] if SCANNER else b""])
def test_half_an_association_that_hangs(half):
    with running() as node:
        with RawPeer(node.port) as peer:
            peer.send(half)
            assert peer.is_ended()  # after the idle time
        assert_answers(node)


def test_an_association_that_says_nothing_more():
    with running() as node, RawPeer(node.port).associate() as peer:
        assert peer.is_ended()


def test_half_a_message_that_hangs():
    with running() as node:
        with RawPeer(node.port).associate() as peer:
            peer.send(fragment(command(), COMMAND | LAST)).send(fragment(b"x" * 1000, 0))
            wait_until(lambda: node.budget.left < 2_000_000, "nothing is held")
            assert peer.is_ended()
        assert_answers(node)


def test_a_pdu_that_drips():
    """A byte now and then does not keep a connection longer than the idle time."""
    with running() as node, RawPeer(node.port).associate() as peer:
        peer.send(pdu(4, b"", length=4000))
        with pytest.raises(OSError):
            for _ in range(1000):
                peer.send(b"x")
                threading.Event().wait(0.01)
        assert "receive.slow_pdu" in node.told()


def test_a_fragment_and_then_nobody():
    with running() as node:
        for _ in range(10):
            with RawPeer(node.port).associate() as peer:
                peer.send(fragment(command(), COMMAND | LAST)).send(fragment(b"x" * 1000, 0))
        wait_until(lambda: not node.associations(), "they stay")
        assert node.queue.files == {}
        assert_answers(node)


def test_who_connects_and_leaves_gives_its_place_back_at_once():
    with running(configuration(idle_seconds=60)) as node:
        for _ in range(40):
            RawPeer(node.port).__exit__()
        wait_until(lambda: not node.associations(), "they stay for the idle time")
        assert_answers(node)


# ---- many


def test_two_hundred_connections_at_once():
    with running(configuration(associations=4, idle_seconds=5)) as node:
        peers = [RawPeer(node.port) for _ in range(200)]
        most = 4 + 16
        wait_until(lambda: node.receiver._refusals.count("receive.many_connections") == 200 - most, "they were let in")
        assert len(node.associations()) == most
        assert node.told() == ["receive.many_connections"] * 8  # the 1st, 2nd, 4th, ... 128th
        with RawPeer(node.port) as late:
            assert late.receive() == (None, b"")
        for peer in peers:
            peer.__exit__()
        wait_until(lambda: not node.associations(), "they stay")
        assert_answers(node)


def test_an_association_too_many_is_told_so():
    with running(configuration(associations=2, idle_seconds=5)) as node:
        held = [RawPeer(node.port).associate() for _ in range(2)]
        with RawPeer(node.port) as peer:
            kind, body = peer.send(association_request()).receive()
            assert kind == REJECT and tuple(body[1:]) == (2, 3, 2)  # transient, local limit exceeded
        for peer in held:
            peer.__exit__()
        wait_until(lambda: not node.associations(), "they stay")
        assert_answers(node)


def test_a_peer_that_waits_for_no_answer():
    with running() as node:
        blocked = threading.Event()
        receive = node.queue.receive

        def slow(*arguments):
            blocked.wait(5)
            return receive(*arguments)

        node.queue.receive = slow
        with RawPeer(node.port).associate() as peer:
            with suppress(OSError):  # the node may end it before the last one
                for message in range(1, 8):
                    uid = f"{UID}.{message}"
                    peer.send(fragment(command(sop_uid=uid, message=message), COMMAND | LAST))
                    peer.send(fragment(data_set(SOPInstanceUID=uid), LAST))
            wait_until(lambda: "receive.many_messages" in node.told(), "all of them are queued")
            blocked.set()
            assert peer.is_ended()


def test_a_study_that_never_ends():
    with running(queue=Queue(most=3)) as node:
        with RawPeer(node.port).associate() as peer:
            got = [peer.store(data_set(SOPInstanceUID=f"{UID}.{n}"), f"{UID}.{n}")[0] for n in range(6)]
            assert got == [0, 0, 0, 0xA700, 0xA700, 0xA700]
            other = data_set(SOPInstanceUID="1.9", StudyInstanceUID="1.2.9")
            assert peer.store(other, "1.9")[0] == 0x0000
        assert node.told() == ["receive.full"] * 3 and len(node.queue.files) == 4


# ---- sizes


def test_an_instance_too_large_is_refused_and_the_next_one_is_taken():
    with running() as node, RawPeer(node.port).associate() as peer:
        large = data_set(values=np.zeros((1000, 800), "u2"))
        status, comment = peer.store(large, UID, message=7)
        assert status == 0xA700 and "larger" in comment
        assert node.queue.files == {} and node.budget.left == 2_000_000
        assert peer.store(data_set(), UID, message=8) == (0, "")
        assert node.told() == ["receive.large_instance"]


def test_a_message_without_end():
    with running() as node:
        with RawPeer(node.port).associate() as peer:
            peer.send(fragment(command(), COMMAND | LAST))
            with pytest.raises(OSError):
                for _ in range(10_000):
                    peer.send(fragment(bytes(16_000), 0))
        assert node.told() == ["receive.endless_message"]
        assert_answers(node)


def test_a_command_without_end():
    with running() as node:
        with RawPeer(node.port).associate() as peer, pytest.raises(OSError):
            for _ in range(10_000):
                peer.send(fragment(bytes(16_000), COMMAND))
        assert node.told() == ["receive.endless_message"]
        assert_answers(node)


def test_memory_is_shared_by_all_connections():
    """Two peers may hold what three would like to: the third is told to come again later."""
    with running(configuration(idle_seconds=5)) as node:
        held = [RawPeer(node.port).associate() for _ in range(2)]
        for peer in held:
            peer.send(fragment(command(), COMMAND | LAST))
            for _ in range(60):
                peer.send(fragment(bytes(16_000), 0))
        wait_until(lambda: node.budget.left < 100_000, "they hold less")
        with RawPeer(node.port).associate() as peer:
            status, comment = peer.store(data_set(values=np.zeros((256, 256), "u2")), UID)
            assert status == 0xA700 and "later" in comment
            for other in held:
                other.__exit__()
            wait_until(lambda: node.budget.left == 2_000_000, "their bytes are not given back")
            assert peer.store(data_set(values=np.zeros((256, 256), "u2")), UID, message=2)[0] == 0


# ---- instances that are not what they say


def test_the_same_instance_again_and_another_with_its_uid():
    with running() as node, RawPeer(node.port).associate() as peer:
        assert peer.store(data_set(), UID) == (0, "")
        assert peer.store(data_set(), UID) == (0, "")
        status, comment = peer.store(data_set(values=np.ones((16, 16), "u2")), UID)
        assert status == 0x0111 and comment
        assert node.told("received") == ["added", "known"] and node.told() == ["receive.other_instance"]
        assert node.queue.files[UID][0].endswith(data_set())


OTHER = {
    "SOP instance": ({"SOPInstanceUID": "1.2.3.9"}, UID, 0xA900, "receive.other_uid"),
    "SOP class": ({"SOPClassUID": MRImageStorage}, UID, 0xA900, "receive.other_uid"),
    "path": ({"SOPInstanceUID": "../../x"}, "../../x", 0x0117, "receive.bad_uid"),
    "path in the data set": ({"StudyInstanceUID": "../../x"}, UID, 0x0117, "receive.bad_uid"),
    "zero byte": ({"SeriesInstanceUID": "1.2\0/etc"}, UID, 0x0117, "receive.bad_uid"),
    "long": ({"StudyInstanceUID": "1." * 40 + "1"}, UID, 0x0117, "receive.bad_uid"),
    "no study": ({"StudyInstanceUID": None}, UID, 0xA900, "receive.lacks_uid"),
    "empty series": ({"SeriesInstanceUID": ""}, UID, 0xA900, "receive.lacks_uid"),
}


@pytest.mark.parametrize("name", OTHER)
def test_a_data_set_that_is_another(name):
    tags, uid, status, code = OTHER[name]
    with running() as node:
        with RawPeer(node.port).associate() as peer:
            assert peer.store(data_set(**tags), uid)[0] == status
            assert peer.store(data_set(), UID, message=2)[0] == 0  # the same association goes on
        assert node.told() == [code]
        assert not any("/" in str(value) or UID in str(value) for event in node.events for value in event.values())


def test_another_class_than_that_of_the_context():
    with running() as node, RawPeer(node.port).associate() as peer:
        assert peer.store(data_set(SOPClassUID=MRImageStorage), UID, sop_class=MRImageStorage)[0] in (0xA900, 0x0122, None)
        assert node.queue.files == {}


GARBAGE = [b"", b"\0", b"garbage", bytes(2000), np.random.default_rng(1).bytes(5000), data_set()[:50], instance()]


@pytest.mark.parametrize("data", GARBAGE, ids=range(len(GARBAGE)))
def test_a_data_set_of_garbage(data):
    with running() as node:
        with RawPeer(node.port).associate() as peer:
            status, _ = peer.store(data, UID)
            assert status is None or status >= 0xA900 or status in (0x0110, 0x0117)
        assert node.queue.files == {} and node.told("received") == []
        assert_answers(node)


def test_sequences_nested_without_end():
    item = b"\xfe\xff\x00\xe0\xff\xff\xff\xff"
    sequence = b"\x28\x00\x10\x30SQ\0\0\xff\xff\xff\xff" + item
    with running() as node:
        with RawPeer(node.port).associate() as peer:
            data = data_set()
            data = data[: data.index(b"\x28\0\x02\0US")]  # all that stands before the picture's own elements
            assert peer.store(data + sequence * 4000, UID)[0] == 0xC000
        assert node.queue.files == {}
        assert_answers(node)


FAULTS = [
    (ResourceError("io.no_space", reason="x"), 0xA700),
    (ImageError("image.damaged_compression", image="x"), 0xC000),
    (OSError("patient"), 0x0110),
    (MemoryError(), 0x0110),
]


@pytest.mark.parametrize(("fault", "status"), FAULTS, ids=[type(fault).__name__ for fault, _ in FAULTS])
def test_what_was_not_kept_is_never_success(fault, status):
    with running() as node, RawPeer(node.port).associate() as peer:
        node.queue.fault = fault
        assert peer.store(data_set(), UID)[0] == status
        assert len(node.told()) == 1 and "patient" not in str(node.events)


# ---- the end


def test_no_association_is_kept_in_memory():
    with running() as node:
        for _ in range(5):
            assert_answers(node)
            with RawPeer(node.port).associate() as peer:
                peer.send(fragment(command(), COMMAND | LAST)).send(fragment(b"x" * 1000, 0))
        wait_until(lambda: not node.associations(), "they stay")
        wait_until(lambda: gc.collect() >= 0 and not node.receiver._sockets, "they are kept")


def test_a_node_stops_in_the_midst_of_everything():
    with running(configuration(idle_seconds=60)) as node, ExitStack() as stack:
        _, half, busy = peers = [stack.enter_context(RawPeer(node.port)) for _ in range(3)]
        busy.associate()
        half.send(association_request()[:50])
        busy.send(fragment(command(), COMMAND | LAST)).send(fragment(b"x" * 1000, 0)).send(pdu(4, b"x", length=4000))
        wait_until(lambda: len(node.associations()) == 3, "they do not come")
        node.receiver.stop()
        assert all(peer.is_ended() for peer in peers)
        with pytest.raises(OSError):
            socket.create_connection(("127.0.0.1", node.port), 1)
        node.receiver.start()  # a receiver can listen again


def test_nothing_of_it_lands_in_a_folder_of_temporary_files(tmp_path, monkeypatch):
    monkeypatch.setenv("TMPDIR", str(tmp_path))
    monkeypatch.setattr("tempfile.tempdir", None)
    with running() as node, RawPeer(node.port).associate() as peer:
        peer.store(data_set(), UID)
        peer.send(fragment(command(), COMMAND | LAST)).send(fragment(b"x" * 1000, 0))
    assert list(Path(tmp_path).iterdir()) == []


def test_the_parts_of_this_file_are_what_they_say():
    """A peer by bytes that does all right is answered."""
    with running() as node, RawPeer(node.port) as peer:
        kind, _ = peer.send(association_request()).receive()
        assert kind == ACCEPT
        assert peer.store(data_set(), UID) == (0, "")
        assert peer.send(pdu(5, bytes(4))).receive()[0] == 6
    assert ABORT == 7 and CTImageStorage in str(association_request())
