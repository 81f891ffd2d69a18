"""Training of the vision tower with its region head, on every region of the training images at once.

First the tower stands still and the head learns on small views; then the tower's later blocks learn too, and the views
grow. The state of a run is its step, so a killed run repeats at most the steps since its last resume point.
"""

from __future__ import annotations

import datetime as dt
import json
import math
import time
from collections import Counter, defaultdict, deque
from collections.abc import Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import torch
from safetensors.torch import save
from torch import Tensor, nn
from torch.nn import functional as F

from medrega_edge.evaluation.records import Record
from medrega_edge.io.atomic import atomic_write, write_text
from medrega_train.dense_head import plain_iou
from medrega_train.efficientnet_lite import PIXEL_CENTRE, PIXEL_SCALE, EfficientNetLite, imagenet_tower
from medrega_train.loop import Average
from medrega_train.records import split_of
from medrega_train.region_head import LEAST, OVERLAP, RegionHead, RegionLogits, peak_boxes
from medrega_train.region_targets import region_losses
from medrega_train.tower_targets import MODALITIES, Batch, Lesson, Lessons, TowerVocabulary, collate, sideless
from medrega_train.tower_views import PictureStore, clean_view, random_view

LABEL_WIDTH = 128
CLEAN_SHARE = 0.1
GRADIENT_NORM = 5.0
EVALUATION_BATCH = 16
SAVE_SECONDS = 240.0
EVALUATIONS = 4  # of a run


@dataclass(frozen=True)
class Plan:
    """How the tower learns. Shares are of the run's steps, 0..1."""

    steps: int = 8000
    batch: int = 16
    head_rate: float = 1.0e-3
    tower_rate: float = 1.5e-4
    weight_decay: float = 0.03
    average_decay: float = 0.996
    warm_up: float = 0.03
    tower_from: float = 0.15
    tower_warm_up: float = 0.05
    frozen_blocks: int = 6  # those up to stride 8 stay as ImageNet made them: they cost most and change least
    sides: tuple[tuple[float, int], ...] = ((0.0, 256), (0.35, 320), (0.7, 384))
    variant: str = "lite2"
    seed: int = 13

    @property
    def full_side(self) -> int:
        """The side that the tower is made for."""
        return self.sides[-1][1]

    def side(self, progress: float) -> int:
        """The side of training views."""
        return [side for start, side in self.sides if start <= progress][-1]

    def head_factor(self, progress: float) -> float:
        """Factor on the head's peak rate: linear warm-up, then a cosine."""
        return min(1.0, (progress + 1e-3) / self.warm_up) * (
            0.01 + 0.99 * 0.5 * (1 + math.cos(math.pi * min(1.0, progress)))
        )

    def tower_factor(self, progress: float) -> float:
        """Factor on the tower's peak rate: zero while it stands still."""
        if progress < self.tower_from:
            return 0.0
        return self.head_factor(progress) * min(1.0, (progress - self.tower_from) / self.tower_warm_up)


class TowerWithHead(nn.Module):
    """The tower, the region head asked by label, and two linear heads on the pooled last map."""

    def __init__(self, tower: EfficientNetLite, vocabulary: TowerVocabulary) -> None:
        """`vocabulary` has the labels and classes, in the order of their numbers."""
        super().__init__()
        self.tower = tower
        self.labels = nn.Embedding(len(vocabulary.regions), LABEL_WIDTH)
        self.regions = RegionHead(tower.widths, LABEL_WIDTH)
        pooled = 2 * tower.widths[-1]
        self.modality = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, len(MODALITIES)))
        self.classes = nn.Sequential(nn.LayerNorm(pooled), nn.Linear(pooled, len(vocabulary.classes)))

    def forward(self, pixels: Tensor, labels: Tensor) -> tuple[RegionLogits, Tensor, Tensor]:
        """`pixels` uint8 `[B, 3, S, S]`, `labels` `[B, Q]` -> regions, modality `[B, 10]`, classes `[B, K]`."""
        scaled = ((pixels.float() - PIXEL_CENTRE) / PIXEL_SCALE).contiguous(memory_format=torch.channels_last)
        maps = self.tower(scaled)
        pooled = torch.cat([maps[-1].mean((2, 3)), maps[-1].amax((2, 3))], dim=1)
        return self.regions(maps, self.labels(labels)), self.modality(pooled), self.classes(pooled)

    def losses(self, batch: Batch) -> dict[str, Tensor]:
        """Return the parts of the loss, weighted; each is a mean over what it is about."""
        regions, modality, classes = self(batch.pixels, batch.labels)
        per_class = F.binary_cross_entropy_with_logits(classes.float(), batch.classes, reduction="none")
        return region_losses(regions, batch.regions) | {
            "modality": 0.2 * F.cross_entropy(modality.float(), batch.modality),
            "classes": (per_class * batch.classes_known).sum() / batch.classes_known.sum().clamp(min=1),
        }

    def let_tower_learn(self, frozen_blocks: int | None) -> None:
        """Freeze the stem and the first blocks; None freezes the tower. Filters of 5x5 stay: their gradient is slow."""
        self.tower.requires_grad_(False)
        if frozen_blocks is not None:
            for block in list(self.tower.blocks)[frozen_blocks:]:
                block.requires_grad_(True)
                if block.filter.weight.shape[-1] == 5:
                    block.filter.requires_grad_(False)


