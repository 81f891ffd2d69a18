"""What is foretold of a package, from made speeds of a machine; one test runs the fixed products."""

from __future__ import annotations

import json
from dataclasses import asdict, replace

import pytest

from medrega_edge.cli import model
from medrega_edge.inference import machine_speed
from medrega_edge.inference.foretelling import (
    ANSWER_TOKENS,
    OF_FLOAT,
    OF_READING,
    OPERATIONS_PER_VALUE,
    QUESTION_TOKENS,
    Foretold,
    Work,
    decoder_group,
    foretell,
    layers_with_attention,
)
from medrega_edge.inference.machine_speed import MachineSpeed
from medrega_edge.package.manifest import FileEntry
from medrega_edge.package.registry import find_package

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
    values=24 * 896,
    attended_values=24 * 896,
    image_tokens=256,
    tower_bytes=310_000_000,
    tower_operations=6e11,
    tower_float_operations=1.4e11,
    peak_bytes=10**9,
    mapped_peak_bytes=10**8,
)


def test_a_token_waits_for_memory_or_for_its_products_whichever_is_slower():
    told = foretell(WORK, SPEED)
    assert foretell(WORK, replace(SPEED, row_bytes=40e9)).tokens_per_second == told.tokens_per_second
    assert foretell(WORK, replace(SPEED, read_bytes=60e9)).tokens_per_second > 1.5 * told.tokens_per_second
    slow = foretell(WORK, replace(SPEED, row_bytes=15e9))  # of the layers only: a head of 8 bits has half of the products
    assert 1 / slow.tokens_per_second - 1 / told.tokens_per_second == pytest.approx(
        19e7 * (1 / 15e9 - 1 / 30e9) / OF_READING
    )


def test_an_answer_is_the_sum_of_its_parts():
    told = foretell(WORK, SPEED)
    answer = ANSWER_TOKENS / told.tokens_per_second
    assert told.first_answer_seconds == pytest.approx(told.tower_seconds + told.prompt_seconds + answer)
    assert answer < told.next_answer_seconds < told.first_answer_seconds - told.tower_seconds
    more = foretell(WORK, SPEED, question_tokens=100, answer_tokens=50)
    assert more.first_answer_seconds > told.first_answer_seconds


def test_attention_counts_at_the_speed_of_float32():
    told, slower = foretell(WORK, SPEED), foretell(WORK, replace(SPEED, float_operations=1e11))
    assert slower.tower_seconds - told.tower_seconds == pytest.approx(1.4e11 / OF_FLOAT * (1 / 1e11 - 1 / 3e11))
    assert slower.prompt_seconds > told.prompt_seconds and slower.tokens_per_second == told.tokens_per_second
    twice = foretell(WORK, SPEED, question_tokens=QUESTION_TOKENS + 300)  # scores grow with the square of the prompt
    assert twice.prompt_seconds > 2 * told.prompt_seconds
    faster = foretell(WORK, replace(SPEED, int8_operations=2e12))
    assert told.tower_seconds / 2 < faster.tower_seconds < told.tower_seconds


def test_a_long_prompt_is_read_with_each_token():
    assert foretell(WORK, SPEED, question_tokens=8000).tokens_per_second < 0.75 * foretell(WORK, SPEED).tokens_per_second


def test_weights_that_fit_into_memory_only_when_mapped_are_not_read_from_the_disk():
    told = foretell(WORK, SPEED, free=8 * 10**8, disk_bytes=33e7)
    assert told.mapped and not told.from_disk and told.peak_bytes == WORK.mapped_peak_bytes
    assert told.tokens_per_second == foretell(WORK, SPEED).tokens_per_second


def test_weights_that_do_not_fit_into_memory_are_read_from_the_disk_for_each_token():
    told = foretell(WORK, SPEED, free=5 * 10**8, disk_bytes=1e8)
    assert told.from_disk and told.mapped and told.peak_bytes == WORK.mapped_peak_bytes
    assert told.tokens_per_second == pytest.approx(1 / 3.3) and told.tower_seconds == 3.1
    assert told.prompt_seconds == pytest.approx(3.3)
    fitting = foretell(WORK, SPEED, free=2 * 10**9, disk_bytes=1e8)
    assert fitting == foretell(WORK, SPEED) and not fitting.mapped


