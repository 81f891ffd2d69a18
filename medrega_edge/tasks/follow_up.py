"""Questions that leave out what the question before said: "and the spleen?", "where is it?", "how big is it?".

Sizes are those of boxes.
"""

from __future__ import annotations

import re

from medrega_edge.domain import Task
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.vocabulary.terminology import Terminology

_OTHER_NAMES = re.compile(r"^\W*(?:and|or|what about|how about)\b|^\W*(?:那么?|还有)|呢\W*$", re.IGNORECASE)
_SAME_NAMES = re.compile(r"\b(?:it|they|them|these|those)\b|它", re.IGNORECASE)
_SIZE = re.compile(r"\bhow (?:big|large|long|wide|tall)\b|\bsize\b|\bmeasure\b|多大|大小|尺寸", re.IGNORECASE)


def follow_up(text: str, task: Task, last: TaskRequest, terminology: Terminology) -> TaskRequest | None:
    """Return the request of a question that goes on from the `last` one; None for a question of its own.

    `task` is what the question asks for by itself. Only places are asked for in this way: other tasks have no names.
    """
    names = terminology.find(text)
    if names and last.task is Task.DETECT and _OTHER_NAMES.search(text):
        others = [english for english, _ in names]
        return Segment(others) if last.wants_masks else Detect(others)
    before = terminology.find(last.words)
    asks_for_boxes = task is Task.DETECT or _SIZE.search(text)
    if before and not names and asks_for_boxes and _SAME_NAMES.search(text):
        return Detect([english for english, _ in before])
    return None
