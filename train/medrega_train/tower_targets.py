"""What a view is a lesson in: regions that are there, names that cannot be there, the kind of the image, its classes.

A missing box proves nothing, except where a data set labels everything. A name is absent for certain where the body part
rules it out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import NOT_A_TARGET, Record
from medrega_train.records import Absence, area_of
from medrega_train.tower_views import SIDELESS_AREAS, Array, Picture, View

T = TypeVar("T")

MODALITIES = tuple(Modality)
MAX_SINGLE, MAX_SEVERAL, MAX_ABSENT = 8, 2, 3  # questions of a view: about one box, about several, about none
MIN_CLASS_COUNT = 10
_BUMP_WIDTH = 0.1  # of the box: standard deviation of the bump at its centre


def sideless(record: Record) -> bool:
    """Whether a mirror image of this image is as good an example: no name in it, and no body part, has a side."""
    has_side = any({"left", "right"} & set(r.label_en.split()) for r in record.regions)
    return area_of(record) in SIDELESS_AREAS and not has_side


@dataclass(frozen=True)
class TowerVocabulary:
    """The names that the heads know: regions, and classes of the whole image with the data sets that use them."""

    regions: tuple[str, ...]
    classes: tuple[str, ...]
    classes_of_dataset: dict[str, tuple[str, ...]]

    @classmethod
    def of(cls, records: list[Record]) -> TowerVocabulary:
        """Collect the names from training records; a class that is rare in a data set is no target there."""
        regions = sorted({region.label_en for record in records for region in record.targets})
        counts = Counter((record.dataset, label) for record in records for label in record.labels)
        common = [pair for pair, count in counts.items() if count >= MIN_CLASS_COUNT]
        of_dataset: dict[str, list[str]] = {}
        for dataset, label in sorted(common):
            of_dataset.setdefault(dataset, []).append(label)
        classes = sorted({label for _, label in common})
        return cls(tuple(regions), tuple(classes), {name: tuple(labels) for name, labels in of_dataset.items()})


@dataclass(frozen=True)
class Lesson:
    """A view and its targets as numpy arrays; Q questions, of which each has one box, several, or is about nothing."""

    pixels: Picture
    labels: list[int]  # Q
    boxes: list[Array]  # Q times [n, 4]; n = 0 where the object is absent
    single: list[bool]  # Q
    modality: int
    classes: Array  # [K] 0/1
    classes_known: Array  # [K] 0/1


@dataclass(frozen=True)
class Batch:
    """Lessons as tensors. B views, Q questions (those that fill up are not `asked`), G = side / 8, K classes."""

    pixels: Tensor  # uint8 [B, 3, S, S]
    labels: Tensor  # [B, Q]
    asked: Tensor  # [B, Q] bool
    present: Tensor  # [B, Q] float
    single: Tensor  # [B, Q] bool
    box: Tensor  # [B, Q, 4] of the single ones
    coverage: Tensor  # [B, Q, G, G]
    heat: Tensor  # [B, Q, G, G], 1 at the centre of each box
    claims: Tensor  # [N, 4], long: view, question, row and column of a place near the centre of a box
    claimed: Tensor  # [N, 4], the boxes that these places claim
    modality: Tensor  # [B]
    classes: Tensor  # [B, K]
    classes_known: Tensor  # [B, K]


class Lessons:
    """Makes lessons of views."""

    def __init__(self, records: list[Record], vocabulary: TowerVocabulary) -> None:
        """`records` are those of training: they say what is absent where."""
        self.vocabulary = vocabulary
        self._absent = Absence(records)
        self._region = {name: i for i, name in enumerate(vocabulary.regions)}
        self._class = {name: i for i, name in enumerate(vocabulary.classes)}

    def lesson(self, record: Record, view: View, rng: np.random.Generator | None) -> Lesson:
        """All regions, those of one box first, where `rng` is None; else a draw of all kinds, few enough for a batch."""
        found = [
            (self._region[region.label_en], boxes, len(region.boxes) == 1)
            for region, boxes in zip(record.regions, view.boxes, strict=True)
            if region.label_en in self._region and region.label_en != NOT_A_TARGET and len(boxes)
        ]
        one = [question for question in found if question[2]]
        several = [question for question in found if not question[2]]
        if rng is not None:
            one, several = _some(one, MAX_SINGLE, rng), _some(several, MAX_SEVERAL, rng)
        questions = one + several + [(label, np.zeros((0, 4), np.float32), False) for label in self.absent(record, rng)]
        classes, known = np.zeros(len(self._class), np.float32), np.zeros(len(self._class), np.float32)
        classes[[self._class[name] for name in record.labels if name in self._class]] = 1.0
        known[[self._class[name] for name in self.vocabulary.classes_of_dataset.get(record.dataset, ())]] = 1.0
        return Lesson(
            pixels=view.pixels,
            labels=[label for label, _, _ in questions],
            boxes=[boxes for _, boxes, _ in questions],
            single=[alone for _, _, alone in questions],
            modality=MODALITIES.index(record.modality),
            classes=classes,
            classes_known=known,
        )

    def absent(self, record: Record, rng: np.random.Generator | None) -> list[int]:
        """Numbers of absent names: those that could be there first; the same ones each time where `rng` is None."""
        rng = rng or np.random.default_rng(len(record.id))
        some = _some(self._absent.missing(record), MAX_ABSENT - 1, rng)
        some += _some(self._absent.elsewhere(record), MAX_ABSENT - len(some), rng)
        return [self._region[name] for name in some if name in self._region]


def collate(lessons: list[Lesson]) -> Batch:
    """Stack lessons of one side into a batch."""
    questions = max(1, max(len(lesson.labels) for lesson in lessons))
    grid = lessons[0].pixels.shape[0] // 8
    shape = (len(lessons), questions)
    labels, asked, present = np.zeros(shape, np.int64), np.zeros(shape, bool), np.zeros(shape, np.float32)
    single = np.zeros(shape, bool)
    box, coverage = np.zeros((*shape, 4), np.float32), np.zeros((*shape, grid, grid), np.float32)
    heat = np.zeros((*shape, grid, grid), np.float32)
    claims, claimed = [], []
    for i, lesson in enumerate(lessons):
        for q, (label, boxes, alone) in enumerate(zip(lesson.labels, lesson.boxes, lesson.single, strict=True)):
            labels[i, q], asked[i, q], present[i, q], single[i, q] = label, True, float(len(boxes) > 0), alone
            if len(boxes):
                box[i, q], coverage[i, q] = boxes[0], covered(boxes, grid)
                heat[i, q] = bumps(boxes, grid)
                places, owners = near_centres(boxes, grid)
                claims.append(np.concatenate([np.broadcast_to([i, q], (len(places), 2)), places], axis=1))
                claimed.append(boxes[owners])
    pixels = np.stack([p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in (x.pixels for x in lessons)])
    return Batch(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        labels=torch.from_numpy(labels),
        asked=torch.from_numpy(asked),
        present=torch.from_numpy(present),
        single=torch.from_numpy(single),
        box=torch.from_numpy(box),
        coverage=torch.from_numpy(coverage),
        heat=torch.from_numpy(heat),
        claims=torch.from_numpy(np.concatenate([np.zeros((0, 4), np.int64), *claims]).astype(np.int64)),
        claimed=torch.from_numpy(np.concatenate([np.zeros((0, 4), np.float32), *claimed])),
        modality=torch.tensor([lesson.modality for lesson in lessons]),
        classes=torch.from_numpy(np.stack([lesson.classes for lesson in lessons])),
        classes_known=torch.from_numpy(np.stack([lesson.classes_known for lesson in lessons])),
    )


def covered(boxes: Array, grid: int) -> Array:
    """The share of each of `grid` x `grid` places that the boxes `[n, 4]` cover, by the box that covers most of it."""
    edges = np.arange(grid + 1, dtype=np.float32) / grid
    x = np.clip(np.minimum(edges[1:], boxes[:, 2:3]) - np.maximum(edges[:-1], boxes[:, 0:1]), 0, None) * grid
    y = np.clip(np.minimum(edges[1:], boxes[:, 3:4]) - np.maximum(edges[:-1], boxes[:, 1:2]), 0, None) * grid
    share: Array = np.max(y[:, :, None] * x[:, None, :], axis=0)
    return share


def bumps(boxes: Array, grid: int) -> Array:
    """A map `[grid, grid]` with a Gaussian bump of height 1 at the place of each box's centre; wide boxes have wide ones."""
    centres = (boxes[:, :2] + boxes[:, 2:]) / 2 * grid
    widths = np.maximum(0.6, _BUMP_WIDTH * (boxes[:, 2:] - boxes[:, :2]) * grid)
    middle = np.arange(grid, dtype=np.float32) + 0.5
    nearest = np.floor(np.clip(centres, 0, grid - 1e-3)) + 0.5
    x = np.exp(-0.5 * ((middle - nearest[:, :1]) / widths[:, :1]) ** 2)
    y = np.exp(-0.5 * ((middle - nearest[:, 1:]) / widths[:, 1:]) ** 2)
    heat: Array = np.max(y[:, :, None] * x[:, None, :], axis=0).astype(np.float32)
    return heat


def near_centres(boxes: Array, grid: int) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]:
    """Places (row, column) `[n, 2]` at the centres of boxes and beside them where they lie inside, and whose they are `[n]`.

    A place that is near several centres belongs to the smallest box.
    """
    owner: dict[tuple[int, int], int] = {}
    largest_first = np.argsort(-np.prod(boxes[:, 2:] - boxes[:, :2], axis=1), kind="stable")
    for number in largest_first:
        x1, y1, x2, y2 = boxes[number] * grid
        column, row = (int(np.clip((a + b) / 2, 0, grid - 1e-3)) for a, b in ((x1, x2), (y1, y2)))
        for i in range(max(0, row - 1), min(grid, row + 2)):
            for j in range(max(0, column - 1), min(grid, column + 2)):
                if (i, j) == (row, column) or (x1 < j + 0.5 < x2 and y1 < i + 0.5 < y2):
                    owner[i, j] = int(number)
    return np.array(list(owner), np.int64).reshape(-1, 2), np.array(list(owner.values()), np.int64)


def _some(items: list[T], count: int, rng: np.random.Generator) -> list[T]:
    return items if len(items) <= count else [items[i] for i in rng.permutation(len(items))[:count]]
