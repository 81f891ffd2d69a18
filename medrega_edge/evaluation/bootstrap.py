"""Bootstrap intervals over images: the questions about one image are not independent, so images are drawn."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

RESAMPLES = 1000
SEED = 20261123  # of whatever this project draws at random
LEVEL = 0.95
FEWEST_IMAGES = 5  # with fewer, resampling knows too little of the spread to call anything significant

FloatArray = npt.NDArray[np.float64]
Interval = tuple[float, float]


def groups_of(images: Sequence[str]) -> list[npt.NDArray[np.int64]]:
    """Return the indices of the items of each image, images in the order in which they first appear."""
    members: dict[str, list[int]] = {}
    for index, image in enumerate(images):
        members.setdefault(image, []).append(index)
    return [np.array(indices) for indices in members.values()]


def draws(images: int) -> npt.NDArray[np.int64]:
    """Return the drawn images of each resample [RESAMPLES, images], with replacement; seeded."""
    return np.random.default_rng(SEED).integers(images, size=(RESAMPLES, images))


def multiplicities(images: int) -> FloatArray:
    """Return how often each image is in each resample [RESAMPLES, images]."""
    return np.stack([np.bincount(row, minlength=images) for row in draws(images)]).astype(float)


def percentiles(drawn: Sequence[float | None]) -> Interval | None:
    """Return the 95 % interval of resampled figures, those with nothing to measure left out."""
    known = [value for value in drawn if value is not None]
    if not known:
        return None
    low, high = np.percentile(known, [2.5, 97.5])
    return float(low), float(high)


def mean_interval(values: FloatArray, images: Sequence[str]) -> Interval:
    """Return the 95 % interval of the mean of `values`; `images` names the image of each."""
    groups = groups_of(images)
    sums = np.array([values[group].sum() for group in groups])
    sizes = np.array([len(group) for group in groups])
    picks = draws(len(groups))
    low, high = np.percentile(sums[picks].sum(axis=1) / sizes[picks].sum(axis=1), [2.5, 97.5])
    return float(low), float(high)


def is_significant(interval: Interval, images: int) -> bool:
    """Whether a difference is more than chance: its interval holds no zero, and images are enough."""
    low, high = interval
    return images >= FEWEST_IMAGES and not low <= 0 <= high
