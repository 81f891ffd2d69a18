"""A tokenizer that exists only as SentencePiece (`tokenizer.model` and added tokens) -> `tokenizer.json`.

The conversion gives what transformers' slow Llama tokenizer gives, because checkpoints of that layout were trained through
it. It is compared with SentencePiece itself before it is used: a tokenizer that converts badly is refused.
"""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from medrega_edge.errors import UsageError
from medrega_export.checkpoint.config import read_json

BPE = 2  # SentencePiece's number for it
UNKNOWN, CONTROL, USER_DEFINED = 2, 3, 4  # kinds of pieces; the rest are text and bytes
SPACE = "▁"
PROBES = (
    "",
    " ",
    "Where is the liver?",
    "  two  spaces\nand a new line",
    "肝脏在哪里？右肺有病灶吗？",
    "CT 平扫，胰尾部约39mm×28mm。",
    "[[112, 240, 377, 648], [5, 10, 15, 20]]",
    "1024 x 0.5 = 512; naïve café, ½ and №7",
    "ＦＵＬＬ　ｗｉｄｔｈ",
    "🩻 an emoji",
)


@dataclass(frozen=True)
class SentencePieceFiles:
    """The files of a tokenizer: the model, and every added token, which is cut out of a text first."""

    model: bytes
    added: tuple[tuple[int, dict[str, Any]], ...]  # id and AddedToken's fields, in order of ids
    legacy: bool  # each stretch between two added tokens is read as a text of its own, with its own leading space
    begin: str | None  # the token that starts every text


def read_files(folder: Path) -> SentencePieceFiles:
    """Read `tokenizer.model`, `added_tokens.json` and `tokenizer_config.json`; raises UsageError."""
    config = read_json(folder / "tokenizer_config.json")
    added = {int(i): dict(token) for i, token in config.get("added_tokens_decoder", {}).items()}
    for content, number in read_json(folder / "added_tokens.json").items():
        added.setdefault(int(number), {"content": content, "special": True})
    pieces = _proto((folder / "tokenizer.model").read_bytes()).pieces
    named = {str(_content(config.get(key))) for key in ("bos_token", "eos_token", "unk_token") if config.get(key)}
    for number, piece in enumerate(pieces):
        if piece.piece in named:
            added.setdefault(number, {"content": piece.piece, "special": True})
        elif piece.type == USER_DEFINED:
            added.setdefault(number, {"content": piece.piece, "special": False})
    begin = str(_content(config["bos_token"])) if config.get("add_bos_token", True) and config.get("bos_token") else None
    return SentencePieceFiles(
        (folder / "tokenizer.model").read_bytes(), tuple(sorted(added.items())), bool(config.get("legacy", True)), begin
    )


def convert(source: SentencePieceFiles) -> str:
    """Return the text of a `tokenizer.json`; raises UsageError for a kind of model that is not converted."""
    from tokenizers import AddedToken, Regex, Tokenizer, decoders, models, normalizers, processors

    proto = _proto(source.model)
    trained, spec = proto.trainer_spec, proto.normalizer_spec
    if trained.model_type != BPE or trained.treat_whitespace_as_suffix or not spec.escape_whitespaces:
        raise UsageError("export.tokenizer_kind")
    vocabulary = {piece.piece: number for number, piece in enumerate(proto.pieces)}
    model: Any = models.BPE(
        vocab=vocabulary,
        merges=_merges(proto),
        unk_token=next(piece.piece for piece in proto.pieces if piece.type == UNKNOWN),
        fuse_unk=True,
        byte_fallback=trained.byte_fallback,
    )
    steps: list[Any] = []
    if spec.precompiled_charsmap:
        steps.append(normalizers.Precompiled(spec.precompiled_charsmap))
    if spec.remove_extra_whitespaces:
        steps += [normalizers.Replace(Regex(" {2,}"), " "), normalizers.Strip()]
    prefixed = spec.add_dummy_prefix and source.legacy
    if prefixed:
        steps.append(normalizers.Prepend(SPACE))
    steps.append(normalizers.Replace(" ", SPACE))
    result: Any = Tokenizer(model)
    result.normalizer = normalizers.Sequence(steps)
    parts: list[Any] = [decoders.Replace(SPACE, " "), decoders.ByteFallback(), decoders.Fuse()]
    if prefixed:
        parts.append(decoders.Strip(" ", 1, 0))
    result.decoder = decoders.Sequence(parts)
    for number, token in source.added:
        flags = {key: bool(token.get(key, False)) for key in ("lstrip", "rstrip", "single_word", "special")}
        # A token of the model itself is matched in the text as it stands, whatever the folder says of normalising.
        result.add_tokens([AddedToken(token["content"], normalized=False, **flags)])
        if result.token_to_id(token["content"]) != number:
            raise UsageError("export.added_token_gap", token=token["content"], id=number)
    if source.begin is not None:
        number = result.token_to_id(source.begin)
        result.post_processor = processors.TemplateProcessing(
            single=f"{source.begin} $A", pair=f"{source.begin} $A $B", special_tokens=[(source.begin, number)]
        )
    return str(result.to_str())


