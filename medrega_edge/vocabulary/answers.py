"""Answers to free questions: which say yes or no, and how they are spelt.

Those that weights have seen are as people typed them, with their slips.
"""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from functools import cache, lru_cache
from importlib.resources import files
from typing import Any

_NONE = ("没有", "没", "无", "none")
_COMMAS = (",", "，", "、")
_NEAR = 12  # characters between an offered answer and the word for "or": "T1 weighted or T2 weighted"
_MOST_WORDS = 3  # of an offered answer
_ARTICLE = re.compile(r"^(?:an?|the) ")
_NON = re.compile(r"\bnon (?=[a-z])")
_SHARED = re.compile(r"\b(with|more) or (without|less) ([a-z-]+)")
_LAST_WORD = re.compile(r"(?:\b(?:with|more) )?\S+$")
_FIRST_WORD = re.compile(r"^(?:(?:without|less) )?\S+")


def is_yes_or_no(answer: str) -> bool:
    """Whether an answer is one to a closed question."""
    return is_yes(answer) is not None or _plain(answer) in _table()["other_closed"]


@lru_cache(maxsize=8)
def closed_and_open(answers: tuple[str, ...]) -> tuple[tuple[str, ...], tuple[str, ...]]:
    """Return the answers to closed questions among some, and those to open ones; where either is missing, all of them.

    Some are both: "没有" says no, and that there is none.
    """
    closed = tuple(answer for answer in answers if is_yes_or_no(answer))
    others = tuple(answer for answer in answers if answer not in closed or _plain(answer) in _NONE)
    return closed or answers, others or answers


def is_yes(answer: str) -> bool | None:
    """Whether an answer says yes, or no; None for any other."""
    plain, table = _plain(answer), _table()
    return True if plain in table["yes"] else False if plain in table["no"] else None


def asks_yes_or_no(question: str) -> bool:
    """Whether a question, English or Chinese, asks for yes or no: one that offers a choice, as "CT or MRI", does not."""
    text, words = question.strip().casefold(), _table()["asks_yes_or_no"]
    if any(each in text for each in (*words["offers"], *words["open"])):
        return False
    for word in words["no_particle"]:  # 什么 holds 么
        text = text.replace(word, "")
    return text.split(" ")[0] in words["starts"] or any(each in text for each in words["holds"])


_NEGATED = re.compile(
    r"^(?:is|are|do|does|did|has|have|can|could)"
    r"(?:n['’]?t\b| not\b| there (?:no|not)\b| (?:it|this|he|she|they|you|we) (?:not|no)\b)"
    r"|^(?:there ?(?:['’]?s|is|are) no|no|neither|is it true that there (?:is|are) no)\b"
    r"|(?<!有)没有?(?!有|没)[^有没]*[吗么嘛]|\b(?:missing|absent|lacking)\b|缺"
)


def is_negated(question: str) -> bool:
    """Whether a question for yes or no holds a "no": its answer "yes" could mean either."""
    return _NEGATED.search(question.strip().casefold()) is not None


def offers_choice(question: str) -> bool:
    """Whether a question holds a word for "or"."""
    return any(word in question.casefold() for word in _table()["asks_yes_or_no"]["offers"])


def offered(question: str, answers: Sequence[str]) -> list[str]:
    """Return the answers that a question offers, as "CT or MRI" does; none where it offers fewer than two.

    They are the known answers that stand next to the word for "or", and before those in an enumeration; an English question
    may also offer words that no known answer holds ("cystic or septated"). "Does it show a mass or a cyst" may be answered
    by yes or no as well.
    """
    text, table = _spelt_out(question.strip().casefold()), _table()["asks_yes_or_no"]
    found = next((text.partition(word) for word in table["offers"] if word in text), None)
    if found is None:
        return []
    before, offer, after = found
    polar = [answer for answer in answers if is_yes(answer) is not None]
    asks_whether = text.startswith(tuple(table["whether"]))
    if re.match(r"not\b", after):
        return polar
    is_asked_first = text.split(" ")[0] in table["starts"]  # "Is it T1, T2 or FLAIR", not "Which is larger, heart or lung"
    chosen = _known_choices(before, after, answers, is_asked_first)
    if not chosen and offer.isascii() and not asks_whether:
        chosen = _words_offered(before, after, answers, is_asked_first)
    return list(dict.fromkeys([*chosen, *polar] if asks_whether else chosen))