class Draws:
    """Batch number s: a pure function of (seed, s, side). Images with boxes are drawn more often, large sets less."""

    def __init__(self, records: list[Record], lessons: Lessons, plan: Plan) -> None:
        """Decode the images."""
        self._records, self._lessons, self._plan = records, lessons, plan
        self._pictures = PictureStore(records)
        sizes = Counter(record.dataset for record in records)
        weights = [_weight(record) * sizes[record.dataset] ** -0.2 for record in records]
        self._cumulative = np.cumsum(weights) / np.sum(weights)

    def batch(self, step: int, side: int) -> Batch:
        """Make one batch."""
        return collate(
            [self._lesson(np.random.default_rng([self._plan.seed, step, i]), side) for i in range(self._plan.batch)]
        )

    def _lesson(self, rng: np.random.Generator, side: int) -> Lesson:
        index = min(int(np.searchsorted(self._cumulative, rng.random())), len(self._records) - 1)
        record, picture = self._records[index], self._pictures[index]
        if rng.random() < CLEAN_SHARE:
            view = clean_view(record, picture, side)
        else:
            view = random_view(record, picture, side, sideless(record), rng)
        return self._lessons.lesson(record, view, rng)


def _weight(record: Record) -> float:
    names = len(record.targets)
    return 0.3 if not names else 1.0 + 0.15 * min(names - 1, 4)


class Evaluation:
    """Mean IoU and acc@0.5 of one object, one region, and what is said of absent names, over clean views."""

    def __init__(self, records: list[Record], lessons: Lessons, side: int) -> None:
        """`side` is that of the views in pixels."""
        self._records, self._lessons, self._side = records, lessons, side
        self._pictures = PictureStore(records)

    @torch.inference_mode()
    def measure(self, model: TowerWithHead) -> dict[str, object]:
        """Return the figures, as shares of 1."""
        overlaps: dict[str, list[float]] = defaultdict(list)
        several: list[float] = []
        there: list[float] = []
        absent: list[float] = []
        modality_right = 0
        for start in range(0, len(self._records), EVALUATION_BATCH):
            records = self._records[start : start + EVALUATION_BATCH]
            batch = collate([self._clean(start + i) for i in range(len(records))])
            regions, modality, _ = model(batch.pixels, batch.labels)
            truth = batch.regions
            iou, said = plain_iou(regions.boxes, truth.box), regions.presence.sigmoid()
            modality_right += int((modality.argmax(-1) == batch.modality).sum())
            for i, record in enumerate(records):
                single = truth.single[i]
                found = iou[i][single].tolist() + [0.0] * self._unknown(record)
                overlaps[f"batch {record.batch or 1}"] += found
                overlaps[record.dataset] += found
                overlaps["all"] += found
                present = truth.present[i] > 0
                there += said[i][present].tolist()
                absent += said[i][truth.asked[i] & ~present].tolist()
                for q in torch.nonzero(present & ~single).flatten().tolist():
                    found_boxes, _ = peak_boxes(regions.centres[i, q].sigmoid(), regions.distances[i, q], LEAST, OVERLAP)
                    mine = (truth.claims[:, 0] == i) & (truth.claims[:, 1] == q)
                    several.append(_alignment_f1(found_boxes, truth.claimed[mine].unique(dim=0)))
        groups = {name: _summary(values) for name, values in sorted(overlaps.items()) if values}
        return {
            "single": {name: groups.pop(name) for name in ("all", "batch 1", "batch 2") if name in groups},
            "several": {"n": len(several), "f1": round(float(np.mean(several or [0.0])), 4)},
            "modality": round(modality_right / max(1, len(self._records)), 4),
            "denied": round(float(np.mean([float(p < 0.5) for p in there] or [0.0])), 4),
            "invented": round(float(np.mean([float(p >= 0.5) for p in absent] or [0.0])), 4),
            "single_by_dataset": groups,
        }

    def _unknown(self, record: Record) -> int:
        """How many regions of one box have a name that training lacks: those boxes are missed."""
        known = self._lessons.vocabulary.regions
        return sum(len(region.boxes) == 1 and region.label_en not in known for region in record.targets)

    def _clean(self, index: int) -> Lesson:
        record = self._records[index]
        return self._lessons.lesson(record, clean_view(record, self._pictures[index], self._side), None)


