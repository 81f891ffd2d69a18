"""The standard GPTQ checkpoint beside a package, as transformers and gptqmodel load it."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

pytestmark = [
    pytest.mark.export,
    # transformers warns of the config that the checkpoint brings; both libraries use old names
    pytest.mark.filterwarnings("ignore:You passed `quantization_config`:UserWarning"),
    pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning"),
    pytest.mark.filterwarnings("ignore:`torch.jit.script_method`:DeprecationWarning"),
]
for name in ("torch", "transformers", "gptqmodel", "onnx"):
    pytest.importorskip(name)

from medrega_edge.package.package import Package
from medrega_export import ExportOptions, export
from medrega_export.graphs.reference_decoder import DecoderRun
from medrega_export.quantisation.recipe import Override, Recipe


def test_transformers_loads_the_gptq_checkpoint(exported, checkpoint_folder: Path) -> None:
    """Tower, projector and quantised layers all arrive: image embeddings equal, logits near those of the original."""
    pytest.importorskip("optimum")
    import torch
    from safetensors.torch import load_file
    from transformers import GPTQConfig, InternVLForConditionalGeneration

    root, _ = exported
    names = set(load_file(root / "gptq" / "model.safetensors"))
    original = InternVLForConditionalGeneration.from_pretrained(checkpoint_folder, dtype=torch.float32).eval()
    packed = {name for name in original.state_dict() if "language_model" in name and name.endswith("_proj.weight")}
    assert packed and set(original.state_dict()) - packed <= names  # but for what is packed, the same
    loaded = InternVLForConditionalGeneration.from_pretrained(
        root / "gptq", dtype=torch.float32, quantization_config=GPTQConfig(bits=4, backend="gptq_torch")
    ).eval()
    assert hasattr(loaded.model.language_model.layers[1].mlp.down_proj, "qweight")
    ids = torch.tensor([[1, 3, 5, 5, 5, 5, 4, 40, 41, 42, 43]])
    pixels = torch.randn(1, 3, 64, 64, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        a = loaded(input_ids=ids, pixel_values=pixels).logits
        b = original(input_ids=ids, pixel_values=pixels).logits
    assert float((a - b).abs().max() / b.abs().max()) < 0.3


def test_gptqmodel_loads_a_mixed_checkpoint_and_transformers_refuses_it(
    checkpoint_folder: Path, questions_file: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each layer at its own bits, and the logits of the package; what transformers cannot read is an error there."""
    import torch
    from gptqmodel import BACKEND, GPTQModel
    from gptqmodel.models.definitions.internvl import InternVLQModel
    from transformers import GPTQConfig, InternVLForConditionalGeneration

    folder = tmp_path / "gptq"
    recipe = Recipe(overrides=(Override("layers.0.qkv", 8), Override("layers.1.down", 8, 64)))
    export(ExportOptions(checkpoint_folder, tmp_path / "p", questions_file, recipe=recipe, keep_checkpoint=folder))
    monkeypatch.setattr(InternVLQModel, "require_load_processor", False)  # which needs torchvision
    model = GPTQModel.load(str(folder), device="cpu", backend=BACKEND.GPTQ_TORCH, dtype=torch.float16).model
    layers = model.model.language_model.layers
    linears = (layers[0].self_attn.q_proj, layers[1].mlp.down_proj, layers[0].mlp.down_proj)
    assert [(linear.bits, linear.group_size) for linear in linears] == [(8, 32), (8, 64), (4, 32)]
    ids = [1, 3, 4, 40, 41, 42, 43]
    package = Package.open(tmp_path / "p")
    embeddings = np.load(package.path("embeddings"))[ids].astype(np.float32)
    ours = DecoderRun(package.path("decoder"), package.manifest.decoder).feed(embeddings)
    with torch.no_grad():
        theirs = model(input_ids=torch.tensor([ids])).logits[0, -1].float().numpy()
    assert np.abs(ours - theirs).max() < 0.05 * np.abs(ours).max()  # float16 there, int8 activations here
    with pytest.raises(RuntimeError, match="mismatched"):
        backend = GPTQConfig(bits=4, backend="gptq_torch")
        InternVLForConditionalGeneration.from_pretrained(folder, dtype=torch.float32, quantization_config=backend)


def test_gptqmodel_dequantises_to_what_we_read(exported) -> None:
    import torch
    from safetensors.torch import load_file

    from medrega_export.quantisation import gptq_format

    root, _ = exported
    stored = load_file(root / "gptq" / "model.safetensors")
    form = gptq_format.read_format(json.loads((root / "gptq" / "quantize_config.json").read_text(encoding="utf-8")))
    from gptqmodel.nn_modules.qlinear.torch import TorchLinear
    from gptqmodel.utils.model import convert_gptq_v1_to_v2_format_module

    prefix = "model.language_model.layers.0.mlp.gate_proj"
    ours = gptq_format.dequantise(
        gptq_format.read_linear({k: v.numpy() for k, v in stored.items() if k.startswith(prefix)}, prefix, form)
    )
    theirs = TorchLinear(
        bits=4,
        group_size=32,
        sym=True,
        desc_act=False,
        in_features=64,
        out_features=128,
        bias=False,
        pack_dtype=torch.int32,
        register_buffers=True,
    )
    theirs.load_state_dict({k.removeprefix(prefix + "."): v for k, v in stored.items() if k.startswith(prefix)})
    convert_gptq_v1_to_v2_format_module(theirs, bits=4, pack_dtype=torch.int32)
    theirs.post_init()
    # It multiplies in float16, where the product of a scale and a small integer has one right rounding.
    assert np.array_equal(theirs.dequantize_weight().numpy(), ours.astype(np.float16))
