"""Lookup tables inside a DICOM file: modality, VOI and palette (PS3.3 C.11.1, C.11.2, C.7.9), plain or segmented.

Knows descriptors and table data; knows no picture. A table never grows beyond what its descriptor says.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

Table = tuple[int, npt.NDArray[np.int64], int]  # the first input that is mapped, the outputs, bits of an output


def lut(item: Dataset, little: bool, signed: bool | None = None) -> Table:
    """Read the table of a Modality or VOI LUT item; raises ValueError when it holds less than it says.

    `signed` tells how its first input is meant, which a file of implicit types does not; None takes it as it was read.
    """
    first, outputs, bits = _table(item.LUTDescriptor, item.LUTData, little)
    if signed is not None:
        first %= 1 << 16
        first -= (first >> 15 << 16) if signed else 0
    return first, outputs, bits


def palette(dataset: Dataset, little: bool) -> list[Table]:
    """Read the red, green and blue tables of a palette; raises ValueError."""
    tables = []
    for colour in ("Red", "Green", "Blue"):
        descriptor = dataset[f"{colour}PaletteColorLookupTableDescriptor"].value
        data = dataset.get(f"{colour}PaletteColorLookupTableData")
        if data is None:
            segments = dataset[f"Segmented{colour}PaletteColorLookupTableData"].value
            kind = np.dtype("u1") if int(descriptor[2]) == 8 else np.dtype("<u2" if little else ">u2")
            usable = len(segments) - len(segments) % kind.itemsize
            data = _expand_segmented_lut(
                np.frombuffer(segments[:usable], kind).tolist(), _entries(descriptor), kind.itemsize
            )
        first, outputs, bits = _table(descriptor, data, little)
        # Entries of 8 bits in words of 16 are a known fault: a palette that is never above 255 has 8 bits.
        tables.append((first, outputs, bits if outputs.max() > 255 else 8))
    return tables


def apply(values: npt.NDArray[Any], table: Table) -> npt.NDArray[np.int64]:
    """Map values; those before the first and behind the last entry take that entry's output."""
    first, outputs, _ = table
    index = np.clip(np.round(values).astype(np.int64) - first, 0, len(outputs) - 1)
    return outputs[index]


def _entries(descriptor: Any) -> int:
    return int(descriptor[0]) or 65536


def _table(descriptor: Any, data: Any, little: bool) -> Table:
    entries, first, bits = _entries(descriptor), int(descriptor[1]), int(descriptor[2])
    if isinstance(data, bytes):
        narrow = len(data) < 2 * entries  # one byte each
        outputs = np.frombuffer(data[: entries * (2 - narrow)], "u1" if narrow else "<u2" if little else ">u2")
    else:
        outputs = np.atleast_1d(np.asarray(data))
    if len(outputs) < entries or not 1 <= bits <= 16 or entries > 65536:
        raise ValueError("a lookup table holds less than it says")
    return first, outputs[:entries].astype(np.int64), bits


def _expand_segmented_lut(
    words: list[int], entries: int, size: int, before: int | None = None, segments: int = 1 << 30
) -> list[int]:
    """Unfold a segmented table (C.7.9.2), to `entries` at most: discrete, linear and indirect segments."""
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
            parts = words[at : at + 4 // size]
            # Two words of 16 bits or four of 8, the least significant first in either case.
            offset = sum(part << (8 * size * place) for place, part in enumerate(parts))
            at += len(parts)
            table += _expand_segmented_lut(words[offset // size :], entries - len(table), size, last, length)
        else:
            raise ValueError("a segmented lookup table cannot be unfolded")
    return table[:entries]
