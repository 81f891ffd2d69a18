"""The preflight: what it tells of a checkpoint, that it names everything at once, and that it reads no weights."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "onnx", "sentencepiece"):
    pytest.importorskip(name)

import chat_reference
from typer.testing import CliRunner

from medrega_edge.errors import UsageError
from medrega_export import ExportOptions, preflight
from medrega_export.preflight import inspect
from medrega_export.quantisation import recipe
from medrega_export.quantisation.recipe import Recipe


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "chat"
    chat_reference.write_checkpoint(folder)
    return folder


@pytest.fixture
def copied(chat: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(chat, tmp_path / "chat"))


def change(folder: Path, name: str = "config.json", **values: object) -> None:
    data = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(data | values), encoding="utf-8")


def test_it_tells_what_a_checkpoint_is(chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(safetensors.torch, "load_file", refuse)
    found = inspect(ExportOptions(chat, tmp_path / "package"))
    facts = dict(found.facts)
    assert found.problems == [] and found.shortages == []
    assert facts["layout"].startswith("internvl_chat") and facts["tokenizer"] == "431 tokens"
    assert facts["tower"] == "3 layers of 64, 56 px -> 4 tokens, pixel shuffle v1"
    assert facts["language model"] == "llama, 2 layers of 64, 436 tokens"
    assert facts["stored as"] == "F32"
    assert "cpu" in facts["package"] and len(found.warnings) == 1


def test_a_native_checkpoint_passes(checkpoint_folder: Path, tmp_path: Path) -> None:
    found = inspect(ExportOptions(checkpoint_folder, tmp_path / "package"))
    assert found.problems == [] and found.warnings == []
    assert dict(found.facts)["language model"].startswith("qwen2")


def test_the_group_size_is_chosen_and_the_reason_told(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def groups(**asked: bool) -> str | None:
        return dict(inspect(ExportOptions(checkpoint_folder, tmp_path / "package", **asked)).facts).get("groups")

    assert groups() is None  # nothing was chosen
    assert "of 32: " in groups(auto_group_size=True) and "cache" in groups(auto_group_size=True)
    monkeypatch.setattr(recipe, "CACHED_BYTES", 0)
    assert "of 32: " in groups(auto_group_size=True) and "has rows of 64" in groups(auto_group_size=True)


def test_a_larger_model_of_the_same_kind_gets_larger_groups() -> None:
    from transformers import LlamaConfig

    from medrega_export.graphs.text_model import auto_group_size

    sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    group, reason = auto_group_size(Recipe(head_bits=4), LlamaConfig(**sizes, num_key_value_heads=8, head_dim=64))
    assert group == 128 and reason.startswith("487 MB")  # of 0.97 billion weights in layers


def test_everything_that_is_wrong_is_named_at_once(copied: Path, tmp_path: Path) -> None:
    change(copied, ps_version="v9")
    change(copied, "added_tokens.json", **{"<unused>": 431})
    tokens = json.loads((copied / "added_tokens.json").read_text(encoding="utf-8"))
    tokens["<other>"] = tokens.pop("<box>")
    (copied / "added_tokens.json").write_text(json.dumps(tokens), encoding="utf-8")
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    change(copied, llm_config=config["llm_config"] | {"num_hidden_layers": 3, "intermediate_size": 120})
    problems = "\n".join(inspect(ExportOptions(copied, tmp_path / "package")).problems)
    for reason in (
        "ps_version",
        "'<box>'",
        "missing 'layers.2.",
        "mismatched 'layers.0.mlp.down_proj.weight'",
        "groups of 32",
    ):
        assert reason in problems, reason


def test_a_damaged_file_is_named(copied: Path, tmp_path: Path) -> None:
    path = copied / "model.safetensors"
    whole = path.read_bytes()
    for data in (whole[:-4], whole[:100], b"\xff" * 64):
        path.write_bytes(data)
        (problem,) = inspect(ExportOptions(copied, tmp_path / "package")).problems
        assert "'model.safetensors' cannot be loaded" in problem


def test_what_is_short_is_told(chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "memory_free", lambda: 1000)
    (shortage,) = inspect(ExportOptions(chat, tmp_path / "package")).shortages
    assert shortage.startswith("memory needs about")


def test_optional_outputs_count(chat: Path, tmp_path: Path) -> None:
    def facts(**outputs: Path) -> dict[str, str]:
        return dict(inspect(ExportOptions(chat, tmp_path / "package", **outputs)).facts)

    certified = facts(certify=tmp_path / "questions.jsonl")
    assert "with --certify" in facts() and "with --certify" not in certified
    assert "certificate" in certified["memory"] and "--certify" in certified["disk"]


MEDREGA = {
    "model_type": "internvl_chat",
    "downsample_ratio": 0.5,
    "force_image_size": 448,
    "ps_version": "v1",
    "select_layer": -1,
    "template": "Hermes-2",
    "vision_config": {
        "hidden_size": 3200,
        "num_attention_heads": 25,
        "num_hidden_layers": 45,
        "intermediate_size": 12_800,
        "image_size": 448,
        "patch_size": 14,
        "qk_normalization": True,
        "layer_norm_eps": 1e-6,
    },
    "llm_config": {
        "architectures": ["LlamaForCausalLM"],
        "vocab_size": 64_000,
        "hidden_size": 7168,
        "intermediate_size": 20_480,
        "num_hidden_layers": 60,
        "num_attention_heads": 56,
        "num_key_value_heads": 8,
        "rope_theta": 5e6,
        "rms_norm_eps": 1e-5,
        "max_position_embeddings": 4096,
    },
}


def test_a_config_alone_tells_what_its_model_would_need(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before 80 GB are fetched: the figures of MedRegA's shapes are those that docs/export.md shows."""
    (tmp_path / "MedRegA").mkdir()
    (tmp_path / "MedRegA" / "config.json").write_text(json.dumps(MEDREGA), encoding="utf-8")
    for free in ("memory_free", "disk_free"):
        monkeypatch.setattr(preflight, free, lambda *_: None)
    document = (Path(__file__).parents[2] / "docs" / "export.md").read_text(encoding="utf-8")
    found = inspect(
        ExportOptions(tmp_path / "MedRegA", tmp_path / "package", certify=tmp_path / "c.jsonl", auto_group_size=True)
    )
    for name in ("layout", "groups", "tower", "language model", "weights", "memory", "disk", "with --keep-checkpoint"):
        assert f"{name:16} {dict(found.facts)[name]}\n" in document
    assert [problem.split(";")[0] for problem in found.problems] == [
        "The checkpoint 'MedRegA' has no tokenizer.json and no tokenizer.model",
        "The checkpoint 'MedRegA' has no *.safetensors",
    ]


