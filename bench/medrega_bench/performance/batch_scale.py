"""How many more images a second a batch answers on all cores than on one, both from the same command.

The start of a process is taken out: a short and a long batch are timed, and the images between them count.
"""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

from medrega_bench.performance.cold_start import compiled_modules
from medrega_bench.performance.latency import QUESTIONS, SAMPLE
from medrega_bench.performance.spread import Spread, quotients
from medrega_edge.errors import ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.images.reader import read_image
from medrega_edge.images.samples import sample_path
from medrega_edge.package.package import Package

FEW, MANY = 64, 256  # images of the short and the long batch; both are enough for a process on every core
ROUNDS = 3


@dataclass(frozen=True)
class BatchScale:
    """Images a second in the steady state; `ratio` is that on all `cores` over that on one, round by round."""

    cores: int
    images: int
    one_core: Spread
    all_cores: Spread
    ratio: Spread


def measure(package: Package, rounds: int = ROUNDS) -> BatchScale | None:
    """Run four batches a round; None where a process cannot be held to one core. Raises ResourceError when one fails."""
    cores = sorted(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else []
    if len(cores) < 2:
        return None
    with tempfile.TemporaryDirectory() as name, compiled_modules() as environment:
        folders = {count: noisy_images(Path(name) / str(count), count) for count in (FEW, MANY)}
        one: list[float] = []
        every: list[float] = []
        for turn in range(1 + rounds):
            for rates, allowed in ((one, cores[:1]), (every, cores)):
                seconds = {count: _seconds(folder, package, allowed, environment) for count, folder in folders.items()}
                if turn:
                    rates.append((MANY - FEW) / max(seconds[MANY] - seconds[FEW], 1e-9))
    return BatchScale(len(cores), MANY, Spread.of(one), Spread.of(every), Spread.of(quotients(every, one)))


def noisy_images(folder: Path, count: int) -> Path:
    """Write the sample scan `count` times, each with other pixels, so that no image is encoded only once."""
    pixels = read_image(sample_path(SAMPLE)).pixels
    noise = np.random.default_rng(count)
    folder.mkdir()
    for number in range(count):
        changed = np.clip(pixels.astype(np.int16) + noise.integers(-2, 3, pixels.shape), 0, 255)
        Image.fromarray(changed.astype(np.uint8)).save(folder / f"{number}.png")
    return folder


def _seconds(folder: Path, package: Package, cores: Collection[int], environment: Mapping[str, str]) -> float:
    """Run one batch on these cores alone."""
    with tempfile.TemporaryDirectory() as out:
        command = [sys.executable, "-m", "medrega_edge", "batch", str(folder), "--question", QUESTIONS[0]]
        command += ["--out", str(Path(out) / "answers.jsonl"), "--model", str(package.folder), "--cache-size", "0"]
        own = os.sched_getaffinity(0)
        begun = time.perf_counter()
        try:
            os.sched_setaffinity(0, cores)  # a process inherits it
            done = subprocess.run(command, env=dict(environment), capture_output=True)
        finally:
            os.sched_setaffinity(0, own)
        seconds = time.perf_counter() - begun
    if done.returncode:
        problem = Message("bench.cold_start_failed", exit_code=done.returncode)
        raise ResourceError("bench.measurement_failed", problem=problem)
    return seconds
