"""Left and right confused: how often the box of one of a pair lies on the other one."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from medrega_edge.boxes import PixelBox, iou

_SIDE = re.compile(r"\b(left|right)\b")
_OTHER = {"left": "right", "right": "left"}


@dataclass(frozen=True)
class Located:
    """A structure of a pair that was asked for: whether a box was found, and whether it lies on the other side."""

    label: str
    image: str
    is_found: bool
    is_swapped: bool


def other_side(label: str) -> str | None:
    """Return the name of the structure on the other side: "right kidney" of "left kidney"; None where there is no side."""
    sides = _SIDE.findall(label)
    return _SIDE.sub(lambda side: _OTHER[side[0]], label) if len(sides) == 1 else None


def of_image(image: str, true: Mapping[str, Sequence[PixelBox]], given: Mapping[str, PixelBox | None]) -> Iterator[Located]:
    """Yield each structure that was asked for and whose counterpart is annotated, too.

    `true` has the boxes of each name, `given` the box that was found for each name that was asked for. A box is swapped if
    its IoU with a true box of the other side is larger than that with each of its own.
    """
    for label, box in given.items():
        other = other_side(label)
        if other is None or not true.get(label) or not true.get(other):
            continue
        own = max(iou(box, each) for each in true[label]) if box else 0.0
        across = max(iou(box, each) for each in true[other]) if box else 0.0
        yield Located(label, image, box is not None, across > own)
