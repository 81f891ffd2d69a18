"""A drop folder: every file that arrives is answered, and its answers appear in another folder as a whole.

A file has arrived when its size and time have not changed for a while; that covers files that are copied in and files that
are renamed in. Files under the names by which programs mark unfinished ones wait until they are renamed. Answers are named
after the beginning of the file's SHA-256, so that a pause loses nothing and repeats nothing. The folder is polled: network
shares report no changes. Files are read, never moved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medrega_edge.batch.jobs import BatchQuestion, answer_file, check_outside, digest_of, is_image_file
from medrega_edge.batch.parts import Row
from medrega_edge.batch.rows import RowOptions
from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import image_names, unwritable
from medrega_edge.io.jsonl import write_lines
from medrega_edge.io.lock import open_locked

if TYPE_CHECKING:
    from medrega_edge.engine import Engine

PARTIAL_SUFFIXES = (".tmp", ".part", ".partial", ".crdownload", ".filepart", "~")
LOCK = ".medrega-watch"  # in the folder of answers; it holds the job


class _State(NamedTuple):
    size: int
    changed: int


class Arrivals:
    """The files of a folder that have arrived, each once for each content it had."""

    def __init__(self, folder: Path, settle: float) -> None:
        """Watch `folder`; a file has arrived after `settle` seconds without a change."""
        self._folder, self._settle = folder, settle
        self._since: dict[str, tuple[_State, float]] = {}
        self._reported: dict[str, _State] = {}

    def poll(self, now: float) -> list[tuple[str, _State]]:
        """Return the files that have arrived, at the time `now` in seconds; raises UsageError for an unreadable folder."""
        since: dict[str, tuple[_State, float]] = {}
        reported: dict[str, _State] = {}
        arrived = []
        for name in image_names(self._folder):
            state = self.state(name)
            if state is None or not state.size or name.lower().endswith(PARTIAL_SUFFIXES):
                continue
            known, start = self._since.get(name, (state, now))
            since[name] = (state, start if known == state else now)
            if self._reported.get(name) == state:
                reported[name] = state
            elif now - since[name][1] >= self._settle:
                reported[name] = state
                arrived.append((name, state))
        self._since, self._reported = since, reported  # files that have gone are forgotten
        return arrived

    def state(self, name: str) -> _State | None:
        """Size and time of a file now; None if it has gone."""
        try:
            status = (self._folder / name).stat()
        except OSError:
            return None
        return _State(status.st_size, status.st_mtime_ns)


def check_folder(folder: Path, out: Path) -> None:
    """Raise UsageError if the folder is not there or the answers would be in it."""
    check_outside(folder, out)
    if not os.path.isdir(folder):
        raise UsageError("batch.no_watch_folder")


def watch(
    engine: Engine,
    folder: Path,
    out: Path,
    question: BatchQuestion,
    job: str,
    settle: float,
    options: RowOptions = RowOptions(),
) -> Iterator[tuple[str, list[Row]]]:
    """Ask about every image that arrives in `folder`, for ever; yields its name and its rows when they are written.

    A file that is not an image has no rows. `job` tells this question and model from others. Raises UsageError for folders
    that cannot be used.
    """
    check_folder(folder, out)
    with _acquire_output_folder(out, job):
        arrivals = Arrivals(folder, settle)
        while True:
            for name, state in arrivals.poll(time.monotonic()):
                path = folder / name
                if not is_image_file(path):
                    yield name, []
                    continue
                digest = digest_of(path)
                target = out / f"{digest}.jsonl"
                if digest and target.exists():
                    continue  # answered before a pause, or the same file under another name
                rows = [row for _, row in answer_file(engine, folder, name, question, options)]
                if arrivals.state(name) != state:
                    continue  # it changed while it was read, and will arrive again
                if digest:  # else it cannot be read, and its rows say so
                    write_lines(rows, target)
                yield name, rows
            time.sleep(min(1.0, settle / 2))


def _acquire_output_folder(out: Path, job: str) -> FileIO:
    """Make the folder of answers if needed, and lock it for `job`; raises UsageError."""
    try:
        out.mkdir(mode=0o700, exist_ok=True)
        file = open_locked(out / LOCK)
        if file is None:
            raise UsageError("batch.busy")
        known = file.read()
        if not job.encode().startswith(known):
            file.close()
            raise UsageError("batch.other_answers")
        file.seek(0)
        file.write(job.encode())
    except OSError as error:
        raise unwritable(error) from None
    return file
