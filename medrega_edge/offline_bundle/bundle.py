"""One file with all that a machine without a network needs: wheels, the model package, hashes, an SBOM, a self-test.

Knows zip files and wheels; opens no connection: the wheels are those of a folder that somebody filled (`pip download`).
The same wheels and package give the same bytes. Nothing in a bundle is compressed, so nothing in it can unfold.
"""

from __future__ import annotations

import hashlib
import json
import os
import re
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, PathDistribution, version
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any
from zipfile import ZIP_STORED, BadZipFile, ZipFile, ZipInfo
from zipfile import Path as ZipPath

from medrega_edge import __version__
from medrega_edge.errors import GateError, PackageError, UsageError
from medrega_edge.io.atomic import atomic_write
from medrega_edge.package.manifest import MANIFEST
from medrega_edge.package.package import Package

if TYPE_CHECKING:
    from medrega_edge.engine import Engine

SCHEMA_VERSION = 1
CONTENTS = "bundle.json"
OURS = "medrega-edge"
MAX_CONTENTS = 4 * 1024 * 1024
_BLOCK = 1 << 20
_EPOCH = (1980, 1, 1, 0, 0, 0)  # the first moment that a zip file can hold

SAMPLE = "abdomen-mri"
# What the self-test asks about the sample scan: task, question, box. What a package was not trained for is left out.
SELF_TEST: tuple[tuple[str, str, tuple[float, float, float, float] | None], ...] = (
    ("detect", "locate the liver", None),
    ("detect", "请定位肝脏", None),
    ("identify", "", (54.0, 72.0, 182.0, 194.0)),
    ("report", "", None),
)
TOLERANCE = 0.01  # of a side: another processor may round another way

README = """medrega-edge {version} with the model package {package}, for a machine without a network.

1. python3 -m zipfile -e BUNDLE medrega-bundle
2. python3 -m pip install --no-index --find-links medrega-bundle/wheels --require-hashes -r medrega-bundle/requirements.txt
3. medrega bundle verify BUNDLE{model}

The first unpacks this file, the second installs from it alone, the third holds every file against its hash, what is
installed against the bundle, and the answers of this machine against those of the machine where the bundle was made.

Research use only - not a medical device.
"""


@dataclass(frozen=True)
class Wheel:
    """One wheel: its name as pip spells names, its version, what it needs without condition, and its licence."""

    path: Path
    name: str
    version: str
    needs: tuple[str, ...]
    licence: str
    sha256: str


def create(out: Path, folder: Path, package: Package, engine: Engine) -> None:
    """Write a bundle of the wheels in `folder` and of a package, which `engine` has loaded.

    Raises UsageError when wheels are missing, PackageError when the package does not verify.
    """
    wheels = read_wheels(folder)
    package.verify()
    own = {f"wheels/{wheel.path.name}": wheel.path for wheel in wheels}
    names = [entry.path for entry in package.manifest.files.values()] + [MANIFEST]
    own |= {f"package/{name}": package.folder / name for name in names}
    shipped = any((package.folder / MANIFEST).read_bytes() == data for data in _shipped_manifests(wheels))
    title = f"{package.manifest.name} {package.manifest.version}"
    model = "" if shipped else " --model medrega-bundle/package"
    texts = {
        "README.txt": README.format(version=__version__, package=title, model=model),
        "requirements.txt": _requirements(wheels),
        "sbom.json": _json(sbom(wheels, package)),
        "selftest.json": _json(answers(engine)),
    }
    files = {name: _facts(text.encode()) for name, text in texts.items()}
    for name, path in own.items():
        files[name] = {"sha256": _sha256(path), "bytes": path.stat().st_size}
    contents = {
        "schema_version": SCHEMA_VERSION,
        "version": __version__,
        "package": {"name": package.manifest.name, "version": package.manifest.version, "sha256": package.sha256},
        "wheels": {wheel.name: wheel.version for wheel in wheels},
        "files": dict(sorted(files.items())),
    }
    with atomic_write(out) as file, ZipFile(file, "w", ZIP_STORED) as bundle:
        for name, text in {CONTENTS: _json(contents), **texts}.items():
            bundle.writestr(ZipInfo(name, _EPOCH), text)
        for name, path in sorted(own.items()):
            with path.open("rb") as source, bundle.open(ZipInfo(name, _EPOCH), "w", force_zip64=True) as target:
                for block in _blocks(source):
                    target.write(block)


