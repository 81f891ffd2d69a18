"""The workers of a server: a bounded queue in front of a few processes, each with an engine of its own.

A request goes to the worker that has its image, if that one is free or nearly so, else to another. A worker that dies takes
one request with it, and is replaced.
"""

from __future__ import annotations

import asyncio
import multiprocessing
import threading
from collections import deque
from collections.abc import AsyncIterator, Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from medrega_edge.errors import MedregaError, ResourceError
from medrega_edge.server.jobs import Job
from medrega_edge.server.worker import WorkerOptions, run_worker

MOST_SKIPPED = 4  # times that a later request may be served first because its worker has its image
RESTART_PAUSES = (0.0, 0.5, 2.0, 10.0)  # seconds before a worker that does not start is started again

OnPiece = Callable[[str], None]
GetData = Callable[[str], bytes]  # the bytes of an image, by its hash


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
    """One process, its pipe, and the thread that waits at it."""

    def __init__(self, number: int, options: WorkerOptions) -> None:
        self.number, self._options = number, options
        self._sending = threading.Lock()  # a cancellation may come while the thread sends the bytes of an image
        self._thread = ThreadPoolExecutor(1, thread_name_prefix=f"worker-{number}")
        self.facts: dict[str, Any] = {}
        self._has_ended = False

    async def start(self) -> None:
        """Start the process, and wait until its engine is loaded; raises as `load` does, and WorkerEnded."""
        await self._in_thread(self._start)

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        self._pipe, theirs = context.Pipe()
        self._process = context.Process(target=run_worker, args=(theirs, self._options), daemon=True)
        self._process.start()
        theirs.close()  # so that the end of the process ends the pipe
        with _pipe_errors():
            kind, value = self._pipe.recv()
        if kind == "error":
            raise value
        self.facts = value

    async def do(self, job: Job, data: GetData, on_piece: OnPiece | None) -> Any:
        """Do a job; raises what it raises, and WorkerEnded. A job that was cancelled returns None."""
        try:
            return await self._in_thread(self._do, job, data, on_piece, asyncio.get_running_loop())
        except WorkerEnded:
            self._has_ended = True  # the system may take a moment to say so
            raise

    def _do(self, job: Job, data: GetData, on_piece: OnPiece | None, loop: asyncio.AbstractEventLoop) -> Any:
        self._send(job)
        while True:
            with _pipe_errors():
                kind, *values = self._pipe.recv()
            if kind == "need":
                self._send(data(job.picture.image))
            elif kind == "piece":
                if on_piece is not None:
                    loop.call_soon_threadsafe(on_piece, values[0])
            elif kind == "done":
                return values[0]
            elif kind == "error":
                raise values[0]
            else:
                return None

    @property
    def is_alive(self) -> bool:
        """Whether the process runs."""
        return not self._has_ended and self._process.is_alive()

    def cancel(self) -> None:
        """Tell the worker that nobody waits any more."""
        with suppress(WorkerEnded):
            self._send(None)

    def _send(self, value: Any) -> None:
        with self._sending, _pipe_errors():
            self._pipe.send(value)

    def kill(self) -> None:
        """End the process at once."""
        with suppress(AttributeError):  # it was never started
            self._process.kill()

    async def stop(self) -> None:
        """End the process, and wait for it."""
        self.kill()
        with suppress(AttributeError):
            await asyncio.to_thread(self._process.join)
            self._pipe.close()
        self._thread.shutdown(wait=False)

    async def _in_thread(self, function: Callable[..., Any], *values: Any) -> Any:
        return await asyncio.get_running_loop().run_in_executor(self._thread, function, *values)


@contextmanager
def _pipe_errors() -> Iterator[None]:
    """Turn what a closed pipe raises into WorkerEnded."""
    try:
        yield
    except (EOFError, OSError):
        raise WorkerEnded from None


@dataclass(eq=False)
class _Waiting:
    preferred: int
    ready: asyncio.Future[_Worker]
    skipped: int = 0


