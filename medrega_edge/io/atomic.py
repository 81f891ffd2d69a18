"""Files that appear as a whole or not at all, and the image files of a folder in their order."""

from __future__ import annotations

import errno
import os
import re
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medrega_edge.errors import MedregaError, ResourceError, UsageError

NO_SPACE_ERRNOS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open a temporary file beside `path` for writing bytes; it replaces `path` at the end, and is removed on an exception.

    Raises UsageError if the place cannot be written, ResourceError on a full disk.
    """
    _check_place(path)
    temporary = None
    try:
        handle, name = tempfile.mkstemp(prefix=".medrega-", suffix=".tmp", dir=path.parent)
        temporary = Path(name)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        temporary.replace(path)
    except OSError as error:
        raise unwritable(error) from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def move_files(source: Path, target: Path, last: str) -> None:
    """Move the files of a folder into another one on the same disk, each written to the disk first and `last` at the end.

    So if the file `last` is there, all of them are there, whole. Raises OSError.
    """
    for path in sorted(source.iterdir(), key=lambda path: (path.name == last, path.name)):
        with path.open("rb+") as file:
            os.fsync(file.fileno())
        path.replace(target / path.name)


def check_output_path(path: Path, *inputs: Path) -> None:
    """Raise UsageError if `path` cannot or must not be written: a link, a device, a folder, or one of the `inputs`.

    Nothing is left beside it. Raises ResourceError on a full disk.
    """
    _check_place(path, *inputs)
    check_writable(path.parent)


def check_writable(folder: Path) -> None:
    """Raise UsageError if no file can be made in a folder, ResourceError on a full disk; nothing is left there."""
    try:
        with tempfile.NamedTemporaryFile(prefix=".medrega-", suffix=".tmp", dir=folder):
            pass
    except OSError as error:
        raise unwritable(error) from None


def _check_place(path: Path, *inputs: Path) -> None:
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UsageError("io.not_a_plain_file")
        if not path.parent.is_dir():
            raise UsageError("io.no_output_folder")
        for source in inputs:
            if path.exists() and source.exists() and path.samefile(source):
                raise UsageError("io.output_is_input")
    except OSError as error:  # a name that is too long, for example
        raise unwritable(error) from None


def make_folder(folder: Path) -> None:
    """Make a folder, with those around it, that only the user can read; raises UsageError or ResourceError."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(error) from None


def unwritable(error: OSError) -> MedregaError:
    """The error to raise for an OSError while writing: ResourceError for a full disk, else UsageError."""
    if error.errno in NO_SPACE_ERRNOS:
        return ResourceError("io.no_space", reason=error.strerror or "")
    return UsageError("io.unwritable", reason=error.strerror or "")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as a whole or not at all; raises UsageError or ResourceError."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def image_names(folder: Path) -> list[str]:
    """Relative paths of the plain files below a folder, sorted naturally, so that a series stays in its order.

    Hidden files, links and DICOMDIR, which lists the others, are left out. Raises UsageError for an unreadable folder.
    """
    names = []

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError) and error.filename != str(folder):
            return  # it was removed in the meantime
        raise UsageError("io.unreadable_folder", reason=error.strerror or "") from None

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if not name.startswith(".") and name.upper() != "DICOMDIR" and path.is_file() and not path.is_symlink():
                names.append(str(path.relative_to(folder)))
    return sorted(names, key=natural_sort_key)


def natural_sort_key(name: str) -> tuple[list[int | str], str]:
    """A sort key by which numbers in names count as numbers: 2.png before 10.png."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name
