"""The threads of the node, with stand-ins for what receives, answers and sends."""

import errno
import json
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from types import SimpleNamespace

import pytest

from medrega_edge.errors import ImageError, ResourceError
from medrega_edge.io.audit import verify
from medrega_edge.node import service, workers
from medrega_edge.node.config import Limits, Retention
from medrega_edge.node.delivery_error import DeliveryError, RefusedError
from medrega_edge.node.events import print_event, short_hash
from medrega_edge.node.records import NewJob
from medrega_edge.node.store import Store
from medrega_edge.node.workers import Parts
from tests.codes import raises_code
from tests.node.nodes import PEERS, RULE, config, data, header, made

DEADLINE = 20.0  # seconds: a test that waits so long has failed


class Listener:
    """Stands in for the receiver: the test sends by `node.store`."""

    reports = "reports"

    def __init__(self, settings, store, on_event):
        self.store, self.on_event, self.was_stopped = store, on_event, False

    def start(self):
        return 104

    def stop(self):
        self.was_stopped = True

    def send(self, number, **changes):
        sent = header(number, **changes)
        outcome = self.store.receive(data(number), sent, "ct")
        self.on_event("received", peer="ct", outcome=outcome.value, study=short_hash(sent["StudyInstanceUID"]))
        return outcome


class Running:
    """A node in a thread of this process; `answered`, `deliver` and `commit` may be replaced."""

    def __init__(self, settings):
        self.settings, self.events, self.sent, self.confirmed = settings, [], [], []
        self.changed, self.stopping, self.ready = threading.Condition(), threading.Event(), threading.Event()
        self.failure, self.listener = None, None
        self.answered = lambda engine, instances, rule, language: made(len(instances))
        self.deliver = lambda objects, peer, settings: None
        self.plan = lambda instances, rules, earlier: [NewJob(rules[0].name, tuple(instances))]

    def __enter__(self):
        engine = SimpleNamespace(package=SimpleNamespace(sha256="f" * 64))
        parts = Parts(
            load_engine=lambda settings: engine,
            receiver=self._receiver,
            plan_of=lambda *given: SimpleNamespace(jobs=tuple(self.plan(*given)), left_out={}),
            answered=lambda *given: self.answered(*given),
            deliver=self._deliver,
            commit=lambda objects, peer, settings, reports: self.confirmed.append((peer.name, reports)),
            on_event=self._on_event,
            first_wait=0.001,
        )
        self.thread = threading.Thread(target=self._run, args=[parts])
        self.thread.start()
        assert self.ready.wait(DEADLINE)
        return self

    def _run(self, parts):
        try:
            service.run(self.settings, lambda port: self.ready.set(), parts, self.stopping)
        except Exception as error:
            self.failure = error
        self.ready.set()

    def _receiver(self, *given):
        self.listener = Listener(*given)
        return self.listener

    def _deliver(self, objects, peer, settings):
        self.deliver(objects, peer, settings)
        self.sent.append((peer.name, [one.sop_uid for one in objects]))

    def _on_event(self, event, /, **fields):
        with self.changed:
            self.events.append((event, fields))
            self.changed.notify_all()

    def wait_for(self, event, count=1):
        """Wait until an event was told so often; returns the fields of the last one."""
        with self.changed:
            assert self.changed.wait_for(lambda: len(self.told(event)) >= count, DEADLINE), self.events
            return self.told(event)[count - 1]

    def told(self, event):
        return [fields for name, fields in self.events if name == event]

    def __exit__(self, *_):
        self.stopping.set()
        self.thread.join(DEADLINE)
        assert not self.thread.is_alive()
        if self.failure is not None:
            raise self.failure


@pytest.fixture
def settings(tmp_path):
    return config(tmp_path / "state", quiet_seconds=0.02)


def test_a_study_is_answered_and_delivered_once(settings):
    with Running(settings) as node:
        node.listener.send(1)
        node.listener.send(2)
        assert node.wait_for("delivered")["peer"] == "archive"
    assert node.sent == [("archive", ["2.25.20", "2.25.21"])] and node.listener.was_stopped
    assert node.told("study-complete") == [{"study": short_hash("1.2.3"), "round": 1, "instances": 2, "jobs": 1}]
    assert node.told("answered")[0]["objects"] == 2 and node.confirmed == []
    assert verify(settings.folder / "audit.jsonl")[0] == 1
    words = json.dumps(node.events)
    assert "1.2.3" not in words and str(settings.folder) not in words
    with Running(settings) as node:
        assert node.listener.send(1).value == "known"
    assert node.sent == []


def test_an_answer_without_an_object_is_delivered_to_nobody(settings):
    with Running(settings) as node:
        node.answered = lambda *_: []
        node.listener.send(1)
        assert node.wait_for("answered")["objects"] == 0
    with Store(settings.folder, Limits()) as store:
        assert (store.counts().answered, store.counts().deliveries_waiting) == (1, 0)
    assert node.sent == []


def test_a_peer_confirms_where_it_is_asked_to(settings):
    peers = (PEERS[0], replace(PEERS[1], commitment=True))
    with Running(replace(settings, peers=peers)) as node:
        node.listener.send(1)
        node.wait_for("delivered")
    assert node.confirmed == [("archive", "reports")]


