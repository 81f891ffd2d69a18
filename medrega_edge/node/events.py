"""The events of the node: a line of JSON each on standard error. UIDs appear as the beginning of their hash only."""

from __future__ import annotations

import hashlib
import sys
import threading
from contextlib import suppress
from datetime import UTC, datetime
from typing import Protocol

from medrega_edge.io.safe_text import json_text

SHORT = 12  # hex digits of a hash: enough to find an instance again, and no UID


def short_hash(uid: str) -> str:
    """The first hex digits of the SHA-256 of a UID."""
    return hashlib.sha256(uid.encode()).hexdigest()[:SHORT]


class OnEvent(Protocol):
    """Takes the events: `on_event("received", peer="ct", instance=short_hash(uid))`. It never raises."""

    def __call__(self, event: str, /, **fields: str | int | float) -> None:
        """Take the name of the event and its fields, which name no patient."""


_writing = threading.Lock()


def print_event(event: str, /, **fields: str | int | float) -> None:
    """Write the line of an event on standard error; a stream that nobody reads any more stops no study."""
    now = datetime.now(UTC).isoformat(timespec="milliseconds")
    line = json_text({"time": now, "event": event, **fields}) + "\n"
    with _writing, suppress(OSError, ValueError):
        sys.stderr.write(line)
        sys.stderr.flush()
