"""A drop folder: what arrives is asked about, and its answers appear in another folder, as a whole.

Knows files that come and go; answers nothing itself. A file has arrived when neither its size nor its time has changed
for a while: that holds for one that is copied in and for one that is renamed in; names by which programs hide what they are
still writing are left alone until they are renamed. Answers are named after what the file holds (the beginning of its
SHA-256), so that after a pause nothing is lost and nothing done twice. Files that arrive are read, never moved.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from io import FileIO
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

from medrega_edge.batch.jobs import BatchQuestion, Row, ask_about, check_apart, digest_of
from medrega_edge.batch.journal import locked
from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import atomic_write, image_names, unwritable
from medrega_edge.io.safe_text import json_text

if TYPE_CHECKING:
    from medrega_edge.engine import Engine

PARTIAL_SUFFIXES = (".tmp", ".part", ".partial", ".crdownload", ".filepart", "~")
LOCK = ".medrega-watch"  # in the folder of answers; it says what was asked


class _State(NamedTuple):
    size: int
    changed: int


class Arrivals:
    """The files of a folder that have come to rest, each told once for each content it had."""

    def __init__(self, folder: Path, settle: float) -> None:
        """Watch `folder`; a file has come to rest after `settle` seconds without a change."""
        self._folder, self._settle = folder, settle
        self._since: dict[str, tuple[_State, float]] = {}
        self._told: dict[str, _State] = {}

    def look(self, now: float) -> list[tuple[str, _State]]:
        """Look once, at the time `now` in seconds; raises UsageError when the folder cannot be read."""
        since: dict[str, tuple[_State, float]] = {}
        told: dict[str, _State] = {}
        rested = []
        for name in image_names(self._folder):
            state = self.state(name)
            if state is None or not state.size or name.lower().endswith(PARTIAL_SUFFIXES):
                continue
            known, start = self._since.get(name, (state, now))
            since[name] = (state, start if known == state else now)
            if self._told.get(name) == state:
                told[name] = state
            elif now - since[name][1] >= self._settle:
                told[name] = state
                rested.append((name, state))
        self._since, self._told = since, told  # what has gone is forgotten
        return rested

    def state(self, name: str) -> _State | None:
        """How the file is now; None when it has gone."""
        try:
            found = (self._folder / name).stat()
        except OSError:
            return None
        return _State(found.st_size, found.st_mtime_ns)


def check_folder(folder: Path, out: Path) -> None:
    """Refuse a folder that is not there, or whose answers would lie in it; raises UsageError."""
    check_apart(folder, out)
    if not os.path.isdir(folder):
        raise UsageError("The folder to watch is not there; make it, or name another.")


def watch(
    engine: Engine,
    folder: Path,
    out: Path,
    asking: BatchQuestion,
    job: str,
    settle: float,
    include_identifiers: bool = False,
) -> Iterator[list[Row]]:
    """Ask about every file that arrives in `folder`, for ever; yields its rows when they are written.

    `job` tells this question and model from others. Raises UsageError for folders that will not do.
    """
    check_folder(folder, out)
    with _take(out, job):
        arrivals = Arrivals(folder, settle)
        while True:
            for name, state in arrivals.look(time.monotonic()):
                path = folder / name
                digest = digest_of(path)
                target = out / f"{digest}.jsonl"
                if digest and target.exists():
                    continue  # answered before a pause, or the same file under another name
                rows = [row for _, _, row in ask_about(engine, path, asking, include_identifiers)]
                if arrivals.state(name) != state:
                    continue  # it changed under our eyes, and will come to rest again
                if digest:  # else it cannot be read, as its rows say
                    with atomic_write(target) as file:
                        file.writelines((json_text(row) + "\n").encode() for row in rows)
                yield rows
            time.sleep(min(1.0, settle / 2))


def _take(out: Path, job: str) -> FileIO:
    """Make the folder of answers, if need be, and take it for `job` alone; raises UsageError."""
    try:
        out.mkdir(mode=0o700, exist_ok=True)
        file = locked(out / LOCK)
        known = file.read()
        if not job.encode().startswith(known):
            file.close()
            raise UsageError("The folder of answers holds those to another question or model; name another --out.")
        file.seek(0)
        file.write(job.encode())
    except OSError as error:
        raise unwritable(error) from None
    return file
