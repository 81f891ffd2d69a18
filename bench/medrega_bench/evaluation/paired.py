"""The same questions answered twice: what changed, by how much, and whether that is more than chance.

Knows rows of the suite and one grade for each; knows no package. An entry has the keys of a certificate's, so that one
grammar of gates serves both. Differences are paired and resampled over images, because the questions about one image are
not independent.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from medrega_bench.evaluation.figures import FEWEST_IMAGES, FloatArray, Pair, bootstrap, groups_of
from medrega_bench.metrics.regions import HIT, labelled_boxes, match
from medrega_bench.metrics.text import is_exact, report
from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.prompts.templates import LABEL_SEPARATOR

Row = dict[str, Any]

TASKS = {"vqa": "vqa", "report": "report", "region": "identify", "classification": "classify", "absent": "absent"}
MEANS = ("mean_iou", "accuracy", "rouge_l")


@dataclass(frozen=True)
class Grade:
    """What one answer is worth, each None where it makes no sense: IoU of its boxes, share that is right, ROUGE-L."""

    mean_iou: float | None = None
    accuracy: float | None = None
    rouge_l: float | None = None

    @property
    def worth(self) -> float:
        """The one number to sort answers by."""
        return next(value for value in (self.mean_iou, self.accuracy, self.rouge_l) if value is not None)


def task_of(row: Row) -> str:
    """Name the task of a row: what asks for places is "detect", and "absent" where there is none."""
    return TASKS.get(str(row["setting"]).partition("_")[0], "detect")


def grade(row: Row) -> Grade:
    """Grade one answer. Boxes: of the right label, one to one; what is missing or too much counts 0."""
    task = task_of(row)
    if task == "absent":
        return Grade(accuracy=float(not row["answer"]))
    if task == "detect":
        given, true = labelled_boxes(row["answer"]), labelled_boxes(row["truth"])
        matchings = [
            match([x.box for x in given if x.label == label], [x.box for x in true if x.label == label])
            for label in {x.label for x in true}
        ]
        count = max(len(given), len(true), 1)
        overlaps = [overlap for matching in matchings for _, _, overlap in matching.pairs]
        return Grade(sum(overlaps) / count, sum(overlap >= HIT for overlap in overlaps) / count)
    if task == "report":
        pair = Pair(row["answer"], row["truth"])
        return Grade(rouge_l=report([pair], Language(row["language"])).values()["rougeL"])
    if task == "classify":
        given_labels, true_labels = (set(row[key].split(LABEL_SEPARATOR)) for key in ("answer", "truth"))
        return Grade(accuracy=float(given_labels == true_labels))
    return Grade(accuracy=float(is_exact(Pair(row["answer"], row["truth"]))))


@dataclass(frozen=True)
class Twice:
    """A question with its two rows and their grades."""

    before: Row
    after: Row
    grades: tuple[Grade, Grade]

    @property
    def flipped(self) -> bool:
        """Whether one answer is right and the other is not."""
        return self.grades[0].accuracy != self.grades[1].accuracy

    @property
    def changed(self) -> bool:
        """Whether the words differ, were it by one digit."""
        return bool(self.before["answer"] != self.after["answer"])


def pair_up(before: Sequence[Row], after: Sequence[Row]) -> list[Twice]:
    """Put rows of the same question together; raises UsageError when there is none, or its truth differs."""
    first = {row["id"]: row for row in before}
    common = [(first[row["id"]], row) for row in after if row["id"] in first]
    if not common:
        raise UsageError("The two results have no question in common; measure both on the same data.")
    for a, b in common:
        if (a["truth"], a["setting"]) != (b["truth"], b["setting"]):
            raise UsageError("A question has two truths in the two results; measure both on the same data.")
    return [Twice(a, b, (grade(a), grade(b))) for a, b in common]


def entries(pairs: Sequence[Twice]) -> list[dict[str, Any]]:
    """One entry per task and language, and further ones per modality where the questions name it."""
    members: dict[tuple[str, str, str], list[Twice]] = defaultdict(list)
    for pair in pairs:
        key = task_of(pair.after), str(pair.after["language"])
        members[*key, ""].append(pair)
        if pair.after["modality"]:
            members[*key, str(pair.after["modality"])].append(pair)
    return [_entry(key, members[key]) for key in sorted(members)]


def _entry(key: tuple[str, str, str], members: Sequence[Twice]) -> dict[str, Any]:
    task, language, modality = key
    judged = [pair for pair in members if pair.grades[0].accuracy is not None]
    return {
        "task": task,
        "language": language,
        "modality": modality or None,
        "n": len(members),
        "images": len({pair.after["image"] for pair in members}),
        **{name: _beside(members, name) for name in MEANS},
        "changed": float(np.mean([pair.changed for pair in members])),
        "flipped": float(np.mean([pair.flipped for pair in judged])) if judged else None,
    }


def _beside(members: Sequence[Twice], name: str) -> dict[str, Any] | None:
    """Mean of both, and the loss with its 95 % interval; significant when it holds no zero and images are enough."""
    both = np.array([[getattr(one, name) for one in pair.grades] for pair in members], object)
    if any(value is None for value in both.flat):
        return None
    scores = both.astype(float)
    loss = scores[:, 0] - scores[:, 1]
    groups = groups_of([pair.after["image"] for pair in members])
    low, high = bootstrap(loss, groups)
    return {
        "reference": float(scores[:, 0].mean()),
        "package": float(scores[:, 1].mean()),
        "loss": float(loss.mean()),
        "interval": [low, high],
        "significant": len(groups) >= FEWEST_IMAGES and (low > 0 or high < 0),
    }


def flips(pairs: Sequence[Twice]) -> list[dict[str, Any]]:
    """The questions whose answer became right or wrong, the greatest losses first."""
    made = [
        {
            "id": pair.after["id"],
            "task": task_of(pair.after),
            "language": pair.after["language"],
            "question": pair.after["question"],
            "truth": pair.after["truth"],
            "before": pair.before["answer"],
            "after": pair.after["answer"],
            "gain": pair.grades[1].worth - pair.grades[0].worth,
        }
        for pair in pairs
        if pair.flipped
    ]
    return sorted(made, key=lambda flip: float(flip["gain"]))


def overall_loss(pairs: Sequence[Twice]) -> dict[str, Any]:
    """Loss over all places asked for, or over everything where none was, with its interval."""
    mine = [pair for pair in pairs if task_of(pair.after) == "detect"] or list(pairs)
    values = np.array([before.worth - after.worth for before, after in (pair.grades for pair in mine)])
    return _mean(values, [pair.after["image"] for pair in mine])


def mean_worth(rows: Sequence[Row], of: Callable[[Row], bool]) -> dict[str, Any] | None:
    """Mean worth of the rows that `of` picks, with its interval; None where there is none."""
    mine = [row for row in rows if of(row)]
    if not mine:
        return None
    return _mean(np.array([grade(row).worth for row in mine]), [row["image"] for row in mine])


def _mean(values: FloatArray, images: Sequence[str]) -> dict[str, Any]:
    return {"n": len(values), "value": float(values.mean()), "interval": list(bootstrap(values, groups_of(images)))}


def compared(before: Sequence[Row], after: Sequence[Row]) -> dict[str, Any]:
    """Everything that two runs on the same questions differ in; what only one of them was asked is counted."""
    pairs = pair_up(before, after)
    return {
        "n": len(pairs),
        "only_before": len(before) - len(pairs),
        "only_after": len(after) - len(pairs),
        "overall": overall_loss(pairs),
        "accuracy": entries(pairs),
        "flips": flips(pairs),
    }


def whole(accuracy: Iterable[dict[str, Any]]) -> list[dict[str, Any]]:
    """The entries of whole tasks, not split by modality."""
    return [entry for entry in accuracy if entry["modality"] is None]
