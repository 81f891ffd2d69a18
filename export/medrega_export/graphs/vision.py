"""The vision stage of a checkpoint: its computation, part by part in torch, and its weights for the graph.

The stage takes the output of `medrega_edge.images.preprocess` and returns the embeddings of the image tokens.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medrega_edge.errors import UsageError
from medrega_export.checkpoint.checkpoint import Checkpoint, meta_model
from medrega_export.checkpoint.config import square_side
from medrega_export.checkpoint.weights import fill_module
from medrega_export.graphs import reference_decoder, vision_graph

if TYPE_CHECKING:
    from medrega_export.quantisation.recipe import Recipe

TOWER, PROJECTOR = "vision_tower.", "multi_modal_projector."


def shape_of(config: Any, pixel_shuffle: str) -> vision_graph.VisionShape:
    """Read the sizes out of an InternVLConfig; raises UsageError for what is not exported."""
    vision, layer = config.vision_config, int(config.vision_feature_layer)
    if config.vision_feature_select_strategy != "default":
        raise UsageError("export.class_token_unsupported")
    if vision.hidden_act not in vision_graph.ACTIVATIONS or config.projector_hidden_act != "gelu":
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
        layers=layer if layer >= 0 else int(vision.num_hidden_layers) + 1 + layer,
        epsilon=float(vision.layer_norm_eps),
        rms=vision.norm_type == "rms_norm",
        qk_norm=bool(vision.use_qk_norm),
        final_norm=layer == -1 and not vision.use_mean_pooling,
        activation=str(vision.hidden_act),
        hidden=int(config.text_config.hidden_size),
        factor=round(1 / float(config.downsample_ratio)),
        transposed=pixel_shuffle == "v1",
    )


def write(checkpoint: Checkpoint, path: Path, recipe: Recipe) -> None:
    """Write the stage to `path` (weights beside it in `path` + ".data" where they are many)."""
    weights = checkpoint.weights
    shape = shape_of(checkpoint.config, checkpoint.pixel_shuffle)
    vision_graph.write_vision_graph(shape, lambda name: np.asarray(weights[name].read().numpy()), path, recipe)


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


def run_torch(checkpoint: Checkpoint, pixels: Sequence[npt.NDArray[np.float32]]) -> list[Tensor]:
    """Return the embeddings `[tokens, hidden]` of prepared images `[3, size, size]`; one layer is in memory at a time."""
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


def run_graph(path: Path, pixels: Sequence[npt.NDArray[np.float32]], mapped: bool = False) -> list[npt.NDArray[np.float32]]:
    """Run the graph on prepared images, one at a time as the runtime does; `mapped` leaves its weights on the disk."""
    session = reference_decoder.session(path, mapped=mapped)
    return [session.run([vision_graph.OUTPUT], {vision_graph.INPUT: image[None]})[0][0] for image in pixels]


def relative_error(values: npt.ArrayLike, truth: npt.ArrayLike) -> float:
    """Euclidean length of the difference over that of the truth."""
    given, right = np.asarray(values, np.float32), np.asarray(truth, np.float32)
    return float(np.linalg.norm(given - right) / np.linalg.norm(right))
