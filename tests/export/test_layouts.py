"""Checkpoints of every layout go in, and the exported graphs compute what the original computes, to 1e-4."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "onnx", "sentencepiece"):
    pytest.importorskip(name)

import chat_reference
from conftest import original_model

from medrega_edge.errors import UsageError
from medrega_edge.package.package import Package
from medrega_export import ExportOptions, export
from medrega_export.checkpoint import checkpoint, sentencepiece
from medrega_export.checkpoint.tokenizer_json import read_tokenizer
from medrega_export.checkpoint.weights import index_tensors
from medrega_export.graphs import text_model
from medrega_export.graphs.reference_decoder import DecoderRun, session
from medrega_export.quantisation.recipe import FULL
from tests.codes import raises_code

FIGURES = Path(__file__).resolve().parents[3] / "shared" / "reference" / "internvl-chat-v1-2-tiny"
CLOSE = 1e-4


def export_fp32(folder: Path, out: Path, adapter: Path | None = None) -> Package:
    export(ExportOptions(folder, out, adapter=adapter, recipe=FULL))
    return Package.open(out)


def features(package: Package, pixels: np.ndarray) -> np.ndarray:
    (result,) = session(package.path("vision")).run(["image_embeds"], {"pixel_values": pixels.astype(np.float32)})
    return result


def embeddings(package: Package, ids: np.ndarray, image: np.ndarray) -> np.ndarray:
    rows = np.load(package.path("embeddings"))[ids]
    rows[ids == package.manifest.tokens.image] = image
    return rows


def logits(package: Package, rows: np.ndarray) -> np.ndarray:
    run = DecoderRun(package.path("decoder"), package.manifest.decoder)
    return np.stack([run.feed(rows[i : i + 1]) for i in range(len(rows))])


@pytest.mark.data
def test_figures_of_the_original_code(tmp_path: Path) -> None:
    if not FIGURES.is_dir():
        pytest.skip("../shared/reference is not here: figures of the original code are not checked")
    expected = np.load(FIGURES / "expected.npz")
    package = export_fp32(FIGURES, tmp_path / "package")
    assert "prompts were not given" in package.manifest.source
    assert "**Warning**: Its own prompts" in (tmp_path / "package" / "README.md").read_text(encoding="utf-8")
    seen = features(package, expected["pixel_values"])
    assert np.abs(seen - expected["vision"]).max() < CLOSE
    ids = expected["input_ids"][0]
    assert np.abs(logits(package, embeddings(package, ids, seen[0])) - expected["logits"][0]).max() < CLOSE


@pytest.mark.parametrize(
    ("text", "changes"),
    [
        ("LlamaForCausalLM", {"ps_version": "v1"}),
        ("Qwen2ForCausalLM", {"ps_version": "v2", "select_layer": -2, "vision_norm_type": "layer_norm"}
         | {"vision_qk_normalization": False, "vision_qkv_bias": True}
         | {"llm_rope_scaling": {"type": "dynamic", "rope_type": "dynamic", "factor": 2.0}}),
    ],
    ids=["InternVL-Chat-V1-2", "InternVL3 with an inner layer"],
)  # fmt: skip
def test_the_original_layout(text: str, changes: dict, tmp_path: Path) -> None:
    weights = chat_reference.write_checkpoint(tmp_path / "chat", text, **changes)
    original = chat_reference.Reference(tmp_path / "chat", weights)
    package = export_fp32(tmp_path / "chat", tmp_path / "package")
    pixels = np.random.default_rng(1).standard_normal((2, 3, 56, 56))
    truth, seen = original.features(pixels), features(package, pixels)
    assert truth.std() > 0.1 and np.abs(seen - truth).max() < CLOSE * np.abs(truth).max()
    slot = package.manifest.tokens.image
    ids = np.array([1, 420, 30, 422, slot, slot, slot, slot, 423, 77, 78, 421])
    rows = original.embed(ids)
    rows[ids == slot] = truth[0]
    expected = original.logits(rows)
    assert np.abs(logits(package, embeddings(package, ids, seen[0])) - expected).max() < CLOSE * np.abs(expected).max()
    assert package.manifest.tokens.end == (421,)
    assert checkpoint.describe(tmp_path / "chat").native.to_dict()["ps_version"] == changes["ps_version"]


@pytest.mark.parametrize(
    ("text", "tied", "changes"),
    [("qwen2", False, {}), ("llama", False, {"vision_feature_layer": -2}), ("qwen2", True, {})],
    ids=["qwen2", "llama with an inner layer", "tied"],
)
def test_the_native_layout(make_checkpoint, text: str, tied: bool, changes: dict, tmp_path: Path) -> None:
    import torch

    folder = make_checkpoint(tmp_path / "checkpoint", text, tied)
    config = json.loads((folder / "config.json").read_text(encoding="utf-8"))
    (folder / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")
    package = export_fp32(folder, tmp_path / "package")
    model = original_model(folder)
    pixels = np.random.default_rng(1).standard_normal((1, 3, 64, 64)).astype(np.float32)
    ids = np.array([1, 3, 5, 5, 5, 5, 4, 40, 41, 42, 43])
    with torch.no_grad():
        truth = model.model.get_image_features(torch.from_numpy(pixels), return_dict=True).pooler_output.numpy()
        expected = model(input_ids=torch.from_numpy(ids)[None], pixel_values=torch.from_numpy(pixels)).logits[0].numpy()
    seen = features(package, pixels)
    assert np.abs(seen - truth).max() < CLOSE * np.abs(truth).max()
    assert np.abs(logits(package, embeddings(package, ids, seen[0])) - expected).max() < CLOSE * np.abs(expected).max()


def test_rotary_embeddings_of_the_original_layout_in_every_spelling(tmp_path: Path) -> None:
    """transformers 5 writes `rope_parameters`, older ones a theta and a scaling, whose kind has two names."""
    scaling = {"factor": 4.0}
    spellings = (
        {"llm_rope_theta": None, "llm_rope_parameters": {"rope_theta": 5e5, "rope_type": "linear"} | scaling},
        {"llm_rope_theta": 5e5, "llm_rope_scaling": {"rope_type": "linear"} | scaling},
        {"llm_rope_theta": 5e5, "llm_rope_scaling": {"type": "linear"} | scaling},
    )
    for i, changes in enumerate(spellings):
        chat_reference.write_checkpoint(tmp_path / str(i), **changes)
        shape = text_model.shape_of(checkpoint.describe(tmp_path / str(i)).native.text_config, 100)
        assert (shape.theta, shape.rope_factor) == (5e5, 4.0)


def write_adapter(folder: Path, shapes: dict[str, tuple[int, int]], **config: object) -> dict[str, np.ndarray]:
    """An adapter of rank 4 for modules by the names peft gives them; returns module -> what it adds to the weight."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(3)
    folder.mkdir()
    tensors, deltas = {}, {}
    for module, (out, width) in shapes.items():
        a = generator.standard_normal((4, width)).astype(np.float32) * 0.3
        b = generator.standard_normal((out, 4)).astype(np.float32) * 0.3
        tensors[f"base_model.model.{module}.lora_A.weight"], tensors[f"base_model.model.{module}.lora_B.weight"] = a, b
        deltas[module] = 8 / (2 if config.get("use_rslora") else 4) * b @ a
    save_file(tensors, folder / "adapter_model.safetensors")
    full = {"peft_type": "LORA", "r": 4, "lora_alpha": 8, "bias": "none", "target_modules": [*shapes]} | config
    (folder / "adapter_config.json").write_text(json.dumps(full), encoding="utf-8")
    return deltas


