"""The graph of the mask head: against the torch module, with random weights."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

from pathlib import Path

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
from medrega_export.graphs import mask_graph, reference_decoder, vision
from medrega_train import mask_network
from medrega_train.mask_network import MaskNetwork
from tests.codes import raises_code


@pytest.fixture(scope="module")
def network() -> MaskNetwork:
    """Random weights, statistics of the norms among them."""
    torch.manual_seed(0)
    network = MaskNetwork().eval()
    with torch.no_grad():
        for name, value in network.state_dict().items():
            if name.endswith(("running_mean", "mean")):
                value += 0.1 * torch.randn(value.shape)
            elif name.endswith(("running_var", "variance")):
                value *= 1 + torch.rand(value.shape)
    return network


@pytest.fixture(scope="module")
def folder(network: MaskNetwork, tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("masks")
    halves = {name: value.half().contiguous() for name, value in network.folded().items()}
    stated = {mask_head.CALIBRATION: "[1.5, -0.25]", mask_head.WRONG: '["ring"]', mask_head.TRAINED_ON: "800"}
    save_file(halves, folder / mask_head.FILE, stated)
    return folder


def test_the_sizes_of_training_and_export_are_the_same() -> None:
    for name in ("SIDE", "PLACES", "MARGIN", "WIDTHS", "KERNEL"):
        assert getattr(mask_head, name) == getattr(mask_network, name), name


@torch.no_grad()
def test_the_graph_computes_what_the_network_does(network: MaskNetwork, folder: Path, tmp_path: Path) -> None:
    pixels, path = torch.rand(3, 3, mask_head.SIDE, mask_head.SIDE), tmp_path / "mask_head.onnx"
    mask_graph.write_mask_head(vision.reader(find_mask_head(folder)), path)
    check_graph(path.read_bytes(), path.stem)
    (given,) = reference_decoder.session(path, 1).run([mask_graph.LOGITS], {"pixel_values": pixels.numpy()})
    assert given.shape == (3, mask_head.PLACES, mask_head.PLACES)
    assert vision.relative_error(given, network(pixels * 255).numpy()) < 0.01  # the weights are float16


def test_the_card_tells_how_many_images_it_was_trained_on() -> None:
    assert "the true masks of 800 images" in mask_card(mask_head.MaskFacts(trained_on=800))


def test_a_file_of_other_weights_is_refused(folder: Path, tmp_path: Path) -> None:
    assert mask_head.read_facts(folder / mask_head.FILE) == mask_head.MaskFacts((1.5, -0.25), ("ring",), 800)
    assert find_mask_head(tmp_path) == {}
    save_file({"tower.stem.weight": torch.zeros(5, 256)}, tmp_path / mask_head.FILE)
    with raises_code(UsageError, "export.mask_head_does_not_fit"):
        find_mask_head(tmp_path)
