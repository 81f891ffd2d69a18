"""What a package makes of an image, on the disk between processes, so that a later process starts at the question.

There are two kinds of entries: the features of the vision tower, by the pixels that enter it, and the decoder's keys and
values of an image's prefix, by the embeddings that enter it. Each is a file whose name is a SHA-256 of that input and of all
that its numbers depend on: the package, this program, onnxruntime and the processor. It holds numbers, their shapes and
hashes, nothing of a file's name or header; features may still reveal the image. Nothing is written unless a folder is named.

    16 bytes  MAGIC
    32 bytes  SHA-256 of the rest
     4 bytes  length of the header, little-endian
    header    JSON: {"entry": the file's name, "shapes": [[...], ...]}, spaces up to a multiple of 64 bytes of the file
    numbers   float32, little-endian, array after array

An entry that is cut, changed, renamed, of another user or of another version counts as missing, and is written anew. Hashes
find accidents. Who may write into the folder can forge an entry with its hash: so the folder must be the user's own.
"""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import platform
import re
import stat
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from functools import cache, cached_property
from pathlib import Path
from typing import Any

import numpy as np

from medrega_edge import __version__
from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.decoder import Decoder, Floats
from medrega_edge.inference.devices import load_onnxruntime
from medrega_edge.inference.region_head import RegionMaps
from medrega_edge.inference.vision_encoder import VisualFeatures
from medrega_edge.io.atomic import atomic_write, make_folder
from medrega_edge.package.package import Package

MAGIC = b"medrega-cache-1\n"
DIGEST = hashlib.sha256().digest_size
ALIGNMENT = 64
MOST_HEADER = 4096
NUMBERS = np.dtype("<f4")
ENTRY = re.compile(r"[0-9a-f]{64}")
UNFINISHED = re.compile(r"\.medrega-.*\.tmp")  # of a process that was killed while it wrote
UNFINISHED_SECONDS = 3600
CPUINFO = Path("/proc/cpuinfo")
OTHERS_WRITE = stat.S_IWGRP | stat.S_IWOTH

Shapes = Sequence[tuple[int, ...]]


