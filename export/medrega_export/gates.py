"""Gates of an export, held against its certificate.

Knows the entries of a certificate; knows nothing of how it was made. A gate holds for every task
and language by itself, so that a good one cannot hide a bad one.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from medrega_edge.package.gates import FIGURES, Gate


def missed(gates: Sequence[Gate], accuracy: Sequence[Mapping[str, Any]]) -> str:
    """Say which gate a task in a language misses, or nothing was measured for; "" where all hold."""
    whole = [entry for entry in accuracy if entry["modality"] is None]
    for gate in gates:
        measured = [(value, entry) for entry in whole if (value := FIGURES[gate.name](entry)) is not None]
        if not measured:
            return f"No question of the certificate measures '{gate.name}'"
        for value, entry in measured:
            if not value <= gate.limit:
                task, language = entry["task"], entry["language"]
                return f"{gate.name} of '{task}' in '{language}' is {value:.4g}, more than {gate.limit:.4g}"
    return ""
