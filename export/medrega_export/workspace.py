"""The work folder of an export, beside its target: the same command finds it again, and it goes when all is published.

Its name is a hash of all that the result depends on, so what lies in such a folder is part of just this result. Name, size
and time of change stand for the content of a weight file: to read them all would take longer than some of the work.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from io import FileIO
from pathlib import Path
from typing import Any

from medrega_edge.errors import MedregaError, ResourceError, UsageError
from medrega_edge.io.atomic import NO_SPACE_ERRNOS, move_files
from medrega_edge.io.lock import open_locked
from medrega_export.provenance import library_versions, program_hash

CONTENT_BYTES = 10_000_000  # smaller files count by content
LOCK = "lock"
# Empty files in a work folder: its results are complete; its results are being moved to their targets.
COMPLETE, PUBLISHING = "complete", "publishing"


def fingerprint(options: Mapping[str, Any], files: list[Path]) -> str:
    """Return a hash of options and files, of this program and the libraries that it computes with."""
    versions = (f"{name} {version}" for name, version in library_versions().items())
    parts = [json.dumps(options, sort_keys=True, default=str), *versions, program_hash()]
    for path in files:
        status = path.stat()
        content = str(status.st_mtime_ns)
        if status.st_size < CONTENT_BYTES:
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        parts.append(f"{path.name} {status.st_size} {content}")
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]


class Workspace:
    """The folders of one export: `folder` for work in progress, and one of `results` beside each target."""

    def __init__(self, targets: Sequence[Path], key: str) -> None:
        """Name the folders; nothing is written yet. The work folder lies beside the first target."""
        self.folder = targets[0].with_name(f".{targets[0].name}.{key}.work")
        self.results = {target: target.with_name(f".{target.name}.{key}.new") for target in targets}
        self._replaced = {target: target.with_name(f".{target.name}.{key}.old") for target in targets}

    @property
    def is_publishing(self) -> bool:
        """Whether an earlier run was stopped while moving the results."""
        return (self.folder / PUBLISHING).exists()

    @property
    def is_complete(self) -> bool:
        """Whether an earlier run completed the results, and a gate held them back."""
        return (self.folder / COMPLETE).exists() and all(result.exists() for result in self.results.values())

    @contextlib.contextmanager
    def open(self) -> Iterator[None]:
        """Publish the results when the block ends well.

        The folders stay when the process is killed or the machine fails or is short of something, and when the results are
        complete. They go when the export itself refuses what it was given: it would refuse again.
        """
        for folder in (self.folder, *self.results.values()):
            try:
                folder.mkdir(parents=True, exist_ok=True)
            except OSError as error:
                if error.errno in NO_SPACE_ERRNOS:
                    raise
                raise UsageError("export.no_new_folder", folder=folder.parent.name, reason=error.strerror or "") from None
        with _locked(self.folder):
            try:
                yield
            except MedregaError as error:
                if not self.is_complete and not isinstance(error, ResourceError):
                    for folder in (self.folder, *self.results.values()):
                        shutil.rmtree(folder, ignore_errors=True)
                raise
            self.publish()

    def mark_complete(self) -> None:
        """Note that the results are complete, and delete what they were made from."""
        (self.folder / COMPLETE).touch()
        for path in self.folder.iterdir():
            if path.is_dir():
                shutil.rmtree(path)
            elif path.name not in (COMPLETE, LOCK):
                path.unlink()

    def write_once(self, path: Path, write: Callable[[Path], object]) -> None:
        """Have a file written, and what belongs to it (`path` + ".data"), unless an earlier run has."""
        if path.exists():
            return
        scratch = self.empty_folder("part")
        write(scratch / path.name)
        move_files(scratch, path.parent, last=path.name)

    def empty_folder(self, name: str) -> Path:
        """Return an empty folder within the work folder."""
        folder = self.folder / name
        shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir()
        return folder

    def publish(self) -> None:
        """Move the results to their targets; what was there goes."""
        (self.folder / PUBLISHING).touch()
        for target, result in self.results.items():
            if result.exists():  # or an earlier run has moved it
                if target.exists():
                    target.rename(self._replaced[target])
                try:
                    result.rename(target)
                except OSError:
                    if self._replaced[target].exists():
                        self._replaced[target].rename(target)
                    raise
            shutil.rmtree(self._replaced[target], ignore_errors=True)
        shutil.rmtree(self.folder)


def _locked(folder: Path) -> FileIO:
    """Keep other processes with the same command out until the file is closed; raises UsageError if one is running."""
    try:
        file = open_locked(folder / LOCK)
    except FileNotFoundError:  # the other one has just published and removed the folder
        file = None
    if file is None:
        raise UsageError("export.running")
    return file
