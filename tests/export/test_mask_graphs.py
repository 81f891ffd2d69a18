"""The graphs of the mask head: against the torch modules, with random weights, in float32 and int8."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

pytestmark = [pytest.mark.export, pytest.mark.slow]
for name in ("torch", "safetensors", "onnx"):
    pytest.importorskip(name)

import torch
from safetensors.torch import save_file

from medrega_edge.errors import UsageError
from medrega_edge.inference.graph_validation import check_graph
from medrega_export.checkpoint import mask_head
from medrega_export.checkpoint.checkpoint import find_mask_head
from medrega_export.finalise import mask_card
from medrega_export.graphs import mask_graphs, reference_decoder, vision
from medrega_train.lite_medsam import LiteMedSam
from tests.codes import raises_code

BOX = np.array([[30.0, 40.0, 150.0, 170.0]], np.float32)


@pytest.fixture(scope="module")
def model() -> LiteMedSam:
    """Random weights that float16 holds exactly."""
    torch.manual_seed(0)
    model = LiteMedSam().eval()
    with torch.no_grad():
        for parameter in (*model.parameters(), *model.buffers()):
            if parameter.is_floating_point():
                parameter += 0.05 * torch.randn(parameter.shape)
                parameter.copy_(parameter.half().float())
    return model


@pytest.fixture(scope="module")
def folder(model: LiteMedSam, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    halves = {name: value.half().contiguous() for name, value in model.state_dict().items()}
    save_file(halves, folder / mask_head.FILE, {mask_head.CALIBRATION: "[1.5, -0.25]", mask_head.WRONG: '["ring"]'})
    return folder


@torch.no_grad()
def test_the_graphs_compute_what_the_modules_do(model: LiteMedSam, folder: Path, tmp_path: Path) -> None:
    read = vision.reader(find_mask_head(folder))
    pixels = torch.rand(1, 3, mask_head.SIDE, mask_head.SIDE)
    pixels[..., 200:] = 0
    encoded = model.encoder(pixels)
    logits, quality = (value.numpy() for value in model.decoder(encoded, torch.from_numpy(BOX)))
    tokens = encoded.flatten(2).transpose(1, 2).numpy()
    for is_rounded, limit in ((False, 1e-4), (True, 0.15)):
        paths = [tmp_path / f"{role}{is_rounded}.onnx" for role in ("encoder", "decoder")]
        mask_graphs.write_mask_encoder(read, paths[0], is_rounded)
        mask_graphs.write_mask_decoder(read, paths[1], is_rounded)
        for path in paths:
            check_graph(path.read_bytes(), path.stem)
        encoder, decoder = (reference_decoder.session(path, 1) for path in paths)
        (seen,) = encoder.run([mask_graphs.EMBEDDING], {"pixel_values": pixels.numpy()})
        assert vision.relative_error(seen, tokens) < limit
        inputs = {mask_graphs.EMBEDDING: tokens, mask_graphs.BOX: BOX}
        given, told = decoder.run([mask_graphs.LOGITS, mask_graphs.QUALITY], inputs)
        assert vision.relative_error(given, logits) < limit
        assert told.item() == pytest.approx(quality.item(), abs=limit)


def test_the_card_tells_a_tuned_decoder_from_the_published_one() -> None:
    assert "not trained further" in mask_card(mask_head.MaskFacts())
    assert "the masks of 800 images" in mask_card(mask_head.MaskFacts(tuned_on=800))


def test_a_file_of_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    assert mask_head.read_facts(folder / mask_head.FILE) == mask_head.MaskFacts((1.5, -0.25), ("ring",))
    assert find_mask_head(tmp_path) == {}
    save_file({"decoder.tokens": torch.zeros(5, 256)}, tmp_path / mask_head.FILE)
    with raises_code(UsageError, "export.mask_head_does_not_fit"):
        find_mask_head(tmp_path)
