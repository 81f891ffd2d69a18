"""Slips of a question: Chinese characters that sound or look like the right ones, and Chinese words in Latin letters."""

from __future__ import annotations

import re
from functools import cache, lru_cache

from medrega_edge.prompts.intent.phrases import cue_words, table, texts_of
from medrega_edge.vocabulary.generic_words import generic_texts, unknown_names
from medrega_edge.vocabulary.plain_text import simplified, without_list_signs
from medrega_edge.vocabulary.sites import site_words
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.typos import Hearing, common_words, corrected, sound, typed_sound

_LATIN = re.compile(r"(?<![a-z0-9])[a-z]+(?: [a-z]+)*(?![a-z0-9])")
_MAX_SYLLABLES = 6
_SIDE_LETTER = re.compile(r"(?<![a-z0-9])([lr])t?\.?(?![a-z0-9]|-? ?\d|/o)")
_ARE = re.compile(r"\b(where|what|who|how|which|many|much|big|large|long|wide|far|these|those|they|we|you) r\b")
_SHORTEST_TYPED = 4  # letters
_HAN = re.compile(r"[\u3400-\u9fff]+")
_SIDE_ZH = re.compile("[左右]")


def plain_text(text: str, terminology: Terminology) -> tuple[str, dict[str, str]]:
    """Return a question in one script and one spelling, and its typos with what replaced them."""
    plain = without_list_signs(simplified(text)).replace("'", " ").replace("\u2019", " ")
    plain = _ARE.sub(r"\1 are", plain)
    plain = _SIDE_LETTER.sub(lambda match: {"l": "left", "r": "right"}[match.group(1)], plain)
    return corrected(plain, known_words(terminology), _words_of_unknown_names())


@lru_cache(maxsize=2)
def known_words(terminology: Terminology) -> frozenset[str]:
    """The English words of names and phrases."""
    return frozenset(terminology.words | cue_words())


@cache
def _words_of_unknown_names() -> set[str]:
    """Words that are no slips: short ones may be, as "pulm" for "pulmonary"."""
    return set(re.findall(r"[a-z]{7,}", " ".join(filter(str.isascii, unknown_names()))))


def without_slips(text: str, terminology: Terminology) -> str:
    """Return a text with Chinese names and phrases in place of what sounds or looks like them."""
    if _HAN.search(text):
        text = _hearing(terminology).corrected(text)
    return _from_syllables(text, terminology)


@lru_cache(maxsize=2)
def _hearing(terminology: Terminology) -> Hearing:
    """The Chinese names and phrases that may be misspelt. A side is never heard: "有" and "右" sound alike."""
    frames = table()
    misspelt = [text for kind, value in frames.items() if kind not in ("impossible", "fillers") for text in texts_of(value)]
    texts = (
        *terminology.chinese_phrases,
        *texts_of(frames),
        *generic_texts(),
        *common_words(),
        *unknown_names(),
        *site_words(),
    )
    written = [text for text in texts if _HAN.fullmatch(text) and len(text) > 1]
    spoken = [text for text in (*terminology.chinese_phrases, *misspelt, *generic_texts()) if _HAN.fullmatch(text)]
    return Hearing(written, [text for text in reversed(spoken) if len(text) > 1 and not _SIDE_ZH.search(text)])


@lru_cache(maxsize=2)
def _typed(terminology: Terminology) -> dict[str, str]:
    """The Chinese names and phrases by their syllables in Latin letters."""
    texts = (*terminology.chinese_phrases, *generic_texts(), *texts_of(table()))
    written = [text for text in reversed(texts) if _HAN.fullmatch(text) and len(text) > 1]
    return {typed: text for text in written if len(typed := "".join(sound(text))) >= _SHORTEST_TYPED}


def _from_syllables(text: str, terminology: Terminology) -> str:
    """Replace Chinese words in Latin letters, "gan zang" or "ganzang", by what they sound like."""
    known = known_words(terminology)

    def replace(match: re.Match[str]) -> str:
        words, place = match.group().split(" "), 0
        pieces: list[str] = []
        while place < len(words):
            for length in range(min(_MAX_SYLLABLES, len(words) - place), 0, -1):
                window = words[place : place + length]
                joined = "".join(window)
                if len(joined) <= _SHORTEST_TYPED or any(len(word) > 3 and word in known for word in window):
                    continue
                if meant := _typed(terminology).get(typed_sound(joined)):
                    pieces, place = [*pieces, meant], place + length
                    break
            else:
                pieces, place = [*pieces, words[place]], place + 1
        return " ".join(pieces)

    return _LATIN.sub(replace, text)
