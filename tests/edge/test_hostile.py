"""Files made to do harm: bombs, floods, false sizes, formats that are not read. Each is refused in one sentence, fast,
and in little memory; a mutated file is read or refused, whatever was changed in it."""

import functools
import gzip
import io
import struct
import subprocess
import sys
import zlib

import numpy as np
import pytest
from PIL import Image

from medrega_edge.errors import ImageError
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
from tests.codes import raises_code
from tests.cost import MILLION_LOOPS, costs_at_most
from tests.edge.dicoms import bare, colour, dataset, deflated, dicom, row
from tools import fuzz_images

GREY = row([0, 9, 50], "u2")
MEGABYTES = 600


def chunk(kind, body):
    return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))


def png(width, height, *chunks, depth=1):
    header = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, depth, 0, 0, 0, 0))
    pixels = chunk(b"IDAT", zlib.compress(bytes(1000)))
    return b"\x89PNG\r\n\x1a\n" + header + b"".join(chunks) + pixels + chunk(b"IEND", b"")


@functools.cache
def packed(megabytes):
    """A zlib stream of zeros, made piece by piece."""
    stream = zlib.compressobj(1)
    return b"".join(stream.compress(bytes(1 << 20)) for _ in range(megabytes)) + stream.flush()


def tiff(width, height, *entries):
    """A TIFF of 8-bit grey that claims its size; further entries are (tag, type, count, value)."""
    fields = [(256, 4, 1, width), (257, 4, 1, height), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1), *entries]
    fields = sorted({field[0]: field for field in fields}.values())
    body = b"".join(struct.pack("<HHII", *field) for field in fields)
    return b"II*\0" + struct.pack("<IH", 8, len(fields)) + body + struct.pack("<I", 0) + bytes(4096)


def jpeg(width, height):
    buffer = io.BytesIO()
    Image.new("L", (64, 64), 90).save(buffer, format="JPEG")
    data = bytearray(buffer.getvalue())
    at = data.index(b"\xff\xc0")
    data[at + 5 : at + 9] = struct.pack(">HH", height, width)
    return bytes(data)


def j2k(width, height, tile=None, samples=1):
    size = struct.pack(
        ">HHIIIIIIIIH", 38 + 3 * samples, 0, width, height, 0, 0, tile or width, tile or height, 0, 0, samples
    )
    return b"\xff\x4f\xff\x51" + size + bytes([7, 1, 1]) * samples + b"\xff\xd9"


def item(body):
    return b"\xfe\xff\x00\xe0" + struct.pack("<I", len(body)) + body


def encapsulated(syntax, *frames, table=b"", **tags):
    return dicom(
        GREY.astype("u1"), syntax=f"1.2.840.10008.1.2.{syntax}", PixelData=item(table) + b"".join(map(item, frames)), **tags
    )


def before_pixels(element):
    """A DICOM file with raw bytes put in between its other elements and its pixels."""
    data = dicom(GREY)
    at = data.rindex(b"\xe0\x7f\x10\x00OW")
    return data[:at] + element + data[at:]


def wide_rows():
    data = dicom(GREY)
    at = data.index(b"\x28\x00\x10\x00US")
    return data[:at] + b"\x28\x00\x10\x00UL\x04\x00" + struct.pack("<I", 2**31) + data[at + 10 :]


def nested(depth):
    return before_pixels((b"\x40\x00\x75\x02SQ\0\0\xff\xff\xff\xff" + b"\xfe\xff\x00\xe0\xff\xff\xff\xff") * depth)


def rle(body):
    return struct.pack("<16I", 1, 64, *[0] * 14) + body


def palette(**tags):
    named = {f"{name}PaletteColorLookupTableDescriptor": [0, 0, 16] for name in ("Red", "Green", "Blue")}
    loop = np.array([0, 1, 7, 2, 60000, 0, 0] + [2, 60000, 6, 0] * 500, "<u2").tobytes()
    named |= {f"Segmented{name}PaletteColorLookupTableData": loop for name in ("Red", "Green", "Blue")}
    return dicom(GREY.astype("u1"), PhotometricInterpretation="PALETTE COLOR", **named | tags)


def looped_tiff():
    data = bytearray(tiff(64, 64, (273, 4, 1, 200), (279, 4, 1, 4096)))
    end = 10 + 12 * struct.unpack_from("<H", data, 8)[0]
    data[end : end + 4] = struct.pack("<I", 8)  # the next directory is this one
    return bytes(data)


def nifti(dim):
    header = bytearray(352)
    header[:4], header[344:348] = struct.pack("<i", 348), b"n+1\0"
    header[40:56] = struct.pack("<8h", *dim)
    header[70:74], header[108:112] = struct.pack("<hh", 4, 16), struct.pack("<f", 352)
    return bytes(header) + bytes(1000)


