"""The questions of a text that asks several: "locate the liver and tell me if there is a lesion in it"."""

from __future__ import annotations

import re

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import Intent, Kind, understand
from medrega_edge.prompts.intent.naming import named, words_of
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import MARK, asks_if_normal, is_finding, simplified

_BOUNDARY = re.compile(
    r"[?？。;；,，]|然后|并且?(?!列)|以及|同时"
    r"|\b(?:and|then|also)(?= (?:please |then |also )?(?:how|what|which|in which|on which|where|whether|is|are|was|were"
    r"|has|have|can|should|do|does|any|tell|say|see|check|show|find|locate|mark|outline|segment|measure|count|give|report|describe)\b)"
)
_ASKING = ("locate", "measure", "count", "side", "presence_strong")
_NAMELESS = ("report_strong", "all_well", "kind_of_image", "classify")  # what asks without a name
_OF_BOXES = (Kind.LOCATE, Kind.SEGMENT, Kind.PRESENCE, Kind.COUNT, Kind.MEASURE, Kind.SIDE, Kind.COMPARE, Kind.DISTANCE)
# What stands for the names of the part before.
_INSIDE = re.compile(r"\b(?:in|inside|within|on) (?:it|them|there)\b|(?:它们?|其)?(?:里面|里头|其中|上面|内部)")
_PRONOUN = re.compile(r"\b(?:it|them|they)\b|它们?")
_MOST = 3
# A question that only goes on from the part before: "how big", "how many", "哪一侧".
_GOES_ON = re.compile(
    r"^(?:please |then |also |and )?(?:how (?:big|large|wide|long|many)"
    r"|(?:on |in )?(?:which|what) (?:side|lobe|segment|zone|quadrant|part|level)|what size)$"
    r"|^(?:有|分别)?(?:多[大少长宽]|几[个处颗枚]|多少个|大小|大小多少|(?:在)?哪一?[侧边]|(?:在)?哪一?个?(?:脑叶|肺叶|肝段|象限|节段))[呢?？]?$"
)
_QUESTION = re.compile(
    r"^(?:please |then |also |and )?(?:(?:tell|show) me |say |see |check )?(?:is|are|was|were|does|do|did|has|have|how|what"
    r"|which|why|should|can|could|whether|if|any)\b|[吗么嘛]$|是否|是不是|有没有|有无|怎么|为什么|什么|多[大少长宽厚远重]|几[个处颗枚级]"
)
_TAG = re.compile(
    r"^(?:is|are|isn'?t|aren'?t|does|do|doesn'?t|don'?t|has|have|can|could)(?:n'?t)? (?:there|it|they|he|she|you)$"
)


def parts(text: str, terminology: Terminology, modality: Modality | None) -> list[str]:
    """Return the questions of a text, each with names of its own; fewer than two where it is one question.

    Each part has to ask by itself. They ask in different ways, or one has a name that is unknown: one answer would drop it.
    A part that points back to the names of the part before gets them.
    """
    said: list[str] = []
    for piece in _pieces(text):
        if said and not _asks(piece, terminology, modality):
            said[-1] += f", {piece}"
        else:
            said.append(piece)
    is_one = not 2 <= len(said) <= _MOST or not _asks(said[0], terminology, modality)
    if is_one or understand(text, terminology, modality).kind is Kind.GROUNDED_REPORT:
        return []
    whole: list[str] = []
    intents: list[Intent] = []
    before = ("", "")
    for piece in said:
        filled = with_names(piece, before)
        intent = understand(filled, terminology, modality)
        whole.append(filled)
        intents.append(intent)
        before = _said_names(piece, intent, terminology) or before
    are_alike = len({intent.kind for intent in intents}) == 1 and all(intent.names for intent in intents)
    return [] if are_alike or not any(map(is_of_boxes, intents)) else whole


def is_of_boxes(intent: Intent) -> bool:
    """Whether boxes of names answer a question, or would if the names were known."""
    return intent.kind in _OF_BOXES and bool(intent.names or intent.unknown)


def _pieces(text: str) -> list[str]:
    pieces = [piece.strip(" .!！") for piece in _BOUNDARY.split(simplified(text).casefold())]
    return [piece for piece in pieces if re.search(r"\w", piece)]


def _asks(piece: str, terminology: Terminology, modality: Modality | None) -> bool:
    """Whether a part names something, or points back, and asks; "is there?" behind a statement does not."""
    masked = named(piece, terminology, modality).masked
    points = MARK in masked or _INSIDE.search(piece) or _PRONOUN.search(piece) or _GOES_ON.search(piece)
    is_question = bool(_QUESTION.search(piece)) and not _TAG.search(piece)
    said = words_of(masked)
    asks = is_question or any(has(kind, said) for kind in _ASKING)
    is_nameless = any(has(kind, said) for kind in _NAMELESS) or asks_if_normal(piece)
    return (bool(points) and asks) or is_nameless or understand(piece, terminology, modality).reason is not None


def _said_names(piece: str, intent: Intent, terminology: Terminology) -> BilingualName | None:
    """Return the names of a part as one enumeration in each language; of generic words, the words: "the tumour".

    Of a finding in a structure, "a mass in the liver", it is the finding.
    """
    if intent.generic and intent.names and all(is_finding(name[0]) for name in intent.names):
        return " and ".join(name[0] for name in intent.names), "和".join(name[1] for name in intent.names)
    if names := terminology.find(piece):
        return " and ".join(name[0] for name in names), "和".join(name[1] for name in names)
    return (" and ".join(intent.generic), "和".join(intent.generic)) if intent.generic else None


def with_names(piece: str, names: BilingualName) -> str:
    """Put the names in the place of what points back to them."""
    english, chinese = names
    if not english:
        return piece
    if _GOES_ON.search(piece):
        return f"{piece}: the {english}" if piece.isascii() else f"{chinese}{piece}"
    piece = _INSIDE.sub(lambda match: f"in the {english}" if match.group().isascii() else f"{chinese}里", piece, count=1)
    return _PRONOUN.sub(lambda match: f"the {english}" if match.group().isascii() else chinese, piece, count=1)
