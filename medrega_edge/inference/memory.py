"""Memory that a package needs, estimated before it is loaded, and memory that is free.

onnxruntime prepacks weights: a copy in its own layout, beside the original while that is in memory. Weights in a file of
their own are only mapped, so they take their size about once. Token embeddings stay on the disk, except the rows in use.
"""

from __future__ import annotations

from pathlib import Path

from medrega_edge.errors import ResourceError
from medrega_edge.package.manifest import Manifest
from medrega_edge.package.package import Package

# Measured on 2026-11-23 with onnxruntime 1.32 on Linux, in cold processes that ask one question about the sample scan: the
# default package (7 MiB of weights), "tiny" (36) and "0.5b" (661) of `medrega bench peers`, and a decoder of 57.
PROGRAM = 104 * 2**20  # interpreter, libraries, command line, an image
# Peak memory as a multiple of the file's size: prepacked weights, the original beside them, and buffers of a forward pass.
# Only the sum was measured, not its parts.
TIMES = {
    "decoder": 2.8,
    "vision": 3.6,
    "decoder_data": 1.52,
    "vision_data": 1.22,
    "region_head": 3.6,  # as the tower
    "prefill": 2.8,  # as the decoder
    "prefill_data": 1.0,  # mapped; what the system needs for others, it takes back
}
# Bytes for each pixel of the square picture, of a tower of convolutions: the maps between its layers. Measured on 2026-11-28
# with a package of 13 MiB of weights at 384 pixels, as the difference to the sum of the above; its first layers are float32.
MAPS = 280
# Further peak memory of a first mask: weights in float32, and the maps of eight boxes at once. Measured on 2026-11-30.
MASKS = 150 * 2**20

MEMINFO = Path("/proc/meminfo")
_V2, _V1 = Path("/sys/fs/cgroup"), Path("/sys/fs/cgroup/memory")
CONTROL_GROUPS = (  # cgroup v2 and v1: limit, usage, statistics
    (_V2 / "memory.max", _V2 / "memory.current", _V2 / "memory.stat"),
    (_V1 / "memory.limit_in_bytes", _V1 / "memory.usage_in_bytes", _V1 / "memory.stat"),
)


def peak(manifest: Manifest, mapped: bool = False) -> int:
    """Return the peak memory in bytes of a process that asks one question, within 10 %.

    With `mapped`, weights in a file of their own take none; then the decoder's cache counts.
    """
    weights = sum(
        times * manifest.files[role].bytes
        for role, times in TIMES.items()
        if role in manifest.files and not (mapped and role.endswith("_data"))
    )
    spec = manifest.decoder
    cache = 8 * spec.layers * spec.kv_heads * spec.head_dim * spec.context if mapped else 0  # keys and values in float32
    maps = MAPS * manifest.vision.image_size**2 if manifest.regions else 0  # only towers of convolutions feed a region head
    return PROGRAM + round(weights) + cache + maps


def check(package: Package, mapped: bool = False) -> None:
    """Raise ResourceError for a package that needs more memory than is free. Pass if the free memory is unknown."""
    needed, available = peak(package.manifest, mapped), free()
    if available is not None and needed > available:
        raise ResourceError("resource.memory", needed=needed / 1e6, free=available / 1e6)


def check_masks() -> None:
    """Raise ResourceError where less memory is free than a mask head needs. Pass if the free memory is unknown."""
    available = free()
    if available is not None and MASKS > available:
        raise ResourceError("resource.memory", needed=MASKS / 1e6, free=available / 1e6)


def free() -> int | None:
    """Return the bytes that this process can still use, of the machine and of its container; None if unknown."""
    limits = [_machine_free(), *(_control_group_free(*files) for files in CONTROL_GROUPS)]
    return min((limit for limit in limits if limit is not None), default=None)


def _machine_free() -> int | None:
    for line in _lines(MEMINFO):
        if line.startswith("MemAvailable:"):
            return int(line.split()[1]) * 1024
    return None


def _control_group_free(limit: Path, usage: Path, statistics: Path) -> int | None:
    """Return the free bytes of a control group; its page cache counts as free, as it does for the machine."""
    maximum, used = _lines(limit), _lines(usage)
    if not used or not maximum or not maximum[0].isdecimal():
        return None  # no such group, or no limit ("max")
    files = ("inactive_file ", "active_file ")
    cached = sum(int(line.split()[1]) for line in _lines(statistics) if line.startswith(files))
    return max(0, int(maximum[0]) - int(used[0]) + cached)


def _lines(path: Path) -> list[str]:
    try:
        return path.read_text(encoding="ascii").splitlines()
    except (OSError, ValueError):
        return []
