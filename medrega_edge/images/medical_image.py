"""What every image reader takes and returns: Source, View and MedicalImage; and the limits that hold for every format."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality
from medrega_edge.errors import ChoiceError, ImageError, MedregaError
from medrega_edge.i18n.message import Message

MAX_BYTES = 512 * 1024 * 1024
MAX_MEGAPIXELS = 16  # more than a mammogram; with its copies in several depths it stays below 400 MB
MAX_PIXELS = MAX_MEGAPIXELS * 1_000_000
MIN_SIDE = 16  # one patch of the smallest tower; less is no picture


@dataclass(frozen=True)
class Source:
    """The bytes of one file. `name` is what errors call the image, never the name of the file."""

    data: bytes
    name: Message
    path: str | None
    sha256: str


@dataclass(frozen=True)
class View:
    """Which picture of a file or folder to read, and through which window; None leaves it to the file.

    `frame`, `slice` and `series` count from 0. `window` is the name of a preset or "centre,width" in the file's own units.
    `plane` ("axial", "coronal" or "sagittal") and `slice` cut a NIfTI volume. `series` and `slice` choose a picture of a
    folder of DICOM files. `default_preset` is the window of a CT that states none itself.
    """

    frame: int | None = None
    window: str | None = None
    plane: str | None = None
    slice: int | None = None
    default_preset: str = "soft"
    series: int | None = None


@dataclass(frozen=True)
class MedicalImage:
    """One picture as the vision encoder takes it: 8-bit RGB, upright, windowed.

    `pixels` is uint8 `[height, width, 3]`. `sha256` is the hash of the file's bytes. `frame` counts from 0; None if the file
    has only one. `window` is the (centre, width), in the file's own units, that mapped wider data to 8 bits; None if the
    data had 8 bits or a table in the file mapped it. `window_function` is the window's VOI LUT Function in DICOM.
    `values` are the file's own `[height, width]`, NaN where nothing was scanned; None where the pixels are all that it has.
    `value_unit` is theirs where it is sure ("HU"). `spacing_mm` is the size of a pixel in the patient, across and down; None
    if the file does not state it. With `spacing_areas` it holds inside these areas only. `patient_orientation` names the
    patient's directions at the left, top, right and bottom of the picture in DICOM's letters (R L, A P, H F). `series` and
    `slice` count from 0: the position in a folder; `slice` also that in a volume. `warnings` are for the user. `reading`
    says step by step how the pixels were read, and `not_applied` what of the file was not.
    """

    pixels: npt.NDArray[np.uint8]
    sha256: str
    path: str | None = None
    modality: Modality | None = None
    frame: int | None = None
    window: tuple[float, float] | None = None
    spacing_mm: tuple[float, float] | None = None
    patient_orientation: tuple[str, str, str, str] | None = None
    warnings: tuple[Message, ...] = ()
    series: int | None = None
    slice: int | None = None
    spacing_areas: tuple[PixelBox, ...] = ()
    window_function: str | None = None
    reading: tuple[Message, ...] = ()
    not_applied: tuple[Message, ...] = ()
    values: npt.NDArray[np.floating] | None = None
    value_unit: str | None = None

    @property
    def width(self) -> int:
        """Width in pixels."""
        return int(self.pixels.shape[1])

    @property
    def height(self) -> int:
        """Height in pixels."""
        return int(self.pixels.shape[0])


def check_size(width: int, height: int, name: Message) -> None:
    """Raise ImageError for a picture too small to see anything, or too large for memory."""
    if width < MIN_SIDE or height < MIN_SIDE:
        raise ImageError("image.too_small", image=name, width=width, height=height, limit=MIN_SIDE)
    if width * height > MAX_PIXELS:
        raise ImageError("image.too_many_pixels", image=name, width=width, height=height, limit=MAX_MEGAPIXELS)


def select_index(
    wanted: int | None, count: int, name: Message, noun: Message = Message("image.frame"), option: str = "--frame"
) -> int | None:
    """Return the wanted one of `count` frames or slices, None if there is only one; `noun` is what they are called.

    Raises ImageError for an index that does not exist, ChoiceError if there are several and none is wanted.
    """
    if count <= 1:
        if wanted not in (None, 0):
            raise ImageError("image.single_picture", image=name, noun=noun, option=option)
        return None
    if wanted is None:
        raise ChoiceError("image.several_pictures", image=name, count=count, noun=noun, option=option, last=count - 1)
    if not 0 <= wanted < count:
        raise ImageError("image.no_such_picture", image=name, noun=noun, number=wanted, option=option, last=count - 1)
    return wanted


@contextmanager
def as_image_error(message: Message) -> Iterator[None]:
    """Turn whatever a decoder raises into an ImageError with this message; our own errors and MemoryError pass."""
    try:
        yield
    except (MedregaError, MemoryError):
        raise
    except Exception:  # decoders raise almost anything: OSError, SyntaxError, struct.error, RecursionError, ...
        raise ImageError.of(message) from None
