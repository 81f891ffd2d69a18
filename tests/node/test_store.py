"""The queue on the disk: each step is done or not begun, whatever ends the process in between."""

import errno
import json
import os
import signal
import sqlite3
import stat
import threading
import warnings
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from dataclasses import replace

import pytest

from medrega_edge.errors import ImageError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.node.config import Limits, Retention
from medrega_edge.node.records import NewJob, Outcome
from medrega_edge.node.retention import WIPE_SECONDS
from medrega_edge.node.store import Store
from tests.codes import raises_code
from tests.node.nodes import RULE, config, data, header, made

REASON = Message("node.results_gone")
NOTHING_STAYS = Retention(received_hours=0, results_hours=0, rejected_hours=0)


class Clock:
    """Seconds that a test sets."""

    def __init__(self):
        self.now = 1000.0

    def __call__(self):
        return self.now


@pytest.fixture
def clock():
    return Clock()


@pytest.fixture
def opened(tmp_path, clock):
    """Open the queue, and close it when the test is over; again when called again."""
    stores = []

    def opened(**limits):
        for store in stores:
            store.close()
        stores.append(Store(tmp_path / "state", replace(Limits(), **limits), clock=clock))
        return stores[-1]

    yield opened
    for store in stores:
        store.close()


def files(store, name):
    """Paths below a folder of the state, relative to it."""
    folder = store.folder / name
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file())


def queue_job(store, clock, count=2):
    """Receive a study, let it become complete, and make one job of it."""
    for number in range(count):
        assert store.receive(data(number), header(number), "ct") is Outcome.ADDED
    clock.now += 30
    (study,) = store.complete(clock.now, config(store.folder))
    store.add_jobs(study, [NewJob(RULE.name, study.instances)])
    return study


def answer(store, clock, send_to=("archive",)):
    queue_job(store, clock)
    job = store.next_job()
    store.finish(job, made(job.id), send_to)
    return job


def test_an_instance_is_kept_once(opened):
    store = opened()
    assert store.receive(data(1), header(1), "ct") is Outcome.ADDED
    assert store.receive(data(1), header(1), "ct") is Outcome.KNOWN
    assert store.receive(data(1, meta=b"another sender"), header(1), "archive") is Outcome.KNOWN
    assert store.receive(data(1, pixels=b"others"), header(1), "ct") is Outcome.CONFLICT
    store = opened()
    assert store.receive(data(1), header(1), "ct") is Outcome.KNOWN
    assert len(files(store, "received")) == 1
    assert store.holds(["1.2.3.4.1", "1.2.3.4.2"]) == {"1.2.3.4.1"}
    counts = store.counts()
    assert (counts.received, counts.known, counts.conflicts, counts.instances_open) == (1, 3, 1, 1)


def test_the_folder_is_the_owners_alone_and_names_nobody(opened):
    store = opened()
    store.receive(data(1), header(1), "ct")
    assert store.folder.stat().st_mode & 0o777 == 0o700
    assert (store.folder / "queue.sqlite").stat().st_mode & 0o777 == 0o600
    assert not [path for path in store.folder.rglob("*") if "1.2.3" in path.name]


@pytest.mark.parametrize(
    "changes", [{"SOPInstanceUID": ""}, {"StudyInstanceUID": None}, {"SeriesInstanceUID": "1" * 65}, {"SOPClassUID": " "}]
)
def test_an_instance_without_its_uids_is_refused(opened, changes):
    store = opened()
    with raises_code(ImageError, "node.no_uid"):
        store.receive(data(1), header(1) | changes, "ct")
    assert files(store, "received") == []


@pytest.mark.parametrize(
    ("limits", "fits"), [({"study_instances": 2}, 2), ({"instance_megabytes": 1}, 0), ({"folder_megabytes": 5}, 2)]
)
def test_a_limit_is_told_and_stores_nothing_more(opened, limits, fits):
    store = opened(**limits)
    outcomes = [store.receive(data(n, b"x" * 2_000_000), header(n), "ct") for n in range(4)]
    assert outcomes == [Outcome.ADDED] * fits + [Outcome.FULL] * (4 - fits)
    assert len(files(store, "received")) == fits and store.counts().refused == 4 - fits


