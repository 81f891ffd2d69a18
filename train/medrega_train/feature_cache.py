"""Image features of a frozen tower, computed once for a pool of views and kept on disk.

While the tower is frozen, a view always has the same features. So the language stages draw their samples from a pool of
views with features in one file, and spend their time on language. Each sample asks new questions about a view of the pool.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from functools import cached_property
from pathlib import Path
from typing import Any, Literal

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor
from torch.utils.data import DataLoader

from medrega_edge.evaluation.records import Record
from medrega_edge.images.preprocess import Preprocessing, normalise
from medrega_edge.io.atomic import write_text
from medrega_train.augment import View
from medrega_train.non_medical_images import foreign_picture
from medrega_train.views import SampledViews

FOREIGN_SHARE = 0.015  # of images are no medical ones
CHUNK = 64  # views a pass
FILLED = "filled.json"


class Pictures(torch.utils.data.Dataset[npt.NDArray[np.float32]]):
    """View number i of a pool as the tower takes it, `[3, S, S]`."""

    def __init__(self, views: SampledViews, numbers: Preprocessing | None = None) -> None:
        """Draw from these views; `numbers` says how pixels are normalised, as ImageNet's where it is None."""
        self._views = views
        self._numbers = numbers or Preprocessing(views.size)

    def __getitem__(self, number: int) -> npt.NDArray[np.float32]:
        """Return one picture."""
        if is_foreign(number):
            pixels = foreign_picture(self._views.size, np.random.default_rng(number))
        else:
            pixels = self._views.draw(number)[1].pixels
        return np.asarray(normalise(pixels, self._numbers), np.float32)


def is_foreign(number: int) -> bool:
    """Whether view `number` is a picture that is no medical image."""
    return bool(np.random.default_rng([number, 1]).random() < FOREIGN_SHARE)


class FeaturePool:
    """`size` views of training images, and what the tower makes of them: named arrays `[size, ..]` of 16-bit numbers."""

    def __init__(
        self,
        views: SampledViews,
        folder: Path,
        size: int,
        weight: Callable[[Record], float],
        numbers: Preprocessing | None = None,
    ) -> None:
        """`folder` holds, or will hold, the features; `numbers` is that of `Pictures`.

        `weight` says how often a view of a record is drawn, relative to those of other records.
        """
        self._views, self._folder, self._size, self._weight, self._numbers = views, folder, size, weight, numbers
        self._features: dict[str, npt.NDArray[np.float16]] = {}

    @cached_property
    def _cumulative(self) -> npt.NDArray[np.float64]:
        """Share of draws up to and with each view."""
        weights = np.array([self._weight(self._views.outline(place)[0]) for place in range(self._size)])
        return np.asarray(np.cumsum(weights / weights.sum()), np.float64)

    def fill(self, encode: Callable[[Tensor], dict[str, Tensor]], deadline: float, workers: int) -> bool:
        """Compute what is missing until the deadline (a `time.monotonic` value); True when the pool is full.

        `encode` maps pictures `[B, 3, S, S]` to named features `[B, ..]`. An interrupted pool goes on.
        """
        progress = self._folder / FILLED
        filled = json.loads(progress.read_text()) if progress.is_file() else 0
        numbers = [range(start, min(start + CHUNK, self._size)) for start in range(filled, self._size, CHUNK)]
        stores: dict[str, Any] = self._open("r+") if filled else {}
        for chunk, pictures in zip(
            numbers,
            DataLoader(Pictures(self._views, self._numbers), batch_sampler=numbers, num_workers=workers),
            strict=False,
        ):
            self._folder.mkdir(parents=True, exist_ok=True)
            for name, values in encode(pictures).items():
                features = values.half().cpu().numpy()
                if name not in stores:
                    npy: Any = np.lib.format  # numpy has no types for it
                    shape = (self._size, *features.shape[1:])
                    stores[name] = npy.open_memmap(self._folder / f"{name}.npy", "w+", dtype=np.float16, shape=shape)
                stores[name][chunk.start : chunk.stop] = features
            over = time.monotonic() > deadline
            if over or chunk.stop == self._size or chunk.stop % (16 * CHUNK) == 0:
                for store in stores.values():
                    store.flush()
                write_text(progress, str(chunk.stop))
            if over and chunk.stop < self._size:
                return False
        self._features = self._open("r")
        return True

    def _open(self, mode: Literal["r", "r+"]) -> dict[str, npt.NDArray[np.float16]]:
        return {path.stem: np.load(path, mmap_mode=mode) for path in sorted(self._folder.glob("*.npy"))}

    def draw(self, number: int) -> tuple[Record | None, View, np.random.Generator, dict[str, npt.NDArray[np.float16]]]:
        """Return sample `number`: record (None: no medical image), view without pixels, generator, features."""
        assert self._features, "the pool has not been filled"
        rng = np.random.default_rng([number, 2])
        place = min(int(np.searchsorted(self._cumulative, rng.random())), self._size - 1)
        record, view = self._views.outline(place)
        features = {name: values[place] for name, values in self._features.items()}
        return None if is_foreign(place) else record, view, rng, features
