"""Packages of random weights: complete, of the size their shape says, and run by the runtime and by peers' loaders."""

from __future__ import annotations

import dataclasses
import subprocess
import sys

import numpy as np
import pytest

from medrega_bench.cli import speed
from medrega_bench.cli.options import PeerShape, ShapeName
from medrega_bench.performance import jump_forward, lookup_gain, random_packages
from medrega_edge.errors import UsageError

SMALL = random_packages.PackageShape(
    random_packages.TextShape(layers=2, hidden=64, heads=2, kv_heads=1, head_dim=32, mlp=96, vocabulary=8192),
    random_packages.SMALLEST_TOWER,
)


def test_parameters_of_a_known_model():
    text = random_packages.named("0.5b").text
    assert text.parameters == pytest.approx(494e6, rel=0.01)  # Qwen2-0.5B, norms and biases left out


def test_groups_are_those_that_export_would_choose():
    assert {name: shape.group for name, shape in random_packages.SHAPES.items()} == {"tiny": 32, "0.5b": 128, "1b": 128}
    assert dataclasses.replace(random_packages.named("0.5b"), group=32).group == 32


def test_the_command_line_has_every_shape():
    assert list(ShapeName) == list(random_packages.SHAPES)
    assert set(PeerShape) == set(speed.HEADS) == set(speed.TOKENS) <= set(ShapeName)


def test_an_unknown_shape_is_refused():
    with pytest.raises(UsageError) as error:
        random_packages.named("7b")
    assert error.value.code == "bench.no_shape"
    assert "tiny" in error.value.message.params["shapes"]


def test_every_weight_of_a_tower_has_its_shape_and_is_the_same_twice():
    weights = random_packages.TowerWeights(random_packages.VIT_300M, 896)
    layer = "vision_tower.encoder.layer.3"
    for name, shape in {
        "vision_tower.embeddings.cls_token": (1, 1, 1024),
        "vision_tower.embeddings.position_embeddings": (1, 1025, 1024),
        "vision_tower.embeddings.patch_embeddings.projection.bias": (1024,),
        f"{layer}.attention.q_proj.bias": (1024,),
        f"{layer}.layernorm_before.weight": (1024,),
        f"{layer}.lambda_2": (1024,),
        f"{layer}.mlp.fc1.bias": (4096,),
        "multi_modal_projector.layer_norm.weight": (4096,),
        "multi_modal_projector.linear_1.weight": (896, 4096),
        "multi_modal_projector.linear_2.bias": (896,),
    }.items():
        assert weights(name).shape == shape, name
    name = f"{layer}.attention.v_proj.weight"
    assert (weights(name) == weights(name)).all() and weights(name).std() == pytest.approx(1 / 32, rel=0.05)


@pytest.mark.export
@pytest.mark.parametrize("bits", [4, 8])
def test_a_package_is_whole_and_runs(tmp_path, monkeypatch, bits):
    pytest.importorskip("onnx")
    monkeypatch.setattr(lookup_gain, "REPORTS", 3)
    monkeypatch.setattr(lookup_gain, "ROUNDS", 2)
    from medrega_bench.performance.genai_export import write_genai
    from medrega_edge.engine import Engine, EngineOptions
    from medrega_edge.images.samples import sample_path
    from medrega_export.graphs import reference_decoder

    package = random_packages.write_package(dataclasses.replace(SMALL, head_bits=bits), tmp_path / "package")
    package.verify()
    engine = Engine(package, EngineOptions(1))
    answer = engine.ask(engine.open(sample_path("abdomen-mri")), "locate the liver")
    assert answer.generated_tokens > 0
    measured = jump_forward.measure(package, 1, 16)
    assert measured.answer_tokens <= measured.passes_without and measured.passes <= 14
    assert measured.decode_gain.n == jump_forward.ROUNDS
    for saved in lookup_gain.measure(package, 1, 16):
        assert saved.passes < saved.passes_without and saved.answer_tokens <= saved.passes_without
        assert saved.tokens_per_pass == saved.answer_tokens / saved.passes and saved.gain.n == lookup_gain.ROUNDS
    with pytest.raises(UsageError) as error:
        random_packages.write_package(SMALL, tmp_path / "package")
    assert error.value.code == "bench.folder_exists"
    # What onnxruntime-genai is given computes the same logits out of token ids.
    write_genai(package, tmp_path / "genai", 1)
    spec, ids = package.manifest.decoder, np.array([[5, 7, 11]])
    truth = reference_decoder.DecoderRun(package.path("decoder"), spec, 1).feed(
        random_packages.embeddings(SMALL.text)[ids[0]].astype(np.float32)
    )
    session = reference_decoder.session(tmp_path / "genai" / "model.onnx", 1)
    cache = np.zeros((1, spec.kv_heads, spec.context, spec.head_dim), np.float32)
    feeds = {one.name: cache for one in session.get_inputs() if one.name.startswith("past")}
    logits = session.run(["logits"], feeds | {"input_ids": ids, "attention_mask": np.ones((1, 3), np.int64)})[0]
    assert logits.shape == (1, 1, spec.vocabulary)
    np.testing.assert_allclose(logits[0, 0], truth, atol=1e-4)


@pytest.mark.export
def test_writing_packages_needs_neither_torch_nor_gptqmodel():
    code = (
        "import sys; from medrega_bench.performance import random_packages; "
        "import medrega_export.graphs.decoder, medrega_export.graphs.vision_graph; "
        "print([n for n in ('torch', 'gptqmodel', 'transformers') if n in sys.modules])"
    )
    pytest.importorskip("onnx")
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"


@pytest.mark.export
def test_the_shipped_tower_adds_up_the_same_with_and_without_vnni():
    """Without VNNI two products of uint8 and int8 are added in 16 bits, which must not saturate."""
    pytest.importorskip("onnx")
    from medrega_export.graphs.linear_layers import INT8_LARGEST

    assert 2 * 255 * INT8_LARGEST <= np.iinfo(np.int16).max
