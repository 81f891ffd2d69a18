"""Files of the queue that are on the disk, with their names, when a function returns."""

from __future__ import annotations

import os
import shutil
from contextlib import suppress
from pathlib import Path

from medrega_edge.io.atomic import atomic_write, make_folder, unwritable


def write_durably(path: Path, data: bytes) -> None:
    """Write a file as a whole or not at all; raises ResourceError for a full disk, UsageError for an unusable place."""
    with atomic_write(path) as file:
        file.write(data)
    sync_folder(path.parent)


def make_durably(folder: Path) -> None:
    """Make a folder below one that is there; raises as `write_durably` does."""
    if not folder.is_dir():
        make_folder(folder)
        sync_folder(folder.parent)


def sync_folder(folder: Path) -> None:
    """Wait until the names in a folder are on the disk; raises as `write_durably` does."""
    try:
        handle = os.open(folder, os.O_RDONLY)
    except PermissionError:  # Windows opens no folder; its file system writes names in order
        return
    except OSError as error:
        raise unwritable(error) from None
    try:
        os.fsync(handle)
    except OSError as error:
        raise unwritable(error) from None
    finally:
        os.close(handle)


def link_or_copy(source: Path, target: Path) -> None:
    """Show a file at a second place; nothing happens if it is there or the source has gone. Raises OSError."""
    if target.exists() or not source.exists():
        return
    try:
        os.link(source, target)
    except FileExistsError:
        return
    except OSError:  # a file system without links
        shutil.copyfile(source, target)


def remove_file(path: Path) -> None:
    """Remove a file that may have gone; raises as `write_durably` does."""
    try:
        path.unlink(missing_ok=True)
    except OSError as error:
        raise unwritable(error) from None


def remove_folder(folder: Path) -> None:
    """Remove a folder with its files, if it is there; raises as `write_durably` does."""
    with suppress(FileNotFoundError):
        try:
            shutil.rmtree(folder)
        except FileNotFoundError:
            raise
        except OSError as error:
            raise unwritable(error) from None
