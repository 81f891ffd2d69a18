"""Image features of a frozen tower, computed once for a pool of views and kept on disk.

While the tower is frozen, a view always has the same features. So the language stages draw their samples from a pool of
views with features in one file, and spend their time on language. Each sample asks new questions about a view of the pool.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

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
from medrega_train.views import Views

FOREIGN_SHARE = 0.015  # of images are no medical ones
CHUNK = 64  # views a pass
FEATURES, FILLED = "features.npy", "filled.json"


class Pictures(torch.utils.data.Dataset[npt.NDArray[np.float32]]):
    """View number i of a pool as the tower takes it, `[3, S, S]`."""

    def __init__(self, views: Views) -> None:
        """Draw from these views."""
        self._views = views
        self._numbers = Preprocessing(views.size)

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
    """`size` views of training images, and what the tower makes of them: 16-bit numbers `[size, tokens, width]`."""

    def __init__(self, views: Views, folder: Path, size: int) -> None:
        """`folder` holds, or will hold, the features."""
        self._views, self._folder, self._size = views, folder, size
        self._features: npt.NDArray[np.float16] | None = None

    def fill(self, encode: Callable[[Tensor], Tensor], deadline: float, workers: int) -> bool:
        """Compute what is missing until the deadline (a `time.monotonic` value); True when the pool is full.

        `encode` maps pictures `[B, 3, S, S]` to features `[B, tokens, width]`. An interrupted pool goes on.
        """
        path, progress = self._folder / FEATURES, self._folder / FILLED
        filled = json.loads(progress.read_text()) if progress.is_file() else 0
        numbers = [range(start, min(start + CHUNK, self._size)) for start in range(filled, self._size, CHUNK)]
        store: Any = np.load(path, mmap_mode="r+") if filled else None
        for chunk, pictures in zip(
            numbers, DataLoader(Pictures(self._views), batch_sampler=numbers, num_workers=workers), strict=False
        ):
            features = encode(pictures).half().cpu().numpy()
            if store is None:
                self._folder.mkdir(parents=True, exist_ok=True)
                shape = (self._size, *features.shape[1:])
                npy: Any = np.lib.format  # numpy has no types for it
                store = npy.open_memmap(path, "w+", dtype=np.float16, shape=shape)
            store[chunk.start : chunk.stop] = features
            over = time.monotonic() > deadline
            if over or chunk.stop == self._size or chunk.stop % (16 * CHUNK) == 0:
                store.flush()
                write_text(progress, str(chunk.stop))
            if over and chunk.stop < self._size:
                return False
        self._features = np.load(path, mmap_mode="r")
        return True

    def draw(self, number: int) -> tuple[Record | None, View, np.random.Generator, npt.NDArray[np.float16]]:
        """Return sample `number`: record (None: no medical image), view without pixels, generator, features."""
        assert self._features is not None, "the pool has not been filled"
        place = number % self._size
        record, view = self._views.outline(place)
        rng = np.random.default_rng([number, 2])
        return None if is_foreign(place) else record, view, rng, self._features[place]
