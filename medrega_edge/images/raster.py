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
from PIL.TiffImagePlugin import TiffImageFile

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
from medrega_edge.images.signatures import TIFF_MAGIC
from medrega_edge.images.windowing import (
    FROM_USER,
    FROM_VALUES,
    PRESETS,
    apply_window,
    automatic_window,
    parse_window,
    to_rgb,
    voi_function,
    window_step,
)

FORMATS = ("PNG", "JPEG")
_ORIENTATION = 0x0112  # the tag of Exif and TIFF


def read_raster(source: Source, view: View) -> MedicalImage:
    """Read a PNG, JPEG or TIFF; raises ImageError."""
    name = source.name
    with as_image_error(Message("image.damaged", image=name)), _pillow_errors_as_ours(name):
        picture = _opened(source.data)
        frame = select_index(view.frame, getattr(picture, "n_frames", 1), name)
        if frame is not None:
            picture.seek(frame)
        check_size(picture.width, picture.height, name)
        # In a TIFF zero may be white (tag 262, PhotometricInterpretation); Pillow inverts 8 bits only.
        white_is_zero = getattr(picture, "tag_v2", {}).get(262) == 0
        steps = _steps(picture, white_is_zero)
        not_applied = (Message("reading.colour_profile"),) if "icc_profile" in picture.info else ()
        picture.load()
        upright = ImageOps.exif_transpose(picture)
        if not (picture.mode.startswith("I") or picture.mode == "F"):
            rgb = _to_rgb(upright, view, name)
            return MedicalImage(rgb, source.sha256, source.path, frame=frame, reading=tuple(steps), not_applied=not_applied)
        values = np.asarray(upright, dtype=np.float32)
    if not np.isfinite(values).all():
        raise ImageError("image.not_a_number", image=name)
    if view.window in PRESETS:
        raise ImageError("image.not_hounsfield", image=name)
    notes: tuple[Message, ...] = ()
    if view.window is None:
        window, notes = automatic_window(values)
        function = "LINEAR_EXACT"
    else:
        window = parse_window(view.window)
        function = voi_function(window)
    grey = apply_window(values, window, function)
    steps.append(window_step(window, function, FROM_VALUES if view.window is None else FROM_USER))
    return MedicalImage(
        to_rgb(1.0 - grey if white_is_zero else grey),
        source.sha256,
        source.path,
        frame=frame,
        window=window,
        window_function=function,
        warnings=notes,
        reading=tuple(steps),
        not_applied=not_applied,
    )


def _steps(picture: Image.Image, white_is_zero: bool) -> list[Message]:
    """How a picture that is not yet loaded will be read."""
    steps = [Message("reading.raster", format=picture.format or "", mode=picture.mode)]
    if (orientation := picture.getexif().get(_ORIENTATION, 1)) != 1:
        steps.append(Message("reading.turned", orientation=orientation))
    if white_is_zero:
        steps.append(Message("reading.inverted"))
    if _is_transparent(picture):
        steps.append(Message("reading.on_black"))
    return steps


def _is_transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "PA") or "transparency" in picture.info


def _opened(data: bytes) -> Image.Image:
    if data.startswith(TIFF_MAGIC):  # Image.open would refuse a pyramid by the size of its first level
        return TiffImageFile(io.BytesIO(data))
    return Image.open(io.BytesIO(data), formats=FORMATS)


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


def _to_rgb(picture: Image.Image, view: View, name: Message) -> npt.NDArray[np.uint8]:
    """A picture of 8 bits or fewer, or of colour, on black where it is transparent."""
    if view.window is not None:
        raise ImageError("image.window_on_8_bits", image=name)
    if _is_transparent(picture):
        rgba = picture.convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, rgba)
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)
