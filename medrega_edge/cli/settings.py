"""A user's own defaults, from `config.toml` in the system's folder for settings.

model = "my-package"        # a package folder or name; --model and $MEDREGA_MODEL come first
language = "zh"             # where neither --lang nor a question tells
folder = "~/Pictures/scans" # for marked pictures that are named without a folder
cache = "~/.cache/medrega"  # keeps features of images; --cache and $MEDREGA_CACHE come first
"""

from __future__ import annotations

import functools
import os
import tomllib
from dataclasses import dataclass, fields
from pathlib import Path

from medrega_edge.domain import Language
from medrega_edge.errors import UsageError

CACHE_VARIABLE = "MEDREGA_CACHE"


@dataclass(frozen=True)
class Settings:
    """The keys of the file; None where it does not have them."""

    model: str | None = None
    language: Language | None = None
    folder: Path | None = None
    cache: Path | None = None


def settings_path() -> Path:
    """Where the file is looked for: `~/.config/medrega/config.toml` on Linux."""
    from platformdirs import user_config_path

    return user_config_path("medrega", appauthor=False) / "config.toml"


@functools.cache
def settings() -> Settings:
    """What the file says; raises UsageError for a key or value that cannot be used."""
    path = settings_path()
    if not (path.is_absolute() and path.is_file()):  # without a home, as in a container, "~" stays as it is
        return Settings()
    try:
        found = tomllib.loads(path.read_text("utf-8"))
    except (OSError, ValueError):
        raise UsageError("settings.unreadable", path=path) from None
    keys = [field.name for field in fields(Settings)]
    for key, value in found.items():
        if key not in keys:
            raise UsageError("settings.unknown_key", path=path, key=key, keys=keys)
        if not isinstance(value, str) or not value:
            raise UsageError("settings.not_a_text", path=path, key=key)
    language, folder = found.get("language"), found.get("folder")
    if language not in (None, *Language):
        raise UsageError("settings.unknown_language", path=path, languages=list(Language))
    place = None if folder is None else Path(os.path.expanduser(folder))
    if place is not None and not (place.is_absolute() and place.is_dir()):
        raise UsageError("settings.no_folder", path=path)
    cache = None if "cache" not in found else Path(os.path.expanduser(found["cache"]))
    if cache is not None and not cache.is_absolute():
        raise UsageError("settings.relative_cache", path=path)
    return Settings(found.get("model"), Language(language) if language else None, place, cache)


def in_folder(path: Path) -> Path:
    """A path for a picture: in the user's folder if it names none."""
    folder = settings().folder
    return path if folder is None or len(path.parts) != 1 else folder / path