def test_a_number_of_instances_completes_a_study_at_once(settings):
    with Running(replace(settings, quiet_seconds=3000.0, instances=2)) as node:
        node.listener.send(1)
        node.listener.send(2)
        node.wait_for("answered")


def test_late_instances_are_answered_in_a_further_round(settings):
    with Running(settings) as node:
        node.listener.send(1)
        node.wait_for("delivered")
        node.listener.send(2)
        node.wait_for("delivered", 2)
    assert [told["round"] for told in node.told("study-complete")] == [1, 2]
    assert len(node.sent) == 2


def test_a_peer_that_is_away_gets_the_same_objects_later(settings):
    tries = []

    def deliver(objects, peer, settings):
        tries.append([one.sop_uid for one in objects])
        if len(tries) < 4:
            raise DeliveryError("deliver.peer_away", peer="archive")

    with Running(settings) as node:
        node.deliver = deliver
        node.listener.send(1)
        node.wait_for("delivered")
    assert len(tries) == 4 and all(tried == tries[0] for tried in tries)
    assert len(node.told("postponed")) == 3 and node.told("failed") == []


@pytest.mark.parametrize("error", [ValueError("a fault of ours"), RefusedError("deliver.kind_refused", peer="archive")])
def test_what_a_peer_refuses_for_good_is_a_dead_letter_and_a_fault_of_ours_is_tried_again(settings, error):
    faults = [error]

    def deliver(objects, peer, settings):
        if faults:
            raise faults.pop()

    with Running(settings) as node:
        node.deliver = deliver
        node.listener.send(1)
        if isinstance(error, ValueError):
            assert node.wait_for("postponed")["code"] == "internal.fault"
            node.wait_for("delivered")
        else:
            assert node.wait_for("rejected")["code"] == "deliver.kind_refused"
            assert [path.name for path in (settings.folder / "rejected").iterdir()] == ["delivery-1"]


@pytest.mark.parametrize(
    ("error", "code", "tries"),
    [
        (ImageError("node.no_uid"), "node.no_uid", 1),
        (ValueError("it quotes a patient"), "internal.fault", 1),
        (ResourceError("cli.no_memory"), "cli.no_memory", 3),
    ],
)
def test_a_job_that_cannot_be_answered_keeps_no_other_waiting(settings, error, code, tries):
    def answered(engine, instances, rule, language):
        if instances[0].study_uid == "1.2.3":
            raise error
        return made(7)

    with Running(settings) as node:
        node.answered = answered
        node.listener.send(1)
        told = node.wait_for("rejected")
        node.listener.send(9, study="1.9", series="1.9.1")
        node.wait_for("delivered")
    assert told["code"] == code and len(node.told("postponed")) == tries - 1
    assert "quotes" not in json.dumps(node.events)
    reason = json.loads((settings.folder / "rejected" / "job-1" / "reason.json").read_text())
    assert (reason["code"], reason["attempts"], reason["study"]) == (code, tries, short_hash("1.2.3"))


def test_a_study_that_cannot_be_planned_is_a_dead_letter(settings):
    def plan(instances, rules, earlier):
        raise ValueError

    with Running(settings) as node:
        node.plan = plan
        node.listener.send(1)
        assert node.wait_for("rejected")["code"] == "node.no_such_rule"
        assert node.told("failed")[0]["code"] == "internal.fault"


def test_a_rule_or_a_peer_that_was_taken_away(settings):
    with Store(settings.folder, Limits()) as store:
        for number in (1, 2):
            store.receive(data(number), header(number, study=f"1.{number}"), "ct")
        studies = store.complete(time.time() + 60, settings)
        for study, rule in zip(studies, ("gone", "liver"), strict=True):
            store.add_jobs(study, [NewJob(rule, study.instances)])
    rule = replace(RULE, send_to=("gone",))
    with Running(replace(settings, rules=(rule,))) as node:
        node.wait_for("rejected", 2)
    assert {told["code"] for told in node.told("rejected")} == {"node.no_such_rule", "node.no_such_peer"}


def test_a_full_disk_delays_and_loses_nothing(settings, monkeypatch):
    """The results are made once, and written when there is room."""
    is_full, made_count = threading.Event(), []
    write = os.fsync

    def fsync(handle):
        if is_full.is_set():
            raise OSError(errno.ENOSPC, "No space left on device")
        write(handle)

    def answered(engine, instances, rule, language):
        made_count.append(1)
        is_full.set()
        return made(1)

    monkeypatch.setattr(os, "fsync", fsync)
    with Running(settings) as node:
        node.answered = answered
        node.listener.send(1)
        assert node.wait_for("failed", 3)["part"] == "audit"
        with raises_code(ResourceError, "io.no_space"):
            node.listener.send(2)
        is_full.clear()
        node.wait_for("delivered")
    assert len(made_count) == 1 and verify(settings.folder / "audit.jsonl")[0] == 1