def test_two_nodes_cannot_have_one_folder(opened, tmp_path):
    opened()
    with raises_code(ResourceError, "node.in_use"):
        Store(tmp_path / "state", Limits())
    with Store(tmp_path / "state", Limits(), is_beside=True) as beside:
        assert beside.counts().received == 0


def test_a_folder_of_other_things_is_left_alone(tmp_path):
    kept = tmp_path / "results" / "of a year" / "work.txt"
    kept.parent.mkdir(parents=True)
    kept.write_text("mine")
    tmp_path.chmod(0o755)
    with raises_code(UsageError, "node.foreign_folder"):
        Store(tmp_path, Limits())
    assert kept.read_text() == "mine" and tmp_path.stat().st_mode & 0o777 == 0o755
    assert [path.name for path in tmp_path.iterdir()] == ["results"]


def test_a_folder_that_no_node_had_is_named(tmp_path):
    with raises_code(UsageError, "node.no_state"):
        Store(tmp_path / "state", Limits(), is_beside=True)
    assert not (tmp_path / "state").exists()


def test_a_queue_of_a_newer_version_or_a_damaged_one_is_refused(opened, tmp_path):
    store = opened()
    store._database.execute("PRAGMA user_version = 99")
    with raises_code(UsageError, "node.newer_queue"):
        opened()
    (tmp_path / "state" / "queue.sqlite").write_bytes(b"no database" * 1000)
    with raises_code(ResourceError, "node.queue_failed"):
        Store(tmp_path / "state", Limits())


def test_many_threads_send_the_same_instances(opened):
    store, turn = opened(), threading.Barrier(8)

    def send(number):
        turn.wait()
        return [store.receive(data(n), header(n), "ct") for n in range(20)]

    with ThreadPoolExecutor(8) as pool:
        outcomes = [outcome for found in pool.map(send, range(8)) for outcome in found]
    assert outcomes.count(Outcome.ADDED) == 20 and outcomes.count(Outcome.KNOWN) == 140
    assert len(files(store, "received")) == 20


# ---- studies


def test_a_study_is_complete_after_a_quiet_time_a_number_or_the_longest_time(opened, clock):
    store, settings = opened(), config("state")
    store.receive(data(1), header(1), "ct")
    clock.now += 29
    store.receive(data(2), header(2), "ct")
    assert store.complete(clock.now + 29, settings) == []
    (study,) = store.complete(clock.now + 30, settings)
    assert (study.study_uid, study.number, len(study.instances), study.earlier) == ("1.2.3", 1, 2, ())
    assert store.complete(clock.now, replace(settings, instances=2)) == [study]
    assert store.complete(clock.now, replace(settings, longest_seconds=29)) == [study]
    assert store.complete(clock.now - 7200, settings) == [study]  # the clock was put back
    instance = study.instances[0]
    assert (instance.modality, instance.body_part, instance.description) == ("CT", "ABDOMEN", "portal venous")
    assert (instance.peer, instance.path.read_bytes()) == ("ct", data(1))


def test_a_study_that_was_not_closed_is_complete_again_after_a_kill(opened, clock):
    store = opened()
    store.receive(data(1), header(1), "ct")
    clock.now += 30
    before = store.complete(clock.now, config("state"))
    assert opened().complete(clock.now, config("state")) == before


def test_late_instances_make_a_further_round(opened, clock):
    store = opened()
    first = queue_job(store, clock)
    store.receive(data(7), header(7), "ct")
    store.receive(data(8), header(8, series="1.2.3.5"), "ct")
    clock.now += 30
    (second,) = store.complete(clock.now, config("state"))
    assert (second.number, [one.sop_uid for one in second.instances]) == (2, ["1.2.3.4.7", "1.2.3.5.8"])
    assert second.earlier == first.instances  # those of its series
    store.add_jobs(second, [NewJob(RULE.name, (*first.instances, second.instances[0]))])
    assert store.counts().unmatched == 1
    assert [len(store.next_job().instances) for _ in range(2)] == [2, 2]  # the older job, again: it was not finished


