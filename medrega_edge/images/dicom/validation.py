"""Checks of a DICOM file's pixel data before a decoder runs.

A file claims its sizes several times: in the header, in offset tables, in each code stream. Hostile files claim different
sizes. Here all claims have to agree, compared as whole numbers of any size, and every loop has an end.
"""

from __future__ import annotations

import math
import struct
from typing import Any

from pydicom.dataset import Dataset
from pydicom.encaps import get_frame
from pydicom.uid import RLELossless, UID_dictionary

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message

SAMPLES_PER_PIXEL = {  # by the photometric interpretations that are read
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
# The last two go with whole numbers only.
_NEEDED = ("SamplesPerPixel", "PhotometricInterpretation", "BitsAllocated", "BitsStored", "PixelRepresentation")
_VIDEOS = (  # transfer syntaxes: MPEG-2, MPEG-4 and HEVC, then SMPTE ST 2110
    *(f"1.2.840.10008.1.2.4.{number}" for number in range(100, 109)),
    "1.2.840.10008.1.2.7.",
)
_JP2 = b"\0\0\0\x0cjP  \r\n\x87\n"  # the first box of a JP2 file
_MAX_BOXES = 64  # of a JP2 file
MAX_TILES = 65_535  # of a JPEG 2000 code stream, whose tile index has 16 bits


def check_no_video(dataset: Dataset, name: Message) -> None:
    """Raise ImageError for a video, whose frames no decoder of pictures reads."""
    syntax = dataset.file_meta.TransferSyntaxUID
    if syntax.startswith(_VIDEOS):
        video = UID_dictionary[syntax][0] if syntax in UID_dictionary else syntax
        raise ImageError("dicom.video", image=name, syntax=video)


def check_pixel_data(dataset: Dataset, frames: int, frame: int, name: Message) -> None:
    """Check what the header claims against the pixel data of `frame`; raises ImageError where they differ."""
    for attribute in _NEEDED if "PixelData" in dataset else _NEEDED[:3]:
        if dataset.get(attribute) in (None, ""):
            raise ImageError("dicom.lacks", image=name, keyword=attribute)
    photometric, samples = str(dataset.PhotometricInterpretation), int(dataset.SamplesPerPixel)
    if photometric not in SAMPLES_PER_PIXEL:
        raise ImageError("dicom.unknown_photometric", image=name)
    if SAMPLES_PER_PIXEL[photometric] != samples:
        raise ImageError("dicom.wrong_samples", image=name, photometric=photometric, samples=samples)
    keyword = next((k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in dataset), None)
    if keyword is None:
        raise ImageError("dicom.no_pixels", image=name)
    allocated = int(dataset.BitsAllocated)
    depths = {"PixelData": (1, 8, 16, 32), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}[keyword]
    if allocated not in depths:
        raise ImageError("dicom.bits_allocated", image=name, bits=allocated)
    if keyword == "PixelData" and not 1 <= int(dataset.BitsStored) <= allocated:
        raise ImageError("dicom.bits_stored", image=name)
    pixels = bytes(dataset[keyword].value or b"")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        _check_code_stream(dataset, pixels, frames, frame, name)
        return
    if dataset[keyword].is_undefined_length:
        raise ImageError("dicom.unknown_compression", image=name)
    stored_samples = 2 if photometric == "YBR_FULL_422" else samples  # two pixels share their colour
    needed = math.ceil(rows * columns * stored_samples * allocated * frames / 8)
    if len(pixels) < needed:
        raise ImageError("dicom.fewer_bytes", image=name, claimed=needed, held=len(pixels))


def _check_code_stream(dataset: Dataset, pixels: bytes, frames: int, frame: int, name: Message) -> None:
    fragments = _fragment_count(pixels)
    if fragments is None or fragments < frames:
        raise ImageError("dicom.fewer_frames", image=name)
    stream = code_stream(dataset, frames, frame)
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        planes = samples * int(dataset.BitsAllocated) // 8
        agrees = _rle_sizes_match(stream, rows * columns, planes)
    else:
        agrees = _size_in_code_stream(stream) == (rows, columns, samples)
    if not agrees:
        raise ImageError("dicom.differing_sizes", image=name)


def code_stream(dataset: Dataset, frames: int, frame: int) -> bytes:
    """The compressed bytes of a frame."""
    tables = [dataset.get(keyword) for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    extended: Any = tuple(tables) if all(isinstance(table, bytes) for table in tables) else None
    pixels = bytes(dataset.PixelData or b"")
    return bytes(get_frame(pixels, frame, number_of_frames=frames, extended_offsets=extended))


def has_colour_transform(stream: bytes) -> bool:
    """Whether a JPEG 2000 code stream holds RGB that it transformed itself, so that a decoder gives RGB back."""
    at = stream.find(b"\xff\x52")  # COD, which stands before any pixel
    return at >= 0 and stream[at + 8 : at + 9] == b"\1"


def _fragment_count(pixels: bytes) -> int | None:
    """Number of fragments behind the offset table; None if the chain of items is broken."""
    at, count = 0, -1
    while at + 8 <= len(pixels):
        tag, length = struct.unpack_from("<II", pixels, at)
        if tag == 0xE0DDFFFE:  # sequence delimiter
            break
        if tag != 0xE000FFFE or length > len(pixels) - at - 8:
            return None
        at += 8 + length
        count += 1
    return count


def _size_in_code_stream(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples that a JPEG, JPEG-LS or JPEG 2000 code stream states; None if it states none."""
    if stream.startswith(_JP2):
        return _size_in_jp2(stream)
    if stream.startswith(b"\xff\x4f\xff\x51") and len(stream) >= 42:
        right, bottom, left, top, tile_width, tile_height = struct.unpack_from(">6I", stream, 8)
        if not tile_width or not tile_height or math.ceil(right / tile_width) * math.ceil(bottom / tile_height) > MAX_TILES:
            return None
        return bottom - top, right - left, int.from_bytes(stream[40:42], "big")
    if not stream.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xFF:  # filling
            at += 1
        elif marker == 0xF7 or 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            height, width = struct.unpack_from(">HH", stream, at + 5)
            return height, width, stream[at + 9]
        elif marker in (0xDA, 0xDE):  # pixels before any size, or a pyramid of sizes
            return None
        else:
            at += 2 + length
    return None


def _size_in_jp2(data: bytes) -> tuple[int, int, int] | None:
    """Size in the code stream of a JP2 file, which DICOM forbids and some programs write; None if its header differs."""
    at, header = 0, None
    for _ in range(_MAX_BOXES):
        if at + 8 > len(data):
            return None
        length, kind = struct.unpack_from(">I4s", data, at)
        body = at + 8
        if length == 1:  # the length follows, in 8 bytes
            length, body = int.from_bytes(data[body : body + 8], "big"), body + 8
        if kind == b"jp2c":
            size = _size_in_code_stream(data[body : body + 64])
            return size if size == header else None
        if kind == b"jp2h" and data[body + 4 : body + 8] == b"ihdr" and body + 18 <= len(data):
            rows, columns, samples = struct.unpack_from(">IIH", data, body + 8)
            header = rows, columns, samples
        if length < 8:
            return None
        at += length
    return None


def _rle_sizes_match(stream: bytes, pixels: int, planes: int) -> bool:
    """Whether an RLE frame has one segment per byte plane, and each decodes to at most the plane and a pad byte."""
    if len(stream) < 64 or int.from_bytes(stream[:4], "little") != planes or planes > 15:
        return False
    starts = [*struct.unpack_from(f"<{planes}I", stream, 4), len(stream)]
    return all(
        64 <= start < end <= len(stream) and _decodes_within(stream, start, end, pixels + 2)
        for start, end in zip(starts, starts[1:], strict=False)
    )


def _decodes_within(stream: bytes, at: int, end: int, limit: int) -> bool:
    """Whether the RLE segment from `at` to `end` decodes to at most `limit` bytes."""
    total = 0
    while at < end and total <= limit:
        control = stream[at]
        if control > 128:
            total += 257 - control
            at += 2
        elif control < 128:
            total += control + 1
            at += control + 2
        else:
            at += 1
    return total <= limit
