"""Lines of a chat that take names away from what it is about, or add some: "without the spleen", 加上胰腺."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import replace

from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.tasks.memory import Chosen, Thing
from medrega_edge.tasks.reference_words import plain_words, says_no_more
from medrega_edge.tasks.references import other_side, refer
from medrega_edge.tasks.spoken import Conversation
from medrega_edge.tasks.unsaid import is_correction
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.terminology import BilingualName

_REMOVES = re.compile(
    r"\b(?:without|remove|drop|hide|leave out|take away|delete|minus|exclude|excluding|except(?: for)?|but not|not"
    r"|(?<=\w )no)\b"
    r"|去掉|去除|除去|除掉|删掉|删除|移除|不要(?!紧)|不包括|不包含|不含|除了?|别标"
)
_ADDS = re.compile(
    r"\b(?:add|include|plus|(?:put|bring)(?=.* back\b))\b|加上|加入|添加|补上|算上|再加|(?<!增)加(?!重|大|强)"
)
_AFTERWORDS = re.compile(
    r"\b(?:back|everything|as well|again|to (?:it|them|that|these)|away|from (?:it|them|that|these)|mark(?:ed)?|rest"
    r"|others?)\b"
    r"|以外|之外|外|进[来去]|回[来去]|一起|其[他它余]的?|剩下的?|重新|再"
)
_OWN_QUESTION = re.compile(
    r"还有|有没有|什么|有哪|\b(?:what|else|is|are|does|was)\b|所有器官|\b(?:organs?|anything)\b|器官|怎么"
)
_TAKES_AWAY = re.compile(r"^(?:and |but |please |now )*(?:without|remove|drop|hide|delete)\b|去掉|去除|删掉|删除|移除|^除了")
_PARTS = re.compile(r"[,，;；]|\b(?:but|just|only|not|without)\b|不要|而是|只要")
_ALL = re.compile(r"\ball\b(?! of)|\beverything\b|\bexclud|所有|全部|都")
_NOT_THIS_SIDE = re.compile(r"\bnot (?:the )?(left|right) (?:one|(\w+)) but (?:the )?(?:left|right|other) (?:one|side)\b")
_IT = re.compile(r"\b(?:it|that|this|that one|this one|them|these|those)\b|它们?|[这那]个?")


def change(line: Conversation) -> Chosen | None:
    """Return the request of a line that only takes away or adds names; None for any other line.

    Raises UsageError where nothing would be left, and for a name that the conversation is not about.
    """
    text = plain_words(line.text)
    if is_correction(line.text):
        return None
    match = _REMOVES.search(text)
    adds = None if match else _ADDS.search(text)
    found = match or adds
    if sides := _NOT_THIS_SIDE.search(text):
        return _other_side(line, *sides.groups())
    if found is None or not line.recalled.names or _OWN_QUESTION.search(text):
        return None
    rest = f"{text[: found.start()]} {text[found.end() :]}"
    if match and sum(bool(_names_in(part, line)[0]) for part in _PARTS.split(simplified(line.text))) > 1:
        return None  # "just the liver, not the tumors" says itself what to keep
    names, unread = _names_in(rest, line)
    if match and not names and not _IT.search(rest):
        return _without_chosen(line, rest, is_clear=_TAKES_AWAY.search(text) is not None)
    if not says_no_more(_AFTERWORDS.sub(" ", unread)):
        return None
    if not names and match and _IT.search(rest):
        names = line.recalled.last
    if not names:
        return None
    if adds:
        together = {*line.recalled.names, *names}
        return _about(line, tuple(name for name in dict.fromkeys([*line.recalled.mentioned, *names]) if name in together))
    if not set(names) & set(line.recalled.names) and _ALL.search(text):
        return None  # all organs but these; or "exclude" in the sense of "rule out"
    if not set(names) & set(line.recalled.names):
        raise UsageError("follow.not_among", names=line.listed(names), known=line.listed(line.recalled.names))
    left = tuple(name for name in line.recalled.names if name not in names)
    if not left:
        raise UsageError("follow.nothing_left", names=line.listed(names))
    return _about(line, left)


def _without_chosen(line: Conversation, rest: str, is_clear: bool) -> Chosen | None:
    """Take away what the rest of a line points to: "without the left one", 去掉最大的.

    Raises UsageError where a line that is clear about taking away does not tell what.
    """
    chosen = refer(replace(line, text=_AFTERWORDS.sub(" ", rest)))
    if chosen is None:
        if is_clear:
            raise UsageError("task.only_left_out")
        return None
    gone = set(chosen.boxes)
    things = line.recalled.things
    if gone and len(line.recalled.names) == 1 and all(thing.box for thing in things):
        left = [thing for thing in things if thing.box not in gone]
        if len(left) < len(things):
            return _about_boxes(line, left, chosen)
    names = tuple(name for name in line.recalled.names if name not in chosen.intent.names)
    if not names:
        raise UsageError("follow.nothing_left", names=line.listed(chosen.intent.names))
    return _about(line, names)


def _about_boxes(line: Conversation, left: Sequence[Thing], chosen: Chosen) -> Chosen:
    if not left:
        raise UsageError("follow.nothing_left", names=line.listed(chosen.intent.names))
    return line.about(None, [], left)


def _other_side(line: Conversation, said: str, name: str | None) -> Chosen | None:
    """Ask for the other of a pair: "not the left kidney but the right one"."""
    known = line.terminology.find(f"{said} {name}") if name else line.recalled.last
    pairs = [other for each in known if (other := other_side(each, line.terminology))]
    return line.about(None, pairs) if len(pairs) == 1 else None


def _names_in(text: str, line: Conversation) -> tuple[tuple[BilingualName, ...], str]:
    """Return the names in a text, also those that a generic word stands for, and the text without them."""
    intent = understand(text, line.terminology, line.modality)
    unread = line.terminology.mask(text).replace("\0", " ")
    for word in intent.generic:
        unread = unread.replace(word, " ")
    return tuple(line.terminology.find(text)) or intent.names, unread


def _about(line: Conversation, names: tuple[BilingualName, ...]) -> Chosen:
    kind = line.recalled.kind if line.recalled.kind in (Kind.MEASURE, Kind.COUNT) else None
    return line.about(kind, names, among=names)