def test_an_earlier_instance_that_was_deleted_is_named_all_the_same(opened, clock):
    store = opened()
    job = answer(store, clock)
    store.delivered(store.next_delivery(clock.now))
    store.retire(clock.now, Retention())
    assert files(store, "received") == [] and not job.instances[0].path.exists()
    assert store.receive(data(0), header(0), "ct") is Outcome.KNOWN
    store.receive(data(7), header(7), "ct")
    clock.now += 30
    (late,) = store.complete(clock.now, config("state"))
    assert [(one.series_uid, one.sop_uid, one.path.exists()) for one in late.earlier] == [("1.2.3.4", "", False)] * 2
    assert [one.path for one in late.earlier] == [one.path for one in job.instances]


# ---- jobs


def test_a_job_is_counted_before_it_is_handed_out(opened, clock):
    store = opened()
    queue_job(store, clock)
    for attempt in (1, 2, 3):  # a process each, killed while it answers
        assert store.next_job().attempts == attempt
        store = opened()
    assert store.next_job() is None
    (folder,) = (store.folder / "rejected").iterdir()
    reason = json.loads((folder / "reason.json").read_text())
    assert (folder.name, reason["code"], reason["params"]) == ("job-1", "node.job_ends_process", {"count": 3})
    assert len(list(folder.glob("*.dcm"))) == 2 and store.counts().jobs_rejected == 1
    assert store.retry_rejected() == 1
    assert store.next_job().attempts == 1 and list((store.folder / "rejected").iterdir()) == []


def test_a_job_that_is_given_back_or_postponed(opened, clock):
    store = opened()
    queue_job(store, clock)
    store.give_back(store.next_job())
    job = store.next_job()
    assert job.attempts == 1
    store.postpone_job(job, REASON, clock.now + 10)
    assert store.next_job() is None
    clock.now += 10
    assert store.next_job().attempts == 2


def test_results_are_kept_before_they_are_sent(opened, clock):
    store = opened()
    job = answer(store, clock, ("archive", "web"))
    assert store.next_job() is None
    assert files(store, "results") == ["1/0-sr.dcm", "1/1-gsps.dcm"]
    store = opened()
    delivery = store.next_delivery(clock.now)
    assert (delivery.peer, delivery.objects, delivery.attempts) == ("archive", tuple(made(job.id)), 0)
    store.delivered(delivery)
    assert store.next_delivery(clock.now).peer == "web"
    store.finish(job, made(job.id), ("archive",))  # a repetition changes nothing
    assert store.counts().answered == 1 and store.counts().deliveries_waiting == 1


def test_results_of_a_killed_attempt_are_made_anew(opened, clock):
    store = opened()
    queue_job(store, clock)
    left = store.folder / "results" / "1"
    left.mkdir()
    (left / "5-pdf.dcm").write_bytes(b"half")
    job = store.next_job()
    store.finish(job, made(job.id), ("archive",))
    assert files(store, "results") == ["1/0-sr.dcm", "1/1-gsps.dcm"]


# ---- deliveries


def test_a_peer_that_fails_keeps_no_other_waiting(opened, clock):
    store = opened()
    answer(store, clock, ("archive", "web"))
    delivery = store.next_delivery(clock.now)
    store.postpone(delivery, REASON, clock.now + 1, clock.now + 5)
    assert store.next_delivery(clock.now).peer == "web"
    store.delivered(store.next_delivery(clock.now))
    assert store.next_delivery(clock.now + 4) is None
    again = opened().next_delivery(clock.now + 5)
    assert (again.attempts, again.failures) == (1, 1)
    assert again.objects == delivery.objects  # the same UIDs


def test_a_delivery_that_cannot_succeed_is_a_dead_letter_until_it_is_tried_again(opened, clock):
    store = opened()
    answer(store, clock)
    delivery = store.next_delivery(clock.now)
    store.reject_delivery(delivery, Message("node.no_such_peer", name="archive"))
    assert store.next_delivery(clock.now) is None
    assert files(store, "rejected") == ["delivery-1/0-sr.dcm", "delivery-1/1-gsps.dcm", "delivery-1/reason.json"]
    with Store(store.folder, Limits(), is_beside=True) as beside:  # as `medrega node retry` does
        assert beside.retry_rejected() == 1
    assert store.next_delivery(clock.now) == replace(delivery, attempts=0)
    assert files(store, "rejected") == []


