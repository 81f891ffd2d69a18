"""Formats by their first bytes: DICOM with or without its preamble, NIfTI plain or gzipped, executable programs."""

from __future__ import annotations

import struct
import zlib

FIRST_BYTES = 2048  # enough to tell whether a file is DICOM
GZIP_MAGIC = b"\x1f\x8b"
FILE_META_GROUP, IDENTIFYING_GROUP = 0x0002, 0x0008  # one of these is the first group of any DICOM file

TIFF_MAGIC = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")  # the last two are those of BigTIFF
_RASTERS = (b"\x89PNG", b"\xff\xd8\xff", *TIFF_MAGIC)  # PNG, JPEG, TIFF
IMAGE_ENDINGS = (  # of images that are read, and of those that people take for readable
    *(".png", ".jpg", ".jpeg", ".tif", ".tiff", ".dcm", ".dicom", ".ima", ".nii", ".nii.gz"),
    *(".gif", ".bmp", ".webp", ".jp2", ".heic", ".nrrd", ".mha", ".mhd", ".svs"),
)
_LAST_SECOND_GROUP = 0x0010  # the patient's group: the second element of a bare dataset lies no farther
_NIFTI_HEADER = 540  # bytes of the longer one
_NIFTI = ((348, 344, b"n+1\0"), (540, 4, b"n+2\0"))  # header length, offset of the magic, magic
_PROGRAMS = (b"MZ", b"\x7fELF", b"#!", b"\xfe\xed\xfa", b"\xcf\xfa\xed\xfe", b"\xce\xfa\xed\xfe", b"\xca\xfe\xba\xbe", b"PK")


def is_dicom(data: bytes) -> bool:
    """Whether these bytes begin a DICOM file or a bare dataset. The first FIRST_BYTES are enough."""
    return data[128:132] == b"DICM" or is_bare_dataset(data)


def is_bare_dataset(data: bytes) -> bool:
    """Whether these bytes begin a little-endian dataset without preamble and magic, as some archives export.

    The first element has to be of the file meta or the identifying group and as short as such elements are. The element
    behind it has to follow in the order of tags. No other format that is read begins like this.
    """
    if len(data) < 8 or data[128:132] == b"DICM":
        return False
    group, number, vr, length = struct.unpack_from("<HH2sH", data)
    if not is_vr(vr):
        length = int.from_bytes(data[4:8], "little")
    second = data[8 + length : 12 + length]
    if group not in (FILE_META_GROUP, IDENTIFYING_GROUP) or 8 + length > FIRST_BYTES - 4 or len(second) < 4:
        return False
    second_tag = struct.unpack("<HH", second)
    return (group, number) < second_tag and second_tag[0] <= _LAST_SECOND_GROUP


def is_vr(letters: bytes) -> bool:
    """Whether these two bytes can be a DICOM value representation, which implicit encodings do not have."""
    return letters.isalpha() and letters.isupper()


def is_nifti(data: bytes) -> bool:
    """Whether these bytes begin a NIfTI file, plain or gzipped."""
    if data.startswith(GZIP_MAGIC):
        data = _inflated_beginning(data[:4096])
    lengths = (int.from_bytes(data[:4], "little"), int.from_bytes(data[:4], "big"))
    return any(length in lengths and data[at : at + 4] == magic for length, at, magic in _NIFTI)


def _inflated_beginning(data: bytes) -> bytes:
    """At least the header of a gzipped NIfTI file, which may begin in one member and end in the next."""
    plain = b""
    while data.startswith(GZIP_MAGIC) and len(plain) < _NIFTI_HEADER:
        member = zlib.decompressobj(31)
        try:
            plain += member.decompress(data, _NIFTI_HEADER)
        except zlib.error:
            break
        data = member.unused_data
    return plain


def is_meant_as_image(name: str, data: bytes) -> bool:
    """Whether a file is an image by its first FIRST_BYTES, or named as one, as a damaged image still is."""
    return data.startswith(_RASTERS) or is_dicom(data) or is_nifti(data) or name.lower().endswith(IMAGE_ENDINGS)


def is_program(data: bytes) -> bool:
    """Whether these bytes begin an executable program, for which DICOM's free preamble leaves room."""
    return data.startswith(_PROGRAMS)