def test_an_adapter_is_merged(checkpoint_folder: Path, tmp_path: Path) -> None:
    """The package of base and adapter computes what the base computes with the adapter's term added in each layer."""
    import torch

    model = original_model(checkpoint_folder)
    names = ("layers.0.self_attn.q_proj", "layers.1.mlp.down_proj")
    shapes = {
        f"model.language_model.{n}": tuple(model.get_submodule(f"model.language_model.{n}").weight.shape) for n in names
    }
    deltas = write_adapter(tmp_path / "adapter", shapes, use_rslora=True)
    package = export_fp32(checkpoint_folder, tmp_path / "package", tmp_path / "adapter")
    assert "'adapter' merged" in package.manifest.source
    for module, delta in deltas.items():
        added = torch.from_numpy(delta)
        model.get_submodule(module).register_forward_hook(lambda _, x, y, added=added: y + x[0] @ added.T)
    ids = np.array([1, 40, 41, 42, 43, 44, 45])
    with torch.no_grad():
        expected = model(input_ids=torch.from_numpy(ids)[None]).logits[0].numpy()
    given = logits(package, np.load(package.path("embeddings"))[ids])
    assert np.abs(given - expected).max() < CLOSE * np.abs(expected).max()


def read_all(loaded: checkpoint.Checkpoint) -> dict:
    return {name: stored.read() for name, stored in loaded.weights.items()}


