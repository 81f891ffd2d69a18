"""What is checked of a DICOM file before any decoder sees a pixel: its header's cost, its sizes, its code streams.

Knows the container and the first bytes of each compression; decodes nothing. A file claims its sizes several times
(header, offset tables, code stream), and hostile ones claim different things: here all have to agree, in whole numbers
of any size, and every loop and every inflation has an end.
"""

from __future__ import annotations

import io
import math
import struct
import sys
import zlib
from collections.abc import Sequence
from functools import cache
from types import ModuleType
from typing import TYPE_CHECKING, Any, cast

from medrega_edge.errors import ImageError
from medrega_edge.images.medical_image import MAX_INFLATED

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PHOTOMETRIC = {  # what is read -> samples per pixel
    "MONOCHROME1": 1,
    "MONOCHROME2": 1,
    "PALETTE COLOR": 1,
    "RGB": 3,
    "YBR_FULL": 3,
    "YBR_FULL_422": 3,
    "YBR_ICT": 3,
    "YBR_RCT": 3,
}
MAX_READS = 400_000  # two or three for each element: more than the largest header of any study, under two seconds
MAX_SEQUENCE = 16 * 1024 * 1024  # bytes of one sequence that is unfolded; functional groups of thousands of frames
MAX_TILES = 65_535  # of a JPEG 2000 code stream, whose tile index has 16 bits

FIRST_BYTES = 2048  # in which a DICOM file shows itself as one

_DEFLATED = b"1.2.840.10008.1.2.1.99"
_EXPLICIT = b"1.2.840.10008.1.2.1"
_IMPLICIT = b"1.2.840.10008.1.2"
_PREAMBLE = bytes(128) + b"DICM"
_OF_THE_FILE, _OF_THE_IMAGE = 0x0002, 0x0008  # groups; one of them is the first of any file
_LAST_NEAR_THE_FRONT = 0x0010  # group of the patient: what follows the first element lies no farther
_SEQUENCES = (
    "ModalityLUTSequence",
    "VOILUTSequence",
    "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence",
    "SequenceOfUltrasoundRegions",
)
_PROGRAMS = (b"MZ", b"\x7fELF", b"#!", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"PK")


class _CountedBytes(io.BytesIO):
    """Bytes that may be read so many times and no more: a parser has to read for each element, whatever it believes."""

    reads = 0

    def read(self, size: int | None = -1, /) -> bytes:
        self.reads += 1
        if self.reads > MAX_READS:
            raise ImageError("The DICOM header has more elements than any image needs; export the image again.")
        return super().read(size)


@cache
def load_pydicom() -> ModuleType:
    """Import pydicom: the one way to it, because it would import `requests` where that is, which opens a socket.

    It has it for fetching test files, which nobody here wants; it does without where `requests` cannot be imported.
    """
    hidden = "requests" not in sys.modules
    if hidden:
        sys.modules["requests"] = None  # type: ignore[assignment]  # importing it fails
    try:
        import pydicom
    finally:
        if hidden:
            del sys.modules["requests"]
    return cast(ModuleType, pydicom)


def is_dicom(data: bytes) -> bool:
    """Whether these bytes, of which FIRST_BYTES are enough, begin as a DICOM file does, or as a bare dataset."""
    return data[128:132] == b"DICM" or is_bare(data)


def is_bare(data: bytes) -> bool:
    """Whether they begin as a little-endian dataset without the 128 bytes and the mark in front, as some archives export.

    Held for one: a first element of the group of the file or of the image, of a length that such elements have, and behind
    it another one in the order of tags. No other format that is read begins so.
    """
    if len(data) < 8 or data[128:132] == b"DICM":
        return False
    group, number, spelled, length = struct.unpack_from("<HH2sH", data)
    if not _is_vr(spelled):
        length = int.from_bytes(data[4:8], "little")
    behind = data[8 + length : 12 + length]
    if group not in (_OF_THE_FILE, _OF_THE_IMAGE) or 8 + length > FIRST_BYTES - 4 or len(behind) < 4:
        return False
    following = struct.unpack("<HH", behind)
    return (group, number) < following and following[0] <= _LAST_NEAR_THE_FRONT


def _is_vr(spelled: bytes) -> bool:
    return spelled.isalpha() and spelled.isupper()


