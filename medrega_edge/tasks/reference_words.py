"""The words by which a line of a chat points to what was said: "both", "the second one", "which of them", 都, 另一个.

A line is such a reference only if nothing else is in it: a word that is no reference, no kind of question and no filler
makes it a question of its own.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from enum import StrEnum

from medrega_edge.prompts.intent import Kind
from medrega_edge.vocabulary.plain_text import simplified


class Points(StrEnum):
    """What a reference points to."""

    GROUP = "group"  # both, all three, of them
    ORDINAL = "ordinal"
    OTHER = "other"
    SIZE = "size"  # the largest, the second largest, the smaller one
    PLACE = "place"  # the left one, the top one
    NOTHING = "nothing"  # "how big?"


@dataclass(frozen=True)
class Reference:
    """What a line points to, and what it asks about it; `kind` is None where it does not say.

    `count` is how many are meant, 0 for all, from `rank` on; `is_last` counts from the end. `of_group` tells that it is one
    of several, `group` of how many. `is_pair` is a comparative: "the smaller one". `side` is a direction.
    """

    points: Points
    kind: Kind | None = None
    count: int = 0
    rank: int = 1
    is_last: bool = False
    is_largest: bool = True
    of_group: bool = False
    group: int = 0
    is_pair: bool = False
    is_one: bool = True
    asks_if_any: bool = False
    wants_sum: bool = False
    is_plural: bool = False
    side: str = ""


_NUMBERS = {
    word: number
    for number, words in enumerate(("two 两 二", "three 三", "four 四", "five 五", "six 六"), 2)
    for word in words.split()
}
_RANKS = {
    word: number
    for number, words in enumerate(
        ("first 1st 一", "second 2nd 二", "third 3rd 三", "fourth 4th 四", "fifth 5th 五", "sixth 6th 六"), 1
    )
    for word in words.split()
}
_NUMBER = rf"(?:{'|'.join(_NUMBERS)}|[2-9])"
_RANK = r"(?:first|second|third|fourth|fifth|sixth|[1-9](?:st|nd|rd|th))"
_UNIT = r"[个颗处根枚块团片节只者张条]"
_SIZES = (
    re.compile(
        rf"\b(?:the )?(?:(?P<rank>{_RANK}) )?(?:(?P<count>{_NUMBER}) )?(?P<size>largest|biggest|longest|smallest|tiniest)"
        rf"(?: (?P<after>{_NUMBER})\b)?(?: ones?)?\b"
    ),
    re.compile(
        rf"第(?P<rank>[一二三四五六1-9])(?P<size>大|小)的?(?:那?一?{_UNIT})?"
        rf"|最(?P<size2>大|小|长)的?(?:那?(?:(?P<count>[两二三四五六2-9])|一)?{_UNIT})?"
    ),
)
_PAIRS = (
    re.compile(r"\b(?:the )(?P<size>larger|bigger|longer|smaller|shorter)(?: ones?)?\b"),
    re.compile(rf"(?:再|更|较|比较)?(?P<size>大|小)一?点?的(?:那?一?{_UNIT})?"),
)
_WHICH_LARGER = re.compile(
    r"\b(?:which|what)(?: one)?(?: of (?:them|these|those|the two|the both))? (?:is |are )?(?:the )?"
    r"(?P<size>larger|bigger|longer|smaller|shorter)(?: ones?)?\b"
    rf"|[哪谁]一?{_UNIT}?(?:更|比较|较)?(?P<size2>大|小)(?:一?[点些])?$"
)
_ORDINALS = (
    re.compile(
        rf"\b(?:the|a) (?:(?P<last>last)(?: but (?P<but>one))?|(?P<rank>{_RANK})(?P<from_end> (?:to|from the) (?:last"
        rf"|end))?)"
        rf"(?: (?P<count>{_NUMBER}))?(?: ones?)?\b|\b(?:number|no|nr) (?P<digit>[1-9])\b"
        rf"|^(?:and )?(?P<bare>{_RANK})(?: one)?$"
    ),
    re.compile(
        rf"(?P<from_end>倒数)第(?P<back>[一二三四五六1-9]){_UNIT}"
        rf"|(?P<last>最后|后(?=[两二三四五六2-9]))(?:(?P<count>[两二三四五六2-9])|一)?{_UNIT}?|第(?P<rank>[一二三四五六1-9]){_UNIT}"
        rf"|前(?P<first>[两二三四五六2-9]){_UNIT}"
    ),
)
_OTHERS = re.compile(rf"\b(?:the )?other(?:s| ones?)?\b|\banother(?: one)?\b|另外?(?:一|几)?{_UNIT}|另外?的?那{_UNIT}")
_GROUPS = re.compile(
    rf"\b(?:both|all)(?: (?P<count>{_NUMBER}))?(?: of)?(?: (?:them|these|those|the (?P<of>{_NUMBER})))?\b"
    rf"|\b(?:of|among) (?:them|these|those|the (?P<of2>{_NUMBER})|all)(?: of (?:them|these))?\b"
    rf"|\bthe (?P<count2>{_NUMBER})(?: of them)?\b"
    rf"|[这那]?(?P<zh>[两二三四五六2-9])(?:{_UNIT}|种)(?:都|里面?|中|之中|一起|全)?|它们(?:里面?|当中|之中|中)|其中"
    rf"|\bwhat (?:is|s) left\b"
    rf"|还?剩下?(?:了|的|哪些|什么)+|[都全]部?|一起|一块儿?|所有的?"
)
_WHICH_MOST = re.compile(
    r"\b(?:which|what) (?:is|are) (?:there )?(?:the )?mor?(?:st|e)(?: of)?\b|[哪谁]一?[个种]?(?:更|比较|最)多"
)
_WHICH_SIDE = re.compile(
    rf"\b(?:which|what)(?: ones?)?(?: of (?:them|these|those|the two|the three))? (?:is|are|lies?) (?:on|at"
    rf"|to) the (?:left|right)\b"
    rf"|[哪谁]一?(?:{_UNIT}|些)?是?在[左右][边侧]?|[左右][边侧]?的是[哪谁]一?(?:{_UNIT}|些)?"
)
_PLURAL = re.compile(r"\b(?:they|them|their|these|those)\b|它们")
_ANY = re.compile(r"\b(?:is|are) there\b|\bany\b|还有|有没有|有.*吗")
_EACH = re.compile(r"\beach(?: of (?:them|these))?\b|各自?|分别|每[一个]个?")
_SIDES = (
    (
        "left",
        r"\b(?:the |on )*(?:left(?:most)? (?:one|side)|leftmost)\b|\bones? (?:on|at|to) the left\b"
        r"|[最左]?左[边侧]?的?(?:那?一?{u})"
        r"|左[边侧](?:的|(?=有))",
    ),
    (
        "right",
        r"\b(?:the |on )*(?:right(?:most)? (?:one|side)|rightmost)\b|\bones? (?:on|at|to) the right\b"
        r"|[最右]?右[边侧]?的?(?:那?一?{u})|右[边侧](?:的|(?=有))",
    ),
    (
        "top",
        r"\bthe (?:(?:top|upper) one|(?:topmost|uppermost|highest)(?: one)?)\b|\bone at the top\b"
        r"|最?上[面边方]?的?(?:那?一?{u})|最上[面边方]的?",
    ),
    (
        "bottom",
        r"\bthe (?:(?:bottom|lower) one|(?:bottommost|lowermost|lowest)(?: one)?)\b|\bone at the bottom\b"
        r"|最?下[面边方]?的?(?:那?一?{u})|最下[面边方]的?",
    ),
)
_PLACES = [(side, re.compile(pattern.replace("{u}", _UNIT))) for side, pattern in _SIDES]
_KINDS = (
    (
        Kind.COUNT,
        r"\bhow many(?: (?:areas?|spots?|places?|sites?|pockets?|lesions?))?(?: are there)?\b|^is there (?:only"
        r"|just) one$|^are there (?:two|three"
        r"|several|more than one)\b|多少{u}|有?几{u}|只有一{u}",
    ),
    (
        Kind.MEASURE,
        r"\bhow (?:big|large|long|wide|tall)\b|\b(?:sizes?|measure(?:ments?)?|dimensions?|diameter)\b"
        r"|多[大长宽高]|大小|尺寸|直径"
        r"|[用以]?厘米(?:表示)?",
    ),
    (Kind.SIDE, r"\b(?:which|what|its|their) sides?\b|\bleft or (?:on the )?right\b|哪一?[侧边]|左[边侧]?还是在?右[边侧]?"),
    (
        Kind.LOCATE,
        r"\bwhere\b|\b(?:show|locate|mark|find|display|draw|box|highlight|circle|see|look at)\b"
        r"|在?哪[里儿]?(?!{u}|种|一)|什么位置|位置"
        r"|[标圈框画][出示注上记]?|找[出到]?|显示|定位",
    ),
    (Kind.COMPARE, r"\bcompare\b|比较|对比"),
    (Kind.SEGMENT, r"\b(?:outline|segment|contour)\b|分割|勾画|轮廓"),
)
_KIND_WORDS = [(kind, re.compile(pattern.replace("{u}", _UNIT))) for kind, pattern in _KINDS]
_SUM = re.compile(r"\b(?:sum|total|together how big)\b|总和|加起来|合计")
_FILLERS = re.compile(
    r"\b(?:please|pls|is|are|was|were|and|just|only|the|one|ones|in|on|a|an|picture|image|together|me|us|again|now"
    r"|then|so|ok|okay|yes|"
    r"no|not|well|what|about|how|with|for|do|does|did|you|can|could|it|its|that|this|them|they|these|those|their|of"
    r"|organs?|structures?|"
    r"objects?|exactly|too|also|i|want|need|to|see|give|but|same|at|once|mean|meant|let|s|be|here|there|which|instead"
    r"|located|out)\b"
    rf"|请问?|帮[我忙]|给我?|把|它们?|[这那]{_UNIT}?|的|呢|吗|吧|啊|呀|是|有|也|再|还|要|一下|[出上]来?|来|看看|看|里面?|中|刚[才刚]?|图|我|想|就|只|了|下|{_UNIT}"
    rf"|哪[一种]?|什么|能|可以|么|谁|在|器官|结构|那么?|然后|次|遍|得|到|并|它|又|一|些"
)
_PUNCTUATION = re.compile(r"[^\w]+|_")


def plain_words(text: str) -> str:
    """Return a line in lower case and simplified characters, without punctuation."""
    return " ".join(_PUNCTUATION.sub(" ", simplified(text)).split())


def asks_for_smaller(text: str) -> bool | None:
    """Whether a line that compares asks for the smaller one; None where it asks for neither."""
    match = _WHICH_LARGER.search(plain_words(text))
    return None if match is None else not _is_large(match["size"] or match["size2"])


def read_reference(text: str) -> Reference | None:
    """Return what a line of `plain_words` points to; None where it says more than that."""
    rest, found = text, None
    kind = None
    wants_sum = _SUM.search(rest) is not None
    rest = _SUM.sub(" ", rest)
    if match := _WHICH_LARGER.search(rest):
        word = match["size"] or match["size2"]
        found, kind = Reference(Points.SIZE, is_largest=_is_large(word), is_pair=True), Kind.COMPARE
        rest = _without(rest, match)
    if match := _WHICH_MOST.search(rest):
        return Reference(Points.GROUP, Kind.COUNT) if not _content(_without(rest, match)) else None
    if match := _WHICH_SIDE.search(rest):
        return Reference(Points.GROUP, Kind.SIDE) if not _content(_without(rest, match)) else None
    is_each = _EACH.search(rest) is not None
    rest = _EACH.sub(" ", rest)
    found, rest = (found, rest) if found else _main(rest)
    group = None
    if (found is None or found.points in (Points.SIZE, Points.ORDINAL, Points.PLACE)) and (match := _GROUPS.search(rest)):
        words = [match["count"], match["of"], match["of2"], match["count2"], match["zh"]]
        number = next((_number(word) for word in words if word), 2 if match.group().startswith("both") else 0)
        group = Reference(Points.GROUP, count=number)
        rest = _GROUPS.sub(" ", rest)
    for each, pattern in _KIND_WORDS:
        if pattern.search(rest):
            if kind is not None:
                return None  # two questions in one line
            kind = each
            rest = pattern.sub(" ", rest)
    if _content(rest):
        return None
    if found and group:
        return replace(found, kind=kind, group=group.count, of_group=True)
    if found:
        return replace(found, kind=kind)
    if group or is_each:
        whole = group or Reference(Points.GROUP)
        return Reference(Points.GROUP, kind, whole.count, wants_sum=wants_sum)
    is_plural = _PLURAL.search(text) is not None
    return Reference(Points.NOTHING, kind, is_plural=is_plural) if kind and not wants_sum else None


def _content(text: str) -> str:
    """Return the words of a text that are no fillers."""
    return "".join(re.findall(r"[\w\0]+", _FILLERS.sub(" ", text)))


def says_no_more(text: str) -> bool:
    """Whether a text of `plain_words` has fillers, references to a group, and a wish to see it alone."""
    text = _GROUPS.sub(" ", text)
    for _, pattern in _KIND_WORDS:
        text = pattern.sub(" ", text)
    return not _content(text)


def _main(text: str) -> tuple[Reference | None, str]:
    """Return the reference to one or some of several, and the text without it."""
    for pattern in _SIZES:
        if match := pattern.search(text):
            groups = match.groupdict()
            word = groups["size"] or groups.get("size2") or ""
            count = _number(groups.get("count") or groups.get("after") or "1")
            return Reference(Points.SIZE, rank=_rank(groups["rank"]), is_largest=_is_large(word), count=count), _without(
                text, match
            )
    for pattern in _PAIRS:
        if match := pattern.search(text):
            return Reference(Points.SIZE, is_largest=_is_large(match["size"]), is_pair=True, count=1), _without(text, match)
    for pattern in _ORDINALS:
        if match := pattern.search(text):
            groups = match.groupdict()
            count = _number(groups.get("count") or groups.get("first") or "1")
            rank = _rank(groups.get("rank") or groups.get("bare") or groups.get("back") or groups.get("digit"))
            rank = 2 if groups.get("but") else rank
            is_last = bool(groups.get("last") or groups.get("from_end"))
            return Reference(Points.ORDINAL, rank=rank, count=count, is_last=is_last), _without(text, match)
    if match := _OTHERS.search(text):
        return Reference(
            Points.OTHER,
            is_one=not match.group().endswith("s") and "几" not in match.group(),
            asks_if_any=_ANY.search(text) is not None,
        ), _without(text, match)
    for side, pattern in _PLACES:
        if match := pattern.search(text):
            is_many = re.search(r"one\b|most\b", match.group()) is None
            is_one = not is_many or re.search(rf"{_UNIT}$", match.group()) is not None
            return Reference(Points.PLACE, side=side, is_one=is_one), _without(text, match)
    return None, text


def _without(text: str, match: re.Match[str]) -> str:
    return f"{text[: match.start()]} {text[match.end() :]}"


def _is_large(word: str) -> bool:
    return word not in ("smallest", "tiniest", "smaller", "shorter", "小")


def _number(word: str) -> int:
    return int(word) if word.isdecimal() else _NUMBERS.get(word, 1)


def _rank(word: str | None) -> int:
    if not word:
        return 1
    return _RANKS.get(word) or int(re.sub(r"\D", "", word) or 1)
