"""Files that appear as a whole or not at all. Knows the file system; knows no format."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from medrega_edge.errors import UsageError


@contextmanager
def whole_file(path: Path) -> Iterator[IO[bytes]]:
    """Open `path` for writing bytes: what is written goes to a temporary file beside it, which takes its place at the end.

    An exception leaves nothing behind. Raises UsageError when the place cannot be written.
    """
    check_place(path)
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
        raise UsageError(f"'{path.name}' cannot be written: {error.strerror}; name another place for it.") from None
    finally:
        if temporary is not None:
            temporary.unlink(missing_ok=True)


def check_place(path: Path, *inputs: Path) -> None:
    """Refuse a place that cannot or must not be written, before any work is done for it; raises UsageError.

    Links, devices and folders are never replaced, and neither is one of the `inputs`.
    """
    if path.is_symlink() or (path.exists() and not path.is_file()):
        raise UsageError(f"'{path.name}' is a folder, a link or a device; name a plain file.")
    if not path.parent.is_dir():
        raise UsageError(f"The folder for '{path.name}' is not there; make it, or name another place.")
    for source in inputs:
        if path.exists() and source.exists() and path.samefile(source):
            raise UsageError(f"'{path.name}' is read by this command and will not be overwritten; name another file.")


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as a whole or not at all; raises UsageError."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))
