"""Which images a client may name: those in folders that the user has allowed, and the samples.

A client is steered by a language model, and that by whatever it has read. So no path is opened before every link in it is
resolved and the result lies in an allowed folder, and a refusal does not tell whether something is there.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from medrega_edge.errors import ImageError, UsageError
from medrega_edge.images.samples import sample_frame, sample_path
from medrega_edge.io.atomic import image_names

SAMPLE = "sample:"  # before the name of a sample scan


@dataclass(frozen=True)
class Place:
    """A file or a folder of DICOM files that may be read.

    `stamp` differs after the file, or one in the folder, was changed. `frame` is the default frame.
    """

    path: Path
    stamp: tuple[object, ...]
    frame: int | None = None


class Folders:
    """The folders whose images may be read, with all that lies below them."""

    def __init__(self, allowed: Sequence[str | Path]) -> None:
        """Take the folders; raises UsageError for one that is not there."""
        self._allowed = []
        for folder in allowed:
            if not os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
                raise UsageError("mcp.no_such_folder")
            self._allowed.append(Path(os.path.realpath(folder)))

    def __len__(self) -> int:
        return len(self._allowed)

    def find(self, image: str) -> Place:
        """Return the place of an image: an absolute path, one relative to an allowed folder, or "sample:NAME".

        Raises ImageError for one outside the allowed folders or that is not there, UsageError for an unknown sample.
        """
        if image.startswith(SAMPLE):
            name = image.removeprefix(SAMPLE)
            return Place(sample_path(name), (), sample_frame(name))
        if not self._allowed:
            raise ImageError("mcp.no_folder_allowed")
        fault: ImageError | None = None
        for folder in self._allowed:
            try:
                path = _resolved(folder / image)  # an absolute path replaces the folder
            except ImageError as error:
                if fault is None and self._may_say_why(folder / image):
                    fault = error
                continue
            if self._allows(path):
                return Place(path, _stamp(path))
        raise fault or ImageError("mcp.folder_not_allowed")

    def _may_say_why(self, path: Path) -> bool:
        """Whether a path that leads nowhere, as far as it exists, leads into an allowed folder, or is no path at all."""
        try:
            return self._allows(Path(os.path.realpath(path)))
        except ValueError:
            return True

    def _allows(self, path: Path) -> bool:
        return any(path.is_relative_to(folder) for folder in self._allowed)


def _resolved(path: Path) -> Path:
    """Return the path of something that is there, every link in it followed; raises ImageError where there is nothing."""
    try:
        return Path(os.path.realpath(path, strict=True))  # not strict, it leaves links behind a loop unresolved
    except FileNotFoundError:
        raise ImageError("image.no_file") from None
    except ValueError:  # a null character, for example
        raise ImageError("image.invalid_path") from None
    except OSError as error:
        raise ImageError("image.cannot_open", reason=error.strerror or type(error).__name__) from None


def _stamp(path: Path) -> tuple[object, ...]:
    """When a file, or any file in a folder, was last changed, and its size; raises ImageError or UsageError."""
    try:
        if os.path.isdir(path):
            return tuple((name, *_changed(path / name)) for name in image_names(path))
        return _changed(path)
    except FileNotFoundError:
        raise ImageError("image.no_file") from None
    except OSError as error:
        raise ImageError("image.cannot_open", reason=error.strerror or type(error).__name__) from None


def _changed(path: Path) -> tuple[int, int, int]:
    facts = path.stat()
    return facts.st_mtime_ns, facts.st_size, facts.st_ino