def _with_preamble(data: bytes) -> bytes:
    """A bare dataset as the file that it should have been, so that all that is checked of files is checked of it."""
    if not is_bare(data):
        return data
    if data[0] == _OF_THE_FILE:
        return _PREAMBLE + data
    syntax = _EXPLICIT if _is_vr(data[4:6]) else _IMPLICIT
    syntax += b"\0" * (len(syntax) % 2)
    return _PREAMBLE + b"\x02\0\x10\0UI" + len(syntax).to_bytes(2, "little") + syntax + data


def read_header(data: bytes, name: str, only: Sequence[str] = ()) -> Dataset:
    """Parse a DICOM file with a limit on work and memory; raises ImageError, or what pydicom raises on damage.

    `only` are the keywords that are wanted; then everything else is left out, the pixels among it.
    """
    pydicom = load_pydicom()
    from pydicom.dataelem import RawDataElement

    wanted = {"specific_tags": list(only), "stop_before_pixels": True} if only else {}
    dataset = pydicom.dcmread(_CountedBytes(_inflated(_with_preamble(data), name)), **wanted)
    for keyword in _SEQUENCES:
        if keyword in dataset:
            element = dataset.get_item(keyword)
            if isinstance(element, RawDataElement) and len(element.value or b"") > MAX_SEQUENCE:
                raise ImageError(f"{name} has a header larger than any image needs; export it again.")
    return dataset


def _inflated(data: bytes, name: str) -> bytes:
    """Undo the deflated transfer syntax, up to a limit: the same file in its explicit little-endian form."""
    if data[132:144][:4] != b"\x02\0\0\0":
        return data
    end = 144 + int.from_bytes(data[140:144], "little")
    meta = data[:end]
    if _DEFLATED not in meta:
        return data
    plain = inflate(data[end:], -zlib.MAX_WBITS, name)
    return meta.replace(_DEFLATED, _EXPLICIT.ljust(len(_DEFLATED), b"\0"), 1) + plain


def inflate(data: bytes, bits: int, name: str) -> bytes:
    """Inflate a zlib stream (`bits` as zlib has them), up to MAX_INFLATED bytes; raises ImageError."""
    stream = zlib.decompressobj(bits)
    try:
        plain = stream.decompress(data, MAX_INFLATED + 1)
    except zlib.error:
        raise ImageError(f"{name} is damaged or incomplete and cannot be decompressed; export it again.") from None
    if len(plain) > MAX_INFLATED:
        raise ImageError(f"{name} inflates to more than {MAX_INFLATED >> 20} MiB; export it uncompressed.")
    if not stream.eof:
        raise ImageError(f"{name} is damaged or incomplete and cannot be decompressed; export it again.")
    return plain


def looks_like_a_program(data: bytes) -> bool:
    """Whether the preamble, which a DICOM reader ignores, begins as a program does."""
    return data.startswith(_PROGRAMS)


def check_pixel_data(dataset: Dataset, frames: int, frame: int, name: str) -> None:
    """Hold the header's claims against the pixel data; raises ImageError before a decoder could believe them."""
    photometric, samples = str(dataset.PhotometricInterpretation), int(dataset.SamplesPerPixel)
    if PHOTOMETRIC.get(photometric) != samples:
        known = photometric if photometric in PHOTOMETRIC else "an unknown kind"
        raise ImageError(f"{name} has pixels of {known} with {samples} samples, which are not read; export it again.")
    keyword = next((k for k in ("PixelData", "FloatPixelData", "DoubleFloatPixelData") if k in dataset), None)
    if keyword is None:
        raise ImageError(f"{name} is a DICOM file without a picture, or without all of it; name a whole image object.")
    allocated = int(dataset.BitsAllocated)
    depths = {"PixelData": (1, 8, 16, 32), "FloatPixelData": (32,), "DoubleFloatPixelData": (64,)}[keyword]
    if allocated not in depths:
        raise ImageError(f"{name} has {allocated} bits a sample, which are not read; export it again.")
    if keyword == "PixelData" and not 1 <= int(dataset.BitsStored) <= allocated:
        raise ImageError(f"{name} stores more bits than it has room for; export it again.")
    pixels = bytes(dataset[keyword].value or b"")
    rows, columns = int(dataset.Rows), int(dataset.Columns)
    if dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        _check_code_stream(dataset, pixels, frames, frame, name)
        return
    if dataset[keyword].is_undefined_length:
        raise ImageError(f"{name} holds compressed pixels without saying how they are compressed; export it uncompressed.")
    shared = 2 if photometric == "YBR_FULL_422" else samples  # two pixels share their colour
    needed = math.ceil(rows * columns * shared * allocated * frames / 8)
    if len(pixels) < needed:
        raise ImageError(
            f"{name} claims {needed} bytes of pixels and holds {len(pixels)}: it is damaged or incomplete and cannot be "
            "decoded; export it again."
        )


