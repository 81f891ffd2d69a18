"""The same questions answered twice: what each kind of question lost, and whether that is more than chance."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
from pydantic import TypeAdapter, ValidationError

from medrega_edge.domain import Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.bootstrap import FloatArray, Interval, is_significant, mean_interval
from medrega_edge.evaluation.grading import Grade

MOVED = 0.01  # IoU by which a score has to change before it counts: below it two answers show the same place


@dataclass(frozen=True)
class GradedTwice:
    """One question with the grades of the reference's answer and of the package's, in this order.

    `task` is "absent" where what is asked for is not there; `changed` tells whether the two answers differ in any letter.
    `label` is the English name of the one object that was asked for, if there is one.
    """

    id: str
    task: str
    language: str
    modality: str | None
    image: str
    grades: tuple[Grade, Grade]
    changed: bool
    warnings: tuple[int, int] | None = None
    label: str | None = None

    @property
    def flipped(self) -> bool:
        """Whether one answer is right and the other is not."""
        return self.grades[0].accuracy != self.grades[1].accuracy

    @property
    def loss(self) -> float:
        """What the package's answer is worth less than the reference's."""
        return self.grades[0].worth - self.grades[1].worth


@dataclass(frozen=True)
class Difference:
    """A figure of both, and the loss with its 95 % interval over images; significant where it is more than chance."""

    reference: float
    package: float
    loss: float
    interval: Interval
    significant: bool = False


@dataclass(frozen=True)
class Warnings:
    """How many warnings the answers of both carry."""

    reference: int
    package: int


@dataclass(frozen=True)
class TaskComparison:
    """The differences of one task in one language, or of it on images of one modality.

    Figures are None where they make no sense for the task. `changed` is the share of answers that differ in any letter,
    `flipped` of those that turned right or wrong, `moved` of those whose IoU changed by more than 0.01.
    """

    task: str
    language: str
    modality: str | None
    n: int
    images: int
    mean_iou: Difference | None = None
    accuracy: Difference | None = None
    rouge_l: Difference | None = None
    changed: float = 0.0
    flipped: float | None = None
    moved: float | None = None
    warnings: Warnings | None = None

    @property
    def means(self) -> dict[str, Difference]:
        """The figures that there are, by their names."""
        figures = {"mean_iou": self.mean_iou, "accuracy": self.accuracy, "rouge_l": self.rouge_l}
        return {name: figure for name, figure in figures.items() if figure is not None}


@dataclass(frozen=True)
class LabelAccuracy:
    """The share of right answers about one label in images of one modality, in both languages together."""

    label: str
    modality: str
    answers: int
    right: float


_ENTRIES = TypeAdapter(tuple[TaskComparison, ...])


def read_comparisons(entries: object) -> tuple[TaskComparison, ...]:
    """Read what a certificate or a result holds as accuracy; raises UsageError."""
    try:
        return _ENTRIES.validate_python(entries)
    except ValidationError:
        raise UsageError("evaluation.accuracy_unreadable") from None


def whole_tasks(entries: Iterable[TaskComparison]) -> list[TaskComparison]:
    """Return the entries of whole tasks, which no modality narrows."""
    return [entry for entry in entries if entry.modality is None]


def compare(pairs: Sequence[GradedTwice]) -> tuple[TaskComparison, ...]:
    """Compare by task and language, and within each by modality where the questions name it."""
    members: dict[tuple[str, str, str], list[GradedTwice]] = defaultdict(list)
    for pair in pairs:
        members[pair.task, pair.language, ""].append(pair)
        if pair.modality:
            members[pair.task, pair.language, pair.modality].append(pair)
    return tuple(_entry(key, members[key]) for key in sorted(members))


def label_accuracies(pairs: Iterable[GradedTwice]) -> tuple[LabelAccuracy, ...]:
    """Return how often the package's boxes of each label were right, by modality."""
    found: dict[tuple[str, str], list[float]] = defaultdict(list)
    for pair in pairs:
        accuracy = pair.grades[1].accuracy
        if pair.task == Task.DETECT and pair.label and pair.modality and accuracy is not None:
            found[pair.label, pair.modality].append(accuracy)
    return tuple(LabelAccuracy(*key, len(found[key]), float(np.mean(found[key]))) for key in sorted(found))


def _entry(key: tuple[str, str, str], members: Sequence[GradedTwice]) -> TaskComparison:
    task, language, modality = key
    counted = [pair.warnings for pair in members if pair.warnings is not None]
    mean_iou, accuracy, rouge_l = (_scores(members, name) for name in ("mean_iou", "accuracy", "rouge_l"))
    images = [pair.image for pair in members]
    return TaskComparison(
        task=task,
        language=language,
        modality=modality or None,
        n=len(members),
        images=len(set(images)),
        mean_iou=_difference(mean_iou, images),
        accuracy=_difference(accuracy, images),
        rouge_l=_difference(rouge_l, images),
        changed=float(np.mean([pair.changed for pair in members])),
        flipped=None if accuracy is None else float(np.mean([pair.flipped for pair in members])),
        moved=None if mean_iou is None else float(np.mean(abs(mean_iou[:, 0] - mean_iou[:, 1]) > MOVED)),
        warnings=Warnings(sum(one[0] for one in counted), sum(one[1] for one in counted)) if counted else None,
    )


def _scores(members: Sequence[GradedTwice], name: str) -> FloatArray | None:
    """One figure of both [members, 2]; None where an answer has none."""
    scores = [[getattr(grade, name) for grade in pair.grades] for pair in members]
    return None if any(value is None for both in scores for value in both) else np.array(scores, float)


def _difference(scores: FloatArray | None, images: Sequence[str]) -> Difference | None:
    if scores is None:
        return None
    losses = scores[:, 0] - scores[:, 1]
    interval = mean_interval(losses, images)
    significant = is_significant(interval, len(set(images)))
    return Difference(float(scores[:, 0].mean()), float(scores[:, 1].mean()), float(losses.mean()), interval, significant)
