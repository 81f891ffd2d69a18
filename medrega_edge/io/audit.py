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
from typing import IO, Any

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
    """A file that grows by a line for each answer; one process writes it at a time."""

    def __init__(self, path: Path, *, mends: bool = False) -> None:
        """Open a log, and go on after its last line; raises UsageError, ResourceError, and GateError for a broken chain.

        With `mends` a line that a kill cut off at the end is removed: nothing was given out after it.
        """
        try:
            file = open_locked(path)
        except OSError as error:
            raise unwritable(error) from None
        if file is None:
            raise ResourceError("audit.in_use")
        self._file = file
        self._lock = threading.Lock()  # answers come from several workers
        try:
            # By this handle: where locks are mandatory, another one may not read.
            with os.fdopen(os.dup(file.fileno()), "rb") as written:
                _, self._previous, whole = _verified(written, mends=mends)
            file.truncate(whole)
            file.seek(whole)
        except MedregaError:
            file.close()
            raise
        except OSError as error:
            file.close()
            raise unwritable(error) from None

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
        with path.open("rb") as file:
            return _verified(file)[:2]
    except OSError:
        raise UsageError("audit.unreadable") from None


def _verified(file: IO[bytes], *, mends: bool = False) -> tuple[int, str, int]:
    """Check a log line by line; returns the number of lines, the last hash, and the bytes of what is whole."""
    previous, count, whole = _START, 0, 0
    for count, raw in enumerate(file, 1):
        if mends and not raw.endswith(b"\n"):  # only the last one can be such
            return count - 1, previous, whole
        previous = _next_hash(raw, previous, count)
        whole += len(raw)
    return count, previous, whole


def _next_hash(raw: bytes, previous: str, number: int) -> str:
    """The hash that a line ends with; raises GateError if the line is not whole or does not follow `previous`."""
    try:
        entry = load_json(raw.decode("utf-8"))
    except UnicodeDecodeError:
        raise UsageError("audit.unreadable") from None
    except JsonFault:
        raise GateError("audit.broken", line=number) from None
    if not isinstance(entry, dict) or set(entry) != {*_KEYS, "hash"} or not raw.endswith(b"\n"):
        raise GateError("audit.broken", line=number)
    digest = entry.pop("hash")
    if entry["previous"] != previous or hash_of(entry) != digest:
        raise GateError("audit.broken", line=number)
    return str(digest)
