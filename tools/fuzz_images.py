"""Mutated images through `read_image`: each has to be read, or refused by a MedregaError.

    python -m tools.fuzz_images --count 20000

Case N is the same on every machine. Cases run in child processes, so that a decoder that dies is counted and named.
"""

import argparse
import functools
import gzip
import io
import json
import random
import resource
import subprocess
import sys
import time

import numpy as np
from PIL import Image

from medrega_edge.domain import Language
from medrega_edge.errors import MedregaError
from medrega_edge.images.medical_image import MAX_PIXELS, View
from medrega_edge.images.reader import read_image
from tests.edge.dicoms import bare, colour, dataset, deflated, dicom, encoded

CHUNK = 500
SLOW = 2.0  # seconds
USED_TAGS = tuple(  # little-endian bytes of the tags whose values a reader uses
    group.to_bytes(2, "little") + element.to_bytes(2, "little")
    for group, elements in {
        0x08: (0x60,),
        0x20: (0x20, 0x37),
        0x28: (0x02, 0x04, 0x06, 0x08, 0x10, 0x11, 0x30, 0x100, 0x101, 0x102, 0x103, 0x1050, 0x1051, 0x1052, 0x1053,
               0x1101, 0x1102, 0x1103, 0x3002),
    }.items()
    for element in elements
)  # fmt: skip
NUMBERS = (0, 1, 2, 7, 8, 15, 16, 17, 127, 128, 255, 256, 32767, 32768, 65534, 65535, 2**31 - 1, 2**31, 2**32 - 1)


@functools.cache
def seeds():
    """Small files of every format, depth and compression that is read."""
    from pydicom.uid import ImplicitVRLittleEndian

    noise = np.random.default_rng(0)
    small = noise.integers(0, 256, (24, 20), dtype=np.uint8)
    wide = noise.integers(0, 4096, (72, 64), dtype=np.uint16)
    rgb = noise.integers(0, 256, (64, 64, 3), dtype=np.uint8)
    files = []
    for pixels, form, options in (
        (small, "PNG", {}),
        (wide, "PNG", {}),
        (rgb, "PNG", {}),
        (small, "JPEG", {}),
        (rgb, "JPEG", {"progressive": True}),
        (small, "TIFF", {}),
        (wide, "TIFF", {"compression": "tiff_lzw"}),
        (rgb, "TIFF", {"compression": "jpeg"}),
        (rgb, "TIFF", {"compression": "tiff_adobe_deflate"}),
    ):
        buffer = io.BytesIO()
        Image.fromarray(pixels).save(buffer, format=form, **options)
        files.append(buffer.getvalue())
    tables = {"LUTDescriptor": [4, 0, 8], "LUTData": b"\0\0\x20\0\x80\0\xff\0"}
    descriptors = {f"{name}PaletteColorLookupTableDescriptor": [256, 0, 8] for name in ("Red", "Green", "Blue")}
    palettes = {f"{name}PaletteColorLookupTableData": bytes(range(256)) for name in ("Red", "Green", "Blue")}
    ramp = bytes([0, 1, 0, 1, 255, 255])
    segments = {f"Segmented{name}PaletteColorLookupTableData": ramp for name in ("Red", "Green", "Blue")}
    ct = {"Modality": "CT", "RescaleSlope": "1", "RescaleIntercept": "-1024", "WindowCenter": "40", "WindowWidth": "400"}
    shared = dataset(
        PixelMeasuresSequence=[dataset(PixelSpacing=["0.5", "0.25"])],
        PlaneOrientationSequence=[dataset(ImageOrientationPatient=["1", "0", "0", "0", "1", "0"])],
    )
    frames = [dataset(FrameVOILUTSequence=[dataset(WindowCenter="50", WindowWidth="100")]) for _ in range(2)]
    plain = [
        dicom(small),
        dicom(wide, bits=12, PixelSpacing=["1", "1"], ImageOrientationPatient=[1, 0, 0, 0, 1, 0], **ct),
        dicom(wide.astype("i2"), VOILUTSequence=[dataset(**tables)], ModalityLUTSequence=[dataset(**tables)]),
        dicom(small, PhotometricInterpretation="PALETTE COLOR", **descriptors, **palettes),
        dicom(small, PhotometricInterpretation="PALETTE COLOR", **descriptors, **segments),
        dicom(np.stack([wide, wide]), SharedFunctionalGroupsSequence=[shared], PerFrameFunctionalGroupsSequence=frames),
        colour(rgb),
        colour(rgb, PhotometricInterpretation="YBR_FULL", PlanarConfiguration=1),
    ]
    without_beginning = [bare(data) for data in plain] + [bare(encoded(data, ImplicitVRLittleEndian)) for data in plain]
    files += plain + without_beginning + [deflated(data) for data in plain[:2]] + _compressed(plain)
    return files + _volumes(wide)


