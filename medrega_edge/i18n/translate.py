"""What the program says to a person, in Chinese where that is their language: errors, warnings, progress.

Knows the program's sentences, English beside Chinese (`messages_zh.json`; `{}` stands for what varies), and the locale;
knows nothing of who says them. Whatever is raised or written to JSON stays English, so that programs can rely on it; it is
put into Chinese where it is shown. A test holds that every error has its Chinese sentence. The commands of other extras
bring sentences of their own (`bring`).
"""

from __future__ import annotations

import json
import locale
import os
import re
from collections.abc import Sequence
from functools import cache
from importlib.resources import files

from medrega_edge.domain import Language, language_of

_PACKAGES = ["medrega_edge"]  # whose sentences are known


def bring(package: str) -> None:
    """Know the sentences of another package too, which lie in its own `messages_zh.json`."""
    if package not in _PACKAGES:
        _PACKAGES.append(package)
        _patterns.cache_clear()


def said(text: str, language: Language) -> str:
    """A sentence of the program in a language; as it is where there is no Chinese one."""
    if language is not Language.ZH:
        return text
    for pattern, sentence in _patterns():
        if match := pattern.fullmatch(text):
            spans = (match.span(number) for number in range(1, 1 + len(match.groups())))
            return sentence.format(*(_part(text, start, end) for start, end in spans))
    return text


def _part(text: str, start: int, end: int) -> str:
    """What varies in a Chinese sentence: in Chinese too, but for a name, which stands in quotes."""
    is_name = text[start - 1 : start] == text[end : end + 1] == "'"
    return text[start:end] if is_name else said(text[start:end], Language.ZH)


def users_language(typed: Sequence[str]) -> Language:
    """The language of who typed these words: as --lang says, Chinese where Chinese was typed, else that of the locale."""
    given = re.search(r"(?:^|\0)--lang[=\0](en|zh)(?:\0|$)", "\0".join(typed))
    if given:
        return Language(given[1])
    return Language.ZH if language_of(" ".join(typed)) is Language.ZH else locale_language()


def locale_language() -> Language:
    """Chinese where the locale is, else English."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    name = next(filter(None, named), None) or locale.getlocale()[0] or ""
    return Language.ZH if name.lower().startswith(("zh", "chinese")) else Language.EN


@cache
def _patterns() -> tuple[tuple[re.Pattern[str], str], ...]:
    """What an English sentence looks like, and its Chinese one; those with most words of their own come first.

    Whatever begins with what varies comes behind: it would take the "error: " before a sentence for a part of it.
    """
    sentences: dict[str, str] = {}
    for package in reversed(_PACKAGES):  # ours last: they count where two packages have one sentence
        path = files(package).joinpath("messages_zh.json")
        if path.is_file():
            sentences |= json.loads(path.read_text("utf-8"))
    ordered = sorted(sentences, key=lambda english: (english.startswith("{}"), -len(english.replace("{}", ""))))
    return tuple(
        (re.compile("(.*?)".join(map(re.escape, english.split("{}"))), re.DOTALL), sentences[english]) for english in ordered
    )
