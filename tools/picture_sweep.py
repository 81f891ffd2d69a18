"""Hold every picture of pydicom's and nibabel's own test files, and variants of them, against independent references.

    python -m tools.picture_sweep             # beside pydicom's own pipeline, nibabel and numpy
    python -m tools.picture_sweep --dcmtk     # also variants that dcmtk writes, and dcmtk's own rendering of all DICOM

A variant is the same picture in another transfer syntax: its reference is the picture from which it was made, except that
of a lossy one. Of a file with several frames the first three count. highdicom's wheel has no test files.

- pydicom: decoded values, modality and VOI transformation. Scaling, inversion and padding are those of this file.
- dcmtk: decoding and all of the rendering, with our window; its padding is grey, so padding is left out. dcmtk has no
  JPEG 2000.
- NIfTI: nibabel's closest canonical orientation; for the volumes made here the array from which they were made.

Where a file states no window, a reference takes the one that our reader says it used.

dcmtk differs by more than 1 of 255 for three reasons. Such a picture is "explained" if the difference is within the bound:

| why | bound | who is right |
|---|---|---|
| grey in lossy JPEG: decoders round their inverse transform by up to 1 (ITU-T T.83) | 2 stored values | both |
| dcmtk rounds rescaled values to whole numbers | 1 unit of the window | the standard has no rounding: ours |
| dcmtk converts YBR to RGB in whole numbers | 2 of 255 | PS3.3 C.7.6.3.1.2 has exact factors: ours |
"""

# ruff: noqa: T201 - a tool prints
from __future__ import annotations

import argparse
import gzip
import hashlib
import io
import itertools
import subprocess
import sys
import tempfile
import warnings
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pydicom
from PIL import Image
from pydicom.pixels import apply_color_lut, apply_modality_lut, apply_voi_lut, pixel_array
from pydicom.uid import (
    ExplicitVRBigEndian,
    ExplicitVRLittleEndian,
    ImplicitVRLittleEndian,
    JPEG2000Lossless,
    JPEG2000TransferSyntaxes,
    JPEGBaseline8Bit,
    JPEGExtended12Bit,
    JPEGLSLossless,
    JPEGLSTransferSyntaxes,
    RLELossless,
)

from medrega_edge.errors import MedregaError
from medrega_edge.images.medical_image import MedicalImage, View
from medrega_edge.images.reader import read_image
from tests.edge.dicoms import colour, deflated, dicom, encoded, lut, window

FRAMES = 3  # at most, of one file
SMALL = 80_000  # bytes of pixels of a file from which variants are made
JPEG = JPEGBaseline8Bit, JPEGExtended12Bit
CLOSE = 1.01  # of 255: the references are not rounded
Pixels = np.ndarray[Any, Any]


@dataclass(frozen=True)
class Verdict:
    """What became of one picture beside one reference.

    `kind` is "equal", "explained", "different", "refused" or "no reference"; `detail` is a code, a reason or the greatest
    difference.
    """

    picture: str
    reference: str
    kind: str
    detail: str = ""


# Files and variants


def test_files() -> Iterator[tuple[str, bytes]]:
    """Every file of pydicom's and nibabel's test data, unpacked."""
    pydicom_root, nibabel_root = (Path(str(module.__file__)).parent for module in (pydicom, nibabel))
    folders = (
        pydicom_root / "data" / "test_files",
        nibabel_root / "tests" / "data",
        nibabel_root / "nicom" / "tests" / "data",
    )
    for folder in folders:
        for path in sorted(folder.rglob("*")):
            if path.is_file() and path.suffix not in (".py", ".pyc"):
                data = path.read_bytes()
                packed = path.suffix == ".gz" and not path.name.endswith(".nii.gz")
                yield path.name, gzip.decompress(data) if packed and data[:2] == b"\x1f\x8b" else data


