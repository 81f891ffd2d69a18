"""The bundle: complete or refused, the same bytes twice, every altered byte noticed, an SBOM that says what is in it."""

import hashlib
import io
import json
import os
import shutil
import sys
import zipfile
from dataclasses import replace

import pytest

from medrega_edge import __version__
from medrega_edge.errors import GateError, PackageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.offline_bundle import bundle
from medrega_edge.offline_bundle.sbom import sbom
from medrega_edge.offline_bundle.wheels import needs_of, read_wheels
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder, find_package


def wheel(folder, name, version="1.0", needs=(), licence="MIT", tag="py3-none-any"):
    path = folder / f"{name.replace('-', '_')}-{version}-{tag}.whl"
    about = [f"Name: {name}", f"Version: {version}", f"License-Expression: {licence}"]
    about += [f"Requires-Dist: {need}" for need in needs]
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr(
            f"{path.name.split('-')[0]}-{version}.dist-info/METADATA", "\n".join(["Metadata-Version: 2.4", *about])
        )
    return path


@pytest.fixture
def wheels(tmp_path):
    folder = tmp_path / "wheels"
    folder.mkdir()
    wheel(
        folder, "medrega-edge", __version__, ["NumPy>=2", "Rich", "torch; extra == 'train'", "tomli; python_version < '3'"]
    )
    wheel(folder, "numpy", "2.9", tag="cp311-cp311-manylinux_2_28_x86_64", licence="BSD-3-Clause")
    wheel(folder, "numpy", "2.9", tag="cp312-cp312-manylinux_2_28_x86_64", licence="BSD-3-Clause")
    wheel(folder, "rich", needs=["numpy (>=1)"])
    return folder


@pytest.fixture
def made(tmp_path, wheels, engine):
    out = tmp_path / "bundle.zip"
    bundle.create(out, wheels, find_package(), engine)
    return out


def test_the_same_wheels_give_the_same_bytes(made, tmp_path, wheels, engine):
    os.utime(next(wheels.iterdir()), (1, 1))
    bundle.create(tmp_path / "again.zip", wheels, find_package(), engine)
    assert made.read_bytes() == (tmp_path / "again.zip").read_bytes()


def test_what_is_in_it(made, wheels):
    contents = bundle.verify(made)
    with zipfile.ZipFile(made) as archive:
        names = set(archive.namelist())
        materials, requirements = json.loads(archive.read("sbom.json")), archive.read("requirements.txt").decode()
        questions, readme = json.loads(archive.read("selftest.json")), archive.read("README.txt").decode()
    assert {f"wheels/{path.name}" for path in wheels.iterdir()} < names
    assert {f"package/{path.name}" for path in default_folder().iterdir()} < names
    assert contents.wheels == {"medrega-edge": __version__, "numpy": "2.9", "rich": "1.0"}
    assert requirements.count("--hash=sha256:") == 4
    assert "numpy==2.9 --hash" in requirements
    assert {row["task"] for row in questions} >= {"detect", "identify"}
    assert any(row["regions"] for row in questions)
    assert "--model medrega-bundle/package" in readme  # these wheels carry no package
    assert (materials["bomFormat"], materials["specVersion"]) == ("CycloneDX", "1.6")
    listed = {(each["name"], each["version"]) for each in materials["components"]}
    assert listed == {*contents.wheels.items(), (find_package().manifest.name, find_package().manifest.version)}
    hashes = {h["content"] for each in materials["components"] for h in each["hashes"]}
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in wheels.iterdir()} < hashes
    needs = {each["ref"]: each["dependsOn"] for each in materials["dependencies"]}
    assert needs["pkg:pypi/rich@1.0"] == ["pkg:pypi/numpy@2.9"]
    refs = {each["bom-ref"] for each in materials["components"]}
    assert set(needs) <= refs
    assert {ref for each in needs.values() for ref in each} <= refs


NEEDED = "A_b>=1"


def missing(name):
    return Message("bundle.missing_wheels", names=[name], name="medrega-edge")


def more(folder):
    """Let numpy need another package for its extra `more`."""
    for tag in ("cp311-cp311", "cp312-cp312"):
        wheel(folder, "numpy", "2.9", [f"{NEEDED}; extra == 'more'"], tag=f"{tag}-manylinux_2_28_x86_64")


