"""Time and peak memory of a whole process that answers one question, for a package and at the sizes of larger models."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory

from PIL import Image

from medrega_bench.performance import random_packages
from medrega_bench.performance.latency import QUESTIONS, SAMPLE
from medrega_bench.performance.spread import Spread, quotients
from medrega_bench.result_files import optional
from medrega_edge.errors import ResourceError
from medrega_edge.i18n.message import Message
from medrega_edge.images.reader import read_image
from medrega_edge.images.samples import sample_path
from medrega_edge.inference import memory
from medrega_edge.inference.prefix_cache import usage
from medrega_edge.package.package import Package

_PROGRAM = (sys.executable, "-m", "medrega_edge")
# A process inherits the peak memory of its parent until it runs its own program. So a small one starts the measured one.
_LAUNCHER = """
import json, os, subprocess, sys, time
begun = time.perf_counter()
process = subprocess.Popen(sys.argv[1:], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
_, status, usage = os.wait4(process.pid, 0)
milliseconds = (time.perf_counter() - begun) * 1000
print(json.dumps([milliseconds, usage.ru_maxrss / 1024, os.waitstatus_to_exitcode(status)]))
"""


@dataclass(frozen=True)
class ColdStart:
    """From the start of the process to its end: of a question about the sample scan, a DICOM file.

    `png_ms` is the same scan as PNG, `help_ms` a process that shows the help. Results of earlier versions lack both.
    """

    wall_ms: Spread
    peak_mib: Spread
    png_ms: Spread | None = optional()
    help_ms: Spread | None = optional()


@dataclass(frozen=True)
class PeakMemory:
    """A cold start at a shape, beside the size of the package and the peak that `model info` predicts for it.

    `over_package` is the peak divided by the package's size, `prediction_off` the relative error of the prediction.
    """

    shape: str
    package_mib: float
    predicted_mib: float
    wall_ms: Spread
    peak_mib: Spread
    over_package: float
    prediction_off: float


@dataclass(frozen=True)
class SecondProcess:
    """A process that asks about an image, without a cache, with one that another process has filled, and while it fills one.

    The three run in turn. `time` is that from the cache divided by that without one, turn by turn.
    """

    package: str
    without_ms: Spread
    filling_ms: Spread
    cached_ms: Spread
    time: Spread
    cache_mib: float


def measure(package: Package, repeats: int) -> ColdStart:
    """Run processes of each kind in turn, `repeats` times; raises ResourceError when one fails.

    A turn before them compiles the program's modules, as the installation of a wheel does.
    """
    with TemporaryDirectory() as folder, compiled_modules() as environment:
        picture = Path(folder) / "sample.png"
        Image.fromarray(read_image(sample_path(SAMPLE)).pixels).save(picture)
        commands = (_command(package), _command(package, image=str(picture)), [*_PROGRAM, "--help"])
        turns = [[_launch(command, environment) for command in commands] for _ in range(1 + repeats)][1:]
    scan, png, helped = ([turn[number] for turn in turns] for number in range(3))
    return ColdStart(
        Spread.of([time for time, _ in scan]),
        Spread.of([peak for _, peak in scan]),
        Spread.of([time for time, _ in png]),
        Spread.of([time for time, _ in helped]),
    )


def peak_bytes(package: Package) -> int:
    """Run one process that answers a question; return its peak memory. Raises ResourceError when it fails."""
    with compiled_modules() as environment:
        return round(_launch(_command(package), environment)[1] * 2**20)


def measure_second(package: Package, repeats: int) -> SecondProcess:
    """Run three processes `repeats` times, after a turn that is not counted; raises ResourceError when one fails."""
    turns = []
    with compiled_modules() as environment:
        for _ in range(1 + repeats):
            with TemporaryDirectory() as folder:
                kept = _command(package, folder)
                turns.append([_launch(command, environment)[0] for command in (_command(package), kept, kept)])
                size = usage(Path(folder))[1]
    without, filling, cached = map(list, zip(*turns[1:], strict=True))
    spreads = Spread.of(without), Spread.of(filling), Spread.of(cached), Spread.of(quotients(cached, without))
    return SecondProcess(package.manifest.name, *spreads, size / 2**20)


def _command(package: Package, cache: str | None = None, image: str | None = None) -> list[str]:
    """The command that asks about the sample scan or another `image`, without a cache that a user's settings name."""
    command = [*_PROGRAM, "ask", *((image,) if image else ("--sample", SAMPLE)), QUESTIONS[0], "--json"]
    return [*command, "--model", str(package.folder), *(("--cache", cache) if cache else ("--cache-size", "0"))]


@contextmanager
def compiled_modules() -> Iterator[dict[str, str]]:
    """The environment of processes that share compiled modules."""
    with TemporaryDirectory() as compiled:
        environment = {**os.environ, "PYTHONPYCACHEPREFIX": compiled}
        environment.pop("PYTHONDONTWRITEBYTECODE", None)
        yield environment


def _launch(command: list[str], environment: dict[str, str]) -> tuple[float, float]:
    """Run one process; return its milliseconds and its peak memory in MiB."""
    launcher = [sys.executable, "-c", _LAUNCHER, *command]
    launched = subprocess.run(launcher, check=True, capture_output=True, text=True, env=environment)
    milliseconds, peak_mib, exit_code = json.loads(launched.stdout)
    if exit_code:
        raise ResourceError("bench.measurement_failed", problem=Message("bench.cold_start_failed", exit_code=exit_code))
    return milliseconds, peak_mib


def measure_shape(name: str, repeats: int = 1) -> PeakMemory:
    """Write a package of random weights of a named shape and measure it; needs the extra [export]."""
    with TemporaryDirectory() as folder:
        package = random_packages.write_package(random_packages.named(name), Path(folder) / "package", f"random-{name}")
        cold = measure(package, repeats)
        size, predicted, peak = package.total_bytes / 2**20, memory.peak(package.manifest) / 2**20, cold.peak_mib.max
        return PeakMemory(name, size, predicted, cold.wall_ms, cold.peak_mib, peak / size, abs(predicted - peak) / peak)


def measure_second_at(name: str, repeats: int) -> SecondProcess:
    """Write a package of random weights of a named shape and measure it; needs the extra [export]."""
    with TemporaryDirectory() as folder:
        package = random_packages.write_package(random_packages.named(name), Path(folder) / "package", f"random-{name}")
        return measure_second(package, repeats)
