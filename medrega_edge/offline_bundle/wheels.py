"""The wheels of a folder, filled by `pip download`: what they are, and what they need."""

from __future__ import annotations

import hashlib
import os
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from zipfile import BadZipFile, ZipFile

from packaging.licenses import InvalidLicenseExpression, canonicalize_license_expression
from packaging.metadata import parse_email
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name

from medrega_edge import __version__
from medrega_edge.errors import UsageError
from medrega_edge.package.manifest import MANIFEST

OURS = "medrega-edge"
_LONGEST_LICENCE = 80  # characters: some packages put the whole text there


@dataclass(frozen=True)
class Wheel:
    """One wheel. `name` is canonical; `licence` is an SPDX expression if `has_spdx_licence`, else free text or ""."""

    path: Path
    name: str
    version: str
    requirements: tuple[Requirement, ...]
    licence: str
    has_spdx_licence: bool
    sha256: str


def read_wheels(folder: Path) -> list[Wheel]:
    """Read every wheel of a folder, sorted by name; raises UsageError if this program or something it needs is missing."""
    if not os.path.isdir(folder):
        raise UsageError("bundle.no_wheel_folder")
    wheels = sorted((_wheel(path) for path in folder.glob("*.whl")), key=lambda wheel: (wheel.name, wheel.path.name))
    versions: dict[str, str] = {}
    for wheel in wheels:
        if versions.setdefault(wheel.name, wheel.version) != wheel.version:
            raise UsageError("bundle.two_versions", name=wheel.name)
    if versions.get(OURS) != __version__:
        raise UsageError("bundle.no_own_wheel", name=OURS, version=__version__)
    missing = sorted({need for needs in needs_of(wheels).values() for need in needs} - set(versions))
    if missing:
        raise UsageError("bundle.missing_wheels", names=missing, name=OURS)
    return wheels


def needs_of(wheels: Sequence[Wheel]) -> Mapping[str, set[str]]:
    """What each package needs on this Python and system, by name: requirements whose markers hold, extras included."""
    requirements: dict[str, list[Requirement]] = {wheel.name: [] for wheel in wheels}
    for wheel in wheels:
        requirements[wheel.name] += wheel.requirements
    needs: dict[str, set[str]] = {name: set() for name in requirements}
    seen = {(name, "") for name in requirements}
    pending = sorted(seen)
    while pending:
        name, extra = pending.pop()
        for requirement in requirements[name]:
            if requirement.marker is not None and not requirement.marker.evaluate({"extra": extra}):
                continue
            needed = canonicalize_name(requirement.name)
            needs[name].add(needed)
            wanted = {(needed, wish) for wish in requirement.extras if needed in requirements} - seen
            seen |= wanted
            pending += sorted(wanted)
    return needs


def shipped_manifests(wheels: Sequence[Wheel]) -> Iterator[bytes]:
    """The manifests of the model packages that wheels of this program carry."""
    for wheel in wheels:
        if wheel.name == OURS:
            with ZipFile(wheel.path) as archive:
                name = f"medrega_edge/default_package/{MANIFEST}"
                if name in archive.namelist():
                    yield archive.read(name)


def _wheel(path: Path) -> Wheel:
    try:
        with ZipFile(path) as archive:
            (place,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            metadata, _ = parse_email(archive.read(place))
        name, version = canonicalize_name(metadata["name"]), metadata["version"]
        requirements = tuple(Requirement(text) for text in metadata.get("requires_dist", ()))
    except (OSError, ValueError, KeyError, BadZipFile):
        raise UsageError("bundle.damaged_wheel") from None
    try:
        licence, is_spdx = str(canonicalize_license_expression(metadata.get("license_expression", ""))), True
    except InvalidLicenseExpression:
        stated = metadata.get("license_expression") or metadata.get("license") or ""
        licence, is_spdx = stated.partition("\n")[0][:_LONGEST_LICENCE], False
    return Wheel(path, name, version, requirements, licence, is_spdx, sha256_of(path))


def sha256_of(path: Path) -> str:
    """SHA-256 of a file."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