class PrefixCache:
    """The entries of one package in a folder; several processes may use the folder at once.

    All entries together, of whatever package, take at most `most_bytes`: the ones used longest ago are deleted. While a
    process writes there may be one entry more. No fault of an entry or of the disk is raised: what cannot be read is
    computed, and `take_problems` tells what could not be written.
    """

    def __init__(self, folder: Path, most_bytes: int, package: Package, mapped: bool) -> None:
        """Check the folder, which is made if missing; raises UsageError for one that is not the user's own."""
        self._folder = own_folder(folder)
        self._most_bytes = most_bytes
        self._package, self._mapped = package, mapped
        self._problems: list[Message] = []

    @cached_property
    def _context(self) -> bytes:
        """All that the numbers of an entry depend on, beside the input. Tests hold that threads are not among it."""
        onnxruntime = load_onnxruntime()
        runtime = [onnxruntime.__version__, onnxruntime.get_build_info()]
        return json.dumps([__version__, self._package.sha256, self._mapped, *runtime, processor()]).encode()

    def features(self, pixels: bytes, encode: Callable[[], VisualFeatures]) -> VisualFeatures:
        """Return the features of an image by the hash of its pixels; those that are not there are encoded and written."""
        name = self._name("features", pixels)
        if (found := self._read(name, self._are_features)) is not None:
            embeds, *maps = found
            return VisualFeatures(embeds, RegionMaps(*maps) if maps else None)
        features = encode()
        self._write(name, [features.embeds, *(features.maps or ())])
        return features

    def load_prefix(self, decoder: Decoder, embeds: Floats, compute: Callable[[], object]) -> None:
        """Put the prefix `[length, hidden]` into the decoder's cache; one that is not there is computed and written."""
        name = self._name("prefix", hashlib.sha256(repr(embeds.shape).encode() + embeds.tobytes()).digest())
        shapes = [decoder.prefix_shape(len(embeds))]
        if (found := self._read(name, lambda given: given == shapes)) is not None:
            decoder.restore(found[0])
        else:
            compute()
            self._write(name, [decoder.prefix()])

    def take_problems(self) -> list[Message]:
        """Return what could not be written since the last call."""
        problems, self._problems = self._problems, []
        return problems

    def _name(self, kind: str, key: bytes) -> str:
        return hashlib.sha256(b"\0".join((MAGIC, self._context, kind.encode(), key))).hexdigest()

    def _are_features(self, shapes: Shapes) -> bool:
        manifest = self._package.manifest
        embeds, *maps = shapes
        if embeds != (manifest.vision.tokens, manifest.decoder.hidden):
            return False
        if not manifest.regions:
            return not maps
        if [len(each) for each in maps] != [3, 4, 3]:
            return False
        (_, places, _), fine, tokens = maps
        bins = manifest.regions.bins
        return maps[0][0] == 1 and fine[0] == 1 and fine[2:] == (bins, bins) and tokens == (1, places, embeds[1])

    def _read(self, name: str, fits: Callable[[Shapes], bool]) -> list[Floats] | None:
        """Return the arrays of an entry whose shapes fit; None where it is missing or cannot be trusted."""
        path = self._folder / name
        try:
            data = _read_own_file(path, self._most_bytes)
            arrays = None if data is None else _arrays(data, name, fits)
        except (OSError, MemoryError):
            return None
        if arrays is not None:
            with suppress(OSError):
                os.utime(path)  # used now: the order in which entries are deleted
        return arrays

    def _write(self, name: str, arrays: Sequence[Floats]) -> None:
        """Write an entry and delete old ones; tells where that fails, and raises nothing."""
        path = self._folder / name
        head, numbers = _head(name, arrays), [np.ascontiguousarray(array, NUMBERS) for array in arrays]
        digest = hashlib.sha256(head)
        for array in numbers:
            digest.update(array.data)
        size = len(MAGIC) + DIGEST + len(head) + sum(array.nbytes for array in numbers)
        if size > self._most_bytes:
            self._problems.append(Message("cache.too_small", needed=size / 1e6, size=self._most_bytes / 1e6))
            return
        try:
            if path.is_symlink():
                path.unlink()
            with atomic_write(path) as file:
                file.write(MAGIC + digest.digest() + head)
                for array in numbers:
                    file.write(array.data)
            _delete_oldest(self._folder, self._most_bytes)
        except MedregaError as error:
            self._problems.append(Message("cache.not_written", reason=error.message.params.get("reason") or error.message))
        except OSError as error:
            self._problems.append(Message("cache.not_written", reason=error.strerror or ""))


def own_folder(folder: Path) -> Path:
    """Return the absolute path of a folder of the user's own, which is made for him alone if missing.

    Raises UsageError for one that another user owns, may write into or has linked to, and where none can be made.
    """
    folder = Path(os.path.abspath(folder))
    try:
        if not os.path.lexists(folder):
            make_folder(folder)
        seen = [os.lstat(folder), os.stat(folder)]  # a link and its target
    except (OSError, ValueError) as error:
        raise UsageError("cache.unusable", reason=getattr(error, "strerror", None) or os.strerror(errno.EINVAL)) from None
    if not stat.S_ISDIR(seen[1].st_mode):
        raise UsageError("cache.unusable", reason=os.strerror(errno.ENOTDIR))
    if not all(map(_is_own, seen)):
        raise UsageError("cache.of_another_user")
    if os.name == "posix" and seen[1].st_mode & OTHERS_WRITE:
        raise UsageError("cache.others_may_write")
    return folder


def _is_own(status: os.stat_result) -> bool:
    return not hasattr(os, "geteuid") or status.st_uid == os.geteuid()


def usage(folder: Path) -> tuple[int, int]:
    """Return the number of entries in a folder and their size in bytes, whatever package they belong to; raises OSError."""
    sizes = [status.st_size for _, status in _entries(folder)]
    return len(sizes), sum(sizes)