def _alignment_f1(found: Tensor, truth: Tensor) -> float:
    """F1 of boxes, each matched with at most one of IoU 0.5 or more, in the order of their probability."""
    left, right = list(truth), 0
    for box in found:
        overlaps = [float(plain_iou(box, other)) for other in left]
        if overlaps and max(overlaps) >= 0.5:
            left.pop(int(np.argmax(overlaps)))
            right += 1
    return 2 * right / max(1, len(found) + len(truth))


def _summary(overlaps: list[float]) -> dict[str, float]:
    values = np.asarray(overlaps)
    return {"n": len(values), "iou": round(float(values.mean()), 4), "acc50": round(float((values >= 0.5).mean()), 4)}


def train(records: list[Record], folder: Path, plan: Plan, deadline: float) -> bool:
    """Go on with the run in `folder` until the deadline (a `time.monotonic` value); True when its weights are written.

    Writes `state.pt` (resume point), `steps.jsonl`, `evaluations.jsonl`, `vocabulary.json`, and at the end
    `tower_and_head.safetensors`, float16. The tower starts as ImageNet made it.
    """
    folder.mkdir(parents=True, exist_ok=True)
    training = split_of(records, "train")
    vocabulary = TowerVocabulary.of(training)
    lessons = Lessons(training, vocabulary)
    evaluation = Evaluation(split_of(records, "val"), lessons, plan.full_side)
    draws = Draws(training, lessons, plan)
    torch.manual_seed(plan.seed)
    model = TowerWithHead(imagenet_tower(plan.variant), vocabulary).to(memory_format=torch.channels_last)
    content = json.dumps({f.name: getattr(vocabulary, f.name) for f in fields(vocabulary)}, ensure_ascii=False, indent=1)
    write_text(folder / "vocabulary.json", content + "\n")
    return Run(folder, plan, model, draws, evaluation).go(deadline)