def read_wheels(folder: Path) -> list[Wheel]:
    """Read every wheel of a folder, by name; raises UsageError when this program or something it needs is not there."""
    if not os.path.isdir(folder):
        raise UsageError("The folder of wheels is not there; fill one with: pip download medrega-edge -d FOLDER.")
    wheels = sorted((_wheel(path) for path in folder.glob("*.whl")), key=lambda wheel: (wheel.name, wheel.path.name))
    versions: dict[str, str] = {}
    for wheel in wheels:
        if versions.setdefault(wheel.name, wheel.version) != wheel.version:
            raise UsageError(f"The folder holds two versions of {wheel.name}; keep the one that is meant.")
    if versions.get(OURS) != __version__:
        raise UsageError(f"The folder holds no wheel of {OURS} {__version__}; build or download it, and what it needs.")
    missing = sorted({need for wheel in wheels for need in wheel.needs} - set(versions))
    if missing:
        raise UsageError(f"The folder lacks wheels of: {', '.join(missing)}; fill it with: pip download {OURS} -d FOLDER.")
    return wheels


def _wheel(path: Path) -> Wheel:
    try:
        with ZipFile(path) as archive:
            (place,) = (name for name in archive.namelist() if re.fullmatch(r"[^/]+\.dist-info/METADATA", name))
            found = PathDistribution(ZipPath(archive, place.removesuffix("METADATA")))
            about, requires = found.metadata.json, found.requires or []
    except (OSError, ValueError, BadZipFile):
        raise UsageError("A wheel in the folder is damaged; download it again.") from None
    needs = [re.match(r"[\w.-]+", each) for each in requires if ";" not in each]  # behind it stands a condition
    licence = str(about.get("license_expression") or about.get("license") or "").partition("\n")[0][:80]
    name, release = str(about["name"]), str(about["version"])
    return Wheel(path, _name(name), release, tuple(_name(n[0]) for n in needs if n), licence, _sha256(path))


