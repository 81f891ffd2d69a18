"""Train the mask head on true masks, in boxes that err as a region head's do.

It starts from the vision tower of a checkpoint, which has learnt medical images already.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import load_file, save
from torch import Tensor
from torch.nn import functional as F

from medrega_edge.cli.console import print_status
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.records import read_records
from medrega_edge.evaluation.true_masks import read_mask_lines
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import atomic_write
from medrega_train.mask_crops import Cut, cuts, erring, varied, views
from medrega_train.mask_network import MaskNetwork
from medrega_train.records import split_of

FILE, TRAINED_ON = "mask_head.safetensors", "trained_on"  # of a checkpoint, and a key of its metadata; export reads both
# Files of a checkpoint that a tower may be in, the one of a tower alone first, and what the names of its tensors begin with.
TOWERS = {"tower_and_head.safetensors": "tower.", "model.safetensors": "vision_tower."}
STEPS = 4000
BATCH = 16
PEAK, TOWER_PEAK, WARM_UP = 1e-3, 3e-4, 100  # of the learning rate, that of the tower, and steps to it
WEIGHT_DECAY = 0.01
_EACH = 50  # steps between two notes of the loss


def loss(logits: Tensor, masks: Tensor) -> Tensor:
    """Dice and cross-entropy of masks `[B, PLACES, PLACES]`."""
    shares = logits.sigmoid()
    shared, both = (shares * masks).sum((1, 2)), shares.sum((1, 2)) + masks.sum((1, 2))
    entropy = F.binary_cross_entropy_with_logits(logits, masks, reduction="none").mean((1, 2))
    return (1 - (2 * shared + 1) / (both + 1) + entropy).mean()


class Training:
    """A run over cuts; `steps` in all, of one cycle of the learning rate."""

    def __init__(self, network: MaskNetwork, found: Sequence[Cut], steps: int, seed: int = 0) -> None:
        """Train `network` in place."""
        torch.manual_seed(seed)
        self.network, self._found, self._steps = network.to(memory_format=torch.channels_last), found, steps
        tower = list(network.tower.parameters())
        own = {id(weight) for weight in tower}
        rest = [weight for weight in network.parameters() if id(weight) not in own]
        groups = [{"params": tower, "peak": TOWER_PEAK}, {"params": rest, "peak": PEAK}]
        self.optimiser = torch.optim.AdamW(groups, PEAK, weight_decay=WEIGHT_DECAY)
        self.random = np.random.default_rng(seed)
        self.step = 0
        self._queue: list[int] = []

    def _batch(self) -> tuple[Tensor, Tensor]:
        while len(self._queue) < BATCH:
            self._queue += self.random.permutation(len(self._found)).tolist()
        chosen, self._queue = [self._found[number] for number in self._queue[:BATCH]], self._queue[BATCH:]
        return varied(*views(chosen, erring(len(chosen), self.random)), self.random)

    def share_of_rate(self, passed: float) -> float:
        """The share of its peak that the rate has: up, then down along half a cosine; `passed` is the share of the time."""
        done = min(1.0, max(self.step / self._steps, passed))
        return min((self.step + 1) / WARM_UP, 0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * done)))

    def run(self, minutes: float) -> Iterator[tuple[int, float]]:
        """Train for so many minutes, or to the end, with one cycle of the rate; yields step and mean loss at times."""
        begun, losses = time.monotonic(), list[float]()
        self.network.train()
        while self.step < self._steps and (passed := (time.monotonic() - begun) / (60 * minutes)) < 1:
            pixels, masks = self._batch()
            for group in self.optimiser.param_groups:
                group["lr"] = group["peak"] * self.share_of_rate(passed)
            value = loss(self.network(pixels.contiguous(memory_format=torch.channels_last)), masks)
            self.optimiser.zero_grad()
            value.backward()
            torch.nn.utils.clip_grad_norm_(self.network.parameters(), 1.0)
            self.optimiser.step()
            self.step += 1
            losses.append(value.item())
            if self.step % _EACH == 0:
                yield self.step, float(np.mean(losses))
                losses = []


@dataclass(frozen=True)
class TrainingOptions:
    """`start` is a checkpoint with an EfficientNet-Lite2 tower; `masks` is the folder of the true masks."""

    data: Path
    masks: Path
    start: Path
    out: Path
    minutes: float
    steps: int = STEPS


def train(options: TrainingOptions) -> Path:
    """Train a mask head for so many minutes; returns the file of its weights.

    The file has no calibration and no wrong labels: `medrega bench masks` measures them. Raises UsageError for a checkpoint
    without such a tower, and where no training image has a mask.
    """
    network = MaskNetwork()
    network.tower.load_state_dict(tower_weights(options.start, network))
    lines = read_mask_lines(options.masks)
    records = [record for record in split_of(read_records(options.data), "train") if record.id in lines]
    found = list(cuts(records, lines, options.masks))
    if not found:
        raise UsageError("train.masks_and_start")
    for step, value in Training(network, found, options.steps).run(options.minutes):
        print_status(Message("train.step", step=step, steps=options.steps, loss=value))
    return write_mask_head(options.out / FILE, network, len(records))


def tower_weights(start: Path, network: MaskNetwork) -> dict[str, Tensor]:
    """Return the weights of a checkpoint's tower; raises UsageError where it has none that fit."""
    wanted = {name: value.shape for name, value in network.tower.state_dict().items()}
    for file, prefix in TOWERS.items():
        weights = load_file(start / file) if (start / file).is_file() else {}
        tower = {name.removeprefix(prefix): value.float() for name, value in weights.items() if name.startswith(prefix)}
        if {name: value.shape for name, value in tower.items()} == wanted:
            return tower
    raise UsageError("train.no_lite2_tower", names=list(TOWERS))


def write_mask_head(path: Path, network: MaskNetwork, images: int) -> Path:
    """Write a mask head that was trained on so many images, 16 bits a weight; returns the path."""
    halves = {name: value.to(torch.float16).contiguous() for name, value in network.folded().items()}
    path.parent.mkdir(parents=True, exist_ok=True)
    with atomic_write(path) as file:
        file.write(save(halves, {TRAINED_ON: str(images)}))
    return path