def test_results_that_somebody_deleted_are_told(opened, clock):
    store = opened()
    answer(store, clock)
    (store.folder / "results" / "1" / "0-sr.dcm").unlink()
    assert store.next_delivery(clock.now) is None
    reason = json.loads((store.folder / "rejected" / "delivery-1" / "reason.json").read_text())
    assert (reason["code"], reason["peer"]) == ("node.results_gone", "archive")


# ---- retention


def test_nothing_goes_that_waits(opened, clock):
    store = opened()
    answer(store, clock)
    store.receive(data(9), header(9, study="1.9"), "ct")
    store.retire(clock.now + 1e6, NOTHING_STAYS)
    assert len(files(store, "received")) == 3 and len(files(store, "results")) == 2


def test_what_is_done_goes_by_rule(opened, clock):
    store = opened()
    answer(store, clock)
    store.delivered(store.next_delivery(clock.now))
    rule = Retention(received_hours=1, results_hours=2)
    store.retire(clock.now + 3599, rule)
    assert len(files(store, "received")) == 2
    store.retire(clock.now + 3600, rule)
    assert files(store, "received") == [] and list((store.folder / "received").iterdir()) == []
    assert len(files(store, "results")) == 2
    store.retire(clock.now + 7200, rule)
    assert files(store, "results") == [] and store.counts().held_bytes == 0
    assert store.holds(["1.2.3.4.1"]) == {"1.2.3.4.1"} and store.receive(data(1), header(1), "ct") is Outcome.KNOWN
    left = [tuple(row) for row in store._rows("SELECT * FROM instance")]
    assert not [value for row in left for value in row if isinstance(value, str) and "1.2.3" in value]
    assert [len(store._rows(f"SELECT * FROM {table}")) for table in ("job", "delivery", "object", "job_instance")] == [0] * 4


def test_no_byte_of_a_moved_row_stays_behind(opened, clock):
    """SQLite leaves them in free places of its pages; here a connection does that leaves whatever it deletes."""
    store, private = opened(), b"1.2.826.7.7.7.7"
    path = store.folder / "queue.sqlite"

    def leave_behind():
        with sqlite3.connect(path) as careless:
            careless.execute("PRAGMA secure_delete = OFF")
            careless.execute("INSERT INTO counter VALUES (?, 0)", (private.decode(),))
            careless.execute("DELETE FROM counter WHERE name = ?", (private.decode(),))
            careless.commit()
            careless.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        careless.close()
        assert private in path.read_bytes()

    leave_behind()
    store.retire(clock.now, Retention())
    assert private not in path.read_bytes()
    leave_behind()
    store.retire(clock.now + WIPE_SECONDS - 1, Retention())
    assert private in path.read_bytes()  # once a day
    store.retire(clock.now + WIPE_SECONDS, Retention())
    assert private not in path.read_bytes()
    leave_behind()
    store = opened()
    store.retire(clock.now, Retention())
    assert private not in path.read_bytes()  # and after each start


def test_what_no_rule_fits_goes_too(opened, clock):
    store = opened()
    store.receive(data(1), header(1), "ct")
    clock.now += 30
    (study,) = store.complete(clock.now, config("state"))
    store.add_jobs(study, [])
    store.retire(clock.now, Retention())
    assert files(store, "received") == [] and store.counts().unmatched == 1


def test_dead_letters_go_when_their_time_is_over(opened, clock):
    store = opened()
    answer(store, clock)
    store.reject_delivery(store.next_delivery(clock.now), REASON)
    store.receive(data(1), header(1, study="1.9", series="1.9.1"), "ct")
    clock.now += 30
    (study,) = store.complete(clock.now, config("state"))
    store.add_jobs(study, [NewJob(RULE.name, study.instances)])
    store.reject(store.next_job(), REASON)
    rule = Retention(received_hours=0, results_hours=0, rejected_hours=1)
    store.retire(clock.now, rule)
    assert len(files(store, "received")) == 1 and len(files(store, "results")) == 2 and len(files(store, "rejected")) == 5
    clock.now += 3600
    for _ in range(2):
        store.retire(clock.now, rule)
    assert [files(store, name) for name in ("received", "results", "rejected")] == [[], [], []]
    assert store.counts().dropped == 2


