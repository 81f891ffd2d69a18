"""Token ids <-> text, whole or streamed.

A question cannot forge a marker: `strip_special_tokens` removes everything that spells one.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from functools import cached_property, lru_cache

from tokenizers import Tokenizer as _Tokenizer

from medrega_edge.errors import PackageError

_REPLACEMENT = "\ufffd"
CACHED_TEXTS = 2048  # prompts and known answers come again with every image


class Tokenizer:
    """The package's tokenizer."""

    def __init__(self, data: str) -> None:
        """Read the text of a `tokenizer.json`; raises PackageError."""
        try:
            self._tokenizer = _Tokenizer.from_str(data)
        except Exception as error:  # the library raises bare Exception
            raise PackageError("inference.unreadable_tokenizer", reason=str(error)) from None
        self._ids = lru_cache(CACHED_TEXTS)(self._encode)

    @property
    def size(self) -> int:
        """Number of ids, added tokens included."""
        return int(self._tokenizer.get_vocab_size())

    def encode(self, text: str) -> list[int]:
        """Return the ids of a text; text that spells a special token becomes that token. A lone surrogate counts as "?"."""
        return list(self._ids(text))

    def _encode(self, text: str) -> tuple[int, ...]:
        encodable = text.encode("utf-8", "replace").decode("utf-8")
        return tuple(self._tokenizer.encode(encodable, add_special_tokens=False).ids)

    def encode_continuation(self, text: str, before: str) -> list[int]:
        """Return the ids of `text` as it follows `before`; those of `text` alone if a token spans both.

        Some tokenizers start every text with a space, which a continuation does not have.
        """
        prefix, ids = self.encode(before), self.encode(before + text)
        return ids[len(prefix) :] if ids[: len(prefix)] == prefix else self.encode(text)

    def encode_continuations(self, texts: Sequence[str], before: str) -> list[list[int]]:
        """Return the ids of each text as `encode_continuation` does."""
        prefix = self.encode(before)
        whole = self._tokenizer.encode_batch_fast([before + text for text in texts], add_special_tokens=False)
        ids = (encoding.ids for encoding in whole)
        length = len(prefix)
        return [one[length:] if one[:length] == prefix else self.encode(text) for one, text in zip(ids, texts, strict=True)]

    def id_of(self, token: str) -> int:
        """Return the id of one token; raises PackageError when the vocabulary lacks it."""
        token_id = self._tokenizer.token_to_id(token)
        if token_id is None:
            raise PackageError("inference.missing_token", token=token)
        return int(token_id)

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
        """Remove everything that spells a special token, and what spells one after the removal of another."""
        while (cleaned := self._specials.sub("", text)) != text:
            text = cleaned
        return text


class StreamDecoder:
    """Token ids one by one -> pieces of text that split no character; the pieces join to `decode` of all ids."""

    def __init__(self, tokenizer: Tokenizer, on_text: Callable[[str], None]) -> None:
        """Start an empty stream; `on_text` gets each piece, none of them empty."""
        self._tokenizer, self._on_text = tokenizer, on_text
        self._last: list[int] = []  # ids of the last piece: the text of the next ones may depend on them
        self._new: list[int] = []

    def push(self, token: int) -> None:
        """Add an id, and pass on the text that is complete."""
        self._new.append(token)
        self._flush(is_final=False)

    def finish(self) -> None:
        """Pass on the rest, complete or not."""
        self._flush(is_final=True)

    def _flush(self, is_final: bool) -> None:
        before = self._tokenizer.decode(self._last)
        text = self._tokenizer.decode(self._last + self._new)
        if text == before or (text.endswith(_REPLACEMENT) and not is_final):  # half a character: its other bytes follow
            return
        self._on_text(text[len(before) :])
        self._last, self._new = self._new, []
