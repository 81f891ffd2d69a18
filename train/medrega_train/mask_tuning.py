"""Tune LiteMedSAM's decoder on true masks, in boxes that err as a region head's do.

The encoder stands still; its features are computed once. To tell the decoder the name of what is in the box, by a vector
added to both corners, was tried (2026-11-30): with and without the vectors Dice on val was 0.910.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from PIL import Image
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from medrega_edge.boxes import PixelBox
from medrega_edge.cli.console import print_status
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.records import Record, read_records
from medrega_edge.evaluation.true_masks import MaskLine, read_mask_lines, true_masks
from medrega_edge.i18n.message import Message
from medrega_edge.inference.devices import available_threads
from medrega_edge.inference.mask_head import MaskHead
from medrega_edge.io.atomic import atomic_write
from medrega_edge.masks import Inside
from medrega_edge.package.package import Package
from medrega_train.lite_medsam import SIDE, MaskDecoder
from medrega_train.mask_features import mask_features
from medrega_train.records import split_of

FILE, TUNED_ON = "mask_head.safetensors", "tuned_on"  # of a checkpoint, and a key of its metadata; export reads both
_DECODER = "decoder."
STEPS = 1000
BATCH = 8
PEAK, WARM_UP = 2e-4, 50  # of the learning rate, and steps to it
SPREADS = (0.0, 0.03, 0.06, 0.1)  # deviation of an edge, in sides of the box; one of them for each sample
MOST_PARTS = 4  # boxes of one name in one image that are drawn for an epoch


@dataclass(frozen=True, eq=False)
class MaskObject:
    """A box of an image and its mask, in pixels of the square; `bits` are packed. `row` is that of the features."""

    row: int
    dataset: str
    label: str
    box: npt.NDArray[np.float32]
    bits: npt.NDArray[np.uint8]

    def mask(self) -> npt.NDArray[np.float32]:
        """Return the mask `[SIDE, SIDE]`, 0 or 1."""
        return np.unpackbits(self.bits).reshape(SIDE, SIDE).astype(np.float32)


def objects(records: Sequence[Record], lines: Mapping[str, MaskLine], folder: Path) -> Iterator[MaskObject]:
    """Yield each box that has a mask. Of several boxes of a name, each has what lies in it."""
    for row, record in enumerate(records):
        for region, inside in true_masks(folder, lines[record.id], record):
            for box in region.boxes:
                own = _within(inside, box) if len(region.boxes) > 1 else inside
                square = in_square(own)
                if square.any():
                    scaled = np.asarray(box, np.float32) * np.float32(SIDE / max(inside.shape))
                    yield MaskObject(row, record.dataset, region.label_en, scaled, np.packbits(square))


def _within(inside: Inside, box: PixelBox) -> Inside:
    cut = np.zeros_like(inside)
    rows, columns = slice(int(box.y1), math.ceil(box.y2)), slice(int(box.x1), math.ceil(box.x2))
    cut[rows, columns] = inside[rows, columns]
    return cut


def in_square(inside: Inside) -> npt.NDArray[np.bool_]:
    """Return a mask of an image as one of the square, in which the image fills the upper left."""
    height, width = inside.shape
    scale = SIDE / max(height, width)
    size = (max(1, round(width * scale)), max(1, round(height * scale)))
    fitted = np.asarray(Image.fromarray(inside.astype(np.float32)).resize(size, Image.Resampling.BOX))
    square = np.zeros((SIDE, SIDE), np.bool_)
    square[: size[1], : size[0]] = fitted >= 0.5
    return square


def jittered(box: npt.NDArray[np.float32], spread: float, random: np.random.Generator) -> npt.NDArray[np.float32]:
    """Return a box whose edges are moved by a normal deviation of `spread` sides, within the square."""
    width, height = box[2] - box[0], box[3] - box[1]
    moved = box + random.normal(0, spread, 4).clip(-0.3, 0.3).astype(np.float32) * np.array([width, height] * 2)
    moved = moved.clip(0, SIDE).astype(np.float32)
    return moved if moved[2] - moved[0] >= 2 and moved[3] - moved[1] >= 2 else box


def loss(logits: Tensor, quality: Tensor, masks: Tensor) -> Tensor:
    """Cross-entropy and Dice of masks `[B, SIDE, SIDE]`, and the square error of the predicted IoU `[B]`."""
    shares = logits.sigmoid()
    shared, both = (shares * masks).sum((1, 2)), shares.sum((1, 2)) + masks.sum((1, 2))
    dice = 1 - (2 * shared + 1) / (both + 1)
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2))
    return (dice + 5 * entropy + F.mse_loss(quality, iou(logits > 0, masks), reduction="none")).mean()


def iou(inside: Tensor, masks: Tensor) -> Tensor:
    """Return the IoU of two masks each `[B, SIDE, SIDE]`."""
    shared, true = (inside * masks).sum((1, 2)), masks.sum((1, 2))
    return (shared / (inside.sum((1, 2)) + true - shared).clamp(min=1)).detach()


class Tuning:
    """A run of the decoder over objects; `steps` in all, of one cycle of the learning rate."""

    def __init__(
        self, decoder: MaskDecoder, features: npt.NDArray[np.float16], found: Sequence[MaskObject], steps: int, seed: int = 0
    ) -> None:
        """Train `decoder` in place."""
        self.decoder, self._features, self._found, self._steps = decoder, features, found, steps
        plain = [weight for weight in decoder.parameters() if weight.ndim > 1]
        rest = [weight for weight in decoder.parameters() if weight.ndim < 2]
        groups = [{"params": plain, "weight_decay": 0.01}, {"params": rest, "weight_decay": 0.0}]
        self.optimiser = torch.optim.AdamW(groups, PEAK)
        self.random = np.random.default_rng(seed)
        self.step = 0
        self._queue: list[int] = []

    def _epoch(self) -> list[int]:
        """Each object once, of many boxes of a name in an image a few; images of small data sets as often as of others."""
        groups: dict[tuple[int, str], list[int]] = {}
        for number in self.random.permutation(len(self._found)):
            each = self._found[number]
            groups.setdefault((each.row, each.label), []).append(int(number))
        chosen = [number for group in groups.values() for number in group[:MOST_PARTS]]
        return [chosen[place] for place in self.random.permutation(len(chosen))]

    def _batch(self) -> tuple[Tensor, Tensor, Tensor]:
        while len(self._queue) < BATCH:
            self._queue += self._epoch()
        chosen, self._queue = [self._found[number] for number in self._queue[:BATCH]], self._queue[BATCH:]
        boxes = np.stack([jittered(each.box, float(self.random.choice(SPREADS)), self.random) for each in chosen])
        features = np.stack([self._features[each.row] for each in chosen]).astype(np.float32)
        masks = np.stack([each.mask() for each in chosen])
        return torch.from_numpy(features), torch.from_numpy(boxes), torch.from_numpy(masks)

    def rate(self, passed: float) -> float:
        """The learning rate of this step: up, then down along half a cosine; `passed` is the share of the time."""
        done = min(1.0, max(self.step / self._steps, passed))
        return PEAK * min((self.step + 1) / WARM_UP, 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def run(self, minutes: float) -> Iterator[tuple[int, float]]:
        """Train for so many minutes, or to the end, with one cycle of the rate; yields step and mean loss every 25 steps."""
        begun, losses = time.monotonic(), list[float]()
        self.decoder.train()
        while self.step < self._steps and (passed := (time.monotonic() - begun) / (60 * minutes)) < 1:
            features, boxes, masks = self._batch()
            for group in self.optimiser.param_groups:
                group["lr"] = self.rate(passed)
            with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
                logits, quality = self.decoder(features, boxes)
            value = loss(logits.float(), quality.float(), masks)
            self.optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.decoder.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            losses.append(value.item())
            if self.step % 25 == 0:
                yield self.step, float(np.mean(losses))
                losses = []


@dataclass(frozen=True)
class TuningOptions:
    """`start` is a checkpoint with a mask head, `package` one with the same encoder, which makes the features."""

    data: Path
    masks: Path
    start: Path
    package: Package
    out: Path
    minutes: float
    steps: int = STEPS


def tune(options: TuningOptions) -> Path:
    """Tune the decoder of a checkpoint's mask head for so many minutes; returns the file of the new mask head.

    The features stay in the folder of the run. The file has no calibration and no wrong labels: `medrega bench masks`
    measures them. Raises UsageError for a checkpoint without a mask head.
    """
    path = options.start / FILE
    if not path.is_file():
        raise UsageError("train.no_mask_head", file=FILE)
    lines = read_mask_lines(options.masks)
    records = [record for record in split_of(read_records(options.data), "train") if record.id in lines]
    head = MaskHead(options.package, available_threads(), "cpu")
    features = mask_features(head, records, options.out / "mask_features")
    found = list(objects(records, lines, options.masks))
    weights, decoder = load_file(path), MaskDecoder()
    start = {name.removeprefix(_DECODER): value.float() for name, value in weights.items() if name.startswith(_DECODER)}
    decoder.load_state_dict(start)
    for step, value in Tuning(decoder, features, found, options.steps).run(options.minutes):
        print_status(Message("train.step", step=step, steps=options.steps, loss=value))
    return write_mask_head(options.out / FILE, weights, decoder, len(records))


def write_mask_head(path: Path, weights: Mapping[str, Tensor], decoder: MaskDecoder, images: int) -> Path:
    """Write a mask head: `weights`, whose decoder was tuned on so many images, 16 bits each; returns the path."""
    tuned = {f"{_DECODER}{name}": value.detach() for name, value in decoder.state_dict().items()}
    halves = {name: value.to(torch.float16).contiguous() for name, value in {**weights, **tuned}.items()}
    with atomic_write(path) as file:
        file.write(save(halves, {TUNED_ON: str(images)}))
    return path


@torch.inference_mode()
def measured(
    decoder: MaskDecoder, features: npt.NDArray[np.float16], found: Sequence[MaskObject]
) -> list[tuple[MaskObject, float, float, npt.NDArray[np.float32] | None]]:
    """Return for each object its Dice in the square, the predicted IoU, and the box of its mask; None for an empty one."""
    decoder.eval()
    rows = []
    for start in range(0, len(found), BATCH):
        chosen = found[start : start + BATCH]
        maps = torch.from_numpy(np.stack([features[each.row] for each in chosen]).astype(np.float32))
        boxes = torch.from_numpy(np.stack([each.box for each in chosen]))
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            logits, quality = decoder(maps, boxes)
        for each, one, predicted in zip(chosen, (logits > 0).numpy(), quality.float().tolist(), strict=True):
            true = each.mask() > 0
            places = np.argwhere(one)
            box = np.concatenate([places.min(0)[::-1], places.max(0)[::-1] + 1]).astype(np.float32) if len(places) else None
            rows.append((each, float(2 * (one & true).sum() / (one.sum() + true.sum())), predicted, box))
    return rows