def made_files() -> Iterator[tuple[str, bytes]]:
    """DICOM files of random values, for what the test files lack."""
    dice = np.random.default_rng(15)
    for kind, bits in (("u1", 8), ("u2", 12), ("u2", 16), ("i2", 12), ("i2", 16)):
        half = 1 << (bits - 1)
        low = -half if kind[0] == "i" else 0
        values = dice.integers(low, low + 2 * half, (48, 40)).astype(kind)
        middle = low + half
        for function in ("LINEAR", "LINEAR_EXACT", "SIGMOID"):
            tags = window(str(middle + 20), str(half), function)
            yield f"{kind}, {bits} bits, {function}", dicom(values, bits=bits, **tags)
        inverse = window(str(middle), str(half)) | {"PhotometricInterpretation": "MONOCHROME1"}
        yield f"{kind}, {bits} bits, MONOCHROME1", dicom(values, bits=bits, **inverse)
        inverse |= window(str(middle), str(half), "SIGMOID")
        yield f"{kind}, {bits} bits, MONOCHROME1, SIGMOID", dicom(values, bits=bits, **inverse)
        scaled = window(str(middle * 0.25 + 3), str(half * 0.25)) | {"RescaleSlope": "0.25", "RescaleIntercept": "3"}
        yield f"{kind}, {bits} bits, rescale", dicom(values, bits=bits, **scaled)
        if bits > 8:
            padded = window(str(middle), str(half)) | {"PixelPaddingValue": int(values[0, 0])}
            yield f"{kind}, {bits} bits, padding", dicom(values, bits=bits, **padded)
            yield f"{kind}, {bits} bits, no window", dicom(values, bits=bits)
    values = dice.integers(0, 4096, (48, 40)).astype("u2")
    outputs = np.sort(dice.integers(0, 1 << 16, 4096)).tolist()
    yield "VOI table", dicom(values, bits=12, **lut([4096, 0, 16], outputs))
    yield (
        "VOI table, MONOCHROME1",
        dicom(values, bits=12, PhotometricInterpretation="MONOCHROME1", **lut([4096, 0, 16], outputs)),
    )
    table = lut([4096, 0, 16], outputs, "ModalityLUTSequence")
    table["ModalityLUTSequence"][0].ModalityLUTType = "US"
    yield "modality table", dicom(values, bits=12, **table, **window("30000", "30000"))
    yield "frames", dicom(dice.integers(0, 4096, (3, 32, 40)).astype("u2"), bits=12, **window("2000", "3000"))
    pixels = dice.integers(0, 256, (48, 40, 3)).astype("u1")
    yield "RGB", colour(pixels)
    yield "RGB, planes", colour(pixels, PlanarConfiguration=1)
    yield "YBR_FULL", colour(pixels, PhotometricInterpretation="YBR_FULL")
    yield "RGB, 16 bits", colour(dice.integers(0, 1 << 16, (48, 40, 3)).astype("u2"))
    palette: dict[str, Any] = {"PhotometricInterpretation": "PALETTE COLOR"}
    for name in ("Red", "Green", "Blue"):
        palette[f"{name}PaletteColorLookupTableDescriptor"] = [256, 0, 16]
        palette[f"{name}PaletteColorLookupTableData"] = dice.integers(0, 1 << 16, 256).astype("<u2").tobytes()
    yield "palette", dicom(pixels[..., 0], **palette)


def frame_count(header: pydicom.Dataset) -> int:
    """The Number of Frames; 1 where it is no number."""
    try:
        return int(header.get("NumberOfFrames") or 1)
    except ValueError:
        return 1


def plugin(header: pydicom.Dataset) -> str:
    """The decoder of JPEG: pylibjpeg has colours at half width wrong in every eighth column, Pillow has those of dcmtk."""
    return "pillow" if header.file_meta.TransferSyntaxUID in JPEG and int(header.BitsStored) == 8 else ""


