"""Foretold beside measured: errors, goals, and the model that exists on paper only; nothing is measured here."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

from medrega_bench import extras
from medrega_bench.cli.main import bench_app
from medrega_bench.performance import foretold, quietness, random_packages
from medrega_bench.performance.foretold import MEDREGA_40B, ForetoldShape, MeasuredAnswer, on_paper
from medrega_bench.performance.results import ForetellResult
from medrega_bench.performance.spread import Spread
from medrega_bench.reports import foretold_table
from medrega_bench.result_files import parse
from medrega_edge.inference.foretelling import OPERATIONS_PER_VALUE, Work, foretell
from medrega_edge.inference.machine_speed import MachineSpeed
from medrega_edge.package.package import Package

from .test_cli_speed import BUSY, Unmeasured
from .test_fast_table import ENVIRONMENT

SPEED = MachineSpeed(
    threads=2,
    decoder_threads=2,
    read_bytes=30e9,
    row_bytes=60e9,
    int4_operations=5e11,
    int8_operations=1e12,
    float_operations=3e11,
)
WORK = Work(
    layers=24,
    weights=360_000_000,
    token_bytes=330_000_000,
    narrow_bytes=190_000_000,
    cache_bytes=24_576,
    values=21_504,
    attended_values=21_504,
    image_tokens=256,
    tower_bytes=310_000_000,
    tower_operations=6e11,
    tower_float_operations=1.4e11,
    peak_bytes=1090 * 2**20,
    mapped_peak_bytes=10**8,
)
TOLD = foretell(WORK, SPEED)
SHAPE = ForetoldShape(
    "0.5b",
    900.0,
    WORK,
    SPEED,
    MeasuredAnswer(
        1000 * 2**20,
        Spread.of([TOLD.tower_seconds]),
        Spread.of([TOLD.prompt_seconds]),
        Spread.of([TOLD.tokens_per_second / 1.25]),
        Spread.of([TOLD.first_answer_seconds]),
        Spread.of([TOLD.next_answer_seconds]),
    ),
)
RESULT = ForetellResult(
    date="2026-01-01", command="medrega bench foretell", environment=ENVIRONMENT, threads=2, foretold=(SHAPE,)
)


def test_each_figure_has_its_error_and_a_missed_goal_is_bold():
    lines = foretold_table.table(RESULT).splitlines()
    assert "| 0.5b | peak memory, MiB | 1090 | 1000 | +9% | <= 10% | yes |" in lines
    rate = TOLD.tokens_per_second
    assert f"| 0.5b | tokens/s | {rate:.1f} | {rate / 1.25:.1f} | +25% | <= 20% | **no** |" in lines
    assert f"| 0.5b | tower, s | {TOLD.tower_seconds:.2f} | {TOLD.tower_seconds:.2f} | +0% | | |" in lines
    disturbed = foretold_table.table(replace(RESULT, quietness=BUSY))
    assert f"| {rate / 1.25:.1f}, disturbed | +25% |" in disturbed and "| 1000 | +9% |" in disturbed


def test_the_model_on_paper_has_the_largest_error_of_the_shapes():
    text = foretold_table.paper_table(RESULT)
    assert "| peak memory, GiB |" in text and "| 25% |" in text and "errors are of 0.5b." in text


def test_a_model_on_paper_has_the_sizes_of_one_that_is_written():
    work = on_paper(MEDREGA_40B)
    assert work.weights == pytest.approx(33.5e9, rel=0.01)  # Yi-34B without its embeddings
    assert work.token_bytes == pytest.approx(33.5e9 * 4.25 / 8 + 0.46e9 * 8.25 / 8, rel=0.01)
    assert work.layers == 60 and work.image_tokens == 256
    assert work.tower_operations == pytest.approx(2 * 1025 * 5.9e9, rel=0.01)
    assert work.tower_float_operations == pytest.approx(1025 * 48 * 3200 * (4 * 1025 + OPERATIONS_PER_VALUE), rel=0.01)


def test_foretell_measures_every_shape_in_its_folder(tmp_path, monkeypatch):
    asked = []
    monkeypatch.setattr(extras, "require_export", lambda name: None)
    monkeypatch.setattr(quietness, "Watch", lambda *given: Unmeasured())
    monkeypatch.setattr(random_packages, "write_package", lambda shape, folder, name: asked.append((folder.name, name)))
    monkeypatch.setattr(Package, "open", lambda folder: folder)
    monkeypatch.setattr(foretold, "measure", lambda name, package, threads: replace(SHAPE, shape=name))
    (tmp_path / "packages" / "3b").mkdir(parents=True)  # it was written before
    out = tmp_path / "result.json"
    words = ["--shape", "3b", "--shape", "0.5b", "--packages", tmp_path / "packages", "--out", out]
    run = CliRunner().invoke(bench_app, ["foretell", *map(str, words)])
    assert run.exit_code == 0, run.output
    assert asked == [("0.5b", "random-0.5b")]
    result = parse(ForetellResult, json.loads(out.read_text("utf-8")), out.name)
    assert [one.shape for one in result.foretold] == ["3b", "0.5b"] and result.quietness == BUSY
    assert "3b: foretold +9% memory, +25% tokens/s, +0% time to the first answer" in run.output
