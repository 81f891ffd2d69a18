"""The GPTQ layout, read and written: inverses on random codes, and the two versions of zero points."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest

from medrega_edge.errors import UsageError
from medrega_export.quantisation import gptq_format as form
from medrega_export.quantisation.recipe import Override, Recipe
from tests.codes import raises_code


def pack_rows(codes: np.ndarray, bits: int) -> np.ndarray:
    """The inverse of `unpack_rows`."""
    parts = codes.reshape(-1, 32 // bits, codes.shape[1]).astype(np.uint32) << form._shifts(bits)[None, :, None]
    return np.ascontiguousarray(np.bitwise_or.reduce(parts, axis=1)).view(np.int32)


def pack_zeros(zeros: np.ndarray, bits: int, version: int) -> np.ndarray:
    """The inverse of `unpack_zeros`."""
    parts = zeros.reshape(zeros.shape[0], -1, 32 // bits).astype(np.uint32) << form._shifts(bits)[None, None, :]
    words = np.bitwise_or.reduce(parts, axis=2)
    if version == 1:
        words = words - form._V1_OFFSET[bits]
    return np.ascontiguousarray(words).view(np.int32)


def from_nbits(packed: form.NBits) -> form.QuantisedLinear:
    """The inverse of `to_nbits`."""
    columns, groups = packed.scales.shape
    codes = out_of_bytes(packed.packed.reshape(columns, -1), packed.bits)
    zeros = np.full((columns, groups), form.middle(packed.bits), np.uint8)
    if packed.zeros is not None:
        zeros = out_of_bytes(packed.zeros, packed.bits)[:, :groups]
    parts = [np.ascontiguousarray(part.T) for part in (codes, packed.scales, zeros)]
    return form.QuantisedLinear(*parts, bias=None, bits=packed.bits)


def out_of_bytes(packed: np.ndarray, bits: int) -> np.ndarray:
    if bits == 8:
        return packed
    return np.stack([packed & 15, packed >> 4], axis=-1).reshape(len(packed), -1)


def random_linear(seed: int, rows: int = 128, columns: int = 40, group: int = 32, symmetric: bool = False, bits: int = 4):
    generator = np.random.default_rng(seed)
    groups = rows // group
    zeros = generator.integers(0, 1 << bits, (groups, columns), dtype=np.uint8)
    return form.QuantisedLinear(
        codes=generator.integers(0, 1 << bits, (rows, columns), dtype=np.uint8),
        scales=generator.uniform(0.001, 0.1, (groups, columns)).astype(np.float16).astype(np.float32),
        zeros=np.full_like(zeros, 1 << (bits - 1)) if symmetric else zeros,
        bias=None,
        bits=bits,
    )


def tensors_of(linear: form.QuantisedLinear, version: int) -> dict[str, np.ndarray]:
    return {
        "x.qweight": pack_rows(linear.codes, linear.bits),
        "x.qzeros": pack_zeros(linear.zeros, linear.bits, version),
        "x.scales": linear.scales.astype(np.float16),
        "x.g_idx": (np.arange(len(linear.codes)) // linear.group).astype(np.int32),
    }


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_what_is_packed_is_unpacked(seed: int, version: int, group: int, bits: int) -> None:
    linear = random_linear(seed, group=group, bits=bits)
    back = form.read_linear(tensors_of(linear, version), "x", form.Format(bits, group, version, False))
    assert np.array_equal(back.codes, linear.codes)
    assert np.array_equal(back.zeros, linear.zeros)
    assert np.array_equal(back.scales, linear.scales)
    assert (back.bits, back.group) == (bits, group)


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize(("rows", "symmetric"), [(128, False), (96, False), (128, True)])
@pytest.mark.parametrize("bits", [4, 8])
def test_matmulnbits_and_back(seed: int, rows: int, symmetric: bool, bits: int) -> None:
    linear = random_linear(seed, rows=rows, symmetric=symmetric, bits=bits)
    packed = form.to_nbits(linear)
    assert packed.packed.shape == (40, rows // 32, 32 * bits // 8)
    assert (packed.zeros is None) == symmetric
    back = from_nbits(packed)
    assert np.array_equal(back.codes, linear.codes)
    assert np.array_equal(back.zeros, linear.zeros)
    assert np.array_equal(form.dequantise(back), form.dequantise(linear))


def test_bits_lie_where_the_format_says() -> None:
    codes = np.zeros((8, 8), np.uint8)
    codes[3, 5] = 0xA
    assert pack_rows(codes, 4)[0, 5] == 0xA << 12
    assert pack_rows(codes, 8).view(np.uint32)[0, 5] == 0xA << 24
    zeros = np.full((1, 8), 8, np.uint8)
    assert pack_zeros(zeros, 4, 1).view(np.uint32)[0, 0] == 0x77777777
    assert pack_zeros(zeros, 4, 2).view(np.uint32)[0, 0] == 0x88888888
    assert pack_zeros(np.full((1, 4), 128, np.uint8), 8, 1).view(np.uint32)[0, 0] == 0x7F7F7F7F


def test_zero_points_of_nothing_borrow_across_the_word() -> None:
    # Version 1 subtracts from the whole word, so a zero point of 0 borrows from its neighbour.
    zeros = np.array([[0, 5, 0, 0, 15, 1, 0, 2]], np.uint8)
    for bits in (4, 8):
        assert np.array_equal(form.unpack_zeros(pack_zeros(zeros, bits, 1), bits, 1), zeros)


def test_dequantise_by_hand() -> None:
    linear = random_linear(1)
    weight = form.dequantise(linear)
    assert weight[70, 3] == linear.scales[2, 3] * (float(linear.codes[70, 3]) - float(linear.zeros[2, 3]))


def test_reordered_rows_are_refused() -> None:
    linear = random_linear(1)
    tensors = tensors_of(linear, 1)
    tensors["x.g_idx"] = tensors["x.g_idx"][::-1].copy()
    with raises_code(UsageError, "export.gptq_reordered", layer="x"):
        form.read_linear(tensors, "x", form.Format(4, 32, 1, False))


def test_a_version_taken_for_the_other_is_refused() -> None:
    linear = random_linear(1, symmetric=True)
    with raises_code(UsageError, "export.gptq_zero_points", layer="x", middle=8):
        form.read_linear(tensors_of(linear, 2), "x", form.Format(4, 32, 1, True))


@pytest.mark.parametrize(
    ("config", "code", "params"),
    [
        ({"bits": 3, "group_size": 32}, "export.gptq_bits", {"bits": 3, "group": 32}),
        (
            {"bits": 4, "group_size": 32, "dynamic": {"+:.*down_proj": {"bits": 2}}},
            "export.gptq_bits",
            {"bits": 2, "group": 32},
        ),
        (
            {"bits": 4, "group_size": 32, "dynamic": {"-:.*down_proj": {}}},
            "export.gptq_layer_left_out",
            {"pattern": ".*down_proj"},
        ),
        ({"bits": 4, "group_size": -1}, "export.gptq_bits", {"bits": 4, "group": -1}),
        ({"bits": 4, "group_size": 32, "checkpoint_format": "marlin"}, "export.gptq_format_unknown", {"format": "marlin"}),
    ],
)
def test_other_formats_are_refused(config: dict, code: str, params: dict) -> None:
    with raises_code(UsageError, code, **params):
        form.read_format(config)


def test_formats_that_are_read() -> None:
    assert form.read_format({"bits": 4, "group_size": 32}) == form.Format(4, 32, 1, True)
    written = {"bits": 8, "group_size": 128, "sym": False, "checkpoint_format": "gptq_v2"}
    assert form.read_format(written) == form.Format(8, 128, 2, False)


def test_exceptions_reach_their_layers_and_no_others() -> None:
    overrides = (Override("layers.1.qkv", 8, 64), Override("layers.10.down", 4, 32), Override("tower.1.qkv", 32))
    recipe = Recipe(group_size=128, overrides=overrides)
    read = form.read_format({"bits": 4, "group_size": 128, "dynamic": form.exceptions_of(recipe)})
    assert len(read.exceptions) == 4
    for prefix in ("model.layers", "model.language_model.layers", "language_model.model.layers"):
        for layer in (0, 1, 10, 11):
            for name in ("self_attn.q_proj", "self_attn.v_proj", "self_attn.o_proj", "mlp.down_proj"):
                assert read.of(f"{prefix}.{layer}.{name}") == recipe.linear(layer, name), (layer, name)
    assert form.exceptions_of(Recipe()) == {}


def test_a_missing_layer_is_named() -> None:
    with raises_code(UsageError, "export.gptq_tensor_missing", tensor="x.qweight"):
        form.read_linear({}, "x", form.Format(4, 32, 1, True))


@pytest.mark.export
@pytest.mark.parametrize("symmetric", [True, False])
@pytest.mark.parametrize("version", [1, 2])
@pytest.mark.parametrize("group", [32, 64, 128])
@pytest.mark.parametrize("bits", [4, 8])
def test_against_gptqmodel(symmetric: bool, version: int, group: int, bits: int, monkeypatch: pytest.MonkeyPatch) -> None:
    torch = pytest.importorskip("torch")
    pytest.importorskip("gptqmodel")
    monkeypatch.setenv("GPTQMODEL_DISABLE_PACK_EXT", "1")
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v2_to_v1_format_module

    linear = random_linear(4, rows=256, columns=64, group=group, symmetric=symmetric, bits=bits)
    linear.zeros[linear.zeros == 0] = 1  # version 1 of gptqmodel's own writer has no zero point of 0
    weight = form.dequantise(linear)
    layer = torch.nn.Linear(256, 64, bias=False)
    layer.weight.data = torch.from_numpy(weight.T.copy())
    packed = TorchLinear(
        bits=bits,
        group_size=group,
        sym=symmetric,
        desc_act=False,
        in_features=256,
        out_features=64,
        bias=False,
        pack_dtype=torch.int32,
        register_buffers=True,
    )
    g_idx = torch.arange(256, dtype=torch.int32) // group
    packed.pack_block(
        layer, torch.from_numpy(linear.scales.T.copy()), torch.from_numpy(linear.zeros.T.copy()).float(), g_idx
    )
    if version == 1:
        convert_gptq_v2_to_v1_format_module(packed, SimpleNamespace(bits=bits, pack_dtype=torch.int32))
    tensors = {f"x.{name}": value.numpy() for name, value in packed.state_dict().items()}
    back = form.read_linear(tensors, "x", form.Format(bits, group, version, symmetric))
    assert np.array_equal(back.codes, linear.codes)
    assert np.array_equal(back.zeros, linear.zeros)
    assert np.array_equal(form.dequantise(back), weight)
    ours = tensors_of(linear, version)
    assert all(np.array_equal(ours[name], tensors[name]) for name in ours)
