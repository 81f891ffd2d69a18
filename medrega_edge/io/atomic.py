"""Files of a folder in their order, and files that appear as a whole or not at all. Knows the file system, and no format."""

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

FULL = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)


@contextmanager
def atomic_write(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing bytes: what is written goes to a temporary file beside it, which takes its place at the end.

    An exception leaves nothing behind. Raises UsageError when the place cannot be written, ResourceError on a full disk.
    """
    check_output_path(path)
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


def check_output_path(path: Path, *inputs: Path) -> None:
    """Refuse a place that cannot or must not be written, before any work is done for it; raises UsageError.

    Links, devices and folders are never replaced, and neither is one of the `inputs`.
    """
    try:
        if path.is_symlink() or (path.exists() and not path.is_file()):
            raise UsageError("The file to write is a folder, a link or a device; name a plain file.")
        if not path.parent.is_dir():
            raise UsageError("The folder of the file to write is not there; make it, or name another place.")
        for source in inputs:
            if path.exists() and source.exists() and path.samefile(source):
                raise UsageError("The file to write is one that this command reads, and is not overwritten; name another.")
    except OSError as error:  # a name that is too long, for example
        raise unwritable(error) from None


def unwritable(error: OSError) -> MedregaError:
    """What to tell a user of an error in writing: no room is one thing, a place that may not be written another."""
    if error.errno in FULL:
        return ResourceError(f"There is no room to write the output ({error.strerror}); make room and ask again.")
    return UsageError(f"The output cannot be written ({error.strerror}); name another place for it.")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as a whole or not at all; raises UsageError."""
    with atomic_write(path) as file:
        file.write(text.encode("utf-8"))


def image_names(folder: Path) -> list[str]:
    """Relative paths of the plain files below a folder, numbers in names in their order: a series stays in its order.

    Left out: what is hidden, links, and DICOMDIR, which is a list of the others. Raises UsageError.
    """
    names = []

    def refuse(error: OSError) -> None:
        if isinstance(error, FileNotFoundError) and error.filename != str(folder):
            return  # it went while we looked
        raise UsageError(f"A folder in it cannot be read ({error.strerror}); make it readable, or name another.") from None

    for place, folders, files in os.walk(folder, onerror=refuse):
        folders[:] = [name for name in folders if not name.startswith(".")]
        for name in files:
            path = Path(place, name)
            if not name.startswith(".") and name != "DICOMDIR" and path.is_file() and not path.is_symlink():
                names.append(str(path.relative_to(folder)))
    return sorted(names, key=natural_sort_key)


def natural_sort_key(name: str) -> tuple[list[int | str], str]:
    """What names are sorted by: the numbers in them count as numbers."""
    return [int(part) if part.isdecimal() else part for part in re.split(r"(\d+)", name)], name
