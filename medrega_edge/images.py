"""A path or bytes become one `MedicalImage`: PNG, JPEG, TIFF or DICOM, sniffed by content, never by name.

Knows file formats, bit depths, windows, frames and orientation; knows nothing of models. Pillow opens only the formats
named here; sizes are checked before any pixel is decoded, so a decompression bomb costs no memory. An image that cannot
be read is an ImageError, never a replacement.
"""

from __future__ import annotations

import hashlib
import io
import math
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from medrega_edge.errors import ImageError
from medrega_edge.prompts import Modality

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

PIXEL_FORMATS = ("PNG", "JPEG", "TIFF")
MAX_BYTES = 512 * 1024 * 1024
MAX_PIXELS = 16_000_000  # more than a mammogram; with its copies in several depths it stays below 400 MB
MIN_SIDE = 16  # one patch of the smallest tower; less is no picture

_DEFLATED = b"1.2.840.10008.1.2.1.99"

_DICOM_MODALITY = {
    "CT": Modality.CT,
    "MR": Modality.MRI,
    "CR": Modality.XRAY,
    "DX": Modality.XRAY,
    "RF": Modality.XRAY,
    "XA": Modality.XRAY,
    "MG": Modality.MAMMOGRAPHY,
    "US": Modality.ULTRASOUND,
    "OP": Modality.FUNDUS,
    "OPT": Modality.OCT,
    "ES": Modality.ENDOSCOPY,
    "SM": Modality.PATHOLOGY,
    "GM": Modality.PATHOLOGY,
}


@dataclass(frozen=True)
class MedicalImage:
    """One picture, ready to look at: 8-bit RGB, upright, windowed.

    `pixels` is uint8 `[height, width, 3]`. `window` is the (centre, width) in stored units that mapped wider data to 8
    bits, None where the data had 8 bits. `frame` counts from 0, None where the file has a single one. `sha256` is that
    of the file's bytes.
    """

    pixels: npt.NDArray[np.uint8]
    sha256: str
    path: str | None = None
    modality: Modality | None = None
    frame: int | None = None
    window: tuple[float, float] | None = None

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


def read_image(source: str | Path | bytes, frame: int | None = None) -> MedicalImage:
    """Read a PNG, JPEG, TIFF or DICOM from a path or from bytes.

    `frame` picks one of several frames, counted from 0. Raises ImageError for whatever cannot be used.
    """
    if isinstance(source, bytes):
        return _decode(source, "the given bytes", None, frame)
    path = Path(source)
    return _decode(_read_file(path), f"'{path.name}'", str(path), frame)


def _read_file(path: Path) -> bytes:
    try:
        if path.is_dir():
            raise ImageError(f"'{path.name}' is a folder; name one image file in it.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ImageError(f"'{path.name}' has {size >> 20} MiB; images up to {MAX_BYTES >> 20} MiB are read.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError(f"There is no file '{path.name}' at the path given; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise ImageError(f"'{path.name}' cannot be opened: {reason}.") from None


def _decode(data: bytes, name: str, path: str | None, frame: int | None) -> MedicalImage:
    if not data:
        raise ImageError(f"{name[0].upper()}{name[1:]} is empty (0 bytes); nothing to look at.")
    sha256 = hashlib.sha256(data).hexdigest()
    if data[128:132] == b"DICM":
        return _decode_dicom(data, name, path, sha256, frame)
    return _decode_picture(data, name, path, sha256, frame)


def _check_size(width: int, height: int, name: str) -> None:
    if width < MIN_SIDE or height < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels; at least {MIN_SIDE} on each side are needed to see anything."
        )
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} is {width} x {height} pixels; up to {MAX_PIXELS // 1_000_000} megapixels are read: downscale it."
        )


@contextmanager
def _pillow_failures(name: str) -> Iterator[None]:
    """Turn whatever Pillow raises on damaged data into one sentence."""
    try:
        yield
    except (ImageError, MemoryError):
        raise
    except UnidentifiedImageError:
        raise ImageError(f"{name} is no PNG, JPEG, TIFF or DICOM image; convert it to one of these.") from None
    except Image.DecompressionBombError:
        raise ImageError(
            f"{name} has too many pixels; up to {MAX_PIXELS // 1_000_000} megapixels are read: downscale it."
        ) from None
    except Exception:  # decoders raise almost anything on damaged data: OSError, SyntaxError, struct.error, ...
        raise ImageError(f"{name} is damaged or incomplete and cannot be decoded; export it again.") from None


def _decode_picture(data: bytes, name: str, path: str | None, sha256: str, frame: int | None) -> MedicalImage:
    with _pillow_failures(name), _silenced_bomb_warning():
        picture = Image.open(io.BytesIO(data), formats=PIXEL_FORMATS)
    _check_size(picture.width, picture.height, name)
    with _pillow_failures(name):
        chosen = _choose_frame(getattr(picture, "n_frames", 1), frame, name)
        if chosen is not None:
            picture.seek(chosen)
            _check_size(picture.width, picture.height, name)
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        pixels, window = _to_rgb(upright)
    return MedicalImage(pixels, sha256, path, None, chosen, window)


@contextmanager
def _silenced_bomb_warning() -> Iterator[None]:
    # Pillow warns from 89 megapixels on; _check_size refuses long before.
    import warnings

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        yield


