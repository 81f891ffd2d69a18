"""Words beside a name that its label does not hold: "splenic laceration", "an open fracture", "肺里有没有虫子".

Some are unknown: what they name is nothing that a box of the structure tells, so that the structure is there is no answer.
The others narrow a name, to some such findings or to a part of a structure. `beside_names.json` has the words that do not.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import NamedTuple

from medrega_edge.prompts.intent.phrases import pattern, table, texts_of
from medrega_edge.prompts.intent.spelling import known_words
from medrega_edge.vocabulary.generic_words import MARK, may_be_finding
from medrega_edge.vocabulary.states import disease_word
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.typos import common_words, ordinary_words

_HAN = r"[\u3400-\u9fff]"
_HAS_ZH = "(?:有没有|有无|是否有|是不是有|会不会有|有)"
_END_ZH = "(?:吗|么|没有|没|呢|啊|吧)?(?= |$)"
_BESIDE_ZH = re.compile(
    rf"{MARK}(?:{_HAN}{{0,3}}?){_HAS_ZH}({_HAN}{{1,6}}?){_END_ZH}|{_HAS_ZH}({_HAN}{{0,3}}){MARK}({_HAN}{{0,5}}?){_END_ZH}"
)
_IS_THERE_ZH = re.compile("^包[括含]|^[扫拍切显露见看照被出存拔掉摘割插在到进能可会还都也左右双两不没别长显发形]")
_EMPTY_ZH = re.compile(
    "并(?:计数|数|测量|标注|标出)|(?:几|多少)(?:个区域|个部分|[个颗处枚根节粒条块片张只段支])?|多[大长宽高厚远]?|毛病|问题|异常|[的个了些哪这那张片子图像层面里上中内影处块位啥什么一下点过我问请是哇冇]"
)
_NEAR = "in|of|on|at|from|within|inside|around|near|along|beside|behind|next to|adjacent to|(?:medi|later)al to"
_BESIDE = re.compile(
    rf"(?P<before>{MARK}) (?:(?:wall|border|margin|surface|edge|capsule) )?(?P<after>[a-z]{{4,}})(?= |$)"
    rf"|(?:^| )(?P<word>[a-z]{{4,}})(?: (?:{_NEAR}) (?:the |this |his |her )?)? ?(?P<name>{MARK})"
)
_THING_IN = re.compile(  # idle words beside a name, but things where they lie in it
    r"(?:^| )(?:dots?|patch(?:es)?|foci|focus|pockets?|bits|bodies|arter(?:y|ies)|veins?|muscles?|bones?|gaps?"
    rf"|loops?|silhouettes?|spaces?|lines?|holes?) (?:in|inside|within|on|over) (?:the |this |his |her |my |both )?{MARK}"
)
_THING_OF_ZH = re.compile(
    rf"{MARK}[里上内中]?面?(?:的|的?那[个些块片一]?|的?这[个些块片一]?)(?:影子|白影|东西|[白黑]点|[白黑]影)"
)
_APART = re.compile(rf"[^\w\s{MARK}'-]+")
_KINDS = ("fillers", "presence", "presence_strong", "locate", "outline", "or_not", "kind_of_image", "question", "is_there")
_ASKING = (
    *_KINDS,
    "locate_weak",
    "with_boxes",
    "where",
    "measure",
    "count",
    "side",
    "compare",
    "distance",
    "is_it",
    "organs",
)
_OF_EACH = (*_KINDS, "locate_weak", "with_boxes", "where", "is_it")  # what a question of any kind may hold
_NARROWED = re.compile(
    rf"(?P<before>(?:\b[a-z][a-z0-9-]* )+)(?={MARK})|(?<={MARK}) (?P<after>(?:[a-z][a-z0-9-]*(?= |$) ?)+)"
)
_RELATIVE = re.compile(rf"{MARK} (?P<clause>(?:that|which|who)(?: [a-z'-]+){{2,7}})")  # "a tooth that needs to come out"
_SEEN_HERE = re.compile(
    r"(?:that|which) (?:you|i|we|one|they) \w+"
    r"|(?:that|which) (?:(?:is|are|was|were|can be|could be) )?(?:visible|seen|shown|here|there|present|in this|on this)\b"
    r"|which (?:one|side|is|are|of)\b|that (?:is|are|was|were) (?:in|on|at|the)\b"
)
_NARROWED_ZH = re.compile(rf"(?P<before>{_HAN}+)(?={MARK})|(?<={MARK})(?P<after>{_HAN}+)")
_OF_ZH = re.compile("的(?:那|这)?(?:个|些|块|颗|处|种)?$")
_SIZED_ZH = re.compile("(?<![最多更比较哪谁])(巨大|较大|偏大|很大|微小|细小|较小|[大小])(?:的(?:那|这)?个?)?$")
_MOST_OF_ZH = re.compile("最(?:大|小|长|近)$")
_FRAGMENTS_ZH = tuple("何述如节段")
_OWNERS_ZH = tuple("别我他她你您人家者边侧中里内上下面部间张个些那这有到拍扫")
_SEEN_ZH = re.compile("回声|密度|信号")  # of a lesion: no words of every day
_LONGEST_ZH = 8  # characters of an idle word
_MOST, _MOST_ZH = 3, 4  # words, and characters, that narrow a name


class Beside(NamedTuple):
    """The words beside names, each with a mark in the place of the name: `unknown` ones, and those that narrow it."""

    unknown: tuple[str, ...] = ()
    narrowing: tuple[str, ...] = ()


def beside_names(masked: str, terminology: Terminology) -> Beside:
    """Return the words right beside the names, which are marks, that no label of them holds."""
    if MARK not in masked:
        return Beside()
    said = " ".join(_APART.sub(" , ", masked).split())
    unknown = tuple(word for word in dict.fromkeys(_unknown(said, terminology)) if not _is_fragment(word))
    words = (word for word in dict.fromkeys(_narrowing(said)) if not any(_bare(word) in one for one in unknown))
    return Beside(unknown, tuple(word for word in words if not _is_fragment(word)))


def _is_fragment(word: str) -> bool:
    """Whether one Chinese character is left, of a word that is cut: "述" of "描述"."""
    return _bare(word) in _FRAGMENTS_ZH


def _bare(word: str) -> str:
    return word.replace(MARK, "").strip()


def left_aside(masked: str, kinds: Sequence[str]) -> tuple[str, ...]:
    """Return the words of a text with names as marks that neither its names nor phrases of its kinds of question hold.

    Runs of such words stay together. The answer regards none of them.
    """
    idle, idle_zh = _idle_in(tuple(kinds))
    predicates = _predicates(masked, _own_phrases(tuple(kinds)))
    found, run = dict[str, None](), list[str]()
    rest = masked
    for word in predicates:
        rest = rest if word.isascii() else rest.replace(word, " ")
    for token in re.findall(rf"[a-z][a-z0-9'-]*|{_HAN}+|[^\s]", rest):
        if token.isascii() and token[0].isalpha():
            if token.strip("-") not in idle and token.removesuffix("'s") not in idle:
                run.append(token)
                continue
        elif token[0] >= "\u3400":
            found |= dict.fromkeys(piece for piece in _unread_runs(token, idle_zh) if len(piece) > 1)
        if run:
            found[" ".join(run)] = None
            run = []
    found |= {" ".join(run): None} if run else {}
    return tuple(found | dict.fromkeys(word for word in predicates if not any(word in other for other in found)))


def _predicates(text: str, regarded: Sequence[str]) -> list[str]:
    """The words of a text that say how something is or lies: made of idle characters, "靠近" would count as regarded.

    The longest word at a place stands for the others; what a phrase of the question's kind holds is regarded.
    """
    listed = _listed()
    words = [word for word in listed["predicates_en"] if re.search(rf"\b{word}\b", text)]
    words += [word for word in listed["predicates_zh"] if re.search(rf"{word}(?!框)", text)]
    words = [word for word in words if not any(word in own for own in regarded)]
    return [word for word in words if not any(word != other and word in other for other in words)]


@cache
def _own_phrases(kinds: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(text for kind in kinds for text in texts_of(table()[kind]))


def _unread_runs(run: str, idle: frozenset[str]) -> Iterator[str]:
    """The pieces of a Chinese text that no idle word holds, the longest idle word at each place."""
    place = start = 0
    while place < len(run):
        end = next((end for end in range(min(len(run), place + _LONGEST_ZH), place, -1) if run[place:end] in idle), None)
        if end and start < place:
            yield run[start:place]
        start, place = (end, end) if end else (start, place + 1)
    if start < place:
        yield run[start:place]


def has_content(said: str) -> bool:
    """Whether a text with names as marks says more than words that may stand beside any name."""
    idle, idle_zh = _idle_words(_ASKING)
    if any(word.strip("-") not in idle for word in re.findall("[a-z][a-z0-9-]*", said)):
        return True
    runs = re.findall(f"{_HAN}+", said)
    return any(sum(map(len, _unread_runs(run, idle_zh))) >= (1 if run.endswith("吗") else 2) for run in runs)


def _unknown(said: str, terminology: Terminology) -> Iterator[str]:
    known = _known(terminology)
    places = (_BESIDE.match(said, place) for place in range(len(said)))  # two words may share a name
    for match in filter(None, places):
        word, is_after = match["after"] or match["word"], match["after"] is not None
        if word not in known and disease_word(word) is None:
            yield f"{MARK} {word}" if is_after else match[0].strip()
    for things in (_THING_IN, _THING_OF_ZH):
        yield from (match[0].strip() for match in things.finditer(said))
    for match in _BESIDE_ZH.finditer(said):
        after, before, behind = match.groups()
        if after and is_unread_zh(after):
            yield f"{MARK}{after}"
        if before and is_unread_zh(before):
            yield f"{before}{MARK}"
        if behind and is_unread_zh(behind):
            yield f"{MARK}{behind}"


def _narrowing(said: str) -> Iterator[str]:
    idle, _ = _idle_words(_ASKING)
    for match in _NARROWED.finditer(said):
        words = (match["before"] or match["after"]).split()
        near = list(reversed(words)) if match["before"] else words
        count = next((place for place, word in enumerate(near) if word.strip("-") in idle), len(near))
        if 0 < count <= _MOST:
            yield f"{' '.join(words[-count:])} {MARK}" if match["before"] else f"{MARK} {' '.join(words[:count])}"
    for match in _RELATIVE.finditer(said):
        if not _SEEN_HERE.match(match["clause"]):
            yield f"{MARK} {match['clause'].strip()}"
    for match in _NARROWED_ZH.finditer(said):
        if match["before"]:
            word = _before_zh(match["before"])
            yield from [f"{word}{MARK}"] if word else []
        else:
            word = _after_zh(match["after"])
            yield from [f"{MARK}{word}"] if word else []


def _before_zh(run: str) -> str:
    """Return what narrows a name at the end of a Chinese text before it: "带蒂" of "我有带蒂的"."""
    idle = _idle_ends()
    if sized := _SIZED_ZH.search(run):
        return sized[1]
    described = _OF_ZH.sub("", run)
    if _MOST_OF_ZH.search(described):  # the answer picks that one
        return ""
    if described != run:  # what stands before 的 describes, single characters but for a few do not end there
        idle = tuple(word for word in idle if len(word) > 1) + _OWNERS_ZH
    if not described or described.endswith(idle):
        return ""
    count = next((left for left in range(1, len(described)) if described[:-left].endswith(idle)), len(described))
    return described[-count:] if count <= _MOST_ZH else ""


def _after_zh(run: str) -> str:
    """Return what narrows a name at the start of a Chinese text behind it."""
    idle = _idle_ends()
    if run.startswith(idle):
        return ""
    count = next((left for left in range(1, len(run)) if run[left:].startswith(idle)), len(run))
    return run[:count] if count <= _MOST_ZH else ""


@cache
def _idle_words(kinds: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """The English and the Chinese words that may stand beside a name in questions of some kinds and say nothing of it."""
    listed, (english, chinese) = _listed(), _words_of(kinds)
    chinese |= {run for text in common_words() for run in re.findall(f"{_HAN}+", text) if not _SEEN_ZH.search(run)}
    narrowing = {*listed["narrowing"]}
    return english - narrowing | {*listed["en"]}, chinese - narrowing | {*listed["zh"]}


@cache
def _listed() -> Mapping[str, Sequence[str]]:
    listed: Mapping[str, Sequence[str]] = json.loads(
        files("medrega_edge.prompts.intent").joinpath("beside_names.json").read_text(encoding="utf-8")
    )
    return listed


@cache
def _things() -> frozenset[str]:
    """Words that are idle right beside a name, "the iliac arteries", and things of their own elsewhere."""
    return frozenset(_listed()["things"])


@cache
def _idle_in(kinds: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """The English and the Chinese words that say nothing beyond questions of some kinds, wherever they stand."""
    (english, chinese), (own, own_zh) = _idle_words(_OF_EACH), _words_of(kinds)
    return english - _things() | own, chinese - _things() | own_zh


@cache
def _words_of(kinds: tuple[str, ...]) -> tuple[frozenset[str], frozenset[str]]:
    """The English and the Chinese words of the phrases of some kinds."""
    texts = [text for kind in kinds for text in texts_of(table()[kind])]
    english = frozenset(word for text in texts for word in re.findall(r"[a-z][a-z0-9-]*", text))
    return english, frozenset(run for text in texts for run in re.findall(f"{_HAN}+", text) if not _SEEN_ZH.search(run))


@cache
def _idle_ends() -> tuple[str, ...]:
    return tuple(_idle_words(_ASKING)[1])


def is_unread_zh(text: str) -> bool:
    """Whether a Chinese text says more than phrases that ask, words of every day, and words that only count or point."""
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
