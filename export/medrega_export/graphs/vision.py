"""The vision stage of a checkpoint: its computation, part by part in torch, and its weights for the graph.

The stage takes the output of `medrega_edge.images.preprocess` and returns the embeddings of the image tokens.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medrega_edge.errors import UsageError
from medrega_export.checkpoint.checkpoint import PROJECTOR, TOWER, Checkpoint, meta_model
from medrega_export.checkpoint.config import square_side
from medrega_export.checkpoint.efficientnet_lite import EfficientNetLite
from medrega_export.checkpoint.weights import StoredTensor, fill_module
from medrega_export.graphs import efficientnet_graph, reference_decoder, region_graphs, stage_writer, vision_graph
from medrega_export.graphs.efficientnet_graph import EfficientNetStage
from medrega_export.graphs.layer_writer import ReadWeight
from medrega_export.quantisation import static_int8
from medrega_export.quantisation.recipe import FULL

if TYPE_CHECKING:
    from medrega_export.quantisation.recipe import Recipe

PROJECTOR_ACTIVATION = "gelu"
CHANNELS = 3  # the runtime makes every image one of three
MOST_SHUFFLED = 64  # patches a side that become one token

Pixels = Sequence[npt.NDArray[np.float32]]


def shape_of(config: Any, pixel_shuffle: str) -> vision_graph.VisionShape:
    """Read the sizes out of an InternVLConfig; raises UsageError for what is not exported."""
    vision, layer, ratio = config.vision_config, config.vision_feature_layer, float(config.downsample_ratio)
    depth = int(vision.num_hidden_layers)
    if not isinstance(layer, int) or not -depth - 1 <= layer <= depth:
        raise UsageError("export.feature_layer", layer=str(layer), layers=depth)
    if ratio not in (1 / factor for factor in range(1, MOST_SHUFFLED + 1)):
        raise UsageError("export.downsample_ratio", ratio=ratio)
    if vision.num_channels != CHANNELS:
        raise UsageError("export.channels_unsupported", channels=vision.num_channels)
    if config.vision_feature_select_strategy != "default":
        raise UsageError("export.class_token_unsupported")
    if config.projector_hidden_act != PROJECTOR_ACTIVATION:
        given = str(config.projector_hidden_act)
        raise UsageError("export.projector_activation_unsupported", activation=given, supported=PROJECTOR_ACTIVATION)
    if vision.hidden_act not in vision_graph.ACTIVATIONS:
        raise UsageError(
            "export.tower_activation_unsupported",
            activation=str(vision.hidden_act),
            supported=list(vision_graph.ACTIVATIONS),
        )
    if not vision.use_absolute_position_embeddings:
        raise UsageError("export.tower_positions_missing")
    return vision_graph.VisionShape(
        size=square_side(vision.image_size),
        patch=square_side(vision.patch_size),
        channels=int(vision.num_channels),
        width=int(vision.hidden_size),
        heads=int(vision.num_attention_heads),
        # States are counted from the embeddings on; -1 is what the last layer gives, normed where the tower says so.
        layers=layer if layer >= 0 else depth + 1 + layer,
        epsilon=float(vision.layer_norm_eps),
        rms=vision.norm_type == "rms_norm",
        qk_norm=bool(vision.use_qk_norm),
        final_norm=layer == -1 and not vision.use_mean_pooling,
        activation=str(vision.hidden_act),
        hidden=int(config.text_config.hidden_size),
        factor=round(1 / ratio),
        transposed=pixel_shuffle == "v1",
    )


def efficientnet_stage(checkpoint: Checkpoint, tower: EfficientNetLite) -> EfficientNetStage:
    """The sizes of the stage of such a tower."""
    config = checkpoint.config
    hidden, factor = int(config.text_config.hidden_size), round(1 / float(config.downsample_ratio))
    return EfficientNetStage(tower, hidden, factor, checkpoint.region_head)


def write(checkpoint: Checkpoint, path: Path, recipe: Recipe, pixels: Pixels = ()) -> None:
    """Write the stage to `path` (weights beside it in `path` + ".data" where they are many).

    `pixels` are the prepared images that an int8 EfficientNet tower is calibrated on.
    """
    read = reader(checkpoint.weights)
    if (tower := checkpoint.efficientnet) is None:
        shape = shape_of(checkpoint.config, checkpoint.pixel_shuffle)
        vision_graph.write_vision_graph(shape, read, path, recipe)
        return
    stage, read_head = efficientnet_stage(checkpoint, tower), reader(checkpoint.region_weights)
    if not recipe.rounds_tower:
        own = recipe if recipe.tower == "fp16" else FULL
        efficientnet_graph.write_efficientnet_graph(stage, read, read_head, path, own)
        return
    with tempfile.TemporaryDirectory(dir=path.parent) as folder:
        exact = Path(folder) / path.name
        efficientnet_graph.write_efficientnet_graph(stage, read, read_head, exact, recipe)
        static_int8.quantise(exact, path, efficientnet_graph.TOWER, efficientnet_graph.unrounded(tower), pixels)


def write_region_head(checkpoint: Checkpoint, path: Path) -> None:
    """Write the graph of the region head, which the checkpoint has to have."""
    tower, head = checkpoint.efficientnet, checkpoint.region_head
    assert tower is not None and head is not None
    region_graphs.write_region_head(head, tower.sides, reader(checkpoint.region_weights), path)


def reader(weights: Mapping[str, StoredTensor]) -> ReadWeight:
    """Return what gives a weight by name."""
    return lambda name: np.asarray(weights[name].read().numpy())


@dataclass(frozen=True)
class VisionPart:
    """A piece of the stage, in memory by itself; the recipe's units in it begin with `name`."""

    name: str
    meta_model: Any  # without content
    prefix: str
    run: Callable[[Any, Tensor], Tensor]

    def read(self, checkpoint: Checkpoint) -> Any:
        """Fill it."""
        return fill_module(self.meta_model, checkpoint.weights, self.prefix)