def _compressed(plain):
    import pydicom
    from pydicom.data import get_testdata_file
    from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

    files = []
    for data in (plain[1], plain[6]):
        for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
            opened = pydicom.dcmread(io.BytesIO(data))
            try:
                opened.compress(syntax)
            except RuntimeError:  # no encoder here
                continue
            buffer = io.BytesIO()
            opened.save_as(buffer)
            files.append(buffer.getvalue())
    for name in ("JPGExtended.dcm", "SC_rgb_jpeg_gdcm.dcm", "SC_rgb_jpeg_dcmtk.dcm"):
        path = get_testdata_file(name, download=False)
        with open(path, "rb") as file:
            files.append(file.read())
    return files


def _volumes(wide):
    try:
        import nibabel
    except ImportError:
        return []
    data = nibabel.Nifti1Image(np.stack([wide] * 3, axis=2).astype(np.int16), np.diag([2.0, 2.0, 3.0, 1.0])).to_bytes()
    return [data, gzip.compress(data)]


def _change_a_value(data, rng):
    """Overwrite the value of one DICOM element that a reader uses, keeping its length and all around it."""
    at = rng.choice([at for tag in USED_TAGS for at in [data.find(tag)] if at >= 0])
    vr = data[at + 4 : at + 6]
    implicit = not vr.isalpha()
    length = int.from_bytes(data[at + 4 : at + 8] if implicit else data[at + 6 : at + 8], "little") % 65536
    if vr in (b"US", b"SS") or implicit and length in (2, 6):
        value = b"".join((rng.choice(NUMBERS) % 65536).to_bytes(2, "little") for _ in range(length // 2))
    else:
        value = bytes(rng.choice(b"0123456789.-+eEnainf\\ RGBYMONOCHROME12\x1b\0") for _ in range(length))
    data[at + 8 : at + 8 + length] = value[:length]


def mutated(case):
    """The bytes of one case: a seed with one to eight changes."""
    rng = random.Random(case)
    data = bytearray(rng.choice(seeds()))
    for _ in range(rng.choice((1, 1, 1, 2, 4, 8))):
        if not data:
            break
        if (b"\x28\0\x10\0US" in data or b"\x28\0\x10\0\2\0\0\0" in data) and rng.random() < 0.5:
            _change_a_value(data, rng)
            continue
        # Most changes go to the front, where headers are, but not into the preamble, which readers skip.
        first = 128 if data[128:132] == b"DICM" and rng.random() < 0.9 else 0
        at = rng.randrange(first, max(first + 1, min(len(data), rng.choice((250, 1200, len(data))))))
        match rng.choice((0, 0, 0, 1, 1, 2, 2, 3, 4, 5, 6, 7)):
            case 0:
                data[at] ^= 1 << rng.randrange(8)
            case 1:
                data[at] = rng.randrange(256)
            case 2 | 3:
                size, order = rng.choice((1, 2, 4)), rng.choice(("little", "big"))
                number = rng.choice(NUMBERS) % (1 << 8 * size)
                data[at : at + size] = number.to_bytes(size, order)
            case 4:
                del data[at : at + rng.choice((1, 2, 8, 100))]
            case 5:
                data[at:at] = bytes(rng.randrange(256) for _ in range(rng.choice((1, 2, 8, 40))))
            case 6:
                data[at:at] = data[at : at + rng.choice((4, 16, 200))] * rng.choice((1, 3, 50))
            case 7:
                del data[rng.randrange(len(data)) :]
    return bytes(data), rng


def outcome(case):
    """Outcome of one case: "read", "refused", or "FAILED" and why."""
    data, rng = mutated(case)
    volume = data[344:347] == b"n+1" or data[:2] == b"\x1f\x8b"
    view = View(
        frame=rng.choice((None, None, None, 0, 1)),
        window=rng.choice((None, None, None, None, "lung", "40,400")),
        plane=rng.choice(("axial", "coronal", "sagittal")) if volume else None,
        slice=rng.choice((None, 1, 2)) if volume else None,
    )
    begun = time.perf_counter()
    try:
        image = read_image(data, view)
    except MedregaError as error:
        for sentence in (str(error), error.message.text(Language.ZH)):
            if not sentence.isprintable() or len(sentence) > 400:
                return f"FAILED: a message that is no clean sentence: {sentence!r}"
        json.dumps(error.to_dict(), allow_nan=False)
        kind = "refused"
    except BaseException as error:
        return f"FAILED: {type(error).__name__}: {error}"
    else:
        kind = "read"
        shape = image.pixels.shape
        if image.pixels.dtype != np.uint8 or len(shape) != 3 or shape[2] != 3 or shape[0] * shape[1] > MAX_PIXELS:
            return f"FAILED: a picture of {image.pixels.dtype} {shape}"
        warnings = [warning.to_dict() for warning in image.warnings]
        json.dumps([image.window, image.spacing_mm, image.patient_orientation, warnings], allow_nan=False)
    seconds = time.perf_counter() - begun
    return kind if seconds < SLOW else f"FAILED: took {seconds:.1f} s"


def print_line(text):
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


def _child(first, last):
    for case in range(first, last):
        print_line(case)
        print_line(outcome(case))
    print_line(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--count", type=int, default=20_000)
    parser.add_argument("--first", type=int, default=0)
    parser.add_argument("--child", type=int, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.child:
        _child(options.first, options.child)
        return 0
    counts = fuzz(options.first, options.count)
    print_line(json.dumps(counts))
    return 1 if counts["failed"] or counts["died"] else 0


def fuzz(first, count):
    """Run `count` cases from `first` on, some hundreds per process; return how many had each outcome."""
    counts = {"files": count, "read": 0, "refused": 0, "failed": 0, "died": 0}
    peak, begun, end = 0, time.perf_counter(), first + count
    while first < end:
        last = min(first + CHUNK, end)
        command = [sys.executable, "-m", "tools.fuzz_images", "--first", str(first), "--child", str(last)]
        run = subprocess.run(command, capture_output=True, text=True, check=False)
        lines = run.stdout.splitlines()
        for case, ended in zip(lines[:-1:2], lines[1::2], strict=False):
            counts["failed" if ended.startswith("FAILED") else ended] += 1
            if ended.startswith("FAILED"):
                print_line(f"case {case}: {ended}")
        if run.returncode:
            counts["died"] += 1
            print_line(f"case {lines[-1] if lines else first}: the process ended with {run.returncode}\n{run.stderr[-500:]}")
            last = int(lines[-1]) + 1 if lines else last
        else:
            peak = max(peak, int(lines[-1]))
        first = last
    return counts | {"peak_rss_mb": peak, "seconds": round(time.perf_counter() - begun)}


if __name__ == "__main__":
    sys.exit(main())
