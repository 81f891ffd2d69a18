"""Gates on the accuracy loss: what they hold, where, and what a missed one says."""

from __future__ import annotations

import pytest

from medrega_edge.errors import UsageError
from medrega_edge.package.gates import Gate, read_gates
from medrega_export.gates import missed


def entry(task: str, iou: float | None, flipped: float, modality: str | None = None) -> dict:
    loss = {"loss": iou} if iou is not None else None
    return {"task": task, "language": "en", "modality": modality, "mean_iou": loss, "accuracy": {"loss": flipped}} | {
        "flipped": flipped,
        "changed": 0.5,
    }


def test_gates_are_read() -> None:
    assert read_gates("iou_drop<=0.01, flips <= 0") == (Gate("iou_drop", 0.01), Gate("flips", 0.0))


@pytest.mark.parametrize("text", ["", "iou_drop", "iou_drop<0.1", "iou_drop<=", "speed<=1", "flips<=-1", "flips<=0.1,"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(UsageError, match="no gate"):
        read_gates(text)


def test_every_task_has_to_pass_by_itself() -> None:
    accuracy = [entry("detect", 0.02, 0.0), entry("identify", None, 0.04), entry("detect", 0.5, 0.9, "ct")]
    # Limits hold, and modalities are too few to judge.
    assert missed(read_gates("iou_drop<=0.02,flips<=0.04,changed<=0.5"), accuracy) == ""
    assert missed(read_gates("iou_drop<=0.019"), accuracy) == "iou_drop of 'detect' in 'en' is 0.02, more than 0.019"
    assert "'identify'" in missed(read_gates("flips<=0.03"), accuracy)
    assert "accuracy_drop" in missed(read_gates("accuracy_drop<=0.03"), accuracy)


def test_a_figure_that_nothing_measures_is_a_missed_gate() -> None:
    assert "No question" in missed(read_gates("iou_drop<=1"), [entry("identify", None, 0.0)])
    assert missed(read_gates("flips<=1"), [entry("identify", None, float("nan"))])
