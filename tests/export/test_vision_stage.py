"""The vision stage, in torch part by part and as a graph in every precision: against transformers, and a quantiser."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "onnx"):
    pytest.importorskip(name)

from conftest import original_model

from medrega_export.checkpoint import checkpoint
from medrega_export.graphs import (
    graph,
    reference_decoder,
    stage_writer,
    vision,
)
from medrega_export.quantisation.recipe import FULL, FULL_BITS, PROJECTOR_UNITS, TOWER_UNITS, Override, Recipe


def test_the_vision_stage_is_that_of_transformers(checkpoint_folder: Path, tmp_path: Path) -> None:
    import torch

    loaded = checkpoint.load(checkpoint_folder)
    pixels = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        model = original_model(checkpoint_folder).model
        truth = model.get_image_features(torch.from_numpy(pixels), return_dict=True).pooler_output.numpy()
    assert np.abs(np.stack(vision.run_torch(loaded, pixels)) - truth).max() < 1e-6
    vision.write(loaded, tmp_path / "v.onnx", FULL)
    assert vision.relative_error(vision.run_graph(tmp_path / "v.onnx", pixels), truth) < 1e-5
    (batch,) = reference_decoder.session(tmp_path / "v.onnx").run(["image_embeds"], {"pixel_values": pixels})
    assert vision.relative_error(batch, truth) < 1e-5


def test_a_large_tower_lies_beside_its_graph(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    loaded = checkpoint.load(checkpoint_folder)
    pixels = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    monkeypatch.setattr(graph, "EXTERNAL_BYTES", 1000)
    vision.write(loaded, tmp_path / "vision.onnx", Recipe())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vision.onnx", "vision.onnx.data"]
    error = vision.relative_error(
        vision.run_graph(tmp_path / "vision.onnx", pixels), vision.run_torch(loaded, pixels)[0][None]
    )
    assert 1e-5 < error < 0.05


def test_each_tower_precision_and_exception_counts(checkpoint_folder: Path, tmp_path: Path) -> None:
    """float16 is close, int8 less so; units kept in float32 bring the graph nearer, all of them all the way."""
    loaded = checkpoint.load(checkpoint_folder)
    pixels = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    truth = np.stack(vision.run_torch(loaded, pixels))
    layers = vision.shape_of(loaded.config, "v2").layers
    units = [f"tower.{i}.{unit}" for i in range(layers) for unit in TOWER_UNITS]
    units += [f"projector.{unit}" for unit in PROJECTOR_UNITS]

    def error(recipe: Recipe) -> float:
        vision.write(loaded, tmp_path / "v.onnx", recipe)
        return vision.relative_error(vision.run_graph(tmp_path / "v.onnx", pixels), truth)

    def kept(some: list[str]) -> Recipe:
        return Recipe(overrides=tuple(Override(unit, FULL_BITS) for unit in some))

    assert 1e-5 < error(Recipe(tower="fp16")) < 0.01
    rounded = error(Recipe())
    assert 1e-4 < rounded < 0.05
    assert 1e-5 < error(kept(units[:-1])) < rounded
    assert error(kept(units)) < 1e-5


def test_int8_is_what_the_quantiser_of_onnxruntime_makes(checkpoint_folder: Path, tmp_path: Path) -> None:
    """The same weights and the same operators, so the same numbers."""
    from medrega_edge.inference.devices import load_onnxruntime

    load_onnxruntime()
    from onnxruntime.quantization import QuantType, quantize_dynamic

    loaded = checkpoint.load(checkpoint_folder)
    vision.write(loaded, tmp_path / "full.onnx", FULL)
    vision.write(loaded, tmp_path / "ours.onnx", Recipe())
    quantize_dynamic(
        str(tmp_path / "full.onnx"),
        str(tmp_path / "theirs.onnx"),
        op_types_to_quantize=["MatMul"],
        per_channel=True,
        reduce_range=True,
        weight_type=QuantType.QInt8,
        extra_options={"DefaultTensorType": 1},
    )
    pixels = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)
    ours, theirs = (vision.run_graph(tmp_path / f"{name}.onnx", pixels) for name in ("ours", "theirs"))
    assert vision.relative_error(ours, theirs) < 1e-6


def test_query_key_and_value_are_one_product_with_the_same_numbers(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Scales belong to outputs, so the joined int8 layers make the bytes that separate ones make."""
    import onnx

    loaded = checkpoint.load(checkpoint_folder)
    layers = vision.shape_of(loaded.config, "v2").layers
    pixels = np.random.default_rng(0).standard_normal((2, 3, 64, 64)).astype(np.float32)

    def products(name: str) -> int:
        vision.write(loaded, tmp_path / name, Recipe())
        operators = [node.op_type for node in onnx.load(tmp_path / name).graph.node]
        return operators.count("MatMulInteger")

    assert products("joined.onnx") == 4 * layers + 2
    monkeypatch.setattr(
        stage_writer.StageWriter,
        "joined",
        lambda self, names, unit, weights, source: [
            self.linear(name, unit, layer, source) for name, layer in zip(names, weights, strict=True)
        ],
    )
    assert products("apart.onnx") == 6 * layers + 2
    joined, apart = (vision.run_graph(tmp_path / name, pixels) for name in ("joined.onnx", "apart.onnx"))
    assert np.array_equal(joined, apart)


@pytest.mark.parametrize("biased", [(), (0, 1, 2), (0, 2)])
def test_joined_layers_keep_their_biases(biased: tuple[int, ...], tmp_path: Path) -> None:
    """None of the layers, all of them, or some have a bias."""
    generator = np.random.default_rng(0)
    weights = {f"{i}.weight": generator.standard_normal((4, 5), np.float32) for i in range(3)}
    weights |= {f"{i}.bias": generator.standard_normal(4, np.float32) for i in biased}
    source = stage_writer.float_info(stage_writer.INPUT, 1, 5)
    outputs = [stage_writer.float_info(name, 1, 4) for name in "qkv"]
    with graph.model_file(tmp_path / "joined.onnx", graph.ACCURACY_LEVEL, [source], outputs) as nodes:
        writer = stage_writer.StageWriter(nodes, weights.__getitem__, Recipe())
        joined = writer.joined("qkv", "unit", "012", stage_writer.INPUT)
        for name, result in zip("qkv", joined, strict=True):
            if result != name:  # a layer without a bias is its product
                writer.node("Identity", [result], name)
    values = generator.standard_normal((1, 5), np.float32)
    results = reference_decoder.session(tmp_path / "joined.onnx").run(None, {stage_writer.INPUT: values})
    for i, result in enumerate(results):
        assert np.allclose(result, values @ weights[f"{i}.weight"].T + weights.get(f"{i}.bias", 0), atol=0.1)


def test_pixel_shuffle_v1_transposes_the_grid(checkpoint_folder: Path) -> None:
    import dataclasses

    loaded = checkpoint.load(checkpoint_folder)
    pixels = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    v1, v2 = (vision.run_torch(dataclasses.replace(loaded, pixel_shuffle=name), pixels)[0].numpy() for name in ("v1", "v2"))
    assert np.allclose(v1.reshape(2, 2, -1), v2.reshape(2, 2, -1).transpose(1, 0, 2), atol=1e-6)
    assert not np.allclose(v1, v2, atol=1e-3)
