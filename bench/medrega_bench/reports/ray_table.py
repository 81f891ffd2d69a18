"""What `tools.ray_scaling` measured, as Markdown: Ray beside processes, and what follows for an archive."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.performance.spread import Spread

IMAGES = 10_000_000
CORES = (16, 64, 256, 1024)
# What nobody measured here, and everybody can put in place of it.
IMAGE_MEGABYTES = 0.5  # a slice of CT or MR
CORE_HOUR = 0.04  # of a rented core, in any currency
RAY_ONE, RAY_TWO, POOL_ONE, POOL_TWO = "Ray, one actor", "Ray, two actors", "one process", "two processes"


@dataclass(frozen=True)
class EngineRate:
    """Images a second in the steady state, and the seconds that a batch takes beside them."""

    name: str
    per_second: Spread
    start_seconds: Spread


@dataclass(frozen=True)
class Driver:
    """What one machine does for all: milliseconds for a block of `block_items`, through Ray, and for a row, to the disk.

    `item_bytes` are sent for an item. A row takes `row_bytes` in JSONL and `parquet_row_bytes` in Parquet.
    """

    block_items: int
    block_ms: float
    row_ms: float
    item_bytes: int
    row_bytes: int
    parquet_row_bytes: int

    @property
    def image_ms(self) -> float:
        """Milliseconds for an image with one row."""
        return self.block_ms / self.block_items + self.row_ms


@dataclass(frozen=True)
class RayResult:
    """The result of `tools.ray_scaling`; `load_average` is that before and after."""

    date: str
    command: str
    environment: Environment
    model: ModelIdentity
    images: int
    engines: tuple[EngineRate, ...]
    driver: Driver
    load_average: tuple[tuple[float, float, float], tuple[float, float, float]]
    schema_version: int = 1

    def rate(self, name: str) -> float:
        """Images a second of an engine."""
        return next(each.per_second.median for each in self.engines if each.name == name)


def table(result: RayResult) -> str:
    """Every engine's images a second and start, and what a block costs."""
    lines = ["| engine | images a second, median (range) | start and end, s |", "|---|---|---|"]
    for each in result.engines:
        rate, start = each.per_second, each.start_seconds
        lines.append(f"| {each.name} | {rate.median:.1f} ({rate.min:.1f} to {rate.max:.1f}) | {start.median:.1f} |")
    driver, machine = result.driver, result.environment
    before, after = (load[0] for load in result.load_average)
    lines += [
        "",
        f"Two actors answer {result.rate(RAY_TWO) / result.rate(RAY_ONE):.2f} times as many images as one; two processes "
        f"{result.rate(POOL_TWO) / result.rate(POOL_ONE):.2f} times as many. Two actors are "
        f"{result.rate(RAY_TWO) / result.rate(POOL_TWO):.2f} times as fast as two processes. Of a block of "
        f"{driver.block_items} items that take no time, Ray takes {driver.block_ms:.1f} ms; the driver takes "
        f"{driver.row_ms:.2f} ms to write a row to the disk.",
        "",
        f"Measured {result.date} with `{result.command}` on {machine.processor}, {machine.threads} threads, Ray "
        f"{machine.versions.get('ray')}; load of the machine {before:.1f} before and {after:.1f} after; package "
        f"{result.model.name} {result.model.version} ({result.model.precision}), {result.images} images.",
    ]
    return "\n".join(lines)


def archive(result: RayResult) -> str:
    """The calculation for an archive, each line with its formula."""
    driver, rate = result.driver, result.rate(RAY_ONE)
    core_hours = IMAGES / rate / 3600
    driver_hours = IMAGES * driver.image_ms / 1000 / 3600
    lines = [
        f"For N = {IMAGES / 1e6:.0f} million images, one question each:",
        "",
        "| quantity | formula | value |",
        "|---|---|---|",
        f"| r, images a second of a core | measured: one actor | {rate:.1f} |",
        f"| d, ms of the driver for an image | measured: block / {driver.block_items} + row | {driver.image_ms:.2f} |",
        f"| core hours | N / r / 3600 | {core_hours:.0f} |",
        f"| hours of the driver | N d / 3.6e6 | {driver_hours:.1f} |",
        f"| cores beyond which the driver is the limit | 1000 / (r d) | {1000 / (rate * driver.image_ms):.0f} |",
        f"| cost at {CORE_HOUR} a core hour (assumed) | {CORE_HOUR} x core hours | {CORE_HOUR * core_hours:.0f} |",
        f"| images at {IMAGE_MEGABYTES} MB (assumed) | {IMAGE_MEGABYTES} MB x N | {IMAGE_MEGABYTES * IMAGES / 1e6:.1f} TB |",
        f"| JSONL, twice until the end | 2 x {driver.row_bytes} B x N | {2 * driver.row_bytes * IMAGES / 1e9:.0f} GB |",
        f"| Parquet | {driver.parquet_row_bytes} B x N | {driver.parquet_row_bytes * IMAGES / 1e9:.1f} GB |",
        f"| sent to the actors | {driver.item_bytes} B x N | {driver.item_bytes * IMAGES / 1e9:.1f} GB |",
        "",
        "| cores | hours | images read, MB a second |",
        "|---|---|---|",
        *_by_cores(core_hours, driver_hours),
        "",
        "Hours are the larger of core hours / cores and the hours of the driver. One actor was measured: those that share a "
        "memory or a disk with others are slower.",
    ]
    return "\n".join(lines)


def _by_cores(core_hours: float, driver_hours: float) -> Iterator[str]:
    for cores in CORES:
        hours = max(core_hours / cores, driver_hours)
        limit = " (driver)" if driver_hours > core_hours / cores else ""
        yield f"| {cores} | {hours:.1f}{limit} | {IMAGES * IMAGE_MEGABYTES / hours / 3600:.0f} |"
