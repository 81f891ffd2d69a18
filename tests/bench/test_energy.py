"""Energy of processor and card from made-up counters, and the reason in words where there is none; never a 0."""

import os
import time
from types import SimpleNamespace

import pytest

from medrega_bench.performance import energy, throughput
from medrega_bench.performance.energy import NoEnergy, NvidiaSmi, Part, PartEnergy, Rapl, Unreadable
from medrega_bench.performance.throughput import Throughput
from medrega_bench.result_files import parse, to_json_values

RANGE = 262_143_328_850  # microjoules


def domain(folder, path, name, microjoules, most=RANGE):
    place = folder / path
    place.mkdir(parents=True, exist_ok=True)
    (place / "name").write_text(f"{name}\n")
    (place / "energy_uj").write_text(f"{microjoules}\n")
    (place / "max_energy_range_uj").write_text(f"{most}\n")
    return place / "energy_uj"


@pytest.fixture
def machine(tmp_path, monkeypatch):
    """A machine without marks of a container or a hypervisor."""
    monkeypatch.setattr(energy, "CONTAINER_MARKS", (tmp_path / ".dockerenv",))
    monkeypatch.setattr(energy, "CPUINFO", tmp_path / "cpuinfo")
    return tmp_path


def reason(make):
    with pytest.raises(Unreadable) as error:
        make()
    return error.value.reason


def test_two_sockets_add_up_and_what_is_inside_or_around_a_package_does_not(tmp_path):
    first = domain(tmp_path, "intel-rapl:0", "package-0", 1_000_000)
    second = domain(tmp_path, "intel-rapl:1", "package-1", 5_000_000)
    others = [
        domain(tmp_path, "intel-rapl:0:0", "core", 10),
        domain(tmp_path, "intel-rapl:0:1", "dram", 10),
        domain(tmp_path, "intel-rapl:2", "psys", 10),
        domain(tmp_path, "intel-rapl-mmio:0", "package-0", 10),  # the first package once more
    ]
    counter = Rapl(tmp_path)
    counter.begin()
    first.write_text("3500000")
    second.write_text("6000000")
    for other in others:
        other.write_text("99999999")
    assert counter.end() == pytest.approx(2.5 + 1.0)


def test_a_counter_that_turned_over_goes_on(tmp_path):
    counted = domain(tmp_path, "intel-rapl:0", "package-0", RANGE - 2_000_000)
    counter = Rapl(tmp_path)
    counter.begin()
    counted.write_text("3000000")
    assert counter.end() == pytest.approx(5.0)


def test_a_counter_that_turned_over_more_than_once_was_read_in_between(tmp_path, monkeypatch):
    monkeypatch.setattr(energy, "READ_SECONDS", 0.001)
    counted = domain(tmp_path, "intel-rapl:0", "package-0", 0, most=10_000_000)
    counter = Rapl(tmp_path)
    counter.begin()
    for microjoules in (6_000_000, 2_000_000, 8_000_000, 4_000_000):  # 6 + 6 + 6 + 6 joules
        fresh = tmp_path / "fresh"
        fresh.write_text(f"{microjoules}")
        fresh.rename(counted)
        time.sleep(0.05)
    assert counter.end() == pytest.approx(24.0)


def test_a_machine_that_has_the_second_kind_only_is_read(tmp_path):
    counted = domain(tmp_path, "intel-rapl-mmio:0", "package-0", 0)
    counter = Rapl(tmp_path)
    counter.begin()
    counted.write_text("1000000")
    assert counter.end() == 1.0


def test_a_counter_that_stands_still_is_no_reading_and_not_zero(tmp_path):
    domain(tmp_path, "intel-rapl:0", "package-0", 7)
    counter = Rapl(tmp_path)
    counter.begin()
    assert reason(counter.end) is NoEnergy.NO_READING


def test_a_counter_that_holds_no_number_is_no_reading(tmp_path):
    domain(tmp_path, "intel-rapl:0", "package-0", "nothing")
    assert reason(lambda: Rapl(tmp_path)) is NoEnergy.NO_READING


def test_a_counter_that_only_root_may_read_says_so(tmp_path, monkeypatch):
    domain(tmp_path, "intel-rapl:0", "package-0", 7).chmod(0o000)
    if os.geteuid() == 0:  # who may read everything
        read_text = energy.Path.read_text

        def refused(path, *words, **more):
            if path.name == "energy_uj":
                raise PermissionError
            return read_text(path, *words, **more)

        monkeypatch.setattr(energy.Path, "read_text", refused)
    assert reason(lambda: Rapl(tmp_path)) is NoEnergy.NO_PERMISSION


