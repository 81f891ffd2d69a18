"""How right the boxes of a text are: MedRegA's Region-Aligned evaluation, and precision, recall and IoU as usual.

Boxes stand in model text, `<ref>name</ref><box>[[x1, y1, x2, y2]]</box>` on the 0..999 grid: stretching both boxes alike
leaves their IoU alone, so image sizes are not needed. Functions named after MedRegA's settings return what
upstream's evaluators return, oddities included; each oddity is named where it happens.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from medrega_bench.evaluation.figures import Measured, Pair, ratios
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.grading import Labelled, labelled_boxes, overlaps_by_label
from medrega_edge.evaluation.matching import HIT, Matching, match
from medrega_edge.i18n.message import Message

STRICT_HIT = 0.75  # upstream's threshold for one object with several regions, where the paper says 0.5

_BOX = r"\[\d+,\s*\d+,\s*\d+,\s*\d+\]"
_BOXES = rf"\[{_BOX}(?:,\s*{_BOX})*\]"
_IN_ANSWER = re.compile(rf"([^\[\]]*)({_BOXES})")
_IN_TRUTH = re.compile(rf"<ref>(.*?)</ref><box>({_BOXES})</box>")
_NUMBER = re.compile(r"\d+")


@dataclass(frozen=True)
class Named:
    """One object as upstream reads it: `name` in lower case, its boxes on the grid in the order written."""

    name: str
    boxes: tuple[PixelBox, ...]


def read_answer(text: str) -> list[Named]:
    """Read an answer as upstream does: any text before a list of boxes is its name, markers included."""
    return [Named(name.lower(), _boxes(boxes)) for name, boxes in _IN_ANSWER.findall(text)]


def read_truth(pair: Pair) -> list[Named]:
    """Read the truth; raises UsageError when a box cannot be read or there is none."""
    found = _IN_TRUTH.findall(pair.truth)
    if not found or len(found) != pair.truth.count("<box>"):
        raise UsageError("bench.truth_not_regions", place=pair.place)
    return [Named(name.lower(), _boxes(boxes)) for name, boxes in found]


def _boxes(text: str) -> tuple[PixelBox, ...]:
    numbers = [float(digits) for digits in _NUMBER.findall(text)]
    return tuple(PixelBox(*numbers[i : i + 4]) for i in range(0, len(numbers), 4))


def _all(objects: Sequence[Named]) -> list[PixelBox]:
    return [box for named in objects for box in named.boxes]


def single_object_single_region(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's detection of one region: accuracy above (not from) an IoU of 0.25, 0.5, 0.75, and mean IoU.

    The name does not count. Upstream takes the answer's first box, but the best one when there are too many.
    """
    rows = []
    for pair in pairs:
        given, true = _all(read_answer(pair.answer)), _all(read_truth(pair))
        overlaps = [iou(box, true[0]) for box in given] or [0.0]
        overlap = max(overlaps) if len(given) > len(true) else overlaps[0]
        hits = {f"acc{percent}": (float(overlap > percent / 100), 1.0) for percent in (25, 50, 75)}
        rows.append(hits | {"iou": (overlap, 1.0)})
    return ratios(rows)


