"""What a line of a chat leaves unsaid and its words alone complete: "the second one", "and red?", "what type?"."""

from __future__ import annotations

import re
from collections.abc import Collection, Sequence

from medrega_edge.domain import Task
from medrega_edge.prompts.intent.back_references import TYPE_OF_LESION
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.base import TaskRequest
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.terminology import BilingualName, Terminology

REPORTS = (Task.REPORT, Task.GROUNDED_REPORT)
# How a correction or a request begins and ends: "no, I meant the other one", "the right one please", "右边的也标一下".
_OPENING = re.compile(
    r"^\W*(?:no|nope|sorry|not that(?: one)?)\b(?:(?: *[,.;-])+ *(?:i (?:meant|mean|said))?| i (?:meant|mean|said))\W*(?=\w)"
    r"|^\W*(?:不对|不是|错了|不)(?:[，, 。]+(?:我?[说指要问]的?是)?|我[说指要问]的是)(?=\w)",
    re.IGNORECASE,
)
_CORRECTS_ITSELF = re.compile(
    r"^.*\b(?:where|show|locate|find)\b[^?.!]*[?.!,;] *(?:no|sorry|wait)\b"
    r"(?: *[,.;]+ *(?:i (?:meant|mean|want) )?| +i (?:meant|mean|want) )(?P<said>(?:the )?[\w ]+?)[?.! ]*$"
    r"|^.*(?:在哪|定位|找|标)[^？?。]*[？?。，] *(?:不对|错了|不是)[，, ]*"
    r"我?(?:要|说的是|指的是|问的是|想要|是说)(?P<said_zh>\w+?)[。？! ]*$",
    re.IGNORECASE,
)
_FORGET = re.compile(r"^\W*(?:forget (?:that|it)|never ?mind)\W+(?=\w)|^\W*算了[，, 。]+", re.IGNORECASE)
_ROUGHLY = re.compile(r"\b(?:roughly|approximately)\b ?|大概|大约|差不多", re.IGNORECASE)
_ENDING = re.compile(
    r"[ ,]+(?:please|instead)\W*$|(?:并且?|再|然后)?保存(?:一下|下来)?\W*$"
    r"|(?<=[的侧边])(?:也|再|还)?(?:要|请)?[标圈框画](?:一下|出来|上)?\W*$",
    re.IGNORECASE,
)
_TYPE = re.compile(
    r"^\W*(?:and )?(?:what|which) (?:type|kind|sort)(?: (?:is it|of (?:tumou?r|lesion)(?: is it)?|exactly))?\W*$"
    r"|^\W*(?:它)?(?:是|属于)?(?:什么|哪[一种]?)(?:类型|种类|类|种)的?\W*$",
    re.IGNORECASE,
)
_ORDINALS = ("first", "second", "third", "fourth", "fifth")
_ORDINALS_ZH = "一二三四五"
_ORDINAL = re.compile(
    rf"\bthe ({'|'.join(_ORDINALS)}|last)(?: (?:one|organ|structure|finding))?\b(?! \w+ (?:vertebra|ventricle|molar))"
    rf"|第([{_ORDINALS_ZH}])个(?:器官|结构|病变)?|最后一?个",
    re.IGNORECASE,
)
_HEADLESS = re.compile(
    r"^\W*(?:and|what about|how about) (?:the )?([a-z]+)(?: ones?)?\W*$|^\W*(?:那)?(.{1,2}?)的?呢\W*$", re.IGNORECASE
)
_VERTEBRA = re.compile(r"([CTL])(\d{1,2}) vertebra")
_NEXT_VERTEBRA = re.compile(
    r"\b(?:the )?(?:one|vertebra|level) (below|above)(?: (?:it|that))?\W*$"
    r"|^\W*and (below|above)\W*$|\b(?:the )?next (?:one|vertebra|level)(?: (down|up))?\W*$"
    r"|(下|上)(?:面)?(?:那)?(?:一)?(?:节|个|块)(?:呢)?\W*$",
    re.IGNORECASE,
)
_LAST_VERTEBRA = {"C": 7, "T": 12, "L": 5}


def completed(text: str, last: TaskRequest, terminology: Terminology, listed: Sequence[str] = ()) -> str:
    """Return a question without what only opens or ends it, and with the names that it leaves out.

    "The second one" is one of the names that an answer `listed`. "And red?" after white blood cells means the red ones,
    "what type?" after a finding its class.
    """
    text = _ROUGHLY.sub("", _FORGET.sub("", text))
    text = _ENDING.sub("", _OPENING.sub("and " if text.isascii() else "那", text))
    if (match := _ORDINAL.search(text)) and len(listed) > 1:
        said = (match[1] or "").casefold()
        place = _ORDINALS.index(said) if said in _ORDINALS else _ORDINALS_ZH.index(match[2]) if match[2] else len(listed) - 1
        if place < len(listed):
            return text[: match.start()] + f"{'the ' if match[1] else ''}{listed[place]}" + text[match.end() :]
    before = names_before(last, terminology)
    if (match := _NEXT_VERTEBRA.search(text)) and (name := _next_vertebra(match, before, terminology)):
        return f"and {name[0]}?" if text.isascii() else f"{name[1]}呢"
    if _TYPE.search(text) and before and all(is_finding(english) for english, _ in before):
        return TYPE_OF_LESION[not text.isascii()]
    if (match := _HEADLESS.search(text)) and before and not terminology.find(text):
        word, (english, chinese) = (match[1] or match[2]).casefold(), before[0]
        whole = f"{word} {english.partition(' ')[2]}" if match[1] else f"{word}{chinese[1:]}"
        found = terminology.find(whole)
        if found and found[0] not in before:
            return f"and {whole}?" if match[1] else f"{whole}呢"
    return text


def corrected(text: str) -> str:
    """Return what a line that corrects itself asks in the end: "where is the liver? no, the spleen"."""
    match = _CORRECTS_ITSELF.match(text)
    if match is None:
        return text
    said = (match["said"] or match["said_zh"]).strip()
    return f"where is {said}?" if text.isascii() else f"{said}在哪里"


def is_correction(text: str) -> bool:
    """Whether a line takes back what the one before named: "sorry, I meant the kidneys"."""
    return _OPENING.search(text) is not None or _FORGET.search(text) is not None


def _next_vertebra(match: re.Match[str], before: Sequence[BilingualName], terminology: Terminology) -> BilingualName | None:
    """Return the label of the vertebra below or above the last one, or None where there is none."""
    known = _VERTEBRA.fullmatch(before[0][0]) if len(before) == 1 else None
    if known is None:
        return None
    region, number = known[1], int(known[2])
    is_up = next(filter(None, match.groups()), "").casefold() in ("above", "up", "上")
    order = [(each, place) for each, last in _LAST_VERTEBRA.items() for place in range(1, last + 1)]
    place = order.index((region, number)) + (-1 if is_up else 1)
    wanted = "{}{} vertebra".format(*order[place]) if 0 <= place < len(order) else ""
    return next((label for label in terminology.labels if label[0] == wanted), None)


def names_before(last: TaskRequest, terminology: Terminology, found: Collection[str] = ()) -> list[BilingualName]:
    """Return the names of the last question, or of a report: those that were found, where there are some."""
    last = last.request if isinstance(last, Asked) else last
    names = list(terminology.labels) if last.task in REPORTS else terminology.find(last.words)
    return [name for name in names if set(name) & set(found)] or ([] if last.task in REPORTS else names)
