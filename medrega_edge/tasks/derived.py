"""Answers that follow from boxes, spacing, orientation and recognition: counts, sizes, sides, distances, kind of image.

No word of them is the model's. A size is that of a box: across and down the image, not along the object. What follows from
boxes that may be wrong says so; from a box that is hardly ever right nothing follows.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import combinations
from typing import Any

from medrega_edge.answer import SURE, Answer, ImageFacts, Region
from medrega_edge.boxes import PixelBox, iou
from medrega_edge.domain import Task
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.intent import Kind
from medrega_edge.tasks.base import TaskContext, TaskRequest, TaskResult
from medrega_edge.tasks.bounds import Bound, compared_numbers
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.presence import Found, absence, joined, of_name, presence, shown
from medrega_edge.tasks.sides import Told, of_picture, of_side
from medrega_edge.tasks.sizes import why_pixels
from medrega_edge.vocabulary.label_kinds import is_single, wider_label
from medrega_edge.vocabulary.terminology import BilingualName

_SAME_SIZE = 1.1  # two boxes whose areas differ by less are of the same size
SAME_PLACE = 0.5  # IoU of boxes from which on two labels of a generic word are one object
_WITHIN = 0.8  # share of the smaller of two boxes of one name from which on both are one object
_LEAST = 0.1  # confidence below which a box tells no side, size, number or distance


@dataclass(frozen=True)
class FromBoxes(TaskRequest):
    """Locate `names`, and answer a question of `kind` from their boxes.

    What is there is said without a yes unless it `says_yes`: a question may ask whether it is missing, or for one kind.
    With `sides_of_image` a side is that of the picture, not the patient's. A number of `others` than those known says so.
    With `masks` each box is that around a mask. `bound` is what sizes or numbers are held against; with
    `compares_numbers` the numbers of two names are held against each other.
    """

    kind: Kind
    names: tuple[BilingualName, ...]
    says_yes: bool = True
    sides_of_image: bool = False
    others: bool = False
    masks: bool = False
    bound: Bound | None = None
    compares_numbers: bool = False

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.DETECT

    @property
    def wants_masks(self) -> bool:
        """Whether the engine adds masks."""
        return self.masks

    @property
    def words(self) -> str:
        """The names as one enumeration."""
        return ", ".join(english for english, _ in self.names)

    def run(self, context: TaskContext) -> TaskResult:
        """Locate them."""
        return replace(Detect([english for english, _ in self.names]).run(context), certifiable=False)

    def finish(self, answer: Answer) -> Answer:
        """Put the answer in words; raises UsageError where the image does not tell."""
        located = {name: of_name(answer, name) for name in self.names}
        if self.kind is Kind.PRESENCE:
            text, facts = presence(located, answer, self.says_yes)
            return replace(answer, text=text, facts=facts)
        found = {name: _telling(regions, answer, self.kind) for name, regions in located.items()}
        found = {name: regions[:1] if is_single(name[0]) else regions for name, regions in found.items()}
        told = [region for regions in found.values() for region in regions]
        answer = replace(answer, regions=tuple(region for region in answer.regions if region in told))
        missing = absence(located, answer)
        if unclear := [shown(name, answer) for name in found if located[name] and not found[name]]:
            missing.append(Message("answer.too_uncertain", names=unclear).text(answer.language))
        if self.kind in _OF_ALL and not missing and _are_one_box(found, answer):
            names = [shown(name, answer) for name in found]
            missing.append(Message("answer.found_as_one", names=names).text(answer.language))
        if missing and self.kind in _OF_ALL:
            nothing, facts = _OF_ALL[self.kind]
            return replace(answer, text=joined([*missing, nothing], answer), facts=facts)
        if self.kind is Kind.SIDE and self.sides_of_image:
            messages, facts = of_picture(found, answer)
        else:
            messages, facts = DERIVATIONS[self.kind](found, answer)
        messages, facts = self._held_against((messages, facts), found, answer)
        guesses = answer.best_guesses
        if guesses and self.kind is not Kind.COUNT:
            messages.insert(0, Message("answer.best_guess", names=guesses))
        if self.others:
            messages.append(Message("answer.no_others"))
        english = [name[0] for name in found if shown(name, answer) in guesses]
        return replace(answer, text=joined([*messages, *missing], answer), facts=facts | {"best_guesses": english})

    def _held_against(self, told: Told, found: Found, answer: Answer) -> Told:
        """Add whether sizes and numbers reach a bound, and of what there are more, before what they are."""
        first = self.bound.verdicts(found, answer) if self.bound else ([], {})
        more = compared_numbers(found, answer) if self.compares_numbers else ([], {})
        return [*first[0], *more[0], *told[0]], told[1] | first[1] | more[1]


def _telling(regions: Sequence[Region], answer: Answer, kind: Kind) -> list[Region]:
    """Return the regions of one name, the most certain first, that tell something: each object once.

    For a number these are all; else best guesses count only where there is nothing better.
    """
    kept: list[Region] = []
    for region in regions:
        is_clear = region.confidence is None or region.confidence >= _LEAST
        if is_clear and not any(_is_one_object(region.box, one.box) for one in kept):
            kept.append(region)
    certain = [region for region in kept if not answer.is_best_guess(region)]
    return kept if kind is Kind.COUNT else certain or kept


def _are_one_box(found: Found, answer: Answer) -> bool:
    """Whether names were found only as one structure, the left atrium and ventricle say, in its one box."""
    wider = {wider_label(english, answer.image.modality) for english, _ in found}
    boxes = {regions[0].box for regions in found.values()}
    return len(found) > 1 and len(wider) == len(boxes) == 1 and None not in wider


def _is_one_object(a: PixelBox, b: PixelBox) -> bool:
    """Whether two boxes of one name lie on one another, or one in the other."""
    common = PixelBox(max(a.x1, b.x1), max(a.y1, b.y1), min(a.x2, b.x2), min(a.y2, b.y2))
    return common.is_ordered and (iou(a, b) >= SAME_PLACE or common.area >= _WITHIN * min(a.area, b.area))


def _count(found: Found, answer: Answer) -> Told:
    messages = []
    for name, regions in found.items():
        label, count = shown(name, answer), len(regions)
        guesses = sum(map(answer.is_best_guess, regions))
        if guesses and guesses == count:
            messages.append(Message("answer.count_all_guessed", name=label, count=count))
        elif guesses:
            messages.append(Message("answer.count_guessed", name=label, count=count, guesses=guesses))
        elif count and answer.best_confidence(label) < SURE:
            messages.append(Message("answer.count_likely", name=label, count=count))
        elif count:
            messages.append(Message("answer.count", name=label, count=count))
    counts = {name[0]: len(regions) for name, regions in found.items()}
    return messages, {"count": sum(counts.values()), "counts": counts}


def _measure(found: Found, answer: Answer) -> Told:
    messages, sizes = [], []
    for name, regions in found.items():
        for region in regions:
            unit, [(x1, y1, x2, y2)] = _scaled([region.box], answer.image)
            width, height = x2 - x1, y2 - y1
            size = {f"width_{unit}": round(width, 1), f"height_{unit}": round(height, 1), "unit": unit}
            sizes.append({"name": name[0]} | size)
            messages.append(_size(region, width, height, unit, answer.image))
    if messages:
        messages.append(Message("answer.size_of_box"))
    if any(region.interval for regions in found.values() for region in regions):
        messages.append(Message("answer.if_on_object"))
    reasons, why = why_pixels((region.box for regions in found.values() for region in regions), answer.image)
    return [*messages, *reasons], {"sizes": sizes} | why


def _size(region: Region, width: float, height: float, unit: str, image: ImageFacts) -> Message:
    """Say width and height, with their intervals where there are some."""
    if (interval := region.interval) is None:
        return Message("answer.size", name=region.label, width=width, height=height, unit=unit)
    across, down = image.scale(region.box) or (1.0, 1.0)
    return Message(
        "answer.size_interval",
        name=region.label,
        width=width,
        height=height,
        unit=unit,
        width_low=interval.width[0] * across,
        width_high=interval.width[1] * across,
        height_low=interval.height[0] * down,
        height_high=interval.height[1] * down,
    )


def _scaled(boxes: Sequence[PixelBox], image: ImageFacts) -> tuple[str, list[Sequence[float]]]:
    """Return the unit of length, mm or px, and boxes in it: px where the size of a pixel is unknown for one of them."""
    scaled = [image.in_millimetres(box) for box in boxes]
    known = [box for box in scaled if box is not None]
    return ("mm", [*known]) if len(known) == len(boxes) else ("px", [*boxes])


def _compare(found: Found, answer: Answer) -> Told:
    areas = {name: area(regions[0].box, answer.image) for name, regions in found.items()}
    order = sorted(areas, key=lambda name: -areas[name])
    first, last = order[0], order[-1]
    ratio = areas[first] / areas[last]
    facts = {"order": [name[0] for name in order], "ratio": round(ratio, 2)}
    names = [shown(name, answer) for name in order]
    if {name[0] for name in found} == {"optic cup", "optic disc"}:
        cup, disc = (regions[0].box for _, regions in sorted(found.items()))
        facts["cup_to_disc"] = round((cup.y2 - cup.y1) / (disc.y2 - disc.y1), 2)
        return [Message("answer.cup_to_disc", ratio=facts["cup_to_disc"])], facts
    if ratio < _SAME_SIZE:
        return [Message("answer.same_size", names=names)], facts
    best = [regions[0] for regions in found.values()]
    is_guess = any(answer.is_best_guess(each) for each in best)
    is_unsure = is_guess or any((each.confidence or 1) < SURE for each in best)
    boxes = [found[name][0].box for name in order]
    if is_guess and any(_is_one_object(one, other) for one, other in combinations(boxes, 2)):
        return [Message("answer.nested", names=names)], facts | {"order": None}
    if len(order) > 2:
        return [Message("answer.by_size", names=names)], facts
    if is_unsure:
        return [Message("answer.larger_if_right", larger=names[0], smaller=names[1], ratio=ratio)], facts
    return [Message("answer.larger", larger=names[0], smaller=names[1], ratio=ratio)], facts


def area(box: PixelBox, image: ImageFacts) -> float:
    """Return the area of a box, in square millimetres where the size of a pixel is known."""
    across, down = image.spacing_mm or (1.0, 1.0)
    return (box.x2 - box.x1) * across * (box.y2 - box.y1) * down


def _distance(found: Found, answer: Answer) -> Told:
    best = [regions[0] for regions in found.values()]
    unit, [one, other] = _scaled([region.box for region in best], answer.image)
    across = max(one[0], other[0]) - min(one[2], other[2])
    down = max(one[1], other[1]) - min(one[3], other[3])
    gap = math.hypot(max(across, 0), max(down, 0))
    centres = math.dist(_centre(one), _centre(other))
    labels = [region.label for region in best]
    message = Message("answer.distance", one=labels[0], other=labels[1], centres=centres, gap=gap, unit=unit)
    reasons, why = why_pixels((region.box for region in best), answer.image)
    facts = {"distance_mm": None, f"distance_{unit}": round(centres, 1), f"gap_{unit}": round(gap, 1), "unit": unit}
    return [message, *reasons], facts | why


def between_centres(box: PixelBox, regions: Sequence[Region]) -> float:
    """Return the distance in pixels from a box to the best of some regions; infinite without any."""
    return math.dist(_centre(box), _centre(regions[0].box)) if regions else math.inf


def _centre(box: Sequence[float]) -> tuple[float, float]:
    return (box[0] + box[2]) / 2, (box[1] + box[3]) / 2


_OF_ALL: dict[Kind, tuple[Message, dict[str, Any]]] = {  # what is said where one of the names is missing
    Kind.COMPARE: (Message("answer.no_comparison"), {"order": None}),
    Kind.DISTANCE: (Message("answer.no_distance"), {"distance_mm": None}),
}
DERIVATIONS = {
    Kind.COUNT: _count,
    Kind.MEASURE: _measure,
    Kind.SIDE: of_side,
    Kind.COMPARE: _compare,
    Kind.DISTANCE: _distance,
}
