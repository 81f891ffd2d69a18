"""The default package, and what happens to one that was tampered with."""

import json
import shutil

import pytest

from medrega_edge.errors import PackageError
from medrega_edge.package.manifest import MANIFEST, Manifest
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder, find_package, list_packages


@pytest.fixture
def copy(tmp_path):
    return shutil.copytree(default_folder(), tmp_path / "模型")


def test_the_default_package_is_whole_small_and_found():
    package = find_package()
    package.verify()
    assert package.bytes < 30_000_000
    assert default_folder() in list_packages()


def test_a_manifest_survives_its_file():
    manifest = find_package().manifest
    assert Manifest.from_json(manifest.to_json()) == manifest


def roles():
    return sorted(find_package().manifest.files)


@pytest.mark.parametrize("role", roles())
def test_one_flipped_bit_is_found_before_any_graph_is_loaded(copy, role, monkeypatch):
    import medrega_edge.inference.devices

    monkeypatch.setattr(medrega_edge.inference.devices, "load_onnxruntime", lambda: pytest.fail("a graph was loaded"))
    path = copy / Package.open(copy).manifest.files[role].path
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    with pytest.raises(PackageError, match="signed off"):
        Package.open(copy).verify()
    from medrega_edge.engine import load

    with pytest.raises(PackageError, match="signed off"):
        load(copy)


@pytest.mark.parametrize("role", roles())
def test_a_missing_or_cut_file_is_found(copy, role):
    path = copy / Package.open(copy).manifest.files[role].path
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(PackageError, match="signed off"):
        Package.open(copy).verify()
    path.unlink()
    with pytest.raises(PackageError, match="missing"):
        Package.open(copy).verify()


def test_a_foreign_file_is_found(copy):
    (copy / "extra.bin").write_bytes(b"x")
    with pytest.raises(PackageError, match="extra.bin"):
        Package.open(copy).verify()


def test_a_link_is_refused(copy):
    path = copy / Package.open(copy).manifest.files["prompts"].path
    path.rename(copy.parent / "elsewhere")
    path.symlink_to(copy.parent / "elsewhere")
    with pytest.raises(PackageError, match="link"):
        Package.open(copy).verify()


def change(copy, edit):
    path = copy / MANIFEST
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "said"),
    [
        (lambda m: m.update(schema_version=2), "update medrega-edge"),
        (lambda m: m.pop("schema_version"), "schema_version"),
        (lambda m: m.update(colour="blue"), "unknown key 'colour'"),
        (lambda m: m["decoder"].update(colour="blue"), "unknown key 'colour'"),
        (lambda m: m["vision"].pop("mean"), "lacks the key 'mean'"),
        (lambda m: m["decoder"].update(layers="4"), "wrong value"),
        (lambda m: m["decoder"].update(layers=-1), "wrong value"),
        (lambda m: m["decoder"].update(layers=True), "wrong value"),
        (lambda m: m["files"].pop("decoder"), "lacks the file 'decoder'"),
        (lambda m: m["files"].update(virus=m["files"]["decoder"]), "unknown file role"),
        (lambda m: m["files"]["decoder"].update(path="../decoder.onnx"), "outside"),
        (lambda m: m["files"]["decoder"].update(path="/etc/passwd"), "outside"),
        (lambda m: m["files"]["decoder"].update(path="a\\b"), "outside"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused(copy, edit, said):
    change(copy, edit)
    with pytest.raises(PackageError, match=said):
        Package.open(copy).verify()


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1, "a": 2}', '{"schema_version": NaN}', "[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(copy, text):
    (copy / MANIFEST).write_text(text)
    with pytest.raises(PackageError):
        Package.open(copy)


def test_no_package_at_all(tmp_path):
    with pytest.raises(PackageError, match="no model package"):
        find_package(tmp_path)
    with pytest.raises(PackageError, match="model list"):
        find_package("no-such-package")
