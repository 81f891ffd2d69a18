"""The node's mouth: results to the peers that the configuration names, by C-STORE or STOW-RS, and to nobody else."""

from __future__ import annotations

import io
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from typing import Any

from pydicom import dcmread
from pydicom.dataset import Dataset
from pynetdicom import AE, build_context, evt
from pynetdicom.association import Association
from pynetdicom.sop_class import Verification

from medrega_edge.node.config import Limits, NodeConfig, Peer
from medrega_edge.node.connection import OTHER_BYTES, Budget, PlainSocket, TlsSocket, Traffic
from medrega_edge.node.delivery_error import DeliveryError, RefusedError
from medrega_edge.node.entity import application_entity, calling_tls, silence
from medrega_edge.node.made import MadeObject
from medrega_edge.node.messages import bound
from medrega_edge.node.peer import address_of

__all__ = ["DeliveryError", "RefusedError", "association_with", "deliver", "echo"]

_TAKEN = (0x0000, 0x0111)  # 0x0111: there already, from an attempt whose answer was lost; our UIDs are nobody else's
_WARNINGS = range(0xB000, 0xC000)
_FURTHER_WARNINGS = (0x0001, 0x0107, 0x0116)
# What another attempt can change: processing failure, duplicate invocation, resource limitation, not authorised, and
# A7xx, out of resources. All other failures are about the object.
_TRANSIENT = (0x0110, 0x0124, 0x0210, 0x0213)
_OUT_OF_RESOURCES = range(0xA700, 0xA800)


def deliver(objects: Sequence[MadeObject], peer: Peer, config: NodeConfig) -> None:
    """Send the objects to a peer. Raises DeliveryError; then all of them are to be sent again, with the same UIDs."""
    if peer.stow:
        from medrega_edge.node.stow import store_over_http  # its library takes a while to load

        store_over_http(objects, peer, config)
    else:
        _store(objects, peer, config)


def echo(peer: Peer, config: NodeConfig) -> None:
    """Ask a peer with a port whether it is there, by C-ECHO; raises DeliveryError."""
    if not peer.port:
        return
    with association_with(peer, config, [build_context(Verification)]) as association:
        status = _answer(association.send_c_echo, peer)
    if status != 0x0000:
        raise DeliveryError("deliver.peer_refuses", peer=peer.name, status=f"{status:04X}")


def _store(objects: Sequence[MadeObject], peer: Peer, config: NodeConfig) -> None:
    silence()
    datasets = [dcmread(io.BytesIO(each.data)) for each in objects]
    kinds = {(str(each.SOPClassUID), str(each.file_meta.TransferSyntaxUID)) for each in datasets}
    failures: list[DeliveryError] = []
    with association_with(peer, config, [build_context(*kind) for kind in sorted(kinds)]) as association:
        for dataset in datasets:
            try:
                _send(association, dataset, peer)
            except DeliveryError as error:
                failures.append(error)
    if failures:
        raise next((error for error in failures if not error.is_permanent), failures[0])


def _send(association: Association, dataset: Dataset, peer: Peer) -> None:
    try:
        status = _answer(lambda: association.send_c_store(dataset), peer)
    except ValueError:  # no presentation context for it was accepted
        raise RefusedError("deliver.kind_refused", peer=peer.name) from None
    if status in _TAKEN or status in _WARNINGS or status in _FURTHER_WARNINGS:
        return
    if status in _TRANSIENT or status in _OUT_OF_RESOURCES:
        raise DeliveryError("deliver.peer_refuses", peer=peer.name, status=f"{status:04X}")
    raise RefusedError("deliver.peer_refuses", peer=peer.name, status=f"{status:04X}")


def _answer(request: Any, peer: Peer) -> int:
    try:
        status = request().get("Status")
    except RuntimeError:  # the association has ended
        status = None
    if status is None:
        raise DeliveryError("deliver.no_answer", peer=peer.name)
    return int(status)


class _Caller(AE):  # type: ignore[misc]
    """Calls a peer by a connection that is bounded as those of who calls the node."""

    limits: Limits

    def _create_socket(self, association: Association, address: Any, tls: Any) -> Any:
        made = super()._create_socket(association, address, tls)
        budget = Budget(2 * OTHER_BYTES)
        traffic = Traffic(self.limits.pdu_bytes, self.limits.idle_seconds, budget, lambda _: None)
        if tls is not None:
            tls[0].sslsocket_class = type("_TlsSocket", (TlsSocket,), {"traffic": traffic})
        plain = PlainSocket(fileno=made.socket.detach())
        plain.traffic = traffic
        plain.settimeout(self.limits.idle_seconds)
        made.socket = plain
        bound(association, traffic)
        return made


@contextmanager
def association_with(
    peer: Peer, config: NodeConfig, contexts: Sequence[Any], roles: Sequence[Any] = (), handlers: Sequence[Any] = ()
) -> Iterator[Association]:
    """An association with a peer, released at the end; raises DeliveryError if the peer does not agree to one."""
    address = address_of(peer)
    entity = application_entity(config, _Caller)
    entity.limits = config.limits

    def on_open(event: Any) -> None:  # pynetdicom takes the time limit of the socket away when it is connected
        event.assoc.dul.socket.socket.settimeout(config.limits.idle_seconds)

    association = entity.associate(
        address,
        peer.port,
        contexts=list(contexts),
        ae_title=peer.ae_title,
        max_pdu=config.limits.pdu_bytes,
        ext_neg=list(roles),
        tls_args=(calling_tls(config.tls), address) if peer.tls else None,
        evt_handlers=[(evt.EVT_CONN_OPEN, on_open), *handlers],
    )
    try:
        if not association.is_established:
            if association.is_rejected:
                raise DeliveryError("deliver.peer_rejects", peer=peer.name)
            agreed = association.acceptor.primitive
            if agreed is not None and agreed.presentation_context_definition_results_list:  # to no context of it
                raise RefusedError("deliver.kind_refused", peer=peer.name)
            raise DeliveryError("deliver.peer_away", peer=peer.name)
        yield association
    finally:
        with suppress(Exception):  # the peer may end it meanwhile
            if association.is_established:
                association.release()
            else:
                association.kill()
