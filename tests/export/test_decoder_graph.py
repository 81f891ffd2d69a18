"""The decoder graph against a decoder in plain numpy: one pass, piece by piece, token by token, and after a rewind."""

from __future__ import annotations

import dataclasses
import itertools
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
pytest.importorskip("onnx")

from medrega_export.graphs import decoder, graph, linear_layers
from medrega_export.graphs.reference_decoder import DecoderRun
from medrega_export.quantisation.gptq_format import QuantisedLinear, dequantise

SHAPE = decoder.DecoderShape(
    layers=3, heads=4, kv_heads=2, head_dim=16, hidden=64, vocabulary=96, context=64, epsilon=1e-6, theta=10000.0
)
WIDTHS = {"mlp": 128}
Kind = tuple[int, int, bool]  # bits, group, symmetric


def quantised(generator: np.random.Generator, rows: int, columns: int, kind: Kind, bias: bool) -> QuantisedLinear:
    bits, group, symmetric = kind
    groups, half = rows // group, 1 << (bits - 1)
    zeros = generator.integers(half // 2, half + half // 2, (groups, columns), dtype=np.uint8)
    return QuantisedLinear(
        codes=generator.integers(0, 2 * half, (rows, columns), dtype=np.uint8),
        scales=generator.uniform(0.08 / half, 0.32 / half, (groups, columns)).astype(np.float32),
        zeros=np.full_like(zeros, half) if symmetric else zeros,
        bias=generator.standard_normal(columns).astype(np.float32) * 0.1 if bias else None,
        bits=bits,
    )


def random_weights(seed: int, *kinds: Kind, bias: bool = True, shape: decoder.DecoderShape = SHAPE):
    """The same decoder twice: packed, and dequantised in full precision. Units take their kinds in turn."""
    turns = itertools.cycle(kinds or [(4, 32, True)])
    generator = np.random.default_rng(seed)
    query, key = shape.heads * shape.head_dim, shape.kv_heads * shape.head_dim

    def norm() -> np.ndarray:
        return (1 + 0.2 * generator.standard_normal(shape.hidden)).astype(np.float32)

    def both(rows: int, *columns: int, bias: bool = False):
        kind = next(turns)
        parts = [quantised(generator, rows, c, kind, bias) for c in columns]
        return linear_layers.join_packed(parts), linear_layers.join_plain(
            [dequantise(p).T for p in parts], [p.bias for p in parts]
        )

    packed_layers, plain_layers = [], []
    for _ in range(shape.layers):
        parts = {
            "qkv": both(shape.hidden, query, key, key, bias=bias),
            "output": both(query, shape.hidden),
            "gate_up": both(shape.hidden, WIDTHS["mlp"], WIDTHS["mlp"]),
            "down": both(WIDTHS["mlp"], shape.hidden),
        }
        norms = {"input_norm": norm(), "post_norm": norm()}
        packed_layers.append(decoder.DecoderLayer(**norms, **{k: v[0] for k, v in parts.items()}))
        plain_layers.append(decoder.DecoderLayer(**norms, **{k: v[1] for k, v in parts.items()}))
    head = linear_layers.PlainLinear(generator.standard_normal((shape.vocabulary, shape.hidden)).astype(np.float32) * 0.2)
    final = norm()
    return (
        decoder.DecoderWeights(tuple(packed_layers), final, head),
        decoder.DecoderWeights(tuple(plain_layers), final, head),
    )


def numpy_logits(weights: decoder.DecoderWeights, embeddings: np.ndarray, shape: decoder.DecoderShape = SHAPE) -> np.ndarray:
    """Logits of every position, written from the definition of the architecture, in float64."""
    x = embeddings.astype(np.float64)
    length, half = len(x), shape.head_dim // 2
    angles = np.outer(np.arange(length) / shape.rope_factor, shape.theta ** (-np.arange(half) / half))
    cos, sin = np.cos(angles)[:, None], np.sin(angles)[:, None]

    def linear(layer: linear_layers.PlainLinear, value: np.ndarray) -> np.ndarray:
        return value @ layer.weight.T.astype(np.float64) + (0 if layer.bias is None else layer.bias)

    def norm(value: np.ndarray, weight: np.ndarray) -> np.ndarray:
        return value / np.sqrt((value**2).mean(-1, keepdims=True) + shape.epsilon) * weight

    def turn(value: np.ndarray) -> np.ndarray:  # [S, heads, head_dim]
        a, b = value[..., :half], value[..., half:]
        return np.concatenate([a * cos - b * sin, b * cos + a * sin], -1)

    mask = np.triu(np.full((length, length), -np.inf), 1)
    for layer in weights.layers:
        qkv = linear(layer.qkv, norm(x, layer.input_norm)).reshape(length, -1, shape.head_dim)
        query, key, value = np.split(qkv, [shape.heads, shape.heads + shape.kv_heads], axis=1)
        query, key = turn(query), turn(key)
        repeat = shape.heads // shape.kv_heads
        key, value = np.repeat(key, repeat, 1), np.repeat(value, repeat, 1)
        scores = np.einsum("qhd,khd->hqk", query, key) / np.sqrt(shape.head_dim) + mask
        scores = np.exp(scores - scores.max(-1, keepdims=True))
        mixed = np.einsum("hqk,khd->qhd", scores / scores.sum(-1, keepdims=True), value)
        x = x + linear(layer.output, mixed.reshape(length, -1))
        gate, up = np.split(linear(layer.gate_up, norm(x, layer.post_norm)), 2, axis=-1)
        x = x + linear(layer.down, gate / (1 + np.exp(-gate)) * up)
    return linear(weights.head, norm(x, weights.final_norm))


def sequence(seed: int = 0, length: int = 40) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((length, SHAPE.hidden)).astype(np.float32)


def error(values: np.ndarray, truth: np.ndarray) -> float:
    return float(np.abs(values - truth).max() / np.abs(truth).max())


@pytest.mark.parametrize("bias", [True, False], ids=["qwen2", "llama"])
def test_full_precision(tmp_path: Path, bias: bool) -> None:
    _, weights = random_weights(1, bias=bias)
    run = DecoderRun(tmp_path / "d.onnx", decoder.write_decoder(SHAPE, weights, tmp_path / "d.onnx"))
    x = sequence()
    assert error(run.feed(x), numpy_logits(weights, x)[-1]) < 1e-4


def own_memory() -> int:
    """Bytes of this process that are no file's, and that the system could not take back."""
    lines = Path("/proc/self/status").read_text(encoding="ascii").splitlines()
    return next(int(line.split()[1]) * 1024 for line in lines if line.startswith("RssAnon"))


@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="the system does not tell whose memory is whose")
def test_mapped_weights_take_no_memory(tmp_path: Path) -> None:
    """The same logits, and next to nothing of 33 MB of weights in memory of the process's own."""
    _, weights = random_weights(1)
    shape = dataclasses.replace(SHAPE, vocabulary=1 << 17)
    rows = np.random.default_rng(0).standard_normal((shape.vocabulary, shape.hidden)).astype(np.float32)
    weights = dataclasses.replace(weights, head=linear_layers.PlainLinear(rows))
    spec = decoder.write_decoder(shape, weights, tmp_path / "d.onnx")
    size = (tmp_path / "d.onnx.data").stat().st_size
    taken, logits = [], []
    for mapped in (True, False):
        before = own_memory()
        run = DecoderRun(tmp_path / "d.onnx", spec, 1, mapped)
        logits.append(run.feed(sequence()))
        taken.append(own_memory() - before)
        del run
    assert taken[0] < size / 4 and taken[1] > 0.9 * size
    assert error(*logits) < 1e-5


