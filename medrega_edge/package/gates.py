"""Gates: what an accuracy loss may be at most, as `--gate "iou_drop<=0.01,flips<=0.03"` says it. Knows the
entries of a comparison (one per task and language: `mean_iou`, `accuracy`, `flipped`, `changed`) and a small grammar.

Export holds them against a certificate, the benchmark against a result.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from medrega_edge.errors import UsageError


def _loss(key: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda entry: entry[key]["loss"] if entry[key] is not None else None


# Name of a gate -> figure of one certificate entry, None where the entry has no such figure.
FIGURES: dict[str, Callable[[Mapping[str, Any]], float | None]] = {
    "iou_drop": _loss("mean_iou"),
    "accuracy_drop": _loss("accuracy"),
    "flips": lambda entry: entry["flipped"],  # right in full precision and wrong here, or the other way round
    "changed": lambda entry: entry["changed"],  # any other text, were it by one digit
}
_GATE = re.compile(r"\s*(?P<name>\w+)\s*<=\s*(?P<limit>\d+(?:\.\d+)?)\s*")


@dataclass(frozen=True)
class Gate:
    """A figure and the most that it may be."""

    name: str
    limit: float


def read_gates(text: str) -> tuple[Gate, ...]:
    """Read gates joined by commas; raises UsageError."""
    gates = []
    for part in text.split(","):
        match = _GATE.fullmatch(part)
        if match is None or match["name"] not in FIGURES:
            raise UsageError(f"'{part.strip()}' is no gate; write for example iou_drop<=0.01 (known: {', '.join(FIGURES)}).")
        gates.append(Gate(match["name"], float(match["limit"])))
    return tuple(gates)
