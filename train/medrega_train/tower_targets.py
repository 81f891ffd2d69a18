"""What a view is a lesson in: regions that are there, names that cannot be there, the kind of the image, its classes.

A missing box proves nothing, except where a data set labels everything. A name is absent for certain where the body part
rules it out.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from typing import TypeVar

import numpy as np
import torch
from torch import Tensor

from medrega_edge.domain import Modality
from medrega_edge.evaluation.records import NOT_A_TARGET, Record
from medrega_train.records import Absence, area_of
from medrega_train.region_targets import RegionTargets
from medrega_train.tower_views import SIDELESS_AREAS, Array, Picture, View

T = TypeVar("T")

MODALITIES = tuple(Modality)
MAX_SINGLE, MAX_SEVERAL, MAX_ABSENT = 8, 2, 3  # questions of a view: about one box, about several, about none
MIN_CLASS_COUNT = 10


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
    """A view and its targets as numpy arrays; Q questions. A question is about one box, several, or none."""

    pixels: Picture
    labels: list[int]  # Q
    boxes: list[Array]  # Q times [n, 4]; n = 0 where the object is absent
    modality: int
    classes: Array  # [K] 0/1
    classes_known: Array  # [K] 0/1


@dataclass(frozen=True)
class Batch:
    """Lessons as tensors. B views, Q questions (those that fill up are not `asked`), G = side / 8, K classes."""

    pixels: Tensor  # uint8 [B, 3, S, S]
    labels: Tensor  # [B, Q]
    regions: RegionTargets
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
    regions = RegionTargets.of([lesson.boxes for lesson in lessons], lessons[0].pixels.shape[0] // 8)
    labels = np.zeros(regions.asked.shape, np.int64)
    for i, lesson in enumerate(lessons):
        labels[i, : len(lesson.labels)] = lesson.labels
    pixels = np.stack([p if p.ndim == 3 else np.repeat(p[..., None], 3, axis=2) for p in (x.pixels for x in lessons)])
    return Batch(
        pixels=torch.from_numpy(pixels).permute(0, 3, 1, 2),
        labels=torch.from_numpy(labels),
        regions=regions,
        modality=torch.tensor([lesson.modality for lesson in lessons]),
        classes=torch.from_numpy(np.stack([lesson.classes for lesson in lessons])),
        classes_known=torch.from_numpy(np.stack([lesson.classes_known for lesson in lessons])),
    )


def _some(items: list[T], count: int, rng: np.random.Generator) -> list[T]:
    return items if len(items) <= count else [items[i] for i in rng.permutation(len(items))[:count]]
