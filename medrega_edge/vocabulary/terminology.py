"""Terminology of structures and lesions: the labels that a text names, in its order.

A table holds synonyms and SNOMED CT codes. Left and right are always the patient's. A paired structure named without a side
means both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import cache, cached_property, lru_cache
from importlib.resources import files
from itertools import product
from types import MappingProxyType

from medrega_edge.domain import Language, Modality
from medrega_edge.vocabulary.phrase_index import PhraseIndex, index_of_names

BilingualName = tuple[str, str]  # English, Chinese

# Separators of an enumeration, and words that ask for a place without naming anything.
_SEPARATOR = re.compile(r"[,;.?!，；、。？！\n]|\b(?:and|or|plus|as well as)\b|[&+]|以及|还有|和|与|及|或", re.IGNORECASE)
_REQUEST_WORDS = re.compile(
    r"\b(?:please|thanks?|you|can|could|locate|find|detect|mark|show|draw|outline|highlight|point|out|where|is|are|it|they|them"
    r"|there|this|that|these|the|an?|in|of|on|with|to|me|its?|their|any|both|all|each|box(?:es)?|bounding|image|picture|scan"
    r"|position|location|s)\b|请|谢|您|你|帮|我|把|将|定位|找|标|框|圈|指|出|来|一下|在|哪|里|儿|何|处|位|置|图|像|片|这|那|张|中|上|的"
    r"|它|们|是|有|没|吗|呢|用|并|都|所|检测|[\W_]",
    re.IGNORECASE,
)
_MAX_WORDS = 3  # of an unknown name; a Chinese character is half a word
_WORD = re.compile(r"\s*(?:[\u3400-\u9fff]{1,2}|[^\s\0\u3400-\u9fff]+)")  # \0 replaces a label
_JOINED = r"(,? (?:and|or|plus|to|versus|vs|than|&) (?:the |his |her |my )*| ?[,/&+] ?)"
_SHARED_LAST = re.compile(
    rf"\b([a-z][a-z-]*){_JOINED}((?:left |right )?)(?!left|right)([a-z][a-z-]*) (?!and\b|or\b|plus\b)([a-z]+)\b"
    r"(?=( [a-z]+)?)"
)
_SHARED_PAIR = re.compile(rf"\b(left|right){_JOINED}(?!\1)(left|right)((?: [a-z]+){{1,4}})")
_TO = r" ?(?:-|–|—|to|through|thru|until|till|down to|up to|~|至|到) ?(?:the )?"
_RANGE = re.compile(rf"(?<![a-z0-9])(th|[ctls])(\d+){_TO}(th|[ctls])?(\d+)(?![a-z0-9])")
_RANGE_ZH = re.compile(
    r"([颈胸腰骶])椎?([\d一二三四五六七八九十]+)椎?[-–—~至到]([颈胸腰骶])?椎?([\d一二三四五六七八九十]+)(?:椎体|椎)?"
)
_RANGE_OF_KIND_ZH = re.compile(r"第?([\d一二三四五六七八九十]+)[-–—~至到]第?([\d一二三四五六七八九十]+)([颈胸腰骶])椎")
_DIGITS_ZH = {digit: number for number, digit in enumerate("一二三四五六七八九十", 1)} | {"十一": 11, "十二": 12}
_VERTEBRAE = [
    f"{letter}{number}" for letter, last in (("c", 7), ("t", 12), ("l", 5), ("s", 5)) for number in range(1, last + 1)
]
_LETTERS = {"颈": "c", "胸": "t", "腰": "l", "骶": "s", "th": "t"}
_SHARED_FIRST = re.compile(rf"\b([a-z][a-z-]*) ([a-z]+){_JOINED}([a-z]+)\b")
_SHARED_ZH = re.compile(r"([\u3400-\u9fff]{0,3}?)(动静|静动|上下|下上|前后)([\u3400-\u9fff]{1,3})")
_SIDE_WORDS = ("left", "right")
_SIDES_ZH = (("左侧", "右侧"), ("左", "右"))


@dataclass(frozen=True)
class Term:
    """An entry of the table: a name, synonyms, and the SNOMED CT code if it is certain.

    An entry without a side holds for both; one with a side adds what only that side is called.
    """

    en: str
    also_en: tuple[str, ...] = ()
    also_zh: tuple[str, ...] = ()
    snomed: str | None = None


@cache
def term_table() -> dict[str, Term]:
    """Return the table, by English name."""
    rows = json.loads(files("medrega_edge.vocabulary").joinpath("terms.json").read_text(encoding="utf-8"))
    return {
        row["en"]: Term(row["en"], tuple(row.get("also_en", ())), tuple(row.get("also_zh", ())), row.get("snomed"))
        for row in rows
    }


def term_of(label: str) -> Term | None:
    """Return the entry of a label in either language: of its side where the table has one, else of both sides."""
    names = (label, label.removeprefix("left ").removeprefix("right "), _without_side(label))
    terms = term_table()
    for name in names:
        if name in terms:
            return terms[name]
    return next((term for term in terms.values() for name in names if name in term.also_en + term.also_zh), None)


class Terminology:
    """The names that one package can locate, and how to find them in free text. Without `labels` there are none.

    `modalities` holds the modalities that can show a label, by its English name; a label that is not in it may be in any.
    """

    def __init__(
        self, labels: Iterable[BilingualName], modalities: Mapping[str, Collection[str]] = MappingProxyType({})
    ) -> None:
        """Take the package's labels."""
        self.labels = tuple(labels)
        self._modalities = modalities

    def can_show(self, modality: Modality | None, label_en: str) -> bool:
        """Whether an image of a modality can show a label at all; True where that is not known."""
        return modality is None or modality in self._modalities.get(label_en, (modality,))

    def modalities_of(self, label_en: str) -> tuple[str, ...]:
        """Return the modalities that can show a label; empty where that is not known."""
        return tuple(self._modalities.get(label_en, ()))

    def find(self, text: str) -> list[BilingualName]:
        """Return the labels that a text names, each once, in its order; of names that overlap, the longest counts."""
        found: list[BilingualName] = []
        for match in self._pattern(text.casefold()).finditer(text.casefold()):
            found += [label for label in self._phrases[" ".join(match.group().split())] if label not in found]
        return found

    def mask(self, text: str) -> str:
        r"""Return the text with a mark (\0) in the place of each label, in lower case."""
        return self._pattern(text.casefold()).sub("\0", text.casefold())

    def spans(self, text: str) -> list[tuple[int, int]]:
        """Return start and end of each label in a text that is in lower case."""
        return [match.span() for match in self._pattern(text).finditer(text)]

    def without_unknown(self, text: str) -> str:
        """Return a text in lower case without the names of the table that no label has: "right upper lobe" may hold one."""
        return self._unknown.sub(" ", text)

    def names_without_label(self, text: str) -> list[str]:
        """Return the names of the table in a text that no label has: "rectum"."""
        return [match.group().strip() for match in self._unknown.finditer(text)]

    def with_shared_words(self, text: str) -> str:
        """Repeat a word that names of an enumeration share: "large and small bowel", "iliac arteries and veins"."""
        text = _SHARED_PAIR.sub(self._each_side, text)
        for _ in range(2):  # of three names: "temporal, parietal and occipital lobes"
            text = _SHARED_LAST.sub(self._each_with_last, text)
        text = _SHARED_FIRST.sub(
            lambda m: (
                f"{m[1]} {m[2]}{m[3]}{m[1]} {m[4]}" if self._is_shared(m[4], f"{m[1]} {m[2]}", f"{m[1]} {m[4]}") else m[0]
            ),
            text,
        )
        return _SHARED_ZH.sub(self._each_of_two, text)

    def with_ranges(self, text: str) -> str:
        """Write out ranges of vertebrae: "L1 to L5", "T11-L2", "腰1到腰5", "第一至第五腰椎"."""
        text = _RANGE.sub(lambda m: _vertebrae(m[1], m[2], m[3] or m[1], m[4]) or m[0], text)
        text = _RANGE_ZH.sub(lambda m: _vertebrae(m[1], m[2], m[3] or m[1], m[4]) or m[0], text)
        return _RANGE_OF_KIND_ZH.sub(lambda m: _vertebrae(m[3], m[1], m[3], m[2]) or m[0], text)

    def _each_side(self, match: re.Match[str]) -> str:
        """Write out "the left or the right lung"."""
        words = match[4].split()
        for count in range(len(words), 0, -1):
            noun = " ".join(words[:count])
            if all(f"{side} {noun}" in self._phrases for side in _SIDE_WORDS):
                return f"{match[1]} {noun}{match[2]}{match[3]}{match[4]}"
        return match.group()

    def _each_with_last(self, match: re.Match[str]) -> str:
        """Write out "large and small bowel"."""
        for shared in (f"{match[5]}{match[6] or ''}", match[5]):
            if self._is_shared(match[1], f"{match[1]} {shared}", f"{match[4]} {shared}"):
                return f"{match[1]} {shared}{match[2]}{match[3]}{match[4]} {match[5]}"
        return match.group()

    def _each_of_two(self, match: re.Match[str]) -> str:
        """Write out "髂动静脉", "上下腔静脉": arteries and veins of one name, upper and lower ones."""
        before, pair, after = match.groups()
        for start in range(len(before) + 1):
            for end in range(len(after), 0, -1):
                names = [f"{before[start:]}{mark}{after[:end]}" for mark in tuple(pair)]
                if all(name in self._phrases for name in names):
                    return f"{before[:start]}{'、'.join(names)}{after[end:]}"
        return match.group()

    def _is_shared(self, alone: str, *phrases: str) -> bool:
        return alone not in self._phrases and alone not in _SIDE_WORDS and all(phrase in self._phrases for phrase in phrases)

    @cached_property
    def _unknown(self) -> re.Pattern[str]:
        known = {english for english, _ in self.labels}
        known |= {english.removeprefix("left ").removeprefix("right ") for english in known}
        names = (
            name.casefold()
            for term in term_table().values()
            if term.en not in known
            for name in (term.en, *term.also_en, *term.also_zh)
            if len(name) > 2
        )
        absent = sorted((name for name in names if name not in self._phrases), key=len, reverse=True)
        return re.compile("|".join(map(_as_pattern, absent)) or r"(?!)")

    @cached_property
    def chinese_phrases(self) -> list[str]:
        """The Chinese phrases of labels, the shortest first."""
        return sorted((phrase for phrase in self._phrases if not phrase.isascii()), key=len)

    @cached_property
    def words(self) -> set[str]:
        """The English words of all phrases."""
        return set(re.findall(r"[a-z0-9-]+", " ".join(filter(str.isascii, self._phrases))))

    def unknown_parts(self, text: str) -> list[int]:
        """Return the numbers, from 1, of the parts of an enumeration that name something without a label.

        A part of more words than a name has is a sentence.
        """
        parts = parts_of(self.mask(text))
        return [number for number, part in enumerate(parts, 1) if "\0" not in part and may_be_name(part)]

    @cached_property
    def english(self) -> dict[str, str]:
        """The English name of each label, by its Chinese name."""
        return {chinese: english for english, chinese in reversed(self.labels)}

    def name(self, label_en: str, language: Language) -> str:
        """Return the name of a label in a language; the English name for an unknown label."""
        return self._chinese.get(label_en, label_en) if language is Language.ZH else label_en

    @cached_property
    def _chinese(self) -> dict[str, str]:
        return dict(self.labels)

    @cached_property
    def _phrases(self) -> dict[str, list[BilingualName]]:
        """All phrases, casefolded, with their labels; a label's own name comes before a synonym of another label."""
        terms = term_table()
        phrases: dict[str, list[BilingualName]] = {name.casefold(): [label] for label in self.labels for name in label}
        pairs: dict[str, list[BilingualName]] = {}
        for label in self.labels:
            en, zh = label
            side = next((word for word in ("left", "right") if en.startswith(f"{word} ")), None)
            own = terms.get(en, Term(en))
            for phrase in (*(f for name in (en, *own.also_en) for f in (name, _plural(name))), *own.also_zh):
                phrases.setdefault(phrase.casefold(), [label])
            if side is None:
                continue
            base = en.removeprefix(f"{side} ")
            term = terms.get(base, Term(base))
            pairs.setdefault(base, []).append(label)
            for name in (base, *term.also_en):
                phrases.setdefault(f"{side} {name}".casefold(), [label])
            for name, mark in product(
                (_without_side(zh), *term.also_zh), ("左侧", "左") if side == "left" else ("右侧", "右")
            ):
                phrases.setdefault(mark + name, [label])
        for base, both in pairs.items():
            term = terms.get(base, Term(base))
            bases_zh = (_without_side(both[0][1]), *term.also_zh)
            for name in (base, *term.also_en):
                for phrase in (name, _plural(name), f"left and right {name}", f"right and left {name}"):
                    phrases.setdefault(phrase.casefold(), both)
                for phrase in (f"both {_plural(name)}", f"left and right {_plural(name)}", f"bilateral {_plural(name)}"):
                    phrases.setdefault(phrase.casefold(), both)
            for name in bases_zh:
                for mark in ("", "双", "双侧", "左右", "左右侧", "两侧", "两个"):
                    phrases.setdefault(mark + name, both)
        return phrases

    def _pattern(self, text: str) -> re.Pattern[str]:
        """Compile a pattern of the phrases whose words are in the text: compiling all takes longer than an answer."""
        return _compiled(self._index.within(text))

    @cached_property
    def _index(self) -> PhraseIndex:
        """All phrases, the longest first."""
        return index_of_names(self._phrases)


