"""The bundle: complete or refused, the same bytes twice, every altered byte noticed, an SBOM that says what is in it."""

import hashlib
import io
import json
import os
import shutil
import zipfile

import pytest

from medrega_edge import __version__
from medrega_edge.errors import GateError, PackageError, UsageError
from medrega_edge.offline_bundle import bundle
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
    assert contents["wheels"] == {"medrega-edge": __version__, "numpy": "2.9", "rich": "1.0"}
    assert requirements.count("--hash=sha256:") == 4
    assert "numpy==2.9 --hash" in requirements
    assert {row["task"] for row in questions} >= {"detect", "identify"}
    assert any(row["regions"] for row in questions)
    assert "--model medrega-bundle/package" in readme  # these wheels carry no package
    assert (materials["bomFormat"], materials["specVersion"]) == ("CycloneDX", "1.6")
    listed = {(each["name"], each["version"]) for each in materials["components"]}
    assert listed == {*contents["wheels"].items(), (find_package().manifest.name, find_package().manifest.version)}
    hashes = {h["content"] for each in materials["components"] for h in each["hashes"]}
    assert {hashlib.sha256(path.read_bytes()).hexdigest() for path in wheels.iterdir()} < hashes
    needs = {each["ref"]: each["dependsOn"] for each in materials["dependencies"]}
    assert needs["pkg:pypi/rich@1.0"] == ["pkg:pypi/numpy@2.9"]
    refs = {each["bom-ref"] for each in materials["components"]}
    assert set(needs) <= refs
    assert {ref for each in needs.values() for ref in each} <= refs


@pytest.mark.parametrize(
    ("change", "sentence"),
    [
        (lambda folder: next(folder.glob("rich*")).unlink(), "lacks wheels of: rich"),
        (lambda folder: next(folder.glob("medrega*")).unlink(), "no wheel of medrega-edge"),
        (lambda folder: wheel(folder, "rich", "2.0"), "two versions of rich"),
        (lambda folder: next(folder.glob("rich*")).write_bytes(b"PK"), "damaged"),
        (lambda folder: shutil.rmtree(folder), "not there"),
    ],
)
def test_wheels_that_will_not_do(wheels, tmp_path, engine, change, sentence):
    change(wheels)
    with pytest.raises(UsageError, match=sentence):
        bundle.create(tmp_path / "b.zip", wheels, find_package(), engine)
    assert not (tmp_path / "b.zip").exists()


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
        with pytest.raises(PackageError, match="other files"):
            bundle.verify(made)
        made.write_bytes(whole)
    for data in (b"", b"no zip", whole[:-30], whole[: len(whole) // 2]):
        made.write_bytes(data)
        with pytest.raises(PackageError):
            bundle.verify(made)
    with pytest.raises(UsageError, match="no file"):
        bundle.verify(made.parent / "nowhere.zip")
    os.mkfifo(made.parent / "pipe")
    with pytest.raises(PackageError, match="no bundle"):
        bundle.verify(made.parent / "pipe")


def test_packed_and_newer_bundles_are_refused(made):
    with zipfile.ZipFile(made) as archive:
        files = {name: archive.read(name) for name in archive.namelist()}
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(PackageError, match="one of ours"):
        bundle.verify(made)
    files["bundle.json"] = files["bundle.json"].replace(b'"schema_version": 1', b'"schema_version": 2')
    with zipfile.ZipFile(made, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
    with pytest.raises(PackageError, match="newer"):
        bundle.verify(made)


def test_the_self_test_passes_here_and_fails_for_other_answers(made, engine):
    assert bundle.self_test(made, engine) >= 2

    def elsewhere(files):
        rows = json.loads(files["selftest.json"])
        rows[0]["regions"][0]["box"][0] += 30
        files["selftest.json"] = json.dumps(rows).encode()

    repacked(made, elsewhere)
    with pytest.raises(GateError, match="question 1"):
        bundle.self_test(made, engine)


def test_what_is_installed_is_held_against_it(made):
    contents = bundle.verify(made)
    with pytest.raises(PackageError, match="The bundle has numpy 2.9, installed is"):
        bundle.check_installed(contents, find_package())
    contents["wheels"] = {"medrega-edge": __version__}
    bundle.check_installed(contents, find_package())
    contents["package"]["sha256"] = "0"
    with pytest.raises(PackageError, match="--model"):
        bundle.check_installed(contents, find_package())
