"""Energy of the processor and of the graphics card, where this machine lets itself be read.

The processor counts in RAPL, which Linux shows for Intel and AMD alike under /sys/class/powercap (kernel documentation,
power/powercap). The card's power is what `nvidia-smi` reads, averaged over the time. A part that cannot be read has a reason
in the place of a number, because 0 joules would be a lie.
"""

from __future__ import annotations

import os
import subprocess
import threading
import time
from collections.abc import Callable, Sequence
from contextlib import suppress
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path
from typing import Protocol

from medrega_bench.result_files import optional

POWERCAP = Path("/sys/class/powercap")
CONTAINER_MARKS = (Path("/.dockerenv"), Path("/run/.containerenv"))
CPUINFO = Path("/proc/cpuinfo")
READ_SECONDS = 5.0  # between two readings of the processor's counters, which turn over
SAMPLE_MS = 100  # between two readings of the card's power


class Part(StrEnum):
    """What uses energy."""

    PROCESSOR = "processor"
    GPU = "gpu"


class NoEnergy(StrEnum):
    """Why the energy of a part is not known; `reports/words.json` has each in a sentence."""

    NO_COUNTER = "no_counter"  # the system shows none
    NO_PERMISSION = "no_permission"  # only root may read it
    CONTAINER = "container"  # which shows none; most hide those of the machine
    VIRTUAL_MACHINE = "virtual_machine"  # which has no counter of its own
    NO_READING = "no_reading"  # it stood still, or gave no number


@dataclass(frozen=True)
class PartEnergy:
    """Energy of one part over a measurement, nothing subtracted; or why it is not known.

    `idle_watts` is its power just before, the package loaded and nothing asked.
    """

    part: Part
    joules: float | None = optional()
    idle_watts: float | None = optional()
    missing: NoEnergy | None = optional()


class Unreadable(Exception):
    """A counter cannot be read; `reason` says why."""

    def __init__(self, reason: NoEnergy) -> None:
        super().__init__(reason)
        self.reason = reason


class Counter(Protocol):
    """Counts joules between `begin` and `end`; both raise Unreadable."""

    def begin(self) -> None:
        """Start to count."""

    def end(self) -> float:
        """Return the joules since `begin`."""


class Rapl:
    """The package domains of RAPL, one a socket; raises Unreadable without any.

    A counter turns over at `max_energy_range_uj`, after 65 kJ on some processors: some minutes at full load. So it is read
    every few seconds.
    """

    def __init__(self, folder: Path = POWERCAP) -> None:
        domains: dict[str, Path] = {}
        for kind in ("intel-rapl", "intel-rapl-mmio"):  # the second counts the same packages once more
            for domain in sorted(folder.glob(f"{kind}:*")):
                name = _text(domain / "name") or ""
                if name.startswith("package-"):  # cores are inside a package, "psys" is around it
                    domains.setdefault(name, domain)
        if not domains:
            raise Unreadable(_why_no_counter())
        self._domains = tuple(domains.values())
        self._ranges = tuple(_number(domain / "max_energy_range_uj") for domain in self._domains)
        self._last = self._read()

    def begin(self) -> None:
        """Start to count."""
        self._last, self._used = self._read(), [0] * len(self._domains)
        self._ended = threading.Event()
        self._watcher = threading.Thread(target=self._watch, daemon=True)
        self._watcher.start()

    def end(self) -> float:
        """Return the joules of all packages since `begin`; raises Unreadable if a counter stood still."""
        self._ended.set()
        self._watcher.join()
        self._add()
        if min(self._used) <= 0:
            raise Unreadable(NoEnergy.NO_READING)
        return sum(self._used) / 1e6

    def _watch(self) -> None:
        while not self._ended.wait(READ_SECONDS):
            with suppress(Unreadable):  # `end` reads again, and raises it
                self._add()

    def _add(self) -> None:
        now = self._read()
        for place, (before, after) in enumerate(zip(self._last, now, strict=True)):
            self._used[place] += after - before + (self._ranges[place] if after < before else 0)
        self._last = now

    def _read(self) -> tuple[int, ...]:
        return tuple(_number(domain / "energy_uj") for domain in self._domains)


