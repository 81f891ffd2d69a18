"""PNG, JPEG and TIFF -> MedicalImage: bit depths, frames, transparency, Exif orientation.

Pillow could open more formats and does not here. Sizes are checked before pixels are decoded.
"""

from __future__ import annotations

import io
import re
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

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
_BITS, _PHOTOMETRIC, _DESCRIPTION, _ORIENTATION, _PLANES = 258, 262, 270, 274, 284  # tags of TIFF; Exif has one too
_COLOUR_MAP, _SAMPLE_FORMAT = 320, 339


def read_raster(source: Source, view: View) -> MedicalImage:
    """Read a PNG, JPEG or TIFF; raises ImageError."""
    name = source.name
    with as_image_error(Message("image.damaged", image=name)), _pillow_errors_as_ours(name):
        picture = _opened(source.data, name)
        in_one = _pictures_of_imagej(picture)
        frame = select_index(view.frame, max(in_one, getattr(picture, "n_frames", 1)), name)
        if frame is not None and in_one:
            _seek_in_one(picture, frame)
        elif frame is not None:
            picture.seek(frame)
        check_size(picture.width, picture.height, name)
        tags, white_is_zero = getattr(picture, "tag_v2", {}), getattr(picture, "white_is_zero", False)
        steps = _steps(picture, white_is_zero)
        not_applied = (Message("reading.colour_profile"),) if "icc_profile" in picture.info else ()
        picture.load()
        if picture.mode == "P" and max(tags.get(_COLOUR_MAP, (256,))) < 256:  # 8 bits where a TIFF has 16, a known fault
            picture.putpalette(bytes(np.array(tags[_COLOUR_MAP], "u1").reshape(3, -1).T.tobytes()))
        upright = ImageOps.exif_transpose(picture)
        values = _wide_values(upright, tags)
        if values is None:
            return MedicalImage(
                _to_rgb(upright, view, name),
                source.sha256,
                source.path,
                frame=frame,
                warnings=(Message("image.unmarked_inks"),) if _has_unmarked_inks(picture) else (),
                reading=tuple(steps),
                not_applied=not_applied,
            )
    if not np.isfinite(values).all():
        raise ImageError("image.not_a_number", image=name)
    if view.window in PRESETS:
        raise ImageError("image.not_hounsfield", image=name)
    notes: tuple[Message, ...] = ()
    transparent = values == picture.info.get("transparency", np.nan)
    if view.window is None:
        window, notes = automatic_window(values[~transparent])
        function = "LINEAR_EXACT"
    else:
        window = parse_window(view.window)
        function = voi_function(window)
    grey = apply_window(values, window, function)
    grey = 1.0 - grey if white_is_zero else grey
    grey[transparent] = 0.0
    steps.append(window_step(window, function, FROM_VALUES if view.window is None else FROM_USER))
    return MedicalImage(
        to_rgb(grey),
        source.sha256,
        source.path,
        frame=frame,
        window=window,
        window_function=function,
        warnings=notes,
        reading=tuple(steps),
        not_applied=not_applied,
        values=np.where(transparent, np.nan, values) if transparent.any() else values,
    )


def _wide_values(picture: Image.Image, tags: Mapping[int, Any]) -> npt.NDArray[np.floating] | None:
    """Values that need a window: more than 8 bits, or 8 with a sign; None for any other picture."""
    is_signed = tags.get(_SAMPLE_FORMAT, (1,))[0] == 2
    if picture.mode == "L" and is_signed:  # Pillow reads these bytes as if they had none
        return np.asarray(picture).view(np.int8).astype(np.float32)
    if picture.mode == "I" and tags.get(_BITS) == (32,):  # and these as if they had one
        values = np.asarray(picture)
        return (values if is_signed else values.view(np.uint32)).astype(np.float64)
    return np.asarray(picture, dtype=np.float32) if picture.mode.startswith("I") or picture.mode == "F" else None


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


def _has_unmarked_inks(picture: Image.Image) -> bool:
    """Whether a JPEG of CMYK lacks Adobe's mark: Pillow takes its inks as inverted, other programs do not."""
    return picture.format == "JPEG" and picture.mode == "CMYK" and "adobe" not in picture.info


def _is_transparent(picture: Image.Image) -> bool:
    return picture.mode in ("RGBA", "LA", "La", "PA") or "transparency" in picture.info


class _Tiff(TiffImageFile):
    """A TIFF whose zero may be white: Pillow inverts up to 8 bits, and opens few of the wider kinds if it is.

    So these are opened as if zero were black; `white_is_zero` says what the file states.
    """

    def _setup(self) -> None:  # of each frame
        self.white_is_zero = self.tag_v2.get(_PHOTOMETRIC) == 0
        if self.white_is_zero and max(self.tag_v2.get(_BITS, (1,))) > 8:
            self.tag_v2[_PHOTOMETRIC] = 1
        if self.tag_v2.get(_PLANES) == 2 and max(self.tag_v2.get(_BITS, (1,))) > 8:
            raise SyntaxError("pixel mode: planes of 16 bits, which Pillow reads as 8")
        super()._setup()


def _opened(data: bytes, name: Message) -> Image.Image:
    if data.startswith(TIFF_MAGIC):  # Image.open would refuse a pyramid by the size of its first level
        try:
            return _Tiff(io.BytesIO(data))
        except SyntaxError as error:
            if "pixel mode" in str(error):
                raise ImageError("image.tiff_pixels", image=name) from None
            raise
    return Image.open(io.BytesIO(data), formats=FORMATS)


def _pictures_of_imagej(picture: Image.Image) -> int:
    """How many pictures ImageJ wrote behind one another where the TIFF states one; 0 for any other file."""
    if not isinstance(picture, TiffImageFile) or picture.n_frames > 1:
        return 0
    text = str(picture.tag_v2.get(_DESCRIPTION, ""))
    stated = re.search(r"^images=(\d{1,9})\s*$", text, re.MULTILINE) if text.startswith("ImageJ=") else None
    return int(stated[1]) if stated and all(tile.codec_name == "raw" for tile in picture.tile) else 0


def _seek_in_one(picture: Any, frame: int) -> None:
    size = picture.width * picture.height * sum(picture.tag_v2[_BITS]) // 8
    picture.tile = [tile._replace(offset=tile.offset + frame * size) for tile in picture.tile]


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
        rgba = (picture.convert("LA") if picture.mode == "La" else picture).convert("RGBA")
        black = Image.new("RGBA", rgba.size, (0, 0, 0, 255))
        picture = Image.alpha_composite(black, rgba)
    return np.asarray(picture.convert("RGB"), dtype=np.uint8)
