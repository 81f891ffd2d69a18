"""The ways in which models write boxes: the question that makes them do so, and a strict parser of the answer."""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from medrega_bench.box_fidelity.frames import Frame, Kind, Order

AUTO = "auto"
Numbers = tuple[float, float, float, float]


@dataclass(frozen=True)
class Reply:
    """What a server answers: its text, and the typed regions of `medrega serve` where it sends them.

    `refusal` tells that the server itself marks the answer as a refusal; `failure` says why there is no answer.
    """

    text: str
    regions: tuple[Any, ...] | None = None
    refusal: bool = False
    failure: str = ""


class Status(StrEnum):
    """What became of a question."""

    PARSED = "parsed"
    MALFORMED = "malformed"  # neither a box of the dialect nor anything below
    REFUSED = "refused"
    NO_BOX = "no_box"  # the answer says that there is none
    FAILED = "failed"  # the server gave no answer


Parser = Callable[[Reply], Sequence[Numbers] | None]

_MOST = 1_000_000  # that a coordinate may be
_NUMBER = r"\s*(-?\d{1,6}(?:\.\d{1,9})?)\s*"
_FOUR = ",".join([_NUMBER] * 4)
_LIST = re.compile(rf"[\[(]{_FOUR}[\])]")
_BOX = re.compile(r"<box>\s*\[(?P<boxes>.*?)\]\s*</box>", re.DOTALL)
_BOXES = re.compile(rf"\s*\[{_FOUR}\]\s*(?:,\s*\[{_FOUR}\]\s*)*")
# A server that leaves special tokens out of its text leaves the pairs in it.
_PAIRS = re.compile(rf"(?:<\|box_start\|>)?\({_NUMBER},{_NUMBER}\)\s*,\s*\({_NUMBER},{_NUMBER}\)(?:<\|box_end\|>)?")
_LOC = re.compile(r"<loc(\d{4})>" * 4)
_LOC_UNDERLINED = re.compile(r"<loc_(\d{1,4})>" * 4)
_FENCE = re.compile(r"```(?:json)?\s*(.*?)```", re.DOTALL)
_THOUGHT = re.compile(r"<think>.*?</think>", re.DOTALL)
_BEGINNING = 300  # characters in which a refusal shows; a long text of other words has any word
_REFUSAL = re.compile(
    r"\b(?:can(?:no|')t|can’t|unable|sorry|not able|refuse|apologi[sz]e|as an ai)\b|抱歉|无法|不能|对不起", re.IGNORECASE
)
_NOTHING = re.compile(
    r"\A(?:```(?:json)?)?\s*(?:\[\s*\]|\{\s*\})?\s*(?:```)?\Z"
    r"|\bno (?:such|box|\w+ (?:is|was) )|\bnot (?:find|found|visible|present|see|seen)\b|\bthere is no\b|\bnone\b"
    r"|没有|未找到",
    re.IGNORECASE,
)


def _quads(found: Sequence[Sequence[str]]) -> list[Numbers] | None:
    return [(float(a), float(b), float(c), float(d)) for a, b, c, d in found] or None


def _bare_list(reply: Reply) -> Sequence[Numbers] | None:
    return _quads(_LIST.findall(reply.text))


def _box_markup(reply: Reply) -> Sequence[Numbers] | None:
    quads: list[Numbers] = []
    for match in _BOX.finditer(reply.text):
        inner = match["boxes"]
        if not _BOXES.fullmatch(inner):
            return None
        quads += _quads(_LIST.findall(inner)) or []
    return quads or None


def _box_tokens(reply: Reply) -> Sequence[Numbers] | None:
    return _quads(_PAIRS.findall(reply.text))


def _loc_tokens(reply: Reply) -> Sequence[Numbers] | None:
    return _quads(_LOC.findall(reply.text))


def _underlined_loc_tokens(reply: Reply) -> Sequence[Numbers] | None:
    return _quads(_LOC_UNDERLINED.findall(reply.text))


def _json(key: str) -> Parser:
    def parse(reply: Reply) -> Sequence[Numbers] | None:
        fenced = _FENCE.search(reply.text)
        try:
            found = json.loads(fenced[1] if fenced else reply.text)
        except (ValueError, RecursionError):
            return None
        items = found if isinstance(found, list) else [found]
        return _typed([item.get(key) if isinstance(item, dict) else None for item in items])

    return parse


def _regions(reply: Reply) -> Sequence[Numbers] | None:
    if reply.regions is None:
        return None
    return _typed([region.get("box") if isinstance(region, dict) else None for region in reply.regions])


