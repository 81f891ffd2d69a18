"""Storage commitment, asked of the node and asked by the node, on the same association and on a new one."""

import threading

import pytest

pytest.importorskip("pynetdicom", reason="needs the extra 'pacs'")

from pydicom.dataset import Dataset
from pydicom.uid import CTImageStorage, generate_uid
from pynetdicom import AE, build_context, evt
from pynetdicom.sop_class import StorageCommitmentPushModel as PUSH
from pynetdicom.sop_class import StorageCommitmentPushModelInstance as INSTANCE

from medrega_edge.node import commitment
from medrega_edge.node.commitment import commit
from medrega_edge.node.made import MadeObject
from medrega_edge.node.sender import DeliveryError, RefusedError
from tests.node.standins import NODE, SCANNER, Queue, configuration, running, scanner, wait_until

pytestmark = pytest.mark.slow  # half a second each: they wait for a peer to give up

HELD, GONE = "1.2.3.1", "1.2.3.2"


def queue_with(*uids):
    queue = Queue()
    queue.files.update(dict.fromkeys(uids, (b"", "1.2")))
    return queue


def request(*uids, transaction=None):
    asked = Dataset()
    asked.TransactionUID = transaction or generate_uid(prefix=None)
    asked.ReferencedSOPSequence = []
    for uid in uids:
        item = Dataset()
        item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = CTImageStorage, uid
        asked.ReferencedSOPSequence.append(item)
    return asked


class Asking:
    """A peer that asks for commitment. Reports come into `reports`, as (type, information), by whichever association."""

    def __init__(self):
        self.reports, self.is_there = [], threading.Event()
        self.entity = AE(ae_title=SCANNER)
        self.entity.acse_timeout = self.entity.dimse_timeout = 10
        self.handlers = [(evt.EVT_N_EVENT_REPORT, self._report)]
        self.server = None

    def _report(self, event):
        self.reports.append((event.event_type, event.event_information))
        self.is_there.set()
        return 0x0000, None

    def listen(self):
        self.entity.add_supported_context(PUSH, scu_role=True, scp_role=True)
        self.server = self.entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=self.handlers)
        return self.server.server_address[1]

    def ask(self, port, asked, action=1):
        """Returns the association and the status of its answer."""
        opened = self.entity.associate("127.0.0.1", port, [build_context(PUSH)], NODE, evt_handlers=self.handlers)
        assert opened.is_established
        return opened, opened.send_n_action(asked, action, PUSH, INSTANCE)[0].Status

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.entity.shutdown()
        wait_until(lambda: not self.entity.active_associations, "an association does not end")


def told(report):
    kind, information = report
    held = [item.ReferencedSOPInstanceUID for item in information.get("ReferencedSOPSequence", ())]
    failed = [(item.ReferencedSOPInstanceUID, item.FailureReason) for item in information.get("FailedSOPSequence", ())]
    return kind, held, failed


@pytest.mark.parametrize("listens", [False, True])
def test_what_is_held_and_what_is_not(listens):
    with Asking() as peer:
        config = configuration([scanner(port=peer.listen() if listens else 0)], idle_seconds=5)
        with running(config, queue_with(HELD)) as node:
            asked = request(HELD, GONE)
            opened, status = peer.ask(node.port, asked)
            assert status == 0x0000
            if listens:
                opened.release()
            assert peer.is_there.wait(10)
            assert told(peer.reports[0]) == (2, [HELD], [(GONE, 0x0112)])
            assert peer.reports[0][1].TransactionUID == asked.TransactionUID
            peer.is_there.clear()
            opened2, _ = peer.ask(node.port, request(HELD))
            assert peer.is_there.wait(10) and told(peer.reports[1]) == (1, [HELD], [])
            for each in (opened, opened2):
                if each.is_established:
                    each.release()


WRONG = [lambda: request(), lambda: request("../../x"), lambda: request(HELD, transaction="x"), Dataset]


@pytest.mark.parametrize("make", WRONG, ids=range(len(WRONG)))
@pytest.mark.filterwarnings("ignore::UserWarning")  # pydicom's
def test_a_request_of_nonsense(make):
    asked = make()
    asked.PatientComments = "so that it is not empty"
    with running(queue=queue_with(HELD)) as node, Asking() as peer:
        opened, status = peer.ask(node.port, asked)
        assert status == 0x0115
        opened.release()


def test_another_action():
    with running(queue=queue_with(HELD)) as node, Asking() as peer:
        opened, status = peer.ask(node.port, request(HELD), action=2)
        assert status in (0x0115, 0x0123)
        opened.release()


