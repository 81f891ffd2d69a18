"""Storage commitment (PS3.4, J): the node says which instances it has on its disk, and asks archives the same.

Either side asks by N-ACTION. The other side answers by N-EVENT-REPORT, on the same association or on a new one.
"""

from __future__ import annotations

import queue
import threading
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import chain
from typing import TYPE_CHECKING, Any

from pydicom.dataset import Dataset
from pydicom.uid import generate_uid
from pynetdicom import build_context, build_role, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import StorageCommitmentPushModel, StorageCommitmentPushModelInstance

from medrega_edge.node.config import NodeConfig, Peer
from medrega_edge.node.delivery_error import DeliveryError, RefusedError
from medrega_edge.node.events import OnEvent, short_hash
from medrega_edge.node.incoming import FAILED, INVALID_ARGUMENT, RESOURCES, SUCCESS, is_uid
from medrega_edge.node.made import MadeObject
from medrega_edge.node.sender import association_with

if TYPE_CHECKING:
    from medrega_edge.node.store import Store

MOST_WAITING = 64  # requests whose report was not sent yet
_REQUEST = 1  # the only type of action
_ALL_HELD, _SOME_FAILED = 1, 2  # types of event
_NO_SUCH_INSTANCE = 0x0112


@dataclass
class _Asked:
    peer: Peer
    transaction: str
    references: tuple[tuple[str, str], ...]  # SOP class and SOP instance
    association: Association
    is_answered: threading.Event = field(default_factory=threading.Event)  # the report must not come before the answer


