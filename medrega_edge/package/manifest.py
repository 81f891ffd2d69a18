"""The manifest of a model package: what each file is, and the numbers that the runtime needs before it opens one."""

from __future__ import annotations

import dataclasses
import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from medrega_edge.errors import PackageError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
ROLES = ("vision", "decoder", "embeddings", "tokenizer", "prompts", "certificate", "card")
OPTIONAL_ROLES = ("decoder_data", "vision_data")


@dataclass(frozen=True)
class FileEntry:
    """One file of a package; `path` is relative to the folder, with forward slashes."""

    path: str
    sha256: str
    bytes: int
    precision: str


@dataclass(frozen=True)
class VisionSpec:
    """The tower's graph: `input` float32 `[1, 3, image_size, image_size]` -> `output` float32 `[1, tokens, hidden]`."""

    input: str
    output: str
    image_size: int
    mean: tuple[float, float, float]
    std: tuple[float, float, float]
    tokens: int


@dataclass(frozen=True)
class DecoderSpec:
    """The language model's graph, with its key/value cache as inputs and outputs.

    `embeds` float32 `[1, S, hidden]`; `last_position` int32 `[1]`, the total length minus one; `total_length` int32 scalar;
    per layer i `past_key.format(i)` and `past_value.format(i)` float32 `[1, kv_heads, context, head_dim]`, returned as
    `present_key` and `present_value` in the same memory; `logits` float32 `[1, vocabulary]` of the last position.
    """

    embeds: str
    last_position: str
    total_length: str
    past_key: str
    past_value: str
    present_key: str
    present_value: str
    logits: str
    layers: int
    heads: int
    kv_heads: int
    head_dim: int
    hidden: int
    vocabulary: int
    context: int


@dataclass(frozen=True)
class TokenSpec:
    """Ids of the tokens that the runtime has to know: the image slot, and those that end an answer."""

    image: int
    end: tuple[int, ...]


@dataclass(frozen=True)
class Manifest:
    """Everything the runtime needs to know of a package before it opens a file of it."""

    schema_version: int
    name: str
    version: str
    source: str
    precision: str
    files: dict[str, FileEntry]
    vision: VisionSpec
    decoder: DecoderSpec
    tokens: TokenSpec
    tasks: tuple[str, ...]
    languages: tuple[str, ...]
    modalities: tuple[str, ...]
    calibration: tuple[float, ...] = ()  # slope and offset of `confidence.calibrated`

    def to_json(self) -> str:
        """Serialise as `manifest.json`."""
        return json.dumps(dataclasses.asdict(self), ensure_ascii=False, indent=1) + "\n"

    @classmethod
    def from_json(cls, text: str) -> Manifest:
        """Read `manifest.json`; raises PackageError that names the key at fault."""
        try:
            data = json.loads(text, object_pairs_hook=_no_duplicates, parse_constant=_no_constant)
        except (ValueError, RecursionError) as error:
            raise PackageError(f"{MANIFEST} is not valid JSON ({error}); get the package again.") from None
        if not isinstance(data, dict):
            raise PackageError(f"{MANIFEST} is not a JSON object; get the package again.")
        version = data.get("schema_version")
        if isinstance(version, int) and version > SCHEMA_VERSION:
            raise PackageError(
                f"The package was written for schema {version}, this program reads up to {SCHEMA_VERSION}; "
                "update medrega-edge."
            )
        if version != SCHEMA_VERSION:
            raise PackageError(f"{MANIFEST} has no schema_version that this program knows; get the package again.")
        manifest: Manifest = _build(cls, data, MANIFEST)
        missing = [role for role in ROLES if role not in manifest.files]
        unknown = [role for role in manifest.files if role not in ROLES + OPTIONAL_ROLES]
        if missing or unknown:
            problem = f"lacks the file '{missing[0]}'" if missing else f"names an unknown file role '{unknown[0]}'"
            raise PackageError(f"{MANIFEST} {problem}; get the package again.")
        if len(manifest.calibration) not in (0, 2):
            raise PackageError(
                f"{MANIFEST} has a calibration of {len(manifest.calibration)} numbers; get the package again."
            )
        return manifest


_T = TypeVar("_T")


def _no_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    names = [name for name, _ in pairs]
    if len(set(names)) != len(names):
        raise ValueError("a key stands twice")
    return dict(pairs)


def _no_constant(name: str) -> float:
    raise ValueError(f"{name} is no number")


def _build(cls: type[_T], data: Any, where: str) -> _T:
    """Make a dataclass out of parsed JSON, strictly: every key known, none missing, every value of its type."""
    if not isinstance(data, dict):
        raise PackageError(f"'{where}' in the manifest is not an object; get the package again.")
    hints = get_type_hints(cls)
    optional = {f.name for f in dataclasses.fields(cls) if f.default is not dataclasses.MISSING}  # type: ignore[arg-type]
    unknown, missing = sorted(set(data) - set(hints)), sorted(set(hints) - set(data) - optional)
    if unknown or missing:
        problem = f"has an unknown key '{unknown[0]}'" if unknown else f"lacks the key '{missing[0]}'"
        raise PackageError(f"'{where}' in the manifest {problem}; get the package again or update medrega-edge.")
    return cls(**{key: _value(hint, data[key], f"{where}: {key}") for key, hint in hints.items() if key in data})


def _value(hint: Any, value: Any, where: str) -> Any:
    if dataclasses.is_dataclass(hint):
        return _build(hint, value, where)  # type: ignore[arg-type]
    if hint is int and type(value) is int and 0 <= value < 2**53:
        return value
    if hint is float and type(value) in (int, float) and abs(value) < 1e9:  # neither infinite nor too large for a float
        return float(value)
    if hint is str and type(value) is str:
        return value
    origin: Any = getattr(hint, "__origin__", None)
    arguments: tuple[Any, ...] = getattr(hint, "__args__", ())
    if origin is tuple and type(value) is list:
        variable = arguments[-1] is Ellipsis
        if variable or len(arguments) == len(value):
            kinds = [arguments[0]] * len(value) if variable else arguments
            return tuple(_value(kind, item, where) for kind, item in zip(kinds, value, strict=True))
    if origin is dict and type(value) is dict:
        return {key: _value(arguments[1], item, f"{where}: {key}") for key, item in value.items()}
    raise PackageError(f"'{where}' in the manifest has a wrong value; get the package again.")


def file_entry(path: Path, precision: str) -> FileEntry:
    """Describe a file for a manifest: its name, hash and size as it lies on disk."""
    with path.open("rb") as file:
        return FileEntry(path.name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size, precision)
