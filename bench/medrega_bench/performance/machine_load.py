"""How much of the machine others use: processor time of other processes, time that the hypervisor took, and two fixed works.

The fixed works are a read of memory and a product of matrices. They also tell what the system cannot: that a neighbour on
the same hardware reads the same memory, or takes the other half of a core.
"""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from medrega_edge.inference.machine_speed import MemoryReader

PROC = Path("/proc")
_PRODUCT = 1024  # rows and columns: 7 ms on two cores, longer than a thread takes to wake
_REPEATS = 5


@dataclass(frozen=True)
class CpuTimes:
    """Seconds of processor time since the start of the machine, over the processors that this process may use.

    `own` is the part of `busy` of this process and of all that it started; `stolen` went to other virtual machines.
    """

    busy: float
    own: float
    stolen: float


@dataclass(frozen=True)
class Reading:
    """The best of a few reads of memory, and of a few products; both on all threads."""

    gigabytes_per_second: float
    gigaflops: float


class Machine:
    """Reads what goes on here; the blocks of memory stay allocated, so that a reading takes a fifth of a second."""

    def __init__(self, threads: int) -> None:
        """Allocate what is read, on so many threads, and what is multiplied."""
        self._memory = MemoryReader(threads)
        self._matrix = np.random.default_rng(0).standard_normal((_PRODUCT, _PRODUCT), np.float32)
        self._product = np.empty_like(self._matrix)
        self._multiply()  # starts the threads of the library

    def reading(self) -> Reading:
        """Multiply, then read memory: so threads that spin after a product are done when the caller goes on."""
        seconds = min(self._multiply() for _ in range(_REPEATS))
        return Reading(self._memory.gigabytes_per_second(_REPEATS), 2 * _PRODUCT**3 / seconds / 1e9)

    def times(self) -> CpuTimes | None:
        """Return processor times until now, None on a system that does not tell."""
        return cpu_times()

    @property
    def cores(self) -> int:
        """Processors that this process may use; a container's quota is not counted, as others are not bound by it."""
        return len(_processors())

    def _multiply(self) -> float:
        begun = time.perf_counter()
        np.matmul(self._matrix, self._matrix, out=self._product)
        return time.perf_counter() - begun


def cpu_times(proc: Path = PROC, root: int | None = None) -> CpuTimes | None:
    """Read /proc/stat and the processor time of a process and of all that it started; `root` is by default this process.

    None on a system without /proc/stat.
    """
    try:
        lines = (proc / "stat").read_text(encoding="ascii").splitlines()
        ticks = 1 / os.sysconf("SC_CLK_TCK")
    except (OSError, ValueError, AttributeError):
        return None
    names = {f"cpu{number}" for number in _processors()}
    busy = stolen = 0
    for name, *columns in (line.split() for line in lines if line.startswith("cpu")):
        if name in names:
            user, nice, system, _idle, _waiting, irq, softirq, steal = map(int, columns[:8])
            busy += user + nice + system + irq + softirq
            stolen += steal
    return CpuTimes(busy * ticks, _own_ticks(proc, os.getpid() if root is None else root) * ticks, stolen * ticks)


def _processors() -> set[int]:
    if hasattr(os, "sched_getaffinity"):
        return os.sched_getaffinity(0)
    return set(range(os.cpu_count() or 1))


def _own_ticks(proc: Path, root: int) -> int:
    """Ticks of a process, of those below it, and of those that they have waited for."""
    parents, ticks = {}, {}
    for number, parent, spent in _processes(proc):
        parents[number], ticks[number] = parent, spent
    children: dict[int, list[int]] = {}
    for number, parent in parents.items():
        children.setdefault(parent, []).append(number)
    total, left = 0, [root]
    while left:
        number = left.pop()
        total += ticks.get(number, 0)
        left += children.get(number, [])
    return total


def _processes(proc: Path) -> Iterator[tuple[int, int, int]]:
    """Number, parent and ticks (its own and of children that it waited for) of every process."""
    for folder in proc.iterdir():
        if not folder.name.isdecimal():
            continue
        try:
            line = (folder / "stat").read_text(encoding="utf-8", errors="replace")
        except OSError:  # it has ended
            continue
        columns = line.rpartition(")")[2].split()  # the name in parentheses may hold anything
        yield int(folder.name), int(columns[1]), sum(map(int, columns[11:15]))
