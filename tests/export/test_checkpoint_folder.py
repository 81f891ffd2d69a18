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


@pytest.mark.parametrize("missing", ["prompts.json", "training.json", "tokenizer.json", "model.safetensors"])
def test_an_incomplete_checkpoint_is_named(checkpoint_folder: Path, tmp_path: Path, missing: str) -> None:
    for path in checkpoint_folder.iterdir():
        if path.name != missing:
            (tmp_path / path.name).symlink_to(path)
    with pytest.raises(UsageError, match=missing.replace("model.", r"\*.")):
        checkpoint.load(tmp_path)


@pytest.mark.parametrize("change", ["missing", "unexpected", "truncated"])
def test_weights_that_do_not_fit_are_refused(checkpoint_folder: Path, tmp_path: Path, change: str) -> None:
    from safetensors.torch import load_file, save_file

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


def test_a_missing_file_of_weights_is_named(checkpoint_folder: Path, tmp_path: Path) -> None:
    for path in checkpoint_folder.iterdir():
        (tmp_path / path.name).symlink_to(path)
    there, absent = "model.safetensors", [f"model-0000{i}-of-00003.safetensors" for i in (2, 3)]
    index = {"weight_map": {"a": there, "b": absent[1], "c": absent[0], "d": absent[0]}}
    (tmp_path / checkpoint.INDEX).write_text(json.dumps(index), encoding="utf-8")
    with pytest.raises(UsageError, match=f"lacks 2 of its files of weights, '{absent[0]}' first"):
        checkpoint.load(tmp_path)


@pytest.fixture
def copied(checkpoint_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(checkpoint_folder, tmp_path / "copied"))


def change(path: Path, **values: object) -> None:
    data = json.loads(path.read_text(encoding="utf-8")) | values
    path.write_text(json.dumps({key: value for key, value in data.items() if value is not None}), encoding="utf-8")


@pytest.mark.parametrize(
    ("file", "values", "message"),
    [
        ("config.json", {"text_config": None}, "lacks 'text_config'"),
        ("config.json", {"vision_config": "InternViT"}, "lacks 'vision_config'"),
        ("config.json", {"quantization_config": {"quant_method": "awq"}}, "quantised already"),
        ("config.json", {"model_type": "qwen2_vl", "text_config": None}, "of type 'qwen2_vl'"),
        ("generation_config.json", {"eos_token_id": "<|im_end|>"}, "numbers of tokens"),
    ],
)
def test_configs_that_are_refused(copied: Path, file: str, values: dict, message: str) -> None:
    change(copied / file, **values)
    with pytest.raises(UsageError, match=message):
        checkpoint.load(copied)


def test_a_tokenizer_without_the_markers_of_boxes_is_refused(copied: Path) -> None:
    text = (copied / "tokenizer.json").read_text(encoding="utf-8")
    (copied / "tokenizer.json").write_text(text.replace('"<box>"', '"<bax>"'), encoding="utf-8")
    with pytest.raises(UsageError, match="no token '<box>'"):
        checkpoint.load(copied)
    (copied / "tokenizer.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="cannot be read"):
        checkpoint.load(copied)


def test_an_adapter_is_no_checkpoint(tmp_path: Path) -> None:
    (tmp_path / "adapter_config.json").write_text("{}", encoding="utf-8")
    with pytest.raises(UsageError, match="name its base"):
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
