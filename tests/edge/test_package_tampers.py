"""More than a hundred ways to alter a package, each refused before onnxruntime is as much as imported."""

import json
import os

import pytest

import medrega_edge.inference.devices
from medrega_edge.engine import load
from medrega_edge.errors import PackageError
from medrega_edge.package.manifest import MANIFEST
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package
from tests.edge.linked_package import check_original, linked_copy, own

pytestmark = pytest.mark.slow  # seconds: the fast tests have a minute

FILES = {role: entry.path for role, entry in find_package().manifest.files.items()}


def flip(place):
    def change(path, _):
        data = bytearray(path.read_bytes())
        data[int(place * (len(data) - 1))] ^= 0x10
        path.write_bytes(data)

    return change


def swap(path, folder):
    names = sorted(FILES.values())
    other = own(folder / names[(names.index(path.name) + 1) % len(names)])
    one, two = path.read_bytes(), other.read_bytes()
    path.write_bytes(two)
    other.write_bytes(one)


def link(path, folder):
    path.rename(folder.parent / "elsewhere")
    path.symlink_to(folder.parent / "elsewhere")


def become_a_folder(path, _):
    path.unlink()
    path.mkdir()


def become_a_pipe(path, _):
    path.unlink()
    os.mkfifo(path)


CHANGES = {
    "first byte": flip(0.0),
    "byte in the middle": flip(0.5),
    "last byte": flip(1.0),
    "a byte less": lambda path, _: path.write_bytes(path.read_bytes()[:-1]),
    "a byte more": lambda path, _: path.write_bytes(path.read_bytes() + b"\0"),
    "half": lambda path, _: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "empty": lambda path, _: path.write_bytes(b""),
    "zeros": lambda path, _: path.write_bytes(bytes(path.stat().st_size)),
    "another file's content": swap,
    "missing": lambda path, _: path.unlink(),
    "renamed": lambda path, _: path.rename(path.with_name("x" + path.name)),
    "a link": link,
    "a folder": become_a_folder,
    "a pipe": become_a_pipe,
}


@pytest.fixture
def copy(tmp_path, monkeypatch):
    monkeypatch.setattr(medrega_edge.inference.devices, "load_onnxruntime", lambda: pytest.fail("onnxruntime was loaded"))
    return linked_copy(tmp_path / "package")


@pytest.fixture(scope="module", autouse=True)
def untouched():
    yield
    check_original()


@pytest.mark.parametrize("change", CHANGES)
@pytest.mark.parametrize("role", FILES)
def test_an_altered_file_is_refused(copy, role, change):
    CHANGES[change](own(copy / FILES[role]), copy)
    with pytest.raises(PackageError):
        load(copy)


def paths(name):
    return lambda text, data: json.dumps(
        data | {"files": data["files"] | {"vision": data["files"]["vision"] | {"path": name}}}
    )


MANIFESTS = {
    "no JSON": lambda text, data: text[:-10],
    "a key twice": lambda text, data: text.replace('"name"', '"name": "x",\n "name"', 1),
    "NaN": lambda text, data: text.replace('"image_size": ', '"image_size": NaN, "x": ', 1),
    "infinity": lambda text, data: json.dumps(data | {"vision": data["vision"] | {"mean": [1e400, 0, 0]}}),
    "a number beyond floats": lambda text, data: text.replace('"mean": [', '"mean": [1e400,', 1),
    "2^63": lambda text, data: json.dumps(data | {"decoder": data["decoder"] | {"layers": 2**63}}),
    "a number as text": lambda text, data: json.dumps(data | {"decoder": data["decoder"] | {"layers": "4"}}),
    "a fraction of layers": lambda text, data: json.dumps(data | {"decoder": data["decoder"] | {"layers": 4.0}}),
    "a list of files": lambda text, data: json.dumps(data | {"files": list(data["files"])}),
    "null": lambda text, data: json.dumps(data | {"vision": None}),
    "a newer schema": lambda text, data: json.dumps(data | {"schema_version": 99}),
    "an older schema": lambda text, data: json.dumps(data | {"schema_version": 0}),
    "an unknown key": lambda text, data: json.dumps(data | {"code": "import os"}),
    "nested for ever": lambda text, data: "[" * 200_000,
    "no text": lambda text, data: "\x00" * 100,
    "another case": paths("VISION.ONNX"),
    "full width": paths("ｖision.onnx"),
    "decomposed": paths("visio\u0301n.onnx"),
    "one folder up": paths("../vision.onnx"),
    "absolute": paths("/etc/passwd"),
    "a drive": paths("C:\\vision.onnx"),
    "a share": paths("\\\\host\\vision.onnx"),
    "a device": paths("/dev/zero"),
    "an open file": paths("/proc/self/fd/0"),
    "a folder inside": paths("sub/vision.onnx"),
    "the folder itself": paths("."),
    "nothing": paths(""),
    "a zero byte": paths("vision.onnx\x00.txt"),
    "the manifest": paths(MANIFEST),
}


@pytest.mark.parametrize("name", MANIFESTS)
def test_an_altered_manifest_is_refused(copy, name):
    path = copy / MANIFEST
    text = path.read_text(encoding="utf-8")
    path.write_text(MANIFESTS[name](text, json.loads(text)), encoding="utf-8")
    with pytest.raises(PackageError):
        load(copy)


@pytest.mark.parametrize("name", ["extra.bin", ".hidden", "vision.onnx.bak", "肝"])
def test_a_file_too_many_is_refused_by_verify(copy, name):
    (copy / name).write_bytes(b"x")
    with pytest.raises(PackageError):
        Package.open(copy).verify()


def test_there_are_enough_of_them():
    assert len(FILES) * len(CHANGES) + len(MANIFESTS) + 4 >= 120
