"""The work file of a batch: what is answered is kept, a killed batch goes on where it stopped, and only one runs at a time.

Knows lines and the file system; knows no question. The file stands beside the answers, under their name with `.part`: its
first line says whose work it is, each further line is one row and its place in the work. It is locked while it is open,
and the lock ends with the process, however that ends. The answers themselves appear at the end, as a whole.
"""

from __future__ import annotations

import errno
import json
import os
import sys
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from types import TracebackType
from typing import Any, NamedTuple

from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import atomic_write, check_output_path, unwritable
from medrega_edge.io.safe_text import json_text

HEADER = "medrega work "
NO_LOCKS = (errno.ENOLCK, errno.ENOTSUP, errno.EOPNOTSUPP, errno.ENOSYS, errno.EINVAL)  # of some network shares


class Position(NamedTuple):
    """Where a row stands: picture `part` of the `parts` of item `item`, counted from 0."""

    item: int
    part: int = 0
    parts: int = 1

    def next(self) -> Position:
        """The place behind this one."""
        return Position(self.item, self.part + 1, self.parts) if self.part + 1 < self.parts else Position(self.item + 1)


class Journal:
    """The rows of the work `job` (any text that tells one from another), which are to become the file `out`."""

    def __init__(self, out: Path, job: str) -> None:
        """Take up the work where it stopped; raises UsageError when it is another's or when somebody is at it."""
        self.path = out.with_name(out.name + ".part")
        self.place = Position(0)  # of the next row
        self._out = out
        check_output_path(out)
        check_output_path(self.path)
        try:
            self._file = locked(self.path)
            self._take_up(f"{HEADER}{job}\n".encode())
        except OSError as error:
            raise unwritable(error) from None

    def __enter__(self) -> Journal:
        """Use as a context: what was added stays, finished or not."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Let go of the file; one that holds no row goes."""
        if self.place == Position(0):
            self.remove()
        self._file.close()

    def _take_up(self, header: bytes) -> None:
        good = 0
        with self.path.open("rb") as written:
            first = written.readline()
            if first == header:
                good = len(first)
            elif not first.startswith(HEADER.encode()[: len(first)]) or written.readline():
                self._file.close()
                raise UsageError(
                    "Beside the answers lies unfinished work on other questions, images or options (it ends in .part); "
                    "delete it to begin anew, or name another --out."
                )
            for line in written if good else ():
                place = _place(line)
                if place is None or place[:2] != self.place[:2]:
                    break  # torn by a kill or a power cut: answered again
                good += len(line)
                self.place = place.next()
        self._file.truncate(good)
        self._file.seek(good)
        if good:
            return
        try:
            self._write(header)
        except OSError:
            self.remove()
            raise

    def add(self, place: Position, row: dict[str, Any]) -> None:
        """Keep one row; raises ResourceError on a full disk, and what was kept before stays."""
        try:
            self._write(f"{place.item} {place.part} {place.parts}\t{json_text(row)}\n".encode())
        except OSError as error:
            raise unwritable(error) from None
        self.place = place.next()

    def _write(self, line: bytes) -> None:
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())

    def rows(self) -> Iterator[dict[str, Any]]:
        """What was added so far, read back row by row."""
        for line in self._lines():
            yield json.loads(line)

    def _lines(self) -> Iterator[bytes]:
        with self.path.open("rb") as file:
            file.readline()
            for line in file:
                yield line.partition(b"\t")[2]

    def publish(self) -> None:
        """Write the answers as a whole; may be done again."""
        with atomic_write(self._out) as file:
            file.writelines(self._lines())

    def remove(self) -> None:
        """The work is done: the work file goes."""
        if sys.platform == "win32":  # an open file stays there
            self._file.close()
        self.path.unlink(missing_ok=True)


def _place(line: bytes) -> Position | None:
    """The place that a line names; None when the line is not whole."""
    place, tab, row = line.partition(b"\t")
    try:
        json.loads(row)
        item, part, parts = (int(number) for number in place.split())
    except ValueError:
        return None
    return Position(item, part, parts) if tab and line.endswith(b"\n") else None


def locked(path: Path) -> FileIO:
    """Open a file without a buffer, made when it is not there, as the only one who may; raises UsageError or OSError."""
    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
        try:
            _lock(file)
        except OSError as error:
            empty = not os.fstat(file.fileno()).st_size
            file.close()
            if error.errno in NO_LOCKS:
                if empty:  # just made, and of no use
                    path.unlink()
                raise
            raise UsageError("Another medrega is writing to this place; wait until it has ended, or name another.") from None
        try:
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        file.close()  # its owner ended and removed it in this very moment


if sys.platform == "win32":
    import msvcrt

    def _lock(file: FileIO) -> None:
        file.seek(1 << 40)  # a byte behind all others: on Windows a locked byte cannot be read
        msvcrt.locking(file.fileno(), msvcrt.LK_NBLCK, 1)
        file.seek(0)
else:
    import fcntl

    def _lock(file: FileIO) -> None:
        fcntl.flock(file.fileno(), fcntl.LOCK_EX | fcntl.LOCK_NB)
