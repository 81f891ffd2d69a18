"""Where packages are found: the default package, the user's folder, a path."""

from __future__ import annotations

import os
from pathlib import Path

from medrega_edge.errors import PackageError
from medrega_edge.package.manifest import MANIFEST
from medrega_edge.package.package import Package

MODEL_VARIABLE = "MEDREGA_MODEL"


def default_folder() -> Path:
    """Folder of the package that ships with this program."""
    return Path(__file__).parents[1] / "default_package"


def user_folder() -> Path:
    """Folder in which a user keeps packages of their own, one folder each."""
    try:
        return Path.home() / ".medrega" / "packages"
    except RuntimeError:  # a user without a home, as in a container
        return Path("/nonexistent")


def find_package(model: str | Path | None = None) -> Package:
    """Open the package asked for: a folder, the name of an installed one, $MEDREGA_MODEL, or the one that ships."""
    wanted = model or os.environ.get(MODEL_VARIABLE)
    if not wanted:
        return Package.open(default_folder())
    folder = Path(wanted)
    if os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        return Package.open(folder)
    named = user_folder() / str(wanted)
    if len(folder.parts) == 1 and os.path.isdir(named):
        return Package.open(named)
    raise PackageError("package.not_found", name=folder.name)


def list_packages() -> list[Path]:
    """Folders of the packages that are found without naming a path: the one that ships, then the user's, by name."""
    folders = [default_folder()]
    if user_folder().is_dir():
        folders += sorted(path for path in user_folder().iterdir() if (path / MANIFEST).is_file())
    return [folder for folder in folders if (folder / MANIFEST).is_file()]
