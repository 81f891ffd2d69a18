"""A file that one process holds at a time. The lock ends with the process, however the process ends."""

from __future__ import annotations

import os
from io import FileIO
from pathlib import Path


def open_locked(path: Path) -> FileIO | None:
    """Open a file for unbuffered reading and writing, made if needed, and lock it; None if another process holds it.

    Closing the file unlocks it. Raises OSError, also for a folder whose file system has no locks (some network shares);
    no new file is left there.
    """
    from filelock import lock_descriptor  # heavy, and needed by few commands

    flags = os.O_RDWR | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_BINARY", 0)
    while True:
        file = os.fdopen(os.open(path, flags, 0o600), "r+b", buffering=0)
        try:
            if not lock_descriptor(file.fileno(), blocking=False):
                file.close()
                return None
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                return file
        except FileNotFoundError:
            pass
        except OSError:
            if not os.fstat(file.fileno()).st_size:
                path.unlink()
            file.close()
            raise
        file.close()  # its holder ended and removed it in this very moment