def _name(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


def _shipped_manifests(wheels: list[Wheel]) -> Iterator[bytes]:
    for wheel in wheels:
        if wheel.name == OURS:
            with ZipFile(wheel.path) as archive:
                name = f"medrega_edge/default_package/{MANIFEST}"
                if name in archive.namelist():
                    yield archive.read(name)


def _requirements(wheels: list[Wheel]) -> str:
    hashes: dict[str, list[str]] = {}
    for wheel in wheels:
        hashes.setdefault(f"{wheel.name}=={wheel.version}", []).append(f"--hash=sha256:{wheel.sha256}")
    return "".join(f"{name} {' '.join(each)}\n" for name, each in hashes.items())


def sbom(wheels: list[Wheel], package: Package) -> dict[str, Any]:
    """The bill of materials as CycloneDX 1.6: each wheel and the model, with hashes, licences and what needs what."""
    components: dict[str, dict[str, Any]] = {}
    for wheel in wheels:
        ref = f"pkg:pypi/{wheel.name}@{wheel.version}"
        about: dict[str, Any] = {
            "type": "library",
            "bom-ref": ref,
            "name": wheel.name,
            "version": wheel.version,
            "purl": ref,
        }
        if wheel.licence:
            about["licenses"] = [{"license": {"name": wheel.licence}}]
        components.setdefault(ref, about).setdefault("hashes", []).append({"alg": "SHA-256", "content": wheel.sha256})
    manifest = package.manifest
    model = f"{manifest.name}@{manifest.version}"
    components[model] = {
        "type": "machine-learning-model",
        "bom-ref": model,
        "name": manifest.name,
        "version": manifest.version,
        "hashes": [{"alg": "SHA-256", "content": package.sha256}],
        "components": [
            {"type": "file", "name": entry.path, "hashes": [{"alg": "SHA-256", "content": entry.sha256}]}
            for entry in manifest.files.values()
        ],
    }
    refs = {wheel.name: f"pkg:pypi/{wheel.name}@{wheel.version}" for wheel in wheels}
    needs = {refs[wheel.name]: sorted({refs[need] for need in wheel.needs}) for wheel in wheels}
    needs[refs[OURS]].append(model)
    return {
        "bomFormat": "CycloneDX",
        "specVersion": "1.6",
        "serialNumber": f"urn:uuid:{uuid.uuid5(uuid.NAMESPACE_OID, _json(list(components.values())))}",
        "version": 1,
        "metadata": {"component": components[refs[OURS]] | {"type": "application", "bom-ref": OURS}},
        "components": list(components.values()),
        "dependencies": [{"ref": ref, "dependsOn": each} for ref, each in needs.items()],
    }


def answers(engine: Engine) -> list[dict[str, Any]]:
    """What this machine answers to the questions of the self-test that the package was trained for."""
    from medrega_edge.images.samples import sample_path

    image = engine.open(sample_path(SAMPLE))
    rows = []
    for task, question, box in SELF_TEST:
        if task in engine.tasks:
            answer = engine.ask(image, question, task, "en" if question.isascii() else "zh", box)
            regions = [{"label": region.label, "box": [round(v, 2) for v in region.box]} for region in answer.regions]
            rows.append({"task": task, "question": question, "box": box, "text": answer.text, "regions": regions})
    return rows


def self_test(path: Path, engine: Engine) -> int:
    """Ask what the bundle asks, and return how many questions; raises GateError when this machine answers otherwise."""
    from medrega_edge.images.samples import sample_path

    with _opened(path) as (bundle, _):
        wanted = json.loads(bundle.read("selftest.json"))
    given = answers(engine)
    picture = engine.open(sample_path(SAMPLE)).image
    slack = TOLERANCE * max(picture.width, picture.height)
    if len(given) != len(wanted):
        raise GateError("The self-test has other questions than this program asks; install the bundle's own wheels.")
    for number, (one, other) in enumerate(zip(wanted, given, strict=True), 1):
        if not _alike(one, other, slack):
            raise GateError(f"This machine answers question {number} of the self-test otherwise than it was; report it.")
    return len(given)


def _alike(one: dict[str, Any], other: dict[str, Any], slack: float) -> bool:
    labels = [[region["label"] for region in row["regions"]] for row in (one, other)]
    if one["question"] != other["question"] or one["text"] != other["text"] or labels[0] != labels[1]:
        return False
    pairs = zip(one["regions"], other["regions"], strict=True)
    return all(abs(a - b) <= slack for r, s in pairs for a, b in zip(r["box"], s["box"], strict=True))


def verify(path: Path) -> dict[str, Any]:
    """Hold every file of a bundle against its hash, and return what the bundle says it is; raises PackageError."""
    with _opened(path) as (bundle, contents):
        infos = bundle.infolist()
        names = [info.filename for info in infos if info.filename != CONTENTS]
        if len(infos) != len(names) + 1 or sorted(names) != sorted(contents["files"]):
            raise PackageError("The bundle holds other files than it lists; get it again.")
        for name, facts in contents["files"].items():
            info = bundle.getinfo(name)
            digest = hashlib.sha256()
            if info.compress_type == ZIP_STORED and info.file_size == facts["bytes"]:
                with bundle.open(info) as file:
                    for block in _blocks(file):
                        digest.update(block)
            if digest.hexdigest() != facts["sha256"]:
                raise PackageError(f"'{name}' in the bundle is not the file that was put there; get the bundle again.")
    return contents


def check_installed(contents: dict[str, Any], package: Package) -> None:
    """Hold what is installed against a bundle; raises PackageError."""
    for name, wanted in contents["wheels"].items():
        try:
            there = version(name)
        except PackageNotFoundError:
            there = "none"
        if there != wanted:
            raise PackageError(f"The bundle has {name} {wanted}, installed is {there}; install it as its README.txt says.")
    if package.sha256 != contents["package"]["sha256"]:
        raise PackageError("The model package in use is not the bundle's; name that with --model, as its README.txt says.")


@contextmanager
def _opened(path: Path) -> Iterator[tuple[ZipFile, dict[str, Any]]]:
    """A bundle and what it says of itself; whatever is wrong with it as a zip file is a PackageError."""
    try:
        if path.exists() and not path.is_file():
            raise OSError  # a pipe or a device may have no end
        with ZipFile(path) as bundle:
            info = bundle.getinfo(CONTENTS)
            if info.compress_type != ZIP_STORED or info.file_size > MAX_CONTENTS:
                raise PackageError("The list of the bundle's files is not one of ours; get the bundle again.")
            contents = json.loads(bundle.read(info))
            if contents["schema_version"] != SCHEMA_VERSION:
                raise PackageError("The bundle was written by a newer program; use the medrega-edge that is in it.")
            yield bundle, contents
    except FileNotFoundError:
        raise UsageError("There is no file at the path given for the bundle; check the path.") from None
    except (OSError, BadZipFile, KeyError, TypeError, ValueError, RuntimeError, EOFError):
        raise PackageError("The file is no bundle of medrega, or is damaged; get it again.") from None


def _blocks(file: IO[bytes]) -> Iterator[bytes]:
    while block := file.read(_BLOCK):
        yield block


def _sha256(path: Path) -> str:
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _facts(data: bytes) -> dict[str, Any]:
    return {"sha256": hashlib.sha256(data).hexdigest(), "bytes": len(data)}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False, indent=1) + "\n"
