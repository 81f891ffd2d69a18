"""Whether the machine was quiet while it was measured: waits for a quiet stretch, watches, and says what was not quiet.

A figure is worth something only if nothing else ran. So a `Watch` measures before, between and after the rounds: the
processor time of other processes, the time that the hypervisor took, a read of memory and a fixed product. A neighbour on
the same hardware shows only as a reading that is slower than the best of the run.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from enum import StrEnum
from typing import Protocol

from medrega_bench.performance.machine_load import CpuTimes, Machine, Reading
from medrega_bench.performance.spread import Spread
from medrega_bench.result_files import optional
from medrega_edge.i18n.message import Message
from medrega_edge.inference.devices import available_threads

# Measured on 2026-11-30 on two cores of a virtual machine. Nothing else running, 25 readings: others 0.8 % of the cores,
# 0.0 % stolen, the slowest read of memory 0.89 of the fastest, the slowest product 0.90. Beside a program with two threads,
# 40 readings: others 53 %, memory 0.41, product 0.48 of their own best, and 0.33 and 0.21 of the quiet machine's.
MOST_OF_OTHERS = 0.05  # of the processors' time
MOST_STOLEN = 0.02
LEAST_OF_BEST = 0.75  # of the best reading of the run
LOOK_SECONDS = 1.0  # idle, to see what others use
SETTLE_SECONDS = 0.3  # after a reading: threads that have just worked wait by spinning for a while


class Disturbance(StrEnum):
    """What was not quiet."""

    OTHERS = "others"  # other processes used the processors
    STOLEN = "stolen"  # the hypervisor gave them to another machine
    MEMORY = "memory"  # was read more slowly than before
    PRODUCT = "product"  # took longer than before


@dataclass(frozen=True)
class Quietness:
    """What the machine did during the measured stretches; `disturbed` is empty if it was quiet.

    `others` and `stolen` are shares of the processors' time, one value a stretch; None on a system that does not tell.
    The readings are of before and after each stretch. `waited_seconds` is how long a quiet machine was waited for.
    """

    waited_seconds: float
    read_gigabytes_per_second: Spread
    product_gigaflops: Spread
    others: Spread | None = optional()
    stolen: Spread | None = optional()
    disturbed: tuple[Disturbance, ...] = ()


def reasons(quietness: Quietness) -> list[Message]:
    """Say what was not quiet, with the spread of what was measured; nothing for a quiet machine."""
    return [_reason(one, quietness) for one in quietness.disturbed]


def told(quietness: Quietness | None) -> Message | None:
    """Return the sentence for a disturbed result; None for a quiet machine, and for older results, which do not tell."""
    return Message("bench.disturbed", reasons=reasons(quietness)) if quietness and quietness.disturbed else None


def _reason(disturbance: Disturbance, quietness: Quietness) -> Message:
    others, stolen = (spread.max if spread else 0.0 for spread in (quietness.others, quietness.stolen))
    memory, product = quietness.read_gigabytes_per_second, quietness.product_gigaflops
    match disturbance:
        case Disturbance.OTHERS:
            return Message("bench.disturbed_others", share=others)
        case Disturbance.STOLEN:
            return Message("bench.disturbed_stolen", share=stolen)
        case Disturbance.MEMORY:
            return Message("bench.disturbed_memory", least=memory.min, most=memory.max)
        case Disturbance.PRODUCT:
            return Message("bench.disturbed_product", least=product.min, most=product.max)


class Watched(Protocol):
    """What a watch looks at; `machine_load.Machine`, or a made one in a test."""

    @property
    def cores(self) -> int:
        """Number of processors."""

    def reading(self) -> Reading:
        """Do the fixed works."""

    def times(self) -> CpuTimes | None:
        """Return processor times until now."""


@dataclass(frozen=True)
class _Shares:
    """Of the processors' time over some seconds."""

    others: float
    stolen: float