# ---- a full disk and the order of things


def test_an_instance_is_acknowledged_when_its_file_its_name_and_its_row_are_on_the_disk(opened, monkeypatch):
    store, order = opened(), []
    with monkeypatch.context() as patch:
        sync, move = os.fsync, os.replace
        patch.setattr(os, "fsync", lambda handle: order.append("folder" if is_folder(handle) else "file") or sync(handle))
        patch.setattr(os, "replace", lambda *names: order.append("name") or move(*names))
        store._database.set_trace_callback(lambda sql: order.append(sql.split()[0]))
        store.receive(data(1), header(1), "ct")
    written = [word for word in order if word != "SELECT"]
    assert written == ["folder", "file", "name", "folder", "BEGIN", "INSERT", "INSERT", "INSERT", "COMMIT"]
    assert store._number("PRAGMA synchronous") == 2  # FULL: a commit is on the disk


def is_folder(handle):
    return stat.S_ISDIR(os.fstat(handle).st_mode)


def fail(*_):
    raise OSError(errno.ENOSPC, "No space left on device")


def test_an_instance_that_does_not_fit_on_the_disk_is_not_acknowledged(opened, monkeypatch):
    store = opened()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with raises_code(ResourceError, "io.no_space"):
            store.receive(data(1), header(1), "ct")
    assert files(store, "received") == [] and store.counts().received == 0
    assert store.receive(data(1), header(1), "ct") is Outcome.ADDED


def test_a_row_that_does_not_fit_leaves_no_file(opened):
    store = opened()
    pages = store._database.execute("PRAGMA page_count").fetchone()[0]
    store._database.execute(f"PRAGMA max_page_count = {pages}")
    with raises_code(ResourceError, "io.no_space"):
        for number in range(200):
            store.receive(data(number), header(number), "ct")
    kept = store.counts().received
    assert 0 < kept < 200 and len(files(store, "received")) == kept
    store._database.execute("PRAGMA max_page_count = 1000000")
    assert store.receive(data(199), header(199), "ct") is Outcome.ADDED


def test_results_that_do_not_fit_are_kept_when_there_is_room(opened, clock, monkeypatch):
    store = opened()
    queue_job(store, clock)
    job = store.next_job()
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", fail)
        with raises_code(ResourceError, "io.no_space"):
            store.finish(job, made(job.id), ("archive",))
    assert store.next_delivery(clock.now) is None
    store.finish(job, made(job.id), ("archive",))
    assert store.next_delivery(clock.now).objects == tuple(made(job.id))


# ---- kill -9


class Deadly:
    """Kills its process at the `left`-th change of the disk: a statement of the database, a file written, moved, removed."""

    def __init__(self, store, left):
        self.left = left
        own = store._database
        self.execute, self.executemany, self.close = self.counted(own.execute), self.counted(own.executemany), own.close
        store._database = self
        for name in ("fsync", "replace", "unlink", "link", "rmdir", "mkdir"):
            setattr(os, name, self.counted(getattr(os, name)))

    def counted(self, function):
        def call(*arguments, **named):
            self.left -= 1
            if not self.left:
                os.kill(os.getpid(), signal.SIGKILL)
            return function(*arguments, **named)

        return call


def receive(store, say):
    for number in (0, 1):
        say(store.receive(data(number), header(number), "ct").value)


def complete(store, say):
    for study in store.complete(1100.0, config(store.folder)):
        store.add_jobs(study, [NewJob(RULE.name, study.instances)])


def finish(store, say):
    if job := store.next_job():
        store.finish(job, made(job.id), ("archive", "web"))


def reject(store, say):
    if job := store.next_job():
        store.reject(job, REASON)


