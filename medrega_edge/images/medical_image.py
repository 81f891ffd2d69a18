"""What every image reader takes and gives: a Source, a View, and the MedicalImage that comes of them.

Knows the limits that hold for every format, and checks them before any pixel is decoded; knows no format.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medrega_edge.domain import Modality
from medrega_edge.errors import ChoiceError, ImageError, MedregaError

MAX_BYTES = 512 * 1024 * 1024
MAX_INFLATED = 128 * 1024 * 1024  # of a file that is compressed as a whole; a bomb is left there, half inflated
MAX_PIXELS = 16_000_000  # more than a mammogram; with its copies in several depths it stays below 400 MB
MIN_SIDE = 16  # one patch of the smallest tower; less is no picture


Area = tuple[float, float, float, float]  # x1, y1, x2, y2 in pixels, the last two exclusive


@dataclass(frozen=True)
class Source:
    """The bytes of one file. `name` is what errors call it, at the start of a sentence or inside one."""

    data: bytes
    name: str
    path: str | None
    sha256: str


@dataclass(frozen=True)
class View:
    """How to look at a file that holds more than 8-bit pixels of one picture; None leaves it to the file.

    `frame` counts from 0. `window` is a preset's name or "centre,width". `plane` and `slice` cut a volume; `series` and
    `slice` choose a picture of a folder. `preset` is that for a CT which names no window; what is asked may choose it
    (`windows.window_preset_for`).
    """

    frame: int | None = None
    window: str | None = None
    plane: str | None = None
    slice: int | None = None
    preset: str = "soft"
    series: int | None = None


@dataclass(frozen=True)
class MedicalImage:
    """One picture, ready to look at: 8-bit RGB, upright, windowed.

    `pixels` is uint8 `[height, width, 3]`. `window` is the (centre, width) in the file's own units that mapped wider data
    to 8 bits; None where the data had 8 bits, or where a table in the file mapped it. `frame` counts from 0, None where
    the file has a single one. `sha256` is that of the file's bytes. `spacing` is the size of a pixel in millimetres
    (across, down), None where the file does not say it of the patient; where there are `spacing_areas`, it holds inside
    each of them and nowhere else. `sides` are the patient's directions at the left, top, right and bottom of the picture,
    in DICOM's letters (R L, A P, H F). `series` and `slice` are the picture's place in a folder, `slice` that in a volume
    too, counted from 0. `warnings` are what a reader has to know.
    """

    pixels: npt.NDArray[np.uint8]
    sha256: str
    path: str | None = None
    modality: Modality | None = None
    frame: int | None = None
    window: tuple[float, float] | None = None
    spacing: tuple[float, float] | None = None
    sides: tuple[str, str, str, str] | None = None
    warnings: tuple[str, ...] = ()
    series: int | None = None
    slice: int | None = None
    spacing_areas: tuple[Area, ...] = ()

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


def check_size(width: int, height: int, name: str) -> None:
    """Refuse a picture that is too small to see anything on, or too large to hold; raises ImageError."""
    if width < MIN_SIDE or height < MIN_SIDE:
        raise ImageError(
            f"{name} is {width} x {height} pixels; at least {MIN_SIDE} on each side are needed to see anything."
        )
    if width * height > MAX_PIXELS:
        raise ImageError(
            f"{name} is {width} x {height} pixels; up to {MAX_PIXELS // 1_000_000} megapixels are read: downscale it."
        )


def choose(wanted: int | None, count: int, name: str, noun: str = "frame", option: str = "--frame") -> int | None:
    """Return which of `count` frames or slices is meant, None where there is one; raises ImageError, never guesses."""
    if count <= 1:
        if wanted not in (None, 0):
            raise ImageError(f"{name} has a single {noun}; leave {option} out.")
        return None
    if wanted is None:
        raise ChoiceError(f"{name} has {count} {noun}s; choose one with {option} 0..{count - 1}.", count, option)
    if not 0 <= wanted < count:
        raise ImageError(f"{name} has no {noun} {wanted}; choose one with {option} 0..{count - 1}.")
    return wanted


@contextmanager
def as_image_error(sentence: str) -> Iterator[None]:
    """Turn whatever a decoder raises on damaged data into one sentence; our own errors and lack of memory pass."""
    try:
        yield
    except (MedregaError, MemoryError):
        raise
    except Exception:  # decoders raise almost anything: OSError, SyntaxError, struct.error, RecursionError, ...
        raise ImageError(sentence) from None
