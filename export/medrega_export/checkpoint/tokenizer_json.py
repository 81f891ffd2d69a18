"""A checkpoint's tokenizer as one tokenizer.json, from whichever files hold it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.prompts.region_markup import MARKERS
from medrega_edge.prompts.templates import IMAGE_TOKEN
from medrega_export.checkpoint import sentencepiece
from medrega_export.checkpoint.config import is_chat, read_json
from medrega_export.checkpoint.published_prompts import TURN_END

SPECIAL = (IMAGE_TOKEN, "<img>", "</img>", TURN_END, *MARKERS)
DIGITS = tuple("0123456789")
ADDED_FLAGS = ("lstrip", "normalized", "rstrip", "single_word", "special")


def open_tokenizer(data: bytes) -> Tokenizer:
    """Open the bytes of `read_tokenizer`; raises UsageError."""
    try:
        return Tokenizer(data.decode("utf-8"))
    except (PackageError, UnicodeDecodeError):
        raise UsageError("export.tokenizer_unreadable") from None


def missing_tokens(tokenizer: Tokenizer, tokens: Sequence[str]) -> list[Message]:
    """Return a message for each of the tokens that the tokenizer does not have."""
    messages = []
    for token in tokens:
        try:
            tokenizer.id_of(token)
        except PackageError:
            messages.append(Message("export.token_missing", token=token))
    return messages


def read_tokenizer(folder: Path, config: dict[str, Any]) -> bytes:
    """Read `tokenizer.json`, or make it out of the files of a slow tokenizer; raises UsageError.

    Weights of the original layout saw the slow tokenizer alone, and a tokenizer.json beside it may differ: Yi's own puts
    a space behind every special token.
    """
    slow = (folder / "tokenizer.model").is_file()
    if (folder / "tokenizer.json").is_file() and not (slow and is_chat(config)):
        return _with_added_tokens(folder, (folder / "tokenizer.json").read_bytes())
    if slow:
        return sentencepiece.to_tokenizer_json(folder).encode("utf-8")
    kind = str(read_json(folder / "tokenizer_config.json").get("tokenizer_class")).removesuffix("Fast")
    if kind == "Qwen2Tokenizer" and all((folder / name).is_file() for name in ("vocab.json", "merges.txt")):
        return _byte_level(folder)
    raise UsageError("export.no_tokenizer", checkpoint=folder.name)


def _with_added_tokens(folder: Path, data: bytes) -> bytes:
    """Return a tokenizer.json with the tokens that the files beside it add, as transformers' loader adds them."""
    from tokenizers import AddedToken
    from tokenizers import Tokenizer as Reader

    added = _added_tokens(folder)
    try:
        tokenizer = Reader.from_str(data.decode("utf-8"))
    except Exception:  # the library's own errors are of no class of their own
        return data  # `open_tokenizer` says so
    known = {token.content for token in tokenizer.get_added_tokens_decoder().values()}
    for number, token in added:
        content = token["content"]
        if content not in known:  # one that is in the vocabulary alone is not cut out of a text
            flags = {key: bool(token[key]) for key in ADDED_FLAGS if key in token}
            tokenizer.add_tokens([AddedToken(content, **flags)])
        if tokenizer.token_to_id(content) != number:
            raise UsageError("export.added_token_contradicted", token=content, id=number)
    complete = known.issuperset(token["content"] for _, token in added)
    return data if complete else str(tokenizer.to_str()).encode("utf-8")


def _added_tokens(folder: Path) -> list[tuple[int, dict[str, Any]]]:
    """Return number and properties of the tokens that tokenizer_config.json adds, else added_tokens.json."""
    config = read_json(folder / "tokenizer_config.json")
    declared = config.get("added_tokens_decoder")
    try:
        if declared is not None:
            added = {int(number): dict(token) for number, token in declared.items()}
        else:
            contents = read_json(folder / "added_tokens.json")  # has no properties; a question may spell no special token
            added = {int(number): {"content": content, "special": True} for content, number in contents.items()}
        if not all(isinstance(token["content"], str) for token in added.values()):
            raise TypeError
    except (AttributeError, KeyError, TypeError, ValueError):
        raise UsageError("export.added_tokens_unreadable") from None
    return sorted(added.items())


def _byte_level(folder: Path) -> bytes:
    """Join Qwen2's vocabulary, merges and added tokens; other byte-level tokenizers split a text differently."""
    from transformers import Qwen2Tokenizer

    slow: Any = Qwen2Tokenizer.from_pretrained(folder, local_files_only=True)
    for number, token in read_json(folder / "tokenizer_config.json").get("added_tokens_decoder", {}).items():
        if slow.convert_tokens_to_ids(token["content"]) != int(number):
            raise UsageError("export.added_token_renumbered", token=token["content"], id=int(number))
    return str(slow.backend_tokenizer.to_str()).encode("utf-8")