def deliver(store, say):
    if delivery := store.next_delivery(1100.0):
        say(*(one.sop_uid for one in delivery.objects))  # to the peer
        store.delivered(delivery)


def retry(store, say):
    store.retry_rejected()


def retire(store, say):
    store.retire(1e9, Retention())


# The step, what comes before it, and the counts when it is done, once.
STEPS = [
    (receive, [], {"received": 2, "instances_open": 2}),
    (complete, [receive], {"instances_open": 0, "jobs_waiting": 1}),
    (finish, [receive, complete], {"answered": 1, "deliveries_waiting": 2}),
    (reject, [receive, complete], {"jobs_rejected": 1, "jobs_waiting": 0}),
    (deliver, [receive, complete, finish], {"delivered": 1, "deliveries_waiting": 1}),
    (retry, [receive, complete, reject], {"jobs_rejected": 0, "jobs_waiting": 1}),
    (retire, [receive, complete, finish, deliver, deliver], {"instances_held": 0, "held_bytes": 0}),
]
MOST_KILLS = 300


def stepped(folder, step, kill_at):
    """Take a step in a process of its own, which is killed at its change number `kill_at`; what it said, and if it ended."""
    reading, writing = os.pipe()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)  # threads of other tests are idle
        child = os.fork()
    if not child:
        ended = 1
        with suppress(BaseException):
            store = Store(folder, Limits(), clock=lambda: 1000.0)
            Deadly(store, kill_at)
            step(store, lambda *words: os.write(writing, " ".join([*words, ""]).encode()))
            ended = 0
        os._exit(ended)
    os.close(writing)
    with open(reading) as pipe:
        said = pipe.read().split()
    status = os.waitpid(child, 0)[1]
    assert status in (0, signal.SIGKILL), "the step failed"
    return said, status == 0


def check_whole(store, step):
    """Hold the rows against the files: no file without a row, and no row without its file but for one that is deleted."""
    held = {row["sha256"] for row in store._rows("SELECT sha256 FROM instance WHERE is_held = 1")}
    objects = {f"{row['job']}/{row['number']}-{row['kind']}.dcm" for row in store._rows("SELECT * FROM object")}
    found = {path.stem for path in (store.folder / "received").rglob("*.dcm")}
    assert found <= held and set(files(store, "results")) <= objects
    assert step is retire or (found == held and set(files(store, "results")) == objects)
    counts = store.counts()
    letters = [path for path in (store.folder / "rejected").iterdir() if (path / "reason.json").exists()]
    assert len(letters) == counts.jobs_rejected + counts.deliveries_rejected
    return counts


@pytest.mark.parametrize(("step", "before", "expected"), STEPS, ids=lambda value: getattr(value, "__name__", ""))
def test_a_kill_at_any_moment_loses_nothing_and_repeats_nothing(tmp_path, step, before, expected):
    """The step is killed at its first change of the disk, at its second, and so on; each time another process ends it."""
    for kill_at in range(1, MOST_KILLS):
        folder = tmp_path / str(kill_at)
        with Store(folder, Limits(), clock=lambda: 1000.0) as store:
            for earlier in before:
                earlier(store, lambda *_: None)
        said, ended = stepped(folder, step, kill_at)
        with Store(folder, Limits()) as store:
            assert check_whole(store, step).received >= said.count("added")  # what was acknowledged is there
        again, is_done = stepped(folder, step, MOST_KILLS)
        assert is_done
        if step is deliver and not ended:
            assert not said or again in ([], said)  # sent twice at most, and under the same UIDs
        if not ended:
            with Store(folder, Limits()) as store:
                counts = check_whole(store, step)
                assert {name: getattr(counts, name) for name in expected} == expected
        else:
            assert kill_at > 5
            return
    raise AssertionError("the step has no end")


def test_an_interrupted_transaction_leaves_nothing(opened):
    store = opened()
    with pytest.raises(KeyboardInterrupt), store._transaction() as database:
        database.execute("INSERT INTO counter VALUES ('x', 1)")
        raise KeyboardInterrupt
    assert store._counter("x") == 0
    with raises_code(ResourceError, "node.queue_failed"), store._transaction():
        raise sqlite3.OperationalError("words that quote a row")
