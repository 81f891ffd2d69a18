"""A busy machine is waited for, and told; a quiet one is neither. Clock and readings are made, except in the slow test."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from dataclasses import replace

import pytest

from medrega_bench.performance.machine_load import CpuTimes, Reading, cpu_times
from medrega_bench.performance.quietness import LOOK_SECONDS, Disturbance, Quietness, Watch, told
from medrega_bench.performance.spread import Spread
from medrega_bench.reports import fast_table
from medrega_bench.result_files import parse, to_json_values

from .test_fast_table import results as made

FAST = Reading(30.0, 300.0)


class MadeMachine:
    """Two cores. `others` and `stolen` are cores used by others, `reading` what the fixed works say, from now on."""

    cores = 2

    def __init__(self):
        self.now, self.others, self.stolen, self.reading_now = 0.0, 0.0, 0.0, FAST
        self.used, self.own, self.taken = 0.0, 0.0, 0.0
        self.plan: list[tuple[float, dict[str, float]]] = []  # what changes when

    def clock(self):
        return self.now

    def sleep(self, seconds):
        self.now += seconds
        self.used += self.others * seconds
        self.taken += self.stolen * seconds
        for when, changed in list(self.plan):
            if self.now >= when:
                self.plan.remove((when, changed))
                vars(self).update(changed)

    def work(self, seconds, cores=2.0):
        """Our own work."""
        self.own += cores * seconds
        self.sleep(seconds)

    def reading(self):
        self.work(0.2)
        return self.reading_now

    def times(self):
        return CpuTimes(self.used + self.own, self.own, self.taken)


def watching(machine, wait=60.0):
    said = []
    return Watch(wait, lambda message: said.append(message.code), None, machine, machine.clock, machine.sleep), said


def quiet_watch():
    """A watch over a machine that is quiet, whose memory is read at 20 GB/s; it waits for nothing."""
    machine = MadeMachine()
    machine.reading_now = Reading(20.0, 300.0)
    return watching(machine)[0]


def test_a_quiet_machine_is_not_waited_for_and_not_marked():
    machine = MadeMachine()
    watch, said = watching(machine)
    for slower in (1.0, 0.9, 0.85):  # as much as a quiet machine varies
        machine.reading_now = Reading(slower * 30, slower * 300)
        with watch.stretch():
            machine.others = 0.05  # the system's own work
            machine.work(10)
    quietness = watch.quietness()
    assert said == [] and quietness.disturbed == () and told(quietness) is None
    assert quietness.waited_seconds == pytest.approx(LOOK_SECONDS + 0.2) and quietness.others.n == 3
    assert quietness.others.max < 0.03


@pytest.mark.parametrize(
    ("change", "reason", "words"),
    [
        ({"others": 1.0}, Disturbance.OTHERS, "other processes used up to 50% of the processors"),
        ({"stolen": 0.2}, Disturbance.STOLEN, "other virtual machines took up to 10% of the processors"),
        ({"reading_now": Reading(15.0, 300.0)}, Disturbance.MEMORY, "memory was read at 15.0 to 30.0 GB/s"),
        ({"reading_now": Reading(30.0, 150.0)}, Disturbance.PRODUCT, "a fixed product ran at 150 to 300 GFLOP/s"),
    ],
)
def test_what_disturbs_a_round_is_told_with_its_spread(change, reason, words):
    machine = MadeMachine()
    watch, _ = watching(machine)
    for number in range(3):
        with watch.stretch():
            vars(machine).update(change if number == 1 else vars(MadeMachine()) | vars(machine))
            machine.work(5)
    quietness = watch.quietness()
    assert quietness.disturbed == (reason,) and str(told(quietness)) == f"disturbed: {words}"


def test_a_busy_machine_is_waited_for_until_it_is_quiet():
    machine = MadeMachine()
    machine.others, machine.reading_now = 2.0, Reading(10.0, 100.0)
    machine.plan = [(20.0, {"others": 0.0, "reading_now": FAST})]
    watch, said = watching(machine)
    with watch.stretch():
        assert machine.now >= 20.0
        machine.work(5)
    assert said == ["bench.waits_for_quiet"]
    assert watch.quietness().disturbed == () and 18 < watch.quietness().waited_seconds < 25


def test_one_that_stays_busy_is_measured_in_the_end_and_marked():
    machine = MadeMachine()
    machine.others = 2.0
    watch, said = watching(machine, wait=30.0)
    for _ in range(3):
        with watch.stretch():
            machine.work(5)
    assert said == ["bench.waits_for_quiet", "bench.never_quiet"]  # the time to wait is that of the whole run
    assert watch.quietness().disturbed == (Disturbance.OTHERS,)
    assert 30 <= watch.quietness().waited_seconds < 32


def test_without_time_to_wait_it_is_measured_at_once():
    machine = MadeMachine()
    machine.others = 2.0
    watch, said = watching(machine, wait=0.0)
    with watch.stretch():
        assert machine.now < 1
        machine.work(5)
    assert said == [] and watch.quietness().disturbed == (Disturbance.OTHERS,)


def test_after_a_disturbed_round_the_next_one_waits():
    machine = MadeMachine()
    watch, said = watching(machine)
    with watch.stretch():
        machine.others = 2.0
        machine.work(5)
    machine.plan = [(machine.now + 10, {"others": 0.0})]
    with watch.stretch():
        machine.work(5)
    quietness = watch.quietness()
    assert said == ["bench.waits_for_quiet"] and quietness.waited_seconds > 9
    assert quietness.others.max == pytest.approx(1.0) and quietness.others.min == 0.0


def test_a_system_that_tells_nothing_is_judged_by_its_readings(monkeypatch):
    machine = MadeMachine()
    monkeypatch.setattr(machine, "times", lambda: None)
    watch, _ = watching(machine)
    with watch.stretch():
        machine.reading_now = Reading(10.0, 300.0)
        machine.work(5)
    quietness = watch.quietness()
    assert quietness.others is None and quietness.stolen is None and quietness.disturbed == (Disturbance.MEMORY,)
    assert parse(Quietness, to_json_values(quietness), "result.json") == quietness


def test_our_own_processes_are_no_others(tmp_path):
    (tmp_path / "stat").write_text(
        "cpu  9 9 9 9 9 9 9 9 0 0\n" + "cpu0 100 20 30 400 5 6 7 80 0 0\ncpu9999 1 1 1 1 1 1 1 1 0 0\n"
    )
    for number, parent, own, waited in ((10, 1, 40, 5), (11, 10, 20, 0), (12, 11, 3, 0), (13, 1, 90, 0)):
        (tmp_path / str(number)).mkdir()
        line = f"{number} (a) b (c)) S {parent} 0 0 0 0 0 0 0 0 0 {own} 1 {waited} 0 20 0 1 0"
        (tmp_path / str(number) / "stat").write_text(line)
    times = cpu_times(tmp_path, root=10)
    tick = times.own / (40 + 5 + 20 + 3 + 3)
    assert times.busy == pytest.approx(163 * tick) and times.stolen == pytest.approx(80 * tick)
    assert cpu_times(tmp_path / "nowhere") is None


def test_reports_mark_every_time_of_a_disturbed_result_and_no_other():
    peers, tower, speed = made()
    quiet = Quietness(0.0, Spread.of([30.0]), Spread.of([300.0]), Spread.of([0.01]), Spread.of([0.0]))
    busy = replace(quiet, others=Spread.of([0.01, 0.5]), disturbed=(Disturbance.OTHERS,))
    undisturbed = fast_table.table(peers, tower, replace(speed, quietness=quiet))
    assert "disturbed" not in undisturbed and undisturbed == fast_table.table(peers, tower, speed)
    lines = fast_table.table(peers, tower, replace(speed, quietness=busy)).splitlines()
    marked = [line for line in lines if line.startswith("|") and ", disturbed |" in line]
    assert len(marked) == 8  # jump-forward, second question, tower, three cold processes, batch, cache
    assert sum("other processes used up to 50% of the processors" in line for line in lines) == 1
    assert fast_table.summary(replace(speed, quietness=busy)).count(", disturbed |") == 3
    assert "1.57 (1.50 to 1.65), disturbed" in fast_table.table(replace(peers, quietness=busy))
    assert "10.0, disturbed |" in fast_table.peers_table(replace(peers, quietness=busy))
    assert "2.00, disturbed |" in fast_table.tower_table(replace(tower, quietness=busy))


_STRANGER = """
import subprocess, sys
spin = "import time; end = time.monotonic() + 30" + chr(10) + "while time.monotonic() < end: pass"
silent = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
print(subprocess.Popen([sys.executable, "-c", spin], **silent, start_new_session=True).pid)
"""  # its parent ends at once, so it is none of ours


@pytest.mark.slow
def test_spinning_programs_are_seen_and_told():
    watch = Watch(0.0, lambda message: None)
    strangers = []
    try:
        with watch.stretch():
            for _ in range(2):
                started = subprocess.run([sys.executable, "-c", _STRANGER], check=True, capture_output=True, text=True)
                strangers.append(int(started.stdout))
            end = time.monotonic() + 3
            while time.monotonic() < end:  # we work, too
                sum(range(1000))
    finally:
        for number in strangers:
            os.kill(number, signal.SIGKILL)
    quietness = watch.quietness()
    assert Disturbance.OTHERS in quietness.disturbed and "other processes" in str(told(quietness))
    assert quietness.others is not None and quietness.others.max * watch.cores > 0.5