def single_object_multi_region(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's detection of several regions of one object: means over items; IoU over the pairs of all items.

    Upstream calls "precision" what is divided by the number of true boxes, and "recall" what is divided by that of the
    answer's boxes. The name does not count.
    """
    rows = []
    for pair in pairs:
        matching = match(_all(read_answer(pair.answer)), _all(read_truth(pair)))
        found = len(matching.hits(STRICT_HIT))
        overlap = sum(overlap for _, _, overlap in matching.pairs)
        rows.append(_shares(("precision", "recall", "f1"), found, matching) | {"iou": (overlap, float(len(matching.pairs)))})
    return ratios(rows, empty=0.0)


def multi_object_single_region(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's detection of several objects of one region each: shares of the true boxes, means over items.

    Upstream numbers names by object but boxes by box, so that after an object with two boxes the names are shifted;
    and `object_iou` sums the IoU of rightly and wrongly named pairs over the number of rightly named ones.
    """
    rows = []
    for pair in pairs:
        given, true = read_answer(pair.answer), read_truth(pair)
        matching = match(_all(given), _all(true))
        names, true_names = [named.name for named in given], [named.name for named in true]
        named = [(i, j, overlap) for i, j, overlap in matching.pairs if i < len(names) and j < len(true_names)]
        aligned = {(i, j) for i, j, _ in named if _aligned(names[i], true_names[j])}
        hits = matching.hits()
        both = len(aligned.intersection(hits))
        rows.append(
            {
                "box.box_acc": (len(hits) / matching.true, 1.0),
                "box.box_iou": (sum(overlap for _, _, overlap in matching.pairs), float(matching.true)),
                "object.object_acc": (len(aligned) / matching.true, 1.0),
                "object.object_iou": (sum(overlap for _, _, overlap in named), float(len(aligned))),
                "object-box.object_box_acc": (both / matching.true, 1.0),
            }
            | _both_shares(both, len(hits), len(aligned))
        )
    return ratios(rows, empty=0.0)


def multi_object_multi_region(pairs: Sequence[Pair]) -> Measured:
    """MedRegA's detection of several objects of several regions: box, object (name) and both, means over items.

    Upstream's "pre" is divided by the number of true boxes, its "recall" by that of the answer's boxes.
    """
    rows = []
    for pair in pairs:
        given, true = read_answer(pair.answer), read_truth(pair)
        matching = match(_all(given), _all(true))
        names, true_names = _name_of_each_box(given), _name_of_each_box(true)
        named = [(i, j, overlap) for i, j, overlap in matching.pairs if _aligned(names[i], true_names[j])]
        hits = matching.hits()
        both = len({(i, j) for i, j, _ in named}.intersection(hits))
        object_box = ("object-box.object_box_pre", "object-box.object_box_recall", "object-box.object_box_f1")
        rows.append(
            _shares(("box.box_pre", "box.box_recall", "box.box_f1"), len(hits), matching)
            | {"box.box_iou": (sum(overlap for _, _, overlap in matching.pairs), float(matching.true))}
            | _shares(("object.object_pre", "object.object_rec", "object.object_f1"), len(named), matching)
            | {"object.object_iou": (sum(overlap for _, _, overlap in named), float(len(named)))}
            | _shares(object_box, both, matching)
            | _both_shares(both, len(hits), len(named))
        )
    return ratios(rows, empty=0.0)


def _name_of_each_box(objects: Sequence[Named]) -> list[str]:
    return [named.name for named in objects for _ in named.boxes]


def _aligned(name: str, true_name: str) -> bool:
    """Whether one name holds the other: upstream's answer names carry markers, and no name at all fits every name."""
    return name in true_name or true_name in name


def _shares(names: tuple[str, str, str], found: int, matching: Matching) -> dict[str, tuple[float, float]]:
    """Share of the true boxes, share of the answer's boxes, and their harmonic mean, of one item."""
    of_true = found / matching.true
    of_given = found / matching.given if matching.given else 0.0
    f1 = 2 * of_true * of_given / (of_true + of_given) if found else 0.0
    return {name: (share, 1.0) for name, share in zip(names, (of_true, of_given, f1), strict=True)}


def _both_shares(both: int, hits: int, aligned: int) -> dict[str, tuple[float, float]]:
    return {
        "object-box.object_box_alignment": (both / hits if hits else 0.0, 1.0),
        "object-box.object_box_detection": (both / aligned if aligned else 0.0, 1.0),
    }


def confident_boxes(text: str, confidences: Sequence[float], place: Message | str) -> list[tuple[Labelled, float]]:
    """Return the boxes of a text that can be read, each with its confidence, in the order written.

    Raises UsageError when there are not as many confidences as boxes.
    """
    boxes = labelled_boxes(text)
    if len(confidences) != len(boxes):
        raise UsageError("bench.confidences", place=place, confidences=len(confidences), boxes=len(boxes))
    return list(zip(boxes, confidences, strict=True))


def detection(pairs: Sequence[Pair]) -> Measured:
    """Precision, recall, F1 and mean IoU as everyone defines them, over the boxes of all items; answers without a box.

    A box is right when its label is the true one and its IoU at least 0.5, one to one. Mean IoU is over the true boxes
    with the box of the same label assigned to them, 0 without one.
    """
    rows = []
    for pair in pairs:
        given, true = labelled_boxes(pair.answer), labelled_boxes(pair.truth)
        overlaps = overlaps_by_label(given, true)
        right = float(sum(overlap >= HIT for overlap in overlaps))
        rows.append(
            {
                "precision": (right, float(len(given))),
                "recall": (right, float(len(true))),
                "f1": (2 * right, float(len(given) + len(true))),
                "mean_iou": (float(sum(overlaps)), float(len(true))),
                "without_box": (float(not given), 1.0),
            }
        )
    return ratios(rows)


def box_confidences(pairs: Sequence[Pair]) -> tuple[list[int], list[float], list[bool]]:
    """Return, for each box with a confidence, its item's index, its confidence, and whether it is right."""
    items, confidences, right = [], [], []
    for index, pair in enumerate(pairs):
        given = confident_boxes(pair.answer, pair.confidences or (), pair.place)
        true = labelled_boxes(pair.truth)
        for label in dict.fromkeys(x.label for x, _ in given):
            mine = [(x, confidence) for x, confidence in given if x.label == label]
            hits = match([x.box for x, _ in mine], [x.box for x in true if x.label == label]).hits()
            items += [index] * len(mine)
            confidences += [confidence for _, confidence in mine]
            right += [place in {row for row, _ in hits} for place in range(len(mine))]
    return items, confidences, right
