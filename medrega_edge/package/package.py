"""The model package: a folder of files, each checked against its hash before anything uses it.

Nothing is inferred from a file's name: the manifest says what each file is.
Whatever does not fit (a wrong hash, an unknown key, a newer schema, a path that leads out of the folder) is a
PackageError before anything is loaded. Files are read through one open handle each, so the bytes that were hashed are the
bytes that are used; the two that may be larger than memory should hold, token embeddings and external data, are hashed
piece by piece and stay on the disk.
"""

from __future__ import annotations

import hashlib
import mmap
import os
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from io import BufferedReader
from pathlib import Path, PurePosixPath

from medrega_edge.errors import PackageError
from medrega_edge.package.manifest import MANIFEST, ROLES, Manifest


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