def test_adapters_of_the_original_layout(tmp_path: Path) -> None:
    """An adapter may name modules from the whole model or from its language model, or lie in the checkpoint itself."""
    from safetensors.numpy import save_file

    weights = chat_reference.write_checkpoint(tmp_path / "chat")
    plain = read_all(checkpoint.load(tmp_path / "chat"))
    inner, native = "layers.1.self_attn.v_proj", "layers.1.self_attn.v_proj.weight"
    for i, prefix in enumerate(("language_model.model.", "model.", "model.language_model.")):
        (delta,) = write_adapter(tmp_path / f"adapter{i}", {f"{prefix}{inner}": (32, 64)}).values()
        merged = read_all(checkpoint.load(tmp_path / "chat", tmp_path / f"adapter{i}"))
        assert np.abs(merged[native].numpy() - plain[native].numpy() - delta).max() < 1e-6
        assert all((merged[name] == value).all() for name, value in plain.items() if name != native)

    module = f"language_model.base_model.model.model.{inner}"
    unmerged = {
        name.replace("language_model.", "language_model.base_model.model."): value for name, value in weights.items()
    }
    unmerged[f"{module}.base_layer.weight"] = unmerged.pop(f"{module}.weight")
    a, b = np.ones((2, 64), np.float32), np.full((32, 2), 0.25, np.float32)
    unmerged |= {f"{module}.lora_A.default.weight": a, f"{module}.lora_B.default.weight": b}
    save_file(unmerged, tmp_path / "chat" / "model.safetensors", metadata={"format": "pt"})
    with raises_code(UsageError, "export.adapter_rank", rank=2, expected=0):
        checkpoint.load(tmp_path / "chat")
    config = json.loads((tmp_path / "chat" / "config.json").read_text(encoding="utf-8"))
    (tmp_path / "chat" / "config.json").write_text(json.dumps(config | {"use_llm_lora": 2}), encoding="utf-8")
    merged = read_all(checkpoint.load(tmp_path / "chat"))
    assert np.abs(merged[native].numpy() - plain[native].numpy() - 1.0).max() < 1e-6  # alpha is twice the rank: 2 * 2 * 0.25
    assert all((merged[name] == value).all() for name, value in plain.items() if name != native)


def test_rows_of_a_corrected_part_are_those_of_the_whole(tmp_path: Path) -> None:
    """A fused matrix with LoRA on it, cut in three, read by rows: what the whole, corrected and cut, holds there."""
    from safetensors.numpy import save_file

    generator = np.random.default_rng(4)
    whole, b, a = (generator.standard_normal(shape).astype(np.float32) for shape in ((12, 6), (12, 2), (2, 6)))
    save_file({"qkv": whole, "b": b, "a": a}, tmp_path / "x.safetensors")
    found = index_tensors([tmp_path / "x.safetensors"])
    part = found["qkv"].plus(0.5, found["b"], found["a"]).chunk(3)[1]
    truth = (whole + 0.5 * b @ a)[4:8]
    assert part.shape == (4, 6) and np.abs(part.read().numpy() - truth).max() < 1e-6
    assert np.abs(part.pick([slice(3, 4), slice(1, 3)]).numpy() - truth[[3, 1, 2]]).max() < 1e-6


