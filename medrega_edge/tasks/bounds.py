"""Whether sizes and numbers reach a bound: "is the tumor larger than 3 cm?", "more than five?", "more red than white ones?".

A box is as long as its longer side at least, and as its diagonal at most: the object lies somewhere across it.
"""

from __future__ import annotations

import math
import operator
import re
from dataclasses import dataclass
from typing import Literal

from medrega_edge.answer import Answer, ImageFacts, Region
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.presence import Found, shown
from medrega_edge.tasks.sides import Told
from medrega_edge.vocabulary.label_kinds import is_finding, is_of_many
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.terminology import BilingualName

_WORDS = {word: float(value) for value, word in enumerate("one two three four five six seven eight nine ten".split(), 1)}
_WORDS |= {word: float(value) for value, word in enumerate("一二三四五六七八九十", 1)}
_WORDS |= {"两": 2.0, "半": 0.5, "a": 1.0, "half a": 0.5}
_VALUE = rf"(?P<value>\d+(?:\.\d+)?|{'|'.join(sorted(map(re.escape, _WORDS), key=len, reverse=True))})"
_UNIT = r"(?P<unit>mm|millimet(?:er|re)s?|cm|centimet(?:er|re)s?|px|pixels?|毫米|厘米|公分|像素)"
_IS_LENGTH = re.compile(
    r"(?:\bthan|\bover|\babove|\bunder|\bbelow|\bat least|\bat most|\bup to|\bexceed\w*|\breach\w*"
    r"|[大小长宽高厚]于|超过|不到|不足|达到?|有没有|至少|最多|至多)[^.?。？\d]{0,12}?"
    rf"(?<![a-z\d.]){_VALUE} ?{_UNIT}(?![a-z])"
    rf"|(?<![a-z\d.]){_VALUE.replace('value', 'before')} ?{_UNIT.replace('unit', 'unit_before')}"
    r"(?: or (?:more|less|larger|smaller|bigger)|以[上下])"
)
_LESS = re.compile(
    r"\b(?:less|fewer|smaller|shorter|narrower|thinner|tinier|under|below)\b|小于|少于|短于|低于|不到|不足|以下"
)
# "No more than 3 cm", "不超过3厘米" turn the comparison round; "有没有超过" does not.
_TURNED = re.compile(
    r"(?:\bno|\bnot|n['’]t)(?: [a-z]+){0,3}? (?:than|over|under|above|below|exceed\w*)\b|\bat most\b|\bup to\b"
    r"|不(?=超过|[大小长宽高低多少]于)|(?<!有)没(?:有)?(?=超过|[大小长宽高低多少]于)|最多|至多"
)
_TIME = r"[ -]?(?:years?|months?|weeks?|days?|hours?|y/?o|岁|年|个?月|周|天|小时)"  # "over 50 years old": a history
_THAN_ZH = "(?:多于|少于|超过|不止|不到|至少|最多|至多)"
_IS_NUMBER = re.compile(
    rf"(?:\b(?:more|fewer|less) than|\bover|\bunder|\bat least|\bat most|\bup to|{_THAN_ZH}) ?"
    rf"{_VALUE}(?![\w.]| ?{_UNIT}|{_TIME})"
    rf"|{_THAN_ZH}{_VALUE.replace('value', 'value_zh')}(?=[个颗枚处块根])"
)
_AT_LEAST = re.compile(r"\bat least\b|\bor (?:more|larger|bigger)\b|至少|以上|达到?")
_MORE_OR_FEWER = re.compile(
    r"比(?:[^，。？?大小长宽厚粗]|小板)*(?:多|(?<!多)少)(?:多少|几个)?[吗么嘛呢？?]*$|多还是|[哪谁][^大小长宽高厚粗]{0,2}更?[多少]"
    r"|\b(?:more|fewer|less) [a-z ]+ than\b|\boutnumber|\bmore numerous\b|\bthere (?:more|fewer)\b|\bratio of\b.*\bcells?\b"
)
_MILLIMETRES = {"m": 1.0, "毫": 1.0, "c": 10.0, "厘": 10.0, "公": 10.0}
_HOLDS = {">": operator.gt, ">=": operator.ge, "<": operator.lt, "<=": operator.le}
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
    sign: Literal[">", ">=", "<", "<="]
    axis: Literal["width", "height", ""] = ""  # the one that a length is held against; the longest without one

    def verdicts(self, found: Found, answer: Answer) -> Told:
        """Say of each name whether its number, or the length of its longest box, meets the bound."""
        messages, facts = [], {}
        for name, regions in found.items():
            if self.unit and not regions:
                continue
            verdict = self._of_length(regions, answer.image) if self.unit else self._of_number(name, regions, answer)
            said = _SAID[verdict]
            if self.unit and verdict in ("yes", "no") and all(map(answer.is_best_guess, regions)):
                said = Message("answer.bound_if_right", verdict=said)
            messages.append(Message("answer.bound", name=shown(name, answer), bound=self.shown, verdict=said))
            facts[name[0]] = {"yes": True, "no": False}.get(verdict)
        value = {f"value_{self.unit}" if self.unit else "value": self.value, "sign": self.sign}
        return messages, {"bound": value | {"met": facts}} if facts else {}

    @property
    def shown(self) -> Message:
        """The bound in words: "over 30 mm"."""
        limit = f"{self.value:g} {self.unit}".strip()
        match self.sign:
            case ">":
                return Message("answer.bound_over", limit=limit)
            case ">=":
                return Message("answer.bound_at_least", limit=limit)
            case "<":
                return Message("answer.bound_under", limit=limit)
            case "<=":
                return Message("answer.bound_at_most", limit=limit)

    def _of_length(self, regions: list[Region], image: ImageFacts) -> _Verdict:
        spans = [_span(region, image if self.unit == "mm" else None, self.axis) for region in regions]
        known = [span for span in spans if span is not None]
        if len(known) < len(spans):
            return "unknown"
        low, high = max(span[0] for span in known), max(span[1] for span in known)
        return self._verdict(low, high)

    def _of_number(self, name: BilingualName, regions: list[Region], answer: Answer) -> _Verdict:
        """Of findings, and of what images show many of, there may be more than have boxes."""
        may_be_more = is_of_many(name[0]) or is_finding(name[0])
        guesses = sum(map(answer.is_best_guess, regions))
        return self._verdict(len(regions) - guesses, math.inf if may_be_more else len(regions))

    def _verdict(self, low: float, high: float) -> _Verdict:
        holds = _HOLDS[self.sign]
        if holds(low, self.value) is not holds(high, self.value):
            return "open"
        return "yes" if holds(low, self.value) else "no"


