"""Repeated measurements of one quantity, summed up."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Self

import numpy as np


@dataclass(frozen=True)
class Spread:
    """Median, 90th percentile, smallest and largest of `n` values."""

    median: float
    p90: float
    min: float
    max: float
    n: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Sum up at least one value."""
        return cls(
            float(np.median(values)), float(np.percentile(values, 90)), float(min(values)), float(max(values)), len(values)
        )


def quotients(numerators: Sequence[float], denominators: Sequence[float]) -> list[float]:
    """Divide round by round: both values of a round share whatever else the machine did in it."""
    return [above / below for above, below in zip(numerators, denominators, strict=True)]