@lru_cache(maxsize=64)
def _compiled(phrases: tuple[str, ...]) -> re.Pattern[str]:
    return re.compile("|".join(map(_as_pattern, phrases)) or r"(?!)")


def _vertebrae(kind: str, first: str, last_kind: str, last: str) -> str:
    """The vertebrae from one to another, separated by spaces; empty where there are no such."""
    ends = [
        f"{_LETTERS.get(one, one)}{_DIGITS_ZH.get(number, number)}" for one, number in ((kind, first), (last_kind, last))
    ]
    if not all(end in _VERTEBRAE for end in ends):
        return ""
    start, stop = map(_VERTEBRAE.index, ends)
    return f" {' '.join(_VERTEBRAE[start : stop + 1])} "


def parts_of(text: str) -> list[str]:
    """Return the parts of an enumeration that are not empty."""
    return [part for part in _SEPARATOR.split(text) if part.strip()]


def may_be_name(part: str) -> bool:
    """Whether a part of an enumeration has words, and no more than a name."""
    words = _REQUEST_WORDS.sub(" ", part).strip()
    return bool(words) and _WORD.sub("", words, count=_MAX_WORDS).strip() == ""


def without_request_words(text: str) -> str:
    """Return a text without the words that ask for a place."""
    return _REQUEST_WORDS.sub(" ", text)


def _as_pattern(phrase: str) -> str:
    """Whole words in English, with any space between them; Chinese has no spaces."""
    if not phrase.isascii():
        return re.escape(phrase)
    # Not \b: Chinese letters around it are no part of an English word.
    return r"(?<![a-z0-9])" + r"\s+".join(re.escape(word) for word in phrase.split()) + r"(?![a-z0-9])"


def _plural(name: str) -> str:
    head, _, tail = name.partition(" of ")
    if head.endswith("y") and head[-2:-1] not in "aeiou":
        head = head[:-1] + "ies"
    elif head.endswith(("s", "x", "ch")):
        head += "es"
    else:
        head += "s"
    return f"{head} of {tail}" if tail else head


def _without_side(zh: str) -> str:
    for marks in _SIDES_ZH:
        for mark in marks:
            if zh.startswith(mark) and len(zh) > len(mark):
                return zh.removeprefix(mark)
    return zh
