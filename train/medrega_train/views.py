"""The image and the view of sample number i: a pure function of (seed, i), so a run resumes at any step.

The runtime's own reader and resize decode each image once. Memory holds small squares.
"""

from __future__ import annotations

import copy
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Self

import numpy as np
import numpy.typing as npt

from medrega_edge.evaluation.records import Record
from medrega_edge.images.preprocess import resize
from medrega_edge.images.reader import read_image
from medrega_train.augment import View, clean_view, random_view

HELD_SIDE_FACTOR = 1.25  # held a little larger than the model sees them, so that zooming in does not blur
CLEAN_SHARE = 0.15

# Share of draws per data set grows with this power of its size: small sets are seen, large ones not starved.
BALANCE_POWER = 0.6
# An image with several regions teaches more than one without any; beyond a few it repeats itself.
COUNTED_REGIONS = 3


class SampledViews(ABC):
    """Draws views of records. Sample number i is a pure function of (seed, i), whatever the process or worker."""

    def __init__(self, records: list[Record], size: int, seed: int) -> None:
        """`size` is the side of a view in pixels."""
        self.records = records
        self.size = size
        self._seed = seed
        self._cumulative = np.cumsum(_balance(records))

    def for_stage(self, stage: int, weight: Callable[[Record], float]) -> Self:
        """The same images for another stage: other draws, and each record as often as `weight` says."""
        other = copy.copy(self)
        other._seed = self._seed + stage
        share = _balance(self.records) * np.array([weight(record) for record in self.records])
        other._cumulative = np.cumsum(share / share.sum())
        return other

    def draw(self, number: int) -> tuple[Record, View, np.random.Generator]:
        """Return sample `number`, with the generator that goes on to draw its questions."""
        rng = np.random.default_rng([self._seed, number])
        index = self._index(rng)
        return self.records[index], self._view(index, rng), rng

    def outline(self, number: int) -> tuple[Record, View]:
        """Return the record and the regions of sample `number`, without the cost of its pixels."""
        rng = np.random.default_rng([self._seed, number])
        index = self._index(rng)
        return self.records[index], self._view(index, rng, with_pixels=False)

    @abstractmethod
    def clean(self, index: int) -> tuple[Record, View]:
        """Return record `index` as the runtime sees it."""

    def _index(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self._cumulative, rng.random())), len(self.records) - 1)

    @abstractmethod
    def _view(self, index: int, rng: np.random.Generator, with_pixels: bool = True) -> View:
        """Draw one view; its geometry is drawn before anything that depends on pixels."""


class Views(SampledViews):
    """Views that are stretched to a square, as an InternViT sees them."""

    def __init__(self, records: list[Record], size: int, seed: int) -> None:
        """Decode all images; this takes a few milliseconds an image."""
        super().__init__(records, size, seed)
        side = int(size * HELD_SIDE_FACTOR)
        with ThreadPoolExecutor() as pool:
            self._pixels: list[npt.NDArray[np.uint8]] = list(
                pool.map(lambda record: resize(read_image(record.image).pixels, side), records)
            )

    def clean(self, index: int) -> tuple[Record, View]:
        """Return record `index` as the runtime sees it."""
        record = self.records[index]
        return record, clean_view(record, resize(read_image(record.image).pixels, self.size), self.size)

    def _view(self, index: int, rng: np.random.Generator, with_pixels: bool = True) -> View:
        record = self.records[index]
        pixels, size = (self._pixels[index], self.size) if with_pixels else (np.zeros((1, 1, 3), np.uint8), 1)
        if rng.random() < CLEAN_SHARE:
            return clean_view(record, pixels, size)
        return random_view(record, pixels, size, rng)


def _balance(records: list[Record]) -> npt.NDArray[np.float64]:
    counts = Counter(record.dataset for record in records)
    weight = np.array(
        [
            (1 + min(len(record.targets), COUNTED_REGIONS)) * counts[record.dataset] ** (BALANCE_POWER - 1.0)
            for record in records
        ]
    )
    balanced: npt.NDArray[np.float64] = weight / weight.sum()
    return balanced
