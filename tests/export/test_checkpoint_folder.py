"""A checkpoint folder that lacks something, or holds what does not fit: refused in a sentence that names it."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers"):
    pytest.importorskip(name)

from conftest import original_model

from medrega_edge.errors import UsageError
from medrega_export.checkpoint import checkpoint
from tests.codes import raises_code


@pytest.mark.parametrize(
    ("missing", "code", "params"),
    [
        ("prompts.json", "export.metadata_missing", {"missing": "prompts.json", "present": "training.json"}),
        ("training.json", "export.metadata_missing", {"missing": "training.json", "present": "prompts.json"}),
        ("tokenizer.json", "export.no_tokenizer", {}),
        ("model.safetensors", "export.no_weights", {}),
    ],
)
def test_an_incomplete_checkpoint_is_named(
    checkpoint_folder: Path, tmp_path: Path, missing: str, code: str, params: dict
) -> None:
    for path in checkpoint_folder.iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    with raises_code(UsageError, code, checkpoint=tmp_path.name, **params):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("change", ["missing", "unknown", "reshaped", "truncated"])
def test_weights_that_do_not_fit_are_refused(checkpoint_folder: Path, tmp_path: Path, change: str) -> None:
    from safetensors.torch import load_file, save_file

    for path in checkpoint_folder.iterdir():
        if path.name != "model.safetensors":
            (tmp_path / path.name).symlink_to(path)
    stored = load_file(checkpoint_folder / "model.safetensors")
    if change == "missing":
        stored.pop(next(name for name in stored if name.endswith("mlp.up_proj.weight")))
    if change == "unknown":
        stored["another.weight"] = stored["language_model.lm_head.weight"].clone()
    if change == "reshaped":
        stored["language_model.lm_head.weight"] = stored["language_model.lm_head.weight"][:, :8].clone()
    save_file(stored, tmp_path / "model.safetensors", metadata={"format": "pt"})
    if change == "truncated":
        data = (tmp_path / "model.safetensors").read_bytes()
        (tmp_path / "model.safetensors").write_bytes(data[: len(data) // 2])
    with pytest.raises(UsageError) as refused:
        checkpoint.load(tmp_path)
    if change == "truncated":
        assert refused.value.code == "export.weights_unreadable"
        assert refused.value.message.params["file"] == "model.safetensors"
    else:
        assert refused.value.code == "export.weights_do_not_fit"
        assert refused.value.message.params["mismatch"].code == f"export.weights_{change}"
        assert refused.value.message.params["mismatch"].params["count"] == 1


@pytest.fixture
def copied(checkpoint_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "copied"))


def change(path: Path, **values: object) -> None:
    data = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "values", "code", "params"),
    [
        ("config.json", {"text_config": None}, "export.config_key_missing", {"key": "text_config"}),
        ("config.json", {"vision_config": "InternViT"}, "export.config_key_missing", {"key": "vision_config"}),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}, "export.already_quantised", {}),
        (
            "config.json",
            {"model_type": "qwen2_vl", "text_config": None},
            "export.type_unsupported",
            {"type": "qwen2_vl", "supported": ("internvl", "internvl_chat")},
        ),
        (
            "generation_config.json",
            {"eos_token_id": "<|im_end|>"},
            "export.end_token_invalid",
            {"value": "'<|im_end|>'"},
        ),
    ],
)
def test_configs_that_are_refused(copied: Path, file: str, values: dict, code: str, params: dict) -> None:
    change(copied / file, **values)
    with raises_code(UsageError, code, **params):
        checkpoint.load(copied)


def test_a_tokenizer_without_the_markers_of_boxes_is_refused(copied: Path) -> None:
    text = (copied / "tokenizer.json").read_text(encoding="utf-8")
    (copied / "tokenizer.json").write_text(text.replace('"<box>"', '"<bax>"'), encoding="utf-8")
    with raises_code(UsageError, "export.token_missing", token="<box>"):
        checkpoint.load(copied)
    (copied / "tokenizer.json").write_text("{}", encoding="utf-8")
    with raises_code(UsageError, "export.tokenizer_unreadable"):
        checkpoint.load(copied)


def test_an_adapter_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with raises_code(UsageError, "export.adapter_without_base", folder=tmp_path.name):
        checkpoint.load(tmp_path)


def test_a_head_that_lies_there_counts_whatever_the_config_says_of_tying(copied: Path) -> None:
    """As transformers has it: what is stored with values of its own is not tied, and one of the two may be left out."""
    import torch
    from safetensors.torch import load_file, save_file

    change(copied / "config.json", tie_word_embeddings=True)
    loaded = checkpoint.load(copied)
    assert not loaded.tied
    assert torch.equal(loaded.weights["lm_head.weight"].read(), original_model(copied).lm_head.weight)
    stored = load_file(copied / "model.safetensors")
    for left_out in ("embed_tokens.weight", "lm_head.weight"):
        some = {name: value for name, value in stored.items() if not name.endswith(left_out)}
        save_file(some, copied / "model.safetensors", metadata={"format": "pt"})
        assert checkpoint.load(copied).tied
