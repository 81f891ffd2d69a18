"""Words for structures and lesions: which labels a text names, in the order in which it names them.

Knows the package's labels (English, Chinese), a table of synonyms with SNOMED CT codes, and how sides are said; knows no
model. Left and right are always the patient's. A paired structure named without a side means both.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from importlib.resources import files
from itertools import product

from medrega_edge.domain import Language

BilingualName = tuple[str, str]  # English, Chinese

# What parts an enumeration, and the words of asking for a place, which name nothing.
_BETWEEN = re.compile(r"[,;.?!，；、。？！\n]|\b(?:and|or|plus|as well as)\b|[&+]|以及|还有|和|与|及|或", re.IGNORECASE)
_ASKING = re.compile(
    r"\b(?:please|thanks?|you|can|could|locate|find|detect|mark|show|draw|outline|highlight|point|out|where|is|are|it|they|them"
    r"|there|this|that|these|the|an?|in|of|on|with|to|me|its?|their|any|both|all|each|box(?:es)?|bounding|image|picture|scan"
    r"|position|location|s)\b|请|谢|您|你|帮|我|把|将|定位|找|标|框|圈|指|出|来|一下|在|哪|里|儿|何|处|位|置|图|像|片|这|那|张|中|上|的"
    r"|它|们|是|有|没|吗|呢|用|并|都|所|检测|[\W_]",
    re.IGNORECASE,
)
_ARTICLES = re.compile(r"\b(?:the|an?)\b|\s+(?=\0)|(?<=\0)\s+")
_MOST_WORDS = 3  # of a name that is no label; a Chinese character is half a word
_WORD = re.compile(r"\s*(?:[\u3400-\u9fff]{1,2}|[^\s\0\u3400-\u9fff]+)")  # \0 stands for a label
_SENTENCE = re.compile(  # what only a sentence holds: a mark, a verb, a word of asking or judging
    r"[?!？！]|\b(?:is|are|was|does|do|did|has|have|can|what|which|who|how|why|when|any|there|(?:ab)?normal)\b"
    r"|吗|呢|么|是|有|否|几|多|哪|谁|怎|正常|异常"
)
_SIDES_ZH = (("左侧", "右侧"), ("左", "右"))


@dataclass(frozen=True)
class Term:
    """One entry of the table: a name without its side, what else it is called, and its code where we are sure of it."""

    en: str
    also_en: tuple[str, ...] = ()
    also_zh: tuple[str, ...] = ()
    snomed: str | None = None


def table() -> dict[str, Term]:
    """The table, by English name."""
    rows = json.loads(files("medrega_edge.vocabulary").joinpath("terms.json").read_text(encoding="utf-8"))
    return {
        row["en"]: Term(row["en"], tuple(row.get("also_en", ())), tuple(row.get("also_zh", ())), row.get("snomed"))
        for row in rows
    }


class Terms:
    """Finds the labels of one package in free text."""

    def __init__(self, labels: Iterable[BilingualName]) -> None:
        """Take the package's labels."""
        self.labels = tuple(labels)

    def find(self, text: str) -> list[BilingualName]:
        """Labels named in a text, each once, in the order of the text; the longest name wins where several fit."""
        found: list[BilingualName] = []
        for match in self._pattern(text.casefold()).finditer(text.casefold()):
            found += [label for label in self._phrases[" ".join(match.group().split())] if label not in found]
        return found

    def is_list(self, text: str) -> bool:
        """Whether a text is nothing but names, of which one at least is a label; a sentence that names one is none."""
        whole = self._pattern(text.casefold()).sub("\0", text.casefold())
        parts = {_ARTICLES.sub("", part).strip() for part in _BETWEEN.split(whole)}
        others = {part for part in parts if part.strip("\0")}
        short = all(_WORD.sub("", part, count=_MOST_WORDS) == "" for part in others)
        return short and bool(parts - others - {""}) and not _SENTENCE.search(whole)

    def unknown(self, text: str) -> list[int]:
        """Which parts of an enumeration ask for something that is no label of ours, counted from 1."""
        whole = self._pattern(text.casefold()).sub("\0", text.casefold())
        parts = [part for part in _BETWEEN.split(whole) if part.strip()]
        return [place for place, part in enumerate(parts, 1) if "\0" not in part and _ASKING.sub("", part)]

    def name(self, label_en: str, language: Language) -> str:
        """The label in a language; the English name where the package has no such label."""
        return self._chinese.get(label_en, label_en) if language is Language.ZH else label_en

    @cached_property
    def _chinese(self) -> dict[str, str]:
        return dict(self.labels)

    @cached_property
    def _phrases(self) -> dict[str, list[BilingualName]]:
        """Every phrase, casefolded, with the labels it means."""
        terms = table()
        phrases: dict[str, list[BilingualName]] = {}
        pairs: dict[str, list[BilingualName]] = {}
        for label in self.labels:
            en, zh = label
            side = next((word for word in ("left", "right") if en.startswith(f"{word} ")), None)
            base = en.removeprefix(f"{side} ") if side else en
            term = terms.get(base, terms.get(en, Term(base)))
            bases_en = (base, *term.also_en)
            bases_zh = (_without_side(zh), *term.also_zh)
            if side is None:
                for phrase in (*(f for name in bases_en for f in (name, _plural(name))), zh, *term.also_zh):
                    phrases.setdefault(phrase.casefold(), [label])
                continue
            pairs.setdefault(base, []).append(label)
            for name in bases_en:
                phrases.setdefault(f"{side} {name}".casefold(), [label])
            for name, mark in product(bases_zh, ("左侧", "左") if side == "left" else ("右侧", "右")):
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
        """Match any phrase that this text can hold: to compile all of them would take longer than to answer."""
        phrases = [phrase for phrase, first in self._first_words if first in text]
        return re.compile("|".join(map(_as_pattern, phrases)) or r"(?!)")

    @cached_property
    def _first_words(self) -> list[tuple[str, str]]:
        """Every phrase, the longest first, with its first word."""
        return [(phrase, phrase.split()[0]) for phrase in sorted(self._phrases, key=len, reverse=True)]


def _as_pattern(phrase: str) -> str:
    """Whole words in English, with any space between them; Chinese knows no spaces."""
    if not phrase.isascii():
        return re.escape(phrase)
    return r"\b" + r"\s+".join(re.escape(word) for word in phrase.split()) + r"\b"


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
