"""The whole way, on a random checkpoint of the smallest shape: package, gates, certificate, command line."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import hashlib
import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "gptqmodel", "onnx", "tokenizers", "sentencepiece"):
    pytest.importorskip(name)

import chat_reference  # noqa: E402
from conftest import original_model  # noqa: E402

from medrega_edge.engine import load  # noqa: E402
from medrega_edge.errors import GateError, UsageError  # noqa: E402
from medrega_edge.gates import read_gates  # noqa: E402
from medrega_edge.package import Package  # noqa: E402
from medrega_export import run_graphs  # noqa: E402
from medrega_export.build import ExportOptions, export  # noqa: E402
from medrega_export.measure import Thresholds  # noqa: E402
from medrega_export.recipe import FULL, FULL_BITS, PROJECTOR_UNITS, TOWER_UNITS, Override, Recipe  # noqa: E402
from medrega_export.run_graphs import DecoderRun  # noqa: E402

MIXED = (Override("layers.0.qkv", 8), Override("layers.1.down", 8, 64), Override("tower.0.fc2", 32))


def hashes(folder: Path) -> dict[str, str]:
    return {path.name: hashlib.sha256(path.read_bytes()).hexdigest() for path in sorted(folder.iterdir())}


@pytest.fixture(scope="module")
def exported(checkpoint_folder: Path, questions_file: Path, tmp_path_factory: pytest.TempPathFactory):
    """An int4 package with certificate and its GPTQ checkpoint."""
    root = tmp_path_factory.mktemp("exported")
    options = ExportOptions(
        checkpoint_folder, root / "package", questions_file, certify=questions_file, keep_checkpoint=root / "gptq"
    )
    return root, export(options)


def test_the_package_is_complete(exported) -> None:
    root, report = exported
    assert sorted(path.name for path in root.iterdir()) == ["gptq", "package"]  # nothing half-written is left over
    package = Package.open(root / "package")
    package.verify()
    manifest = package.manifest
    assert manifest.precision == report.precision == "gptq-int4-g32 + vision-int8"
    assert manifest.tasks == ("detect", "identify") and manifest.languages == ("en", "zh")
    assert (manifest.vision.image_size, manifest.vision.tokens) == (64, 4)
    assert manifest.tokens.image == 5 and manifest.tokens.end == (2,)
    table = np.load(root / "package" / "embeddings.npy")
    assert table.dtype == np.float16 and table.shape == (manifest.decoder.vocabulary, manifest.decoder.hidden)


def test_errors_are_small_and_none_is_missing(exported) -> None:
    _, report = exported
    assert set(report.errors) == {"vision_int8", "decoder_layout", "decoder_rounded", "gptq", "embeddings"}
    assert report.errors["decoder_layout"] < 1e-4
    assert 1e-5 < report.errors["decoder_rounded"] < 0.05
    assert 1e-5 < report.errors["vision_int8"] < 0.05
    assert 1e-3 < report.errors["gptq"] < 0.3


def test_the_certificate_holds_both_packages(exported) -> None:
    root, report = exported
    stored = json.loads((root / "package" / "certificate.json").read_text(encoding="utf-8"))
    assert stored == report.certificate
    groups = {(e["task"], e["language"], e["modality"]): e for e in stored["accuracy"]}
    assert set(groups) == {("detect", x, m) for x in ("en", "zh") for m in (None, "ct", "mri")}
    assert groups["detect", "en", None]["n"] == 3
    assert stored["packages"]["package"]["decoder"] == Package.open(root / "package").manifest.files["decoder"].sha256
    assert stored["packages"]["reference"]["decoder"] != stored["packages"]["package"]["decoder"]
    assert stored["items"]["count"] == 6
    card = (root / "package" / "README.md").read_text(encoding="utf-8")
    assert "mean IoU" in card and "Groups of 32 weights: " in card


def test_no_text_of_the_questions_is_kept(exported) -> None:
    root, _ = exported
    for path in [*(root / "package").iterdir(), *(root / "gptq").iterdir()]:
        if path.name != "tokenizer.json":  # its vocabulary was trained on these very words
            data = path.read_bytes()
            for secret in ("肝脏在哪里", "Where is the liver", "112, 240", "a.png"):
                assert secret.encode() not in data and json.dumps(secret)[1:-1].encode() not in data, path.name


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

    folder, recipe = tmp_path / "gptq", Recipe(overrides=MIXED)
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

    from medrega_export import gptq_format

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


def test_the_runtime_sees_what_torch_sees(checkpoint_folder: Path, questions_file: Path, tmp_path: Path) -> None:
    """From image file and question to logits: the full-precision package equals the checkpoint in transformers."""
    import torch

    from medrega_edge.engine import load as load_engine
    from medrega_edge.images import read_image
    from medrega_edge.preprocess import Preprocessing, preprocess
    from medrega_export import checkpoint, questions

    export(ExportOptions(checkpoint_folder, tmp_path / "fp32", recipe=FULL))
    engine = load_engine(tmp_path / "fp32")
    asked = questions.read_questions(questions_file)[1]
    image = engine.open(asked.image)
    answer = engine.ask(image, asked.question, task=asked.task, language=asked.language, max_tokens=3)

    original, model = checkpoint.load(checkpoint_folder), original_model(checkpoint_folder)
    values, geometry = preprocess(read_image(asked.image), Preprocessing(64))
    spelt = questions.spell(asked, geometry, original.prompts, original.tokenizer, [5] * 4)
    prompt = spelt[: len(spelt) - len(original.tokenizer.encode(asked.text))]
    assert answer.prompt_tokens == len(prompt)
    package = Package.open(tmp_path / "fp32")
    embeddings = np.load(package.path("embeddings"))[prompt]
    embeddings[np.array(prompt) == package.manifest.tokens.image] = image.embeds
    logits = DecoderRun(package.path("decoder"), package.manifest.decoder).feed(embeddings)
    with torch.no_grad():
        truth = model(input_ids=torch.tensor([prompt]), pixel_values=torch.from_numpy(values)).logits[0, -1]
    assert np.abs(logits - truth.numpy()).max() < 1e-4 * float(truth.abs().max())


def test_calibration_sees_the_images(checkpoint_folder: Path, questions_file: Path, tmp_path: Path) -> None:
    """Calibrated with the images in place, the language model loses less on images than calibrated without them."""
    from medrega_export import calibration, checkpoint, gptq, measure, questions, text_model

    loaded = checkpoint.load(checkpoint_folder)
    material = calibration.from_questions(loaded, questions.read_questions(questions_file), 1024)
    blind = [sample.clone() for sample in material.samples]
    slot = loaded.weights["embed_tokens.weight"].pick([slice(loaded.image_token, loaded.image_token + 1)])
    for sample in blind:
        sample[2:6] = slot
    image = [sample[2:8] for sample in material.samples]
    full = text_model.logits(loaded, image, 6, lambda body, i: text_model.original(loaded.weights, body, i))
    errors = []
    for name, samples in (("seeing", material.samples), ("blind", blind)):
        layers = gptq.quantise(loaded, samples, Recipe(), tmp_path / name)
        given = text_model.logits(loaded, image, 6, lambda _, i, layers=layers: layers.state(i))
        errors.append(measure.logit_error(given, full))
    assert errors[0] < 0.9 * errors[1]


def test_full_precision(checkpoint_folder: Path, tmp_path: Path) -> None:
    report = export(ExportOptions(checkpoint_folder, tmp_path / "fp32", recipe=FULL))
    assert report.precision == "fp32"
    assert report.errors["decoder_fp32"] < 1e-5 and report.errors["vision_fp32"] < 1e-5 and report.errors["embeddings"] == 0
    assert np.load(tmp_path / "fp32" / "embeddings.npy").dtype == np.float32
    assert report.certificate["accuracy"] is None and report.certificate["reason"]


@pytest.mark.parametrize(
    "recipe",
    [
        Recipe(bits=8, group_size=64, symmetric=False, tower="fp16"),
        Recipe(symmetric=False, head_bits=4, tower="fp32"),
        Recipe(overrides=MIXED),
        Recipe(bits=32, head_bits=8),
    ],
    ids=lambda recipe: recipe.name,
)
def test_every_recipe_runs_and_says_what_it_is(
    recipe: Recipe, checkpoint_folder: Path, questions_file: Path, tmp_path: Path
) -> None:
    """The graph agrees with the quantised checkpoint, and the runtime opens the package and answers."""
    report = export(ExportOptions(checkpoint_folder, tmp_path / "p", questions_file, calibration_items=3, recipe=recipe))
    assert report.precision == recipe.name
    assert recipe.bits == 32 or report.errors["decoder_layout"] < 1e-4
    engine = load(tmp_path / "p")
    assert engine.package.manifest.files["decoder"].precision == recipe.files["decoder"]
    assert engine.ask(engine.open(questions_file.parent / "a.png"), "Where is the liver?").raw_text
    card = (tmp_path / "p" / "README.md").read_text(encoding="utf-8")
    assert all(f"`{override.unit}`" in card for override in recipe.overrides)


@pytest.mark.parametrize(("text", "tied"), [("llama", False), ("qwen2", True)])
def test_other_language_models(make_checkpoint, text: str, tied: bool, questions_file: Path, tmp_path: Path) -> None:
    folder = make_checkpoint(tmp_path / "checkpoint", text, tied)
    report = export(ExportOptions(folder, tmp_path / "package", questions_file, calibration_items=3))
    assert report.errors["decoder_layout"] < 1e-4


def test_the_original_layout_in_4_bits(questions_file: Path, tmp_path: Path) -> None:
    """From an InternVL-Chat-V1-2 folder to answers: package, certificate, and a kept checkpoint that says its shuffle."""
    chat_reference.write_checkpoint(tmp_path / "chat")
    questions = questions_file
    report = export(
        ExportOptions(tmp_path / "chat", tmp_path / "p", questions, certify=questions, keep_checkpoint=tmp_path / "gptq")
    )
    assert report.errors["decoder_layout"] < 1e-4 and report.certificate["accuracy"]
    assert json.loads((tmp_path / "gptq" / "config.json").read_text(encoding="utf-8"))["ps_version"] == "v1"
    assert "ps_version" in (tmp_path / "gptq" / "README.md").read_text(encoding="utf-8")


def test_a_missed_gate_leaves_nothing(checkpoint_folder: Path, tmp_path: Path) -> None:
    with pytest.raises(GateError, match="decoder_fp32"):
        export(ExportOptions(checkpoint_folder, tmp_path / "fp32", recipe=FULL, thresholds=Thresholds(decoder_fp32=1e-12)))
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"recipe": FULL, "certify": True}, "--certify"),
        ({"recipe": FULL, "keep_checkpoint": True}, "--keep-checkpoint"),
        ({"gates": read_gates("flips<=0")}, "--certify"),
    ],
)
def test_options_that_would_be_ignored_are_refused(
    change: dict, message: str, checkpoint_folder: Path, questions_file: Path, tmp_path: Path
) -> None:
    named = {"certify": questions_file, "keep_checkpoint": tmp_path / "gptq"}
    options = change | {name: path for name, path in named.items() if change.get(name)}
    with pytest.raises(UsageError, match=message):
        export(ExportOptions(checkpoint_folder, tmp_path / "p", calibration=questions_file, **options))


def test_an_earlier_export_is_replaced_only_by_force(checkpoint_folder: Path, tmp_path: Path) -> None:
    options = {"checkpoint": checkpoint_folder, "out": tmp_path / "fp32", "recipe": FULL}
    export(ExportOptions(**options))
    before = hashes(tmp_path / "fp32")
    with pytest.raises(UsageError, match="--force"):
        export(ExportOptions(**options))
    export(ExportOptions(**options, force=True))
    assert hashes(tmp_path / "fp32") == before  # and the same again, bit for bit
    (tmp_path / "mine").mkdir()
    with pytest.raises(UsageError, match="no earlier export"):
        export(ExportOptions(**options | {"out": tmp_path / "mine"}, force=True))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["fp32", "mine"]


def test_the_vision_stage_is_that_of_transformers(checkpoint_folder: Path, tmp_path: Path) -> None:
    import torch

    from medrega_export import checkpoint, vision

    loaded = checkpoint.load(checkpoint_folder)
    pixels = np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)
    with torch.no_grad():
        model = original_model(checkpoint_folder).model
        truth = model.get_image_features(torch.from_numpy(pixels), return_dict=True).pooler_output.numpy()
    assert np.abs(np.stack(vision.run_torch(loaded, pixels)) - truth).max() < 1e-6
    vision.write(loaded, tmp_path / "v.onnx", FULL)
    assert vision.relative_error(vision.run_graph(tmp_path / "v.onnx", pixels), truth) < 1e-5
    (batch,) = run_graphs.session(tmp_path / "v.onnx").run(["image_embeds"], {"pixel_values": pixels})
    assert vision.relative_error(batch, truth) < 1e-5


def test_a_large_tower_lies_beside_its_graph(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from medrega_export import checkpoint, decoder, vision

    loaded = checkpoint.load(checkpoint_folder)
    pixels = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    monkeypatch.setattr(decoder, "EXTERNAL_BYTES", 1000)
    vision.write(loaded, tmp_path / "vision.onnx", Recipe())
    assert sorted(path.name for path in tmp_path.iterdir()) == ["vision.onnx", "vision.onnx.data"]
    error = vision.relative_error(
        vision.run_graph(tmp_path / "vision.onnx", pixels), vision.run_torch(loaded, pixels)[0][None]
    )
    assert 1e-5 < error < 0.05


def test_each_tower_precision_and_exception_counts(checkpoint_folder: Path, tmp_path: Path) -> None:
    """float16 is close, int8 less so; units kept in float32 bring the graph nearer, all of them all the way."""
    from medrega_export import checkpoint, vision

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
    from medrega_edge.sessions import load_onnxruntime
    from medrega_export import checkpoint, vision

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


def test_pixel_shuffle_v1_transposes_the_grid(checkpoint_folder: Path) -> None:
    import dataclasses

    from medrega_export import checkpoint, vision

    loaded = checkpoint.load(checkpoint_folder)
    pixels = np.random.default_rng(0).standard_normal((1, 3, 64, 64)).astype(np.float32)
    v1, v2 = (vision.run_torch(dataclasses.replace(loaded, pixel_shuffle=name), pixels)[0].numpy() for name in ("v1", "v2"))
    assert np.allclose(v1.reshape(2, 2, -1), v2.reshape(2, 2, -1).transpose(1, 0, 2), atol=1e-6)
    assert not np.allclose(v1, v2, atol=1e-3)


@pytest.mark.parametrize("missing", ["prompts.json", "training.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_checkpoint_is_named(checkpoint_folder: Path, tmp_path: Path, missing: str) -> None:
    from medrega_export import checkpoint

    for path in checkpoint_folder.iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(UsageError, match=missing.replace("model.", r"\*.")):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("change", ["missing", "unexpected", "truncated"])
def test_weights_that_do_not_fit_are_refused(checkpoint_folder: Path, tmp_path: Path, change: str) -> None:
    from safetensors.torch import load_file, save_file

    from medrega_export import checkpoint

    for path in checkpoint_folder.iterdir():
        if path.name != "model.safetensors":
            (tmp_path / path.name).symlink_to(path)
    stored = load_file(checkpoint_folder / "model.safetensors")
    if change == "missing":
        stored.pop(next(name for name in stored if name.endswith("mlp.up_proj.weight")))
    if change == "unexpected":
        stored["another.weight"] = stored["language_model.lm_head.weight"].clone()
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    if change == "truncated":
        data = (tmp_path / "model.safetensors").read_bytes()
        (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError, match="cannot be loaded" if change == "truncated" else change):
        checkpoint.load(tmp_path)


def test_the_command_line(checkpoint_folder: Path, tmp_path: Path) -> None:
    def run(*arguments: object) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, "-m", "medrega_edge", "export", *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    good = run(checkpoint_folder, "--out", tmp_path / "p", "--precision", "fp32")
    assert good.returncode == 0 and "decoder_fp32" in good.stdout
    told = ("images and questions", "vision fp32", "decoder fp32")  # and nothing of what libraries say to each other
    assert good.stderr.splitlines() == list(told)
    again = run(checkpoint_folder, "--out", tmp_path / "p", "--precision", "fp32")
    assert again.returncode == 2 and "--force" in again.stderr and again.stdout == ""
    without = run(checkpoint_folder, "--out", tmp_path / "q")
    assert without.returncode == 2 and "--calibration" in without.stderr
    absent = run(tmp_path / "no", "--out", tmp_path / "q", "--precision", "fp32")
    assert absent.returncode == 2 and not (tmp_path / "q").exists()


def test_questions_that_cannot_be_certified_are_refused_at_once(
    checkpoint_folder: Path, questions_file: Path, tmp_path: Path
) -> None:
    line = json.loads(questions_file.read_text(encoding="utf-8").splitlines()[0])
    line["image"] = str(questions_file.parent / line["image"])
    for change, message in (
        ({"task": "report"}, "report"),
        ({"task": "identify"}, "box"),
        ({"image": "x.png"}, "x.png"),
    ):
        path = tmp_path / "certify.jsonl"
        path.write_text(json.dumps(line | change), encoding="utf-8")
        with pytest.raises(UsageError, match=message):
            export(ExportOptions(checkpoint_folder, tmp_path / "package", questions_file, certify=path))