def variants(header: pydicom.Dataset) -> Iterator[tuple[str, bytes]]:
    """A small, uncompressed copy of a file in each transfer syntax that pydicom writes."""
    if not header.original_encoding[1] or "PixelData" not in header or int(header.BitsAllocated) not in (8, 16):
        return
    if header.Rows * header.Columns * header.SamplesPerPixel * frame_count(header) > SMALL:
        return
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        if header.file_meta.TransferSyntaxUID.is_compressed:
            header.decompress(decoding_plugin=plugin(header))
        buffer = io.BytesIO()
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian
        header.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=True)
        plain = buffer.getvalue()
        yield "Explicit VR Little Endian", plain
        yield "Implicit VR Little Endian", encoded(plain, ImplicitVRLittleEndian)
        yield "Deflated", deflated(plain)
        if not _has_words(header):  # pydicom's writer leaves their bytes as they are
            turned = pydicom.dcmread(io.BytesIO(plain))
            if turned.BitsAllocated == 16:
                turned.PixelData = np.frombuffer(turned.PixelData, "<u2").astype(">u2").tobytes()
            buffer = io.BytesIO()
            turned.save_as(buffer, implicit_vr=False, little_endian=True, enforce_file_format=True)
            yield "Explicit VR Big Endian", encoded(buffer.getvalue(), ExplicitVRBigEndian)
        for syntax in (RLELossless, JPEGLSLossless, JPEG2000Lossless):
            packed = pydicom.dcmread(io.BytesIO(plain))
            try:
                packed.compress(syntax)
            except (ValueError, RuntimeError, NotImplementedError, AttributeError):  # the encoder has no such pixels
                continue
            buffer = io.BytesIO()
            packed.save_as(buffer)
            yield syntax.name, buffer.getvalue()


def _has_words(header: pydicom.Dataset) -> bool:
    return any(element.VR == "OW" and element.keyword != "PixelData" for element in header.iterall())


# References


def pydicom_picture(data: bytes, frame: int, ours: MedicalImage) -> Pixels:
    """Grey `[rows, columns]` or RGB `[rows, columns, 3]` as floats 0 to 255, by pydicom's pipeline."""
    header = pydicom.dcmread(io.BytesIO(data), force=True)
    if "TransferSyntaxUID" not in header.file_meta:
        header.file_meta.TransferSyntaxUID = ExplicitVRLittleEndian if not header.is_implicit_VR else ImplicitVRLittleEndian
    stored = pixel_array(header, index=frame, decoding_plugin=plugin(header))
    photometric = str(header.PhotometricInterpretation)
    if photometric == "PALETTE COLOR":
        stored = apply_color_lut(stored, header)
        return stored * (255.0 / np.iinfo(stored.dtype).max)
    if stored.ndim == 3:
        return stored * (255.0 / ((1 << int(header.BitsStored)) - 1))
    for group in ("SharedFunctionalGroupsSequence", "PerFrameFunctionalGroupsSequence"):
        items = header.get(group) or []
        if items:
            for sequence in items[frame if group.startswith("Per") and frame < len(items) else 0]:
                if sequence.VR == "SQ" and sequence.value:
                    header.update(sequence.value[0])
    values = apply_modality_lut(stored, header).astype(np.float64)
    if "VOILUTSequence" not in header and (not header.get("WindowWidth") or float(np.ravel(header.WindowWidth)[0]) <= 0):
        if ours.window is None:
            return _finished(values / 255.0, stored, header)
        header.WindowCenter, header.WindowWidth = (f"{number:.12g}" for number in ours.window)
        header.VOILUTFunction = ours.window_function
    if "VOILUTSequence" in header:
        descriptor = header.VOILUTSequence[0].LUTDescriptor
        return _finished(apply_voi_lut(values.astype(np.int64), header) / ((1 << descriptor[2]) - 1), stored, header)
    with np.errstate(over="ignore"):
        shown = apply_voi_lut(np.append(values.ravel(), (-1e12, 1e12)), header)  # the two give the range of the output
    return _finished((shown[:-2].reshape(values.shape) - shown[-2]) / (shown[-1] - shown[-2]), stored, header)


def _finished(grey: Pixels, stored: Pixels, header: pydicom.Dataset) -> Pixels:
    """Inversion and black padding."""
    grey = 1 - grey if header.PhotometricInterpretation == "MONOCHROME1" else grey
    return np.where(_padding(stored, header), 0.0, np.clip(grey, 0, 1) * 255)


def _padding(stored: Pixels, header: pydicom.Dataset) -> Pixels:
    first = header.get("PixelPaddingValue")
    if first is None:
        return np.zeros(stored.shape, bool)
    ends = np.array([first, header.get("PixelPaddingRangeLimit", first)]).astype(np.int64)
    modulus = 1 << int(header.BitsAllocated)  # the value may be written with the other sign
    low, high = sorted(int(end) % modulus for end in ends)
    return (stored.astype(np.int64) % modulus >= low) & (stored.astype(np.int64) % modulus <= high)


