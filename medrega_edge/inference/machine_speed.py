"""How fast this machine is at what an answer costs: reading memory, and products with weights of 4, 8 and 32 bits.

The graphs of the products (`products/`, written by `tools/fixed_products.py`) make their weights when they are opened.
Kernels are far apart: with AMX, one of 8 bits is several times as fast as those of 4 and of 32, so each is measured.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from importlib.resources import files
from pathlib import Path
from typing import Any

import numpy as np

from medrega_edge.inference.devices import load_onnxruntime

_BLOCK_BYTES = 256 * 1024 * 1024  # of each thread: far beyond every cache
_DISK_BYTES = 256 * 1024 * 1024
WIDTH = 2048  # of the matrices in the graphs: as many rows as columns
GROUPS = (32, 128)  # so many weights share a scale, in the graphs of 4 bits
_PROMPT_ROWS, _TOWER_ROWS = 256, 1024  # about what a prompt and a tower have


@dataclass(frozen=True)
class MachineSpeed:
    """`read_bytes` a second from memory. `row_bytes` a second of 4-bit weights in a product of one row, out of the cache.

    The operations a second are those of products of many rows, by the kind of weights; an addition counts as one. Those of
    the tower, with weights of 8 bits, and of float32 ran on `threads`; all else on `decoder_threads`.
    """

    threads: int
    decoder_threads: int
    read_bytes: float
    row_bytes: float
    int4_operations: float
    int8_operations: float
    float_operations: float


class MemoryReader:
    """Measures read bandwidth, the limit of decoding: every token reads every weight.

    Each thread sums a block of its own. The blocks stay allocated, so that a measurement takes milliseconds.
    """

    def __init__(self, threads: int) -> None:
        """Allocate a block for each thread."""
        self._blocks = [np.ones(_BLOCK_BYTES // 8) for _ in range(threads)]

    def gigabytes_per_second(self, repeats: int = 5) -> float:
        """Read all blocks at once, `repeats` times; return the best, because other programs may read at the same time."""
        with ThreadPoolExecutor(len(self._blocks)) as pool:
            seconds = min(self._seconds(pool) for _ in range(repeats))
        return _BLOCK_BYTES * len(self._blocks) / seconds / 1e9

    def _seconds(self, pool: ThreadPoolExecutor) -> float:
        begun = time.perf_counter()
        list(pool.map(np.sum, self._blocks))  # numpy releases the interpreter's lock while it sums
        return time.perf_counter() - begun


def machine_speed(threads: int, decoder_threads: int, group: int) -> MachineSpeed:
    """Measure this machine in a second or two; it takes the best of a few tries, because other programs may run.

    `group` weights of the language model share a scale; the fixed product with the nearest group stands for it.
    """
    nearest = min(GROUPS, key=lambda one: abs(one - group))
    int4, int8, floats = (
        _product(name, count)
        for name, count in ((f"int4-g{nearest}", decoder_threads), ("int8", threads), ("float32", threads))
    )
    weights = WIDTH * WIDTH
    return MachineSpeed(
        threads=threads,
        decoder_threads=decoder_threads,
        read_bytes=1e9 * MemoryReader(decoder_threads).gigabytes_per_second(),
        row_bytes=weights * (4 + 32 / nearest) / 8 / _best(int4, 1, 50),
        int4_operations=2 * weights * _PROMPT_ROWS / _best(int4, _PROMPT_ROWS, 5),
        int8_operations=2 * weights * _TOWER_ROWS / _best(int8, _TOWER_ROWS, 5),
        float_operations=2 * weights * _TOWER_ROWS / _best(floats, _TOWER_ROWS, 5),
    )


def disk_bytes(path: Path) -> float | None:
    """Measure how many bytes a second of a file come from the disk, not from memory; None where that cannot be told."""
    if not hasattr(os, "posix_fadvise"):
        return None
    with path.open("rb", buffering=0) as file:
        size = min(_DISK_BYTES, os.fstat(file.fileno()).st_size)
        os.posix_fadvise(file.fileno(), 0, size, os.POSIX_FADV_DONTNEED)
        block, begun, read = bytearray(2**22), time.perf_counter(), 0
        while read < size and (count := file.readinto(block)):
            read += count
        return read / (time.perf_counter() - begun)


def _product(name: str, threads: int) -> Callable[[int], float]:
    """Open a graph; return a function of a number of rows that multiplies and tells how many seconds that took."""
    ort = load_onnxruntime()
    options = ort.SessionOptions()
    options.intra_op_num_threads = threads
    options.log_severity_level = 3
    graph = files("medrega_edge.inference").joinpath("products", f"{name}.onnx").read_bytes()
    session: Any = ort.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
    generator = np.random.default_rng(0)

    def seconds(rows: int) -> float:
        values = generator.standard_normal((rows, WIDTH), np.float32)
        begun = time.perf_counter()
        session.run(None, {"x": values})
        return time.perf_counter() - begun

    return seconds


def _best(product: Callable[[int], float], rows: int, tries: int) -> float:
    return min(product(rows) for _ in range(tries))
