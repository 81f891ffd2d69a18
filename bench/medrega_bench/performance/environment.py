"""The machine and the versions that a figure was measured with. Names no host, user or folder."""

from __future__ import annotations

import platform
import re
import shlex
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, Self

from medrega_bench.result_files import optional
from medrega_edge.inference.devices import available_threads

if TYPE_CHECKING:
    from medrega_edge.package.package import Package

DISTRIBUTIONS = ("medrega-edge", "onnxruntime", "numpy", "pillow", "tokenizers")
INT8_FLAGS = ("avx2", "avx_vnni", "avx512f", "avx512_vnni", "amx_int8")  # on which the speed of INT8 products depends


@dataclass(frozen=True)
class Environment:
    """Hardware and versions; `versions` has None for a package that is not installed.

    `int8_flags` are the instruction sets on which the speed of INT8 depends, `commit` is that of medrega-edge, None outside
    a checkout; older results lack both.
    """

    processor: str
    threads: int
    memory_gib: float | None
    system: str
    python: str
    versions: Mapping[str, str | None]
    int8_flags: tuple[str, ...] | None = None
    commit: str | None = optional()


@dataclass(frozen=True)
class ModelIdentity:
    """The package that was measured."""

    name: str
    version: str
    precision: str
    sha256: str

    @classmethod
    def of(cls, package: Package) -> Self:
        """Read it from the manifest."""
        manifest = package.manifest
        return cls(manifest.name, manifest.version, manifest.precision, package.sha256)


def environment() -> Environment:
    """Describe this machine and what is installed on it."""
    return Environment(
        processor=processor(),
        threads=available_threads(),
        memory_gib=_memory_gib(),
        system=platform.system(),
        python=platform.python_version(),
        versions={name: _version(name) for name in DISTRIBUTIONS} | _onnxruntime_for_gpu(),
        int8_flags=int8_flags(),
        commit=commit(),
    )


def commit() -> str | None:
    """The commit of medrega-edge that measures, "+" behind it where files were altered; None outside a checkout."""
    here = Path(__file__).parent

    def git(*words: str) -> str:
        return subprocess.run(["git", "-C", str(here), *words], capture_output=True, text=True, check=True).stdout

    try:
        git("ls-files", "--error-unmatch", Path(__file__).name)  # installed into somebody else's repository, it is not ours
        altered = git("status", "--porcelain", "--untracked-files=no", "--", str(here.parents[2]))
        return git("rev-parse", "--short=9", "HEAD").strip() + ("+" if altered else "")
    except (OSError, subprocess.CalledProcessError):
        return None


def command() -> str:
    """Return the command line as it was typed, without folders and addresses, whose names may be a user's or a patient's."""
    return shlex.join(["medrega", *map(without_folder, sys.argv[1:])])


def without_folder(text: str) -> str:
    """Return the last part of a path of any system, alone or behind "="; an address becomes "URL"."""
    if "://" in text:
        return re.sub(r"[\w+.-]+://.*", "URL", text, flags=re.DOTALL)
    return "=".join(re.split(r"[\\/]+", part.rstrip("\\/"))[-1] or part for part in text.split("="))


def processor() -> str:
    """Return what the system calls its processor."""
    for line in _cpuinfo():
        if line.startswith("model name"):
            return line.split(":", 1)[1].strip()
    return platform.processor() or platform.machine()


def int8_flags() -> tuple[str, ...]:
    """Return the processor's instruction sets that matter for INT8; empty if the system does not list them."""
    present = next((line for line in _cpuinfo() if line.startswith("flags")), "").split()
    return tuple(flag for flag in INT8_FLAGS if flag in present)


def _cpuinfo() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text(errors="replace").splitlines() if path.is_file() else []


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


def _onnxruntime_for_gpu() -> dict[str, str | None]:
    """Its version under the name of what it stands in for (docs/gpu.md); nothing where it is not installed."""
    found = _version("onnxruntime-gpu")
    return {"onnxruntime": found} if found and _version("onnxruntime") is None else {}