def _choose_frame(count: int, frame: int | None, name: str) -> int | None:
    if count <= 1:
        if frame not in (None, 0):
            raise ImageError(f"{name} has a single frame; leave --frame out.")
        return None
    if frame is None:
        raise ImageError(f"{name} has {count} frames; choose one with --frame 0..{count - 1}.")
    if not 0 <= frame < count:
        raise ImageError(f"{name} has no frame {frame}; choose one with --frame 0..{count - 1}.")
    return frame


def _to_rgb(picture: Image.Image) -> tuple[npt.NDArray[np.uint8], tuple[float, float] | None]:
    if picture.mode.startswith("I") or picture.mode == "F":
        # A TIFF may say that its zero is white (tag 262, PhotometricInterpretation); Pillow minds it for 8 bits only.
        inverted = getattr(picture, "tag_v2", {}).get(262) == 0
        return _window_to_rgb(np.asarray(picture, dtype=np.float32), None, inverted)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, rgba)
    return np.asarray(picture.convert("RGB"), dtype=np.uint8), None


def _window_to_rgb(
    values: npt.NDArray[np.float32], window: tuple[float, float] | None, invert: bool = False
) -> tuple[npt.NDArray[np.uint8], tuple[float, float]]:
    """Map values `[height, width]` to grey RGB through a window (centre, width); None spans minimum to maximum."""
    if not np.isfinite(values).all():
        raise ImageError("The image has values that are no numbers; export it again.")
    if window is None:
        low, high = float(values.min()), float(values.max())
        window = ((low + high) / 2, max(high - low, 1e-6))
    low = window[0] - window[1] / 2
    grey = np.clip((values - low) / window[1], 0.0, 1.0)
    if invert:
        grey = 1.0 - grey
    grey8 = np.round(grey * 255.0).astype(np.uint8)
    return np.repeat(grey8[:, :, None], 3, axis=2), window


def _decode_dicom(data: bytes, name: str, path: str | None, sha256: str, frame: int | None) -> MedicalImage:
    import pydicom
    from pydicom.errors import InvalidDicomError

    if _DEFLATED in data[:1024]:
        # Its whole content inflates before anything can be checked: a few kilobytes could fill the memory.
        raise ImageError(f"{name} is a deflated DICOM file, which is not read; export it uncompressed.")
    try:
        dataset = pydicom.dcmread(io.BytesIO(data))
        rows, columns = int(dataset.Rows), int(dataset.Columns)
        frames = int(dataset.get("NumberOfFrames", 1) or 1)
        photometric = str(dataset.PhotometricInterpretation)
    except (InvalidDicomError, AttributeError):
        raise ImageError(f"{name} is a DICOM file without a picture in it; name an image object.") from None
    except MemoryError:
        raise
    except Exception:  # damaged headers make pydicom raise almost anything
        raise ImageError(f"{name} is a damaged DICOM file and cannot be read; export it again.") from None
    _check_size(columns, rows, name)
    chosen = _choose_frame(frames, frame, name)
    values = _dicom_frame(dataset, chosen, name)
    modality = _DICOM_MODALITY.get(str(dataset.get("Modality", "")))
    if values.ndim == 3:
        return MedicalImage(_to_bytes(values, dataset, name), sha256, path, modality, chosen, None)
    pixels, window = _window_to_rgb(values.astype(np.float32), _dicom_window(dataset), invert=photometric == "MONOCHROME1")
    return MedicalImage(pixels, sha256, path, modality, chosen, window)


def _dicom_frame(dataset: Dataset, frame: int | None, name: str) -> npt.NDArray[Any]:
    """Return one frame in modality units `[rows, columns]`, or as RGB `[rows, columns, 3]`."""
    from pydicom.pixels import apply_color_lut, apply_modality_lut, pixel_array

    try:
        values: npt.NDArray[Any] = pixel_array(dataset, index=frame or 0)  # converts YBR to RGB
        if dataset.PhotometricInterpretation == "PALETTE COLOR":
            coloured: npt.NDArray[Any] = apply_color_lut(values, dataset)
            return coloured
        grey: npt.NDArray[Any] = values if values.ndim == 3 else apply_modality_lut(values, dataset)
        return grey
    except MemoryError:
        raise
    except Exception:  # missing decoders, truncated pixel data, impossible headers
        syntax = getattr(dataset.file_meta.get("TransferSyntaxUID", None), "name", "an unknown transfer syntax")
        raise ImageError(f"The pixels of {name} ({syntax}) cannot be decoded; export it uncompressed.") from None


def _to_bytes(values: npt.NDArray[Any], dataset: Dataset, name: str) -> npt.NDArray[np.uint8]:
    """Colour `[rows, columns, 3]` of any unsigned depth as 8 bits."""
    if values.dtype.kind != "u":
        raise ImageError(f"The colours of {name} have a sign, which no picture means; export it again.")
    palette = dataset.PhotometricInterpretation == "PALETTE COLOR"
    depth = values.dtype.itemsize * 8 if palette else int(dataset.BitsStored)
    return (values >> max(0, depth - 8)).astype(np.uint8)


def _dicom_window(dataset: Dataset) -> tuple[float, float] | None:
    centre, width = dataset.get("WindowCenter"), dataset.get("WindowWidth")
    try:
        first = [
            value[0] if isinstance(value, (list, tuple)) or hasattr(value, "append") else value for value in (centre, width)
        ]
        pair = (float(first[0]), float(first[1]))
    except (TypeError, ValueError, IndexError):
        return None
    return pair if math.isfinite(pair[0]) and 1 <= pair[1] < math.inf else None
