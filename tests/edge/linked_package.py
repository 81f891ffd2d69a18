"""Copies of the default package that cost no time: links, but for the manifest. A test owns the file that it changes."""

import os
import shutil
import tempfile
from functools import cache
from pathlib import Path

from medrega_edge.package.manifest import MANIFEST
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder


@cache
def _original():
    """One real copy, so that no test can reach the package of the program."""
    folder = Path(tempfile.mkdtemp(prefix="package-"))
    return Path(shutil.copytree(default_folder(), folder / "package"))


def linked_copy(target):
    """Make a copy of the default package at `target`; returns it."""
    target.mkdir(parents=True)
    for path in _original().iterdir():
        (shutil.copy if path.name == MANIFEST else os.link)(path, target / path.name)
    return target


def own(path):
    """Turn a link into a file of the copy's own, which may be changed; returns its path."""
    data = path.read_bytes()
    path.unlink()
    path.write_bytes(data)
    return path


def check_original():
    """Fail where a test has changed what other copies link to."""
    Package.open(_original()).verify()
