"""Ids <-> text, whole or streamed. Knows tokenizer.json through the tokenizers library; knows no model and no prompt.

A question cannot forge a marker: whatever spells a special token is taken out of it.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from functools import cached_property

from tokenizers import Tokenizer as _Tokenizer

from medrega_edge.errors import PackageError

_REPLACEMENT = "\ufffd"


class Tokenizer:
    """The package's tokenizer."""

    def __init__(self, data: str) -> None:
        """Read the text of a `tokenizer.json`; raises PackageError."""
        try:
            self._tokenizer = _Tokenizer.from_str(data)
        except Exception as error:  # the library raises bare Exception
            raise PackageError("inference.unreadable_tokenizer", reason=str(error)) from None

    @property
    def size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text in which special tokens count as such."""
        whole = text.encode("utf-8", "replace").decode("utf-8")  # half a character, as a terminal may send it, is a "?"
        ids: list[int] = self._tokenizer.encode(whole, add_special_tokens=False).ids
        return ids

    def encode_continuation(self, text: str, before: str) -> list[int]:
        """Return the ids of `text` as it stands behind `before`; those of `text` alone where the two melt together.

        Some tokenizers start every text with a space, which what stands behind another does not have.
        """
        head, ids = self.encode(before), self.encode(before + text)
        return ids[len(head) :] if ids[: len(head)] == head else self.encode(text)

    def id_of(self, token: str) -> int:
        """Return the id of one token; raises PackageError when the vocabulary lacks it."""
        found = self._tokenizer.token_to_id(token)
        if found is None:
            raise PackageError("inference.missing_token", token=token)
        return int(found)

    def decode(self, ids: list[int]) -> str:
        """Return the text of ids, markers included."""
        text: str = self._tokenizer.decode(ids, skip_special_tokens=False)
        return text

    @cached_property
    def _specials(self) -> re.Pattern[str]:
        added = self._tokenizer.get_added_tokens_decoder().values()
        names = sorted((token.content for token in added if token.special), key=len, reverse=True)
        return re.compile("|".join(re.escape(name) for name in names) or r"(?!)")

    def strip_special_tokens(self, text: str) -> str:
        """Return a user's text with whatever spells a special token taken out, also what appears by taking one out."""
        while (cleaned := self._specials.sub("", text)) != text:
            text = cleaned
        return text


class StreamDecoder:
    """Ids one by one -> pieces of text that never split a character; the pieces join to `decode` of all ids."""

    def __init__(self, tokenizer: Tokenizer, tell: Callable[[str], None]) -> None:
        """Start an empty stream; `tell` gets each piece, none of them empty."""
        self._tokenizer, self._tell = tokenizer, tell
        self._known: list[int] = []  # the last ids that were told: what follows may be spelt otherwise behind them
        self._new: list[int] = []

    def push(self, token: int) -> None:
        """Add an id; tell the text that is new and sure."""
        self._new.append(token)
        self._flush(lambda text: text.endswith(_REPLACEMENT))  # half a character: wait for the rest of its bytes

    def finish(self) -> None:
        """Tell whatever was held back."""
        self._flush(lambda text: False)

    def _flush(self, waits: Callable[[str], bool]) -> None:
        told = self._tokenizer.decode(self._known)
        text = self._tokenizer.decode(self._known + self._new)
        if text == told or waits(text):
            return
        self._tell(text[len(told) :])
        self._known, self._new = self._new, []