@pytest.mark.parametrize(
    ("change", "code", "params"),
    [
        ({"ps_version": "v3"}, "export.pixel_shuffle_unknown", {"version": "v3"}),
        ({"pad2square": True}, "export.padded_images", {}),
        ({"force_image_size": 28}, "export.tower_resized", {"used": 28}),
        ({"select_layer": -5}, "export.select_layer", {"selected": -5}),
        ({"template": "vicuna"}, "export.chat_template_unknown", {"template": "vicuna"}),
        ({"vision_layer_norm_eps": 1e-5}, "export.qk_norm_epsilon", {"value": 1e-5}),
        ({"llm_architectures": ["Phi3ForCausalLM"]}, "export.language_model_unsupported", {"type": "Phi3ForCausalLM"}),
    ],
)
def test_what_is_not_exported_is_named(change: dict, code: str, params: dict, tmp_path: Path) -> None:
    chat_reference.write_checkpoint(tmp_path / "chat", **change)
    with pytest.raises(UsageError) as refused:
        checkpoint.describe(tmp_path / "chat")
    assert refused.value.code == code
    assert params.items() <= refused.value.message.params.items()


def test_no_pickle_is_read(tmp_path: Path) -> None:
    chat_reference.write_checkpoint(tmp_path / "chat")
    (tmp_path / "chat" / "model.safetensors").rename(tmp_path / "chat" / "pytorch_model.bin")
    with raises_code(UsageError, "export.no_weights", checkpoint="chat"):
        checkpoint.load(tmp_path / "chat")


def strings(count: int, words: list[str], seed: int):
    """Strings of both languages: words of reports, boxes, odd blanks, wide characters, marks, emoji."""
    generator = random.Random(seed)
    letters = "abcdefghij XYZ 0123456789,.;:!?()[]<>-_/'\"\n\t\r éüß½№×°µ≥→ "
    letters += "，。；：！？（）《》、　肝脏肺病灶胰尾部低密度肿块扫描ＡＢ１２🩻👍🏽한が"
    for _ in range(count):
        parts = [generator.choice(words) if generator.random() < 0.2 else generator.choice(letters) for _ in range(30)]
        yield "".join(parts[: generator.randrange(1, 31)])


def test_ten_thousand_strings_get_the_ids_of_sentencepiece(tmp_path: Path) -> None:
    from tokenizers import Tokenizer

    kinds = [
        {"rule": "nmt_nfkc"},
        {"rule": "identity"},
        {"rule": "identity", "legacy": False, "begin": False},
        {"rule": "identity", "add_dummy_prefix": False},
    ]
    for i, kind in enumerate(kinds):
        folder = tmp_path / str(i)
        folder.mkdir()
        chat_reference.write_tokenizer(folder, **kind)
        converted, truth = (
            Tokenizer.from_str(sentencepiece.to_tokenizer_json(folder)),
            sentencepiece.reference_encoder(sentencepiece.read_files(folder)),
        )
        for text in strings(2500, [*chat_reference.ADDED, *chat_reference.TEXT], i):
            assert converted.encode(text, add_special_tokens=False).ids == truth(text), (kind, text)
        assert converted.encode("").tokens == (["<s>"] if kind.get("begin", True) else [])
        assert converted.decode(converted.encode("肝脏在哪里").ids, skip_special_tokens=True) == "肝脏在哪里"


