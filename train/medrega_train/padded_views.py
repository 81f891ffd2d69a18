"""Views of padded pictures for the language stages: what `tower_views` draws, as questions are asked about it.

Coordinates in text are relative to the image, not to the padded square, as the runtime writes them.
"""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from medrega_edge.evaluation.records import Record
from medrega_train import tower_views
from medrega_train.augment import View, ViewRegion
from medrega_train.tower_targets import sideless
from medrega_train.tower_views import Picture, PictureStore
from medrega_train.views import CLEAN_SHARE, SampledViews


class PaddedViews(SampledViews):
    """Views that are fitted into a square with their proportions."""

    def __init__(self, records: list[Record], size: int, seed: int) -> None:
        """Decode all images."""
        super().__init__(records, size, seed)
        self._pictures = PictureStore(records)

    def clean(self, index: int) -> tuple[Record, View]:
        """Return record `index` as the runtime sees it."""
        record = self.records[index]
        return record, _as_asked(record, tower_views.clean_view(record, self._pictures[index], self.size))

    def _view(self, index: int, rng: np.random.Generator, with_pixels: bool = True) -> View:
        record, picture = self.records[index], self._pictures[index] if with_pixels else None
        if rng.random() < CLEAN_SHARE:
            return _as_asked(record, tower_views.clean_view(record, picture, self.size))
        return _as_asked(record, tower_views.random_view(record, picture, self.size, sideless(record), rng))


def _as_asked(record: Record, view: tower_views.View) -> View:
    """The regions that are left, with boxes relative to the image."""
    extent = np.asarray(view.extent * 2, np.float32)
    regions = []
    for region, boxes in zip(record.regions, view.boxes, strict=True):
        left = tower_views.visible(boxes / extent)  # a turned image reaches beyond its extent
        if len(left):
            regions.append(ViewRegion(region.label_en, region.label_zh, left, len(left) == len(region.boxes)))
    return View(_coloured(view.pixels), tuple(regions), view.upright, view.extent)


def _coloured(pixels: Picture) -> npt.NDArray[np.uint8]:
    return pixels if pixels.ndim == 3 else np.repeat(pixels[..., None], 3, axis=2)