BOMBS = {
    "PNG of 65500 x 65500": lambda: png(65_500, 65_500),
    "PNG of 2^31 x 2^31": lambda: png(2**31 - 1, 2**31 - 1),
    "PNG with a text of 140 MB": lambda: png(64, 64, chunk(b"zTXt", b"a\0\0" + packed(140))),
    "PNG with a colour profile of 140 MB": lambda: png(64, 64, chunk(b"iCCP", b"a\0\0" + packed(140))),
    "JPEG of 65500 x 65500": lambda: jpeg(65_500, 65_500),
    "TIFF of 2^31 x 2^31": lambda: tiff(2**31 - 1, 2**31 - 1),
    "TIFF of 2^31 tiles": lambda: tiff(3000, 3000, (322, 4, 1, 16), (323, 4, 1, 16), (324, 4, 2**31, 8), (325, 4, 2**31, 8)),
    "TIFF of 2^31 strips": lambda: tiff(3000, 3000, (273, 4, 2**31, 8), (279, 4, 2**31, 8)),
    "TIFF whose directories go round": looped_tiff,
    "GIF of many frames": lambda: b"GIF89a" + struct.pack("<HH", 64, 64) + b"\x80\0\0" + bytes(6) + b",\0\0\0\0" * 100_000,
    "DICOM that inflates to 140 MB": lambda: deflated(before_pixels(b"\x09\x00\x10\x10UN\0\0" + struct.pack("<I", 140 << 20)
                                                      + bytes(140 << 20))),
    "DICOM of a million elements": lambda: before_pixels(b"\x09\x00\x10\x10LO\0\0" * 1_000_000),
    "DICOM of a million elements, deflated": lambda: deflated(before_pixels(b"\x09\x00\x10\x10LO\0\0" * 1_000_000)),
    "DICOM of 2^31 - 1 frames": lambda: dicom(GREY, NumberOfFrames=2**31 - 1),
    "DICOM of 1000 frames in one": lambda: dicom(GREY, NumberOfFrames=1000),
    "DICOM with rows of 32 bits": wide_rows,
    "DICOM of 65535 x 65535": lambda: dicom(GREY, Rows=65535, Columns=65535),
    "DICOM of 3000 x 3000 without its pixels": lambda: dicom(GREY, Rows=3000, Columns=3000),
    "DICOM of 64 bits": lambda: dicom(GREY, BitsAllocated=64, BitsStored=64, HighBit=63),
    "DICOM of 65535 samples": lambda: dicom(GREY, SamplesPerPixel=65535),
    "DICOM nested 300 deep": lambda: nested(300),
    "DICOM nested 5000 deep": lambda: nested(5000),
    "DICOM with functional groups of 20 MB": lambda: dicom(GREY, SharedFunctionalGroupsSequence=[
        dataset(ImageComments="x" * 10_000) for _ in range(2000)]),
    "DICOM table shorter than it says": lambda: dicom(GREY, VOILUTSequence=[dataset(LUTDescriptor=[0, 0, 16],
                                                      LUTData=b"\0\1")]),
    "DICOM palette that goes round": palette,
    "DICOM palette shorter than it says": lambda: palette(RedPaletteColorLookupTableData=b"\1"),
    "DICOM with a JPEG of 65000 x 65000": lambda: encapsulated("4.50", jpeg(65_000, 65_000)),
    "DICOM with a JPEG 2000 of 60000 x 60000": lambda: encapsulated("4.90", j2k(60_000, 60_000)),
    "DICOM with a JPEG 2000 of tiny tiles": lambda: encapsulated("4.90", j2k(3000, 3000, tile=1), Rows=3000, Columns=3000),
    "DICOM with a JPEG 2000 of 16384 samples": lambda: encapsulated("4.90", j2k(16, 16, samples=12_000)),
    "DICOM with an empty frame": lambda: encapsulated("4.90", b""),
    "DICOM with a fragment cut short": lambda: encapsulated("4.50", jpeg(16, 16))[:-40],
    "DICOM with an RLE frame of 60 MB": lambda: encapsulated("5", rle(b"\x81\0" * 500_000)),
    "DICOM with RLE segments out of place": lambda: encapsulated("5", struct.pack("<16I", 1, 2**32 - 1, *[0] * 14)),
    "DICOM with offsets out of place": lambda: encapsulated("4.50", jpeg(16, 16), table=struct.pack("<I", 2**32 - 16)),
    "NIfTI of 32767 x 32767 x 32767": lambda: nifti([3, 32767, 32767, 32767, 1, 1, 1, 1]),
    "NIfTI of 7 dimensions of 32767": lambda: nifti([7] + [32767] * 7),
    "NIfTI of negative size": lambda: nifti([3, -5, 64, 64, 1, 1, 1, 1]),
    "NIfTI that inflates far": lambda: gzip.compress(nifti([3, 20, 20] + [1] * 5)) + gzip.compress(bytes(8 << 20)) * 70,
}  # fmt: skip


