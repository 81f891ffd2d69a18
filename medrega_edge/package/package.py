"""The model package: a folder, its manifest (read and written here), its hashes, and where packages are found.

Knows files; knows no graph and no image. Nothing is inferred from a file's name: the manifest says what each file is.
Whatever does not fit (a wrong hash, an unknown key, a newer schema, a path that leads out of the folder) is a
PackageError before anything is loaded. Files are read through one open handle each, so the bytes that were hashed are the
bytes that are used; the two that may be larger than memory should hold, token embeddings and external data, are hashed
piece by piece and stay on the disk.
"""

from __future__ import annotations

import dataclasses
import hashlib
import json
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath
from typing import Any, TypeVar, get_type_hints

from medrega_edge.errors import PackageError

SCHEMA_VERSION = 1
MANIFEST = "manifest.json"
MODEL_VARIABLE = "MEDREGA_MODEL"
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


@dataclass(frozen=True)
class Package:
    """A package folder whose manifest has been read; `verify` has to pass before its files are used."""

    folder: Path
    manifest: Manifest
    sha256: str  # of the manifest, which holds the hashes of all else

    @classmethod
    def open(cls, folder: str | Path) -> Package:
        """Read the manifest of a package folder; raises PackageError."""
        folder = Path(folder)
        path = folder / MANIFEST
        try:
            data = path.read_bytes()
            text = data.decode("utf-8")
        except (OSError, UnicodeDecodeError):
            raise PackageError(
                f"'{folder.name}' is no model package: it holds no readable {MANIFEST}; name a package folder with --model."
            ) from None
        return cls(folder, Manifest.from_json(text), hashlib.sha256(data).hexdigest())

    def path(self, role: str) -> Path:
        """Path of the file with this role, inside the folder; raises PackageError for a path that leads out of it."""
        relative = PurePosixPath(self.manifest.files[role].path)
        if relative.is_absolute() or ".." in relative.parts or len(relative.parts) != 1 or "\\" in str(relative):
            raise PackageError(f"The manifest names '{role}' outside the package folder; get the package again.")
        path = self.folder / relative
        if path.is_symlink() or (path.exists() and not path.is_file()):  # to open a pipe would wait for ever
            raise PackageError(f"'{relative}' in the model package is a link or a device; it holds plain files only.")
        return path

    def read(self, role: str) -> bytes:
        """Read one file and check size and hash; raises PackageError when it is not the one the manifest names."""
        with self._opened(role) as handle:
            data = handle.read()
            self._compare(role, hashlib.sha256(data).hexdigest())
        return data

    def map(self, role: str) -> memoryview:
        """Map one file into memory, of which only what is looked at is read, and check it as `read` does."""
        with self._opened(role) as handle:
            self._compare(role, hashlib.file_digest(handle, "sha256").hexdigest())
            return memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))

    def check(self, role: str) -> None:
        """Check one file as `read` does, without keeping it."""
        with self._opened(role) as handle:
            self._compare(role, hashlib.file_digest(handle, "sha256").hexdigest())

    @contextmanager
    def _opened(self, role: str) -> Iterator[BufferedReader]:
        """Open a file that has the size the manifest names, and is not empty; raises PackageError."""
        entry = self.manifest.files[role]
        path = self.path(role)
        try:
            with path.open("rb") as handle:
                self._compare(role, entry.sha256 if os.fstat(handle.fileno()).st_size == entry.bytes > 0 else "")
                yield handle
        except (OSError, ValueError):  # ValueError: a path with a zero byte
            raise PackageError(f"'{entry.path}' is missing from the model package; get the package again.") from None

    def _compare(self, role: str, sha256: str) -> None:
        entry = self.manifest.files[role]
        if sha256 != entry.sha256:
            raise PackageError(f"'{entry.path}' in the model package is not the file that was signed off; get it again.")

    def text(self, role: str) -> str:
        """Read one text file of the package, checked."""
        return _as_text(self.read(role), role)

    def read_all(self) -> Contents:
        """Read and check every file, several at a time; raises PackageError. Large ones stay on disk (`Contents`)."""
        with ThreadPoolExecutor() as pool:  # hashing runs outside the interpreter's lock
            embeddings = pool.submit(self.map, "embeddings")
            outside = [pool.submit(self.check, role) for role in self.manifest.files if role.endswith("_data")]
            inside = {role: pool.submit(self.read, role) for role in ROLES if role != "embeddings"}
            for checked in outside:
                checked.result()
            return Contents(self, {role: read.result() for role, read in inside.items()}, embeddings.result())

    def verify(self) -> None:
        """Check size and hash of every file, and that no other file lies in the folder; raises PackageError."""
        self.read_all()
        known = {entry.path for entry in self.manifest.files.values()} | {MANIFEST}
        extra = sorted(path.name for path in self.folder.iterdir() if path.name not in known)
        if extra:
            raise PackageError(f"'{extra[0]}' does not belong to the model package; remove it or get the package again.")

    @property
    def bytes(self) -> int:
        """Size of all files together."""
        return sum(entry.bytes for entry in self.manifest.files.values())


@dataclass(frozen=True)
class Contents:
    """The checked bytes of a package's files; `embeddings` are mapped, external data is the runtime's to map."""

    package: Package
    files: dict[str, bytes]
    embeddings: memoryview

    def __getitem__(self, role: str) -> bytes:
        """Bytes of the file with this role."""
        return self.files[role]

    def text(self, role: str) -> str:
        """Text of the file with this role; raises PackageError."""
        return _as_text(self.files[role], role)


def _as_text(data: bytes, role: str) -> str:
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError:
        raise PackageError(f"'{role}' of the model package is no text; get the package again.") from None


def file_entry(path: Path, precision: str) -> FileEntry:
    """Describe a file for a manifest: its name, hash and size as it lies on disk."""
    with path.open("rb") as file:
        return FileEntry(path.name, hashlib.file_digest(file, "sha256").hexdigest(), path.stat().st_size, precision)


def default_folder() -> Path:
    """Folder of the package that ships with this program."""
    return Path(__file__).parents[1] / "default_package"


def user_folder() -> Path:
    """Folder in which a user keeps packages of their own, one folder each."""
    try:
        return Path.home() / ".medrega" / "packages"
    except RuntimeError:  # a user without a home, as in a container
        return Path("/nonexistent")


def find_package(model: str | Path | None = None) -> Package:
    """Open the package asked for: a folder, the name of an installed one, $MEDREGA_MODEL, or the one that ships."""
    wanted = model or os.environ.get(MODEL_VARIABLE)
    if not wanted:
        return Package.open(default_folder())
    folder = Path(wanted)
    if os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        return Package.open(folder)
    named = user_folder() / str(wanted)
    if len(folder.parts) == 1 and os.path.isdir(named):
        return Package.open(named)
    raise PackageError(f"There is no model package '{folder.name}'; `medrega model list` shows those that are there.")


def list_packages() -> list[Path]:
    """Folders of the packages that are found without naming a path: the one that ships, then the user's, by name."""
    folders = [default_folder()]
    if user_folder().is_dir():
        folders += sorted(path for path in user_folder().iterdir() if (path / MANIFEST).is_file())
    return [folder for folder in folders if (folder / MANIFEST).is_file()]
