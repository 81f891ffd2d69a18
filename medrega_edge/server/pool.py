"""The workers of a server: a bounded queue in front of a few processes, each with an engine of its own.

A request goes to the worker that has its image, if that one is free or nearly so, else to another. A worker that dies takes
one request with it, and is replaced.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections import deque
from collections.abc import Callable, Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from itertools import chain, repeat
from multiprocessing.process import BaseProcess
from typing import Any

from medrega_edge.errors import MedregaError, ResourceError
from medrega_edge.server.jobs import Job
from medrega_edge.server.worker import WorkerOptions, run_worker

START_SECONDS = 300.0  # for a process to load its engine
SEND_SECONDS = 0.05  # for a job to go into its pipe
STUCK_SECONDS = 1.0  # from when a job is given up to when its process is killed
MOST_SKIPPED = 4  # times that a later request may be served first because its worker has its image
RESTART_PAUSES = (0.0, 0.5, 2.0, 10.0)  # seconds before a worker that does not start is started again

OnPiece = Callable[[str], None]


class Busy(MedregaError):
    """The queue is full, or no worker runs: the client may try again later."""

    exit_code = 6
    kind = "busy"


class TooLate(MedregaError):
    """The answer was not there in time."""

    exit_code = 6
    kind = "deadline"


class WorkerEnded(Exception):
    """The process of a worker ended while it had a job."""


class _Worker:
    """One process, its pipes, and the thread that waits at them.

    Images have a pipe of their own, as bytes: what a client sends is never unpickled.
    """

    def __init__(self, number: int, options: WorkerOptions) -> None:
        self.number, self._options = number, options
        self._sending = threading.Lock()  # a cancellation may come while the thread sends a job
        self._state = threading.Lock()  # of the process: it may be stopped while it starts
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"worker-{number}")
        self._process: BaseProcess | None = None
        self._has_ended = self._is_stopped = self._is_cancelled = False
        self.facts: dict[str, Any] = {}

    async def start(self) -> None:
        """Start the process, and wait until its engine is loaded; raises as `load` does, and WorkerEnded."""
        await self._in_thread(self._start)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._jobs, their_jobs = context.Pipe()
        their_images, self._images = context.Pipe(duplex=False)
        process = context.Process(target=run_worker, args=(their_jobs, their_images, self._options), daemon=True)
        with self._state:
            if self._is_stopped:
                raise WorkerEnded
            process.start()
            self._process = process
        for theirs in (their_jobs, their_images):
            theirs.close()  # so that the end of the process ends the pipe
        with self._killed_on_failure():
            if not self._jobs.poll(START_SECONDS):
                raise WorkerEnded
            kind, value = self._jobs.recv()
        if kind == "error":
            raise value
        self.facts = value

    async def do(self, job: Job, data: bytes, on_piece: OnPiece | None) -> Any:
        """Do a job; raises what it raises, and WorkerEnded. A job that was cancelled returns None."""
        self._is_cancelled = False
        return await self._in_thread(self._do, job, data, on_piece, asyncio.get_running_loop())

    def _do(self, job: Job, data: bytes, on_piece: OnPiece | None, loop: asyncio.AbstractEventLoop) -> Any:
        with self._killed_on_failure():
            with self._sending:
                if self._is_cancelled:
                    return None
                self._jobs.send(job)
            while True:
                kind, *values = self._jobs.recv()
                if kind == "need":
                    self._images.send_bytes(data)
                elif kind == "piece":
                    if on_piece is not None:
                        loop.call_soon_threadsafe(on_piece, values[0])
                else:
                    break
        if kind == "error":
            raise values[0]
        return values[0] if kind == "done" else None

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return not self._has_ended and self._process is not None and self._process.is_alive()

    def cancel(self) -> None:
        """Tell the worker that nobody waits any more; one that does not take what it is sent is killed."""
        self._is_cancelled = True
        if not self._sending.acquire(timeout=SEND_SECONDS):  # short, because the event loop waits
            self.kill()
            return
        try:
            with self._killed_on_failure():
                self._jobs.send(None)
        except WorkerEnded:
            pass
        finally:
            self._sending.release()

    def kill(self) -> None:
        """End the process at once."""
        self._has_ended = True  # the system may take a moment to say so
        if self._process is not None:
            with suppress(ValueError):  # closed
                self._process.kill()

    async def stop(self) -> None:
        """End the process, and wait for it; one that is being started does not start."""
        with self._state:
            self._is_stopped = True
        self.kill()
        if self._process is not None:
            await asyncio.to_thread(self._process.join)
        self._thread.shutdown(wait=False)

    @contextmanager
    def _killed_on_failure(self) -> Iterator[None]:
        """Turn whatever fails at a pipe into WorkerEnded: who has read half a message must not read on."""
        try:
            yield
        except Exception:
            self.kill()
            raise WorkerEnded from None

    async def _in_thread(self, function: Callable[..., Any], *values: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *values)


@dataclass(eq=False)
class _Waiting:
    preferred: int
    ready: asyncio.Future[_Worker]
    skipped: int = 0


@dataclass
class PoolState:
    """Numbers for the metrics."""

    running: int = 0
    restarts: int = 0


@dataclass(frozen=True)
class PoolOptions:
    """How many workers and how much they may take. `deadline` is in seconds, from the arrival of a request."""

    workers: int
    queue: int
    deadline: float
    worker: WorkerOptions = field(repr=False)


class Pool:
    """Workers, and the requests that wait for one."""

    def __init__(self, options: PoolOptions) -> None:
        """`start` starts the processes."""
        self.options = options
        self._idle: list[_Worker] = []
        self._workers: dict[int, _Worker] = {}
        self._waiting: deque[_Waiting] = deque()
        self._tasks: set[asyncio.Task[Any]] = set()  # the loop itself holds tasks weakly
        self._stopping = False
        self.state = PoolState()
        self.facts: dict[str, Any] = {}

    async def start(self) -> None:
        """Start all workers; raises PackageError or ResourceError where a package cannot be used."""
        first, *others = [_Worker(number, self.options.worker) for number in range(self.options.workers)]
        self._workers[first.number] = first
        try:
            await first.start()
        except WorkerEnded:
            raise ResourceError("server.worker_ended") from None
        self.facts = first.facts
        self._free(first)
        for worker in others:  # they start beside the first answers
            self._spawn(self._started(worker))

    async def stop(self) -> None:
        """End all workers; whoever waits gets Busy."""
        self._stopping = True
        for waiting in self._waiting:
            if not waiting.ready.done():
                waiting.ready.set_exception(Busy("server.stopping"))
        await asyncio.gather(*(worker.stop() for worker in self._workers.values()), return_exceptions=True)
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    @property
    def waiting(self) -> int:
        """Number of requests in the queue."""
        return len(self._waiting)

    @property
    def workers(self) -> int:
        """Number of workers that are there, with their engine loaded."""
        return sum(worker.is_alive and bool(worker.facts) for worker in self._workers.values())

    async def do(self, job: Job, data: bytes, on_piece: OnPiece | None = None) -> Any:
        """Do a job on a worker. `data` are the bytes of its image, which a worker may have already.

        Raises what the job raises; Busy where too many wait or the worker ended, TooLate after the deadline. If the caller
        is cancelled, the job is given up.
        """
        try:
            async with asyncio.timeout(self.options.deadline):
                worker = await self._next(int(job.picture.image[:8], 16) % self.options.workers)
                exchange = self._spawn(self._exchange(worker, job, data, on_piece))
                try:
                    return await asyncio.shield(exchange)
                except asyncio.CancelledError:
                    worker.cancel()
                    self._spawn(self._killed_if_stuck(worker, exchange))
                    raise
        except TimeoutError:
            raise TooLate("server.too_late", seconds=self.options.deadline) from None
        except WorkerEnded:
            raise Busy("server.worker_ended") from None

    async def _exchange(self, worker: _Worker, job: Job, data: bytes, on_piece: OnPiece | None) -> Any:
        """Do a job, and give the worker on when it has ended, whoever still waits for it."""
        self.state.running += 1
        try:
            return await worker.do(job, data, on_piece)
        finally:
            self.state.running -= 1
            if worker.is_alive:
                self._free(worker)
            else:
                self._replace(worker)

    async def _killed_if_stuck(self, worker: _Worker, exchange: asyncio.Task[Any]) -> None:
        """Kill a worker that does not end a job which was given up: it is not at a step of the model."""
        await asyncio.wait([exchange], timeout=STUCK_SECONDS)
        if not exchange.done():
            worker.kill()

    async def _next(self, preferred: int) -> _Worker:
        """Return a worker that is free, the preferred one if it is; raises Busy."""
        if self._stopping:
            raise Busy("server.stopping")
        for worker in [each for each in self._idle if not each.is_alive]:
            self._idle.remove(worker)
            self._replace(worker)
        if self._idle:
            worker = next((each for each in self._idle if each.number == preferred), self._idle[0])
            self._idle.remove(worker)
            return worker
        if not self.workers:
            raise Busy("server.worker_ended")
        if len(self._waiting) >= self.options.queue:
            raise Busy("server.busy", waiting=len(self._waiting))
        waiting = _Waiting(preferred, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        try:
            return await waiting.ready
        except asyncio.CancelledError:
            if waiting.ready.done() and not waiting.ready.cancelled() and waiting.ready.exception() is None:
                self._free(waiting.ready.result())  # it was given a worker in the same moment
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiting)

    def _free(self, worker: _Worker) -> None:
        """Give a worker to the next request: the first that wants it, unless the first of all was passed over often."""
        if self._stopping:
            return
        open_ones = [each for each in self._waiting if not each.ready.done()]
        if not open_ones:
            self._idle.append(worker)
            return
        chosen = open_ones[0]
        if chosen.skipped < MOST_SKIPPED:
            chosen = next((each for each in open_ones if each.preferred == worker.number), chosen)
        for each in open_ones[: open_ones.index(chosen)]:
            each.skipped += 1
        chosen.ready.set_result(worker)

    def _replace(self, worker: _Worker) -> None:
        """Start another process in the place of one that has ended."""
        if not self._stopping:
            self.state.restarts += 1
            self._spawn(worker.stop())
            self._spawn(self._started(_Worker(worker.number, self.options.worker)))

    async def _started(self, worker: _Worker) -> None:
        """Start a process in a place of the pool, however often that takes."""
        for pause in chain(RESTART_PAUSES, repeat(RESTART_PAUSES[-1])):
            await asyncio.sleep(pause)
            self._workers[worker.number] = worker
            try:
                await worker.start()
            except Exception:  # no process, no memory, no file: each may be there again in a while
                await worker.stop()
                worker = _Worker(worker.number, self.options.worker)
                continue
            self._free(worker)
            return

    def _spawn(self, work: Coroutine[Any, Any, Any]) -> asyncio.Task[Any]:
        """Start a task of the pool, whose failure is that of whoever waits for it."""
        task = asyncio.ensure_future(work)
        self._tasks.add(task)
        task.add_done_callback(self._forget)
        return task

    def _forget(self, task: asyncio.Task[Any]) -> None:
        self._tasks.discard(task)
        if not task.cancelled():
            task.exception()  # retrieved, so that it is not logged
