"""The tables about Ray follow from the measured figures alone."""

from medrega_bench.performance.environment import Environment, ModelIdentity
from medrega_bench.performance.spread import Spread
from medrega_bench.reports.ray_table import Driver, EngineRate, RayResult, archive, table

RATES = {"one process": 10, "two processes": 19, "Ray, one actor": 10, "Ray, two actors": 18}


def result(block_ms=16.0, row_ms=1.0):
    engines = [
        EngineRate(name, Spread.of([rate]), Spread.of([100.0 if "Ray" in name else 80.0]), Spread.of([3.0]))
        for name, rate in RATES.items()
    ]
    return RayResult(
        date="2026-11-30",
        command="python -m tools.ray_scaling",
        environment=Environment("cpu", 2, 4.0, "Linux", "3.11", {"ray": "2.60.0"}),
        model=ModelIdentity("m", "1", "p", "0" * 64),
        images=256,
        engines=tuple(engines),
        driver=Driver(16, block_ms, row_ms, item_bytes=500, row_bytes=2000, parquet_row_bytes=100),
        load_average=((1.0, 1.0, 1.0), (2.0, 2.0, 2.0)),
    )


def test_engines_are_put_beside_each_other():
    text = table(result())
    assert "| Ray, two actors | 18.0 (18.0 to 18.0) | 100 | 3.0 |" in text
    assert "An image takes 1.25 times the processor time on Ray" in text
    assert "Load of the machine: 1.0 before, 2.0 after" in text


def test_the_archive_takes_what_cores_and_driver_need():
    lines = archive(result()).splitlines()
    assert "| core hours | N / r / 3600 | 278 |" in lines  # 10 million at 10 a second
    assert "| hours of the driver | N d / 3.6e6 | 5.6 |" in lines  # 2 ms each
    assert "| cores beyond which the driver is the limit | 1000 / (r d) | 50 |" in lines
    assert "| JSONL, twice until the end | 2 x 2000 B x N | 40 GB |" in lines
    assert "| 16 | 17.4 | 80 |" in lines
    assert "| 64 | 5.6 (driver) | 250 |" in lines
    assert "| 1024 | 5.6 (driver) | 250 |" in lines
