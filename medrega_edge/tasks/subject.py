"""Lines of a chat that name a place for what it is about: "left or right kidney?", 在脑室里吗, 离心脏多远.

What the conversation is about stays the subject: the new name is a place, and never what is located instead.
"""

from __future__ import annotations

import re
from dataclasses import replace

from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.tasks.memory import Chosen
from medrega_edge.tasks.reference_words import plain_words
from medrega_edge.tasks.spoken import Conversation
from medrega_edge.vocabulary.label_kinds import is_finding, is_single

_EITHER_SIDE = re.compile(
    r"^(?:so |and |is (?:it|that|this) |are they |(?:in|on|at) )*(?:the )?(?:left or (?:in |on )?(?:the )?right"
    r"|right or (?:in |on )?(?:the )?left) \w+(?: \w+)?$"
    r"|^(?:so |and |in )*(?:the )?(?:left|right) \w+ or (?:in )?(?:the )?(?:left|right)(?: \w+)?$"
    r"|^(?:它们?|那|是|位于|长|在)*左[边侧]?(?:的)?\w{0,4}还是(?:在)?右[边侧]?(?:的)?\w{0,4}$"
)
_PLACE_OF_IT = re.compile(
    r"^(?:so |and |but |or )*(?:(?:is|are|was|does|lies?) (?:it|they|that|this|these|those|one(?: of (?:them|these))?"
    r"|any(?: of (?:them|these))?|(?:both|all)(?: of them)?)(?: (?:also|lie|located"
    r"|really))? )?"
    r"(?:to the |on the )?(?:in(?:side)?|within|left of|right of|above|below|under|behind|near|close to|next to"
    r"|in front of|between|at) (?:the |her |his )?\w+(?: \w+){0,3}$"
    r"|^(?:那|是不是|是否|会不会)*(?:它们?)?(?:是|也|就)?(?:不是)?(?:长|位)?[在于]\w{1,8}?(?:里面?|内|中|上|下|左|右|前|后|旁|附近|里头|叶|段|区"
    r"|部)[面边侧方]?(?:吗|么|呢|不)?$"
    r"|^(?:那|是不是|是否)*(?:它们?)?(?:是|长|位)*[在于]\w{1,8}[吗么嘛]$"
)
_RELATIVE = re.compile(r"\b(?:relative|in relation|with respect|in comparison) to\b|相对于?")
_FROM = re.compile(
    r"^(?:and |so )?how (?:far|close)(?: away)?(?: is (?:it|that|this))?(?: away)? (?:from|to)\b"
    r"|^(?:那|它)*[离距]\w+(?:多远|多近|远)"
)
_ONE_BESIDE = re.compile(r"\bthe one (?:below|above|beside|behind|under|next to)\b")
_BESIDE_NAME = re.compile(r"^(?:那|还有)*[上下][面边方]的\w+?呢?$|^(?:and |what about )*the \w+ (?:below|above)$")
_OTHER_SIDE = re.compile(r"^(?:and |what about |how about |on )*the other side$|^那?(?:对侧|另外?一?[边侧])(?:呢|有吗)?$")
_NORMAL_ONE = re.compile(r"\bthe (?:normal|healthy|abnormal|diseased) one\b|(?:正常|健康|异常|有病)的那")
_PAIRED_PARTS = re.compile(r"\b(?:eye|breast|arm|leg|hand|foot|knee|hip|shoulder)\b|[眼乳手脚腿肩膝]")  # of the image itself
_PRONOUN = re.compile(r"\b(?:it|they|that|this|them|each other)\b|它")


def in_place(line: Conversation) -> Chosen | None:
    """Return the request of a line that names a place for what the last one was about; None for any other line.

    Raises UsageError for a relation, which the program does not tell.
    """
    text, before = plain_words(line.text), line.recalled.last
    if not before or set(line.terminology.find(text)) & set(before):
        return None
    if _BESIDE_NAME.search(text) and line.terminology.find(text):
        raise UsageError("task.impossible_relation")
    if _OTHER_SIDE.search(text) and (side := _side_left(line)):
        return line.about(Kind.LOCATE, before, side=side)
    if _ONE_BESIDE.search(text) and not all(is_single(english) for english, _ in before):
        raise UsageError("task.impossible_relation")
    if _NORMAL_ONE.search(text):
        raise UsageError("follow.no_state")
    intent = understand(text, line.terminology, line.modality)
    names = line.terminology.find(text) or list(intent.names)
    if any(is_finding(english) for english, _ in names):
        return None
    are_findings = all(is_finding(english) for english, _ in before)
    if _EITHER_SIDE.search(text) and names and are_findings and not _PAIRED_PARTS.search(text):
        return line.about(Kind.SIDE, before, line.recalled.focus)
    if _FROM.search(text):
        return _distance(line, tuple(names), text, intent.unknown)
    if _RELATIVE.search(text) and _PRONOUN.search(text):
        raise UsageError("task.impossible_relation")
    is_of_it = _PRONOUN.search(text) is not None or are_findings
    if names and is_of_it and _PLACE_OF_IT.search(text):
        raise UsageError("follow.place", subject=line.listed(before), place=line.listed(names[:3]))
    return None


def _side_left(line: Conversation) -> str:
    """Return the side on which the last answer saw none of its findings, if it told the sides; else an empty text."""
    seen = {side for sides in line.sides.values() for side in sides}
    is_finding_on_one = len(seen) == 1 and all(is_finding(english) for english, _ in line.recalled.last)
    return {"left": "right", "right": "left"}.get(seen.pop(), "") if is_finding_on_one else ""


def _distance(line: Conversation, names: tuple[tuple[str, str], ...], text: str, unknown: tuple[str, ...]) -> Chosen | None:
    """Ask how far the subject is from what the line names; raises UsageError where that is no single thing that is known."""
    if not names:
        if len(line.recalled.last) > 1 or not _PRONOUN.search(text) or unknown:
            rest = re.sub(r"^.*\b(?:from|to) (?:the )?|^(?:那|它)*[离距]|多[远近]|有|\d", "", text).strip()
            if rest and not _PRONOUN.search(rest):
                raise UsageError("follow.unknown_place", place=rest)
        return None
    if len(names) > 1:
        raise UsageError("follow.which_of", names=line.listed(names))
    asked = line.about(Kind.DISTANCE, [*line.recalled.last[:1], *names])
    if len(line.recalled.focus) != 1 or line.recalled.focus[0].name != line.recalled.last[0]:
        return asked
    return replace(asked, boxes=tuple(thing.box for thing in line.recalled.focus if thing.box), beside=names)
