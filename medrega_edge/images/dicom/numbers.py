"""Numbers of a header, which may be missing, several, or no numbers at all."""

from __future__ import annotations

import math
from typing import Any


def first_number(value: Any) -> float | None:
    """The first of one or several numbers; None if there is none."""
    try:
        return float(value[0] if hasattr(value, "append") else value)
    except (TypeError, ValueError, IndexError):
        return None


def number_or_infinity(value: Any) -> float:
    """A finite number, or infinity, which sorts behind all others."""
    try:
        number = float(value)
    except (TypeError, ValueError):
        return math.inf
    return number if math.isfinite(number) else math.inf


def vector(value: Any, length: int) -> tuple[float, ...] | None:
    """`length` numbers below a million; None if the value holds anything else."""
    try:
        numbers = tuple(float(number) for number in value)
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == length and all(abs(number) < 1e6 for number in numbers) else None
