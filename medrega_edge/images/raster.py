"""PNG, JPEG and TIFF -> MedicalImage: bit depths, frames, transparency, Exif orientation.

Pillow could open more formats and does not here. Sizes are checked before pixels are decoded.
"""

from __future__ import annotations

import io
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageOps, UnidentifiedImageError

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import (
    MAX_MEGAPIXELS,
    MedicalImage,
    Source,
    View,
    as_image_error,
    check_size,
    select_index,
)
from medrega_edge.images.windowing import PRESETS, Window, apply_window, full_range, parse_window, to_rgb

FORMATS = ("PNG", "JPEG", "TIFF")


def read_raster(source: Source, view: View) -> MedicalImage:
    """Read a PNG, JPEG or TIFF; raises ImageError."""
    name = source.name
    with as_image_error(Message("image.damaged", image=name)), _pillow_errors_as_ours(name):
        picture = Image.open(io.BytesIO(source.data), formats=FORMATS)
        check_size(picture.width, picture.height, name)
        frame = select_index(view.frame, getattr(picture, "n_frames", 1), name)
        if frame is not None:
            picture.seek(frame)
            check_size(picture.width, picture.height, name)
        picture.load()
        pixels, window = _to_rgb(ImageOps.exif_transpose(picture), view, name)
    return MedicalImage(pixels, source.sha256, source.path, None, frame, window)


@contextmanager
def _pillow_errors_as_ours(name: Message) -> Iterator[None]:
    """Turn Pillow's refusals into our errors and silence its size warning, which comes above the limit of check_size."""
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            yield
    except UnidentifiedImageError:
        raise ImageError("image.unknown_format", image=name) from None
    except Image.DecompressionBombError:
        raise ImageError("image.decompression_bomb", image=name, limit=MAX_MEGAPIXELS) from None


def _to_rgb(picture: Image.Image, view: View, name: Message) -> tuple[npt.NDArray[np.uint8], Window | None]:
    if picture.mode.startswith("I") or picture.mode == "F":
        # In a TIFF zero may be white (tag 262, PhotometricInterpretation); Pillow inverts 8 bits only.
        inverted = getattr(picture, "tag_v2", {}).get(262) == 0
        return _windowed(np.asarray(picture, dtype=np.float32), view, inverted, name)
    if view.window is not None:
        raise ImageError("image.window_on_8_bits", image=name)
    if picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info:
        rgba = picture.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, rgba)
    return np.asarray(picture.convert("RGB"), dtype=np.uint8), None


def _windowed(
    values: npt.NDArray[np.float32], view: View, inverted: bool, name: Message
) -> tuple[npt.NDArray[np.uint8], Window]:
    if not np.isfinite(values).all():
        raise ImageError("image.not_a_number", image=name)
    if view.window in PRESETS:
        raise ImageError("image.not_hounsfield", image=name)
    if view.window is None:
        window = full_range(values)
        grey = apply_window(values, window, "LINEAR_EXACT")
    else:
        window = parse_window(view.window)
        grey = apply_window(values, window)
    return to_rgb(1.0 - grey if inverted else grey), window
