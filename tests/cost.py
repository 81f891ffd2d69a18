"""How much work a call does, in units that a slow or busy machine stretches alike: loops of plain Python."""

import time
from contextlib import contextmanager

MILLION_LOOPS = 100.0  # what refusing a harmful file may cost: about four seconds on a laptop


@contextmanager
def costs_at_most(million_loops=MILLION_LOOPS):
    """Fail if the block takes more processor time than so many times a million turns of an empty loop."""
    begun = time.process_time()
    yield
    spent = time.process_time() - begun
    if spent < 0.5:  # little on any machine
        return
    assert spent < million_loops * max(_seconds_of_a_million_turns() for _ in range(3)), f"{spent:.1f} s"


def _seconds_of_a_million_turns():
    begun, total = time.process_time(), 0
    for number in range(1_000_000):
        total += number & 7
    return time.process_time() - begun
