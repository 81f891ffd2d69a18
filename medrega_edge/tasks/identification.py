"""Identification: name what lies in a box."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medrega_edge.boxes import Geometry, GridBox, PixelBox, iou
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.language_model import Generation
from medrega_edge.prompts.region_markup import format_boxes
from medrega_edge.prompts.templates import IDENTIFY_QUESTION, Prompt
from medrega_edge.tasks.base import (
    Detection,
    TaskContext,
    TaskRequest,
    TaskResult,
    check_text,
    generation_warnings,
)
from medrega_edge.tasks.detection import locate
from medrega_edge.vocabulary.terminology import BilingualName

_CERTAIN = 0.9  # probability of a name from which on it is not looked for
_ASKS_WHAT_IT_IS = re.compile(r"^\s*$|what|which|name|identify|是什么|什么|识别|哪", re.IGNORECASE)


@dataclass(frozen=True)
class Identify(TaskRequest):
    """Name what lies in `box`, which is in pixels of the original image.

    The model is only asked what the box holds. Where `question` asks for something else, the answer carries a warning.
    """

    box: PixelBox
    question: str = ""

    def __post_init__(self) -> None:
        """Refuse a box without area or below one pixel: UsageError."""
        object.__setattr__(self, "box", PixelBox(*self.box))
        check_text(self.question)
        check_box(self.box)

    @property
    def task(self) -> Task:
        """Kind of task."""
        return Task.IDENTIFY

    @property
    def words(self) -> str:
        """The question."""
        return self.question

    def run(self, context: TaskContext) -> TaskResult:
        """Name it; raises UsageError for a box outside the image."""
        geometry = context.geometry
        if not geometry.overlaps(self.box):
            raise UsageError("task.box_outside", box=self.box.as_list(), width=geometry.width, height=geometry.height)
        box = geometry.to_grid(self.box)
        has_names = bool(context.terminology.labels)
        if not has_names:
            generation = context.generate_prose(_prompt(context, context.language, box))
            warnings = self._warnings(geometry) + generation_warnings(generation)
            return TaskResult(generation.raw_text.strip(), warnings=warnings, generations=(generation,))
        label, probability, generation = name_in(context, box)
        name = label[context.language is Language.ZH]
        warnings = self._warnings(geometry) + generation_warnings(generation)
        can_locate = Task.DETECT in context.prompts.templates
        if (
            can_locate
            and probability < _CERTAIN
            and not any(iou(each.box, box) for each in locate(context, label).detections)
        ):
            warnings = (*warnings, Message("task.not_located_here", name=name))
        return TaskResult(name, (Detection(name, box, None),), ((name, probability),), warnings, (generation,))

    def _warnings(self, geometry: Geometry) -> tuple[Message, ...]:
        warnings = []
        if min(self.box.x1, self.box.y1) < 0 or self.box.x2 > geometry.width or self.box.y2 > geometry.height:
            warnings.append(Message("task.box_beyond_image"))
        if not _ASKS_WHAT_IT_IS.search(self.question):
            warnings.append(Message("task.box_question_ignored"))
        return tuple(warnings)


def name_in(context: TaskContext, box: GridBox) -> tuple[BilingualName, float, Generation]:
    """Return which of the package's names the content of a box has, its probability among them, and the generation."""
    names = [english for english, _ in context.terminology.labels]
    generation, chosen, probability = context.choose(_prompt(context, Language.EN, box), names)
    return context.terminology.labels[chosen[0]], probability, generation


def _prompt(context: TaskContext, language: Language, box: GridBox) -> Prompt:
    return context.prompts.prompt(Task.IDENTIFY, language, IDENTIFY_QUESTION[language].format(box=format_boxes([box])))


def check_box(box: PixelBox) -> None:
    """Refuse a box without area or below one pixel: UsageError."""
    if not box.is_ordered:
        raise UsageError("task.box_corners", box=box.as_list())
    if min(box.x2 - box.x1, box.y2 - box.y1) < 1:
        raise UsageError("task.box_below_a_pixel")
