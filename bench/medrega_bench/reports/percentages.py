"""Figures as text: in per cent, each with its 95 % interval."""

from __future__ import annotations

from typing import Protocol

from medrega_edge.evaluation.bootstrap import Interval


class HasValue(Protocol):
    """A figure 0..1 with its interval."""

    @property
    def value(self) -> float | None:
        """The figure, None where there was nothing to measure."""

    @property
    def interval(self) -> Interval | None:
        """Its 95 % interval, None where it is not known."""


def percent(figure: HasValue | None, to: str = "to", missing: str = "") -> str:
    """A figure in per cent with its interval; `missing` where there is none."""
    if figure is None:
        return missing
    text = share(figure.value, missing)
    if figure.value is None or figure.interval is None:
        return text
    low, high = figure.interval
    return f"{text} ({100 * low:.1f} {to} {100 * high:.1f})"


def share(value: float | None, missing: str = "") -> str:
    """A share in per cent; `missing` where there is none."""
    return missing if value is None else f"{100 * value:.1f}"


def signed(value: float, interval: Interval, to: str = "to") -> str:
    """A difference in points of per cent with its interval."""
    low, high = interval
    return f"{100 * value:+.1f} ({100 * low:+.1f} {to} {100 * high:+.1f})"
