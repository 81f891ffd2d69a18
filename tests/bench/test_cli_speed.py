"""`medrega bench speed`, `tower`, `peers` and `shape`: what they ask for, write and print; nothing is measured here."""

from __future__ import annotations

import json
from contextlib import nullcontext

import pytest
from typer.testing import CliRunner

from medrega_bench import extras
from medrega_bench.cli.main import bench_app
from medrega_bench.performance import (
    cold_start,
    determinism,
    latency,
    peer_comparison,
    quietness,
    random_packages,
    results,
    vision_precision,
)
from medrega_bench.performance.quietness import Disturbance, Quietness
from medrega_bench.performance.spread import Spread
from medrega_edge.errors import ResourceError, UsageError
from medrega_edge.inference import machine_speed

from .test_fast_table import results as made

PEERS, TOWER, SPEED = made()


def bench(*words):
    return CliRunner().invoke(bench_app, [str(word) for word in words])


WATCHES = []
BUSY = Quietness(0.0, Spread.of([30.0]), Spread.of([9.0]), Spread.of([0.4]), Spread.of([0.0]), (Disturbance.OTHERS,))


class Unmeasured:
    """A watch that finds the machine busy without looking."""

    def stretch(self):
        return nullcontext()

    def quietness(self):
        return BUSY


@pytest.fixture
def out(tmp_path, monkeypatch):
    """The result to write; the extra [export] counts as installed, whether it is or not."""
    monkeypatch.setattr(extras, "require_export", lambda name: None)
    monkeypatch.setattr(quietness, "Watch", lambda *given: WATCHES.append(given) or Unmeasured())
    return tmp_path / "result.json"


def written(out):
    return results.read(json.loads(out.read_text("utf-8")), out.name)


def test_speed_measures_every_number_of_threads_and_what_else_is_asked_for(out, monkeypatch):
    asked = []
    monkeypatch.setattr(latency, "measure", lambda *given: asked.append(given[1:]) or SPEED.stages[0])
    monkeypatch.setattr(cold_start, "measure", lambda package, repeats: SPEED.cold)
    monkeypatch.setattr(cold_start, "measure_shape", lambda shape: asked.append(shape) or SPEED.memory[0])
    monkeypatch.setattr(determinism, "measure", lambda *given: asked.append(given[1:]) or SPEED.repeatability)
    monkeypatch.setattr(machine_speed.MemoryReader, "gigabytes_per_second", lambda self: 20.0)
    monkeypatch.setattr(machine_speed, "_BLOCK_BYTES", 8)
    run = bench("speed", "--threads", "1,2", "--memory", "1b", "--repeatability", 9, "--out", out)
    assert run.exit_code == 0, run.output
    assert asked == [(1, "cpu", 7), (2, "cpu", 7), "1b", ([1, 2], 9)]
    result = written(out)
    assert result.stages == SPEED.stages * 2 and result.cold == SPEED.cold and result.memory == SPEED.memory
    assert result.read_bandwidth_gb_per_second == 20.0 and result.repeatability == SPEED.repeatability
    assert result.quietness == BUSY and "disturbed: other processes used up to 40% of the processors" in run.output
    assert "cold: 700 ms, 310 MiB" in run.output and "1b: 1.20 times the package at its peak" in run.output


@pytest.mark.parametrize("threads", ["two", "1,", "0", "1,-2"])
def test_threads_that_are_no_numbers_are_refused_before_anything_is_measured(out, threads):
    error = bench("speed", "--threads", threads, "--out", out).exception
    assert isinstance(error, UsageError) and error.code == "bench.threads_unreadable"
    assert error.message.params == {"threads": threads}


def test_without_the_extra_nothing_is_measured(tmp_path, monkeypatch):
    def missing(name):
        raise ImportError(name)

    monkeypatch.setattr(extras.medrega_export, "__getattr__", missing)
    for name in ("write_decoder", "write_vision_graph"):
        monkeypatch.delitem(vars(extras.medrega_export), name, raising=False)
    out = ("--out", tmp_path / "out")
    for words in (("speed", "--memory", "1b"), ("tower",), ("peers",), ("shape", "tiny"), ("malformed",)):
        error = bench(*words, *out).exception
        assert isinstance(error, ResourceError) and error.code == "bench.no_extra", words


def test_tower_writes_every_variant(out, monkeypatch):
    compared = vision_precision.VariantComparison(TOWER.variants, TOWER.profiles)
    monkeypatch.setattr(vision_precision, "measure", lambda *given: compared)
    run = bench("tower", "--shape", "1b", "--threads", 2, "--wait", "0.5", "--out", out)
    assert run.exit_code == 0, run.output
    result = written(out)
    assert WATCHES[-1][0] == 30 and WATCHES[-1][2] == 2 and result.quietness == BUSY
    assert (result.shape, result.threads, result.variants) == ("1b", 2, TOWER.variants)
    assert result.sizes == random_packages.VIT_300M
    assert "int8: attention 25%, rest 75%" in run.output


def test_peers_are_measured_at_every_shape_with_its_heads(out, monkeypatch):
    asked = []

    def measure(name, bits, plan, folder, tell, watch, peers):
        assert isinstance(watch, Unmeasured)
        asked.append((name, bits, plan.tokens, [peer.name for peer in peers]))
        return PEERS.shapes[0]

    monkeypatch.setattr(peer_comparison, "measure", measure)
    run = bench("peers", "--threads", 1, "--rounds", 5, "--peer", "llama.cpp", "--out", out)
    assert run.exit_code == 0, run.output
    assert asked == [("tiny", 4, 128, ["llama.cpp"]), ("0.5b", 4, 32, ["llama.cpp"]), ("0.5b", 8, 32, ["llama.cpp"])]
    result = written(out)
    assert (result.plan.threads, result.plan.rounds) == (1, 5) and result.shapes == PEERS.shapes[:1] * 3
    assert "llama.cpp" in run.output and "memory read at 1 GB/s" in run.output


def test_a_shape_is_written_with_its_head(out, monkeypatch):
    asked = []

    class Written:
        total_bytes = 3 * 2**20

    monkeypatch.setattr(random_packages, "write_package", lambda *given: asked.append(given) or Written())
    run = bench("shape", "0.5b", "--head-bits", "4", "--out", out)
    assert run.exit_code == 0 and run.output == "3 MiB in result.json\n"
    ((shape, folder, name),) = asked
    assert (shape.head_bits, folder, name) == (4, out, "random-0.5b")
    assert bench("shape", "0.5b", "--head-bits", "5", "--out", out).exit_code == 2