def bound_in(text: str) -> Bound | None:
    """Return the bound that a question names; None where it names none."""
    plain = simplified(text)
    if length := _IS_LENGTH.search(plain):
        unit = length["unit"] or length["unit_before"]
        value = _number(length["value"] or length["before"])
        if unit.startswith(("p", "像")):
            return Bound(value, "px", _sign(plain), _axis(plain))
        return Bound(value * _MILLIMETRES[unit[0]], "mm", _sign(plain), _axis(plain))
    if number := _IS_NUMBER.search(plain):
        return Bound(_number(number["value"] or number["value_zh"]), "", _sign(plain))
    return None


def _sign(plain: str) -> Literal[">", ">=", "<", "<="]:
    is_less, is_turned = _LESS.search(plain) is not None, _TURNED.search(plain) is not None
    if is_turned:
        return ">=" if is_less else "<="
    return "<" if is_less else ">=" if _AT_LEAST.search(plain) else ">"


def compares_numbers(text: str) -> bool:
    """Whether a question compares the numbers of two things: "more red cells than platelets?"."""
    return _MORE_OR_FEWER.search(simplified(text)) is not None


def compared_numbers(found: Found, answer: Answer) -> Told:
    """Say which of two things has more boxes; a difference that rests on best guesses is said to."""
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
    if re.search(r"\bwide(?:r|st)?\b|\bwidth\b|(?<!增)宽", plain):
        return "width"
    return "height" if re.search(r"\btall(?:er)?\b|\bhow high\b|\bhigher than\b|\bheight\b|高[于度]|多高", plain) else ""


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
