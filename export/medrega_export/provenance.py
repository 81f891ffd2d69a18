"""The program and the libraries that an export is computed with."""

from __future__ import annotations

import hashlib
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

import medrega_edge
import medrega_export

LIBRARIES = ("medrega-edge", "gptqmodel", "torch", "transformers", "onnx", "onnxruntime", "numpy")


def sha256_of(path: Path) -> str:
    """Hash a file without reading it into memory as a whole."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def program_hash() -> str:
    """Hash every module of the two packages that make and measure a model package."""
    digest = hashlib.sha256()
    for package in (medrega_edge, medrega_export):
        root = Path(package.__path__[0])
        for path in sorted(root.rglob("*.py")):
            digest.update(f"{package.__name__}/{path.relative_to(root).as_posix()}:{sha256_of(path)}\n".encode())
    return digest.hexdigest()


def library_versions() -> dict[str, str | None]:
    """Return the version of each library, None where it is not installed."""
    versions: dict[str, str | None] = {}
    for name in LIBRARIES:
        try:
            versions[name] = version(name)
        except PackageNotFoundError:
            versions[name] = None
    return versions