def dcmtk_picture(path: Path, frame: int, ours: MedicalImage) -> Pixels:
    """Grey or RGB of 8 bits as dcmtk shows a file through our window; raises CalledProcessError."""
    if (
        pydicom.dcmread(path, stop_before_pixels=True, force=True).file_meta.get("TransferSyntaxUID")
        in JPEGLSTransferSyntaxes
    ):
        subprocess.run(["dcmdjpls", "-q", str(path), str(path)], capture_output=True, check=True, timeout=60)
    options = ["-O"]
    codes = {step.code for step in ours.reading}
    if "reading.voi_table" in codes:
        options += ["+Wl", "1"]
    elif ours.window is not None:
        centre, width = ours.window
        if ours.window_function == "LINEAR_EXACT":  # dcmtk has LINEAR and SIGMOID
            centre, width = centre + 0.5, width + 1
        options += ["+Ww", repr(centre), repr(width), "+Wfs" if ours.window_function == "SIGMOID" else "+Wfl"]
    run = subprocess.run(
        ["dcmj2pnm", *options, "+F", str(frame + 1), "+on", "-il", str(path)], capture_output=True, check=True, timeout=60
    )
    return np.asarray(Image.open(io.BytesIO(run.stdout)))


# dcmtk's variants: name, command, whether the pixels stay exactly the same
DCMTK = [
    ("dcmtk implicit", ["dcmconv", "+ti"], True),
    ("dcmtk big endian", ["dcmconv", "+tb"], True),
    ("dcmtk deflated", ["dcmconv", "+td"], True),
    ("dcmtk RLE", ["dcmcrle"], True),
    ("dcmtk JPEG lossless SV1", ["dcmcjpeg", "+e1"], True),
    ("dcmtk JPEG lossless", ["dcmcjpeg", "+el"], True),
    ("dcmtk JPEG-LS", ["dcmcjpls", "+el"], True),
    ("dcmtk JPEG-LS near", ["dcmcjpls", "+en"], False),
    ("dcmtk JPEG baseline", ["dcmcjpeg", "+eb"], False),
    ("dcmtk JPEG baseline RGB", ["dcmcjpeg", "+eb", "+cr"], False),
    ("dcmtk JPEG extended", ["dcmcjpeg", "+ee"], False),
]


def dcmtk_variants(plain: Path, folder: Path) -> Iterator[tuple[str, Path, bool]]:
    """The same picture as dcmtk's programs write it; those that refuse it are left out."""
    for number, (name, command, exact) in enumerate(DCMTK):
        path = folder / f"variant{number}.dcm"
        path.unlink(missing_ok=True)
        run = subprocess.run([command[0], "-q", *command[1:], str(plain), str(path)], capture_output=True, timeout=60)
        if run.returncode == 0 and path.exists():
            yield name, path, exact


# The sweep


def judged(
    picture: str, reference: str, ours: Pixels, theirs: Pixels, ignored: Pixels | None = None, explained: float = 0.0
) -> Verdict:
    """Compare RGB `[rows, columns, 3]` with grey or RGB, but for `ignored` pixels."""
    theirs = theirs[..., None] if theirs.ndim == 2 else theirs
    if theirs.shape[:2] != ours.shape[:2]:
        return Verdict(picture, reference, "different", f"{ours.shape} and {theirs.shape}")
    apart = np.abs(ours.astype(np.float64) - theirs)
    if ignored is not None:
        apart = apart[~ignored]
    worst = float(apart.max()) if apart.size else 0.0
    kind = "equal" if worst <= CLOSE else "explained" if worst <= explained else "different"
    return Verdict(picture, reference, kind, f"{worst:.2f}")


def explained(header: pydicom.Dataset, ours: MedicalImage) -> float:
    """The difference from dcmtk, of 255, that the table above explains."""
    is_lossy = header.file_meta.get("TransferSyntaxUID") in JPEG
    if int(header.SamplesPerPixel) > 1:
        return 2.0 if str(header.PhotometricInterpretation).startswith("YBR") else 0.0
    slope = abs(float(header.get("RescaleSlope") or 1))
    steps = (2 * slope if is_lossy else 0) + (0 if slope.is_integer() else 1)
    width = ours.window[1] if ours.window else 256.0
    return 1 + steps * 255 / max(width - 1, 1)


