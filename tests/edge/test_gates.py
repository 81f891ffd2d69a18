"""Gates on the accuracy loss: what they hold, where, and what a missed one says."""

from __future__ import annotations

import pytest

from medrega_edge.errors import UsageError
from medrega_edge.evaluation.comparison import Difference, TaskComparison
from medrega_edge.evaluation.gates import Gate, missed, read_gates


def difference(loss: float | None) -> Difference | None:
    return None if loss is None else Difference(1.0, 1.0 - loss, loss, (loss, loss))


def entry(task: str, iou: float | None, flipped: float, modality: str | None = None) -> TaskComparison:
    accuracy = difference(flipped)
    return TaskComparison(task, "en", modality, 9, 9, difference(iou), accuracy, changed=0.5, flipped=flipped)


def test_gates_are_read() -> None:
    assert read_gates("iou_drop<=0.01, flips <= 0") == (Gate("iou_drop", 0.01), Gate("flips", 0.0))


@pytest.mark.parametrize("text", ["", "iou_drop", "iou_drop<0.1", "iou_drop<=", "speed<=1", "flips<=-1", "flips<=0.1,"])
def test_what_is_no_gate_is_refused(text: str) -> None:
    with pytest.raises(UsageError) as error:
        read_gates(text)
    assert error.value.code == "evaluation.not_a_gate"


def test_every_task_has_to_pass_by_itself() -> None:
    accuracy = [entry("detect", 0.02, 0.0), entry("identify", None, 0.04), entry("detect", 0.5, 0.9, "ct")]
    # Limits hold, and modalities are too few to judge.
    assert missed(read_gates("iou_drop<=0.02,flips<=0.04,changed<=0.5"), accuracy) == []
    (message,) = missed(read_gates("iou_drop<=0.019"), accuracy)
    assert str(message) == "iou_drop of 'detect' in 'en' is 0.02, more than 0.019"
    assert [one.params["task"] for one in missed(read_gates("flips<=0.03"), accuracy)] == ["identify"]
    assert [one.params["gate"] for one in missed(read_gates("accuracy_drop<=0.03"), accuracy)] == ["accuracy_drop"]


def test_a_figure_that_nothing_measures_is_a_missed_gate() -> None:
    assert [one.code for one in missed(read_gates("iou_drop<=1"), [entry("identify", None, 0.0)])] == [
        "evaluation.gate_unmeasured"
    ]
    assert missed(read_gates("flips<=1"), [entry("identify", None, float("nan"))])
