"""What a figure was measured on: processor, memory, versions. Knows the machine; names neither host nor user."""

from __future__ import annotations

import platform
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from medrega_edge.sessions import available_threads

_PACKAGES = ("medrega-edge", "onnxruntime", "numpy", "pillow", "tokenizers")


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
