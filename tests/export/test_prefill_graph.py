"""The graph for prefixes against the decoder's graph in full precision: the same cache, but for the rounding."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
pytest.importorskip("onnx")

from medrega_edge.inference.graph_validation import check_graph
from medrega_export.graphs import decoder, graph, linear_layers, prefill
from medrega_export.graphs.linear_layers import PlainLinear
from medrega_export.graphs.reference_decoder import DecoderRun
from medrega_export.quantisation.gptq_format import dequantise
from tests.export.test_decoder_graph import SHAPE, quantised, random_weights, sequence

LIMIT = 0.03  # relative Euclidean error; measured: 0.017 to 0.018


def cache(run: DecoderRun) -> list[np.ndarray]:
    return [value.numpy()[0, :, : run.length].copy() for value in run._cache]


def filled(path: Path, embeddings: np.ndarray) -> list[np.ndarray]:
    run = DecoderRun(path, decoder.specification(SHAPE))
    run.fill(embeddings)
    return cache(run)


def error(given: list[np.ndarray], truth: list[np.ndarray]) -> float:
    a, b = (np.concatenate([each.ravel() for each in every]) for every in (given, truth))
    return float(np.linalg.norm(a - b) / np.linalg.norm(b))


@pytest.mark.parametrize("bias", [True, False], ids=["qwen2", "llama"])
@pytest.mark.parametrize("gated_bias", [True, False])
def test_it_fills_the_cache_as_full_precision_does(tmp_path: Path, bias: bool, gated_bias: bool) -> None:
    _, weights = random_weights(1, bias=bias)
    if gated_bias:
        shifts = np.random.default_rng(2).standard_normal(2 * 128).astype(np.float32)
        layers = tuple(
            dataclasses.replace(
                layer,
                gate_up=PlainLinear(layer.gate_up.weight, shifts),
                down=PlainLinear(layer.down.weight, shifts[: SHAPE.hidden]),
            )
            for layer in weights.layers
        )
        weights = dataclasses.replace(weights, layers=layers)
    spec = decoder.write_decoder(SHAPE, weights, tmp_path / "full.onnx")
    prefill.write_prefill(SHAPE, weights.layers, tmp_path / "prefill.onnx")
    full = DecoderRun(tmp_path / "full.onnx", spec)
    embeddings = sequence()
    full.feed(embeddings)
    given, truth = filled(tmp_path / "prefill.onnx", embeddings), cache(full)
    assert 1e-4 < error(given, truth) < LIMIT
    assert error(given[-1:], truth[-1:]) < LIMIT
    check_graph((tmp_path / "prefill.onnx").read_bytes(), "prefill")


def test_values_are_those_of_the_last_layer(tmp_path: Path) -> None:
    _, weights = random_weights(1)
    prefill.write_prefill(SHAPE, weights.layers, tmp_path / "prefill.onnx")
    run = DecoderRun(tmp_path / "prefill.onnx", decoder.specification(SHAPE))
    values = run.fill(sequence())
    assert values.shape == (40, SHAPE.kv_heads * SHAPE.head_dim)
    assert np.array_equal(values[:, : SHAPE.head_dim], cache(run)[-1][0])
    single = dataclasses.replace(SHAPE, kv_heads=1, heads=2, head_dim=32)
    prefill.write_prefill(single, random_weights(1, shape=single)[1].layers, tmp_path / "single.onnx")
    run = DecoderRun(tmp_path / "single.onnx", decoder.specification(single))
    first = run.fill(sequence())
    kept = first.copy()
    run.rewind()
    assert not np.array_equal(run.fill(sequence(9)), first) and np.array_equal(first, kept)  # the next run leaves it alone


def test_each_position_is_rounded_alone(tmp_path: Path) -> None:
    """Neither a huge position nor one of zeros changes those before it, and nothing is divided by zero."""
    _, weights = random_weights(3)
    prefill.write_prefill(SHAPE, weights.layers, tmp_path / "prefill.onnx")
    embeddings = sequence(4)
    plain = filled(tmp_path / "prefill.onnx", embeddings)
    for last in (1e4 * embeddings[-1], np.zeros(SHAPE.hidden, np.float32)):
        changed = filled(tmp_path / "prefill.onnx", np.concatenate([embeddings[:-1], last[None]]))
        assert all(np.isfinite(each).all() for each in changed)
        assert all(np.array_equal(a[:, :-1], b[:, :-1]) for a, b in zip(changed, plain, strict=True))
    run = DecoderRun(tmp_path / "prefill.onnx", decoder.specification(SHAPE))
    run.fill(embeddings[:16])
    run.fill(embeddings[16:])
    assert error(cache(run), plain) < 1e-3  # attention adds in another order


def test_large_weights_lie_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    _, weights = random_weights(5)
    prefill.write_prefill(SHAPE, weights.layers, tmp_path / "one.onnx")
    monkeypatch.setattr(graph, "EXTERNAL_BYTES", 1000)
    prefill.write_prefill(SHAPE, iter(weights.layers), tmp_path / "two.onnx")
    assert not (tmp_path / "one.onnx.data").exists() and (tmp_path / "two.onnx.data").exists()
    ours, theirs = (filled(tmp_path / name, sequence()) for name in ("one.onnx", "two.onnx"))
    assert all(np.array_equal(a, b) for a, b in zip(ours, theirs, strict=True))


@pytest.mark.parametrize("kind", [(4, 32, True), (4, 32, False), (4, 64, False), (8, 32, True), (8, 64, False)], ids=str)
def test_codes_stand_for_their_weights(kind: tuple[int, int, bool]) -> None:
    layer = quantised(np.random.default_rng(0), 192, 64, kind, bias=True)
    plain = linear_layers.join_packed([layer, layer]).plain()
    assert np.allclose(plain.weight, np.concatenate([dequantise(layer).T] * 2), rtol=1e-6, atol=0)
    assert plain.plain() is plain and np.array_equal(plain.bias, np.concatenate([layer.bias] * 2))


def test_no_pair_of_products_leaves_16_bits() -> None:
    codes, scales = linear_layers.round_outputs(np.random.default_rng(0).standard_normal((8, 64)).astype(np.float32))
    assert np.abs(codes.astype(int)).max() == linear_layers.INT8_LARGEST
    assert 2 * (prefill.MIDDLE + prefill.LARGEST) * linear_layers.INT8_LARGEST <= np.iinfo(np.int16).max
    assert scales.shape == (8,)