BOMBS_BY_TIME = [pytest.param(name, marks=pytest.mark.slow) if "million" in name else name for name in BOMBS]


@pytest.mark.parametrize("name", BOMBS_BY_TIME)
def test_a_bomb_is_refused_fast(name):
    data = BOMBS[name]()
    with costs_at_most(), pytest.raises(ImageError) as caught:
        read_image(data, View(frame=0))
    assert "\n" not in str(caught.value)


BARE_BOMBS = [name for name in BOMBS if name.startswith("DICOM") and "million" not in name]


@pytest.mark.parametrize("cut", [lambda data: data[132:], bare])
@pytest.mark.parametrize("name", [pytest.param(n, marks=() if "JPEG" in n else pytest.mark.slow) for n in BARE_BOMBS])
def test_a_bomb_without_the_beginning_of_a_file_is_refused_as_fast(name, cut):
    data = cut(BOMBS[name]())
    with costs_at_most(), pytest.raises(ImageError):
        read_image(data, View(frame=0))


@pytest.mark.slow
def test_bombs_in_a_folder_cost_as_little(tmp_path):
    for name in (name for name in BOMBS if name.startswith("DICOM")):
        (tmp_path / "bomb").write_bytes(BOMBS[name]())
        with costs_at_most(2 * MILLION_LOOPS), pytest.raises(ImageError):  # the header is read twice
            read_image(tmp_path)


def test_frames_that_are_claimed_but_not_there_are_refused_fast():
    data = png(64, 64, chunk(b"acTL", struct.pack(">II", 100_000, 0)))
    with costs_at_most():
        for frame in (None, 1, 99_999):
            with pytest.raises(ImageError):
                read_image(data, View(frame=frame))


MEMORY = """
from pathlib import Path
from tests.edge.test_hostile import BOMBS
from medrega_edge.images.medical_image import View
from medrega_edge.images.reader import read_image
for name, make in BOMBS.items():
    if "inflates" in name:
        continue  # made here, in as much memory as they would take
    try:
        read_image(make(), View(frame=0))
    except Exception as error:
        assert type(error).__name__ == "ImageError", (name, error)
sizes = dict(line.split(":", 1) for line in Path("/proc/self/status").read_text().splitlines())
print(int(sizes["VmHWM"].split()[0]) // 1024)
"""


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
@pytest.mark.slow
def test_all_bombs_in_little_memory():
    run = subprocess.run([sys.executable, "-c", MEMORY], capture_output=True, check=False)
    assert run.returncode == 0, run.stderr.decode()
    assert run.stderr == b""
    assert int(run.stdout) < MEGABYTES


@pytest.mark.filterwarnings("ignore:IM image format is deprecated:DeprecationWarning")  # it is written, too
def test_every_other_format_that_pillow_could_read_is_refused(tmp_path, record_property):
    Image.init()
    refused = []
    for form in sorted(set(Image.SAVE) - {"PNG", "JPEG", "TIFF", "MPO", "DIB"}):
        for mode in ("RGB", "L", "1", "P", "RGBA"):
            try:
                buffer = io.BytesIO()
                Image.new(mode, (64, 64)).save(buffer, format=form)
                break
            except Exception:  # this format holds no such mode, or needs a library
                continue
        else:
            continue
        with raises_code(ImageError, "image.unknown_format"):
            read_image(buffer.getvalue())
        refused.append(form)
    record_property("other formats refused", len(refused))
    assert {"BMP", "GIF", "EPS", "PDF", "ICNS", "ICO", "JPEG2000", "TGA"} <= set(refused)


@pytest.mark.parametrize("start", [b"MZ", b"\x7fELF", b"#!/bin/sh\n"])
def test_a_picture_that_is_also_a_program_is_read_and_said_so(start):
    image = read_image(start + dicom(GREY)[len(start) :])
    assert image.warnings[0].code == "dicom.program"


@pytest.mark.parametrize("make", [lambda: dicom(GREY), lambda: colour(np.zeros((16, 16, 3), "u1"))])
def test_extra_pixels_at_the_end_do_no_harm(make):
    assert read_image(make()).width == 16


def test_a_device_is_no_image():
    with raises_code(ImageError, "image.not_a_file"):
        read_image("/dev/zero")


def test_mutated_files_are_read_or_refused():
    failures = [outcome for outcome in map(fuzz_images.outcome, range(400)) if outcome.startswith("FAILED")]
    assert failures == []


@pytest.mark.slow
def test_damaged_files_and_odd_lines_through_the_command():
    command = [sys.executable, "-m", "tools.fuzz_commands", "--files", "20", "--lines", "60"]
    run = subprocess.run(command, capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stdout + run.stderr
