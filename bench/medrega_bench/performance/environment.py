"""What a figure was measured on and with: processor, memory, versions, command. Names no host, user or folder."""

from __future__ import annotations

import platform
import shlex
import sys
from datetime import date
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.inference.devices import available_threads

if TYPE_CHECKING:
    from medrega_edge.package.package import Package

_PACKAGES = ("medrega-edge", "onnxruntime", "numpy", "pillow", "tokenizers")


def header(package: Package, split: str | None) -> dict[str, Any]:
    """What was measured on what, with which command."""
    manifest = package.manifest
    return {
        "schema_version": 1,
        "date": date.today().isoformat(),
        "command": command(),
        "split": split,
        "model": {
            "name": manifest.name,
            "version": manifest.version,
            "precision": manifest.precision,
            "sha256": package.sha256,
        },
        "environment": environment(),
    }


def command() -> str:
    """The command line as it was typed, paths without the folders above them, which name this machine or its user."""
    return shlex.join(["medrega", *map(_without_folder, sys.argv[1:])])


def _without_folder(argument: str) -> str:
    path = Path(argument)
    return path.name if path.is_absolute() or ".." in path.parts else argument


def environment() -> dict[str, Any]:
    """Return hardware and versions, as a report carries them."""
    return {
        "processor": _processor(),
        "threads": available_threads(),
        "memory_gib": _memory_gib(),
        "system": platform.system(),
        "python": platform.python_version(),
        "versions": {name: _version(name) for name in _PACKAGES},
    }


def _processor() -> str:
    path = Path("/proc/cpuinfo")
    if path.is_file():
        for line in path.read_text(errors="replace").splitlines():
            if line.startswith("model name"):
                return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def _memory_gib() -> float | None:
    path = Path("/proc/meminfo")
    if not path.is_file():
        return None
    return round(int(path.read_text().split()[1]) / 2**20, 1)


def _version(name: str) -> str | None:
    try:
        return version(name)
    except PackageNotFoundError:
        return None