@dataclass
class PoolState:
    """Numbers for the metrics."""

    waiting: int = 0
    running: int = 0
    workers: int = 0
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
        self._options = options
        self._idle: list[_Worker] = []
        self._workers: dict[int, _Worker] = {}
        self._waiting: deque[_Waiting] = deque()
        self._starting: set[asyncio.Task[None]] = set()  # the loop itself holds tasks weakly
        self._stopping = False
        self.state = PoolState()
        self.facts: dict[str, Any] = {}

    async def start(self) -> None:
        """Start all workers; raises PackageError or ResourceError where a package cannot be used."""
        first, *others = [_Worker(number, self._options.worker) for number in range(self._options.workers)]
        self._workers[first.number] = first
        try:
            await first.start()
        except WorkerEnded:
            raise ResourceError("server.worker_ended") from None
        self.facts = first.facts
        self.state.workers += 1
        self._free(first)
        for worker in others:  # they start beside the first answers
            self._start_later(worker)

    async def stop(self) -> None:
        """End all workers; whoever waits gets Busy."""
        self._stopping = True
        for task in self._starting:
            task.cancel()
        for waiting in self._waiting:
            if not waiting.ready.done():
                waiting.ready.set_exception(Busy("server.stopping"))
        for worker in list(self._workers.values()):
            await worker.stop()

    async def do(self, job: Job, data: GetData, on_piece: OnPiece | None = None) -> Any:
        """Do a job on a worker. `data` returns the bytes of its image, where the worker lacks them.

        Raises what the job raises; Busy where too many wait or the worker ended, TooLate after the deadline. If the caller
        is cancelled, the job is given up.
        """
        try:
            async with asyncio.timeout(self._options.deadline), self._worker(job) as worker:
                return await self._done_by(worker, job, data, on_piece)
        except TimeoutError:
            raise TooLate("server.too_late", seconds=self._options.deadline) from None
        except WorkerEnded:
            raise Busy("server.worker_ended") from None

    async def _done_by(self, worker: _Worker, job: Job, data: GetData, on_piece: OnPiece | None) -> Any:
        """Do a job; a cancelled one ends at the model's next step, and one that is not at a step with its process."""
        doing = asyncio.ensure_future(worker.do(job, data, on_piece))
        try:
            return await asyncio.shield(doing)
        except asyncio.CancelledError:
            worker.cancel()
            await asyncio.wait([doing], timeout=1.0)
            if not doing.done():
                worker.kill()
                await asyncio.wait([doing])
            doing.exception()  # WorkerEnded, or nothing: retrieved, so that it is not logged
            raise

    @asynccontextmanager
    async def _worker(self, job: Job) -> AsyncIterator[_Worker]:
        worker = await self._next(int(job.picture.image[:8], 16) % self._options.workers)
        self.state.running += 1
        try:
            yield worker
        finally:
            self.state.running -= 1
            if worker.is_alive:
                self._free(worker)
            else:
                self._replace(worker)

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
        if len(self._waiting) >= self._options.queue:
            raise Busy("server.busy", waiting=len(self._waiting))
        waiting = _Waiting(preferred, asyncio.get_running_loop().create_future())
        self._waiting.append(waiting)
        self.state.waiting = len(self._waiting)
        try:
            return await waiting.ready
        except asyncio.CancelledError:
            if waiting.ready.done() and not waiting.ready.cancelled() and waiting.ready.exception() is None:
                self._free(waiting.ready.result())  # it was given a worker in the same moment
            raise
        finally:
            with suppress(ValueError):
                self._waiting.remove(waiting)
            self.state.waiting = len(self._waiting)

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
            self.state.workers -= 1
            self.state.restarts += 1
            self._start_later(_Worker(worker.number, self._options.worker))

    def _start_later(self, worker: _Worker) -> None:
        task = asyncio.ensure_future(self._started(worker))
        self._starting.add(task)
        task.add_done_callback(self._starting.discard)

    async def _started(self, worker: _Worker) -> None:
        self._workers[worker.number] = worker
        for pause in RESTART_PAUSES:
            await asyncio.sleep(pause)
            try:
                await worker.start()
            except (WorkerEnded, MedregaError):
                continue
            self.state.workers += 1
            self._free(worker)
            return