def _entries(folder: Path) -> Iterator[tuple[Path, os.stat_result]]:
    """Go through the files that a cache has written, unfinished ones of killed processes among them; no other file."""
    now = time.time()
    with os.scandir(folder) as found:
        for one in found:
            with suppress(FileNotFoundError):  # another process has deleted it
                status = one.stat(follow_symlinks=False)
                is_left = UNFINISHED.fullmatch(one.name) and status.st_mtime < now - UNFINISHED_SECONDS
                if stat.S_ISREG(status.st_mode) and (is_left or ENTRY.fullmatch(one.name)):
                    yield Path(one.path), status


def _delete_oldest(folder: Path, most_bytes: int) -> None:
    """Delete what was used longest ago until the rest fits; raises OSError."""
    entries = sorted(_entries(folder), key=lambda entry: (not entry[0].name.startswith("."), entry[1].st_mtime_ns))
    total = sum(status.st_size for _, status in entries)
    for path, status in entries:
        if total <= most_bytes and not path.name.startswith("."):
            return
        path.unlink(missing_ok=True)
        total -= status.st_size


def _head(name: str, arrays: Sequence[Floats]) -> bytes:
    """Return length and header of an entry."""
    text = json.dumps({"entry": name, "shapes": [array.shape for array in arrays]}).encode()
    start = len(MAGIC) + DIGEST + 4
    text += b" " * (-(start + len(text)) % ALIGNMENT)
    return len(text).to_bytes(4, "little") + text


def _read_own_file(path: Path, most_bytes: int) -> Any:
    """Return the bytes of a plain file of the user's own as an array; None for another one. Raises OSError, MemoryError."""
    flags = os.O_RDONLY | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    with os.fdopen(os.open(path, flags), "rb", buffering=0) as file:
        status = os.fstat(file.fileno())
        if not stat.S_ISREG(status.st_mode) or not _is_own(status) or status.st_size > most_bytes:
            return None
        data, done = np.empty(status.st_size, np.uint8), 0
        while read := file.readinto(data[done:].data):
            done += read
        return data if done == len(data) else None


def _arrays(data: Any, name: str, fits: Callable[[Shapes], bool]) -> list[Floats] | None:
    """Return the arrays of an entry, None where anything in it is not as it was written."""
    start = len(MAGIC) + DIGEST
    if bytes(data[: len(MAGIC)]) != MAGIC or hashlib.sha256(data[start:].data).digest() != bytes(data[len(MAGIC) : start]):
        return None
    length = int.from_bytes(bytes(data[start : start + 4]), "little")
    if length > MOST_HEADER:
        return None
    place = start + 4 + length
    try:
        header = json.loads(bytes(data[start + 4 : place]))
        is_own = header["entry"] == name
        shapes = [tuple(map(int, shape)) for shape in header["shapes"]]
    except (ValueError, TypeError, KeyError, OverflowError, RecursionError):
        return None
    sizes = [math.prod(shape) * NUMBERS.itemsize for shape in shapes]
    if not is_own or not shapes or min(min(shape, default=0) for shape in shapes) < 1:
        return None
    if place % ALIGNMENT or place + sum(sizes) != len(data) or not fits(shapes):
        return None
    arrays = []
    for shape, size in zip(shapes, sizes, strict=True):
        arrays.append(data[place : place + size].view(NUMBERS).reshape(shape))
        place += size
    return arrays


@cache
def processor() -> str:
    """The processor's model and instruction sets, by which onnxruntime chooses its routines."""
    x86 = ("vendor_id", "cpu family", "model", "model name", "stepping", "flags")
    wanted = (*x86, "CPU implementer", "CPU part", "Features")
    try:
        lines = CPUINFO.read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:  # another system
        lines = []
    told = {" ".join(line.split()) for line in lines if line.partition(":")[0].strip() in wanted}
    return "\n".join([platform.machine(), *(sorted(told) or [platform.processor()])])