def test_the_original_layout_keeps_to_its_slow_tokenizer(tmp_path: Path) -> None:
    chat_reference.write_tokenizer(tmp_path)
    (tmp_path / "tokenizer.json").write_text("another", encoding="utf-8")
    assert read_tokenizer(tmp_path, {"model_type": "internvl"}) == b"another"
    assert read_tokenizer(tmp_path, {"model_type": "internvl_chat"}) != b"another"


@pytest.mark.data
def test_ten_thousand_strings_of_the_reference_tokenizer() -> None:
    from tokenizers import Tokenizer

    if not FIGURES.is_dir():
        pytest.skip("../shared/reference is not here: its tokenizer is not checked")
    converted, truth = (
        Tokenizer.from_str(sentencepiece.to_tokenizer_json(FIGURES)),
        sentencepiece.reference_encoder(sentencepiece.read_files(FIGURES)),
    )
    for text in strings(10_000, [*chat_reference.ADDED, *chat_reference.TEXT], 4):
        assert converted.encode(text, add_special_tokens=False).ids == truth(text), text


def test_a_slow_byte_level_tokenizer_is_converted(tmp_path: Path) -> None:
    from tokenizers import Tokenizer, models, pre_tokenizers, trainers

    trained = Tokenizer(models.BPE())
    trained.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    alphabet = pre_tokenizers.ByteLevel.alphabet()
    trainer = trainers.BpeTrainer(vocab_size=300, initial_alphabet=alphabet, show_progress=False)
    trained.train_from_iterator(["the liver is here"] * 4, trainer)
    model = json.loads(trained.to_str())["model"]
    (tmp_path / "vocab.json").write_text(json.dumps(model["vocab"]), encoding="utf-8")
    merges = ["#version: 0.2", *(" ".join(pair) for pair in model["merges"])]
    (tmp_path / "merges.txt").write_text("\n".join(merges) + "\n", encoding="utf-8")
    first = len(model["vocab"])
    added = {str(first + i): {"content": token, "special": True} for i, token in enumerate(chat_reference.ADDED)}

    def read(kind: str, tokens: dict) -> Tokenizer:
        config = {"tokenizer_class": kind, "added_tokens_decoder": tokens}
        (tmp_path / "tokenizer_config.json").write_text(json.dumps(config), encoding="utf-8")
        return Tokenizer.from_str(read_tokenizer(tmp_path, {}).decode("utf-8"))

    converted = read("Qwen2Tokenizer", added)
    text = "<|im_start|>the liver<ref>肝脏</ref><box>[[12, 3]]</box>"
    ids = converted.encode(text, add_special_tokens=False).ids
    assert converted.decode(ids, skip_special_tokens=False) == text
    assert [i for i in ids if i >= first] == [first + chat_reference.ADDED.index(f"<{t}>") for t in
                                               ("|im_start|", "ref", "/ref", "box", "/box")]  # fmt: skip
    assert ids[1:3] == trained.encode("the liver").ids and "12" not in converted.encode("12").tokens  # digits stand alone
    with raises_code(UsageError, "export.added_token_renumbered", token="<far>", id=900):
        read("Qwen2Tokenizer", added | {"900": {"content": "<far>", "special": True}})
    with raises_code(UsageError, "export.no_tokenizer", checkpoint=tmp_path.name):
        read("GPT2Tokenizer", added)


def test_other_kinds_of_sentencepiece_are_refused(tmp_path: Path) -> None:
    chat_reference.write_tokenizer(tmp_path)
    proto = sentencepiece._proto((tmp_path / "tokenizer.model").read_bytes())
    proto.trainer_spec.model_type = 1
    (tmp_path / "tokenizer.model").write_bytes(proto.SerializeToString())
    with raises_code(UsageError, "export.tokenizer_kind"):
        sentencepiece.to_tokenizer_json(tmp_path)
    (tmp_path / "tokenizer.model").write_bytes(b"\xff" * 20)
    with raises_code(UsageError, "export.tokenizer_model_unreadable"):
        sentencepiece.to_tokenizer_json(tmp_path)