def _manifest(stored, tower_precision="int8-dynamic"):
    """A manifest of the 0.5 B shape, with so many bytes of the language model and a tower of 24 layers of width 1024."""
    manifest = find_package().manifest
    spec = replace(
        manifest.decoder, layers=24, heads=14, kv_heads=2, head_dim=64, hidden=896, vocabulary=151936, context=2048
    )
    sizes = {"decoder": (1, "int4-g128, head int8"), "decoder_data": (stored, "int4-g128, head int8")}
    sizes |= {"vision": (12 * 24 * 1024**2, tower_precision)}
    files = manifest.files | {role: FileEntry(role, "0" * 64, *size) for role, size in sizes.items()}
    return replace(manifest, decoder=spec, files=files, vision=replace(manifest.vision, tokens=256), regions=None)


def test_weights_are_counted_from_the_bytes_of_a_manifest():
    head, layers = 896 * 151936, 357_826_560
    stored = round(layers * 4.25 / 8 + head * 8.25 / 8)
    manifest = _manifest(stored)
    work = Work.of(manifest, 24)
    assert work.weights == pytest.approx(layers, rel=0.001) and work.token_bytes == stored + 1
    assert work.narrow_bytes == pytest.approx(layers * 4.25 / 8, rel=0.001)
    assert work.cache_bytes == 24 * 2 * 2 * 64 * 4 and work.values == work.attended_values == 24 * 896
    convolutions = Work.of(replace(manifest, regions=find_package().manifest.regions), 1)  # one block of attention, too
    assert convolutions.tower_operations is None and convolutions.tower_float_operations is None
    assert foretell(convolutions, SPEED).first_answer_seconds is None
    assert decoder_group(manifest) == 128 and decoder_group(find_package().manifest) == 32


def test_products_and_attention_of_a_tower_are_counted_from_its_bytes_and_layers():
    work = Work.of(_manifest(10**6), 24)
    assert work.tower_operations == pytest.approx(2 * 1025 * 12 * 24 * 1024**2)
    attention = 24 * 4 * 1025**2 * 1024  # 4.3 G a layer
    assert work.tower_float_operations == pytest.approx(attention + OPERATIONS_PER_VALUE * 1025 * 24 * 1024)
    wide = Work.of(_manifest(10**6, "fp32"), 24)
    assert wide.tower_operations == 0 and wide.tower_float_operations > 2 * 1025 * 12 * 24 * 1024**2 / 4


def test_layers_are_counted_in_the_bytes_of_a_graph():
    assert layers_with_attention(b"..\x22\x12MultiHeadAttention..\x22\x12MultiHeadAttention MultiHeadAttention") == 2


def test_model_info_foretells_when_asked(medrega, monkeypatch):
    told = Foretold(10**9, True, True, 0.5, 1.0, 12.5, 3.5, 2.25)
    monkeypatch.setattr(model, "_foretold", lambda package: (told, 5e8))
    printed = medrega("model", "info", "--speed").out
    assert "about 12.5 tokens/s" in printed and "in about 3.5 s about a new image, the next about it in 2.2 s" in printed
    assert "read at 0.50 GB/s" in printed and "1000 MB" in printed
    assert json.loads(medrega("model", "info", "--json", "--speed").out)["foretold"]["tokens_per_second"] == 12.5
    assert "foretold" not in json.loads(medrega("model", "info", "--json").out)


def test_the_graphs_of_the_fixed_products_run(monkeypatch, tmp_path):
    monkeypatch.setattr(machine_speed, "_BLOCK_BYTES", 2**20)
    monkeypatch.setattr(machine_speed, "_best", lambda product, rows, tries: product(rows))
    speed = machine_speed.machine_speed(1, 1, 128)
    assert min(list(asdict(speed).values())[2:]) > 1e6
    file = tmp_path / "file"
    file.write_bytes(bytes(2**20))
    assert (machine_speed.disk_bytes(file) or 1) > 0