def test_nothing_to_look_at_is_an_error(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"config\.json"):
        inspect(ExportOptions(tmp_path, tmp_path / "package"))


def test_the_command(copied: Path) -> None:
    from medrega_edge.cli.main import app
    from medrega_export.cli import mount

    if not any(command.name == "export" for command in app.registered_commands):
        mount(app)
    run = CliRunner().invoke
    good = run(app, ["export", str(copied), "--check"])
    assert good.exit_code == 0 and "pixel shuffle v1" in good.stdout and "warning" in good.stdout
    assert "groups           of 32: " in good.stdout
    assert "groups " not in run(app, ["export", str(copied), "--check", "--group-size", "64"]).stdout
    wrong = run(app, ["export", str(copied), "--check", "--group-size", "small"]).exception
    assert isinstance(wrong, UsageError) and "32, 64, 128 or auto" in str(wrong)
    assert isinstance(run(app, ["export", str(copied)]).exception, UsageError)  # neither --check nor --out
    change(copied, ps_version="v9")
    bad = run(app, ["export", str(copied), "--check", "--prompts", "a.jsonl", "b.json"])
    assert isinstance(bad.exception, UsageError) and "unsupported      The checkpoint's ps_version" in bad.stdout
    assert "a.jsonl" in bad.stdout
