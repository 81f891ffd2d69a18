"""The model package: a folder of files. Every file is checked against its hash before anything uses it.

The manifest names the role of each file; nothing is inferred from file names. A wrong hash, an unknown key, a newer schema
or a path out of the folder raises PackageError before anything is loaded. Each file is read through one open handle, so
the bytes that were hashed are the bytes that are used. Token embeddings and external data may be larger than memory: they
are hashed block by block and stay on the disk.
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
from medrega_edge.package.manifest import MANIFEST, MASK_HEAD, Manifest


@dataclass(frozen=True)
class Package:
    """A package folder whose manifest has been read. `sha256` is that of the manifest, which holds all other hashes."""

    folder: Path
    manifest: Manifest
    sha256: str

    @classmethod
    def open(cls, folder: str | Path) -> Package:
        """Read the manifest of a package folder; raises PackageError."""
        folder = Path(folder)
        path = folder / MANIFEST
        try:
            data = path.read_bytes()
            text = data.decode("utf-8")
        except (OSError, UnicodeDecodeError):
            raise PackageError("package.no_manifest", folder=folder.name, file=MANIFEST) from None
        return cls(folder, Manifest.from_json(text), hashlib.sha256(data).hexdigest())

    def path(self, role: str) -> Path:
        """Path of the file with this role, inside the folder; raises PackageError for a path that leads out of it."""
        relative = PurePosixPath(self.manifest.files[role].path)
        if relative.is_absolute() or ".." in relative.parts or len(relative.parts) != 1 or "\\" in str(relative):
            raise PackageError("package.outside_folder", role=role)
        path = self.folder / relative
        if path.is_symlink() or (path.exists() and not path.is_file()):  # opening a pipe would wait for ever
            raise PackageError("package.not_a_plain_file", file=str(relative))
        return path

    def read(self, role: str) -> bytes:
        """Read one file; raises PackageError if its size or hash is not that in the manifest."""
        with self._opened(role) as handle:
            data = handle.read()
            self._compare(role, hashlib.sha256(data).hexdigest())
        return data

    def map_file(self, role: str) -> memoryview:
        """Map one file into memory, checked as by `read`; pages are loaded when they are used."""
        with self._opened(role) as handle:
            self._compare(role, hashlib.file_digest(handle, "sha256").hexdigest())
            return memoryview(mmap.mmap(handle.fileno(), 0, access=mmap.ACCESS_READ))

    def check(self, role: str) -> None:
        """Check one file as `read` does; its bytes are dropped."""
        with self._opened(role) as handle:
            self._compare(role, hashlib.file_digest(handle, "sha256").hexdigest())

    @contextmanager
    def _opened(self, role: str) -> Iterator[BufferedReader]:
        """Open a file; raises PackageError if it is empty or its size is not that in the manifest."""
        entry = self.manifest.files[role]
        path = self.path(role)
        try:
            with path.open("rb") as handle:
                self._compare(role, entry.sha256 if os.fstat(handle.fileno()).st_size == entry.bytes > 0 else "")
                yield handle
        except (OSError, ValueError):  # ValueError: a path with a zero byte
            raise PackageError("package.missing_file", file=entry.path) from None

    def _compare(self, role: str, sha256: str) -> None:
        entry = self.manifest.files[role]
        if sha256 != entry.sha256:
            raise PackageError("package.file_changed", file=entry.path)

    def text(self, role: str) -> str:
        """Read one text file, checked; raises PackageError."""
        return _as_text(self.read(role), role)

    def read_all(self) -> PackageContents:
        """Check every file, several at a time, and read all but those of the mask head; raises PackageError."""
        with ThreadPoolExecutor() as pool:  # hashing runs outside the interpreter's lock
            embeddings = pool.submit(self.map_file, "embeddings")
            later = [role for role in self.manifest.files if role.endswith("_data") or role == MASK_HEAD]
            unread = [pool.submit(self.check, role) for role in later]
            held = [role for role in self.manifest.files if role not in ("embeddings", *later)]
            files = {role: pool.submit(self.read, role) for role in held}
            for checked in unread:
                checked.result()
            return PackageContents(self, {role: read.result() for role, read in files.items()}, embeddings.result())

    def read_masks(self) -> PackageContents:
        """Read and check the file of the mask head; raises PackageError."""
        return PackageContents(self, {MASK_HEAD: self.read(MASK_HEAD)}, memoryview(b""))

    def verify(self) -> None:
        """Check size and hash of every file; raises PackageError, for a file that is not in the manifest too."""
        self.read_all()
        known = {entry.path for entry in self.manifest.files.values()} | {MANIFEST}
        extra = sorted(path.name for path in self.folder.iterdir() if path.name not in known)
        if extra:
            raise PackageError("package.extra_file", file=extra[0])

    @property
    def total_bytes(self) -> int:
        """Size of all files together, without the manifest."""
        return sum(entry.bytes for entry in self.manifest.files.values())


@dataclass(frozen=True)
class PackageContents:
    """The checked bytes of a package's files by role. `embeddings` are mapped; onnxruntime maps external data itself."""

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
        raise PackageError("package.not_text", role=role) from None
