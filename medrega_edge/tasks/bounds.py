"""Whether sizes and numbers reach a bound: "is the tumor larger than 3 cm?", "more than five?", "more red than white ones?".

A box is as long as its longer side at least, and as its diagonal at most: the object lies somewhere across it.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Literal

from medrega_edge.answer import Answer, ImageFacts, Region
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.presence import Found, shown
from medrega_edge.tasks.sides import Told
from medrega_edge.vocabulary.wording import simplified

_WORDS = {word: float(value) for value, word in enumerate("one two three four five six seven eight nine ten".split(), 1)}
_WORDS |= {word: float(value) for value, word in enumerate("一二三四五六七八九十", 1)}
_WORDS |= {"两": 2.0, "半": 0.5, "a": 1.0, "half a": 0.5}
_VALUE = rf"(?P<value>\d+(?:\.\d+)?|{'|'.join(sorted(map(re.escape, _WORDS), key=len, reverse=True))})"
_UNIT = r"(?P<unit>mm|millimet(?:er|re)s?|cm|centimet(?:er|re)s?|px|pixels?|毫米|厘米|公分|像素)"
_IS_LENGTH = re.compile(
    r"(?:\bthan|\bover|\babove|\bunder|\bbelow|\bat least|\bexceed\w*|\breach\w*"
    rf"|[大小长宽高厚]于|超过|不到|不足|达到?|有没有|至少)[^.?。？\d]{{0,12}}?(?<![a-z\d.]){_VALUE} ?{_UNIT}(?![a-z])"
    rf"|(?<![a-z\d.]){_VALUE.replace('value', 'before')} ?{_UNIT.replace('unit', 'unit_before')}"
    r"(?: or (?:more|less|larger|smaller|bigger)|以[上下])"
)
_LESS = re.compile(
    r"\b(?:less|fewer|smaller|shorter|narrower|thinner|tinier|under|below)\b|小于|少于|短于|低于|不到|不足|以下|(?<!有)没有?超过"
)
_IS_NUMBER = re.compile(
    rf"(?:\b(?:more|fewer|less) than|\bover|\bunder|\bat least|多于|少于|超过|不止|不到|至少) ?{_VALUE}(?![\w.]| ?{_UNIT})"
    rf"|(?:多于|少于|超过|不止|不到|至少){_VALUE.replace('value', 'value_zh')}(?=[个颗枚处块根])"
)
_AT_LEAST = re.compile(r"\bat least\b|\bor (?:more|larger|bigger)\b|至少|以上|达到?")
_MORE_OR_FEWER = re.compile(
    r"比(?:[^，。？?大小长宽厚粗]|小板)*(?:多|(?<!多)少)[吗么嘛呢？?]*$|多还是|[哪谁].{0,2}更?[多少]"
    r"|\b(?:more|fewer|less) [a-z ]+ than\b|\boutnumber|\bmore numerous\b|\bthere (?:more|fewer)\b|\bratio of\b.*\bcells?\b"
)
_MILLIMETRES = {"m": 1.0, "毫": 1.0, "c": 10.0, "厘": 10.0, "公": 10.0}
_Verdict = Literal["yes", "no", "open", "unknown"]
_SAID = {
    "yes": Message("answer.bound_yes"),
    "no": Message("answer.bound_no"),
    "open": Message("answer.bound_open"),
    "unknown": Message("answer.bound_unknown"),
}


@dataclass(frozen=True)
class Bound:
    """A length in millimetres or pixels, or a number of objects, that a question asks for more or less than."""

    value: float
    unit: Literal["mm", "px", ""]
    is_over: bool
    is_enough: bool = False  # the value itself is enough: "at least"
    axis: Literal["width", "height", ""] = ""  # the one that a length is held against; the longest without one

    def verdicts(self, found: Found, answer: Answer) -> Told:
        """Say of each name whether it is over, or under, the bound; of a length, whether its longest box is."""
        messages, facts = [], {}
        for name, regions in found.items():
            if self.unit and not regions:
                continue
            verdict = self._of_length(regions, answer.image) if self.unit else self._of_number(regions, answer)
            said = _SAID[verdict]
            if self.unit and verdict in ("yes", "no") and all(map(answer.is_best_guess, regions)):
                said = Message("answer.bound_if_right", verdict=said)
            messages.append(Message("answer.bound", name=shown(name, answer), bound=self._shown, verdict=said))
            facts[name[0]] = {"yes": True, "no": False}.get(verdict)
        value = {f"value_{self.unit}" if self.unit else "value": self.value, "is_over": self.is_over}
        return messages, {"bound": value | {"met": facts}} if facts else {}

    @property
    def _shown(self) -> Message:
        limit = f"{self.value:g} {self.unit}".strip()
        if self.is_enough:
            return Message("answer.bound_at_least", limit=limit)
        if self.is_over:
            return Message("answer.bound_over", limit=limit)
        return Message("answer.bound_under", limit=limit)

    def _of_length(self, regions: list[Region], image: ImageFacts) -> _Verdict:
        spans = [_span(region, image if self.unit == "mm" else None, self.axis) for region in regions]
        known = [span for span in spans if span is not None]
        if len(known) < len(spans):
            return "unknown"
        low, high = max(span[0] for span in known), max(span[1] for span in known)
        return self._verdict(low, high)

    def _of_number(self, regions: list[Region], answer: Answer) -> _Verdict:
        guesses = sum(map(answer.is_best_guess, regions))
        return self._verdict(len(regions) - guesses, len(regions))

    def _verdict(self, low: float, high: float) -> _Verdict:
        def is_reached(value: float) -> bool:
            return value > self.value or (value == self.value and (self.is_enough or not self.is_over))

        if is_reached(low) is not is_reached(high):
            return "open"
        return "yes" if is_reached(low) is self.is_over else "no"


def bound_in(text: str) -> Bound | None:
    """Return the bound that a question names; None where it names none."""
    plain = simplified(text).casefold()
    is_over, is_enough = _LESS.search(plain) is None, _AT_LEAST.search(plain) is not None
    if length := _IS_LENGTH.search(plain):
        unit = length["unit"] or length["unit_before"]
        value = _number(length["value"] or length["before"])
        if unit.startswith(("p", "像")):
            return Bound(value, "px", is_over, is_enough and is_over, _axis(plain))
        return Bound(value * _MILLIMETRES[unit[0]], "mm", is_over, is_enough and is_over, _axis(plain))
    if number := _IS_NUMBER.search(plain):
        return Bound(_number(number["value"] or number["value_zh"]), "", is_over, is_enough and is_over)
    return None


def compares_numbers(text: str) -> bool:
    """Whether a question asks of which of two things there are more, or holds their numbers against each other."""
    return _MORE_OR_FEWER.search(simplified(text).casefold()) is not None


def compared_numbers(found: Found, answer: Answer) -> Told:
    """Say of which of two things more were found; what best guesses could turn round is not sure."""
    if len(found) != 2:
        return [], {}
    (most, many), (least, few) = sorted(found.items(), key=lambda item: -len(item[1]))
    more, fewer = shown(most, answer), shown(least, answer)
    if len(many) == len(few):
        return [Message("answer.as_many", most=more, least=fewer)], {"more": None}
    if len(many) - sum(map(answer.is_best_guess, many)) > len(few):
        return [Message("answer.more", most=more, least=fewer)], {"more": most[0]}
    return [Message("answer.more_if_right", most=more, least=fewer)], {"more": most[0]}


def _axis(plain: str) -> Literal["width", "height", ""]:
    if re.search(r"\bwide|\bwidth\b|宽", plain):
        return "width"
    return "height" if re.search(r"\btall|\bhigh|\bheight\b|高[于度]|多高", plain) else ""


def _number(text: str) -> float:
    return _WORDS[text] if text in _WORDS else float(text)


def _span(region: Region, image: ImageFacts | None, axis: str) -> tuple[float, float] | None:
    """Return the least and the greatest length of what is in a box; in pixels without an image. None: no millimetres."""
    scale = image.scale(region.box) if image else (1.0, 1.0)
    if scale is None:
        return None
    box, (across, down) = region.box, scale
    width, height = (box.x2 - box.x1,) * 2, (box.y2 - box.y1,) * 2
    if region.interval:
        width, height = region.interval.width, region.interval.height
    if axis:
        low, high = (edge * (across if axis == "width" else down) for edge in (width if axis == "width" else height))
        return low, high
    return max(width[0] * across, height[0] * down), math.hypot(width[1] * across, height[1] * down)