@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("bits", [4, 8])
@pytest.mark.parametrize("group", [32, 64])
def test_quantised_codes_are_exact(tmp_path: Path, bits: int, group: int, symmetric: bool) -> None:
    packed, weights = random_weights(2, (bits, group, symmetric))
    run = DecoderRun(tmp_path / "d.onnx", decoder.write_decoder(SHAPE, packed, tmp_path / "d.onnx", graph.EXACT_LEVEL))
    x = sequence()
    assert error(run.feed(x), numpy_logits(weights, x)[-1]) < 1e-4


def test_units_of_different_precision_stand_side_by_side(tmp_path: Path) -> None:
    packed, weights = random_weights(9, (4, 64, True), (8, 32, False), (4, 32, False), (8, 128, True))
    run = DecoderRun(tmp_path / "d.onnx", decoder.write_decoder(SHAPE, packed, tmp_path / "d.onnx", graph.EXACT_LEVEL))
    x = sequence()
    assert error(run.feed(x), numpy_logits(weights, x)[-1]) < 1e-4


@pytest.mark.parametrize("kind", [(4, 32, True), (4, 64, False), (8, 32, True), (8, 64, False)])
def test_int8_activations_cost_little(tmp_path: Path, kind: Kind) -> None:
    packed, weights = random_weights(3, kind)
    run = DecoderRun(tmp_path / "d.onnx", decoder.write_decoder(SHAPE, packed, tmp_path / "d.onnx"))
    x = sequence()
    lost = error(run.feed(x), numpy_logits(weights, x)[-1])
    assert 1e-5 < lost < 0.05  # below the lower bound the fast kernel was not the one that ran


