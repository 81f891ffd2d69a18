"""What the threads of the node do, a step at a time: complete studies, answer a job, deliver results.

A step is durable or has not happened. What fails for want of room or of a peer is tried again later; what cannot succeed
becomes a dead letter, so that it stops no other study.
"""

from __future__ import annotations

import random
import threading
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Protocol

from medrega_edge.errors import InternalError, MedregaError, ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.io.audit import AuditLog, hash_of
from medrega_edge.node.config import NodeConfig, Peer, Rule
from medrega_edge.node.delivery_error import RefusedError
from medrega_edge.node.events import OnEvent, print_event, short_hash
from medrega_edge.node.made import MadeObject
from medrega_edge.node.records import Delivery, Instance, Job, NewJob, Round
from medrega_edge.node.store import Store

if TYPE_CHECKING:
    from medrega_edge.engine import Engine
    from medrega_edge.node.rules import Plan

FIRST_WAIT, LONGEST_WAIT = 1.0, 3600.0  # seconds from one attempt to the next
JITTER = 0.2  # so that many nodes do not return to an archive in the same second
LONGEST_PAUSE = 60.0  # seconds for which a thread rests while the disk is full
RETIRE_SECONDS = 30.0
NO_RULE = "-"  # no configuration can have a rule of this name


class Listener(Protocol):
    """What receives: `receiver.Receiver`, or a stand-in. `reports` takes what peers confirm to have stored."""

    reports: Any

    def start(self) -> int:
        """Listen; returns the port."""

    def stop(self) -> None:
        """Take no more, and end what is under way."""


@dataclass(frozen=True)
class Parts:
    """What the node is put together from; tests put stand-ins in.

    `commit` asks a peer to confirm what it got, and gets the `reports` of what receives. `first_wait` is in seconds.
    """

    load_engine: Callable[[NodeConfig], Engine]
    receiver: Callable[[NodeConfig, Store, OnEvent], Listener]
    plan_of: Callable[[Sequence[Instance], Sequence[Rule], Sequence[Instance]], Plan]
    answered: Callable[[Engine, Sequence[Instance], Rule, str], list[MadeObject]]
    deliver: Callable[[Sequence[MadeObject], Peer, NodeConfig], None]
    commit: Callable[[Sequence[MadeObject], Peer, NodeConfig, Any], None]
    on_event: OnEvent = print_event
    first_wait: float = FIRST_WAIT


@dataclass(frozen=True)
class Bench:
    """What the threads share. Each event of `news` wakes the thread of its name."""

    config: NodeConfig
    store: Store
    audit: AuditLog
    parts: Parts
    stopping: threading.Event
    news: dict[str, threading.Event] = field(
        default_factory=lambda: {name: threading.Event() for name in ("study", "answer", "delivery")}
    )

    def wait_seconds(self, failures: int, longest: float = LONGEST_WAIT) -> float:
        """The time to the next attempt, after so many that failed before the last one."""
        return min(longest, self.parts.first_wait * 2.0 ** min(failures, 20)) * random.uniform(1 - JITTER, 1 + JITTER)  # noqa: S311

    def until_written(self, write: Callable[[], object], part: str) -> None:
        """Write, and wait for room as long as it takes: the work in hand is not done again. Raises Stopped."""
        failures = 0
        while True:
            try:
                write()
                return
            except MedregaError as error:
                self.tell_failure(part, error)
                if self.stopping.wait(self.wait_seconds(failures, LONGEST_PAUSE)):
                    raise Stopped from None
                failures += 1

    def on_received(self, event: str, /, **fields: str | int | float) -> None:
        """Tell an event of the receiver, and look whether a study has become complete by its number of instances."""
        self.parts.on_event(event, **fields)
        if self.config.instances:
            self.news["study"].set()

    def tell_failure(self, part: str, error: Exception) -> None:
        """Tell that a part of the node could not do its work."""
        problem = error if isinstance(error, MedregaError) else InternalError(error)
        self.parts.on_event("failed", part=part, code=problem.code, message=str(problem))


class Stopped(Exception):
    """A signal stopped the node while something waited to be written. The next start does it again."""


class Studies:
    """Completes studies, and deletes by rule."""

    def __init__(self, bench: Bench) -> None:
        """Delete at the first step, and then every RETIRE_SECONDS."""
        self._bench, self._retired = bench, -RETIRE_SECONDS

    def step(self) -> bool:
        """Turn complete studies into jobs; returns whether there may be more."""
        bench = self._bench
        if time.monotonic() - self._retired >= RETIRE_SECONDS:
            self._retired = time.monotonic()
            try:
                bench.store.retire(time.time(), bench.config.retention)
            except MedregaError as error:
                bench.tell_failure("retention", error)
        rounds = bench.store.complete(time.time(), bench.config)
        for study in rounds:
            jobs, left_out = self._plan(study)
            bench.store.add_jobs(study, jobs)
            counts = {"round": study.number, "instances": len(study.instances), "jobs": len(jobs), **left_out}
            bench.parts.on_event("study-complete", study=short_hash(study.study_uid), **counts)
            bench.news["answer"].set()
        return bool(rounds)

    def _plan(self, study: Round) -> tuple[Sequence[NewJob], dict[str, int]]:
        """The jobs of a round, and by reason how many of its instances are in none."""
        try:
            plan = self._bench.parts.plan_of(study.instances, self._bench.config.rules, study.earlier)
        except Exception as error:
            self._bench.tell_failure("study", error)
            return [NewJob(NO_RULE, study.instances)], {}  # which becomes a dead letter, and keeps no other study waiting
        return plan.jobs, {reason.value: count for reason, count in plan.left_out.items()}


