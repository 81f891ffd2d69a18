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
import typer
from typer.testing import CliRunner

from medrega_edge.cli.console import set_user_language
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_export import ExportOptions, preflight
from medrega_export.preflight import Preflight, inspect
from medrega_export.quantisation import recipe
from medrega_export.quantisation.recipe import Recipe
from tests.codes import raises_code


@pytest.fixture(scope="module")
def chat(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("chat") / "chat"
    chat_reference.write_checkpoint(folder)
    return folder


@pytest.fixture
def copied(chat: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(chat, tmp_path / "chat"))


def facts_of(report: Preflight) -> dict[str, Message | str]:
    """The facts by their codes, without "export.fact_"."""
    return {name.code.removeprefix("export.fact_"): value for name, value in report.facts}


def change(folder: Path, name: str = "config.json", **values: object) -> None:
    data = json.loads((folder / name).read_text(encoding="utf-8"))
    (folder / name).write_text(json.dumps(data | values), encoding="utf-8")


def test_it_tells_what_a_checkpoint_is(chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    import safetensors.torch

    def refuse(*_: object, **__: object) -> None:
        raise AssertionError("weights were read")

    monkeypatch.setattr(safetensors.torch, "load_file", refuse)
    found = inspect(ExportOptions(chat, tmp_path / "package"))
    facts = facts_of(found)
    assert found.problems == [] and found.shortages == []
    assert facts["layout"] == Message("export.layout_chat")
    assert facts["tokenizer"] == Message("export.tokenizer_size", count=431)
    assert str(facts["tower"]) == "3 layers of 64, 56 px -> 4 tokens, pixel shuffle v1"
    assert str(facts["language_model"]) == "llama, 2 layers of 64, 436 tokens"
    assert facts["number_type"] == "F32"
    assert facts["package"].code in ("export.runs_on_cpu", "export.runs_on_cuda")
    assert found.warnings == [Message("export.prompts_not_given")]


def test_a_native_checkpoint_passes(checkpoint_folder: Path, tmp_path: Path) -> None:
    found = inspect(ExportOptions(checkpoint_folder, tmp_path / "package"))
    assert found.problems == [] and found.warnings == []
    assert facts_of(found)["language_model"].params["type"] == "qwen2"


def test_the_group_size_is_chosen_and_the_reason_told(
    checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def groups(**options: bool) -> Message | None:
        return facts_of(inspect(ExportOptions(checkpoint_folder, tmp_path / "package", **options))).get("groups")

    assert groups() is None  # nothing was chosen
    small = groups(auto_group_size=True)
    assert (small.params["group"], small.params["reason"].code) == (32, "export.group_in_cache")
    monkeypatch.setattr(recipe, "CACHED_BYTES", 0)
    uneven = groups(auto_group_size=True)
    assert (uneven.params["group"], uneven.params["reason"].code) == (32, "export.group_indivisible")
    assert uneven.params["reason"].params["width"] == 64


def test_a_larger_model_of_the_same_kind_gets_larger_groups() -> None:
    from transformers import LlamaConfig

    from medrega_export.graphs.text_model import auto_group_size

    sizes = {"hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 16, "num_attention_heads": 32}
    group, reason = auto_group_size(Recipe(head_bits=4), LlamaConfig(**sizes, num_key_value_heads=8, head_dim=64))
    assert group == 128 and str(reason).startswith("487 MB")  # of 0.97 billion weights in layers


def test_everything_that_is_wrong_is_named_at_once(copied: Path, tmp_path: Path) -> None:
    change(copied, ps_version="v9")
    change(copied, "added_tokens.json", **{"<unused>": 431})
    tokens = json.loads((copied / "added_tokens.json").read_text(encoding="utf-8"))
    tokens["<other>"] = tokens.pop("<box>")
    (copied / "added_tokens.json").write_text(json.dumps(tokens), encoding="utf-8")
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    change(copied, llm_config=config["llm_config"] | {"num_hidden_layers": 3, "intermediate_size": 120})
    problems = inspect(ExportOptions(copied, tmp_path / "package")).problems
    by_code = {problem.code: problem.params for problem in problems}
    assert list(by_code) == [
        "export.pixel_shuffle_unknown",
        "export.token_missing",
        "export.layer_indivisible",
        "export.weights_do_not_fit",
    ]
    assert by_code["export.token_missing"]["token"] == "<box>"
    missing, reshaped = (problem.params["mismatch"] for problem in problems if "mismatch" in problem.params)
    assert missing.code == "export.weights_missing" and missing.params["first"].startswith("layers.2.")
    assert (reshaped.code, reshaped.params["first"]) == ("export.weights_reshaped", "layers.0.mlp.down_proj.weight")


def test_a_damaged_file_is_named(copied: Path, tmp_path: Path) -> None:
    path = copied / "model.safetensors"
    whole = path.read_bytes()
    for data in (whole[:-4], whole[:100], b"\xff" * 64):
        path.write_bytes(data)
        (problem,) = inspect(ExportOptions(copied, tmp_path / "package")).problems
        assert (problem.code, problem.params["file"]) == ("export.weights_unreadable", "model.safetensors")


def test_what_is_short_is_told(chat: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(preflight, "memory_free", lambda: 1000)
    (shortage,) = inspect(ExportOptions(chat, tmp_path / "package")).shortages
    assert (shortage.code, shortage.params["free"]) == ("export.memory_short", 1e-6)


def test_optional_outputs_count(chat: Path, tmp_path: Path) -> None:
    def inspected(**outputs: Path) -> tuple[list[str], dict[str, Message | str]]:
        """The options that would need more disk, and the facts."""
        report = inspect(ExportOptions(chat, tmp_path / "package", **outputs))
        options = [name.params["option"] for name, _ in report.facts if name.code == "export.fact_with_option"]
        return options, facts_of(report)

    assert inspected()[0] == ["--certify", "--keep-checkpoint"]
    options, facts = inspected(certify=tmp_path / "questions.jsonl")
    assert options == ["--keep-checkpoint"]
    assert "certificate" in str(facts["memory"]) and "--certify" in str(facts["disk"])


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
    lines = {str(name): f"{name!s:16} {value}\n" for name, value in found.facts}
    for name in ("layout", "groups", "tower", "language model", "weights", "memory", "disk", "with --keep-checkpoint"):
        assert lines[name] in document
    assert [problem.code for problem in found.problems] == ["export.no_tokenizer", "export.no_weights"]


def test_nothing_to_look_at_is_an_error(tmp_path: Path) -> None:
    with raises_code(UsageError, "export.no_config", checkpoint=tmp_path.name):
        inspect(ExportOptions(tmp_path, tmp_path / "package"))


def test_the_command(copied: Path) -> None:
    from medrega_export.cli import mount

    app = typer.Typer()
    app.callback()(lambda: None)  # with one command alone it would have no name
    mount(app)
    run = CliRunner().invoke
    good = run(app, ["export", str(copied), "--check"])
    assert good.exit_code == 0 and "pixel shuffle v1" in good.stdout and "warning" in good.stdout
    assert "groups           of 32: " in good.stdout
    assert "groups " not in run(app, ["export", str(copied), "--check", "--group-size", "64"]).stdout
    assert run(app, ["export", str(copied), "--check", "--group-size", "small"]).exit_code == UsageError.exit_code
    assert run(app, ["export", str(copied)]).exception.code == "export.no_target"  # neither --check nor --out
    set_user_language(Language.ZH)
    shown = run(app, ["export", str(copied), "--check"]).stdout
    set_user_language(Language.EN)
    assert shown.startswith("格式             internvl_chat，原始格式\n") and "像素重排" in shown
    change(copied, ps_version="v9")
    bad = run(app, ["export", str(copied), "--check", "--prompts", "a.jsonl", "b.json"])
    assert bad.exception.code == "export.cannot_be_exported"
    assert "unsupported      The ps_version of the checkpoint is 'v9'" in bad.stdout and "a.jsonl" in bad.stdout