def reference_encoder(source: SentencePieceFiles) -> Callable[[str], list[int]]:
    """Return a function from a text to ids, without the starting token: the slow tokenizer, on SentencePiece itself.

    Where `legacy` is off, the space before a text is left out as well: a prompt starts with an added token, before
    which the slow tokenizer drops it.
    """
    from sentencepiece import SentencePieceProcessor

    proto = _proto(source.model)
    if not source.legacy:
        proto.normalizer_spec.add_dummy_prefix = False
    processor = SentencePieceProcessor(model_proto=proto.SerializeToString())
    ids = {str(token["content"]): number for number, token in source.added}
    cut = re.compile("(" + "|".join(re.escape(t) for t in sorted(ids, key=len, reverse=True)) + ")" if ids else "(?!)")

    def encode(text: str) -> list[int]:
        tokens: list[int] = []
        for stretch in cut.split(text):
            tokens += [ids[stretch]] if stretch in ids else processor.encode(stretch)
        return tokens

    return encode


def to_tokenizer_json(folder: Path) -> str:
    """Convert a folder's SentencePiece tokenizer, and compare it with SentencePiece; raises UsageError."""
    from tokenizers import Tokenizer

    source = read_files(folder)
    text = convert(source)
    converted, slow = Tokenizer.from_str(text), reference_encoder(source)
    marks = [token["content"] for _, token in source.added if token.get("special")]
    for probe in (*PROBES, *(f"{mark}{a}{mark} {b}" for mark in marks for a, b in (PROBES[2:4], PROBES[4:6]))):
        if converted.encode(probe, add_special_tokens=False).ids != slow(probe):
            raise UsageError("export.tokenizer_differs", text=repr(probe))
    return text


def _merges(proto: Any) -> list[tuple[str, str]]:
    """Every pair of pieces that joins into a third, the best score first, which is SentencePiece's order."""
    texts = {p.piece: n for n, p in enumerate(proto.pieces) if p.type not in (UNKNOWN, CONTROL, USER_DEFINED)}
    merges = []
    for whole, number in texts.items():
        score = proto.pieces[number].score
        for cut in range(1, len(whole)):
            left, right = whole[:cut], whole[cut:]
            if left in texts and right in texts:
                merges.append((-score, texts[left], texts[right], left, right))
    return [(left, right) for *_, left, right in sorted(merges)]


def _proto(data: bytes) -> Any:
    from google.protobuf.message import DecodeError
    from sentencepiece import sentencepiece_model_pb2

    proto = sentencepiece_model_pb2.ModelProto()
    try:
        proto.ParseFromString(data)
    except DecodeError:
        raise UsageError("export.tokenizer_model_unreadable") from None
    return proto


def _content(token: Any) -> Any:
    """The text of a token, which configs give as text or as an object with the key "content"."""
    return token.get("content") if isinstance(token, dict) else token
