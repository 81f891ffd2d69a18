"""A checkpoint folder that lacks something, or holds what does not fit: refused in a sentence that names it."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
from pathlib import Path

import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers"):
    pytest.importorskip(name)

from medrega_edge.errors import UsageError  # noqa: E402
from medrega_export import checkpoint  # noqa: E402


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
