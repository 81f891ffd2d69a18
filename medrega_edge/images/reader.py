"""A path, bytes or a folder of DICOM files -> one MedicalImage. Content, not the name, decides the format.

An image that cannot be read is an ImageError, never a replacement.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from medrega_edge.errors import ImageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import MAX_BYTES, MedicalImage, Source, View
from medrega_edge.images.nifti import read_nifti
from medrega_edge.images.raster import read_raster
from medrega_edge.images.signatures import FIRST_BYTES, is_dicom, is_nifti
from medrega_edge.images.windowing import FEW_SHADES, NEARLY_ALL, few_shades, parse_window, without_copies

if TYPE_CHECKING:
    from medrega_edge.images.dicom.series import Picture


def read_image(source: str | Path | bytes, view: View = View()) -> MedicalImage:
    """Read a PNG, JPEG, TIFF, DICOM or NIfTI from a path or from bytes, or one picture of a folder of DICOM files.

    Raises ImageError for an image that cannot be used, ChoiceError if it holds several pictures and `view` names none,
    UsageError for a window or plane that does not exist, ResourceError if an extra has to be installed.
    """
    if view.window is not None:
        parse_window(view.window)
    if isinstance(source, bytes):
        return read_bytes(source, Message("image.given"), None, view)
    path = Path(source)
    if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        return _read_from_folder(path, view)
    if view.series is not None:
        raise ImageError("image.series_of_a_file")
    return read_bytes(read_file(path), Message("image.given"), str(path), view)


def import_decoder(path: str | Path) -> None:
    """Import what `read_image` needs for a file or folder ahead: pydicom takes 0.1 s, and only DICOM needs it."""
    try:
        if not os.path.isdir(path):
            with open(path, "rb") as file:
                if not is_dicom(file.read(FIRST_BYTES)):
                    return
    except (OSError, ValueError):  # `read_image` says why
        return
    from medrega_edge.images.dicom import reader  # noqa: F401


def _read_from_folder(folder: Path, view: View) -> MedicalImage:
    from medrega_edge.images.dicom.series import select_slice

    selected = select_slice(folder, view)
    image = read_picture(folder, selected.picture, view)
    return replace(image, series=selected.series, slice=selected.slice, warnings=(*selected.notes, *image.warnings))


def read_picture(folder: Path, picture: Picture, view: View) -> MedicalImage:
    """Read one picture of a series below a folder, through the window of `view`; raises ImageError."""
    path = folder / picture.name
    view = replace(view, series=None, slice=None, frame=picture.frame)
    return read_bytes(read_file(path), Message("dicom.chosen_picture"), str(path), view)


def read_file(path: Path) -> bytes:
    """Return the bytes of a file; raises ImageError for one that cannot be read, or of more than MAX_BYTES."""
    try:
        if path.exists() and not path.is_file():
            raise ImageError("image.not_a_file")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ImageError("image.too_large", size=size >> 20, limit=MAX_BYTES >> 20)
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError("image.no_file") from None
    except ValueError:  # a null character, for example
        raise ImageError("image.invalid_path") from None
    except OSError as error:
        raise ImageError("image.cannot_open", reason=error.strerror or type(error).__name__) from None


def read_bytes(data: bytes, name: Message, path: str | None, view: View) -> MedicalImage:
    """Read an image from the bytes of its file; `name` is what errors call it. Raises as `read_image`."""
    if not data:
        raise ImageError("image.empty", image=name)
    source = Source(data, name, path, hashlib.sha256(data).hexdigest())
    image = _reader(data, view, name)(source, view)
    shown = without_copies(image.pixels)
    if shown.min() == shown.max():
        return replace(image, warnings=(*image.warnings, Message("image.single_shade")))
    if (share := few_shades(image.pixels)) >= NEARLY_ALL:
        return replace(image, warnings=(*image.warnings, Message("image.few_shades", share=share, shades=FEW_SHADES)))
    return image


def _reader(data: bytes, view: View, name: Message) -> Callable[[Source, View], MedicalImage]:
    if is_nifti(data):
        return read_nifti
    if view.plane is not None or view.slice is not None:
        raise ImageError("image.not_a_volume", image=name)
    if is_dicom(data):
        from medrega_edge.images.dicom.reader import read_dicom  # only here: it imports pydicom, 0.1 s

        return read_dicom
    return read_raster