class Run:
    """The loop: batches, steps, average, checkpoints, evaluations."""

    def __init__(self, folder: Path, plan: Plan, model: TowerWithHead, draws: Draws, evaluation: Evaluation) -> None:
        """Load the resume point, if there is one."""
        self.folder, self.plan, self.model = folder, plan, model
        self.draws, self.evaluation = draws, evaluation
        self.optimizer = torch.optim.AdamW(_groups(model, plan), betas=(0.9, 0.98))
        self.average = Average(list(model.parameters()), plan.average_decay)
        self.step = 0
        if (folder / "state.pt").is_file():
            state = torch.load(folder / "state.pt", weights_only=True)
            model.load_state_dict(state["model"])
            self.optimizer.load_state_dict(state["optimizer"])
            for shadow, saved in zip(self.average.shadow, state["average"], strict=True):
                shadow.copy_(saved)
            self.step = state["step"]

    def go(self, deadline: float) -> bool:
        """Train until the deadline or the last step, at least one step; save, and at the end write the weights."""
        saved = begun = time.monotonic()
        for batch in self._batches():
            progress = self.step / self.plan.steps
            parts = self._learn(batch, progress)
            now = time.monotonic()
            line = {"step": self.step, "side": batch.pixels.shape[-1], "seconds": round(now - begun, 1)}
            _append(self.folder / "steps.jsonl", line | {name: round(float(part), 4) for name, part in parts.items()})
            if now > deadline or now - saved > SAVE_SECONDS:
                self.save()
                saved = now
            if self.step % max(1, self.plan.steps // EVALUATIONS) == 0 or self.step == self.plan.steps:
                self.evaluate()
            if now > deadline and self.step < self.plan.steps:
                return False
        self.save()
        self._write_weights()
        return True

    def _batches(self) -> Iterator[Batch]:
        """The batches that are left; two are made while one is learned."""
        with ThreadPoolExecutor(1) as pool:
            waiting: deque[Future[Batch]] = deque()
            for step in range(self.step, self.plan.steps + 2):
                if step < self.plan.steps:
                    waiting.append(pool.submit(self.draws.batch, step, self.plan.side(step / self.plan.steps)))
                if waiting and (len(waiting) == 3 or step >= self.plan.steps):
                    yield waiting.popleft().result()

    def _learn(self, batch: Batch, progress: float) -> dict[str, Tensor]:
        plan = self.plan
        learns = progress >= plan.tower_from
        self.model.let_tower_learn(plan.frozen_blocks if learns else None)
        for group in self.optimizer.param_groups:
            group["lr"] = group["peak"] * (plan.tower_factor(progress) if group["tower"] else plan.head_factor(progress))
        with torch.autocast("cpu", torch.bfloat16, enabled=torch.cpu._is_avx512_bf16_supported()):
            parts = self.model.losses(batch)
        torch.stack(list(parts.values())).sum().backward()
        norm = nn.utils.clip_grad_norm_(self.model.parameters(), GRADIENT_NORM)
        if not math.isfinite(float(norm)):
            self.optimizer.zero_grad(set_to_none=True)  # one broken batch changes nothing
        self.optimizer.step()
        self.optimizer.zero_grad(set_to_none=True)
        self.average.update(self.step)
        self.step += 1
        return {name: part.detach() for name, part in parts.items()} | {"norm": norm}

    def save(self) -> None:
        """Write the resume point."""
        state = {
            "step": self.step,
            "model": self.model.state_dict(),
            "optimizer": self.optimizer.state_dict(),
            "average": self.average.shadow,
        }
        with atomic_write(self.folder / "state.pt") as file:
            torch.save(state, file)

    def evaluate(self) -> None:
        """Measure the averaged weights on the validation split and add a line to evaluations.jsonl."""
        self.average.swap()
        self.model.eval()
        begun = time.time()
        figures = self.evaluation.measure(self.model)
        self.model.train()
        self.average.swap()
        when = dt.datetime.now(dt.UTC).isoformat(timespec="seconds")
        line = {"time": when, "step": self.step, "images": self.step * self.plan.batch}
        line |= {"seconds": round(time.time() - begun, 1)}
        _append(self.folder / "evaluations.jsonl", line | figures)

    def _write_weights(self) -> None:
        self.average.swap()
        tensors = {name: tensor.half().contiguous() for name, tensor in self.model.state_dict().items()}
        self.average.swap()
        with atomic_write(self.folder / "tower_and_head.safetensors") as file:
            file.write(save(tensors))


def _groups(model: TowerWithHead, plan: Plan) -> list[dict[str, object]]:
    groups: list[dict[str, object]] = []
    for in_tower in (True, False):
        for decayed in (True, False):
            chosen = [
                p for n, p in model.named_parameters() if n.startswith("tower.") == in_tower and (p.ndim > 1) == decayed
            ]
            rate = plan.tower_rate if in_tower else plan.head_rate
            decay = plan.weight_decay if decayed else 0.0
            groups.append({"params": chosen, "peak": rate, "lr": rate, "tower": in_tower, "weight_decay": decay})
    return groups


def _append(path: Path, line: dict[str, object]) -> None:
    with path.open("a", encoding="utf-8") as log:
        log.write(json.dumps(line) + "\n")
