"""How many questions a machine answers in a minute, one after the other, and the energy of them."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass

from medrega_bench.performance import energy
from medrega_bench.performance.energy import NoEnergy, Part, PartEnergy

SECONDS = 5.0  # at least, so that counters that tick slowly say something
IDLE_SECONDS = 2.0


@dataclass(frozen=True)
class Throughput:
    """Questions of a loop: a new image, then one question after the other about it, and so on for `seconds`."""

    questions: int
    seconds: float
    energy: tuple[PartEnergy, ...]

    @property
    def questions_per_minute(self) -> float:
        """Questions over time, the share of each in the encoding of its image included."""
        return 60 * self.questions / self.seconds

    @property
    def joules_per_question(self) -> float | None:
        """Energy of `parts` over questions, nothing subtracted; None where no part could be read."""
        return sum(part.joules or 0.0 for part in self.energy) / self.questions if self.parts else None

    @property
    def idle_watts(self) -> float | None:
        """Power of `parts` before the loop; None where no part could be read."""
        return sum(part.idle_watts or 0.0 for part in self.energy) if self.parts else None

    @property
    def parts(self) -> tuple[Part, ...]:
        """The parts of the machine whose energy is known."""
        return tuple(part.part for part in self.energy if part.missing is None)

    @property
    def missing(self) -> dict[Part, NoEnergy]:
        """Why the energy of the other parts is not known."""
        return {part.part: part.missing for part in self.energy if part.missing is not None}


def measure(ask: Callable[[], int], device: str) -> Throughput:
    """Call `ask`, which asks about one new image and returns how many questions it asked, for `SECONDS` at least."""
    asked: list[int] = []
    seconds = 0.0

    def loop() -> None:
        nonlocal seconds
        begun = time.perf_counter()
        while seconds < SECONDS:
            asked.append(ask())
            seconds = time.perf_counter() - begun

    used = energy.measured(device, IDLE_SECONDS, loop)
    return Throughput(sum(asked), seconds, used)
