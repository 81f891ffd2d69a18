"""Lookup tables of a DICOM file: modality, VOI and palette (PS3.3 C.11.1, C.11.2, C.7.9), plain or segmented.

A table never grows beyond the number of entries that its descriptor states.
"""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import numpy.typing as npt
from pydicom.dataset import Dataset


class Table(NamedTuple):
    """A lookup table: input `first` is mapped to `outputs[0]`, the next input to `outputs[1]`, and so on.

    `bits` are those that the outputs use: a known fault states 16 for entries of 12 or 8.
    """

    first: int
    outputs: npt.NDArray[np.int64]
    bits: int
    stated_bits: int

    @property
    def maximum(self) -> int:
        """The largest output that `bits` allow."""
        return (1 << self.bits) - 1


def read_table(item: Dataset, little_endian: bool, signed: bool | None = None) -> Table:
    """Read the table of a Modality or VOI LUT item; raises ValueError when it holds fewer entries than it claims.

    `signed` says whether the first input is a signed number, which files of implicit types leave open; None takes it as
    pydicom read it.
    """
    table = _table(item.LUTDescriptor, item.LUTData, little_endian)
    if signed is None:
        return table
    first = table.first % (1 << 16)
    return table._replace(first=first - ((first >> 15 << 16) if signed else 0))


def palette(dataset: Dataset, little_endian: bool) -> list[Table]:
    """Read the red, green and blue tables of a palette; raises ValueError."""
    tables = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        data = dataset.get(f"{colour}PaletteColorLookupTableData")
        if data is None:
            segments = dataset[f"Segmented{colour}PaletteColorLookupTableData"].value
            word = np.dtype("u1") if int(descriptor[2]) == 8 else np.dtype("<u2" if little_endian else ">u2")
            usable = len(segments) - len(segments) % word.itemsize
            words = np.frombuffer(segments[:usable], word).tolist()
            data = _expand_segmented_lut(words, _entries(descriptor), word.itemsize)
        tables.append(_table(descriptor, data, little_endian))
    bits = max(table.bits for table in tables)  # one colour may be weak in all entries
    return [table._replace(bits=bits) for table in tables]


def apply(values: npt.NDArray[Any], table: Table) -> npt.NDArray[np.int64]:
    """Map values; values before the first and behind the last entry take that entry's output."""
    index = np.clip(np.round(values).astype(np.int64) - table.first, 0, len(table.outputs) - 1)
    return table.outputs[index]


def _entries(descriptor: Any) -> int:
    return int(descriptor[0]) or 65536


def _table(descriptor: Any, data: Any, little_endian: bool) -> Table:
    entries, first, bits = _entries(descriptor), int(descriptor[1]), int(descriptor[2])
    if isinstance(data, bytes):
        one_byte = len(data) < 2 * entries  # for each entry
        outputs = np.frombuffer(data[: entries * (2 - one_byte)], "u1" if one_byte else "<u2" if little_endian else ">u2")
    else:
        outputs = np.atleast_1d(np.asarray(data))
    if len(outputs) < entries or not 1 <= bits <= 16 or entries > 65536:
        raise ValueError("a lookup table holds fewer entries than it claims")
    outputs = outputs[:entries].astype(np.int64)
    used = max(int(outputs.max()).bit_length(), 8)
    return Table(first, outputs, used if used <= bits - 2 else bits, bits)


def _expand_segmented_lut(
    words: list[int], entries: int, word_size: int, before: int | None = None, segments: int = 1 << 30
) -> list[int]:
    """Expand discrete, linear and indirect segments (C.7.9.2) to at most `entries` outputs.

    `word_size` is that of a word in bytes. Of an indirect segment, `before` is the output in front of it and `segments` the
    number of segments to copy.
    """
    table: list[int] = []
    at = 0
    while at + 1 < len(words) and len(table) < entries and segments:
        kind, length = words[at], words[at + 1]
        at += 2
        segments -= 1
        last = table[-1] if table else before
        if kind == 0:
            table += words[at : at + length]
            at += length
        elif kind == 1 and last is not None:
            table += [round(value) for value in np.linspace(last, words[at], length + 1)[1:]]
            at += 1
        elif kind == 2 and table and before is None:  # an indirect segment inside another one is not allowed
            offset_words = words[at : at + 4 // word_size]
            # Two words of 16 bits or four of 8, the least significant first in either case.
            offset = sum(word << (8 * word_size * position) for position, word in enumerate(offset_words))
            at += len(offset_words)
            table += _expand_segmented_lut(words[offset // word_size :], entries - len(table), word_size, last, length)
        else:
            raise ValueError("a segmented lookup table cannot be expanded")
    return table[:entries]