def _typed(boxes: Sequence[Any]) -> Sequence[Numbers] | None:
    """Boxes that are lists of four numbers; [] if there is none, None if one is anything else."""
    quads: list[Numbers] = []
    for box in boxes:
        if not isinstance(box, list) or len(box) != 4 or not all(map(_is_coordinate, box)):
            return None
        a, b, c, d = box
        quads.append((a, b, c, d))
    return quads


def _is_coordinate(value: Any) -> bool:
    return type(value) in (int, float) and abs(value) < _MOST  # which no NaN is


def _spoken(reply: Reply) -> Reply:
    """An answer without the thoughts that some models write before it."""
    return Reply(_THOUGHT.sub("", reply.text).strip(), reply.regions)


@dataclass(frozen=True)
class Dialect:
    """A way of writing boxes: what is asked, how the answer is read, and what its numbers mean."""

    name: str
    prompt: str
    parse: Parser
    order: Order
    frame: Frame

    def question(self, label: str) -> str:
        """Return the question about an object, named without an article."""
        return self.prompt.format(label=label)

    def understands(self, reply: Reply) -> bool:
        """Whether an answer is one of this dialect, be it that there is no box."""
        return self.parse(_spoken(reply)) is not None

    def read(self, reply: Reply) -> tuple[Status, Sequence[Numbers]]:
        """Return what an answer is, and the numbers of its boxes; never raises."""
        if reply.failure:
            return Status.FAILED, ()
        spoken = _spoken(reply)
        numbers = self.parse(spoken)
        if numbers:
            return Status.PARSED, numbers
        if reply.refusal or (numbers is None and _REFUSAL.search(spoken.text[:_BEGINNING])):
            return Status.REFUSED, ()
        if numbers is not None or _NOTHING.search(spoken.text[:_BEGINNING]):
            return Status.NO_BOX, ()
        return Status.MALFORMED, ()


_THOUSAND = Frame(Kind.STRETCHED, 1000)
_QWEN_JSON = _json("bbox_2d")
# Qwen2.5-VL's processor: sides are multiples of 28, 16384 patches of 28 x 28 at most.
QWEN25 = Frame(Kind.SMART, 28, 16384 * 28 * 28)
_LOCATE_JSON = "Locate the {label}, output its bbox coordinates using JSON format."
_SENTENCE = "Please provide the bounding box coordinate of the region this sentence describes: <ref>{label}</ref>"
_LISTED = "Where is the {label}? Answer with its bounding box as [x1, y1, x2, y2] only, "

# In the order in which `auto` tries them.
DIALECTS = {
    dialect.name: dialect
    for dialect in (
        Dialect("medrega", "locate the {label}", _regions, Order.XYXY, Frame(Kind.PIXELS)),
        Dialect("qwen3-vl", _LOCATE_JSON, _QWEN_JSON, Order.XYXY, _THOUSAND),
        Dialect("qwen2.5-vl", _LOCATE_JSON, _QWEN_JSON, Order.XYXY, QWEN25),
        Dialect("list-1000", _LISTED + "as integers from 0 to 1000.", _bare_list, Order.XYXY, _THOUSAND),
        Dialect("list-999", _LISTED + "as integers from 0 to 999.", _bare_list, Order.XYXY, Frame(Kind.STRETCHED, 999)),
        Dialect("list-pixels", _LISTED + "in pixels of the image.", _bare_list, Order.XYXY, Frame(Kind.PIXELS)),
        Dialect("list-fractions", _LISTED + "as fractions from 0 to 1.", _bare_list, Order.XYXY, Frame(Kind.STRETCHED, 1)),
        Dialect("internvl", _SENTENCE, _box_markup, Order.XYXY, _THOUSAND),
        Dialect("medrega-markup", _SENTENCE, _box_markup, Order.XYXY, Frame(Kind.STRETCHED, 999)),
        Dialect(
            "qwen2-vl",
            "Output the bounding box of <|object_ref_start|>the {label}<|object_ref_end|>.",
            _box_tokens,
            Order.XYXY,
            _THOUSAND,
        ),
        Dialect(
            "gemini",
            'Detect the {label}. Answer in JSON with "box_2d" as [ymin, xmin, ymax, xmax] from 0 to 1000, and "label".',
            _json("box_2d"),
            Order.YXYX,
            _THOUSAND,
        ),
        Dialect("paligemma", "detect {label}", _loc_tokens, Order.YXYX, Frame(Kind.STRETCHED, 1024)),
        Dialect(
            "florence",
            "Locate the phrases in the caption: {label}",
            _underlined_loc_tokens,
            Order.XYXY,
            _THOUSAND,
        ),
    )
}


def sharing_question(dialect: Dialect) -> list[Dialect]:
    """Return the dialects that ask and are read as this one does, and differ in what the numbers mean."""
    return [one for one in DIALECTS.values() if (one.prompt, one.parse) == (dialect.prompt, dialect.parse)]
