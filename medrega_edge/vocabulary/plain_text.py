"""A question as people type it -> plain text: one script, one width, lower case, no signs of a list."""

from __future__ import annotations

import re
import unicodedata

from medrega_edge.vocabulary.wording_table import table

WORD = re.compile(r"[a-z][a-z0-9]*(?:-[a-z0-9]+)*")  # English
HAN = re.compile(r"[\u3400-\u9fff]+")


def simplified(text: str) -> str:
    """Return a text in full-width-free lower case and simplified characters, as far as the terms need them."""
    return unicodedata.normalize("NFKC", text).casefold().translate(table()["traditional"])


def in_simplified_script(text: str) -> str:
    """Return a text in simplified characters, as far as the terms need them; its case and its width stay."""
    return text.translate(table()["traditional"])


_LIST_SIGN = re.compile(r"(?:^|(?<=[\s\u3400-\u9fff,;:?.]))([a-h1-9])[.、)](?= ?[a-z\u3400-\u9fff])")


def without_list_signs(text: str) -> str:
    """Return a plain text with commas in the place of the signs of a list: "a. effusion b. nodule", "1)肝 2)脾"."""
    signs = _LIST_SIGN.findall(text)
    return _LIST_SIGN.sub(", ", text).lstrip(", ") if len(signs) > 1 and signs[0] in "a1" else text
