"""One connection of a peer, and what the peer can take by it: bounded in bytes, in seconds and in messages.

pynetdicom reads whatever length a PDU claims, waits for its end without a limit, and queues messages faster than they
are answered. So the sockets here walk over the headers of the PDUs as the bytes pass, and end a connection that breaks a
bound. The traffic's other half counts what becomes of the PDUs as messages.
"""

from __future__ import annotations

import socket
import ssl
import threading
import time
from collections import deque
from collections.abc import Callable
from contextlib import suppress

from medrega_edge.i18n.message import Message

HEADER_BYTES = 6  # type, reserved, length of what follows in 4 bytes, big endian (PS3.8, 9.3)
ASSOCIATE_BYTES = 1 << 20  # of an association request: 128 presentation contexts with every syntax have 150 kB
SHORT_BYTES = 1024  # of a PDU to release or abort, which has 4
COMMAND_BYTES = 1 << 16  # of the command of a message
OTHER_BYTES = 4 << 20  # of the data set of a message that stores nothing: references to 20,000 instances
ENDLESS = 4  # a message of so many times the limit is not even waited for
MOST_UNANSWERED = 4  # messages; without other agreement a peer has to wait for each answer (PS3.7, D.3.3.3)
_REQUEST, _ACCEPT, _DATA = 1, 2, 4
_KNOWN_TYPES = range(1, 8)
# A-ABORT by the service provider: reason not specified, unrecognised PDU, invalid parameter value (PS3.8, 9.3.8).
_ABORT = b"\x07\0\0\0\0\x04\0\0\x02"
_UNSPECIFIED, _UNRECOGNISED, _INVALID = b"\0", b"\1", b"\6"


class Budget:
    """The bytes of messages that all connections together may hold in memory."""

    def __init__(self, limit: int) -> None:
        """Take the limit in bytes."""
        self._left = limit
        self._lock = threading.Lock()

    @property
    def left(self) -> int:
        """Bytes that are free."""
        return self._left

    def take(self, count: int) -> bool:
        """Take `count` bytes; False, and takes none, if they are not free."""
        with self._lock:
            if count > self._left:
                return False
            self._left -= count
            return True

    def give(self, count: int) -> None:
        """Give bytes back."""
        with self._lock:
            self._left += count


