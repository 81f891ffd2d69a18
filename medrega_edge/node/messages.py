"""pynetdicom's service providers, bounded: a message has a limit, and one that cannot be understood ends its association.

As they are, they gather a message whatever its length, and a malformed command or request raises in a thread, which then
ends without closing the connection.
"""

from __future__ import annotations

from typing import Any

from pynetdicom.acse import ACSE
from pynetdicom.association import Association
from pynetdicom.dimse import DIMSEServiceProvider
from pynetdicom.dimse_messages import DIMSEMessage
from pynetdicom.fsm import StateMachine

from medrega_edge.i18n.message import Message
from medrega_edge.node.connection import OTHER_BYTES, Bounded, Traffic

_COMMAND = 1  # the bit of a fragment's control byte that tells a command from a data set


def bound(association: Association, traffic: Traffic, instance_bytes: int = OTHER_BYTES) -> None:
    """Bound an association that has not begun: its instances have so many bytes at most."""
    association.dimse = _Messages(association, traffic, instance_bytes)
    association.acse = _Negotiation(association, traffic)
    association.dul.state_machine = _Machine(association, traffic)


class _Messages(DIMSEServiceProvider):  # type: ignore[misc]
    """Counts what comes and what is answered, and drops a data set that is too large while it comes."""

    message: Any  # the one that is coming

    def __init__(self, association: Association, traffic: Traffic, instance_bytes: int) -> None:
        super().__init__(association)
        self._traffic, self._instance_bytes = traffic, instance_bytes

    def receive_primitive(self, primitive: Any) -> None:
        is_first = self.message is None
        if is_first:
            self.message = DIMSEMessage()
        message = self.message
        fragments = primitive.presentation_data_value_list
        command = sum(len(data) for _, data in fragments if data[0] & _COMMAND)
        data_set = sum(len(data) for _, data in fragments) - command
        stores = type(message).__name__ == "C_STORE_RQ"
        limit = self._instance_bytes if stores else OTHER_BYTES
        number = getattr(message.command_set, "MessageID", None)
        if not self._traffic.fragment(command, data_set, is_first, number, limit):
            message.data_set.seek(0)
            message.data_set.truncate()
            fragments[:] = [(context, data if data[0] & _COMMAND else data[:1]) for context, data in fragments]
        super().receive_primitive(primitive)
        if self.message is None:
            self._traffic.completed(is_request=type(message).__name__.endswith("_RQ"))

    def send_msg(self, primitive: Any, context_id: int) -> None:
        super().send_msg(primitive, context_id)
        if primitive.MessageIDBeingRespondedTo is not None:
            self._traffic.answered()


class _Machine(StateMachine):  # type: ignore[misc]
    """Ends an association whose peer sent what raises."""

    def __init__(self, association: Association, traffic: Traffic) -> None:
        super().__init__(association.dul)
        self._association, self._traffic = association, traffic

    def do_action(self, event: str) -> None:
        try:
            super().do_action(event)
        except Exception:  # whatever pynetdicom raises on what it did not expect
            _end(self._association, self._traffic)


class _Negotiation(ACSE):  # type: ignore[misc]
    """The same for an association request."""

    def __init__(self, association: Association, traffic: Traffic) -> None:
        super().__init__(association)
        self._traffic = traffic

    def negotiate_association(self) -> None:
        try:
            super().negotiate_association()
        except Exception:  # the same
            _end(self.assoc, self._traffic)


def _end(association: Association, traffic: Traffic) -> None:
    traffic.refuse(Message("receive.not_understood"))
    bounded = association.dul.socket.socket
    if isinstance(bounded, Bounded):
        bounded.abort()
        bounded.hang_up()
    association.is_aborted, association.is_established = True, False
    association._kill = True  # both threads end, as where pynetdicom itself meets a fault
    association.dul.kill_dul()
    association.dul.to_user_queue.put(None)  # for who waits
    association.dimse.msg_queue.put((None, None))