def test_more_requests_than_can_wait(monkeypatch):
    monkeypatch.setattr(commitment, "MOST_WAITING", 3)
    with running(configuration(idle_seconds=5), queue_with(HELD)) as node, Asking() as peer:
        is_over = threading.Event()
        node.queue.holds = lambda uids: is_over.wait(10) and set(uids)
        opened, status = peer.ask(node.port, request(HELD))
        statuses = [status]
        while len(statuses) < 6 and statuses[-1] == 0:
            statuses.append(opened.send_n_action(request(HELD), 1, PUSH, INSTANCE)[0].Status)
        assert statuses[-1] == 0x0213
        opened.abort()
        is_over.set()


def test_a_peer_that_is_gone_when_its_report_is_ready():
    with running(configuration(idle_seconds=5), queue_with(HELD)) as node, Asking() as peer:
        is_gone = threading.Event()
        node.queue.holds = lambda uids: is_gone.wait(10) and set(uids)
        opened, status = peer.ask(node.port, request(HELD))
        assert status == 0
        opened.release()
        is_gone.set()
        wait_until(lambda: node.told() == ["deliver.not_reported"], "it is not told")


# ---- asked by the node


class Archive:
    """An archive that commits. `how`: on the "same" association, on a "new" one, or "never"."""

    def __init__(self, how, held=None, status=0x0000):
        self.how, self.held, self.status, self.node_port, self.threads = how, held, status, None, []
        self.entity = AE(ae_title="ARCHIVE")
        self.entity.acse_timeout = self.entity.dimse_timeout = 10
        self.entity.add_supported_context(PUSH, scu_role=True, scp_role=True)
        self.server = self.entity.start_server(("127.0.0.1", 0), block=False, evt_handlers=[(evt.EVT_N_ACTION, self._asked)])
        self.peer = scanner(name="archive", ae_title="ARCHIVE", port=self.server.server_address[1], commitment=True)

    def _asked(self, event):
        asked = event.action_information
        report = Dataset()
        report.TransactionUID = asked.TransactionUID
        items = [
            item for item in asked.ReferencedSOPSequence if self.held is None or item.ReferencedSOPInstanceUID in self.held
        ]
        report.ReferencedSOPSequence = items
        if self.how != "never":
            thread = threading.Thread(target=self._report, args=(event.assoc, report))
            self.threads.append(thread)
            thread.start()
        return self.status, None

    def _report(self, opened, report):
        if self.how == "new":
            opened = self.entity.associate("127.0.0.1", self.node_port, [build_context(PUSH)], NODE)
            assert opened.is_established
        threading.Event().wait(0.1)
        self.got = opened.send_n_event_report(report, 1, PUSH, INSTANCE)[0].get("Status")
        if self.how == "new":
            opened.release()

    def __enter__(self):
        return self

    def __exit__(self, *_):
        for thread in self.threads:
            thread.join(10)
        self.server.shutdown()
        wait_until(lambda: not self.entity.active_associations, "an association does not end")


OBJECTS = [MadeObject("sr", CTImageStorage, uid, b"") for uid in (HELD, GONE)]


def asked_of(archive, objects=OBJECTS, **limits):
    with running(configuration([archive.peer], **limits)) as node:
        archive.node_port = node.port
        commit(objects, archive.peer, node.config, node.receiver.reports)
        for thread in archive.threads:
            thread.join(10)


@pytest.mark.parametrize("how", ["same", "new"])
def test_an_archive_commits(how):
    with Archive(how) as archive:
        asked_of(archive, idle_seconds=5)
        assert archive.got == 0x0000


def test_an_archive_keeps_a_part():
    with Archive("same", held=[HELD]) as archive, pytest.raises(DeliveryError) as raised:
        asked_of(archive, idle_seconds=5)
    assert raised.value.code == "deliver.not_committed" and not raised.value.is_permanent


def test_an_archive_never_reports():
    with Archive("never") as archive, pytest.raises(DeliveryError) as raised:
        asked_of(archive)
    assert raised.value.code == "deliver.no_report"


def test_an_archive_that_does_not_commit():
    with Archive("never", status=0x0110) as archive, pytest.raises(DeliveryError) as raised:
        asked_of(archive)
    assert raised.value.code == "deliver.no_commitment"


def test_an_archive_that_knows_no_commitment():
    with Archive("never") as archive, pytest.raises(RefusedError) as raised:
        archive.server.contexts.clear()
        asked_of(archive)
    assert raised.value.code == "deliver.no_commitment"


def test_a_report_that_nobody_asked_for():
    with running(configuration([scanner()], idle_seconds=5)) as node, Asking() as peer:
        opened = peer.entity.associate("127.0.0.1", node.port, [build_context(PUSH)], NODE)
        status, _ = opened.send_n_event_report(request(HELD), 1, PUSH, INSTANCE)
        assert status.Status == 0x0110
        opened.release()
