"""Our layer-by-layer driver against gptqmodel's own run over a whole model, and every kind of code it writes."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
import os
from pathlib import Path
from types import MethodType

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "gptqmodel", "onnx"):
    pytest.importorskip(name)

from conftest import original_model

from medrega_edge.evaluation.questions import read_questions
from medrega_export.checkpoint import checkpoint
from medrega_export.graphs import numerical_error, text_model
from medrega_export.quantisation import calibration, gptq
from medrega_export.quantisation.gptq_format import dequantise, read_linear
from medrega_export.quantisation.recipe import Override, Recipe


@pytest.fixture(scope="module")
def material(checkpoint_folder: Path, questions_file: Path):
    loaded = checkpoint.load(checkpoint_folder)
    return loaded, calibration.from_questions(loaded, read_questions(questions_file), 1024)


def whole_model(folder: Path, samples, out: Path) -> None:
    """Quantise the language model as gptqmodel does by itself, fed with embeddings."""
    import torch
    from gptqmodel import GPTQModel, QuantizeConfig
    from gptqmodel.looper import loop_processor
    from transformers import AutoModelForCausalLM

    loop_processor._PROJECT_LOG_DIR = out.parent
    model = original_model(folder)
    text = AutoModelForCausalLM.from_config(model.config.text_config)
    state = {f"model.{name}": value for name, value in model.model.language_model.state_dict().items()}
    text.load_state_dict(state | {"lm_head.weight": model.lm_head.weight}, strict=False)
    text.save_pretrained(out.parent / "text")
    (out.parent / "text" / "tokenizer.json").write_bytes((folder / "tokenizer.json").read_bytes())
    config = QuantizeConfig(bits=4, group_size=32, sym=True, desc_act=False, device="cpu", offload_to_disk=False)
    quantiser = GPTQModel.load(str(out.parent / "text"), config, dtype=torch.float32)

    def prepare(self, calibration_dataset, **_):
        return [{"input_ids": torch.zeros(1, len(row), dtype=torch.long), "inputs_embeds": row[None]} for row in samples]

    def capture(self, example, use_cache, data_device):
        return self.model(inputs_embeds=example["inputs_embeds"], use_cache=use_cache)

    quantiser.prepare_dataset = MethodType(prepare, quantiser)
    quantiser.run_input_capture = MethodType(capture, quantiser)
    quantiser.quantize([{"input_ids": torch.zeros(1, 4, dtype=torch.long)}] * len(samples))
    quantiser.save(str(out))


def test_codes_are_those_of_gptqmodel(checkpoint_folder: Path, material, tmp_path: Path, monkeypatch) -> None:
    """The same codes wherever both have seen the same; behind that, no more error than its own run."""
    from safetensors.numpy import load_file

    for key, value in gptq.ENVIRONMENT.items():
        monkeypatch.setitem(os.environ, key, value)
    loaded, seen = material
    ours = gptq.quantise(loaded, seen.samples, Recipe(), tmp_path / "ours")
    whole_model(checkpoint_folder, seen.samples, tmp_path / "theirs")
    stored = {k.removeprefix("model."): v for k, v in load_file(tmp_path / "theirs" / "model.safetensors").items()}
    for name in ("q_proj", "k_proj", "v_proj"):
        prefix = f"layers.0.self_attn.{name}"
        a, b = (read_linear(tensors, prefix, ours.form) for tensors in (ours.tensors(0), stored))
        assert np.array_equal(a.codes, b.codes) and np.array_equal(a.scales, b.scales), name
    config = json.loads((tmp_path / "theirs" / "quantize_config.json").read_text(encoding="utf-8"))
    assert {key: ours.config[key] for key in ("bits", "group_size", "sym", "desc_act", "checkpoint_format")} == {
        key: config[key] for key in ("bits", "group_size", "sym", "desc_act", "checkpoint_format")
    }

    def error(state) -> float:
        given = text_model.logits(loaded, seen.samples, numerical_error.STEPS, state)
        full = text_model.logits(
            loaded, seen.samples, numerical_error.STEPS, lambda body, i: text_model.layer_state(loaded.weights, body, i)
        )
        return numerical_error.logit_error(given, full)

    theirs = error(lambda _, i: text_model.dequantised_state(stored, f"layers.{i}.", ours.form))
    assert error(lambda _, i: ours.state(i)) < 1.02 * theirs


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(symmetric=False),
        Recipe(group_size=64),
        Recipe(bits=8),
        Recipe(symmetric=False, overrides=(Override("layers.0.down", 8, 64), Override("layers.1.qkv", 8))),
    ],
    ids=["zero points", "groups of 64", "8 bits", "mixed"],
)
def test_every_kind_of_code(recipe: Recipe, material, tmp_path: Path) -> None:
    """What is stored stays within a step of the weight on the average, and finer codes stay nearer."""
    loaded, seen = material
    layers = gptq.quantise(loaded, seen.samples[:2], recipe, tmp_path / "layers")
    for i in range(2):
        tensors = layers.tensors(i)
        for name in text_model.LINEARS:
            linear = read_linear(tensors, f"layers.{i}.{name}", layers.form)
            assert (linear.bits, linear.group) == recipe.linear(i, name)
            truth = loaded.weights[f"layers.{i}.{name}.weight"].read().numpy().T
            steps = np.abs(dequantise(linear) - truth) / np.repeat(linear.scales, linear.group, axis=0)
            assert steps.mean() < 1.0, name
            assert (linear.zeros == 1 << (linear.bits - 1)).all() == recipe.symmetric


def test_calibration_sees_the_images(material, tmp_path: Path) -> None:
    """Calibrated with the images in place, the language model loses less on images than calibrated without them."""
    loaded, seen = material
    blind = [sample.clone() for sample in seen.samples]
    slot = loaded.weights["embed_tokens.weight"].pick([slice(loaded.image_token, loaded.image_token + 1)])
    for sample in blind:
        sample[2:6] = slot
    image = [sample[2:8] for sample in seen.samples]
    full = text_model.logits(loaded, image, 6, lambda body, i: text_model.layer_state(loaded.weights, body, i))
    errors = []
    for name, samples in (("seeing", seen.samples), ("blind", blind)):
        layers = gptq.quantise(loaded, samples, Recipe(), tmp_path / name)
        given = text_model.logits(loaded, image, 6, lambda _, i, layers=layers: layers.state(i))
        errors.append(numerical_error.logit_error(given, full))
    assert errors[0] < 0.9 * errors[1]
