"""What Ray costs beside a pool of processes, and what follows for ten million images.

    python -m tools.ray_scaling --out bench/results/ray-DATE.json

A short and a long batch of the sample scan with noise are timed for each engine; the images between them count. Then blocks
of items that take no time go through Ray, which leaves its own cost, and rows through the journal, the work of the driver.
"""

import argparse
import json
import os
import pickle
import subprocess
import sys
import tempfile
import time
from dataclasses import replace
from datetime import date
from importlib.metadata import version
from pathlib import Path

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
BLOCKS = 1000  # of nothing, through Ray


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


def batch(folder, out, *options):
    """Run one batch; return its seconds."""
    words = [sys.executable, "-m", "medrega_edge", "batch", str(folder), "--question", QUESTION, "--force"]
    begun = time.perf_counter()
    subprocess.run([*words, "--out", str(out), "--cache-size", "0", *options], check=True, capture_output=True)
    return time.perf_counter() - begun


def rates(folders, place, rounds):
    """Time every engine in turn, so that each meets the same machine; also return the rows of the last batch."""
    few, many = sorted(folders)
    rate, start = {name: [] for name in ENGINES}, {name: [] for name in ENGINES}
    out = place / "a.jsonl"
    batch(folders[many], out, *ENGINES["one process"])  # warms the disk
    wanted = out.read_bytes()
    for turn in range(rounds):
        for name, options in ENGINES.items():
            short, long = (batch(folders[count], out, *options) for count in (few, many))
            assert out.read_bytes() == wanted, name
            rate[name].append((many - few) / (long - short))
            start[name].append(short - few / rate[name][-1])
            sys.stderr.write(f"{turn} {name}: {short:.1f} s, {long:.1f} s\n")
    rows = [json.loads(line) for line in wanted.splitlines()]
    return [EngineRate(name, Spread.of(rate[name]), Spread.of(start[name])) for name in ENGINES], rows


def block_seconds(row_bytes, package):
    """Seconds that Ray takes for a block of items that take none, beside the first ones, which wait for the actors."""
    from tools.ray_scaling import Nothing as Importable  # not `__main__`, which is another program on a worker

    job = Importable(row_bytes, BLOCKS * ray_engine.BLOCK_ITEMS)
    options = ray_engine.RayOptions(threads=2)
    begun, first = 0.0, 2 * ray_engine.BLOCKS_AHEAD * ray_engine.BLOCK_ITEMS
    for number, _ in enumerate(ray_engine.answers(job, Position(0), package, None, EngineOptions(), options)):
        if number == first:
            begun = time.perf_counter()
    return (time.perf_counter() - begun) / (BLOCKS - first // ray_engine.BLOCK_ITEMS)


def row_seconds(row, place):
    """Seconds that the driver takes to write a row to the disk."""
    with Journal(place / "rows.jsonl", "measured") as journal:
        begun = time.perf_counter()
        for item in range(ROWS):
            journal.add(Position(item), row)
        seconds = (time.perf_counter() - begun) / ROWS
        journal.remove()
    return seconds


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
        folders = {count: noisy_images(place / str(count), count) for count in (given.few, given.many)}
        engines, rows = rates(folders, place, given.rounds)
        parts = list(ImageFolder(folders[given.few], BatchQuestion(QUESTION)).parts(Position(0)))
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
