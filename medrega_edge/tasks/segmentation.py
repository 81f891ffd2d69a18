"""Segmentation: the mask of what is named, or of what lies in a box.

The boxes come from detection or from the user. The engine adds a mask to each; the text says how large it is.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from statistics import median
from typing import Any

from medrega_edge.answer import Answer, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.base import Detection, TaskContext, TaskRequest, TaskResult
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import check_box, name_in
from medrega_edge.tasks.sizes import why_pixels
from medrega_edge.vocabulary.label_kinds import is_of_many, wider_label

_OF_BOX = Message("answer.in_the_box")  # label of a region whose box is the user's
WRONG_MASK = "task.wrong_mask"  # warning that masks of a label are not given
_NOT_ASKED = 0.95  # confidence of a box from which on it is not asked about: of such boxes 98 % are right
_MOST_TOLD = 8  # masks of one label that the text tells one by one
_SQUARE_CENTIMETRE = 100.0  # in square millimetres


@dataclass(frozen=True)
class Segment(TaskRequest):
    """Make masks of structures and lesions, whose `names` are those of `Detect`, or of what lies in a `box`.

    The box is in pixels of the original image. Exactly one of both is given: UsageError otherwise.
    """

    names: Sequence[str] = ()
    box: PixelBox | None = None

    def __post_init__(self) -> None:
        """Refuse both, none, and names or a box that cannot be used: UsageError."""
        if bool(self.names) == (self.box is not None):
            raise UsageError("task.names_or_box")
        if self.box is not None:
            object.__setattr__(self, "box", PixelBox(*self.box))
            check_box(self.box)
        else:
            object.__setattr__(self, "names", Detect(self.names).names)

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.DETECT

    @property
    def words(self) -> str:
        """The names as one enumeration."""
        return ", ".join(self.names)

    @property
    def wants_masks(self) -> bool:
        """Whether the engine adds masks."""
        return True

    def run(self, context: TaskContext) -> TaskResult:
        """Find the boxes; raises UsageError where no name is known, and for a box outside the image."""
        if self.box is None:
            return asked_back(context, Detect(self.names).run(context))
        geometry = context.geometry
        if not geometry.overlaps(self.box):
            raise UsageError("task.box_outside", box=self.box.as_list(), width=geometry.width, height=geometry.height)
        label = _OF_BOX.text(context.language)
        return TaskResult("", (Detection(label, geometry.to_grid(self.box), None),), certifiable=False)

    def finish(self, answer: Answer) -> Answer:
        """Say how large each mask is, why in pixels, and which box has none."""
        if self.box is None:
            answer = Detect(self.names).finish(answer)
        sentences = [answer.text] if answer.text else []
        wrong = {warning.params["name"] for warning in answer.warnings if warning.code == WRONG_MASK}
        reasons, why = why_pixels((each.mask.box for each in answer.regions if each.measures and each.mask), answer.image)
        groups: dict[str, list[Region]] = {}
        for each in answer.regions:
            if each.label not in wrong:
                groups.setdefault(each.label, []).append(each)
        crowds = [group for group in groups.values() if len(group) > _MOST_TOLD]
        told = [each for group in groups.values() if group not in crowds for each in group]
        messages = [message for each in told for message in _sentences(each, answer)]
        messages += [message for group in crowds for message in _of_many(group, answer)]
        sentences += [message.text(answer.language) for message in [*messages, *reasons]]
        if any(each.measures and each.measures.longest.interval for each in told):
            sentences.append(Message("answer.if_on_object").text(answer.language))
        text = ("" if answer.language is Language.ZH else " ").join(sentences)
        facts: dict[str, Any] = {"masks": sum(region.mask is not None for region in answer.regions)}
        return replace(answer, text=text, facts=facts | why | dict(answer.facts))


def asked_back(context: TaskContext, result: TaskResult) -> TaskResult:
    """Ask what lies in each box that is not sure. A box is doubted where the weights name something else, and this is said.

    Of names that an image has many of, as teeth, a kind of them is no other name: their boxes are not asked about.
    """
    if not context.doubt or Task.IDENTIFY not in context.prompts.templates:
        return result
    place = context.language is Language.ZH
    english = {label[place]: label[0] for label in context.terminology.labels}
    detections, notes, generations = list(result.detections), list(result.warnings), list(result.generations)
    for number, each in enumerate(result.detections):
        name = english.get(each.label)
        if name is None or each.score is None or context.confidence(name, each.score) >= _NOT_ASKED or is_of_many(name):
            continue
        other, _, generation = name_in(context, each.box)
        generations.append(generation)
        if other[0] not in (name, wider_label(name)) and wider_label(other[0]) != name:
            detections[number] = replace(each, doubt=context.doubt)
            notes.append(Message("task.named_otherwise", name=each.label, other=other[place]))
    return replace(result, detections=tuple(detections), warnings=tuple(notes), generations=tuple(generations))


def _of_many(regions: Sequence[Region], answer: Answer) -> Iterator[Message]:
    """Say how large the masks of many regions of one label are."""
    masks = [region.mask for region in regions if region.mask is not None]
    if not masks:
        yield Message("answer.no_mask", name=regions[0].label)
        return
    squares = [square for mask in masks if (square := answer.image.in_square_millimetres(mask)) is not None]
    is_known = len(squares) == len(masks)
    sizes = [square / _SQUARE_CENTIMETRE for square in squares] if is_known else [float(mask.area) for mask in masks]
    name, count, smallest, largest, middle = regions[0].label, len(masks), min(sizes), max(sizes), median(sizes)
    if is_known:
        yield Message("answer.masks_of_many", name=name, count=count, smallest=smallest, largest=largest, middle=middle)
    else:
        yield Message(
            "answer.masks_of_many_in_pixels", name=name, count=count, smallest=smallest, largest=largest, middle=middle
        )


def _sentences(region: Region, answer: Answer) -> Iterator[Message]:
    """Say how large a mask is."""
    if region.mask is None:
        yield Message("answer.no_mask", name=region.label)
        return
    square = answer.image.in_square_millimetres(region.mask)
    if square is None:
        yield Message("answer.mask_in_pixels", name=region.label, pixels=region.mask.area)
    else:
        yield Message("answer.mask", name=region.label, pixels=region.mask.area, area=square / _SQUARE_CENTIMETRE)
    if (measures := region.measures) is None:
        return
    longest, perpendicular, unit = measures.longest, measures.perpendicular, measures.unit
    if longest.interval is None or perpendicular.interval is None:
        yield Message("answer.diameters", longest=longest.length, perpendicular=perpendicular.length, unit=unit)
    else:
        yield Message(
            "answer.diameters_interval",
            longest=longest.length,
            longest_low=longest.interval[0],
            longest_high=longest.interval[1],
            perpendicular=perpendicular.length,
            perpendicular_low=perpendicular.interval[0],
            perpendicular_high=perpendicular.interval[1],
            unit=unit,
        )
    if measures.mean is not None and measures.mean_unit is not None:
        yield Message("answer.mean", value=measures.mean, unit=measures.mean_unit)