class Answers:
    """Answers jobs. `job` is the one in hand."""

    def __init__(self, bench: Bench, engine: Engine) -> None:
        """Take the engine, which no other thread may use."""
        self._bench, self._engine = bench, engine
        self.job: Job | None = None

    def step(self) -> bool:
        """Answer one job; returns whether there was one."""
        self.job = self._bench.store.next_job()
        if self.job is None:
            return False
        self._answer(self.job)
        self.job = None  # after an exception it stays in hand, and whoever stops the node gives it back
        return True

    def _answer(self, job: Job) -> None:
        bench, begun = self._bench, time.monotonic()
        rule = bench.config.rule(job.rule)
        if rule is None:
            return self._reject(job, Message("node.no_such_rule", name=job.rule))
        language = rule.language or bench.config.language
        try:
            made = bench.parts.answered(self._engine, job.instances, rule, language)
        except ResourceError as error:
            return self._postpone(job, error.message)
        except MedregaError as error:
            return self._reject(job, error.message)
        except Exception as error:
            return self._reject(job, InternalError(error).message)
        asked = {"rule": rule.name, "question": rule.question, "segment": list(rule.segment), "language": language}
        images = hash_of([instance.sha256 for instance in job.instances])
        objects = [(one.kind, one.sop_uid, len(one.data)) for one in made]
        package = self._engine.package.sha256
        # The line comes first: a kill in between leaves a line too many, and never an answer without one.
        bench.until_written(lambda: bench.audit.add(package, images, asked, objects), "audit")
        send_to = rule.send_to if made else ()  # an outline alone, and nothing to outline
        bench.until_written(lambda: bench.store.finish(job, made, send_to), "answer")
        seconds = round(time.monotonic() - begun, 3)
        self._tell("answered", job, rule=rule.name, objects=len(made), seconds=seconds)
        bench.news["delivery"].set()
        return None

    def _postpone(self, job: Job, reason: Message) -> None:
        bench = self._bench
        if job.attempts >= bench.config.limits.attempts:
            return self._reject(job, reason)
        until = time.time() + bench.wait_seconds(job.attempts - 1)
        bench.until_written(lambda: bench.store.postpone_job(job, reason, until), "answer")
        self._tell("postponed", job, code=reason.code)
        return None

    def _reject(self, job: Job, reason: Message) -> None:
        bench = self._bench
        bench.until_written(lambda: bench.store.reject(job, reason), "answer")
        self._tell("rejected", job, code=reason.code, message=str(reason))

    def _tell(self, event: str, job: Job, **fields: str | int | float) -> None:
        self._bench.parts.on_event(event, study=short_hash(job.study_uid), job=job.id, **fields)


class Deliveries:
    """Sends results, one delivery at a time."""

    def __init__(self, bench: Bench, reports: Any) -> None:
        """Take what the threads share, and where peers' confirmations arrive."""
        self._bench, self._reports = bench, reports

    def step(self) -> bool:
        """Send the results of one job to one peer; returns whether there were any."""
        bench = self._bench
        delivery = bench.store.next_delivery(time.time())
        if delivery is None:
            return False
        peer = bench.config.peer(delivery.peer)
        if peer is None or not peer.receives:
            self._reject(delivery, Message("node.no_such_peer", name=delivery.peer))
            return True
        try:
            bench.parts.deliver(delivery.objects, peer, bench.config)
            if peer.commitment:
                bench.parts.commit(delivery.objects, peer, bench.config, self._reports)
        except RefusedError as error:
            self._reject(delivery, error.message)
        except MedregaError as error:
            self._postpone(delivery, error.message)
        except Exception as error:
            self._postpone(delivery, InternalError(error).message)
        else:
            bench.until_written(lambda: bench.store.delivered(delivery), "delivery")
            self._tell("delivered", delivery, objects=len(delivery.objects))
        return True

    def _postpone(self, delivery: Delivery, reason: Message) -> None:
        bench, now = self._bench, time.time()
        until = now + bench.wait_seconds(delivery.attempts)
        peer_until = now + bench.wait_seconds(delivery.failures)
        bench.until_written(lambda: bench.store.postpone(delivery, reason, until, peer_until), "delivery")
        seconds = round(max(until, peer_until) - now, 1)
        self._tell("postponed", delivery, code=reason.code, message=str(reason), seconds=seconds)

    def _reject(self, delivery: Delivery, reason: Message) -> None:
        bench = self._bench
        bench.until_written(lambda: bench.store.reject_delivery(delivery, reason), "delivery")
        self._tell("rejected", delivery, code=reason.code, message=str(reason))

    def _tell(self, event: str, delivery: Delivery, **fields: str | int | float) -> None:
        study = short_hash(delivery.study_uid)
        self._bench.parts.on_event(event, study=study, job=delivery.job, peer=delivery.peer, **fields)
