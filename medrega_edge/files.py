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
    try:
        handle, name = tempfile.mkstemp(prefix=".medrega-", suffix=".tmp", dir=path.parent)
    except OSError as error:
        raise UsageError(f"'{path.name}' cannot be written: {error.strerror}; name another place for it.") from None
    temporary = Path(name)
    try:
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        if path.is_dir():
            raise UsageError(f"'{path.name}' is a folder; name a file.")
        temporary.replace(path)
    finally:
        temporary.unlink(missing_ok=True)


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text as a whole or not at all; raises UsageError."""
    with whole_file(path) as file:
        file.write(text.encode("utf-8"))