@pytest.mark.parametrize("exact", [True, False])
def test_pieces_give_what_one_pass_gives(tmp_path: Path, exact: bool) -> None:
    packed, weights = random_weights(4)
    spec = decoder.write_decoder(SHAPE, weights if exact else packed, tmp_path / "d.onnx")
    run = DecoderRun(tmp_path / "d.onnx", spec)
    x = sequence()
    whole = run.feed(x)
    run.rewind()
    run.feed(x[:25])
    assert error(run.feed(x[25:]), whole) < 1e-5
    # A second question behind the same prefix, where the first one still lies in the cache.
    other = np.concatenate([x[:25], sequence(1, 10)])
    run.rewind(25)
    second = run.feed(other[25:])
    run.rewind()
    assert error(run.feed(other), second) < 1e-5


def test_token_by_token(tmp_path: Path) -> None:
    _, weights = random_weights(5)
    run = DecoderRun(tmp_path / "d.onnx", decoder.write_decoder(SHAPE, weights, tmp_path / "d.onnx"))
    x = sequence()
    truth = numpy_logits(weights, x)
    for i in range(len(x)):
        assert error(run.feed(x[i : i + 1]), truth[i]) < 1e-4


def test_a_full_context_still_answers(tmp_path: Path) -> None:
    _, weights = random_weights(6)
    run = DecoderRun(tmp_path / "d.onnx", decoder.write_decoder(SHAPE, weights, tmp_path / "d.onnx"))
    x = sequence(length=SHAPE.context)
    run.feed(x[:-1])
    assert error(run.feed(x[-1:]), numpy_logits(weights, x)[-1]) < 1e-4


def test_linear_rope_scaling(tmp_path: Path) -> None:
    shape = dataclasses.replace(SHAPE, rope_factor=4.0)
    _, weights = random_weights(7)
    run = DecoderRun(tmp_path / "d.onnx", decoder.write_decoder(shape, weights, tmp_path / "d.onnx"))
    x = sequence()
    assert error(run.feed(x), numpy_logits(weights, x, shape)[-1]) < 1e-4


def test_weights_beside_the_graph(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "EXTERNAL_BYTES", 1000)
    _, weights = random_weights(8)
    spec = decoder.write_decoder(SHAPE, weights, tmp_path / "d.onnx")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["d.onnx", "d.onnx.data"]
    x = sequence()
    assert error(DecoderRun(tmp_path / "d.onnx", spec).feed(x), numpy_logits(weights, x)[-1]) < 1e-4


def test_a_layer_is_made_when_it_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(graph, "EXTERNAL_BYTES", 1000)
    packed, _ = random_weights(8)
    sizes = []

    def one_by_one():
        for layer in packed.layers:
            sizes.append((tmp_path / "d.onnx.data").stat().st_size)
            yield layer

    decoder.write_decoder(SHAPE, dataclasses.replace(packed, layers=one_by_one()), tmp_path / "d.onnx")
    assert sizes == sorted(set(sizes)) and len(sizes) == SHAPE.layers
    decoder.write_decoder(SHAPE, packed, tmp_path / "again.onnx")
    assert (tmp_path / "d.onnx.data").read_bytes() == (tmp_path / "again.onnx.data").read_bytes()


@pytest.mark.parametrize(("bits", "block"), [(4, 32), (8, 32), (8, 64)])
def test_head(bits: int, block: int) -> None:
    weight = np.random.default_rng(0).standard_normal((10, 64)).astype(np.float32)
    weight[3] = 0.0
    rounded = linear_layers.round_in_blocks(weight, bits, block)
    back = dequantise(rounded).T
    if bits == 8:
        assert (np.abs(back - weight) <= np.repeat(rounded.scales.T, block, axis=1) / 2 + 1e-7).all()
    plain = np.abs(weight.reshape(10, -1, block)).max(axis=2, keepdims=True).repeat(block, axis=2).reshape(10, 64) / 7
    nearest = np.round(weight / np.maximum(plain, 1e-12)) * plain
    assert np.square(back - weight).sum() < np.square(nearest - weight).sum()
    whole, pieces = (
        linear_layers.join_packed([rounded]),
        linear_layers.round_head((weight[i : i + 3] for i in range(0, 10, 3)), bits, block),
    )
    assert np.array_equal(whole.packed, pieces.packed) and np.array_equal(whole.scales, pieces.scales)


def test_parts_of_one_node_share_their_bits() -> None:
    generator = np.random.default_rng(0)
    parts = [quantised(generator, 64, 8, kind, False) for kind in ((4, 32, True), (8, 32, True))]
    with pytest.raises(ValueError, match="bits or groups"):
        linear_layers.join_packed(parts)


def test_biases_come_together_or_not_at_all() -> None:
    weight = np.zeros((4, 32), np.float32)
    with pytest.raises(ValueError, match="some have none"):
        linear_layers.join_plain([weight, weight], [np.zeros(4, np.float32), None])
