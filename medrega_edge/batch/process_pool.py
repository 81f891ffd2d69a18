"""A batch over several processes: pieces of the work go out, rows come back in order. Knows no question and no image.

A small model is faster for each core with a process and an engine of its own than for one with threads: 100 images took 0.66
and 0.74 of the time that one process took, start included (two cores, default package, 2026-11-23). A large one waits for
memory, which more processes do not make faster. No row depends on how many there are. They end with their parent, however
that ends, and hold none of its locks.
"""

from __future__ import annotations

import multiprocessing
import os
import signal
import sys
import threading
import warnings
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from functools import cache
from multiprocessing.connection import wait
from typing import Any, Protocol

from medrega_edge.batch.journal import Position
from medrega_edge.engine import Engine, load
from medrega_edge.errors import ResourceError
from medrega_edge.inference import memory
from medrega_edge.inference.devices import available_threads
from medrega_edge.package.package import Package

ITEMS_WORTH_A_PROCESS = 16  # one takes as long to start as a small model takes for as many images
LARGE = 100_000_000  # bytes of a package that is run by one process
AHEAD = 4  # pieces for each process that are under way or wait to be written

Row = dict[str, Any]


class Work(Protocol):
    """What there is to answer, and how it may be parted; it can be sent to another process."""

    def __len__(self) -> int:
        """How many items there are."""

    def pieces(self, start: Position) -> Iterator[tuple[Position, int]]:
        """Parts of the work from `start` on: where each begins, and before which item it ends."""

    def answers(self, engine: Engine, start: Position, stop: int | None = None) -> Iterator[tuple[Position, Row]]:
        """Answer from `start` on, up to the item `stop`."""


def count(package: Package, threads: int | None, device: str, items: int) -> int:
    """How many processes `items` are worth, with so many threads in all (None: all there are)."""
    if device != "cpu" or package.total_bytes >= LARGE:
        return 1
    wanted = min(threads or available_threads(), items // ITEMS_WORTH_A_PROCESS)
    free = memory.free()
    if free is not None:
        wanted = min(wanted, free // memory.peak(package.manifest))
    return max(1, wanted)


def answers(
    work: Work, start: Position, processes: int, model: str | None, threads: int | None
) -> Iterator[tuple[Position, Row]]:
    """Answer from `start` on by `processes` that share `threads`, in order; raises as one engine does."""
    waiting: deque[Future[list[tuple[Position, Row]]]] = deque()
    # Spawned, not forked: a fork would hold the lock of the work file, and go on with it when its parent is killed.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(processes, context, _begin, (work, model, (threads or available_threads()) // processes))
    try:
        for piece in work.pieces(start):
            with _unheard():
                waiting.append(pool.submit(_answer, *piece))
            if len(waiting) >= AHEAD * processes:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise ResourceError(
            "A process of the batch ended by itself, most likely for want of memory; ask again with --threads 1."
        ) from None
    except BaseException:  # an interruption does not wait for what they are at, which is answered again
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _unheard() -> Iterator[None]:
    """A process begun in here never hears of Ctrl-C, which would end its start in a traceback; this one hears later."""
    if sys.platform == "win32":
        yield
        return
    before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    try:
        yield
    finally:
        signal.pthread_sigmask(signal.SIG_SETMASK, before)


_work: Work
_how: tuple[str | None, int]


def _begin(work: Work, model: str | None, threads: int) -> None:
    """What a process does first; nothing in it can fail, which would print a traceback."""
    global _work, _how
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent is told too, and ends them
    warnings.simplefilter("ignore")  # as in the parent: libraries would quote header values
    threading.Thread(target=_end_with_parent, daemon=True).start()
    _work, _how = work, (model, threads)


@cache
def _engine(model: str | None, threads: int) -> Engine:
    """Loaded with the first piece: what goes wrong then reaches the parent as the error it is."""
    return load(model, threads=threads)


def _answer(start: Position, stop: int) -> list[tuple[Position, Row]]:
    return list(_work.answers(_engine(*_how), start, stop))


def _end_with_parent() -> None:
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