def dicom_verdicts(name: str, data: bytes, extent: str, seen: set[str]) -> Iterator[Verdict]:
    """All pictures of one file and of its variants, but for those that are as one in `seen`."""
    with_dcmtk = extent == "dcmtk"
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        header = pydicom.dcmread(io.BytesIO(data), force=True)
        if not any(word in header for word in ("PixelData", "FloatPixelData", "DoubleFloatPixelData")):
            return
        frames = frame_count(header)
        expected: list[Pixels] = []
        for frame in range(min(frames, FRAMES)):
            yield from _beside(name, data, frame, frames, expected, None, with_dcmtk)
        key = hashlib.sha256(b"".join(pixels.tobytes() for pixels in expected)).hexdigest()
        if (
            extent == "files"
            or len(expected) < min(frames, FRAMES)
            or key in seen
            or "TransferSyntaxUID" not in header.file_meta
        ):
            return
        seen.add(key)
        plain = None
        for syntax, variant in variants(header):
            plain = plain or variant
            for frame in range(len(expected)):
                yield from _beside(f"{name}, {syntax}", variant, frame, frames, [], expected[frame], with_dcmtk)
        if plain is None or not with_dcmtk:
            return
        with tempfile.TemporaryDirectory() as folder:
            source = Path(folder) / "plain.dcm"
            source.write_bytes(plain)
            for syntax, path, exact in dcmtk_variants(source, Path(folder)):
                for frame in range(len(expected)):
                    known = expected[frame] if exact else None
                    yield from _beside(f"{name}, {syntax}", path.read_bytes(), frame, frames, [], known, True)


def _beside(
    name: str, data: bytes, frame: int, frames: int, expected: list[Pixels], known: Pixels | None, with_dcmtk: bool
) -> Iterator[Verdict]:
    """Verdicts on one picture; its reference is `known`, else made by pydicom and added to `expected`."""
    picture = f"{name}, frame {frame}" if frames > 1 else name
    try:
        ours = read_image(data, View(frame=frame if frames > 1 else None))
    except MedregaError as error:
        yield Verdict(picture, "pydicom", "refused", error.code)
        return
    if known is None:
        try:
            known = pydicom_picture(data, frame, ours)
        except Exception as error:
            yield Verdict(picture, "pydicom", "no reference", f"{type(error).__name__}: {error}"[:100])
    if known is not None:
        expected.append(known)
        yield judged(picture, "pydicom", ours.pixels, known)
    if with_dcmtk:
        if pydicom.dcmread(io.BytesIO(data), force=True).file_meta.get("TransferSyntaxUID") in JPEG2000TransferSyntaxes:
            return
        with tempfile.NamedTemporaryFile(suffix=".dcm") as file:
            file.write(data)
            file.flush()
            header = pydicom.dcmread(io.BytesIO(data), force=True)
            try:
                ignored = _padding(pixel_array(header, index=frame), header) if "PixelPaddingValue" in header else None
                theirs = dcmtk_picture(Path(file.name), frame, ours)
            except subprocess.CalledProcessError as error:
                yield Verdict(picture, "dcmtk", "no reference", error.stderr.decode(errors="replace").strip()[:100])
                return
        yield judged(picture, "dcmtk", ours.pixels, theirs, ignored, explained(header, ours))


def windowed(values: Pixels, ours: MedicalImage) -> Pixels:
    """Values through our window, by the formulas of PS3.3 C.11.2.1.2.1 and C.11.2.1.3.2, as 0 to 255."""
    assert ours.window is not None
    centre, width = ours.window
    if ours.window_function == "LINEAR":
        centre, width = centre - 0.5, width - 1
    return np.clip((values - centre) / width + 0.5, 0, 1) * 255


def plane(values: Pixels, name: str, number: int) -> Pixels:
    """One slice of a volume whose axes run to the right, front and head, as radiologists see it."""
    axis = {"axial": 2, "coronal": 1, "sagittal": 0}[name]
    return np.take(values, number, axis).T[::-1, ::-1]


