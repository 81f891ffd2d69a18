"""The running node: receives, completes studies, answers, delivers and deletes until a signal stops it.

    run(read_config(path), on_ready, own_parts())

The network library's threads receive. One thread completes studies and deletes by rule, one answers, because an engine
cannot serve two, and one delivers. The main thread waits for a signal, so a signal interrupts no transaction.
"""

from __future__ import annotations

import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress

from medrega_edge.errors import MedregaError
from medrega_edge.io.audit import AuditLog
from medrega_edge.node.config import NodeConfig
from medrega_edge.node.store import Store
from medrega_edge.node.workers import LONGEST_PAUSE, Answers, Bench, Deliveries, Listener, Parts, Stopped, Studies

AUDIT = "audit.jsonl"
TICK = 1.0  # seconds after which a thread looks at the queue again, whether it was woken or not
STOP_SECONDS = 60.0  # for the job and the delivery under way, after the signal to stop


def own_parts(threads: int | None = None) -> Parts:
    """The parts of the program itself; the engine takes so many threads, or all that pay off."""
    from medrega_edge.engine import load
    from medrega_edge.node.answering import answered
    from medrega_edge.node.commitment import commit
    from medrega_edge.node.receiver import Receiver
    from medrega_edge.node.rules import plan_of
    from medrega_edge.node.sender import deliver

    return Parts(lambda config: load(config.package, threads=threads), Receiver, plan_of, answered, deliver, commit)


def run(config: NodeConfig, on_ready: Callable[[int], None], parts: Parts, stopping: threading.Event | None = None) -> None:
    """Run a node until a signal raises KeyboardInterrupt or SystemExit, which goes on when all is tidied up.

    `on_ready` is called with the port. `stopping`, when it is set, ends the run too. Raises PackageError, ResourceError or
    UsageError where the node cannot start.
    """
    with Store(config.folder, config.limits) as store:
        audit = AuditLog(config.folder / AUDIT, mends=True)
        try:
            bench = Bench(config, store, audit, parts, stopping or threading.Event())
            receiver = parts.receiver(config, store, bench.on_received)
            answers, deliveries = Answers(bench, parts.load_engine(config)), Deliveries(bench, receiver.reports)
            steps = {"study": Studies(bench).step, "answer": answers.step, "delivery": deliveries.step}
            try:
                _run(bench, receiver, steps, on_ready)
            finally:
                if answers.job is not None:
                    with suppress(MedregaError):
                        store.give_back(answers.job)
        finally:
            audit.close()


def _run(bench: Bench, receiver: Listener, steps: Mapping[str, Callable[[], bool]], on_ready: Callable[[int], None]) -> None:
    """Start the threads and the receiver, wait, and stop them."""
    threads = [
        threading.Thread(target=_repeat, args=(bench, name, step), name=f"medrega-{name}", daemon=True)
        for name, step in steps.items()
    ]
    try:
        port = receiver.start()
        try:
            for thread in threads:
                thread.start()
            on_ready(port)
            while not bench.stopping.wait(LONGEST_PAUSE):
                pass
        finally:
            bench.stopping.set()
            receiver.stop()
    finally:
        _stop(bench, threads)


def _repeat(bench: Bench, name: str, step: Callable[[], bool]) -> None:
    """Take a step again and again: at once while it finds work, else when there is news; after a failure a while later."""
    tick = min(TICK, bench.config.quiet_seconds / 2)
    news, failures = bench.news[name], 0
    while not bench.stopping.is_set():
        news.clear()  # before the step looks, so that nothing is overlooked
        try:
            found = step()
        except Stopped:
            return
        except Exception as error:
            bench.tell_failure(name, error)
            bench.stopping.wait(bench.wait_seconds(failures, LONGEST_PAUSE))
            failures += 1
            continue
        failures = 0
        if not found:
            news.wait(tick)


def _stop(bench: Bench, threads: Sequence[threading.Thread]) -> None:
    """Let the job and the delivery under way come to their end; a second signal, or too long a job, leaves them."""
    bench.stopping.set()
    for event in bench.news.values():
        event.set()
    until = time.monotonic() + STOP_SECONDS
    for thread in threads:
        if thread.ident is not None:  # it was started
            thread.join(max(0.0, until - time.monotonic()))
