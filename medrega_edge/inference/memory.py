"""How much memory a package takes to run, told before it is loaded. Knows manifests and what the system says is free.

onnxruntime arranges weights anew for the processor it finds: a copy, beside what it was made of while that is in memory too.
Weights in a file of their own are only mapped, so they are there about once. Token embeddings stay on the disk, but for
the rows that are looked up.
"""

from __future__ import annotations

from pathlib import Path

from medrega_edge.errors import ResourceError
from medrega_edge.package.manifest import Manifest
from medrega_edge.package.package import Package

# Measured on 2026-11-23 with onnxruntime 1.32 on Linux, in cold processes that ask one question about the sample scan: the
# default package (7 MiB of weights), "tiny" (36) and "0.5b" (661) of `medrega bench peers`, and a decoder of 57.
PROGRAM = 104 * 2**20  # interpreter, libraries, command line, an image
TIMES = {  # the size of a file: weights as they are kept, what they were made of, and what a pass needs besides
    "decoder": 2.8,
    "vision": 3.6,
    "decoder_data": 1.52,
    "vision_data": 1.22,
}

MEMINFO = Path("/proc/meminfo")
_V2, _V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
GROUPS = (  # of processes, as containers are: limit, what is used, and of what it consists
    (_V2 / "memory.max", _V2 / "memory.current", _V2 / "memory.stat"),
    (_V1 / "memory.limit_in_bytes", _V1 / "memory.usage_in_bytes", _V1 / "memory.stat"),
)


def peak(manifest: Manifest, mapped: bool = False) -> int:
    """Bytes that a process takes at its peak which asks this package one question; 10 % more or less.

    With `mapped`, weights in a file of their own take none, and the cache of the decoder is what counts.
    """
    weights = sum(
        times * manifest.files[role].bytes
        for role, times in TIMES.items()
        if role in manifest.files and not (mapped and role.endswith("_data"))
    )
    spec = manifest.decoder
    cache = 8 * spec.layers * spec.kv_heads * spec.head_dim * spec.context if mapped else 0  # keys and values in float32
    return PROGRAM + round(weights) + cache


def check(package: Package, mapped: bool = False) -> None:
    """Refuse a package that does not fit what is free; raises ResourceError. Where nobody tells what is free, all fits."""
    needed, available = peak(package.manifest, mapped), free()
    if available is not None and needed > available:
        raise ResourceError("resource.memory", needed=needed / 1e6, free=available / 1e6)


def free() -> int | None:
    """Bytes that this process may still take: of the machine, and of its container's limit; None where nobody tells."""
    told = [left for left in (_machine(), *(_group(*files) for files in GROUPS)) if left is not None]
    return min(told) if told else None


def _machine() -> int | None:
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _group(limit: Path, used: Path, consists: Path) -> int | None:
    """What a control group leaves; the page cache in it counts as free, as it does for the machine."""
    most, taken = _lines(limit), _lines(used)
    if not taken or not most or not most[0].isdecimal():
        return None  # no such group, or no limit ("max")
    cached = sum(int(line.split()[1]) for line in _lines(consists) if line.startswith(("inactive_file ", "active_file ")))
    return max(0, int(most[0]) - int(taken[0]) + cached)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
