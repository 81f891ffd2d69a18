"""The work file of a batch: rows that are answered, so that an interrupted batch resumes where it stopped.

The file is beside the answers, under their name with `.part`. Its first line names the job. Each further line is one row
and its position in the job. One process at a time holds the file. The answers appear at the end, as a whole.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from pathlib import Path
from types import TracebackType
from typing import IO, Any, NamedTuple

from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import atomic_write, check_output_path, unwritable
from medrega_edge.io.jsonl import jsonl_line
from medrega_edge.io.lock import open_locked

HEADER = "medrega work "


class Position(NamedTuple):
    """The place of a row in a job: picture `picture` of the `picture_count` of item `item`, counted from 0."""

    item: int
    picture: int = 0
    picture_count: int = 1

    def next(self) -> Position:
        """The position of the following row."""
        if self.picture + 1 < self.picture_count:
            return Position(self.item, self.picture + 1, self.picture_count)
        return Position(self.item + 1)


class Journal:
    """The rows of one job that will become the file `out`. `job` is any text that tells this job from others."""

    def __init__(self, out: Path, job: str) -> None:
        """Open or resume the job; raises UsageError if the file is another job's, or another process holds it."""
        self.path = out.with_name(out.name + ".part")
        self.position = Position(0)  # of the next row
        self._out = out
        check_output_path(out)
        check_output_path(self.path)
        try:
            file = open_locked(self.path)
            if file is None:
                raise UsageError("batch.busy")
            self._file = file
            self._resume(f"{HEADER}{job}\n".encode())
        except OSError as error:
            raise unwritable(error) from None

    def __enter__(self) -> Journal:
        """Use as a context: rows that were added stay, whether the job was finished or not."""
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        """Unlock the file; remove it if it holds no row."""
        if self.position == Position(0):
            self.remove()
        self._file.close()

    def _resume(self, header: bytes) -> None:
        good = 0
        with self._reader() as written:
            first = written.readline()
            if first == header:
                good = len(first)
            elif not first.startswith(HEADER.encode()[: len(first)]) or written.readline():
                self._file.close()
                raise UsageError("batch.other_job")
            for line in written if good else ():
                position = _position_of(line)
                if position is None or position[:2] != self.position[:2]:
                    break  # torn by a kill or a power cut: answered again
                good += len(line)
                self.position = position.next()
        self._file.truncate(good)
        if good:
            return
        try:
            self._write(header)
        except OSError:
            self.remove()
            raise

    def add(self, position: Position, row: dict[str, Any]) -> None:
        """Add one row; raises ResourceError on a full disk, and the rows before it stay."""
        try:
            place = f"{position.item} {position.picture} {position.picture_count}\t"
            self._write(place.encode() + jsonl_line(row))
        except OSError as error:
            raise unwritable(error) from None
        self.position = position.next()

    def _write(self, line: bytes) -> None:
        self._file.seek(0, os.SEEK_END)  # reading moves the handle
        rest = memoryview(line)
        while rest:
            rest = rest[self._file.write(rest) :]
        os.fsync(self._file.fileno())

    def rows(self) -> Iterator[dict[str, Any]]:
        """The rows that were added, parsed one by one."""
        for line in self._row_lines():
            yield json.loads(line)

    def _row_lines(self) -> Iterator[bytes]:
        with self._reader() as written:
            written.readline()
            for line in written:
                yield line.partition(b"\t")[2]

    def _reader(self) -> IO[bytes]:
        """The file from its beginning, through the locked handle: on Windows no other handle may read a locked file."""
        self._file.seek(0)
        return os.fdopen(os.dup(self._file.fileno()), "rb")

    def publish(self) -> None:
        """Write the answers as a whole; may be repeated."""
        with atomic_write(self._out) as file:
            file.writelines(self._row_lines())

    def remove(self) -> None:
        """Remove the work file of a finished job."""
        if sys.platform == "win32":  # an open file cannot be removed there
            self._file.close()
        self.path.unlink(missing_ok=True)


def _position_of(line: bytes) -> Position | None:
    """The position that a line names; None if the line is not whole."""
    place, tab, row = line.partition(b"\t")
    try:
        json.loads(row)
        item, picture, picture_count = (int(number) for number in place.split())
    except ValueError:
        return None
    return Position(item, picture, picture_count) if tab and line.endswith(b"\n") else None
