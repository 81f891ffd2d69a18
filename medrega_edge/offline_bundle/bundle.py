"""One file for a machine without a network: wheels, the model package, hashes, a bill of materials, a self-test.

Nothing here opens a connection: somebody fills the folder of wheels with `pip download`. The same wheels and package give
the same bytes. Files in a bundle are not compressed, so none can unfold to more than the bundle's own size.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo

from medrega_edge import __version__
from medrega_edge.errors import PackageError, UsageError
from medrega_edge.io.atomic import atomic_write
from medrega_edge.io.strict_json import STRICT, Count, JsonFault, load_json, parse_json
from medrega_edge.offline_bundle.sbom import sbom
from medrega_edge.offline_bundle.self_test import SelfTestAnswer, compare, run
from medrega_edge.offline_bundle.wheels import Wheel, read_wheels, sha256_of, shipped_manifests
from medrega_edge.package.manifest import MANIFEST
from medrega_edge.package.package import Package

if TYPE_CHECKING:
    from medrega_edge.engine import Engine

SCHEMA_VERSION = 1
CONTENTS = "bundle.json"
SELF_TEST = "selftest.json"
MAX_CONTENTS = 4 * 1024 * 1024
_BLOCK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can hold

README = """medrega-edge {version} with the model package {package}, for a machine without a network.

1. python3 -m zipfile -e BUNDLE medrega-bundle
2. python3 -m pip install --no-index --find-links medrega-bundle/wheels --require-hashes -r medrega-bundle/requirements.txt
3. medrega bundle verify BUNDLE{model}

The first unpacks this file. The second installs from it alone. The third checks every file against its hash, the installed
packages against the bundle, and the answers of this machine against those of the machine where the bundle was made.

Research use only - not a medical device.
"""


@dataclass(frozen=True)
class PackageFacts:
    """The model package of a bundle; `sha256` is that of its manifest."""

    __pydantic_config__ = STRICT

    name: str
    version: str
    sha256: str


@dataclass(frozen=True)
class FileFacts:
    """Hash and size of one file of a bundle."""

    __pydantic_config__ = STRICT

    sha256: str
    bytes: Count


@dataclass(frozen=True)
class BundleContents:
    """What a bundle says of itself: versions of this program and of each wheel, the model package, and all its files."""

    __pydantic_config__ = STRICT

    schema_version: int
    version: str
    package: PackageFacts
    wheels: Mapping[str, str]
    files: Mapping[str, FileFacts]


def create(out: Path, folder: Path, package: Package, engine: Engine) -> None:
    """Write a bundle of the wheels in `folder` and of a package, which `engine` has loaded.

    Raises UsageError if wheels are missing, PackageError if the package does not verify.
    """
    wheels = read_wheels(folder)
    package.verify()
    paths = {f"wheels/{wheel.path.name}": wheel.path for wheel in wheels}
    names = [entry.path for entry in package.manifest.files.values()] + [MANIFEST]
    paths |= {f"package/{name}": package.folder / name for name in names}
    is_shipped = any((package.folder / MANIFEST).read_bytes() == data for data in shipped_manifests(wheels))
    title = f"{package.manifest.name} {package.manifest.version}"
    model = "" if is_shipped else " --model medrega-bundle/package"
    texts = {
        "README.txt": README.format(version=__version__, package=title, model=model),
        "requirements.txt": _requirements(wheels),
        "sbom.json": _json(sbom(wheels, package)),
        SELF_TEST: _json([asdict(answer) for answer in run(engine)]),
    }
    files = {name: FileFacts(hashlib.sha256(text.encode()).hexdigest(), len(text.encode())) for name, text in texts.items()}
    files |= {name: FileFacts(sha256_of(path), path.stat().st_size) for name, path in paths.items()}
    contents = BundleContents(
        SCHEMA_VERSION,
        __version__,
        PackageFacts(package.manifest.name, package.manifest.version, package.sha256),
        {wheel.name: wheel.version for wheel in wheels},
        dict(sorted(files.items())),
    )
    with atomic_write(out) as file, ZipFile(file, "w", ZIP_STORED) as bundle:
        for name, text in {CONTENTS: _json(asdict(contents)), **texts}.items():
            bundle.writestr(ZipInfo(name, _EPOCH), text)
        for name, path in sorted(paths.items()):
            with path.open("rb") as source, bundle.open(ZipInfo(name, _EPOCH), "w", force_zip64=True) as target:
                for block in _blocks(source):
                    target.write(block)


def _requirements(wheels: Sequence[Wheel]) -> str:
    hashes: dict[str, list[str]] = {}
    for wheel in wheels:
        hashes.setdefault(f"{wheel.name}=={wheel.version}", []).append(f"--hash=sha256:{wheel.sha256}")
    return "".join(f"{name} {' '.join(each)}\n" for name, each in hashes.items())


def self_test(path: Path, engine: Engine) -> int:
    """Ask the questions of a bundle; returns how many, raises GateError if this machine answers otherwise."""
    with _opened(path) as (bundle, _):
        reference = parse_json(tuple[SelfTestAnswer, ...], bundle.read(SELF_TEST).decode())
    return compare(engine, reference)


def verify(path: Path) -> BundleContents:
    """Check every file of a bundle against its hash; returns what it says of itself, raises PackageError."""
    with _opened(path) as (bundle, contents):
        infos = bundle.infolist()
        names = [info.filename for info in infos if info.filename != CONTENTS]
        if len(infos) != len(names) + 1 or sorted(names) != sorted(contents.files):
            raise PackageError("bundle.other_files")
        for name, facts in contents.files.items():
            info = bundle.getinfo(name)
            digest = hashlib.sha256()
            if info.compress_type == ZIP_STORED and info.file_size == facts.bytes:
                with bundle.open(info) as file:
                    for block in _blocks(file):
                        digest.update(block)
            if digest.hexdigest() != facts.sha256:
                raise PackageError("bundle.file_changed", file=name)
    return contents


def check_installed(contents: BundleContents, package: Package) -> None:
    """Compare installed packages and the model with a bundle; raises PackageError for the first that differs."""
    for name, wanted in contents.wheels.items():
        try:
            installed = version(name)
        except PackageNotFoundError:
            raise PackageError("bundle.not_installed", name=name, version=wanted) from None
        if installed != wanted:
            raise PackageError("bundle.other_version", name=name, version=wanted, installed=installed)
    if package.sha256 != contents.package.sha256:
        raise PackageError("bundle.other_package")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[ZipFile, BundleContents]]:
    """Open a bundle and read its contents; raises PackageError for whatever is wrong with it."""
    try:
        if path.exists() and not path.is_file():
            raise OSError  # a pipe or a device may have no end
        with ZipFile(path) as bundle:
            info = bundle.getinfo(CONTENTS)
            if info.compress_type != ZIP_STORED or info.file_size > MAX_CONTENTS:
                raise PackageError("bundle.foreign_contents")
            text = bundle.read(info).decode()
            if load_json(text)["schema_version"] != SCHEMA_VERSION:
                raise PackageError("bundle.newer")
            yield bundle, parse_json(BundleContents, text)
    except FileNotFoundError:
        raise UsageError("bundle.no_file") from None
    except (OSError, BadZipFile, KeyError, TypeError, ValueError, RuntimeError, EOFError, JsonFault):
        raise PackageError("bundle.damaged") from None


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
