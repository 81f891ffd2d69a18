"""The questions of a text that asks several: "locate the liver and tell me if there is a lesion in it"."""

from __future__ import annotations

import re

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import Intent, Kind, understand
from medrega_edge.prompts.intent.back_references import (
    SIDE_SAID,
    enumerated,
    extreme_organ,
    in_structure_before,
    of_other_side,
    said_names,
    with_finding_before,
    with_names_before,
)
from medrega_edge.prompts.intent.pieces import WHICH_OF_PAIR, asking_pieces
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.states import asks_how_it_is, asks_if_normal
from medrega_edge.vocabulary.terminology import BilingualName, Terminology
from medrega_edge.vocabulary.wording import places_in

_OF_TWO = {Kind.COMPARE, Kind.DISTANCE}
_TOLD_TOGETHER = {Kind.MODALITY, Kind.BODY_PART}  # by one answer
_WHERE = re.compile(r"^(?:and )?where(?: is it| are they)?$|^(?:位置在|位于|在)哪[里儿]?$")
_HOW_SURE = re.compile(  # the answer says so itself
    r"(?<=\w)[,;.?]* *(?:and )?how (?:sure|certain|confident) (?:are you|is (?:that|it|this))"
    r"(?: about (?:it|that|this))?\W*$"
    r"|(?<=\w)[，,。？? ]*(?:你)?(?:有)?(?:多大|多少|几成)的?(?:把握|可信度|置信度)\W*$",
    re.IGNORECASE,
)
_LEFT_OUT = re.compile(r"\b(?:don'?t|do not|not the|without|except)\b|(?:不要|不用|不必|别)(?:再)?[标圈框画勾]|不含|不包括")
_MOST = 6


_TAG = re.compile(  # "左肾有结石，对吗", "that's a fracture, right?"
    r"(?<=\w) *[,，] *(?:对吗|对吧|对不对|是吧|是吗|是不是|没错吧|我说得对吗|right|correct|isn'?t it|aren'?t they)\W*$",
    re.IGNORECASE,
)


def without_tag(text: str) -> str:
    """Return a text that ends in a question tag as a question."""
    return _TAG.sub("?", text)


def without_how_sure(text: str) -> str:
    """Return a text without the question how sure the answer is: each answer has its confidence."""
    return _HOW_SURE.sub("", text)


def parts(text: str, terminology: Terminology, modality: Modality | None, before: BilingualName = ("", "")) -> list[str]:
    """Return the questions of a text, each with names of its own; fewer than two where it is one question.

    Each part has to ask by itself. They ask in different ways, or one has a name that is unknown: one answer would drop it.
    A part that points back to the names of the part before gets them; the first one those of the question `before`.
    """
    if _RANKED.match(simplified(text)) or _OFFERED.match(simplified(text)):
        return []  # "rank the liver, the pancreas and the kidneys by size"
    said, history, is_of_each = asking_pieces(text, terminology, modality)
    is_one = not 2 <= len(said) <= _MOST or any(_LEFT_OUT.search(piece) for piece in (history, *said))
    whole_text = None if is_one else understand(text, terminology, modality)
    if whole_text is None or whole_text.kind is Kind.GROUNDED_REPORT:
        return []
    whole: list[str] = []
    intents: list[Intent] = []
    all_names: list[BilingualName] = []
    for piece in said:
        if _WHERE.match(piece) and not before[0] and intents and intents[-1].kind in (Kind.REPORT, Kind.CLASSIFY):
            before = ("abnormality", "异常")
        if _LARGER_OF_ALL.search(piece) and len(all_names) > 1:
            before = enumerated(list(dict.fromkeys(all_names)))
        filled = (
            (WHICH_OF_PAIR.match(piece) and piece)
            or of_other_side(piece, whole[-1:])
            or with_finding_before(piece, whole[-1:], intents[-1:], terminology, modality)
            or with_names_before(piece, before, terminology)
        )
        filled = in_structure_before(filled, intents[-1:], terminology, modality) or filled
        intent = understand(filled, terminology, modality)
        whole.append(filled)
        all_names += intent.names
        intents.append(intent)
        before = _meant_next(piece, intent, before, terminology, modality)
    kinds, have_names = {intent.kind for intent in intents}, {bool(intent.names) for intent in intents}
    are_told = all(set(intent.names) <= set(whole_text.names) for intent in intents)
    asked = {  # what one answer regards
        (
            intent.side,
            intent.unknown,
            asks_if_normal(piece) or asks_how_it_is(piece),
            *(place.group() for place in places_in(piece)),
        )
        for piece, intent in zip(whole, intents, strict=True)
    }
    are_alike = len(kinds) == len(have_names) == len(asked) == 1 and kinds != {Kind.ANSWER} and are_told
    if kinds <= _OF_TWO and len({frozenset(intent.names) for intent in intents}) > 1:
        return whole  # two comparisons are not one of four
    if is_of_each or any(map(WHICH_OF_PAIR.match, said)):
        return whole
    return [] if are_alike or kinds == _TOLD_TOGETHER else whole


def _meant_next(
    piece: str, intent: Intent, before: BilingualName, terminology: Terminology, modality: Modality | None
) -> BilingualName:
    """Return what "it" means in the part behind a piece; `before` is what it means in the piece."""
    if intent.kind is Kind.CLASSIFY and not intent.names and (not intent.unknown or modality is Modality.DERMOSCOPY):
        before = before if before[0] else ("lesion", "病变")
    else:
        before = said_names(piece, intent, terminology, modality) or extreme_organ(piece) or before
        if before[0] and _IS_WRONG.search(piece) and not any(is_finding(name[0]) for name in intent.names):
            before = f"abnormality in the {before[0]}", f"{before[1]}异常"
    if intent.side and not SIDE_SAID.search(before[0]):  # "a stone on the left? how big?"
        return f"{before[0]} on the {intent.side}", f"{_SIDES_ZH[intent.side]}{before[1]}"
    return before


_IS_WRONG = re.compile(r"\bwhat(?: ?'?s| is) wrong\b|有(?:什么|啥)(?:问题|毛病|异常)")
_SIDES_ZH = {"left": "左侧", "right": "右侧"}
_LARGER_OF_ALL = re.compile(
    r"^(?:告诉我|说说|看看)?(?:它们)?(?:哪一?个|谁)(?:更|比较|最)?[大小]|\bwhich (?:one )?is (?:the )?(?:larg|bigg|small)"
)
_OFFERED = re.compile(
    r"^[^:?.;,]*:[^?.;:]*(?:\bor\b|还是)[^?.;]*\??$"
)  # "what is it: glioma, meningioma or pituitary tumor?"
_RANKED = re.compile(r"^(?:please )?(?:rank|order|sort)\b[^.?;]*$")