def test_a_node_that_is_told_to_stop_while_the_disk_is_full_begins_the_job_again(settings, monkeypatch):
    def fail(*_):
        raise ResourceError("io.no_space", reason="full")

    with monkeypatch.context() as patch:
        patch.setattr(Store, "finish", fail)
        with Running(settings) as node:
            node.listener.send(1)
            node.wait_for("failed")
    with Store(settings.folder, Limits()) as store:
        job = store.next_job()
        assert job.attempts == 1  # the attempt that was broken off does not count
        store.give_back(job)
    with Running(settings) as node:
        node.wait_for("delivered")


def test_images_go_when_their_results_are_delivered(settings, monkeypatch):
    monkeypatch.setattr(workers, "RETIRE_SECONDS", 0.0)
    with Running(replace(settings, retention=Retention(results_hours=0))) as node:
        node.listener.send(1)
        node.wait_for("delivered")
        end = time.monotonic() + DEADLINE
        while list((settings.folder / "results").iterdir()) or list((settings.folder / "received").iterdir()):
            assert time.monotonic() < end
            time.sleep(0.005)
    assert node.told("failed") == []


def test_a_receiver_that_cannot_start_ends_the_node(settings, monkeypatch):
    def start(self):
        raise ResourceError("node.queue_failed", reason="port")

    monkeypatch.setattr(Listener, "start", start)
    with pytest.raises(ResourceError), Running(settings):
        pass
    Store(settings.folder, Limits()).close()  # the folder is free again


def test_the_waits_double_and_have_an_end(settings):
    bench = workers.Bench(settings, None, None, SimpleNamespace(first_wait=1.0), threading.Event())
    for failures, expected in ((0, 1), (3, 8), (12, 3600), (10_000, 3600)):
        waits = {bench.wait_seconds(failures) for _ in range(20)}
        assert all(0.8 * expected <= wait <= 1.2 * expected for wait in waits) and len(waits) > 1


def test_an_event_is_a_line_of_json(capsys):
    print_event("received", peer="ct", instance=short_hash("1.2.3"))
    line = json.loads(capsys.readouterr().err)
    assert line.pop("time") and line == {"event": "received", "peer": "ct", "instance": short_hash("1.2.3")}
    assert len(short_hash("1.2.3")) == 12


# ---- a real process

NODE = """
import sys, time
from pathlib import Path
from types import SimpleNamespace
from medrega_edge.cli.signals import Interruption
from medrega_edge.node import service
from medrega_edge.node.records import NewJob
from medrega_edge.node.workers import Parts
from tests.node.nodes import config, data, header, made
from tests.node.test_service import Listener

folder, how = Path(sys.argv[1]), sys.argv[2]
engine = SimpleNamespace(package=SimpleNamespace(sha256="f" * 64))
listeners = []

def receiver(*given):
    listeners.append(Listener(*given))
    return listeners[0]

def answered(engine, instances, rule, language):
    if how == "slow":
        print("answering", flush=True)
        time.sleep(0.3)
    elif how == "stuck":
        print("answering", flush=True)
        time.sleep(600)
    return made(len(instances))

def deliver(objects, peer, settings):
    print("sent", *(one.sop_uid for one in objects), flush=True)

def plan_of(instances, rules, earlier):
    return SimpleNamespace(jobs=(NewJob("liver", tuple(instances)),), left_out={})

def on_ready(port):
    print("ready", flush=True)
    for number in range(int(sys.argv[3])):
        print(listeners[0].send(number).value, flush=True)

parts = Parts(lambda settings: engine, receiver, plan_of, answered, deliver, None)
Interruption()
service.run(config(folder, quiet_seconds=0.1), on_ready, parts)
"""


def started(folder, how, count):
    arguments = [sys.executable, "-c", NODE, folder, how, str(count)]
    return subprocess.Popen(arguments, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)


def read_until(process, word):
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if line.startswith(word):
            return lines
    raise AssertionError(lines)


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_lets_the_job_under_way_come_to_its_end(tmp_path, number):
    with started(tmp_path / "state", "slow", 1) as process:
        read_until(process, "answering")
        process.send_signal(number)
        process.communicate(timeout=DEADLINE)
    assert process.returncode in (128 + number, -number)  # `main` turns the exception into the exit code
    with Store(tmp_path / "state", Limits()) as store:
        counts = store.counts()
        assert counts.answered == 1 and counts.deliveries_waiting + counts.delivered == 1


@pytest.mark.slow
def test_a_job_that_is_killed_three_times_is_rejected_and_the_rest_goes_on(tmp_path):
    folder = tmp_path / "state"
    for attempt in range(3):
        with started(folder, "stuck", 1 - min(attempt, 1)) as process:
            read_until(process, "answering")
            process.kill()
    with started(folder, "quick", 3) as process:  # number 0 is known, 1 and 2 are new
        lines = read_until(process, "sent")
        process.kill()
    assert lines == ["ready", "known", "added", "added", "sent 2.25.20 2.25.21"]
    reason = json.loads((folder / "rejected" / "job-1" / "reason.json").read_text())
    assert (reason["code"], reason["params"]) == ("node.job_ends_process", {"count": 3})