class Answering:
    """Takes requests of peers, and reports which instances the queue has received, one after the other in a thread."""

    def __init__(self, config: NodeConfig, store: Store, on_event: OnEvent) -> None:
        """Take what knows the instances."""
        self._config, self._store, self._on_event = config, store, on_event
        self._waiting: queue.Queue[_Asked | None] = queue.Queue(MOST_WAITING)
        self._unsent: dict[Association, _Asked] = {}
        self._thread: threading.Thread | None = None

    def start(self) -> None:
        """Begin to report."""
        self._thread = threading.Thread(target=self._work, name="commitment", daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Report no more; a peer without its report asks again."""
        if self._thread is None:
            return
        with suppress(queue.Empty):
            while True:
                self._waiting.get_nowait()
        self._waiting.put(None)
        self._thread.join(self._config.limits.idle_seconds)
        self._thread = None

    def asked(self, event: Any, peer: Peer) -> int:
        """Take a request; returns the status of its answer."""
        try:
            information = event.action_information
            transaction = str(information.TransactionUID)
            items = information.ReferencedSOPSequence
            references = tuple((str(item.ReferencedSOPClassUID), str(item.ReferencedSOPInstanceUID)) for item in items)
        except Exception:  # noqa: BLE001 - pydicom raises all kinds on damage
            return INVALID_ARGUMENT
        is_sound = event.action_type == _REQUEST and references and all(map(is_uid, (transaction, *chain(*references))))
        if not is_sound:
            return INVALID_ARGUMENT
        asked = _Asked(peer, transaction, references, event.assoc)
        try:
            self._waiting.put_nowait(asked)
        except queue.Full:
            return RESOURCES
        self._unsent[event.assoc] = asked
        return SUCCESS

    def sent(self, association: Association) -> None:
        """Something was sent on an association: the answer, if it had asked."""
        if (asked := self._unsent.pop(association, None)) is not None:
            asked.is_answered.set()

    def _work(self) -> None:
        while (asked := self._waiting.get()) is not None:
            asked.is_answered.wait(self._config.limits.idle_seconds)
            self._unsent.pop(asked.association, None)
            try:
                self._report(asked)
            except Exception as error:  # noqa: BLE001 - the next one shall have its report
                code = error.code if isinstance(error, DeliveryError) else "deliver.not_reported"
                self._on_event("refused", peer=asked.peer.name, code=code, transaction=short_hash(asked.transaction))

    def _report(self, asked: _Asked) -> None:
        held = self._store.holds([uid for _, uid in asked.references])
        report = Dataset()
        report.TransactionUID = asked.transaction
        there = [reference for reference in asked.references if reference[1] in held]
        failed = [reference for reference in asked.references if reference[1] not in held]
        if there:
            report.ReferencedSOPSequence = [_item(*reference) for reference in there]
        if failed:
            report.FailedSOPSequence = [_item(*reference, _NO_SUCH_INSTANCE) for reference in failed]
        kind = _SOME_FAILED if failed else _ALL_HELD
        if not asked.peer.port:
            self._send(asked.association, report, kind, asked.peer)
            return
        contexts = [build_context(StorageCommitmentPushModel)]
        roles = [build_role(StorageCommitmentPushModel, scp_role=True)]
        with association_with(asked.peer, self._config, contexts, roles) as association:
            self._send(association, report, kind, asked.peer)

    def _send(self, association: Association, report: Dataset, kind: int, peer: Peer) -> None:
        instance = StorageCommitmentPushModelInstance
        try:
            status, _ = association.send_n_event_report(report, kind, StorageCommitmentPushModel, instance)
        except (RuntimeError, ValueError):  # the association has ended, or the peer does not take reports
            raise RefusedError("deliver.not_reported", peer=peer.name) from None
        if status.get("Status") != SUCCESS:
            raise RefusedError("deliver.not_reported", peer=peer.name)


def _item(sop_class: str, sop_uid: str, reason: int | None = None) -> Dataset:
    item = Dataset()
    item.ReferencedSOPClassUID, item.ReferencedSOPInstanceUID = sop_class, sop_uid
    if reason is not None:
        item.FailureReason = reason
    return item


class Reports:
    """Reports that peers owe the node, by transaction."""

    def __init__(self) -> None:
        """Expect nothing yet."""
        self._expected: dict[str, _Expected] = {}
        self._lock = threading.Lock()

    def expect(self, peer: str) -> tuple[str, _Expected]:
        """A new transaction, and what its report will tell."""
        transaction, expected = str(generate_uid(prefix=None)), _Expected(peer)
        with self._lock:
            self._expected[transaction] = expected
        return transaction, expected

    def forget(self, transaction: str) -> None:
        """Expect no report of a transaction any longer."""
        with self._lock:
            self._expected.pop(transaction, None)

    def take(self, event: Any, peer: str) -> int:
        """Take the report of a peer; returns the status of its answer."""
        try:
            information = event.event_information
            transaction = str(information.TransactionUID)
            held = {str(item.ReferencedSOPInstanceUID) for item in information.get("ReferencedSOPSequence") or ()}
        except Exception:  # noqa: BLE001 - pydicom raises all kinds on damage
            return INVALID_ARGUMENT
        with self._lock:
            expected = self._expected.get(transaction)
        if expected is None or expected.peer != peer:
            return FAILED  # nobody asked, or nobody waits any longer
        expected.held = held
        expected.is_there.set()
        return SUCCESS


@dataclass
class _Expected:
    peer: str
    held: set[str] = field(default_factory=set)
    is_there: threading.Event = field(default_factory=threading.Event)


def commit(objects: Sequence[MadeObject], peer: Peer, config: NodeConfig, reports: Reports) -> None:
    """Ask a peer whether it keeps the objects, and wait for its report up to the idle time.

    The report may come by the association that asks, or by the receiver whose `reports` these are. Raises DeliveryError:
    the objects are to be sent and asked for again; RefusedError for a peer that knows no storage commitment.
    """
    transaction, expected = reports.expect(peer.name)
    request = Dataset()
    request.TransactionUID = transaction
    request.ReferencedSOPSequence = [_item(each.sop_class, each.sop_uid) for each in objects]

    def on_report(event: Any) -> tuple[int, Dataset | None]:
        return reports.take(event, peer.name), None

    contexts = [build_context(StorageCommitmentPushModel)]
    handlers = [(evt.EVT_N_EVENT_REPORT, on_report)]
    try:
        with association_with(peer, config, contexts, handlers=handlers) as association:
            _ask(association, request, peer)
            expected.is_there.wait(config.limits.idle_seconds)
    except RefusedError:
        raise RefusedError("deliver.no_commitment", peer=peer.name) from None
    finally:
        reports.forget(transaction)
    if not expected.is_there.is_set():
        raise DeliveryError("deliver.no_report", peer=peer.name)
    if {each.sop_uid for each in objects} - expected.held:
        raise DeliveryError("deliver.not_committed", peer=peer.name)


def _ask(association: Association, request: Dataset, peer: Peer) -> None:
    try:
        status, _ = association.send_n_action(
            request, _REQUEST, StorageCommitmentPushModel, StorageCommitmentPushModelInstance
        )
    except (RuntimeError, ValueError):  # the association has ended
        raise DeliveryError("deliver.no_commitment", peer=peer.name) from None
    if status.get("Status") != SUCCESS:
        raise DeliveryError("deliver.no_commitment", peer=peer.name)
