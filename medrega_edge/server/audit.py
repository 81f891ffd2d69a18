"""An audit log: one line of JSON for each answer, chained by hashes, so that a line that is changed or missing shows.

A line holds hashes of the image, the question and the answer, and no word of them. The chain proves order and completeness
up to its last line: who can write the file can also cut off its end, or write all of it anew. So the last hash has to be
kept elsewhere from time to time; `medrega audit verify` prints it.
"""

from __future__ import annotations

import hashlib
import json
import os
import threading
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from medrega_edge.errors import GateError, MedregaError, ResourceError, UsageError
from medrega_edge.io.atomic import unwritable
from medrega_edge.io.lock import open_locked
from medrega_edge.io.strict_json import JsonFault, load_json

_START = "0" * 64  # what the first line follows
_KEYS = ("time", "package", "image", "question", "answer", "previous")


def hash_of(value: Any) -> str:
    """Return the SHA-256 of a value, as JSON with sorted keys."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, ensure_ascii=True).encode()).hexdigest()


class AuditLog:
    """A file that grows by a line for each answer; one server writes it at a time."""

    def __init__(self, path: Path) -> None:
        """Open a log, and go on after its last line; raises UsageError, ResourceError, and GateError for a broken chain."""
        try:
            file = open_locked(path)
        except OSError as error:
            raise unwritable(error) from None
        if file is None:
            raise ResourceError("audit.in_use")
        self._file = file
        self._lock = threading.Lock()  # answers come from several workers
        try:
            self._previous = _verified(file.read())[1]  # by this handle: where locks are mandatory, another one may not read
        except MedregaError:
            file.close()
            raise

    def add(self, package: str, image: str, question: Any, answer: Any) -> None:
        """Write the line of an answer, and wait until it is on the disk; raises ResourceError."""
        with self._lock:
            self._add(package, image, question, answer)

    def _add(self, package: str, image: str, question: Any, answer: Any) -> None:
        line = {
            "time": datetime.now(UTC).isoformat(timespec="milliseconds"),
            "package": package,
            "image": image,
            "question": hash_of(question),
            "answer": hash_of(answer),
            "previous": self._previous,
        }
        digest = hash_of(line)
        text = (json.dumps(line | {"hash": digest}) + "\n").encode()
        size = self._file.tell()
        try:
            written = self._file.write(text)
            os.fsync(self._file.fileno())
            is_whole = written == len(text)
        except OSError:
            is_whole = False
        if not is_whole:
            with suppress(OSError):
                self._file.truncate(size)  # half a line would break the chain for good
                self._file.seek(size)
            raise ResourceError("audit.not_written")
        self._previous = digest

    def close(self) -> None:
        """Close the file, and let others write it."""
        with self._lock:
            self._file.close()


def verify(path: Path) -> tuple[int, str]:
    """Check a log; returns the number of its lines and the last hash. Raises GateError for the first line that is wrong."""
    try:
        return _verified(path.read_bytes())
    except OSError:
        raise UsageError("audit.unreadable") from None


def _verified(data: bytes) -> tuple[int, str]:
    previous, count = _START, 0
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError:
        raise UsageError("audit.unreadable") from None
    for count, line in enumerate(text.split("\n")[:-1], 1):
        try:
            entry = load_json(line)
        except JsonFault:
            raise GateError("audit.broken", line=count) from None
        if not isinstance(entry, dict) or set(entry) != {*_KEYS, "hash"}:
            raise GateError("audit.broken", line=count)
        digest = entry.pop("hash")
        if entry["previous"] != previous or hash_of(entry) != digest:
            raise GateError("audit.broken", line=count)
        previous = digest
    if text and not text.endswith("\n"):
        raise GateError("audit.broken", line=count + 1)
    return count, previous