def test_why_there_is_no_counter(machine):
    assert reason(lambda: Rapl(machine / "powercap")) is NoEnergy.NO_COUNTER
    (machine / "cpuinfo").write_text("flags\t\t: fpu avx2 hypervisor\n")
    assert reason(lambda: Rapl(machine / "powercap")) is NoEnergy.VIRTUAL_MACHINE
    (machine / ".dockerenv").touch()
    assert reason(lambda: Rapl(machine / "powercap")) is NoEnergy.CONTAINER


def card(folder, monkeypatch, lines, seen=None):
    """A program in the place of nvidia-smi."""
    program = folder / "nvidia-smi"
    seen = seen or os.devnull
    program.write_text(
        f'#!/bin/sh\necho "$*" >> {seen}\n'
        f"case \"$*\" in *loop-ms*) trap 'exit 0' TERM; printf '{lines}'; while :; do sleep 0.05; done;; "
        "*name*) echo NVIDIA H1;; "
        f"*) printf '{lines}';; esac\n"
    )
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(folder), prepend=os.pathsep)


def test_the_card_gives_its_mean_power_times_the_time(tmp_path, monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "3,1")
    seen = tmp_path / "seen"
    card(tmp_path, monkeypatch, "100.0\n", seen)
    counter = NvidiaSmi()
    card(tmp_path, monkeypatch, "100.0\n300.0\n", seen)
    counter.begin()
    begun = time.perf_counter()
    time.sleep(0.3)
    seconds = time.perf_counter() - begun
    assert counter.end() == pytest.approx(200.0 * seconds, rel=0.2)
    assert energy.card_name() == "NVIDIA H1"
    assert all("--id=3" in line for line in seen.read_text().splitlines())


def test_a_card_that_tells_no_power_is_no_counter(tmp_path, monkeypatch):
    card(tmp_path, monkeypatch, "[N/A]\n")
    assert reason(NvidiaSmi) is NoEnergy.NO_COUNTER
    monkeypatch.setenv("PATH", str(tmp_path / "nowhere"))
    assert reason(NvidiaSmi) is NoEnergy.NO_COUNTER
    assert energy.card_name() is None


class Made:
    """A counter that gives these joules, one a measurement; None stands for a counter that stood still."""

    def __init__(self, *joules):
        self.joules = list(joules)

    def begin(self):
        pass

    def end(self):
        value = self.joules.pop(0)
        if value is None:
            raise Unreadable(NoEnergy.NO_READING)
        return value


def unreadable():
    raise Unreadable(NoEnergy.NO_PERMISSION)


def test_power_before_stands_beside_the_energy_and_is_not_taken_off(monkeypatch):
    monkeypatch.setattr(energy, "Rapl", lambda: Made(2.0, 30.0))
    monkeypatch.setattr(energy, "NvidiaSmi", lambda: Made(4.0, 50.0))
    monkeypatch.setattr(energy, "time", SimpleNamespace(sleep=lambda seconds: None))
    done = []
    assert energy.measured("cpu", 2.0, lambda: done.append(1)) == (PartEnergy(Part.PROCESSOR, 30.0, 1.0),)
    both = energy.measured("cuda", 2.0, lambda: done.append(1))
    assert both == (PartEnergy(Part.PROCESSOR, 30.0, 1.0), PartEnergy(Part.GPU, 50.0, 2.0))
    assert len(done) == 2


@pytest.mark.parametrize("rapl", [unreadable, lambda: Made(2.0, None), lambda: Made(None, 3.0)])
def test_without_a_reading_the_work_is_done_and_there_is_a_reason_and_no_number(rapl, monkeypatch):
    monkeypatch.setattr(energy, "Rapl", rapl)
    monkeypatch.setattr(throughput, "SECONDS", 0.02)
    monkeypatch.setattr(throughput, "IDLE_SECONDS", 0.01)
    asked = []
    made = throughput.measure(lambda: asked.append(time.sleep(0.005)) or 4, "cpu")
    assert made.questions == 4 * len(asked) > 0
    assert made.joules_per_question is made.idle_watts is None
    assert made.missing.keys() == {Part.PROCESSOR} and made.parts == ()
    (kept,) = to_json_values(made)["energy"]
    assert kept.keys() == {"part", "missing"}
    assert parse(Throughput, to_json_values(made), "result") == made


def test_questions_a_minute_and_joules_a_question_by_hand():
    parts = (PartEnergy(Part.PROCESSOR, 60.0, 10.0), PartEnergy(Part.GPU, 180.0, 50.0))
    both = Throughput(questions=120, seconds=30.0, energy=parts)
    assert (both.questions_per_minute, both.joules_per_question, both.idle_watts) == (240.0, 2.0, 60.0)
    card_only = Throughput(120, 30.0, (PartEnergy(Part.PROCESSOR, missing=NoEnergy.CONTAINER), parts[1]))
    assert (card_only.joules_per_question, card_only.parts) == (1.5, (Part.GPU,))
    assert card_only.missing == {Part.PROCESSOR: NoEnergy.CONTAINER}