def _spelt_out(text: str) -> str:
    """Return "with contrast or without contrast" for "with or without contrast", and "non-contrast" for "non contrast"."""
    return _NON.sub("non-", _SHARED.sub(r"\1 \3 or \2 \3", text))


def _known_choices(before: str, after: str, answers: Sequence[str], is_asked_first: bool) -> list[str]:
    plain = {answer: word for answer in answers if (word := _plain(answer)) and not set(_COMMAS) & set(word)}
    ends = {answer: _places(word, before)[-1] + len(word) for answer, word in plain.items() if _places(word, before)}
    starts = {answer: _places(word, after)[0] for answer, word in plain.items() if _places(word, after)}
    end, start = max(ends.values(), default=-_NEAR - 1), min(starts.values(), default=len(after) + _NEAR + 1)
    if len(before) - end > _NEAR or start > _NEAR:
        return []
    chosen = [answer for answer, place in starts.items() if place == start]
    chosen += [answer for answer, place in ends.items() if place == end]
    pieces = re.split(f" *[{''.join(_COMMAS)}:：] *", before)  # an enumeration; its last piece is chosen already
    for place, piece in reversed(list(enumerate(pieces[:-1]))):
        is_first = place == 0
        here = [answer for answer, word in plain.items() if word == piece or (is_first and _ends(piece, word))]
        if is_first and not is_asked_first and "、" not in before:
            break
        if not here and (is_first or len(piece.split()) > _MOST_WORDS or not piece.isascii()):
            break
        chosen += here or [_ARTICLE.sub("", piece)]
    return chosen


def _words_offered(before: str, after: str, answers: Sequence[str], is_asked_first: bool) -> list[str]:
    """Return what an English question offers in words of its own, spelt as a known answer where one is the same."""
    _, *pieces = re.split(r"[,:?] *", before)
    if pieces:  # "What is denser, the mass or the tissue around it?"
        sides = [*pieces, re.split(r"[,.?]", after)[0]]
    elif is_asked_first:
        sides = [(_LAST_WORD.search(before) or [""])[0], (_FIRST_WORD.search(_ARTICLE.sub("", after)) or [""])[0]]
    else:
        return []
    words = [_ARTICLE.sub("", side).strip(" .?,;") for side in sides]
    if not all(words) or max(len(word.split()) for word in words) > _MOST_WORDS:
        return []
    known = {_plain(answer): answer for answer in reversed(answers)}
    return [known.get(word, word) for word in words]


def _ends(text: str, word: str) -> bool:
    return len(text) - len(word) in _places(word, text)


def _places(word: str, text: str) -> list[int]:
    """Where a word, or words, begin in a text; a part of another word does not count."""
    if word not in text:  # a pattern for each of a thousand answers would be compiled at every question
        return []
    return [found.start() for found in re.finditer(rf"(?<![a-z]){re.escape(word)}(?![a-z-])", text)]


def _plain(answer: str) -> str:
    return answer.strip().rstrip(".。").casefold()


def respelt(text: str) -> str:
    """Return a text without the known misspellings."""
    misspellings: dict[str, str] = _table()["misspellings"]
    return _misspelt().sub(lambda match: misspellings[match.group()], text)


@cache
def _misspelt() -> re.Pattern[str]:
    return re.compile(rf"(?<!\w)(?:{'|'.join(map(re.escape, _table()['misspellings']))})(?![a-z])")


@cache
def _table() -> dict[str, Any]:
    table: dict[str, Any] = json.loads(files("medrega_edge.vocabulary").joinpath("answers.json").read_text(encoding="utf-8"))
    return table