def _check_code_stream(dataset: Dataset, pixels: bytes, frames: int, frame: int, name: str) -> None:
    from pydicom.encaps import get_frame
    from pydicom.uid import RLELossless

    fragments = _fragments(pixels)
    if fragments is None or fragments < frames:
        raise ImageError(f"{name} holds fewer compressed frames than it claims; it is incomplete: export it again.")
    tables = [dataset.get(keyword) for keyword in ("ExtendedOffsetTable", "ExtendedOffsetTableLengths")]
    extended: Any = tuple(tables) if all(isinstance(table, bytes) for table in tables) else None
    stream = get_frame(pixels, frame, number_of_frames=frames, extended_offsets=extended)
    rows, columns, samples = int(dataset.Rows), int(dataset.Columns), int(dataset.SamplesPerPixel)
    if dataset.file_meta.TransferSyntaxUID == RLELossless:
        planes = samples * int(dataset.BitsAllocated) // 8
        agrees = _rle_sizes_match(stream, rows * columns, planes)
    else:
        agrees = _claimed(stream) == (rows, columns, samples)
    if not agrees:
        raise ImageError(f"The header of {name} and its compressed pixels do not fit each other; export it again.")


def _fragments(pixels: bytes) -> int | None:
    """Count the fragments behind the offset table; None when the chain of items is broken."""
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


def _claimed(stream: bytes) -> tuple[int, int, int] | None:
    """Rows, columns and samples that a JPEG, JPEG-LS or JPEG 2000 code stream says it has; None when it says nothing."""
    if stream.startswith(b"\xff\x4f\xff\x51") and len(stream) >= 42:
        wide, high, left, top, tile_wide, tile_high = struct.unpack_from(">6I", stream, 8)
        if not tile_wide or not tile_high or math.ceil(wide / tile_wide) * math.ceil(high / tile_high) > MAX_TILES:
            return None
        return high - top, wide - left, int.from_bytes(stream[40:42], "big")
    if not stream.startswith(b"\xff\xd8"):
        return None
    at = 2
    while at + 10 <= len(stream) and stream[at] == 0xFF:
        marker, length = stream[at + 1], int.from_bytes(stream[at + 2 : at + 4], "big")
        if marker == 0xFF:  # filling
            at += 1
        elif marker == 0xF7 or 0xC0 <= marker <= 0xCF and marker not in (0xC4, 0xC8, 0xCC):
            high, wide = struct.unpack_from(">HH", stream, at + 5)
            return high, wide, stream[at + 9]
        elif marker in (0xDA, 0xDE):  # pixels before any size, or a pyramid of sizes
            return None
        else:
            at += 2 + length
    return None


def _rle_sizes_match(stream: bytes, pixels: int, planes: int) -> bool:
    """Whether an RLE frame has one segment a byte plane, none of which unfolds to more than the plane and a pad."""
    if len(stream) < 64 or int.from_bytes(stream[:4], "little") != planes or planes > 15:
        return False
    starts = [*struct.unpack_from(f"<{planes}I", stream, 4), len(stream)]
    return all(
        64 <= start < end <= len(stream) and _unfolds_to(stream, start, end, pixels + 2)
        for start, end in zip(starts, starts[1:], strict=False)
    )


def _unfolds_to(stream: bytes, at: int, end: int, most: int) -> bool:
    total = 0
    while at < end and total <= most:
        control = stream[at]
        if control > 128:
            total += 257 - control
            at += 2
        elif control < 128:
            total += control + 1
            at += control + 2
        else:
            at += 1
    return total <= most