def nifti_verdicts(name: str, data: bytes, volume: Pixels | None = None) -> Iterator[Verdict]:
    """The middle slices of the three planes, of at most two points in time; `volume` is the truth where it is known."""
    if volume is None:
        unpacked = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        try:
            kind = nibabel.Nifti2Image if unpacked[4:7] == b"n+2" else nibabel.Nifti1Image
            volume = nibabel.as_closest_canonical(kind.from_bytes(unpacked)).get_fdata()
        except Exception as error:
            yield Verdict(name, "nibabel", "no reference", type(error).__name__)
            return
    if not 3 <= volume.ndim <= 4:
        return
    times = volume.shape[3] if volume.ndim > 3 else 1
    for time, (axis, cut) in itertools.product(range(min(times, 2)), enumerate(("sagittal", "coronal", "axial"))):
        middle, count = volume.shape[axis] // 2, volume.shape[axis]
        picture = f"{name}, {cut} {middle}, time {time}"
        view = View(plane=cut, slice=middle if count > 1 else None, frame=time if times > 1 else None)
        values = plane(volume[..., time] if volume.ndim > 3 else volume, cut, middle)
        try:
            ours = read_image(data, view)
        except MedregaError as error:
            yield Verdict(picture, "nibabel", "refused", error.code)
            continue
        yield judged(picture, "nibabel", ours.pixels, windowed(values, ours))


def made_volumes() -> Iterator[tuple[str, bytes, Pixels]]:
    """NIfTI files of random values in all 48 orientations and of all kinds; the values run to the right, front, head."""
    dice = np.random.default_rng(16)
    kinds = itertools.cycle(["<u1", "<i2", ">i2", "<u2", "<f4", ">f4", "<i4", "<f8"])
    letters = [("R", "L"), ("A", "P"), ("S", "I")]
    for order in itertools.permutations(letters):
        for code in itertools.product(*order):
            kind = next(kinds)
            volume = dice.integers(0, 200, (20, 24, 28)).astype(kind)
            names = "RLAPSI"
            axes = [names.index(letter) // 2 for letter in code]
            stored = volume.transpose(axes)
            affine = np.zeros((4, 4))
            affine[3, 3] = 1
            for axis, letter in enumerate(code):
                forward = names.index(letter) % 2 == 0
                stored = stored if forward else np.flip(stored, axis)
                affine[axes[axis], axis] = 1.5 if forward else -1.5
            header = nibabel.Nifti1Header(endianness=kind[0])
            header.set_data_dtype(kind)
            image = nibabel.Nifti1Image(stored, affine, header)
            data = image.to_bytes()
            yield f"volume {''.join(code)} {kind}", gzip.compress(data, 1) if kind == "<i2" else data, volume


@cache
def sweep(extent: str) -> list[Verdict]:
    """Verdicts on all pictures of "files", of "variants" too, or of dcmtk's variants and beside "dcmtk" too."""
    found: list[Verdict] = []
    seen: set[str] = set()
    for name, data in itertools.chain(test_files(), made_files()):
        unpacked = gzip.decompress(data) if data[:2] == b"\x1f\x8b" else data
        if unpacked[344:347] == b"n+1" or unpacked[4:7] == b"n+2":
            found += nifti_verdicts(name, data)
        elif data[128:132] == b"DICM" or data[:2] in (b"\x08\x00", b"\x02\x00", b"\x00\x08"):
            found += dicom_verdicts(name, data, extent, seen)
    for name, data, volume in made_volumes():
        found += nifti_verdicts(name, data, volume)
    return found


def main() -> int:
    """Print the counts, and every picture that is refused, different or without a reference."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dcmtk", action="store_true", help="also with dcmtk's programs, which have to be installed")
    verdicts = sweep("dcmtk" if parser.parse_args().dcmtk else "variants")
    for reference in dict.fromkeys(verdict.reference for verdict in verdicts):
        counts = Counter(verdict.kind for verdict in verdicts if verdict.reference == reference)
        print(f"{reference}: {sum(counts.values())} pictures;", ", ".join(f"{n} {kind}" for kind, n in counts.items()))
    for verdict in verdicts:
        if verdict.kind not in ("equal", "explained"):
            print(f"  {verdict.kind}: {verdict.picture} ({verdict.reference}: {verdict.detail})")
    return int(any(verdict.kind == "different" for verdict in verdicts))


if __name__ == "__main__":
    sys.exit(main())
