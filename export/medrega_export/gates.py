"""Gates: what an export's accuracy loss may be at most, as `--gate "iou_drop<=0.01,flips<=0.03"` says it.

Knows the entries of a certificate and a small grammar; knows nothing of how either was made. A gate holds for every task
and language by itself, so that a good one cannot hide a bad one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medrega_edge.errors import GateError, UsageError


def _loss(key: str) -> Callable[[Mapping[str, Any]], float | None]:
    return lambda entry: entry[key]["loss"] if entry[key] is not None else None


# What can be held: name -> figure of one certificate entry, None where the entry has no such figure.
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
            known = ", ".join(FIGURES)
            raise UsageError(f"'{part.strip()}' is no gate; write for example iou_drop<=0.01 (known: {known}).")
        gates.append(Gate(match["name"], float(match["limit"])))
    return tuple(gates)


def check(gates: Sequence[Gate], accuracy: Sequence[Mapping[str, Any]]) -> None:
    """Raise GateError for the first gate that a task in a language misses, or that nothing was measured for."""
    whole = [entry for entry in accuracy if entry["modality"] is None]
    for gate in gates:
        measured = [(value, entry) for entry in whole if (value := FIGURES[gate.name](entry)) is not None]
        if not measured:
            raise GateError(f"No question of the certificate measures '{gate.name}'; the package was not written.")
        for value, entry in measured:
            if not value <= gate.limit:
                group = f"'{entry['task']}' in '{entry['language']}'"
                raise GateError(
                    f"{gate.name} of {group} is {value:.4g}, more than {gate.limit:.4g}; the package was not written."
                )
