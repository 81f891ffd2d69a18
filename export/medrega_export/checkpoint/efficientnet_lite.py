"""The vision tower "efficientnet_lite" of a checkpoint: its config, its blocks, and the names and shapes of its weights.

EfficientNet-Lite (Tan and Le, 2019), cut off behind its last block. Its maps at stride 8, 16 and 32 are brought to one
grid, whose places become the image tokens. transformers has no such tower, so its config is read here.
"""

from __future__ import annotations

import itertools
import math
import operator
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from medrega_edge.errors import UsageError

MODEL_TYPE = "efficientnet_lite"
NORM_EPSILON = 1e-3
STRIDES = (8, 16, 32)
PIXEL_MEAN = (127 / 255,) * 3  # the tower reads (pixel - 127) / 128
PIXEL_STD = (128 / 255,) * 3
NORM_PARTS = ("gain", "bias", "mean", "variance")

_SCALES = {"lite0": (1.0, 1.0), "lite1": (1.0, 1.1), "lite2": (1.1, 1.2)}  # factors of width and depth
_STEM_WIDTH = 32
_DIVISOR = 8
# (repeats, kernel, stride, expansion, width) of each group of blocks, before scaling
_GROUPS = (
    (1, 3, 1, 1, 16),
    (2, 3, 2, 6, 24),
    (2, 5, 2, 6, 40),
    (3, 3, 2, 6, 80),
    (3, 5, 1, 6, 112),
    (4, 5, 2, 6, 192),
    (1, 3, 1, 6, 320),
)
_LAST_OF_STRIDE = (2, 4, 6)  # the groups that end in a map


@dataclass(frozen=True)
class Convolution:
    """A convolution with the batch norm behind it; `name` is that of its weights."""

    name: str
    inputs: int
    outputs: int
    kernel: int
    stride: int = 1
    groups: int = 1


@dataclass(frozen=True)
class Block:
    """Widen (`expand`, left out in the first block), filter each channel, narrow (`project`)."""

    expand: Convolution | None
    filter: Convolution
    project: Convolution
    has_residual: bool
    is_map: bool  # whether its output is one of the three maps

    @property
    def convolutions(self) -> tuple[Convolution, ...]:
        """In the order of computation."""
        return (*((self.expand,) if self.expand else ()), self.filter, self.project)


@dataclass(frozen=True)
class EfficientNetLite:
    """A tower for squares of `size` pixels, whose maps become `token_grid` x `token_grid` places."""

    variant: str
    size: int
    token_grid: int

    @property
    def stem(self) -> Convolution:
        """The first convolution."""
        return Convolution("stem", 3, _STEM_WIDTH, 3, 2)

    @property
    def blocks(self) -> tuple[Block, ...]:
        """All blocks, in the order of computation."""
        return tuple(_blocks(*_SCALES[self.variant]))

    @property
    def first_blocks(self) -> tuple[Block, ...]:
        """The blocks whose outputs have more places than the finest map."""
        steps = itertools.accumulate((block.filter.stride for block in self.blocks), operator.mul)
        return tuple(block for block, step in zip(self.blocks, steps, strict=True) if self.stem.stride * step < STRIDES[0])

    @property
    def widths(self) -> tuple[int, ...]:
        """Channels of the three maps, finest first."""
        return tuple(block.project.outputs for block in self.blocks if block.is_map)

    @property
    def sides(self) -> tuple[int, ...]:
        """Places along an edge of the three maps."""
        return tuple(self.size // stride for stride in STRIDES)

    @property
    def width(self) -> int:
        """Channels of a place, the three maps joined."""
        return sum(self.widths)

    @property
    def weight_shapes(self) -> dict[str, tuple[int, ...]]:
        """Shapes of the weights by their names within the tower."""
        shapes: dict[str, tuple[int, ...]] = {}
        for conv in (self.stem, *(conv for block in self.blocks for conv in block.convolutions)):
            shapes[f"{conv.name}.weight"] = (conv.outputs, conv.inputs // conv.groups, conv.kernel, conv.kernel)
            shapes |= {f"{conv.name}.{part}": (conv.outputs,) for part in NORM_PARTS}
        return shapes


def _blocks(width_factor: float, depth_factor: float) -> Iterator[Block]:
    inputs, number = _STEM_WIDTH, 0
    for group, (repeats, kernel, first_stride, expansion, width) in enumerate(_GROUPS):
        outputs = _rounded(width * width_factor)
        is_end = group in (0, len(_GROUPS) - 1)  # the family leaves its ends as short as they are
        count = repeats if is_end else math.ceil(repeats * depth_factor)
        for repeat in range(count):
            name, inner, stride = f"blocks.{number}", inputs * expansion, 1 if repeat else first_stride
            yield Block(
                Convolution(f"{name}.expand", inputs, inner, 1) if expansion != 1 else None,
                Convolution(f"{name}.filter", inner, inner, kernel, stride, groups=inner),
                Convolution(f"{name}.project", inner, outputs, 1),
                has_residual=stride == 1 and inputs == outputs,
                is_map=group in _LAST_OF_STRIDE and repeat == count - 1,
            )
            inputs, number = outputs, number + 1


def _rounded(width: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth."""
    rounded = max(_DIVISOR, int(width + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * width else rounded


def is_kind(vision: Any) -> bool:
    """Whether a vision config, as a dictionary or an object, is of this kind."""
    kind = vision.get("model_type") if isinstance(vision, dict) else vision.model_type
    return bool(kind == MODEL_TYPE)


def read_tower(vision: dict[str, Any]) -> EfficientNetLite:
    """Read a `vision_config`; raises UsageError for what is not exported."""
    try:
        variant, grid = str(vision["variant"]), int(vision["token_grid"])
        width, sides = int(vision["hidden_size"]), tuple(int(side) for side in vision["image_size"])
    except KeyError as error:
        raise UsageError("export.config_key_missing", key=f"vision_config.{error.args[0]}") from None
    except (TypeError, ValueError) as error:
        raise UsageError("export.config_unusable", problem=str(error)) from None
    if variant not in _SCALES:
        raise UsageError("export.tower_variant_unknown", variant=variant, known=list(_SCALES))
    if len(set(sides)) != 1:
        raise UsageError("export.not_square", size=list(sides))
    tower = EfficientNetLite(variant, sides[0], grid)
    if tower.size <= 0 or tower.size % STRIDES[-1] or grid <= 0 or tower.sides[0] % grid:
        raise UsageError("export.tower_grid", size=tower.size, grid=grid)
    if width != tower.width:
        raise UsageError("export.tower_width", width=width, expected=tower.width)
    return tower


def check_config(config: dict[str, Any]) -> None:
    """Raise UsageError for a `config.json` with such a tower that is not exported."""
    tower = read_tower(config["vision_config"])
    taken = config.get("vision_feature_select_strategy"), config.get("vision_feature_layer")
    if taken != ("full", -1):
        raise UsageError("export.tower_features", strategy=str(taken[0]), layer=str(taken[1]))
    factor = 1 / float(config.get("downsample_ratio", 0.5))
    if factor != int(factor) or tower.token_grid % int(factor):
        raise UsageError("export.grid_indivisible", side=tower.token_grid)


def vision_config(vision: dict[str, Any]) -> Any:
    """Return the config as an object that InternVLConfig can hold."""
    from transformers import PretrainedConfig

    class EfficientNetLiteConfig(PretrainedConfig):
        model_type = MODEL_TYPE

    return EfficientNetLiteConfig(**{key: value for key, value in vision.items() if key != "model_type"})
