"""On which side of the patient, or of the picture, boxes lie."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from medrega_edge.answer import Answer, ImageFacts, Region
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import sentence_of_regions
from medrega_edge.tasks.base import not_found
from medrega_edge.tasks.presence import Found, joined, shown
from medrega_edge.vocabulary.label_kinds import is_of_midline
from medrega_edge.vocabulary.terminology import BilingualName

Told = tuple[list[Message], dict[str, Any]]  # what is said, and the facts for programs
_MIDDLE = 0.05  # of the width: a box whose centre is so near the middle of the image is on no side
_FROM_THE_FRONT = (Modality.CT, Modality.MRI, Modality.XRAY)  # shown with the patient's right on the left by convention
OTHER_SIDE = ("task.other_side", "task.other_side_guess")  # codes of what is left out
_SIDE_NAMES = {
    "left": Message("answer.left"),
    "right": Message("answer.right"),
    "middle": Message("answer.middle"),
}


def of_side(found: Found, answer: Answer) -> Told:
    """Say on which side of the patient each region lies; raises UsageError for a view from the side."""
    left_edge, is_assumed = _left_edge(answer.image.sides, answer.image.modality)
    messages, facts = _sides(found, answer, left_edge, _whose_side(answer.image, is_assumed))
    return messages, facts | {"assumed": is_assumed}


def of_picture(found: Found, answer: Answer) -> Told:
    """Say on which side of the picture each region lies."""
    return _sides(found, answer, "L", Message("answer.sides_of_picture"))


def _sides(found: Found, answer: Answer, left_edge: str, whose: Message) -> Told:
    messages: list[Message] = []
    sides: dict[str, list[str]] = {}
    for name, regions in found.items():
        for region in regions:
            is_middle = is_of_midline(name[0]) and whose.code != "answer.sides_of_picture"
            side = "middle" if is_middle else _side_of(region, answer, left_edge)
            if side not in sides.setdefault(name[0], []):
                sides[name[0]].append(side)
                messages.append(Message("answer.side", name=region.label, side=_SIDE_NAMES[side]))
    return [*messages, *([whose] if messages else [])], {"sides": sides}


def _side_of(region: Region, answer: Answer, left_edge: str) -> str:
    """Return left, right or middle, the patient's where `left_edge` is R."""
    return _side_at((region.box.x1 + region.box.x2) / 2 / answer.image.width, left_edge)


def _side_at(across: float, left_edge: str) -> str:
    """Return the side of a place so far across the image, 0 to 1."""
    middle = across - 0.5
    in_image = "middle" if abs(middle) < _MIDDLE else "left" if middle < 0 else "right"
    return in_image if in_image == "middle" or left_edge == "L" else {"left": "right", "right": "left"}[in_image]


def on_side(answer: Answer, side: str) -> Answer:
    """Leave out the regions on the other side than a question asks for, and say so, or that a view has no sides."""
    try:
        left_edge, is_assumed = _left_edge(answer.image.sides, answer.image.modality)
    except UsageError:
        return replace(answer, warnings=(*answer.warnings, Message("task.words_left_out", words=[_SIDE_NAMES[side]])))
    there = tuple(each for each in answer.regions if _side_of(each, answer, left_edge) in (side, "middle"))
    left_out = [each for each in answer.regions if each not in there]
    if not left_out:
        is_told = not answer.regions or (is_assumed and answer.image.modality in _FROM_THE_FRONT)
        return answer if is_told else replace(answer, warnings=(*answer.warnings, _whose_side(answer.image, is_assumed)))
    other = _SIDE_NAMES["right" if side == "left" else "left"]
    guesses = list(dict.fromkeys(each.label for each in left_out if answer.is_best_guess(each)))
    names = list(dict.fromkeys(each.label for each in left_out if not answer.is_best_guess(each)))
    told = [Message("task.other_side", names=names, side=other)] if names else []
    told += [Message("task.other_side_guess", names=guesses, side=other)] if guesses else []
    return replace(answer, regions=there, warnings=(*answer.warnings, *told, _whose_side(answer.image, is_assumed)))


def may_be_on(side: str, across: float, sides: Sequence[str] | None, modality: Modality | None) -> bool:
    """Whether a place so far across an image, 0 to 1, is on a side of the patient, or in the middle; true in a side view."""
    try:
        left_edge, _ = _left_edge(sides, modality)
    except UsageError:
        return True
    return _side_at(across, left_edge) in (side, "middle")


def has_sides(image: ImageFacts) -> bool:
    """Whether the sides of the patient are known or assumed, as in images from the front."""
    try:
        _, is_assumed = _left_edge(image.sides, image.modality)
    except UsageError:
        return False
    return not is_assumed or image.modality in _FROM_THE_FRONT


def with_side_said(text: str, side: str, language: Language) -> str:
    """Return a text that speaks of one side of the patient, beginning with that side."""
    return Message("answer.of_side", side=_SIDE_NAMES[side], text=text).text(language)


def outermost(regions: Sequence[Region], side: str, image: ImageFacts) -> tuple[Region, Message]:
    """Return the region farthest on a side, and whose side that is; raises UsageError for a view from the side."""
    left_edge, is_assumed = _left_edge(image.sides, image.modality)
    is_low = (side == "left") is (left_edge == "L")
    chosen = (min if is_low else max)(regions, key=lambda region: region.box.x1 + region.box.x2)
    return chosen, _whose_side(image, is_assumed)


def located_on_side(answer: Answer, side: str, names: Sequence[BilingualName]) -> Answer:
    """Leave out the boxes on the other side, and name those that stay."""
    there = on_side(answer, side)
    labels = list(dict.fromkeys(each.label for each in there.regions))
    absent = not_found([name for name in names if shown(name, answer) not in labels], answer.language, answer.warnings)
    sentences = [*([sentence_of_regions(labels, answer.language)] if labels else []), *filter(None, [absent])]
    return replace(there, text=joined(sentences, answer)) if len(there.regions) < len(answer.regions) else there


def _left_edge(sides: Sequence[str] | None, modality: Modality | None) -> tuple[str, bool]:
    """Return R or L: the patient's side at the left edge, and whether it is assumed; L also where a side is the image's.

    Raises UsageError for a view from the side.
    """
    if sides is None:
        return ("R" if modality in _FROM_THE_FRONT else "L"), True
    if (letter := sides[0][:1]) not in ("R", "L"):
        raise UsageError("task.no_sides")
    return letter, False


def _whose_side(image: ImageFacts, is_assumed: bool) -> Message:
    if not is_assumed:
        return Message("answer.sides_of_patient")
    return Message("answer.sides_assumed") if image.modality in _FROM_THE_FRONT else Message("answer.sides_of_image")
