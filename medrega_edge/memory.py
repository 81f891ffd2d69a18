"""How much memory a package takes to run, told before it is loaded. Knows manifests and what the system says is free.

The weights of both stages are in memory once, as onnxruntime arranged them for this processor; token embeddings stay on the
disk, but for the rows that are looked up. On top come the program itself, and what the tower needs at its widest.
"""

from __future__ import annotations

from pathlib import Path

from medrega_edge.errors import ResourceError
from medrega_edge.package import Manifest, Package

PROGRAM = 100_000_000  # interpreter, libraries, an image being read
TOKENS = 256  # of a question and its answer; the cache is taken as it fills

MEMINFO = Path("/proc/meminfo")
_V2, _V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
GROUPS = (  # of processes, as containers are: limit, what is used, and of what it consists
    (_V2 / "memory.max", _V2 / "memory.current", _V2 / "memory.stat"),
    (_V1 / "memory.limit_in_bytes", _V1 / "memory.usage_in_bytes", _V1 / "memory.stat"),
)


def peak(manifest: Manifest) -> int:
    """Bytes that a process with this package takes at its peak."""
    spec = manifest.decoder
    weights = sum(entry.bytes for role, entry in manifest.files.items() if role.startswith(("vision", "decoder")))
    cache = 2 * 4 * spec.layers * spec.kv_heads * spec.head_dim * (manifest.vision.tokens + TOKENS)
    return PROGRAM + weights + cache


def check(package: Package) -> None:
    """Refuse a package that does not fit what is free; raises ResourceError. Where nobody tells what is free, all fits."""
    needed, available = peak(package.manifest), free()
    if available is not None and needed > available:
        raise ResourceError(
            f"The model package needs about {needed / 1e6:.0f} MB of memory, and {available / 1e6:.0f} MB are free; "
            "close other programs or use a smaller package."
        )


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
