"""A path or bytes become one `MedicalImage`: PNG, JPEG, TIFF, DICOM or NIfTI, told apart by content, never by name; or a
folder of DICOM files, of which one picture is chosen.

Knows files and the marks by which formats begin; each format has a reader of its own. An image that cannot be read is an
ImageError, never a replacement.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from medrega_edge.errors import ImageError
from medrega_edge.images.dicom.reader import read_dicom
from medrega_edge.images.dicom.validation import is_dicom
from medrega_edge.images.medical_image import MAX_BYTES, MedicalImage, Source, View
from medrega_edge.images.nifti import is_nifti, read_nifti
from medrega_edge.images.raster import read_picture
from medrega_edge.images.windowing import parse_window

__all__ = ["MedicalImage", "View", "read_image"]


def read_image(source: str | Path | bytes, frame: int | None = None, view: View | None = None) -> MedicalImage:
    """Read a PNG, JPEG, TIFF, DICOM or NIfTI from a path or from bytes, or one picture of a folder of DICOM files.

    `frame` picks one of several frames, counted from 0; `view` says that and more. Raises ImageError for whatever cannot
    be used, UsageError for a window or plane that does not exist, ResourceError where an extra has to be installed.
    """
    view = view or View()
    if frame is not None:
        view = replace(view, frame=frame)
    if view.window is not None:
        parse_window(view.window)
    if isinstance(source, bytes):
        return _read(source, "the given image", None, view)
    path = Path(source)
    if os.path.isdir(path):  # Path.is_dir raises for a name that is too long
        return _read_from_folder(path, view)
    if view.series is not None:
        raise ImageError("A series is chosen of a folder, and the path given for the image is a file; leave --series out.")
    return _read(_read_file(path), "the given image", str(path), view)


def _read_from_folder(folder: Path, view: View) -> MedicalImage:
    from medrega_edge.images.dicom.series import pick

    found = pick(folder, view)
    path = folder / found.picture.name
    view = replace(view, series=None, slice=None, frame=found.picture.frame)
    image = _read(_read_file(path), "the chosen picture", str(path), view)
    return replace(image, series=found.series, slice=found.slice, warnings=(*found.said, *image.warnings))


def _read_file(path: Path) -> bytes:
    try:
        if path.exists() and not path.is_file():
            raise ImageError("The path given for the image is no plain file; name an image file.")
        size = path.stat().st_size
        if size > MAX_BYTES:
            raise ImageError(f"The given image has {size >> 20} MiB; images up to {MAX_BYTES >> 20} MiB are read.")
        return path.read_bytes()
    except FileNotFoundError:
        raise ImageError("There is no file at the path given for the image; check the path.") from None
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a valid path"
        raise ImageError(f"The given image cannot be opened: {reason}.") from None


def _read(data: bytes, name: str, path: str | None, view: View) -> MedicalImage:
    if not data:
        raise ImageError(f"{name[0].upper()}{name[1:]} is empty (0 bytes); nothing to look at.")
    source = Source(data, name, path, hashlib.sha256(data).hexdigest())
    image = _reader(data, view, name)(source, view)
    if image.pixels.min() == image.pixels.max():
        blank = "the picture is a single shade, so there is nothing to see; another --window or --frame may show more"
        return replace(image, warnings=(*image.warnings, blank))
    return image


def _reader(data: bytes, view: View, name: str) -> Callable[[Source, View], MedicalImage]:
    if is_nifti(data):
        return read_nifti
    if view.plane is not None or view.slice is not None:
        raise ImageError(f"{name} is no volume; leave --plane and --slice out.")
    return read_dicom if is_dicom(data) else read_picture