class NvidiaSmi:
    """The card on which the program runs: its mean power, as `nvidia-smi` reads it, times the seconds."""

    def __init__(self) -> None:
        """Raises Unreadable if nvidia-smi is not there or reads no power."""
        power = _ask_card("power.draw")
        if power is None:
            raise Unreadable(NoEnergy.NO_COUNTER)
        _watts(power)

    def begin(self) -> None:
        """Start to read."""
        self._begun = time.perf_counter()
        self._process = subprocess.Popen(
            [*_query("power.draw"), f"--loop-ms={SAMPLE_MS}"], stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True
        )

    def end(self) -> float:
        """Return mean power times seconds, in joules; raises Unreadable without a reading."""
        seconds = time.perf_counter() - self._begun
        self._process.terminate()
        read, _ = self._process.communicate()  # a pipe holds some thousand readings
        watts = [_watts(line) for line in read.split("\n")[:-1]]  # the last may be cut
        if not watts:
            raise Unreadable(NoEnergy.NO_READING)
        return seconds * sum(watts) / len(watts)


def card_name() -> str | None:
    """Return the model of the card on which the program runs, None where nvidia-smi does not tell."""
    return _ask_card("name")


def measured(device: str, idle_seconds: float, work: Callable[[], None]) -> tuple[PartEnergy, ...]:
    """Idle, then work; return the energy of each part that works on this device while `work` ran.

    On the CPU the card has no part in it. On the GPU the processor has: it decodes images and feeds the card.
    """
    kinds: dict[Part, Callable[[], Counter]] = {Part.PROCESSOR: Rapl}
    if device == "cuda":
        kinds[Part.GPU] = NvidiaSmi
    return _measured(kinds, idle_seconds, work)


def _measured(
    kinds: dict[Part, Callable[[], Counter]], idle_seconds: float, work: Callable[[], None]
) -> tuple[PartEnergy, ...]:
    counters: dict[Part, Counter] = {}
    missing: dict[Part, NoEnergy] = {}
    for part, kind in kinds.items():
        try:
            counters[part] = kind()
        except Unreadable as error:
            missing[part] = error.reason
    idle = _joules(counters, missing, lambda: time.sleep(idle_seconds if counters else 0))
    used = _joules(counters, missing, work)
    return tuple(
        PartEnergy(part, missing=missing[part])
        if part in missing
        else PartEnergy(part, used[part], idle[part] / idle_seconds)
        for part in kinds
    )


def _joules(counters: dict[Part, Counter], missing: dict[Part, NoEnergy], work: Callable[[], None]) -> dict[Part, float]:
    """Do the work; a counter that fails is noted in `missing`, and the work is done all the same."""
    joules: dict[Part, float] = {}
    begun = [part for part, counter in counters.items() if _begins(counter, part, missing)]
    work()
    for part in begun:
        try:
            joules[part] = counters[part].end()
        except Unreadable as error:
            missing[part] = error.reason
    return joules


def _begins(counter: Counter, part: Part, missing: dict[Part, NoEnergy]) -> bool:
    try:
        counter.begin()
    except Unreadable as error:
        missing[part] = error.reason
        return False
    return True


def _why_no_counter() -> NoEnergy:
    if any(mark.exists() for mark in CONTAINER_MARKS):
        return NoEnergy.CONTAINER
    flags = next((line for line in (_text(CPUINFO) or "").splitlines() if line.startswith("flags")), "")
    return NoEnergy.VIRTUAL_MACHINE if "hypervisor" in flags.split() else NoEnergy.NO_COUNTER


def _text(path: Path) -> str | None:
    try:
        return path.read_text(encoding="ascii", errors="replace").strip()
    except OSError:
        return None


def _number(path: Path) -> int:
    try:
        return int(path.read_text(encoding="ascii"))
    except PermissionError:
        raise Unreadable(NoEnergy.NO_PERMISSION) from None
    except (OSError, ValueError):
        raise Unreadable(NoEnergy.NO_READING) from None


def _query(what: str) -> Sequence[str]:
    """A query for the card that CUDA takes first: that of $CUDA_VISIBLE_DEVICES, else card 0."""
    card = os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",")[0] or "0"
    return ("nvidia-smi", f"--id={card}", f"--query-gpu={what}", "--format=csv,noheader,nounits")


def _ask_card(what: str) -> str | None:
    try:
        done = subprocess.run(_query(what), capture_output=True, text=True, timeout=20, check=True)
    except (OSError, subprocess.SubprocessError):
        return None
    return done.stdout.strip() or None


def _watts(text: str) -> float:
    try:
        return float(text)
    except ValueError:  # "[N/A]"
        raise Unreadable(NoEnergy.NO_COUNTER) from None