def parts(checkpoint: Checkpoint) -> list[VisionPart]:
    """Take the stage apart, in the order of computation: a state `[1, ..]` passes through all."""
    shape = shape_of(checkpoint.config, checkpoint.pixel_shuffle)
    model = meta_model(checkpoint.config).model

    def simple(part: Any, state: Tensor) -> Tensor:
        return cast(Tensor, part(state))

    pieces = [VisionPart("embeddings", model.vision_tower.embeddings, f"{TOWER}embeddings.", simple)]
    for i in range(shape.layers):
        pieces.append(VisionPart(f"tower.{i}", model.vision_tower.encoder.layer[i], f"{TOWER}encoder.layer.{i}.", simple))
    if shape.final_norm:
        pieces.append(VisionPart("norm", model.vision_tower.layernorm, f"{TOWER}layernorm.", simple))
    last = model.multi_modal_projector
    return [*pieces, VisionPart("projector", last, PROJECTOR, lambda part, x: part(_shuffle(shape, x[:, 1:])))]


def run_exact(checkpoint: Checkpoint, pixels: Pixels) -> list[Tensor]:
    """Return the embeddings `[tokens, hidden]` of prepared images `[3, size, size]` in full precision.

    InternViT runs in torch. An EfficientNet tower runs as its float32 graph, which tests hold against torch.
    """
    if checkpoint.efficientnet is None:
        return run_torch(checkpoint, pixels)
    return [torch.from_numpy(embeddings) for embeddings in exact_outputs(checkpoint, pixels)[stage_writer.OUTPUT]]


def exact_outputs(checkpoint: Checkpoint, pixels: Pixels) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Return all outputs of the float32 graph of an EfficientNet tower by name, for each image."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "vision.onnx"
        write(checkpoint, path, FULL)
        return run_outputs(path, pixels)


def run_torch(checkpoint: Checkpoint, pixels: Pixels) -> list[Tensor]:
    """Return the embeddings of an InternViT; one layer is in memory at a time."""
    states = [torch.from_numpy(np.ascontiguousarray(image))[None] for image in pixels]
    with torch.no_grad():
        for part in parts(checkpoint):
            module = part.read(checkpoint)
            for i, state in enumerate(states):
                states[i] = part.run(module, state)
            del module  # before the next one comes in
    return [state[0] for state in states]


def _shuffle(shape: vision_graph.VisionShape, features: Tensor) -> Tensor:
    """`[B, side * side, C]` -> `[B, side * side / factor ** 2, C * factor ** 2]`: squares of patches become tokens."""
    batch, _, width = features.shape
    side, few = shape.side, shape.side // shape.factor
    grid = features.reshape(batch, side, few, width * shape.factor).transpose(1, 2)
    grid = grid.reshape(batch, few, few, width * shape.factor**2)
    if not shape.transposed:
        grid = grid.transpose(1, 2)
    return grid.reshape(batch, few * few, -1)


def run_graph(path: Path, pixels: Pixels, mapped: bool = False) -> list[npt.NDArray[np.float32]]:
    """Return the graph's embeddings of prepared images; `mapped` leaves its weights on the disk."""
    return run_outputs(path, pixels, mapped)[stage_writer.OUTPUT]


def run_outputs(path: Path, pixels: Pixels, mapped: bool = False) -> dict[str, list[npt.NDArray[np.float32]]]:
    """Run the graph on prepared images, one at a time as the runtime does; all outputs by name, for each image."""
    session = reference_decoder.session(path, mapped=mapped)
    names = [output.name for output in session.get_outputs()]
    runs = [session.run(names, {stage_writer.INPUT: image[None]}) for image in pixels]
    return {name: [run[i][0] for run in runs] for i, name in enumerate(names)}


def relative_error(values: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Euclidean length of the difference over that of the truth."""
    given, right = np.asarray(values, np.float32), np.asarray(truth, np.float32)
    return float(np.linalg.norm(given - right) / np.linalg.norm(right))
