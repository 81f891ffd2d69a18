"""The mask head in torch: an EfficientNet-Lite tower over a square cut out around a box, its maps joined to a mask."""

from __future__ import annotations

from itertools import pairwise
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrega_train.efficientnet_lite import PIXEL_CENTRE, PIXEL_SCALE, ConvNorm, EfficientNetLite, InvertedBottleneck

SIDE = 160  # pixels of the square
PLACES = SIDE // 2  # a side of the mask
MARGIN = 0.25  # of the sides of a box, on each side
TOWER = "lite2"
WIDTHS = (128, 96, 64, 48, 32)  # channels of the joined maps, the coarsest first
KERNEL = 3
_FEW_INSIDE = -0.5  # logit that every place starts with


class Mix(nn.Module):
    """A convolution with batch norm and ReLU6; it keeps the shape."""

    def __init__(self, width: int) -> None:
        """Start from random weights."""
        super().__init__()
        self.convolution = nn.Conv2d(width, width, KERNEL, padding=KERNEL // 2, bias=False)
        self.norm = nn.BatchNorm2d(width)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, H, W]` -> the same shape."""
        return F.relu6(self.norm(self.convolution(x)))

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the convolution with the norm in it."""
        mean, variance = cast(Tensor, self.norm.running_mean), cast(Tensor, self.norm.running_var)
        scale = self.norm.weight * torch.rsqrt(variance + self.norm.eps)
        return self.convolution.weight * scale[:, None, None, None], self.norm.bias - mean * scale


class MaskNetwork(nn.Module):
    """Squares `[B, 3, SIDE, SIDE]`, 0..255 -> logits `[B, PLACES, PLACES]`, positive inside the mask."""

    def __init__(self) -> None:
        """Start from random weights."""
        super().__init__()
        self.tower = EfficientNetLite(TOWER)
        self._blocks = [cast(InvertedBottleneck, block) for block in self.tower.blocks]
        levels, width = [], self.tower.stem.weight.shape[0]  # channels of the last map at each stride, the finest first
        for block in self._blocks:
            if block.filter.stride == 2:
                levels.append(width)
            width = block.project.weight.shape[0]
        levels.append(width)
        self.side = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs, width in zip(levels[::-1], WIDTHS, strict=True))
        self.down = nn.ModuleList(nn.Conv2d(inputs, width, 1) for inputs, width in pairwise(WIDTHS))
        self.mix = nn.ModuleList(Mix(width) for width in WIDTHS)
        self.pool = nn.Conv2d(WIDTHS[0], WIDTHS[0], 1)
        self.out = nn.Conv2d(WIDTHS[-1], 1, KERNEL, padding=KERNEL // 2)
        nn.init.constant_(cast(Tensor, self.out.bias), _FEW_INSIDE)

    def forward(self, pixels: Tensor) -> Tensor:
        """Return the logits."""
        x = F.relu6(self.tower.stem((pixels - PIXEL_CENTRE) / PIXEL_SCALE))
        levels = []
        for block in self._blocks:
            if block.filter.stride == 2:
                levels.append(x)
            x = block(x)
        side = self.side[0](x)
        joined = self.mix[0](side + F.relu6(self.pool(side.mean((2, 3), keepdim=True))))
        for number, level in enumerate(reversed(levels), 1):
            coarse = F.interpolate(self.down[number - 1](joined), scale_factor=2.0, mode="nearest")
            joined = self.mix[number](self.side[number](level) + coarse)
        logits: Tensor = self.out(joined)[:, 0]
        return logits

    @torch.no_grad()
    def folded(self) -> dict[str, Tensor]:
        """Return the weights by the names of a checkpoint's mask head, all norms folded into their convolutions."""
        pairs = {}
        for name, module in self.named_modules():
            if isinstance(module, ConvNorm | Mix):
                pairs[name] = module.folded()
            elif isinstance(module, nn.Conv2d) and module.bias is not None:
                pairs[name] = module.weight, module.bias
        weights: dict[str, Tensor] = {}
        for name, (weight, bias) in pairs.items():
            weights |= {f"{name}.weight": weight.detach(), f"{name}.bias": bias.detach()}
        return weights
