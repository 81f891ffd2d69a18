"""The node's ear: C-ECHO, C-STORE and storage commitment, for peers of the configuration alone.

An instance is answered with success after the queue has it on the disk, and is stored as it was sent: nothing is decoded
and encoded again. Whatever a peer does ends in a status, a closed connection, and an event that says so.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from typing import TYPE_CHECKING, Any
from weakref import WeakKeyDictionary

from pydicom.dataset import Dataset
from pydicom.uid import UID
from pynetdicom import AE, AllStoragePresentationContexts, evt
from pynetdicom.association import Association
from pynetdicom.pdu import P_DATA_TF
from pynetdicom.presentation import PresentationContext
from pynetdicom.sop_class import StorageCommitmentPushModel, Verification

from medrega_edge.errors import InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.node.commitment import Answering, Reports
from medrega_edge.node.config import NodeConfig
from medrega_edge.node.connection import PlainSocket, TlsSocket
from medrega_edge.node.entity import PLAIN, application_entity, listening_tls, readable_syntaxes
from medrega_edge.node.events import OnEvent, short_hash
from medrega_edge.node.incoming import (
    DUPLICATE,
    FAILED,
    INVALID_INSTANCE,
    MISMATCH,
    NOT_AUTHORISED,
    NOT_UNDERSTOOD,
    OUT_OF_RESOURCES,
    SUCCESS,
    Refusal,
    header_of,
    is_uid,
    status_of,
)
from medrega_edge.node.listener import POLL_SECONDS, Listener, Refusals, listening_context
from medrega_edge.node.messages import bound
from medrega_edge.node.peer import Senders
from medrega_edge.node.receiving import MEGABYTE
from medrega_edge.node.records import Outcome

if TYPE_CHECKING:
    from medrega_edge.node.store import Store

_REJECTED, _BY_USER, _UNKNOWN_CALLER = 1, 1, 3  # permanent; calling AE title not recognised (PS3.8, 9.3.4)
_ABORT_SECONDS = 1.0  # for the peers to be told
_STOP_SECONDS = 10  # for an instance that is being written when the node stops
_REFUSED = {
    Outcome.FULL: (OUT_OF_RESOURCES, Message("receive.full")),
    Outcome.CONFLICT: (DUPLICATE, Message("receive.other_instance")),
}


class _Context(PresentationContext):  # type: ignore[misc]
    """One that all associations share: pynetdicom would copy what the node supports for each, which is half a megabyte."""

    def __init__(self, sop_class: str, syntaxes: Sequence[str], is_for_both_roles: bool = False) -> None:
        super().__init__()
        self.abstract_syntax, self.transfer_syntax = UID(sop_class), list(syntaxes)
        if is_for_both_roles:
            self.scu_role = self.scp_role = True

    def __deepcopy__(self, memo: dict[int, Any]) -> _Context:
        return self


def _contexts() -> list[_Context]:
    stored = [_Context(each.abstract_syntax, readable_syntaxes()) for each in AllStoragePresentationContexts]
    # Reports of commitment may come on an association that the archive opens, where it is the provider.
    return [*stored, _Context(Verification, PLAIN), _Context(StorageCommitmentPushModel, PLAIN, is_for_both_roles=True)]


class Receiver:
    """Listens from `start` to `stop`. `reports` takes the reports of storage commitment that peers send."""

    def __init__(self, config: NodeConfig, store: Store, on_event: OnEvent) -> None:
        """Prepare to listen as the configuration says; raises UsageError for a certificate that cannot be used."""
        self._config, self._store, self._on_event = config, store, on_event
        self._senders = Senders(config.peers)
        self._refusals = Refusals(on_event)
        self._tls = listening_context(listening_tls(config.tls))
        self._entity: AE = application_entity(config)
        self._sockets: WeakKeyDictionary[Association, PlainSocket | TlsSocket] = WeakKeyDictionary()
        self._answering = Answering(config, store, on_event)
        self.reports = Reports()
        self._server: Listener | None = None
        self._thread: threading.Thread | None = None

    def start(self) -> int:
        """Begin to listen; returns the port. Raises ResourceError if the address cannot be used."""
        handlers = [
            (evt.EVT_CONN_OPEN, self._on_open),
            (evt.EVT_REQUESTED, self._on_requested),
            (evt.EVT_REJECTED, self._on_rejected),
            (evt.EVT_PDU_SENT, self._on_pdu_sent),
            (evt.EVT_C_ECHO, self._on_echo),
            (evt.EVT_C_STORE, self._on_store),
            (evt.EVT_N_ACTION, self._on_commitment),
            (evt.EVT_N_EVENT_REPORT, self._on_report),
        ]
        try:
            self._server = self._entity.make_server(
                (self._config.host, self._config.port),
                contexts=_contexts(),
                ssl_context=self._tls,
                evt_handlers=handlers,
                server_class=Listener,
                senders=self._senders,
                limits=self._config.limits,
                refusals=self._refusals,
            )
        except OSError as error:
            raise ResourceError(
                "receive.cannot_listen", host=self._config.host, port=self._config.port, reason=error.strerror or "-"
            ) from None
        self._entity._servers.append(self._server)  # from where its shutdown takes it
        self._answering.start()
        serve = {"poll_interval": POLL_SECONDS}
        self._thread = threading.Thread(target=self._server.serve_forever, kwargs=serve, name="receiver", daemon=True)
        self._thread.start()
        return int(self._server.server_address[1])

    def stop(self) -> None:
        """Listen no more, end all associations, and wait for the threads; what is being written is written to its end."""
        if self._server is None or self._thread is None:
            return
        self._server.shutdown()
        self._thread.join()
        active = self._entity.active_associations
        for association in active:
            if association.is_established:
                with suppress(Exception):  # it may end by itself meanwhile
                    association.abort(block=False)
            else:
                self._hang_up(association)
        until = time.monotonic() + _ABORT_SECONDS
        for association in active:
            association.join(max(0.0, until - time.monotonic()))
            self._hang_up(association)  # one that waits for the rest of a PDU has not seen the abort
        for association in active:
            association.join(_STOP_SECONDS)
        self._answering.stop()
        self._server = self._thread = None

    def _hang_up(self, association: Association) -> None:
        if (bounded := self._sockets.get(association)) is not None:
            bounded.hang_up()

    # ---- connections

    def _on_open(self, event: Any) -> None:
        association = event.assoc
        bounded = association.dul.socket.socket
        self._sockets[association] = bounded
        # Without it a peer that only connects would keep its place until the time for its request is over.
        queue = association.dul.to_user_queue  # alone: a socket that knew its association would keep it for ever
        bounded.traffic.on_early_end = lambda: queue.put(None)
        bound(association, bounded.traffic, self._config.limits.instance_megabytes * MEGABYTE)

    def _on_requested(self, event: Any) -> None:
        association = event.assoc
        title = association.requestor.primitive.calling_ae_title
        if self._senders.find(title, association.requestor.address) is None:
            self._refusals.add(Message("receive.unknown_title"))
            association.acse.send_reject(_REJECTED, _BY_USER, _UNKNOWN_CALLER)
            association.kill()

    def _on_rejected(self, event: Any) -> None:
        self._refusals.add(Message("receive.rejected"))

    def _on_pdu_sent(self, event: Any) -> None:
        if isinstance(event.pdu, P_DATA_TF):
            self._answering.sent(event.assoc)

    # ---- requests

    def _on_echo(self, event: Any) -> int:
        return SUCCESS

    def _on_store(self, event: Any) -> int | Dataset:
        request = event.request
        sop_uid = str(request.AffectedSOPInstanceUID)
        peer = self._senders.find(event.assoc.requestor.ae_title, event.assoc.requestor.address)
        name = "" if peer is None else peer.name
        try:
            if peer is None:
                raise Refusal(NOT_AUTHORISED, Message("receive.unknown_title"))
            if (reason := self._sockets[event.assoc].traffic.dropped(request.MessageID)) is not None:
                raise Refusal(OUT_OF_RESOURCES, reason)
            sop_class = str(request.AffectedSOPClassUID)
            if not is_uid(sop_uid) or not is_uid(sop_class):
                raise Refusal(INVALID_INSTANCE, Message("receive.bad_uid"))
            if sop_class != str(event.context.abstract_syntax):
                raise Refusal(MISMATCH, Message("receive.other_uid"))
            data = event.encoded_dataset()
            header = header_of(data, sop_class, sop_uid)
            outcome = self._store.receive(data, header, name)
        except Refusal as refusal:
            return self._refused(name, sop_uid, refusal.status, refusal.message)
        except (ResourceError, UsageError) as error:  # no room, or a folder that cannot be written
            return self._refused(name, sop_uid, OUT_OF_RESOURCES, error.message)
        except MedregaError as error:
            return self._refused(name, sop_uid, NOT_UNDERSTOOD, error.message)
        except Exception as error:  # noqa: BLE001 - a fault of ours must be told, and never be taken for success
            return self._refused(name, sop_uid, FAILED, InternalError(error).message)
        if outcome in _REFUSED:
            status, message = _REFUSED[outcome]
            return self._refused(name, sop_uid, status, message)
        study = short_hash(header["StudyInstanceUID"])
        self._on_event("received", peer=name, outcome=outcome.value, instance=short_hash(sop_uid), study=study)
        return SUCCESS

    def _refused(self, peer: str, sop_uid: str, status: int, message: Message) -> Dataset:
        self._on_event("refused", peer=peer, code=message.code, instance=short_hash(sop_uid), status=status)
        return status_of(status, message)

    def _on_commitment(self, event: Any) -> tuple[int, Dataset | None]:
        peer = self._senders.find(event.assoc.requestor.ae_title, event.assoc.requestor.address)
        if peer is None:
            return NOT_AUTHORISED, None
        return self._answering.asked(event, peer), None

    def _on_report(self, event: Any) -> tuple[int, Dataset | None]:
        peer = self._senders.find(event.assoc.requestor.ae_title, event.assoc.requestor.address)
        if peer is None:
            return NOT_AUTHORISED, None
        return self.reports.take(event, peer.name), None
