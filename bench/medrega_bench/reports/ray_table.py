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
RAY_ONE, POOL_ONE = "Ray, one actor", "one process"


@dataclass(frozen=True)
class EngineRate:
    """Images a second once all are at work, processor time of all processes for one, and the seconds beside them."""

    name: str
    per_second: Spread
    cpu_ms: Spread
    start_seconds: Spread


@dataclass(frozen=True)
class Driver:
    """What one machine does for all: processor milliseconds for a block of `block_items`, and milliseconds to write a row.

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

    def engine(self, name: str) -> EngineRate:
        """What was measured of an engine."""
        return next(each for each in self.engines if each.name == name)


def table(result: RayResult) -> str:
    """Every engine's images a second and start, and what a block costs."""
    lines = [
        "| engine | images a second, median (range) | processor, ms an image | start and end, s |",
        "|---|---|---|---|",
    ]
    for each in result.engines:
        rate = each.per_second
        columns = f"{rate.median:.1f} ({rate.min:.1f} to {rate.max:.1f}) | {each.cpu_ms.median:.0f}"
        lines.append(f"| {each.name} | {columns} | {each.start_seconds.median:.1f} |")
    driver, machine = result.driver, result.environment
    one, two = (result.engine(name).cpu_ms.median for name in (POOL_ONE, RAY_ONE))
    before, after = (load[0] for load in result.load_average)
    lines += [
        "",
        f"An image takes {two / one:.2f} times the processor time on Ray, its services and the driver among it, as in one "
        f"process. Of a block of {driver.block_items} items that take no time, the driver takes {driver.block_ms:.1f} ms, "
        f"and {driver.row_ms:.2f} ms to write a row to the disk.",
        "",
        f"Measured {result.date} with `{result.command}` on {machine.processor}, {machine.threads} threads, Ray "
        f"{machine.versions.get('ray')}; package {result.model.name} {result.model.version} ({result.model.precision}), "
        f"{result.images} images. Load of the machine: {before:.1f} before, {after:.1f} after; where it is more than the "
        "threads, others were at work, and images a second and start depend on them.",
    ]
    return "\n".join(lines)


def archive(result: RayResult) -> str:
    """The calculation for an archive, each line with its formula."""
    driver, rate = result.driver, 1000 / result.engine(RAY_ONE).cpu_ms.median
    core_hours = IMAGES / rate / 3600
    driver_hours = IMAGES * driver.image_ms / 1000 / 3600
    lines = [
        f"For N = {IMAGES / 1e6:.0f} million images, one question each:",
        "",
        "| quantity | formula | value |",
        "|---|---|---|",
        f"| r, images a second of a core | measured: 1000 / processor ms of one actor | {rate:.1f} |",
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
