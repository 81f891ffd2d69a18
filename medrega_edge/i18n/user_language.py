"""The language of the person at the command line."""

from __future__ import annotations

import locale
import os
import re
from collections.abc import Sequence

from medrega_edge.domain import Language, language_of


def users_language(typed: Sequence[str], default: Language | None = None) -> Language:
    """The language of who typed these words: that of --lang, else Chinese if a word is Chinese, else `default`.

    Without a default it is the locale's.
    """
    given = re.search(r"(?:^|\0)--lang[=\0](en|zh)(?:\0|$)", "\0".join(typed))
    if given:
        return Language(given[1])
    return Language.ZH if language_of(" ".join(typed)) is Language.ZH else default or locale_language()


def locale_language() -> Language:
    """Chinese for a Chinese locale, else English."""
    named = (os.environ.get(name) for name in ("LC_ALL", "LC_MESSAGES", "LANG"))
    name = next(filter(None, named), None) or locale.getlocale()[0] or ""
    return Language.ZH if name.lower().startswith(("zh", "chinese")) else Language.EN
