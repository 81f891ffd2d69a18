"""WebDataset shards as a job: tar files in which an image and the JSON of its question share a name.

    000001.png  000001.json  000002.dcm  000002.json ...

The JSON is a line of a batch; its `image` is not needed, and its `id` is the name where it has none. The files of a sample
stand side by side. The name is what remains without the ending, so that DICOM files may be named by their UIDs. Members that
are neither images nor JSON are passed over.

The standard library finds the members. The package `webdataset` streams shards, and resuming needs places: it would have to
read everything before them. Nothing is unpacked. A worker gets the places of the bytes and reads them itself.
"""

from __future__ import annotations

import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import NamedTuple

from medrega_edge.batch.questions import FilePiece, Line, Questions, file_keys
from medrega_edge.batch.rows import RowOptions
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.images.signatures import IMAGE_ENDINGS
from medrega_edge.io.jsonl import read_object

LINE_ENDING = ".json"
MAX_LINE_BYTES = 1 << 20  # of the JSON of one question


class _Member(NamedTuple):
    sample: str
    ending: str
    piece: FilePiece


@dataclass(frozen=True)
class ShardLine:
    """One sample: `json` and `stored` are None where it has not exactly one of each. `image` names the image."""

    number: int
    sample: str
    image: str
    json: FilePiece | None
    stored: FilePiece | None

    def text(self) -> str:
        """Read its question; raises UsageError."""
        if self.json is None or self.stored is None:
            raise UsageError("batch.shard_sample", line=self.number)
        try:
            if self.json.size > MAX_LINE_BYTES:
                raise ValueError
            line = self.json.read().decode("utf-8-sig")
        except (ImageError, ValueError):
            raise UsageError("io.line_not_json", line=self.number) from None
        return json.dumps({"id": self.sample} | read_object(line, self.number) | {"image": self.image})


class Shards(Questions):
    """The samples of tar files, in the order of the files."""

    def __init__(self, paths: Sequence[Path], options: RowOptions = RowOptions()) -> None:
        """Count the samples; raises UsageError for a file that cannot be read as tar, and where there is no sample."""
        super().__init__(paths[0].parent.absolute(), options)
        self._paths = [path.absolute() for path in paths]
        self._counts = [len(_samples(path, number)) for number, path in enumerate(self._paths, 1)]
        if not sum(self._counts):
            raise UsageError("batch.no_sample")
        self._keys = file_keys(self._paths, self._counts)

    def __len__(self) -> int:
        """Number of samples."""
        return sum(self._counts)

    def job_key(self) -> list[object]:
        """What tells this job from others."""
        return ["shards", self._keys, repr(self._options)]

    def lines(self, start: int) -> Iterator[Line]:
        """The samples from the item `start` on; raises UsageError for a file that has changed since it was counted."""
        first = 0
        for number, (path, count) in enumerate(zip(self._paths, self._counts, strict=True), 1):
            if start < first + count:
                samples = _samples(path, number)
                if len(samples) != count:
                    raise UsageError("batch.shard_unreadable", number=number)
                for at in range(max(start - first, 0), count):
                    yield _line(path, first + at + 1, samples[at])
            first += count


def _line(path: Path, number: int, members: list[_Member]) -> ShardLine:
    lines = [member.piece for member in members if member.ending == LINE_ENDING]
    images = [member for member in members if member.ending != LINE_ENDING]
    sample = members[0].sample
    name = f"{path.name}/{sample}{images[0].ending if images else ''}"
    line = lines[0] if len(lines) == 1 else None
    return ShardLine(number, sample.rpartition("/")[2], name, line, images[0].piece if len(images) == 1 else None)


def _samples(path: Path, number: int) -> list[list[_Member]]:
    """The members of each sample of the shard `number`; raises UsageError for a damaged one."""
    return [list(group) for _, group in groupby(_members(path, number), key=lambda member: member.sample)]


def _members(path: Path, number: int) -> Iterator[_Member]:
    try:
        size = path.stat().st_size
        with tarfile.open(path, "r:") as tar:
            for member in tar:
                named = _named(member.name)
                if not member.isreg() or named is None:
                    continue
                if member.issparse() or member.offset_data + member.size > size:
                    raise UsageError("batch.shard_unreadable", number=number)
                yield _Member(*named, FilePiece(str(path), member.offset_data, member.size))
            end = tar.offset
        # tarfile takes a damaged header for the end: what follows would be lost in silence.
        if not _is_zero(path, end):
            raise UsageError("batch.shard_unreadable", number=number)
    except UsageError:
        raise
    except (tarfile.TarError, OSError, ValueError, OverflowError):  # ValueError: a number or a name that is none
        raise UsageError("batch.shard_unreadable", number=number) from None


def _named(name: str) -> tuple[str, str] | None:
    """The name of the sample and the ending of a member, as it is written in lower case; None for what is passed over."""
    plain = name.encode("utf-8", "surrogateescape").decode("utf-8", "replace")
    if plain.rpartition("/")[2].startswith("."):
        return None
    # The longest ending first: ".nii.gz".
    for ending in sorted((LINE_ENDING, *IMAGE_ENDINGS), key=len, reverse=True):
        if plain.lower().endswith(ending):
            return plain[: -len(ending)], ending
    return None


def _is_zero(path: Path, start: int) -> bool:
    """Whether a file has a block of zeros at `start`, and nothing but zeros after it."""
    with path.open("rb") as file:
        file.seek(start)
        first = file.read(tarfile.BLOCKSIZE)
        if len(first) < tarfile.BLOCKSIZE or any(first):
            return False
        while rest := file.read(1 << 20):
            if any(rest):
                return False
    return True