class Watch:
    """Watches the machine over the stretches of one run.

    watch = Watch(wait_seconds=180, announce=print_status)
    for _ in range(rounds):
        with watch.stretch():
            measure()
    watch.quietness()
    """

    def __init__(
        self,
        wait_seconds: float,
        announce: Callable[[Message], None],
        threads: int | None = None,
        machine: Watched | None = None,
        clock: Callable[[], float] = time.monotonic,
        sleep: Callable[[float], None] = time.sleep,
    ) -> None:
        """Wait for at most `wait_seconds` in the whole run; 0 measures at once. Memory is read on `threads`, default all."""
        self._machine = machine or Machine(threads or available_threads())
        self._left, self._announce, self._clock, self._sleep = wait_seconds, announce, clock, sleep
        self._waited = 0.0
        self._seen: list[Reading] = []  # all readings: the best of them is the machine undisturbed
        self._readings: list[Reading] = []  # those before and after a stretch
        self._shares: list[_Shares] = []
        self._was_quiet = False

    @property
    def cores(self) -> int:
        """Number of processors that are watched."""
        return self._machine.cores

    @property
    def last_reading(self) -> Reading:
        """The reading before the stretch that runs, or after the last one."""
        return self._readings[-1]

    @contextmanager
    def stretch(self) -> Iterator[None]:
        """Wait until the machine is quiet, or no time is left to wait; then watch what is done inside."""
        if not self._was_quiet:
            self._wait()
        self._readings.append(self._read())
        self._sleep(SETTLE_SECONDS)
        begun, before = self._clock(), self._machine.times()
        yield
        shares = self._shares_since(begun, before)
        self._shares += shares
        self._readings.append(self._read())
        self._was_quiet = not list(self._reasons(self._readings[-1:], shares))

    def quietness(self) -> Quietness:
        """Sum up the stretches until now, one at least."""
        return Quietness(
            waited_seconds=round(self._waited, 1),
            read_gigabytes_per_second=Spread.of([reading.gigabytes_per_second for reading in self._readings]),
            product_gigaflops=Spread.of([reading.gigaflops for reading in self._readings]),
            others=Spread.of([shares.others for shares in self._shares]) if self._shares else None,
            stolen=Spread.of([shares.stolen for shares in self._shares]) if self._shares else None,
            disturbed=tuple(self._reasons(self._readings, self._shares)),
        )

    def _wait(self) -> None:
        """Look for a second at a time until the machine is quiet; tell when that takes longer, and when it was in vain."""
        was_told = False
        while self._left > 0:
            begun, before = self._clock(), self._machine.times()
            self._sleep(LOOK_SECONDS)
            shares = self._shares_since(begun, before)
            reasons = list(self._reasons([self._read()], shares))
            spent = self._clock() - begun
            self._left, self._waited = self._left - spent, self._waited + spent
            if not reasons:
                return
            if not was_told:
                self._announce(Message("bench.waits_for_quiet", minutes=max(0.0, self._left) / 60))
                was_told = True
        if was_told:
            self._announce(Message("bench.never_quiet"))

    def _read(self) -> Reading:
        self._seen.append(self._machine.reading())
        return self._seen[-1]

    def _shares_since(self, begun: float, before: CpuTimes | None) -> list[_Shares]:
        """What others used since then, nothing if the system does not tell."""
        after, seconds = self._machine.times(), self._clock() - begun
        if before is None or after is None or seconds <= 0:
            return []
        others = (after.busy - before.busy) - (after.own - before.own)
        whole = seconds * self._machine.cores
        return [_Shares(max(0.0, others) / whole, (after.stolen - before.stolen) / whole)]

    def _reasons(self, readings: Sequence[Reading], shares: Sequence[_Shares]) -> Iterator[Disturbance]:
        """What was not quiet in these stretches."""
        if any(one.others > MOST_OF_OTHERS for one in shares):
            yield Disturbance.OTHERS
        if any(one.stolen > MOST_STOLEN for one in shares):
            yield Disturbance.STOLEN
        best = max(one.gigabytes_per_second for one in self._seen)
        if any(one.gigabytes_per_second < LEAST_OF_BEST * best for one in readings):
            yield Disturbance.MEMORY
        best = max(one.gigaflops for one in self._seen)
        if any(one.gigaflops < LEAST_OF_BEST * best for one in readings):
            yield Disturbance.PRODUCT
