"""Words beside a structure's name that the layer does not know: "splenic laceration", "肺里有没有虫子".

What they name is nothing that a box of the structure tells, so that the structure is there is no answer.
"""

from __future__ import annotations

import re
from functools import lru_cache

from medrega_edge.prompts.intent.phrases import pattern
from medrega_edge.prompts.intent.spelling import known_words
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.wording import MARK, common_words, disease_word, may_be_finding, ordinary_words

_HAN = r"[\u3400-\u9fff]"
_HAS_ZH = "(?:有没有|有无|是否有|是不是有|会不会有|有)"
_END_ZH = "(?:吗|么|没有|没|呢|啊|吧)?(?= |$)"
_BESIDE_ZH = re.compile(
    rf"{MARK}(?:{_HAN}{{0,3}}?){_HAS_ZH}({_HAN}{{1,6}}?){_END_ZH}|{_HAS_ZH}({_HAN}{{0,3}}){MARK}({_HAN}{{0,5}}?){_END_ZH}"
)
_IS_THERE_ZH = re.compile("^[扫拍切显露见看照被包出存拔掉摘割插在到进能可会还都也左右双两不没别长显发形]")
_EMPTY_ZH = re.compile("毛病|问题|异常|[的个了些这那张片子图像层面里上中内影处块位啥什么一下点过我问请是哇冇]")
_NEAR = "in|of|on|at|from|within|inside|around|near|along|beside|behind|next to|adjacent to|(?:medi|later)al to"
_BESIDE = re.compile(
    rf"(?P<before>{MARK}) (?:(?:wall|border|margin|surface|edge|capsule) )?(?P<after>[a-z]{{4,}})(?= |$)"
    rf"|(?:^| )(?P<word>[a-z]{{4,}})(?: (?:{_NEAR}) (?:the |this |his |her |my )?)? ?(?P<name>{MARK})"
)
_APART = re.compile(rf"[^\w\s{MARK}'-]+")
_KINDS = ("fillers", "presence", "presence_strong", "locate", "outline", "or_not", "kind_of_image", "question", "is_there")


def unread_beside_names(masked: str, terminology: Terminology) -> tuple[str, ...]:
    """Return the unknown words right beside a name, and a mark in its place, of a question with names as marks."""
    if MARK not in masked:
        return ()
    said = " ".join(_APART.sub(" , ", masked).split())
    known, found = _known(terminology), []
    places = (_BESIDE.match(said, place) for place in range(len(said)))  # two words may share a name
    for match in filter(None, places):
        word, is_after = match["after"] or match["word"], match["after"] is not None
        if word not in known and disease_word(word) is None:
            found.append(f"{MARK} {word}" if is_after else match[0].strip())
    for match in _BESIDE_ZH.finditer(said):
        after, before, behind = match.groups()
        found += [f"{MARK}{after}"] if after and _is_unread_zh(after) else []
        found += [f"{before}{MARK}"] if before and _is_unread_zh(before) else []
        found += [f"{MARK}{behind}"] if behind and _is_unread_zh(behind) else []
    return tuple(dict.fromkeys(found))


def _is_unread_zh(text: str) -> bool:
    if disease_word(text):
        return False
    for kind in _KINDS:
        text = pattern(kind, text).sub("", text)
    text = _EMPTY_ZH.sub("", text)
    return bool(text) and not _IS_THERE_ZH.match(text) and text not in common_words()


@lru_cache(maxsize=2)
def _known(terminology: Terminology) -> frozenset[str]:
    words = known_words(terminology) | ordinary_words()
    return frozenset(word for word in words if not may_be_finding(word))
