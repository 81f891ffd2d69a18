"""EfficientNet-Lite as a vision tower of transformers' InternVL class: `vision_config.model_type` "efficientnet_lite".

Importing this module registers the type, so that InternVLForConditionalGeneration builds, saves and loads such a checkpoint.
The three maps of the tower are brought to one grid and joined; each place of the grid is a patch of the tower.
"""

from __future__ import annotations

from typing import Any

import torch
from torch import Tensor
from torch.nn import functional as F
from transformers import (
    AutoConfig,
    AutoModel,
    InternVLConfig,
    InternVLVisionConfig,
    PreTrainedConfig,
    PreTrainedModel,
)
from transformers.configuration_utils import SubConfigSpec
from transformers.modeling_outputs import BaseModelOutput

from medrega_train.efficientnet_lite import STRIDES, EfficientNetLite

MODEL_TYPE = "efficientnet_lite"
Maps = tuple[Tensor, Tensor, Tensor]


class EfficientNetLiteConfig(PreTrainedConfig):
    """Shape of the tower: a key of `efficientnet_lite.SIZES`, the side of the picture, that of the grid in places.

    `image_size` over `token_grid` is a multiple of the finest stride. `hidden_size` is the width of the joined maps.
    """

    model_type = MODEL_TYPE
    base_config_key = "vision_config"

    variant: str = "lite2"
    image_size: int | list[int] | tuple[int, ...] = (384, 384)
    token_grid: int = 16
    hidden_size: int = 520


class EfficientNetLiteVision(PreTrainedModel):
    """Pixels `[B, 3, S, S]`, scaled -> `last_hidden_state` `[B, token_grid ** 2, hidden_size]`, without a class token."""

    config_class = EfficientNetLiteConfig
    main_input_name = "pixel_values"

    def __init__(self, config: EfficientNetLiteConfig) -> None:
        """Start from random weights."""
        super().__init__(config)
        tower = EfficientNetLite(config.variant)
        self.stem, self.blocks, self.tower = tower.stem, tower.blocks, (tower,)  # in a tuple: its parts have names already
        self.post_init()

    def _init_weights(self, module: Any) -> None:
        """Each part starts as its class makes it."""

    def maps(self, pixel_values: Tensor) -> Maps:
        """The maps at stride 8, 16 and 32."""
        (tower,) = self.tower
        found: Maps = tower(pixel_values.contiguous(memory_format=torch.channels_last))
        return found

    def forward(self, pixel_values: Tensor, **_: Any) -> BaseModelOutput:
        """As transformers calls it."""
        return BaseModelOutput(last_hidden_state=joined(self.maps(pixel_values), self.config.token_grid))


def joined(maps: Maps, grid: int) -> Tensor:
    """Bring maps to `grid` x `grid` places, row by row: `[B, grid * grid, sum of widths]`."""
    fine, *coarser = maps
    resized = [F.avg_pool2d(fine, fine.shape[-1] // grid)]
    resized += [F.interpolate(a_map, size=(grid, grid), mode="bilinear") for a_map in coarser]
    return torch.cat(resized, dim=1).flatten(2).transpose(1, 2)


def lite_config(variant: str, side: int, token_grid: int) -> EfficientNetLiteConfig:
    """The config of a tower for pictures of `side` pixels; raises ValueError where the grid does not fit the finest map."""
    if side % max(STRIDES) or (side // min(STRIDES)) % token_grid:
        raise ValueError(f"a grid of {token_grid} does not divide {side} pixels at stride {min(STRIDES)}")
    widths = EfficientNetLite(variant).widths
    return EfficientNetLiteConfig(variant=variant, image_size=[side, side], token_grid=token_grid, hidden_size=sum(widths))


# transformers takes every vision_config for its InternViT; here the model_type decides, InternViT where none is named.
InternVLConfig.sub_configs_defaults["vision_config"] = SubConfigSpec(AutoConfig, model_type=InternVLVisionConfig.model_type)
AutoConfig.register(MODEL_TYPE, EfficientNetLiteConfig)
AutoModel.register(EfficientNetLiteConfig, EfficientNetLiteVision)
