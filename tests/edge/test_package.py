"""The default package, and what happens to one that was tampered with."""

import json
import shutil

import pytest

from medrega_edge.errors import PackageError
from medrega_edge.package.manifest import MANIFEST, Manifest
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder, find_package, list_packages
from tests.edge.linked_package import check_original, linked_copy, own


@pytest.fixture
def copy(tmp_path):
    return linked_copy(tmp_path / "模型")


@pytest.fixture(scope="module", autouse=True)
def untouched():
    yield
    check_original()


def refused(call):
    """The code of the error with which `call` refuses the package."""
    with pytest.raises(PackageError) as error:
        call()
    return error.value.code


def test_the_default_package_is_whole_small_and_found():
    package = find_package()
    package.verify()
    assert package.total_bytes < 30_000_000
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
    path = own(copy / Package.open(copy).manifest.files[role].path)
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)
    assert refused(Package.open(copy).verify) == "package.file_changed"
    from medrega_edge.engine import load

    assert refused(lambda: load(copy)) == "package.file_changed"


@pytest.mark.parametrize("role", roles())
def test_a_missing_or_cut_file_is_found(copy, role):
    path = own(copy / Package.open(copy).manifest.files[role].path)
    path.write_bytes(path.read_bytes()[:-1])
    assert refused(Package.open(copy).verify) == "package.file_changed"
    path.unlink()
    assert refused(Package.open(copy).verify) == "package.missing_file"


def test_a_foreign_file_is_found(copy):
    (copy / "extra.bin").write_bytes(b"x")
    with pytest.raises(PackageError) as error:
        Package.open(copy).verify()
    assert (error.value.code, error.value.message.params) == ("package.extra_file", {"file": "extra.bin"})


def test_a_link_is_refused(copy):
    path = copy / Package.open(copy).manifest.files["prompts"].path
    path.rename(copy.parent / "elsewhere")
    path.symlink_to(copy.parent / "elsewhere")
    assert refused(Package.open(copy).verify) == "package.not_a_plain_file"


def change(copy, edit):
    path = copy / MANIFEST
    data = json.loads(path.read_text(encoding="utf-8"))
    edit(data)
    path.write_text(json.dumps(data), encoding="utf-8")


@pytest.mark.parametrize(
    ("edit", "code", "at_fault"),
    [
        (lambda m: m.update(schema_version=3), "newer_schema", 3),
        (lambda m: m.update(schema_version=True), "wrong_value", "schema_version"),
        (lambda m: m.update(schema_version="1"), "unknown_schema", "manifest.json"),
        (lambda m: m.pop("schema_version"), "unknown_schema", "manifest.json"),
        (lambda m: m.update(colour="blue"), "unknown_key", "colour"),
        (lambda m: m["decoder"].update(colour="blue"), "unknown_key", "decoder.colour"),
        (lambda m: m["files"]["card"].update(colour="blue"), "unknown_key", "files.card.colour"),
        (lambda m: m.pop("decoder"), "missing_key", "decoder"),
        (lambda m: m["vision"].pop("mean"), "missing_key", "vision.mean"),
        (lambda m: m["decoder"].update(layers="4"), "wrong_value", "decoder.layers"),
        (lambda m: m["decoder"].update(layers=-1), "wrong_value", "decoder.layers"),
        (lambda m: m["decoder"].update(layers=True), "wrong_value", "decoder.layers"),
        (lambda m: m["decoder"].update(layers=4.0), "wrong_value", "decoder.layers"),
        (lambda m: m["decoder"].update(layers=2**53), "wrong_value", "decoder.layers"),
        (lambda m: m["vision"].update(mean=[0, 0]), "wrong_value", "vision.mean"),
        (lambda m: m["vision"].update(mean=[0, 0, 1e9]), "wrong_value", "vision.mean.2"),
        (lambda m: m.update(calibration=[1]), "wrong_value", "calibration"),
        (lambda m: m["vision"].update(fit="crop"), "wrong_value", "vision.fit"),
        (lambda m: m.pop("regions"), "missing_key", "regions"),
        (lambda m: m["files"].pop("decoder"), "missing_role", "decoder"),
        (lambda m: m["files"].update(virus=m["files"]["decoder"]), "unknown_role", "virus"),
        (lambda m: m["files"]["decoder"].update(path="../decoder.onnx"), "outside_folder", "decoder"),
        (lambda m: m["files"]["decoder"].update(path="/etc/passwd"), "outside_folder", "decoder"),
        (lambda m: m["files"]["decoder"].update(path="a\\b"), "outside_folder", "decoder"),
    ],
)
def test_a_manifest_that_does_not_fit_is_refused_and_the_key_at_fault_named(copy, edit, code, at_fault):
    change(copy, edit)
    with pytest.raises(PackageError) as error:
        Package.open(copy).verify()
    assert error.value.code == f"package.{code}"
    assert at_fault in error.value.message.params.values()


def test_a_key_that_stands_twice_is_refused(copy):
    path = copy / MANIFEST
    path.write_text(path.read_text("utf-8").replace('"tokens": 64', '"tokens": 64, "tokens": 65'), "utf-8")
    assert refused(lambda: Package.open(copy)) == "package.duplicate_key"


def test_an_older_manifest_is_read(copy):
    change(copy, lambda m: m.pop("calibration"))
    assert Package.open(copy).manifest.calibration == ()


def test_a_refused_value_stays_out_of_the_message(copy):
    change(copy, lambda m: m["decoder"].update(layers="DOE^JANE"))
    with pytest.raises(PackageError) as error:
        Package.open(copy)
    assert "DOE" not in json.dumps(error.value.to_dict())
    assert error.value.__cause__ is None


@pytest.mark.parametrize("text", ["", "{", "[]", '{"a": 1, "a": 2}', '{"schema_version": NaN}', "[" * 100_000])
def test_a_manifest_that_is_no_manifest_is_refused(copy, text):
    (copy / MANIFEST).write_text(text)
    with pytest.raises(PackageError):
        Package.open(copy)


@pytest.mark.parametrize("place", [".medrega", ".data/medrega"])
def test_a_users_own_package_is_found_by_name_in_the_new_and_the_old_place(tmp_path, monkeypatch, place):
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("XDG_DATA_HOME", str(tmp_path / ".data"))
    assert list_packages() == [default_folder()]
    own = tmp_path / place / "packages" / "mine"
    shutil.copytree(default_folder(), own)
    assert find_package("mine").folder == own
    assert list_packages() == [default_folder(), own]


def test_no_package_at_all(tmp_path):
    assert refused(lambda: find_package(tmp_path)) == "package.no_manifest"
    assert refused(lambda: find_package("no-such-package")) == "package.not_found"
