"""Sizes: why they are in pixels, and those that no structure of a body has.

Of these the box is wrong, or the size of a pixel that the file states.
"""

from __future__ import annotations

from collections.abc import Iterable

from medrega_edge.answer import ImageFacts, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import PROJECTIONS
from medrega_edge.i18n.message import Message

_LARGEST = 600.0  # millimetres, of anything in a body
_LARGEST_OF = {  # with disease: a structure that is only enlarged is smaller
    "liver": 400.0,
    "spleen": 400.0,
    "kidney": 400.0,
    "heart": 350.0,
    "pancreas": 350.0,
    "bladder": 350.0,
    "stomach": 450.0,
    "lung": 450.0,
    "gallbladder": 250.0,
    "prostate": 200.0,
    "adrenal gland": 200.0,
    "eye": 60.0,
    "fetal head": 150.0,
    "vertebra": 120.0,
    "tooth": 60.0,
}


def why_pixels(boxes: Iterable[PixelBox], image: ImageFacts) -> tuple[list[Message], dict[str, list[str]]]:
    """Say why lengths in some of the boxes are in pixels, in words and as `facts`; nothing where all are in millimetres."""
    if all(image.in_millimetres(box) for box in boxes):
        return [], {}
    if image.spacing_mm is not None:
        reason = Message("answer.pixels_outside_scale")
    elif image.modality in PROJECTIONS:
        reason = Message("answer.pixels_projection")
    else:
        reason = Message("answer.pixels_no_spacing")
    return [reason], {"pixels_because": [reason.code.removeprefix("answer.pixels_")]}


def impossible_size(region: Region, english: str | None, image: ImageFacts) -> Message | None:
    """Return the warning that a region is larger than such a structure can be; None also where there are no millimetres."""
    box = image.in_millimetres(region.box)
    if box is None:
        return None
    width, height = box[2] - box[0], box[3] - box[1]
    base = (english or "").removeprefix("left ").removeprefix("right ")
    if max(width, height) <= _LARGEST_OF.get(base, _LARGEST):
        return None
    return Message("task.impossible_size", name=region.label, width=width, height=height)
