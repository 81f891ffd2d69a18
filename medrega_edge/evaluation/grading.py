"""What one answer is worth beside its truth, by the setting of its question."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

from medrega_edge.boxes import GridBox
from medrega_edge.evaluation.matching import HIT, match
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import LABEL_SEPARATOR

# Beginnings of settings that have a grade of their own; every other asks for boxes.
KINDS = {"vqa": "vqa", "report": "report", "region": "identify", "classification": "classify", "absent": "absent"}


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


@dataclass(frozen=True)
class Labelled:
    """One box that can be read, with its label in lower case."""

    label: str
    box: GridBox


def kind_of(setting: str) -> str:
    """Return the kind of a setting: what asks for boxes is "detect", and "absent" where there is none."""
    return KINDS.get(setting.partition("_")[0], "detect")


def labelled_boxes(text: str) -> list[Labelled]:
    """Return the boxes of a model's text that can be read, in the order written."""
    return [Labelled(region.label.lower(), box) for region in parse(text).regions for box in region.boxes]


def overlaps_by_label(given: Sequence[Labelled], true: Sequence[Labelled]) -> list[float]:
    """Return the IoU of each pair of boxes of one label, paired one to one."""
    matchings = [
        match([one.box for one in given if one.label == label], [one.box for one in true if one.label == label])
        for label in dict.fromkeys(one.label for one in true)
    ]
    return [overlap for matching in matchings for _, _, overlap in matching.pairs]


def is_exact(answer: str, truth: str) -> bool:
    """Tell whether an answer is the truth to the letter; case, white space and a final stop do not count."""
    return _plain(answer) == _plain(truth)


def _plain(text: str) -> str:
    return " ".join(text.split()).rstrip(".。").rstrip().casefold()


def grade(setting: str, answer: str, truth: str, rouge_l: Callable[[str, str], float] | None = None) -> Grade | None:
    """Grade one answer; None where nothing here can judge it: a report without `rouge_l`, which compares two texts.

    Regions stand in both texts as a model writes them. A box counts under its label, one to one; a box that is missing or
    too much counts 0.
    """
    kind = kind_of(setting)
    if kind == "absent":
        return Grade(accuracy=float(not answer))
    if kind == "detect":
        given, true = labelled_boxes(answer), labelled_boxes(truth)
        overlaps, count = overlaps_by_label(given, true), max(len(given), len(true), 1)
        return Grade(sum(overlaps) / count, sum(overlap >= HIT for overlap in overlaps) / count)
    if kind == "report":
        return rouge_l and Grade(rouge_l=rouge_l(answer, truth))
    if kind == "classify":
        given_labels, true_labels = (set(text.split(LABEL_SEPARATOR)) for text in (answer, truth))
        return Grade(accuracy=float(given_labels == true_labels))
    return Grade(accuracy=float(is_exact(answer, truth)))
