"""Gates: the largest loss that may pass, written as `iou_drop<=0.01,flips<=0.03`.

Export holds them against a certificate, the benchmark against a result. A gate holds for every task and language by
itself, so that a good one cannot hide a bad one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from medrega_edge.errors import UsageError
from medrega_edge.evaluation.comparison import Difference, TaskComparison, whole_tasks
from medrega_edge.i18n.message import Message


def _loss(figure: Difference | None) -> float | None:
    return figure.loss if figure is not None else None


# Name of a gate -> its figure, None where the entry has no such figure.
FIGURES: dict[str, Callable[[TaskComparison], float | None]] = {
    "iou_drop": lambda entry: _loss(entry.mean_iou),
    "accuracy_drop": lambda entry: _loss(entry.accuracy),
    "flips": lambda entry: entry.flipped,  # right in full precision and wrong here, or the other way round
    "changed": lambda entry: entry.changed,  # any other text, were it by one digit
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
            raise UsageError("evaluation.not_a_gate", text=part.strip(), gates=list(FIGURES))
        gates.append(Gate(match["name"], float(match["limit"])))
    return tuple(gates)


def missed(gates: Sequence[Gate], entries: Iterable[TaskComparison]) -> list[Message]:
    """Return one message for each task and language that misses a gate, and for each gate that no question measures."""
    tasks = whole_tasks(entries)
    messages = []
    for gate in gates:
        measured = [(figure, entry) for entry in tasks if (figure := FIGURES[gate.name](entry)) is not None]
        if not measured:
            messages.append(Message("evaluation.gate_unmeasured", gate=gate.name))
        for figure, entry in measured:
            if not figure <= gate.limit:
                messages.append(
                    Message(
                        "evaluation.gate_missed",
                        gate=gate.name,
                        task=entry.task,
                        language=entry.language,
                        figure=figure,
                        limit=gate.limit,
                    )
                )
    return messages
