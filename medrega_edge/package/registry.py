"""Where packages are found: the default package, the user's folders, a path."""

from __future__ import annotations

import os
from pathlib import Path

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.package.manifest import MANIFEST
from medrega_edge.package.package import Package

MODEL_VARIABLE = "MEDREGA_MODEL"


def default_folder() -> Path:
    """Folder of the package that ships with this program."""
    return Path(__file__).parents[1] / "default_package"


def user_folders() -> list[Path]:
    """Folders that hold a user's own packages, one folder each: the system's place for data, then that of older versions.

    The first is `~/.local/share/medrega/packages` on Linux, `~/Library/Application Support/medrega/packages` on macOS and
    `AppData/Local/medrega/packages` in the user's folder on Windows.
    """
    from platformdirs import user_data_path

    places = [user_data_path("medrega", appauthor=False), Path(os.path.expanduser("~/.medrega"))]
    # Without a home, as in a container, "~" stays as it is: such a path is relative.
    return [place / "packages" for place in places if place.is_absolute()]


def find_package(model: str | Path | None = None) -> Package:
    """Open a package: a folder, the name of an installed one, $MEDREGA_MODEL, or the one that ships; raises PackageError."""
    if model == "":
        raise UsageError("package.empty_name")
    wanted = model or os.environ.get(MODEL_VARIABLE)
    if not wanted:
        return Package.open(default_folder())
    folder = Path(wanted)
    if os.path.isdir(folder):  # Path.is_dir raises for a name that is too long
        return Package.open(folder)
    for place in user_folders() if len(folder.parts) == 1 else ():
        if os.path.isdir(place / folder):
            return Package.open(place / folder)
    raise PackageError("package.not_found", name=folder.name)


def list_packages() -> list[Path]:
    """Folders of the packages that are found without naming a path: the one that ships, then the user's, by name."""
    places = [place for place in user_folders() if os.path.isdir(place)]
    own = [folder for place in places for folder in sorted(place.iterdir())]
    return [folder for folder in (default_folder(), *own) if (folder / MANIFEST).is_file()]