def test_what_only_other_systems_and_unused_extras_need_may_be_missing(wheels):
    wheel(wheels, "rich", needs=[f"{NEEDED}; sys_platform == 'amiga'", f"{NEEDED}; python_version < '3'"])
    more(wheels)
    assert needs_of(read_wheels(wheels)) == {"medrega-edge": {"numpy", "rich"}, "numpy": set(), "rich": set()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda folder: next(folder.glob("rich*")).unlink(), missing("rich")),
        (lambda folder: wheel(folder, "rich", needs=[f"{NEEDED}; python_version > '3'"]), missing("a-b")),
        (lambda folder: wheel(folder, "rich", needs=[f"{NEEDED}; sys_platform == '{sys.platform}'"]), missing("a-b")),
        (lambda folder: wheel(folder, "rich", needs=["numpy[more]"]) and more(folder), missing("a-b")),
        (
            lambda folder: next(folder.glob("medrega*")).unlink(),
            Message("bundle.no_own_wheel", name="medrega-edge", version=__version__),
        ),
        (lambda folder: wheel(folder, "rich", "2.0"), Message("bundle.two_versions", name="rich")),
        (lambda folder: next(folder.glob("rich*")).write_bytes(b"PK"), Message("bundle.damaged_wheel")),
        (lambda folder: wheel(folder, "rich", needs=["no requirement!"]), Message("bundle.damaged_wheel")),
        (lambda folder: shutil.rmtree(folder), Message("bundle.no_wheel_folder")),
    ],
)
def test_wheels_that_will_not_do(wheels, tmp_path, engine, change, message):
    change(wheels)
    with pytest.raises(UsageError) as error:
        bundle.create(tmp_path / "b.zip", wheels, find_package(), engine)
    assert error.value.message == message
    assert not (tmp_path / "b.zip").exists()


@pytest.mark.parametrize(
    ("stated", "listed"),
    [
        ("MIT", {"expression": "MIT"}),
        ("bsd-3-clause and MIT", {"expression": "BSD-3-Clause AND MIT"}),
        ("A licence of our own", {"license": {"name": "A licence of our own"}}),
    ],
)
@pytest.mark.slow
def test_a_bill_of_materials_fits_its_official_schema(wheels, stated, listed):
    wheel(wheels, "rich", licence=stated)
    made = sbom(read_wheels(wheels), find_package())
    from cyclonedx.schema import SchemaVersion  # these two take seconds to import
    from cyclonedx.validation.json import JsonStrictValidator

    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(json.dumps(made)) is None
    (rich,) = (component for component in made["components"] if component["name"] == "rich")
    assert rich["licenses"] == [listed]


def test_an_altered_package_is_not_bundled(wheels, tmp_path, engine):
    shutil.copytree(default_folder(), tmp_path / "package")
    (tmp_path / "package" / "prompts.json").write_text("{}")
    with pytest.raises(PackageError) as error:
        bundle.create(tmp_path / "b.zip", wheels, Package.open(tmp_path / "package"), engine)
    assert error.value.code == "package.file_changed"
    assert not (tmp_path / "b.zip").exists()


def repacked(path, change):
    """The bundle with `change` applied to its files, by name."""
    with zipfile.ZipFile(path) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    change(files)
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    path.write_bytes(buffer.getvalue())


def refused(path, kind=PackageError):
    with pytest.raises(kind) as error:
        bundle.verify(path)
    return error.value.code


@pytest.mark.slow
def test_every_altered_file_is_noticed(made):
    whole = made.read_bytes()
    names = zipfile.ZipFile(made).namelist()
    for name in names:
        repacked(made, lambda files, name=name: files.update({name: files[name][:-1] + bytes([files[name][-1] ^ 1])}))
        with pytest.raises(PackageError):
            bundle.verify(made)
        made.write_bytes(whole)
    changes = (lambda files: files.pop("sbom.json"), lambda files: files.update({"wheels/more.whl": b"x"}))
    for change in changes:
        repacked(made, change)
        assert refused(made) == "bundle.other_files"
        made.write_bytes(whole)
    for data in (b"", b"no zip", whole[:-30], whole[: len(whole) // 2]):
        made.write_bytes(data)
        with pytest.raises(PackageError):
            bundle.verify(made)
    assert refused(made.parent / "nowhere.zip", UsageError) == "bundle.no_file"
    os.mkfifo(made.parent / "pipe")
    assert refused(made.parent / "pipe") == "bundle.damaged"


@pytest.mark.slow
def test_packed_and_newer_bundles_are_refused(made):
    with zipfile.ZipFile(made) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert refused(made) == "bundle.foreign_contents"
    files["bundle.json"] = files["bundle.json"].replace(b'"schema_version": 1', b'"schema_version": 2')
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    assert refused(made) == "bundle.newer"


def test_the_self_test_passes_here_and_fails_for_other_answers(made, engine):
    assert bundle.self_test(made, engine) >= 2

    def elsewhere(files):
        rows = json.loads(files["selftest.json"])
        rows[0]["regions"][0]["box"][0] += 30
        files["selftest.json"] = json.dumps(rows).encode()

    repacked(made, elsewhere)
    with pytest.raises(GateError) as error:
        bundle.self_test(made, engine)
    assert error.value.message == Message("bundle.other_answer", number=1)


def test_what_is_installed_is_held_against_it(made):
    contents = bundle.verify(made)

    def differs(wheels, package):
        with pytest.raises(PackageError) as error:
            bundle.check_installed(replace(contents, wheels=wheels, package=package), find_package())
        return error.value.code

    own = {"medrega-edge": __version__}
    bundle.check_installed(replace(contents, wheels=own), find_package())
    assert differs({"numpy": "2.9"}, contents.package) == "bundle.other_version"
    assert differs({"no-such-package": "1"}, contents.package) == "bundle.not_installed"
    assert differs(own, replace(contents.package, sha256="0")) == "bundle.other_package"
