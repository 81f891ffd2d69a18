"""Views of padded pictures for the language stages: what `tower_views` draws, as questions are asked about it.

Coordinates in text are relative to the image, not to the padded square, as the runtime writes them.
"""

from __future__ import annotations

import copy
from collections.abc import Callable

import numpy as np
import numpy.typing as npt

from medrega_edge.evaluation.records import Record
from medrega_train import tower_views
from medrega_train.augment import View, ViewRegion
from medrega_train.tower_targets import sideless
from medrega_train.tower_views import Picture, PictureStore
from medrega_train.views import CLEAN_SHARE, balance


class PaddedViews:
    """Draws augmented views of records, as `views.Views` does: sample number i is a pure function of (seed, i)."""

    def __init__(self, records: list[Record], size: int, seed: int) -> None:
        """Decode all images; `size` is the side of the padded square in pixels."""
        self.records = records
        self.size = size
        self._seed = seed
        self._pictures = PictureStore(records)
        self._cumulative = np.cumsum(balance(records))

    def for_stage(self, stage: int, weight: Callable[[Record], float]) -> PaddedViews:
        """The same images for another stage: other draws, and each record as often as `weight` says."""
        other = copy.copy(self)
        other._seed = self._seed + stage
        share = balance(self.records) * np.array([weight(record) for record in self.records])
        other._cumulative = np.cumsum(share / share.sum())
        return other

    def draw(self, number: int) -> tuple[Record, View, np.random.Generator]:
        """Return sample `number`, with the generator that goes on to draw its questions."""
        rng = np.random.default_rng([self._seed, number])
        index = self._index(rng)
        return self.records[index], self._view(index, self._pictures[index], rng), rng

    def outline(self, number: int) -> tuple[Record, View]:
        """Return the record and the regions of sample `number`, without the cost of its pixels."""
        rng = np.random.default_rng([self._seed, number])
        index = self._index(rng)
        return self.records[index], self._view(index, None, rng)

    def clean(self, index: int) -> tuple[Record, View]:
        """Return record `index` as the runtime sees it."""
        record = self.records[index]
        return record, _as_asked(record, tower_views.clean_view(record, self._pictures[index], self.size))

    def _index(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self._cumulative, rng.random())), len(self.records) - 1)

    def _view(self, index: int, picture: Picture | None, rng: np.random.Generator) -> View:
        record = self.records[index]
        if rng.random() < CLEAN_SHARE:
            return _as_asked(record, tower_views.clean_view(record, picture, self.size))
        return _as_asked(record, tower_views.random_view(record, picture, self.size, sideless(record), rng))


def _as_asked(record: Record, view: tower_views.View) -> View:
    """The regions that are left, with boxes relative to the image."""
    extent = np.asarray(view.extent * 2, np.float32)
    regions = tuple(
        ViewRegion(region.label_en, region.label_zh, np.clip(boxes / extent, 0.0, 1.0), len(boxes) == len(region.boxes))
        for region, boxes in zip(record.regions, view.boxes, strict=True)
        if len(boxes)
    )
    return View(_coloured(view.pixels), regions, view.upright, view.extent)


def _coloured(pixels: Picture) -> npt.NDArray[np.uint8]:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
