"""The region markup in model text: `<ref>name</ref><box>[[x1, y1, x2, y2], ...]</box>`."""

from __future__ import annotations

import re
from dataclasses import dataclass

from medrega_edge.boxes import GridBox
from medrega_edge.i18n.message import Message

REF_OPEN, REF_CLOSE = "<ref>", "</ref>"
BOX_OPEN, BOX_CLOSE = "<box>", "</box>"
MARKERS = (REF_OPEN, REF_CLOSE, BOX_OPEN, BOX_CLOSE)


@dataclass(frozen=True)
class RegionText:
    """A named object in model text with its boxes, in their order."""

    label: str
    boxes: tuple[GridBox, ...]


@dataclass(frozen=True)
class Parsed:
    """The regions of a model text, the prose around them, and what could not be read.

    `problems` become warnings of the answer, because an unreadable box must not look like "nothing found".
    """

    regions: tuple[RegionText, ...]
    prose: str
    problems: tuple[Message, ...]


def format_boxes(boxes: tuple[GridBox, ...] | list[GridBox]) -> str:
    """Write boxes as the model does: `<box>[[x1, y1, x2, y2], [...]]</box>`."""
    return BOX_OPEN + "[" + ", ".join(str(box.as_list()) for box in boxes) + "]" + BOX_CLOSE


def format_region(region: RegionText) -> str:
    """Write a named object as the model does; the inverse of `parse`."""
    return f"{REF_OPEN}{region.label}{REF_CLOSE}{format_boxes(region.boxes)}"


_REGION = re.compile(r"<ref>(?P<label>.*?)</ref>\s*<box>(?P<boxes>.*?)</box>", re.DOTALL)
_BOX_LIST = re.compile(r"\s*\[(?P<inner>.*)\]\s*", re.DOTALL)
_ONE_BOX = re.compile(r"\s*\[\s*(\d{1,4})\s*,\s*(\d{1,4})\s*,\s*(\d{1,4})\s*,\s*(\d{1,4})\s*\]\s*")
_ANY_MARKER = re.compile("|".join(re.escape(m) for m in MARKERS))


def parse(text: str) -> Parsed:
    """Parse the regions of a model text. Never raises: `problems` holds what cannot be read.

    The prose keeps the label of a region, so `"<ref>liver</ref><box>..</box> is normal"` becomes `"liver is normal"`. Boxes
    that are inverted or off the grid are left out, with a problem.
    """
    regions: list[RegionText] = []
    problems: list[Message] = []
    prose: list[str] = []
    end = 0
    for match in _REGION.finditer(text):
        prose.append(text[end : match.start()])
        label = match["label"].strip()
        boxes = _parse_boxes(match["boxes"], label, problems)
        if not label:
            problems.append(Message("prompt.nameless_region"))
        elif boxes:
            regions.append(RegionText(label, tuple(boxes)))
        prose.append(label)
        end = match.end()
    prose.append(text[end:])
    rest = "".join(prose)
    if _ANY_MARKER.search(rest):
        problems.append(Message("prompt.lone_marker"))
        rest = _ANY_MARKER.sub("", rest)
    return Parsed(tuple(regions), rest.strip(), tuple(problems))


def _parse_boxes(text: str, label: str, problems: list[Message]) -> list[GridBox]:
    outer = _BOX_LIST.fullmatch(text)
    if outer is None:
        problems.append(Message("prompt.unreadable_boxes", label=label))
        return []
    boxes: list[GridBox] = []
    problem_count = len(problems)
    position = 0
    inner = outer["inner"]
    while position < len(inner):
        match = _ONE_BOX.match(inner, position)
        if match is None:
            problems.append(Message("prompt.unreadable_box", label=label))
            break
        try:
            boxes.append(GridBox(*(int(group) for group in match.groups())))
        except ValueError:
            problems.append(Message("prompt.impossible_box", label=label))
        position = match.end()
        if position < len(inner):
            if inner[position] != ",":
                problems.append(Message("prompt.unreadable_box", label=label))
                break
            position += 1
    if not boxes and len(problems) == problem_count:
        problems.append(Message("prompt.no_box", label=label))
    return boxes
