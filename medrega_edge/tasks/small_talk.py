"""Lines of a chat that ask nothing new: thanks, "bye", "again", "in English please", "are you sure?"."""

from __future__ import annotations

import re
from collections.abc import Sequence

from medrega_edge.answer import Answer, Label, Region
from medrega_edge.domain import Language, language_of
from medrega_edge.i18n.message import Message
from medrega_edge.tasks.reference_words import plain_words

_ARE_YOU_SURE = re.compile(
    r"(?:so |and )?(?:are you|r u) (?:really |very |quite )?(?:sure|certain)(?: about (?:that|this|it))?"
    r"|how (?:sure|certain|confident) are you"
    r"|really|是吗|真的吗?|真的假的|你?(?:能|可以)?(?:确定|肯定)吗?"
)
_WHAT_IS_A_SCORE = re.compile(
    r"what (?:do you mean by|did you mean by|does|is|are) (?:the |a |that )?(?:scores?|confidence)(?: mean)?"
    r"|(?:什么是|什么叫)?(?:得分|置信度|分数)(?:是什么)?(?:意思)?"
)
_OTHER_LANGUAGE = re.compile(
    r"(?:please |say |answer |it |that |this |again |now |and )*(?:in|to) (?:french|german|spanish|italian|japanese"
    r"|korean|russian|portuguese"
    r"|arabic|hindi|dutch)(?: please)?"
    r"|(?:请|用|换成|改成|说|讲)*(?:日|法|德|俄|韩|西班牙|葡萄牙|意大利|阿拉伯)[文语](?:回答|说|讲|吧)*"
)
_BYE = re.compile(
    r"(?:ok(?:ay)? |well |so |and |thanks? |thank you |good )*(?:good ?bye|bye(?: bye)?|see you(?: later)?|cheerio)"
    r"(?: (?:now|then|thanks|thank you))*"
    r"|(?:好的?|嗯|那|谢谢|多谢|感谢|您|你|了|啦|大夫|医生|先| )*(?:再见|拜拜?|回见|下次见|88)[了啦吧啊]*"
)
_THANKS = re.compile(
    r"(?:ok(?:ay)? |great |good |very |perfect |nice |many )*(?:thanks?(?: you)?(?: (?:very|so) much| a lot)?|thx|ty|cheers)"
    r"(?: (?:doctor|doc|again|for (?:that|this|your help|the help)))*"
    r"|(?:好的?|嗯|太好了|非常| )*(?:谢谢?|多谢|感谢)(?:你|您|了|啦|啊|医生|大夫|老师|们|的?帮助| )*"
)
_ENGLISH, _CHINESE = (
    r"(?:english|英[文语語])",
    r"(?:(?:simplified |traditional )?chinese|mandarin|中文|汉语|普通话|国语|华语)",
)
_BESIDE_LANGUAGE = (
    r"(?:please|can you|could you|would you|now|and|ok|repeat|say|answer|tell me|give me|show|write|speak|it|that|this"
    r"|the answer|"
    r"again|same|use|switch to|reply|in|to|into|me|the|last|translate|from now on"
    r"|请|能|可以|你|改|换|切|转|用|以|成|说|讲|回答|答案?|再"
    r"|来|一[遍次下]|为|到|的|版|"
    r"吧|吗|呢|翻译|译|告诉我|刚才|它|把|给我|一?个|显示| )*"
)
_WISHES = (
    (Language.EN, re.compile(f"{_BESIDE_LANGUAGE}{_ENGLISH}{_BESIDE_LANGUAGE}")),
    (Language.ZH, re.compile(f"{_BESIDE_LANGUAGE}{_CHINESE}{_BESIDE_LANGUAGE}")),
)
_AGAIN = re.compile(
    r"(?:please |sorry |can you |could you |what )*(?:(?:(?:say|repeat|show|tell|do|mark|draw|give)(?: me)?(?: (?:it"
    r"|that|this|them|the (?:last )?answer))? )?"
    r"(?:again|once more|one more time|once again)|repeat(?: (?:it|that|this|the (?:last )?answer))?|come again"
    r"|pardon(?: me)?)(?: please)?"
    r"|(?:请|麻烦|能|你)*(?:再|重新?)(?:说|讲|来|答|回答|显示|复|看|标)一?[遍次下回](?:吧|吗)?|(?:请)?重复(?:一[遍次下])?|再说|没有吗"
)
_SHOWS = re.compile(r"\b(?:show|mark|draw)\b|显示|看|标")
_IN_ENGLISH = re.compile(r"\bin english\b", re.IGNORECASE)


def reply(text: str, answer: Answer | None) -> Message | None:
    """Return what is said to a line that asks nothing about the image; None for any other line."""
    plain = plain_words(text)
    if not plain:
        return None
    if _BYE.fullmatch(plain):
        return Message("follow.bye")
    if _THANKS.fullmatch(plain):
        return Message("chat.welcome")
    if _OTHER_LANGUAGE.fullmatch(plain):
        return Message("follow.languages")
    if _WHAT_IS_A_SCORE.fullmatch(plain):
        return Message("follow.score")
    return how_sure(answer) if answer is not None and _ARE_YOU_SURE.fullmatch(plain) else None


def how_sure(answer: Answer) -> Message:
    """Say what the scores of an answer are, and what a score is."""
    scored: list[Label | Region] = [*answer.labels, *answer.regions]
    scores = [f"{one.label} {one.confidence:.2f}" for one in scored if one.confidence is not None]
    if not scores and answer.confidence is not None:
        scores = [f"{answer.confidence:.2f}"]
    return Message("chat.how_sure", scores=scores) if scores else Message("chat.no_score")


def language_wish(text: str) -> Language | None:
    """Return the language that a line asks for, if it asks for nothing else."""
    plain = plain_words(text)
    return next((language for language, pattern in _WISHES if pattern.fullmatch(plain)), None)


def wants_repeat(text: str) -> bool:
    """Whether a line asks for the last answer once more, also in another language."""
    return language_wish(text) is not None or _AGAIN.fullmatch(plain_words(text)) is not None


def wants_picture(text: str) -> bool:
    """Whether a line that wants a repeat wants to see boxes: "show it again"."""
    return _SHOWS.search(plain_words(text)) is not None


def last_wish(lines: Sequence[str]) -> Language | None:
    """Return the language that a conversation was last asked to be held in."""
    return next((wished for line in reversed(lines) if (wished := language_wish(line))), None)


def language_in(lines: Sequence[str]) -> Language:
    """Return the language of the answer to the last of the lines of a conversation: a wish holds for all that follow it."""
    if wished := last_wish(lines):
        return wished
    return Language.EN if _IN_ENGLISH.search(lines[-1]) else language_of(lines[-1])
