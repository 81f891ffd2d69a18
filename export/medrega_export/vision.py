"""The vision stage as one ONNX graph: tower, pixel shuffle and projector, full precision, float16 or dynamic INT8.

Knows transformers' InternVL; knows no image file and no language model. The graph takes what
`medrega_edge.preprocess` gives and returns what takes the place of the image tokens.
"""

from __future__ import annotations

import contextlib
import copy
import io
import logging
import tempfile
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import numpy as np
import numpy.typing as npt
import onnx
import torch
from torch import Tensor, nn

from medrega_edge.errors import UsageError
from medrega_export import decoder, run_graphs
from medrega_export.recipe import Recipe
from medrega_export.tower_precision import to_fp16, to_int8

INPUT, OUTPUT = "pixel_values", "image_embeds"
OPSET = 20
FUSED = "medrega_fused"  # name of our attention among those of transformers


class VisionStage(nn.Module):
    """Pixel values `[B, 3, size, size]` -> image embeddings `[B, tokens, hidden]`, as the language model is fed."""

    def __init__(self, model: Any, pixel_shuffle: str) -> None:
        """Take tower and projector out of an InternVLForConditionalGeneration; `pixel_shuffle` is "v1" or "v2"."""
        super().__init__()
        config = model.config
        if config.vision_feature_select_strategy != "default":
            raise UsageError("The checkpoint feeds the class token to the language model; that is not exported.")
        self.tower: Any = model.model.vision_tower
        self.projector: Any = model.model.multi_modal_projector
        self.size = _side(config.vision_config.image_size)
        self.side = self.size // _side(config.vision_config.patch_size)
        self.factor = round(1 / float(config.downsample_ratio))
        self.layer = int(config.vision_feature_layer)
        self.transpose = pixel_shuffle == "v1"

    def forward(self, pixel_values: Tensor) -> Tensor:
        """Run the stage."""
        if self.layer == -1:
            features = self.tower(pixel_values=pixel_values).last_hidden_state
        else:
            features = self.tower(pixel_values=pixel_values, output_hidden_states=True).hidden_states[self.layer]
        return cast(Tensor, self.projector(self._shuffle(features[:, 1:])))

    def _shuffle(self, features: Tensor) -> Tensor:
        """`[B, side * side, C]` -> `[B, side * side / factor ** 2, C * factor ** 2]`: squares of patches become tokens."""
        batch, _, width = features.shape
        side, few = self.side, self.side // self.factor
        grid = features.reshape(batch, side, few, width * self.factor).transpose(1, 2)
        grid = grid.reshape(batch, few, few, width * self.factor**2)
        if not self.transpose:  # "v1" is "v2" with the token grid transposed
            grid = grid.transpose(1, 2)
        return grid.reshape(batch, few * few, -1)


def _side(size: Any) -> int:
    return int(size[0]) if isinstance(size, (list, tuple)) else int(size)


def run_torch(stage: VisionStage, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Return the embeddings `[B, tokens, hidden]` of prepared images `[B, 3, size, size]`."""
    with torch.no_grad():
        return np.asarray(stage(torch.from_numpy(np.ascontiguousarray(pixels))).numpy())


def write_full(stage: VisionStage, path: Path) -> None:
    """Write the graph in full precision, its attention fused."""
    example = torch.zeros(2, 3, stage.size, stage.size)  # two, because an axis of length 1 would be taken for a constant
    with _quiet():
        program = torch.onnx.export(
            _for_export(stage),
            (example,),
            dynamo=True,
            opset_version=OPSET,
            input_names=[INPUT],
            output_names=[OUTPUT],
            dynamic_shapes={"pixel_values": {0: torch.export.Dim("batch")}},
            external_data=_is_large(stage),
            verbose=False,
        )
    assert program is not None
    program.save(str(path), external_data=_is_large(stage))
    _strip(path)


def _for_export(stage: VisionStage) -> VisionStage:
    """A copy whose attention is one operator and whose layer scales are folded into the layers before them.

    The exporter would spell attention out in twelve nodes that no optimiser of onnxruntime puts together again; fused,
    the tower is 5% faster at 256 patches, and needs no memory for the square of the number of patches.
    """
    from transformers.modeling_utils import ALL_ATTENTION_FUNCTIONS

    ALL_ATTENTION_FUNCTIONS.register(FUSED, _fused_attention)
    copied = copy.deepcopy(stage).eval()
    copied.tower.set_attn_implementation(FUSED)
    with torch.no_grad():
        for layer in copied.tower.encoder.layer:
            for linear, name in ((layer.attention.projection_layer, "lambda_1"), (layer.mlp.fc2, "lambda_2")):
                scale = getattr(layer, name).detach()
                linear.weight.mul_(scale[:, None])
                if linear.bias is not None:
                    linear.bias.mul_(scale)
                delattr(layer, name)
                setattr(layer, name, 1.0)
    return copied


def _fused_attention(
    module: nn.Module, query: Tensor, key: Tensor, value: Tensor, mask: Tensor | None, scaling: float, **_: Any
) -> tuple[Tensor, None]:
    """Attention as transformers calls it, `[B, heads, S, dim]` -> `[B, S, heads, dim]`, as a node of the graph."""
    batch, heads, length, dim = query.shape
    joined = [part.transpose(1, 2).reshape(batch, length, heads * dim) for part in (query, key, value)]
    result = torch.onnx.ops.symbolic(
        "com.microsoft::MultiHeadAttention",
        joined,
        attrs={"num_heads": heads, "scale": float(scaling)},
        dtype=query.dtype,
        shape=(batch, length, heads * dim),
        version=1,
    )
    return result.reshape(batch, length, heads, dim), None


def _is_large(stage: VisionStage) -> bool:
    return sum(4 * parameter.numel() for parameter in stage.parameters()) > decoder.EXTERNAL_BYTES


def _strip(path: Path) -> None:
    """Remove what the exporter notes about itself: a tenth of a small tower, and the paths of this machine's files."""
    model = onnx.load(str(path), load_external_data=False)
    for entry in (*model.graph.node, *model.graph.value_info, *model.graph.initializer, model.graph, model):
        entry.doc_string = ""
        del entry.metadata_props[:]
    del model.graph.value_info[:]
    path.write_bytes(model.SerializeToString())


def write(stage: VisionStage, path: Path, recipe: Recipe) -> None:
    """Write the stage to `path` (weights beside it in `path` + ".data" where one file cannot hold them)."""
    if recipe.tower == "fp32":
        write_full(stage, path)
        return
    with tempfile.TemporaryDirectory() as scratch, _quiet():
        full = Path(scratch) / "vision.onnx"
        write_full(stage, full)
        if recipe.tower == "fp16":
            to_fp16(full, path, _is_large(stage))
        else:
            to_int8(full, path, recipe.kept, _is_large(stage))


def run_graph(path: Path, pixels: npt.NDArray[np.float32]) -> npt.NDArray[np.float32]:
    """Run the graph on prepared images, one at a time as the runtime does."""
    session = run_graphs.session(path)
    return np.concatenate([session.run([OUTPUT], {INPUT: image[None]})[0] for image in pixels])


def relative_error(values: npt.NDArray[np.float32], truth: npt.NDArray[np.float32]) -> float:
    """Euclidean length of the difference over that of the truth."""
    return float(np.linalg.norm(values - truth) / np.linalg.norm(truth))


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Silence what the exporter says of itself; its errors are exceptions and still come through."""
    level = logging.root.manager.disable
    logging.disable(logging.WARNING)
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(io.StringIO()):
            warnings.simplefilter("ignore")
            yield
    finally:
        logging.disable(level)
