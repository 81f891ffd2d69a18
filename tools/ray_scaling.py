"""What Ray costs beside a pool of processes, and what follows for ten million images.

    python -m tools.ray_scaling --out bench/results/ray-DATE.json

A batch about the sample scan with noise is timed for each engine: images a second once all are at work, and the seconds
beside them. Then blocks of items that take no time go through Ray, which leaves its own cost, and rows through the journal,
the work of the driver.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from contextlib import suppress
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

import numpy as np

from medrega_bench.performance.batch_scale import noisy_images
from medrega_bench.performance.environment import ModelIdentity, command, environment
from medrega_bench.performance.spread import Spread
from medrega_bench.reports.ray_table import Driver, EngineRate, RayResult
from medrega_bench.result_files import write
from medrega_edge.batch import ray_engine
from medrega_edge.batch.jobs import BatchQuestion, ImageFolder
from medrega_edge.batch.journal import Journal, Position
from medrega_edge.batch.parts import Part
from medrega_edge.batch.ray_worker import Block
from medrega_edge.engine import EngineOptions
from medrega_edge.output.parquet_table import write_parquet
from medrega_edge.package.registry import find_package

QUESTION = "locate the liver"
ENGINES = {
    "one process": ["--threads", "1"],
    "two processes": ["--threads", "2"],
    "Ray, one actor": ["--threads", "1", "--engine", "ray"],
    "Ray, two actors": ["--threads", "2", "--engine", "ray"],
}
ROWS = 2000  # through the journal
BLOCKS = 300  # of nothing, through Ray


class Nothing:
    """Items that take no time, and give a row of usual length."""

    def __init__(self, row_bytes, count):
        self.row_bytes, self.count = row_bytes, count

    def __len__(self):
        return self.count

    def parts(self, start):
        for item in range(start.item, self.count):
            yield Part(Position(item), item + 1, self)

    def answers(self, engine, start, stop=None):
        for item in range(start.item, stop):
            yield Position(item), {"id": item, "text": "x" * self.row_bytes}


def processor_ms(root):
    """Processor milliseconds of a process and of each that it started, directly or not, by their numbers."""
    parents, spent = {}, {}
    for name in os.listdir("/proc"):
        with suppress(OSError, ValueError):  # no process, or one that has ended
            columns = Path(f"/proc/{int(name)}/stat").read_text(errors="replace").rpartition(")")[2].split()
            parents[int(name)], spent[int(name)] = int(columns[1]), sum(map(int, columns[11:13]))
    found = [root]
    for pid in found:
        found += [child for child, parent in parents.items() if parent == pid]
    return {pid: 1000 * spent[pid] / os.sysconf("SC_CLK_TCK") for pid in found if pid in spent}


def batch(folder, out, few, many, *options):
    """Run one batch; return images a second and processor ms an image from `few` on, and the seconds beside them."""
    words = [sys.executable, "-m", "medrega_edge", "batch", str(folder), "--question", QUESTION, "--force"]
    part, seen = out.with_name(f"{out.name}.part"), []
    begun = time.perf_counter()
    process = subprocess.Popen([*words, "--out", str(out), "--cache-size", "0", *options], stderr=subprocess.DEVNULL)
    while process.poll() is None:
        with suppress(FileNotFoundError):  # before the first row and after the last
            rows = part.read_bytes().count(b"\n") - 1
            if rows >= few and (not seen or rows > seen[-1][-1]):
                seen.append((time.perf_counter(), processor_ms(process.pid), rows))
        time.sleep(0.1)
    seconds = time.perf_counter() - begun
    assert process.returncode == 0
    (early, cpu_before, first), (late, cpu_after, last) = seen[0], seen[-1]
    rate = (last - first) / (late - early)
    spent = sum(cpu_after[pid] - cpu_before.get(pid, 0) for pid in cpu_after)  # what ended between the two had nothing to do
    return rate, spent / (last - first), seconds - many / rate


def rates(folder, place, few, many, rounds):
    """Time every engine in turn, so that each meets the same machine; also return the rows."""
    found, wanted = {name: [] for name in ENGINES}, None
    for turn in range(rounds):
        for name, options in ENGINES.items():
            out = place / "a.jsonl"
            found[name].append(batch(folder, out, few, many, *options))
            wanted = wanted or out.read_bytes()
            assert out.read_bytes() == wanted, name
            shown = ", ".join(f"{value:.1f}" for value in found[name][-1])
            sys.stderr.write(f"{turn} {name}: {shown}; load {os.getloadavg()[0]:.1f}\n")
    rows = [json.loads(line) for line in wanted.splitlines()]
    return [EngineRate(name, *map(Spread.of, zip(*found[name], strict=True))) for name in ENGINES], rows


def block_seconds(row_bytes, package):
    """Processor seconds of the driver for a block of items that take none, once the actors are there."""
    from tools.ray_scaling import Nothing as Importable  # not `__main__`, which is another program on a worker

    job = Importable(row_bytes, BLOCKS * ray_engine.BLOCK_ITEMS)
    options = ray_engine.RayOptions(threads=2)
    begun, first = 0.0, 2 * ray_engine.BLOCKS_AHEAD * ray_engine.BLOCK_ITEMS
    for number, _ in enumerate(ray_engine.answers(job, Position(0), package, None, EngineOptions(), options)):
        if number == first:
            begun = time.process_time()
    return (time.process_time() - begun) / (BLOCKS - first // ray_engine.BLOCK_ITEMS)


def row_seconds(row, place):
    """Seconds that the driver takes to write a row to the disk, in the median."""
    seconds = []
    with Journal(place / "rows.jsonl", "measured") as journal:
        for item in range(ROWS):
            begun = time.perf_counter()
            journal.add(Position(item), row)
            seconds.append(time.perf_counter() - begun)
        journal.remove()
    return float(np.median(seconds))


def main():
    """Measure, and write the result."""
    options = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    options.add_argument("--few", type=int, default=64)
    options.add_argument("--many", type=int, default=320)
    options.add_argument("--rounds", type=int, default=3)
    options.add_argument("--out", type=Path, required=True)
    given = options.parse_args()
    package, load, machine = find_package(), os.getloadavg(), environment()
    with tempfile.TemporaryDirectory() as name:
        place = Path(name)
        folder = noisy_images(place / "in", given.many)
        engines, rows = rates(folder, place, given.few, given.many, given.rounds)
        parts = list(ImageFolder(folder, BatchQuestion(QUESTION)).parts(Position(0)))
        block = Block(parts[: ray_engine.BLOCK_ITEMS])
        write_parquet(rows, place / "a.parquet")
        row_bytes = sum(len(json.dumps(row, ensure_ascii=False).encode()) + 1 for row in rows) // len(rows)
        driver = Driver(
            block_items=ray_engine.BLOCK_ITEMS,
            block_ms=1000 * block_seconds(row_bytes, package),
            row_ms=1000 * row_seconds(rows[0], place),
            item_bytes=len(pickle.dumps(block)) // len(block.parts),
            row_bytes=row_bytes,
            parquet_row_bytes=(place / "a.parquet").stat().st_size // len(rows),
        )
    result = RayResult(
        date=date.today().isoformat(),
        command=f"python -m tools.ray_scaling {command().partition(' ')[2]}",
        environment=replace(machine, versions={**machine.versions, "ray": version("ray"), "pyarrow": version("pyarrow")}),
        model=ModelIdentity.of(package),
        images=given.many,
        engines=tuple(engines),
        driver=driver,
        load_average=(load, os.getloadavg()),
    )
    write(given.out, result)


if __name__ == "__main__":
    main()
