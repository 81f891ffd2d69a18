"""Parsing of a DICOM header with a limit on work and memory, whatever the file claims."""

from __future__ import annotations

import io
import struct
import zlib
from collections.abc import Sequence

import pydicom
from pydicom.dataelem import RawDataElement
from pydicom.dataset import Dataset

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.dicom.frame_groups import FrameGroups, Skimmer, Span
from medrega_edge.images.inflating import inflate
from medrega_edge.images.signatures import FILE_META_GROUP, is_bare_dataset, is_vr

MAX_READS = 400_000  # two or three for each element: more than the largest header of any study, under two seconds
MAX_SEQUENCE = 16 * 1024 * 1024  # bytes of one parsed sequence

_BIG_ENDIAN = b"1.2.840.10008.1.2.2\0"
_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EXPLICIT = b"1.2.840.10008.1.2.1"
_IMPLICIT = b"1.2.840.10008.1.2"
_PREAMBLE = bytes(128) + b"DICM"
_SEQUENCES = (
    "ModalityLUTSequence",
    "VOILUTSequence",
    "SharedFunctionalGroupsSequence",
    "SequenceOfUltrasoundRegions",
)


class _LimitedReads(io.BytesIO):
    """Bytes that can be read MAX_READS times: a parser has to read for each element, whatever the header claims.

    An element at `gap` is passed over.
    """

    def __init__(self, data: bytes, gap: Span | None, name: Message) -> None:
        super().__init__(data)
        self._gap, self._name, self._reads = gap, name, 0

    def read(self, size: int | None = -1, /) -> bytes:
        if self._gap is not None and self.tell() == self._gap.start:
            self.seek(self._gap.end)
        self._reads += 1
        if self._reads > MAX_READS:
            raise ImageError("dicom.header_too_long", image=self._name)
        return super().read(size)


def read_header(data: bytes, name: Message, only: Sequence[str] = ()) -> Dataset:
    """Parse a DICOM file; raises ImageError, or whatever pydicom raises on damage.

    `only` are keywords: all other elements are left out, and so are the pixels.
    """
    options = {"specific_tags": list(only), "stop_before_pixels": True} if only else {}
    data = _inflated(_with_preamble(data), name)
    gap, groups = _frame_groups(data) or (None, None)
    dataset = pydicom.dcmread(_LimitedReads(data, gap, name), **options)
    if groups is not None:
        dataset.PerFrameFunctionalGroupsSequence = groups
    for keyword in _SEQUENCES:
        if keyword in dataset:
            element = dataset.get_item(keyword)
            if isinstance(element, RawDataElement) and len(element.value or b"") > MAX_SEQUENCE:
                raise ImageError("dicom.header_too_large", image=name)
    return dataset


def _frame_groups(data: bytes) -> tuple[Span, FrameGroups] | None:
    """The per-frame functional groups and where they lie; None if there are none, or for pydicom to judge."""
    if data[132:136] != b"\x02\0\0\0":
        return None
    start = 144 + int.from_bytes(data[140:144], "little")
    try:
        return Skimmer(data, start, little_endian=_BIG_ENDIAN not in data[:start]).frame_groups()
    except (ValueError, struct.error):
        return None


def _with_preamble(data: bytes) -> bytes:
    """Put preamble, magic and transfer syntax before a bare dataset, so that every check of files covers it too."""
    if not is_bare_dataset(data):
        return data
    if data[0] == FILE_META_GROUP:
        return _PREAMBLE + data
    syntax = _EXPLICIT if is_vr(data[4:6]) else _IMPLICIT
    syntax += b"\0" * (len(syntax) % 2)
    return _PREAMBLE + b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax + data


def _inflated(data: bytes, name: Message) -> bytes:
    """A file of the deflated transfer syntax in explicit little endian; any other file unchanged."""
    if data[132:144][:4] != b"\x02\0\0\0":
        return data
    end = 144 + int.from_bytes(data[140:144], "little")
    meta = data[:end]
    if _DEFLATED not in meta:
        return data
    plain = inflate(data[end:], -zlib.MAX_WBITS, name)
    return meta.replace(_DEFLATED, _EXPLICIT.ljust(len(_DEFLATED), b"\0"), 1) + plain
