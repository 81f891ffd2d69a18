"""How fast this machine reads memory: the limit of decoding, which reads every weight for every token."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np

BLOCK_BYTES = 256 * 1024 * 1024  # of each thread: far beyond every cache


class Reader:
    """Threads that each sum a block of their own; keeps the blocks, so that a reading costs milliseconds."""

    def __init__(self, threads: int) -> None:
        """Fill the blocks."""
        self._blocks = [np.ones(BLOCK_BYTES // 8) for _ in range(threads)]

    def gigabytes_per_second(self, repeats: int = 5) -> float:
        """Read all blocks at once, a few times; returns the best, because others may read at the same time."""
        with ThreadPoolExecutor(len(self._blocks)) as pool:
            seconds = min(self._once(pool) for _ in range(repeats))
        return BLOCK_BYTES * len(self._blocks) / seconds / 1e9

    def _once(self, pool: ThreadPoolExecutor) -> float:
        begun = time.perf_counter()
        list(pool.map(np.sum, self._blocks))  # numpy lets go of the interpreter's lock while it sums
        return time.perf_counter() - begun