class Traffic:
    """What a peer sends on one connection. `on_refused` gets the message of a bound that the peer breaks."""

    def __init__(self, pdu_bytes: int, idle_seconds: float, budget: Budget, on_refused: Callable[[Message], None]) -> None:
        """Take the largest PDU of data in bytes, and the seconds for which a begun PDU is waited for."""
        self.is_requested = False  # whether an association request came whole
        self.on_early_end: Callable[[], None] = lambda: None  # called if the peer leaves before
        self._pdu_bytes, self._idle, self._budget, self._on_refused = pdu_bytes, idle_seconds, budget, on_refused
        self._header = bytearray()
        self._body = 0  # bytes of the PDU that are still to come
        self._kind = 0
        self._began: float | None = None
        self._is_told = False
        self._refusal: tuple[Message, bytes] | None = None
        self._lock = threading.Lock()
        self._command = self._size = self._held = 0  # of the message that is coming
        self._is_kept, self._is_closed = True, False
        self._unanswered: deque[int] = deque()  # bytes held by messages that came whole
        self._over: dict[int, Message] = {}

    # ---- bytes, as they pass

    def check(self) -> bytes | None:
        """The bytes to send before the connection ends, because a bound is broken; None if all is well."""
        if self._refusal is None and self._began is not None and time.monotonic() - self._began > self._idle:
            self.refuse(Message("receive.slow_pdu"), _UNSPECIFIED)
        if self._refusal is None:
            return None
        told, self._is_told = self._is_told, True
        return b"" if told else _ABORT + self._refusal[1]

    def refuse(self, message: Message, reason: bytes = _UNSPECIFIED) -> None:
        """End the connection at its next byte, and tell why once."""
        if self._refusal is None:
            self._refusal = message, reason
            self._on_refused(message)

    def received(self, data: bytes) -> None:
        """Walk over the headers of the PDUs in the next bytes."""
        at = 0
        while at < len(data) and self._refusal is None:
            if self._body:
                step = min(self._body, len(data) - at)
                self._body -= step
                self.is_requested |= not self._body and self._kind == _REQUEST
            else:
                step = min(HEADER_BYTES - len(self._header), len(data) - at)
                self._header += data[at : at + step]
                if len(self._header) == HEADER_BYTES:
                    self._begin(self._header[0], int.from_bytes(self._header[2:], "big"))
                    self._header.clear()
            at += step
        if not self._body and not self._header:
            self._began = None
        elif self._began is None:
            self._began = time.monotonic()

    def _begin(self, kind: int, length: int) -> None:
        if kind not in _KNOWN_TYPES:
            return self.refuse(Message("receive.wrong_pdu"), _UNRECOGNISED)
        limit = self._pdu_bytes if kind == _DATA else ASSOCIATE_BYTES if kind in (_REQUEST, _ACCEPT) else SHORT_BYTES
        if length > limit:
            return self.refuse(Message("receive.large_pdu"), _INVALID)
        self._kind, self._body = kind, length
        return None

    # ---- messages, as they are put together

    def fragment(self, command: int, data: int, is_first: bool, message: int | None, limit: int) -> bool:
        """Count the bytes of a PDU's fragments of command and data set; False if what came of the data set is to be dropped.

        `message` is the id of the message once its command is known, `limit` that of its data set in bytes.
        """
        with self._lock:
            if is_first:
                self._command = self._size = self._held = 0
                self._is_kept = True
            self._command += command
            self._size += data
            if self._command > COMMAND_BYTES or self._size > ENDLESS * limit:
                self.refuse(Message("receive.endless_message"))
            if self._is_kept and self._size > limit:
                self._drop(message, Message("receive.large_instance"))
            elif self._is_kept and (self._is_closed or not self._budget.take(data)):
                self._drop(message, Message("receive.memory_full"))
            elif self._is_kept:
                self._held += data
            return self._is_kept

    def _drop(self, message: int | None, reason: Message) -> None:
        self._budget.give(self._held)
        self._held, self._is_kept = 0, False
        if message is not None:
            self._over[message] = reason

    def completed(self, is_request: bool) -> None:
        """A message came whole. An answer is not held any longer."""
        with self._lock:
            if is_request:
                self._unanswered.append(self._held)
            else:
                self._budget.give(self._held)
            self._held = 0
            if len(self._unanswered) > MOST_UNANSWERED:
                self.refuse(Message("receive.many_messages"))

    def dropped(self, message: int) -> Message | None:
        """The reason for which the data set of a message was dropped; None if it was kept."""
        with self._lock:
            return self._over.pop(message, None)

    def answered(self) -> None:
        """The oldest request was answered."""
        with self._lock:
            if self._unanswered:
                self._budget.give(self._unanswered.popleft())

    def closed(self) -> None:
        """Nothing more will come or be answered. Can be called twice."""
        with self._lock:
            self._budget.give(self._held + sum(self._unanswered))
            self._held, self._is_closed = 0, True
            self._unanswered.clear()


class Bounded:
    """A socket whose bytes pass by its traffic."""

    traffic: Traffic

    def recv(self, size: int, flags: int = 0) -> bytes:
        """Receive bytes; none, as at their end, where a bound is broken or the time is over."""
        try:
            data: bytes = b"" if self.abort() else super().recv(size, flags)  # type: ignore[misc]
            self.traffic.received(data)
        except OSError:
            data = b""
        if self.abort():
            data = b""
        if not data and not self.traffic.is_requested:
            self.traffic.on_early_end()
        return data

    def abort(self) -> bool:
        """Send the peer an abort if its traffic is refused; returns whether it is."""
        abort = self.traffic.check()
        if abort is None:
            return False
        with suppress(OSError):
            self.sendall(abort)  # type: ignore[attr-defined]
        return True

    def hang_up(self) -> None:
        """Let whoever waits for bytes see the end of them."""
        self.shutdown(socket.SHUT_RDWR)

    def shutdown(self, how: int) -> None:
        """Shut down, also what has ended: pynetdicom would not close a socket after an error of its shutdown."""
        with suppress(OSError):
            super().shutdown(how)  # type: ignore[misc]

    def close(self) -> None:
        """Close the socket, and give back what its traffic holds."""
        super().close()  # type: ignore[misc]
        if hasattr(self, "traffic"):
            self.traffic.closed()


class PlainSocket(Bounded, socket.socket):
    """A socket without TLS."""


class TlsSocket(Bounded, ssl.SSLSocket):  # type: ignore[misc]
    """A socket with TLS; made by a context whose `sslsocket_class` it is."""
