"""The per-frame functional groups of a multi-frame file. There may be ten thousand, so each is parsed when it is asked for.

pydicom would parse all of them, in ten seconds. Here their places in the file are found from tags and lengths only.
"""

from __future__ import annotations

import io
import struct
from typing import Any, NamedTuple

from pydicom.dataset import Dataset
from pydicom.filereader import read_dataset
from pydicom.sequence import Sequence

from medrega_edge.images.signatures import is_vr

PER_FRAME = 0x52009230  # Per-Frame Functional Groups Sequence

_ITEM, _ITEM_END, _SEQUENCE_END = 0xFFFEE000, 0xFFFEE00D, 0xFFFEE0DD
_UNDEFINED = 0xFFFFFFFF
_LONG_VRS = (b"OB", b"OD", b"OF", b"OL", b"OV", b"OW", b"SQ", b"SV", b"UC", b"UN", b"UR", b"UT", b"UV")
_MAX_ELEMENTS = 2_000_000  # a hundred for each of 10,000 frames, and as many again; two seconds
_MAX_DEPTH = 16


class Span(NamedTuple):
    """From the first byte to the one behind the last."""

    start: int
    end: int


class FrameGroups(Sequence):  # type: ignore[misc]  # pydicom is untyped here
    """The groups of all frames as a sequence whose items are parsed when they are asked for."""

    def __init__(self, data: bytes, items: list[Span], implicit: bool, little_endian: bool) -> None:
        super().__init__()
        self._data, self._items, self._implicit, self._little_endian = data, items, implicit, little_endian

    def __len__(self) -> int:
        return len(self._items)

    def __getitem__(self, index: Any) -> Any:
        start, end = self._items[index]
        item: Dataset = read_dataset(io.BytesIO(self._data[start:end]), self._implicit, self._little_endian)
        return item


class Skimmer:
    """Finds the per-frame groups in the bytes of a file; raises ValueError or struct.error where these make no sense."""

    def __init__(self, data: bytes, at: int, little_endian: bool) -> None:
        """Take the bytes and where the dataset begins in them."""
        self._data, self._at, self._elements = data, at, 0
        self._little_endian, self._implicit = little_endian, not is_vr(data[at + 4 : at + 6])
        order = "<" if little_endian else ">"
        self._tag = struct.Struct(order + "HH").unpack_from
        self._short = struct.Struct(order + "H").unpack_from
        self._long = struct.Struct(order + "I").unpack_from

    def frame_groups(self) -> tuple[Span, FrameGroups] | None:
        """Where the sequence of groups lies in the file, and the groups; None if the file has none."""
        at = self._at
        while at < len(self._data):
            tag, value, size = self._header(at)
            if tag > PER_FRAME:
                break
            if tag == PER_FRAME:
                items, end = self._items(value, size, 0)
                return Span(at, end), FrameGroups(self._data, items, self._implicit, self._little_endian)
            at = self._end(value, size, 0)
        return None

    def _header(self, at: int) -> tuple[int, int, int]:
        """The tag of the element at `at`, where its value begins, and the value's length."""
        self._elements += 1
        if self._elements > _MAX_ELEMENTS:
            raise ValueError("too many elements")
        group, number = self._tag(self._data, at)
        if self._implicit or group == 0xFFFE:
            return group << 16 | number, at + 8, self._long(self._data, at + 4)[0]
        if self._data[at + 4 : at + 6] in _LONG_VRS:
            return group << 16 | number, at + 12, self._long(self._data, at + 8)[0]
        return group << 16 | number, at + 8, self._short(self._data, at + 6)[0]

    def _end(self, value: int, size: int, depth: int) -> int:
        """Where an element ends."""
        if size == _UNDEFINED:
            return self._items(value, size, depth + 1)[1]
        if value + size > len(self._data):
            raise ValueError("the file ends inside an element")
        return value + size

    def _items(self, at: int, size: int, depth: int) -> tuple[list[Span], int]:
        """The items of a sequence and where it ends."""
        if depth > _MAX_DEPTH:
            raise ValueError("nested too deeply")
        items: list[Span] = []
        stop = None if size == _UNDEFINED else self._end(at, size, depth)
        while stop is None or at < stop:
            tag, value, length = self._header(at)
            if tag == _SEQUENCE_END:
                return items, value
            if tag != _ITEM:
                raise ValueError("no item where one has to be")
            at = end = value
            if length != _UNDEFINED:
                at = end = self._end(value, length, depth)
            else:
                while True:
                    tag, value_at, length = self._header(end)
                    if tag == _ITEM_END:
                        at = value_at
                        break
                    end = self._end(value_at, length, depth)
            items.append(Span(value, end))
        return items, at
