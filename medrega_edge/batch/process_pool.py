"""A batch over several processes: parts of a job go out, rows come back in order.

For a small model one process and engine a core is faster than one process with threads: 100 images took 0.66 and 0.74 of
the time of one process, start included (two cores, default package, 2026-11-23). A large model waits for memory, so more
processes do not make it faster. The rows do not depend on the number of processes. The processes end with their parent,
however it ends, and hold none of its locks.
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
from pathlib import Path

from medrega_edge.batch.journal import Position
from medrega_edge.batch.parts import Job, Part, Row
from medrega_edge.engine import CACHE_BYTES, Engine, EngineOptions
from medrega_edge.errors import ResourceError
from medrega_edge.inference import memory
from medrega_edge.inference.devices import available_threads
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package

ITEMS_WORTH_A_PROCESS = 16  # a small model answers this many while a process starts
LARGE = 100_000_000  # bytes of a package from which one process runs it
PARTS_AHEAD = 4  # for each process: parts that it has or that wait to be written


def process_count(package: Package, threads: int | None, device: str, items: int) -> int:
    """Number of processes for `items`, with so many threads in all (None: all that are available)."""
    return max(1, min(most_processes(package, threads, device), items // ITEMS_WORTH_A_PROCESS))


def most_processes(package: Package, threads: int | None, device: str) -> int:
    """Number of processes that pay off for any number of items: one a core for a small package, as memory allows."""
    if device != "cpu" or package.total_bytes >= LARGE:
        return 1
    wanted = threads or available_threads()
    free = memory.free()
    return max(1, wanted if free is None else min(wanted, free // memory.peak(package.manifest)))


def answers(
    job: Job,
    start: Position,
    processes: int,
    model: str | None,
    threads: int | None,
    cache: Path | None = None,
    cache_bytes: int = CACHE_BYTES,
) -> Iterator[tuple[Position, Row]]:
    """Answer from `start` on by `processes` that share `threads` and a cache, in order; raises as one engine does."""
    waiting: deque[Future[list[tuple[Position, Row]]]] = deque()
    # Spawned, not forked: a fork would keep the lock of the work file when its parent is killed.
    context = multiprocessing.get_context("spawn")
    options = EngineOptions((threads or available_threads()) // processes, cache=cache, cache_bytes=cache_bytes)
    pool = ProcessPoolExecutor(processes, context, _initialise, (model, options))
    try:
        for part in job.parts(start):
            with _sigint_blocked():
                waiting.append(pool.submit(_answer, part))
            if len(waiting) >= PARTS_AHEAD * processes:
                yield from waiting.popleft().result()
        while waiting:
            yield from waiting.popleft().result()
    except BrokenProcessPool:
        raise ResourceError("batch.process_ended") from None
    except BaseException:  # an interruption does not wait for the parts under way; they are answered again
        for process in multiprocessing.active_children():
            process.terminate()
        raise
    finally:
        pool.shutdown(cancel_futures=True)


@contextmanager
def _sigint_blocked() -> Iterator[None]:
    """Let processes start with Ctrl-C blocked, which would end their start in a traceback; this process gets it after.

    The mask is what they inherit. It does not hold in this process where another thread takes the signal, as that of a
    progress bar does: Python would then interrupt the start halfway. So the handler waits, too.
    """
    if sys.platform == "win32":
        yield
        return
    received: list[int] = []
    is_main = threading.current_thread() is threading.main_thread()  # the one that runs handlers
    mask = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    handler = signal.signal(signal.SIGINT, lambda number, _: received.append(number)) if is_main else None
    try:
        yield
    finally:
        if is_main:
            signal.signal(signal.SIGINT, handler or signal.SIG_DFL)
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)
        if received:
            signal.raise_signal(signal.SIGINT)


_engine_options: tuple[str | None, EngineOptions]


def _initialise(model: str | None, options: EngineOptions) -> None:
    """Prepare a process; nothing in here can fail, which would print a traceback."""
    global _engine_options
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the parent gets it too, and ends them
    warnings.simplefilter("ignore")  # as in the parent: libraries would quote header values
    threading.Thread(target=end_with_parent, daemon=True).start()
    _engine_options = model, options


@cache
def _engine(model: str | None, options: EngineOptions) -> Engine:
    """Load the engine with the first part, so that its errors reach the parent."""
    return Engine(find_package(model), options)


def _answer(part: Part) -> list[tuple[Position, Row]]:
    return list(part.answers(_engine(*_engine_options)))


def end_with_parent() -> None:
    """Wait for the end of the parent, however it comes, and end this process."""
    parent = multiprocessing.parent_process()
    if parent is not None:
        wait([parent.sentinel])
        os._exit(1)
