"""EfficientNet-Lite tower and region head as graphs: against the modules that train them, in every precision."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "onnx"):
    pytest.importorskip(name)

import torch
from conftest import original_model
from safetensors.torch import load_file, save_file

from medrega_edge.errors import UsageError
from medrega_edge.inference.devices import load_onnxruntime
from medrega_edge.inference.graph_validation import check_graph
from medrega_export.checkpoint import checkpoint
from medrega_export.checkpoint.efficientnet_lite import EfficientNetLite
from medrega_export.graphs import efficientnet_graph, reference_decoder, vision
from medrega_export.quantisation.recipe import FULL, Recipe
from medrega_train import efficientnet_lite as trained
from medrega_train.region_head import RegionHead
from tests.codes import raises_code

HEAD = "region_head.safetensors"
QUERIES = 3


@pytest.fixture(scope="module")
def pixels() -> np.ndarray:
    return np.random.default_rng(0).standard_normal((3, 3, 64, 64)).astype(np.float32)


@pytest.fixture
def copied(lite_folder: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(lite_folder, tmp_path / "copied"))


def original_head(folder: Path) -> RegionHead:
    state = {name: value for name, value in load_file(folder / HEAD).items() if not name.startswith("pooled_region.")}
    head = RegionHead(trained.EfficientNetLite("lite0").widths, state["query.0.weight"].shape[0], 32, 16)
    head.load_state_dict(state)
    return head.eval()


def original_maps(folder: Path, pixels: np.ndarray):
    tower = trained.EfficientNetLite("lite0")
    state = original_model(folder).model.vision_tower.state_dict()
    tower.load_state_dict(state)
    with torch.no_grad():
        return tower.eval()(torch.from_numpy(pixels))


@pytest.mark.parametrize("variant", ["lite0", "lite1", "lite2"])
def test_export_knows_every_tower_that_is_trained(variant: str) -> None:
    tower, module = EfficientNetLite(variant, 384, 16), trained.EfficientNetLite(variant)
    assert tower.weight_shapes == {name: tuple(value.shape) for name, value in module.state_dict().items()}
    assert tower.widths == module.widths


def test_the_stage_is_that_of_transformers(lite_folder: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    loaded = checkpoint.load(lite_folder)
    with torch.no_grad():
        model = original_model(lite_folder).model
        truth = model.get_image_features(torch.from_numpy(pixels), return_dict=True).pooler_output.numpy()
    assert truth.shape[1] == loaded.image_tokens == 4
    assert vision.relative_error(np.stack([x.numpy() for x in vision.run_exact(loaded, pixels)]), truth) < 1e-5
    vision.write(loaded, tmp_path / "v.onnx", FULL)
    (batch,) = reference_decoder.session(tmp_path / "v.onnx").run(["image_embeds"], {"pixel_values": pixels})
    assert vision.relative_error(batch, truth) < 1e-5


def test_the_region_head_is_that_of_training(lite_folder: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    """What the image gives and what a query asks of it, each in its graph."""
    loaded, head = checkpoint.load(lite_folder), original_head(lite_folder)
    queries = torch.randn(1, QUERIES, head.query[0].normalized_shape[0], generator=torch.Generator().manual_seed(1))
    with torch.no_grad():
        places, fine = head.read(original_maps(lite_folder, pixels))
        truth = head.answer(places[:1], fine[:1], queries)
    vision.write(loaded, tmp_path / "v.onnx", FULL)
    seen = vision.run_outputs(tmp_path / "v.onnx", pixels)
    assert vision.relative_error(np.stack(seen["region_places"]), places) < 1e-4
    assert vision.relative_error(np.stack(seen["region_fine"]), fine) < 1e-4
    pooled = load_file(lite_folder / HEAD)
    tokens = places @ pooled["pooled_region.weight"].T + pooled["pooled_region.bias"]
    assert vision.relative_error(np.stack(seen["region_tokens"]), tokens.detach()) < 1e-4
    vision.write_region_head(loaded, tmp_path / "h.onnx")
    inputs = {"query": queries.numpy(), "region_places": places[:1].numpy(), "region_fine": fine[:1].numpy()}
    session = reference_decoder.session(tmp_path / "h.onnx")
    given = dict(zip((x.name for x in session.get_outputs()), session.run(None, inputs), strict=True))
    wanted = {
        "edges": truth.edges.softmax(-1),
        "presence": truth.presence.sigmoid(),
        "centres": truth.centres.sigmoid(),
        "distances": truth.distances,
    }
    assert {name: value.shape for name, value in given.items()} == {name: value.shape for name, value in wanted.items()}
    for name, value in wanted.items():
        assert vision.relative_error(given[name], value) < 1e-4, name


def test_large_scores_stay_numbers(lite_folder: Path, tmp_path: Path) -> None:
    loaded, head = checkpoint.load(lite_folder), original_head(lite_folder)
    vision.write_region_head(loaded, tmp_path / "h.onnx")
    inputs = {
        "query": np.ones((1, 1, head.query[0].normalized_shape[0]), np.float32),
        "region_places": np.ones((1, 16, 32), np.float32),
        "region_fine": np.random.default_rng(0).standard_normal((1, 16, 8, 8)).astype(np.float32) * 1e4,
    }
    edges, _, centres, distances = reference_decoder.session(tmp_path / "h.onnx").run(None, inputs)
    assert np.allclose(edges.sum(-1), 1, atol=1e-5)
    assert np.isfinite(centres).all()
    assert 0.1 * np.exp(-4) * 0.999 <= distances.min() and distances.max() <= 0.1 * np.exp(3) * 1.001


@pytest.mark.parametrize(("tower", "least", "most"), [("fp16", 1e-5, 0.01), ("int8", 1e-3, 0.3)])
def test_each_precision_counts(
    tower: str, least: float, most: float, lite_folder: Path, pixels: np.ndarray, tmp_path: Path
) -> None:
    loaded = checkpoint.load(lite_folder)
    vision.write(loaded, tmp_path / "v.onnx", Recipe(tower=tower), pixels)
    check_graph((tmp_path / "v.onnx").read_bytes(), "vision")
    exact = vision.exact_outputs(loaded, pixels)
    for name, values in vision.run_outputs(tmp_path / "v.onnx", pixels).items():
        assert least < vision.relative_error(np.stack(values), np.stack(exact[name])) < most, name
    assert [path.name for path in tmp_path.iterdir()] == ["v.onnx"]


def test_all_images_count_and_their_order_does_not(lite_folder: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    loaded = checkpoint.load(lite_folder)
    written = []
    for images in (pixels * [[[[1]]], [[[2]]], [[[3]]]], pixels[::-1] * [[[[3]]], [[[2]]], [[[1]]]]):
        vision.write(loaded, tmp_path / "v.onnx", Recipe(), images.astype(np.float32))
        written.append((tmp_path / "v.onnx").read_bytes())
    assert written[0] == written[1]


def test_int8_weights_keep_to_seven_bits(lite_folder: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    """Two products of uint8 and such weights fit into 16 bits, so that processors without VNNI add them exactly."""
    import onnx
    from onnx import numpy_helper

    vision.write(checkpoint.load(lite_folder), tmp_path / "v.onnx", Recipe(), pixels)
    tensors = {t.name: t for t in onnx.load(tmp_path / "v.onnx").graph.initializer}
    kernels = [numpy_helper.to_array(t) for name, t in tensors.items() if name.startswith("tower.") and len(t.dims) == 4]
    rounded = [kernel for kernel in kernels if kernel.dtype == np.int8]
    tower = EfficientNetLite("lite0", 64, 4)
    assert len(rounded) == len(tower.weight_shapes) // 5 - len(efficientnet_graph.unrounded(tower))
    assert max(int(np.abs(kernel.astype(int)).max()) for kernel in rounded) == 64


def test_the_first_layers_stay_in_float32(lite_folder: Path, pixels: np.ndarray, tmp_path: Path) -> None:
    import onnx

    names = efficientnet_graph.unrounded(EfficientNetLite("lite0", 64, 4))
    assert names[0] == "tower.stem" and names[-1] == "tower.blocks.2.project"  # blocks 0 to 2 lie at stride 2 and 4
    vision.write(checkpoint.load(lite_folder), tmp_path / "v.onnx", Recipe(), pixels)
    graph = onnx.load(tmp_path / "v.onnx").graph
    kinds = {tensor.name: tensor.data_type for tensor in graph.initializer}
    convolutions = {node.name.removeprefix("/"): node for node in graph.node if node.op_type == "Conv"}
    assert {kinds[convolutions[name].input[1]] for name in names} == {onnx.TensorProto.FLOAT}


@pytest.mark.parametrize(("inputs", "kernel", "groups"), [(96, 1, 1), (3, 3, 1), (16, 3, 1), (32, 5, 32)])
def test_sums_of_seven_bits_are_exact_on_every_processor(inputs: int, kernel: int, groups: int) -> None:
    """The worst case, and so every case, on whatever this runs on: with weights of 127 it fails where there is no VNNI."""
    from onnx import TensorProto, helper, numpy_helper

    largest, outputs, side = 64, 32, 8
    weights = np.full((outputs, inputs // groups, kernel, kernel), largest, np.int8)
    weights[1::2] *= -1
    step = np.float32(255 * largest * inputs // groups * kernel**2 / 127)
    numbers = {
        "one": np.float32(1),
        "nought": np.uint8(0),
        "weights": weights,
        "ones": np.ones(outputs, np.float32),
        "noughts": np.zeros(outputs, np.int8),
        "step": step,
        "middle": np.uint8(128),
    }
    node = helper.make_node(
        "QLinearConv",
        ["x", "one", "nought", "weights", "ones", "noughts", "step", "middle"],
        ["y"],
        kernel_shape=[kernel] * 2,
        group=groups,
    )
    shape = [1, inputs, side, side]
    graph = helper.make_graph(
        [node],
        "sums",
        [helper.make_tensor_value_info("x", TensorProto.UINT8, shape)],
        [helper.make_tensor_value_info("y", TensorProto.UINT8, None)],
        [numpy_helper.from_array(np.asarray(value), name) for name, value in numbers.items()],
    )
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)
    session = load_onnxruntime().InferenceSession(model.SerializeToString(), providers=["CPUExecutionProvider"])
    (given,) = session.run(None, {"x": np.full(shape, 255, np.uint8)})
    assert np.unique(given[:, ::2]).tolist() == [255] and np.unique(given[:, 1::2]).tolist() == [1]


@pytest.mark.parametrize("change", ["missing", "unknown", "reshaped"])
@pytest.mark.parametrize("file", ["model.safetensors", HEAD])
def test_weights_that_do_not_fit_are_refused(copied: Path, file: str, change: str) -> None:
    stored = load_file(copied / file)
    name = next(name for name in stored if name.endswith(("blocks.1.filter.gain", "before.body.2.bias")))
    value = stored.pop(name)
    if change == "unknown":
        stored |= {name: value, "another.weight": value.clone()}
    if change == "reshaped":
        stored[name] = value[:-1].clone()
    save_file(stored, copied / file, metadata={"format": "pt"})
    with pytest.raises(UsageError) as refused:
        checkpoint.load(copied)
    assert refused.value.code == ("export.region_head_does_not_fit" if file == HEAD else "export.weights_do_not_fit")
    mismatch = refused.value.message.params["mismatch"]
    assert (mismatch.code, mismatch.params["count"]) == (f"export.weights_{change}", 1)


@pytest.mark.parametrize(
    ("values", "code"),
    [
        ({"variant": "lite9"}, "export.tower_variant_unknown"),
        ({"variant": None}, "export.tower_variant_unknown"),
        ({"token_grid": 3}, "export.tower_grid"),
        ({"token_grid": "many"}, "export.config_unusable"),
        ({"image_size": [64, 96]}, "export.not_square"),
        ({"image_size": [48, 48]}, "export.tower_grid"),
        ({"hidden_size": 100}, "export.tower_width"),
        ({"strategy": "default"}, "export.tower_features"),
    ],
)
def test_configs_that_are_refused(copied: Path, values: dict, code: str) -> None:
    config = json.loads((copied / "config.json").read_text(encoding="utf-8"))
    if "strategy" in values:
        config["vision_feature_select_strategy"] = values["strategy"]
    else:
        config["vision_config"] |= values
    (copied / "config.json").write_text(json.dumps(config), encoding="utf-8")
    with raises_code(UsageError, code):
        checkpoint.load(copied)


def change_training(folder: Path, region_head: object) -> None:
    training = json.loads((folder / "training.json").read_text(encoding="utf-8"))
    (folder / "training.json").write_text(json.dumps(training | {"region_head": region_head}), encoding="utf-8")


def test_half_a_region_head_is_refused(copied: Path) -> None:
    change_training(copied, None)
    with raises_code(UsageError, "export.region_head_half", present=HEAD):
        checkpoint.load(copied)
    change_training(copied, {"several": 0.3, "overlap": 1.5})
    with raises_code(UsageError, "export.training_not_a_share", key="region_head.overlap", value=1.5):
        checkpoint.load(copied)
    change_training(copied, {"several": 0.3})
    with raises_code(UsageError, "export.training_unusable"):
        checkpoint.load(copied)
    change_training(copied, {"several": 0.3, "overlap": 0.5})
    (copied / HEAD).unlink()
    with raises_code(UsageError, "export.region_head_half", missing=HEAD):
        checkpoint.load(copied)


def test_a_head_needs_a_tower_with_maps(checkpoint_folder: Path, copied: Path) -> None:
    shutil.copyfile(checkpoint_folder / "config.json", copied / "config.json")
    shutil.copyfile(checkpoint_folder / "model.safetensors", copied / "model.safetensors")
    with raises_code(UsageError, "export.region_head_without_maps"):
        checkpoint.load(copied)
