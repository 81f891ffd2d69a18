"""A finding that is asked for in several structures, "a mass in the liver or kidney": one question for each of them."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence

from medrega_edge.prompts.intent.naming import without_side
from medrega_edge.prompts.intent.phrases import has
from medrega_edge.vocabulary.generic_words import generic_labels, may_be_finding
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.terminology import Terminology

_JOINED = re.compile(r" ?(?:,|&|/|and/or|and|or|、|和|与|及|或者?|以及|还有|跟) ?(?:the |his |her |my |in the |in )*")
_IN = re.compile(r"\b(?:in|of|within|inside|on) (?:the |his |her |my |both |either )*$")
_FINDING_IN = re.compile(r"([a-z]+) (?:in|of|within|inside|on) (?:the |his |her |my |both |either )*$")
_NOUN = re.compile(r" ?([a-z]+)\b")
_NOUN_ZH = re.compile(
    "(?:[里内上中]|里面|的)*(?:都)?(?:有没有|有无|是否有|有)?([\u3400-\u9fff]{2,4}?)(?=[吗么没呢，。？?,]|$|在哪|有多|多大)"
)
_OF_TWO = ("distance", "compare", "side")  # kinds that ask about both together


def one_for_each(text: str, terminology: Terminology) -> str:
    """Return a plain text with a question for each of the structures in which it asks for a finding.

    "liver and spleen lesions?" becomes "liver lesions? spleen lesions?"; a text that asks otherwise stays as it is.
    """
    if any(has(kind, text) for kind in _OF_TWO):
        return text
    for run in _runs(text, terminology):
        if apart := _apart(text, run, terminology):
            return apart
    return text


_Span = tuple[int, int]


def _runs(text: str, terminology: Terminology) -> Iterator[list[_Span]]:
    """The places of names that stand in one enumeration."""
    run: list[_Span] = []
    for span in terminology.spans(text):
        if run and not _JOINED.fullmatch(text[run[-1][1] : span[0]]):
            yield run
            run = []
        run.append(span)
    yield run


def _apart(text: str, run: Sequence[_Span], terminology: Terminology) -> str | None:
    if len(run) < 2:
        return None
    names = [text[start:end] for start, end in run]
    lead, names[0] = _led(text[: run[0][0]] + names[0])
    behind = text[run[-1][1] :]
    has_own = any(
        word in text[run[-2][1] : run[-1][0]] for word in ("the ", "his ", "her ", "my ")
    )  # "and the kidney tumor"
    tail, rest = ("", behind) if lead is not None else _tail(names[-1], behind)
    names[-1] = names[-1].removesuffix(tail).strip()
    stems = [_structure(name, terminology) for name in names]
    if None in stems or len(set(stems)) < 2 or (lead is None and not (tail or rest)) or (tail and has_own):
        return None
    before = text[: run[0][0]] if lead is None else lead
    names[0] = names[0] if lead is not None else names[0].removeprefix(before)
    space = " " if tail else ""
    return "? ".join(f"{before}{name}{space}{tail}{rest.rstrip(' ?？。.')}" for name in names) + "?"


def _led(text: str) -> tuple[str | None, str]:
    """Split a text that ends in a structure where a finding "in the" stands before it: what stands before, the structure."""
    for place in range(len(text), 0, -1):
        before = text[:place]
        if _IN.search(before) and (match := _FINDING_IN.search(before)) and _names_finding(match[1]):
            return before, text[place:]
    return None, text


def _tail(name: str, behind: str) -> tuple[str, str]:
    """Return the finding at the end of a name, "tumors" of "kidney tumors", and what is behind it; none without one."""
    if (word := name.rpartition(" ")[2]) != name and _names_finding(word):
        return word, behind
    match = _NOUN.match(behind) or _NOUN_ZH.match(behind)
    return "", behind if match and _names_finding(match[1]) else ""


def _structure(text: str, terminology: Terminology) -> str | None:
    """Return the stem of the one structure, or pair, at the end of a text; None for findings and for anything else."""
    spans = terminology.spans(text)
    names = terminology.find(text[spans[-1][0] :]) if spans and spans[-1][1] == len(text) else []
    stems = {without_side(english) for english, _ in names}
    return stems.pop() if len(stems) == 1 and not any(is_finding(english) for english, _ in names) else None


def _names_finding(word: str) -> bool:
    single = word.removesuffix("es") if word.endswith("sses") else word.removesuffix("s")
    return any(any(map(is_finding, generic_labels(each))) or may_be_finding(each) for each in (word, single))
