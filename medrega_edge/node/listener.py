"""The listener: it lets in who may connect, and hands each connection to pynetdicom as a bounded one.

pynetdicom's server makes the TLS handshake where it accepts, so that one silent peer would keep all others out, and starts
two threads for whoever connects. Here the address and the number of connections are checked before anything is read, and
a handshake has its own thread and its end.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import Counter
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from pynetdicom.transport import ThreadedAssociationServer

from medrega_edge.i18n.message import Message
from medrega_edge.node.config import Limits
from medrega_edge.node.connection import Budget, PlainSocket, TlsSocket, Traffic
from medrega_edge.node.events import OnEvent
from medrega_edge.node.peer import Senders
from medrega_edge.node.receiving import MEGABYTE

WAITING = 16  # connections beyond the associations, so that DICOM refuses a peer too many
POLL_SECONDS = 0.1
COLLECT_TURNS = 600
TELL_SECONDS = 3600.0


class Refusals:
    """Tells of refused connections: the 1st, 2nd, 4th, 8th of a kind and so on, for a peer could fill a disk with them.

    After an hour without a line the next refusal gets one.
    """

    def __init__(self, on_event: OnEvent, clock: Callable[[], float] = time.monotonic) -> None:
        """`on_event` gets the lines."""
        self._on_event, self._clock = on_event, clock
        self._counts: Counter[str] = Counter()
        self._told: dict[str, float] = {}
        self._lock = threading.Lock()

    def add(self, message: Message) -> None:
        """Count a refusal, and tell of it."""
        with self._lock:
            self._counts[message.code] += 1
            count, now = self._counts[message.code], self._clock()
            is_due = count & (count - 1) == 0 or now - self._told[message.code] >= TELL_SECONDS
            if is_due:
                self._told[message.code] = now
        if is_due:
            self._on_event("refused", code=message.code, count=count)

    def count(self, code: str) -> int:
        """How many there were."""
        return self._counts[code]


class Listener(ThreadedAssociationServer):  # type: ignore[misc]
    """Accepts connections of the peers that may send, so many at a time."""

    daemon_threads = True
    block_on_close = False
    request_queue_size = 128

    def __init__(self, *arguments: Any, senders: Senders, limits: Limits, refusals: Refusals, **options: Any) -> None:
        """Take pynetdicom's arguments, who may connect, and the limits."""
        self._senders, self._limits, self._refusals = senders, limits, refusals
        self._budget = Budget(2 * limits.instance_megabytes * MEGABYTE)
        self._most = limits.associations + WAITING
        self._beginning = 0  # connections that have no association yet
        self._lock = threading.Lock()
        super().__init__(*arguments, **options)
        self._gc = [0, COLLECT_TURNS]  # pynetdicom collects garbage of the whole process every so many turns

    @property
    def budget(self) -> Budget:
        """The memory that connections share."""
        return self._budget

    def get_request(self) -> tuple[socket.socket, Any]:
        """Accept a connection; its handshake comes later, in a thread of its own."""
        accepted: tuple[socket.socket, Any] = self.socket.accept()
        return accepted

    def verify_request(self, request: Any, client_address: Any) -> bool:
        """Whether this address may connect, and there is room for it."""
        try:
            return self._admits(client_address[0])
        except Exception:  # it would end the thread that listens
            return False

    def _admits(self, address: str) -> bool:
        if not self._senders.knows(address):
            self._refusals.add(Message("receive.unknown_address"))
        elif self._beginning + len(self.ae.active_associations) >= self._most:
            self._refusals.add(Message("receive.many_connections"))
        else:
            return True
        return False

    def process_request(self, request: Any, client_address: Any) -> None:
        """Go on in a thread."""
        self._count(1)
        try:
            super().process_request(request, client_address)
        except BaseException:
            self._count(-1)  # no thread was started to do it
            raise

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Make the connection a bounded one, and start its association."""
        try:
            bounded = self._bounded(request)
            if bounded is not None:
                super().process_request_thread(bounded, client_address)
        finally:
            self._count(-1)

    def handle_error(self, request: Any, client_address: Any) -> None:
        """Tell that a connection failed, without the trace that would be printed."""
        self._refusals.add(Message("receive.connection_failed"))

    def _count(self, change: int) -> None:
        with self._lock:
            self._beginning += change

    def _bounded(self, request: socket.socket) -> PlainSocket | TlsSocket | None:
        opened: socket.socket = request
        made: PlainSocket | TlsSocket
        try:
            if self.ssl_context is None:
                opened = made = PlainSocket(fileno=request.detach())
                made.settimeout(self._limits.idle_seconds)
            else:
                request.settimeout(self._limits.idle_seconds)
                guarded: TlsSocket = self.ssl_context.wrap_socket(request, server_side=True, do_handshake_on_connect=False)
                opened = made = guarded
                guarded.do_handshake()  # to its end within the timeout, however slowly the bytes come
        except (OSError, ValueError):  # SSLError is an OSError
            self._refusals.add(Message("receive.no_handshake"))
            with suppress(OSError):
                opened.close()
            return None
        made.traffic = Traffic(self._limits.pdu_bytes, self._limits.idle_seconds, self._budget, self._refusals.add)
        return made


def listening_context(context: ssl.SSLContext | None) -> ssl.SSLContext | None:
    """The context, changed so that its sockets are bounded."""
    if context is not None:
        context.sslsocket_class = TlsSocket
    return context
