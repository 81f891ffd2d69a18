"""Numbers of a header, which may be missing, several, written with a decimal comma, or no numbers at all."""

from __future__ import annotations

import math
from typing import Any


def first_number(value: Any) -> float | None:
    """The first of one or several numbers; None if there is none."""
    try:
        return _number(value[0] if hasattr(value, "append") else value)
    except (TypeError, ValueError, IndexError):
        return None


def number_or_infinity(value: Any) -> float:
    """A finite number, or infinity, which sorts behind all others."""
    number = first_number(value)
    return math.inf if number is None or not math.isfinite(number) else number


def vector(value: Any, length: int) -> tuple[float, ...] | None:
    """`length` numbers below a million; None if the value holds anything else."""
    try:
        numbers = tuple(map(_number, value.split("\\") if isinstance(value, str) else value))
    except (TypeError, ValueError):
        return None
    return numbers if len(numbers) == length and all(abs(number) < 1e6 for number in numbers) else None


def _number(value: Any) -> float:
    """A number; a single comma in it is a decimal one, which DICOM forbids and some programs write."""
    is_decimal_comma = isinstance(value, str) and value.count(",") == 1 and "." not in value
    return float(value.replace(",", ".") if is_decimal_comma else value)
