"""The image and the view of sample number i: a pure function of (seed, i), so a run resumes at any step.

The runtime's own reader and resize decode each image once. Memory holds small squares.
"""

from __future__ import annotations

import copy
from collections import Counter
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor

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


class Views:
    """Draws augmented views of records. Deterministic in the sample's number, whatever the process or worker."""

    def __init__(self, records: list[Record], size: int, seed: int) -> None:
        """Decode all images; this takes a few milliseconds an image."""
        self.records = records
        self.size = size
        self._seed = seed
        side = int(size * HELD_SIDE_FACTOR)
        with ThreadPoolExecutor() as pool:
            self._pixels: list[npt.NDArray[np.uint8]] = list(
                pool.map(lambda record: resize(read_image(record.image).pixels, side), records)
            )
        self._cumulative = np.cumsum(balance(records))

    def for_stage(self, stage: int, weight: Callable[[Record], float]) -> Views:
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
        return self.records[index], self._view(index, self._pixels[index], self.size, rng), rng

    def outline(self, number: int) -> tuple[Record, View]:
        """Return the record and the regions of sample `number`, without the cost of its pixels."""
        rng = np.random.default_rng([self._seed, number])
        index = self._index(rng)
        return self.records[index], self._view(index, np.zeros((1, 1, 3), np.uint8), 1, rng)

    def _index(self, rng: np.random.Generator) -> int:
        return min(int(np.searchsorted(self._cumulative, rng.random())), len(self.records) - 1)

    def _view(self, index: int, pixels: npt.NDArray[np.uint8], size: int, rng: np.random.Generator) -> View:
        record = self.records[index]
        if rng.random() < CLEAN_SHARE:
            return clean_view(record, pixels, size)
        return random_view(record, pixels, size, rng)  # it draws the geometry before anything that depends on pixels

    def clean(self, index: int) -> tuple[Record, View]:
        """Return record `index` as the runtime sees it."""
        record = self.records[index]
        return record, clean_view(record, resize(read_image(record.image).pixels, self.size), self.size)


def balance(records: list[Record]) -> npt.NDArray[np.float64]:
    """How often each record is drawn; the shares sum to 1."""
    counts = Counter(record.dataset for record in records)
    weight = np.array(
        [
            (1 + min(len(record.targets), COUNTED_REGIONS)) * counts[record.dataset] ** (BALANCE_POWER - 1.0)
            for record in records
        ]
    )
    balanced: npt.NDArray[np.float64] = weight / weight.sum()
    return balanced
