"""A checkpoint of pixel shuffle v1 in the standard layout: refused as it is, right with the lines of its README."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import re
from pathlib import Path

import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "gptqmodel", "optimum", "onnx", "sentencepiece"):
    pytest.importorskip(name)

import chat_reference
import torch
from transformers import AutoModelForImageTextToText

from medrega_export import ExportOptions, export
from medrega_export.checkpoint.checkpoint import load
from medrega_export.graphs import vision


@pytest.mark.filterwarnings("ignore:`is_gradient_checkpointing`:FutureWarning")  # transformers' own use of an old name
def test_images_are_not_mirrored_unawares(questions_file: Path, tmp_path: Path) -> None:
    chat_reference.write_checkpoint(tmp_path / "chat")
    kept = tmp_path / "gptq"
    export(ExportOptions(tmp_path / "chat", tmp_path / "p", questions_file, calibration_items=2, keep_checkpoint=kept))
    with pytest.raises(ValueError, match="internvl_ps_v1"):
        AutoModelForImageTextToText.from_pretrained(kept)
    (code,) = re.findall(r"```python\n(.*?)```", (kept / "README.md").read_text(encoding="utf-8"), re.DOTALL)
    names = {"folder": kept}
    checkpoint = load(tmp_path / "chat")
    side = checkpoint.image_size
    pixels = torch.randn(1, 3, side, side, generator=torch.Generator().manual_seed(0))
    (truth,) = vision.run_torch(checkpoint, list(pixels.numpy()))

    def error() -> float:
        model = names["model"]
        with torch.no_grad():
            given = model.model.get_image_features(pixels.to(model.dtype), return_dict=True).pooler_output
        return float((given.float().reshape(truth.shape) - truth).abs().max() / truth.abs().max())

    before, after = code.split("project =")
    exec(before, names)
    assert error() > 0.1  # what the note is there for
    exec(f"project ={after}", names)
    assert error() < 0.02  # in 16 bits
    head = checkpoint.weights["lm_head.weight"].read()
    assert torch.allclose(names["model"].lm_head.weight.float(), head, rtol=0.01)  # and every weight has arrived
