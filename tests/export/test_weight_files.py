"""Every way in which a folder may hold weights: read as transformers reads it, or refused by name.

Two states of one model lie in each folder, so a file that is read by mistake shows in the numbers.
"""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "onnx"):
    pytest.importorskip(name)

from conftest import original_model
from test_layouts import CLOSE, embeddings, export_fp32, logits

from medrega_edge.errors import UsageError
from medrega_export import ExportOptions
from medrega_export.checkpoint import checkpoint, lora
from medrega_export.checkpoint.weight_files import INDEX, SINGLE
from medrega_export.preflight import inspect
from tests.codes import raises_code

A, B = "model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors"
State = dict[str, "object"]


@pytest.fixture(scope="module")
def states(checkpoint_folder: Path) -> tuple[State, State]:
    """The weights that are meant, and others of the same shapes that an earlier training left behind."""
    from safetensors.torch import load_file

    meant = load_file(checkpoint_folder / SINGLE)
    return meant, {name: value * 1.5 + 0.1 for name, value in meant.items()}


class Folder:
    """A checkpoint without weights, and ways to put some in."""

    def __init__(self, path: Path, meant: State, stale: State) -> None:
        self.path, self.meant, self.stale = path, meant, stale
        self.names = sorted(meant)

    def half(self, state: State, second: bool) -> State:
        return {name: state[name] for name in self.names[second::2]}

    def save(self, tensors: State, file: str) -> None:
        from safetensors.torch import save_file

        (self.path / file).parent.mkdir(parents=True, exist_ok=True)
        save_file(tensors, self.path / file, metadata={"format": "pt"})

    def index(self, first: str = A, second: str = B, file: str = INDEX, **changes: str) -> None:
        names = {name: (first, second)[i % 2] for i, name in enumerate(self.names)} | changes
        self.path.joinpath(file).write_text(json.dumps({"metadata": {}, "weight_map": names}), encoding="utf-8")

    def shards(self, first: str = A, second: str = B) -> None:
        self.save(self.half(self.meant, False), first)
        self.save(self.half(self.meant, True), second)

    def config(self, **changes: object) -> None:
        config = json.loads((self.path / "config.json").read_text(encoding="utf-8"))
        (self.path / "config.json").write_text(json.dumps(config | changes), encoding="utf-8")


@pytest.fixture
def folder(checkpoint_folder: Path, states: tuple[State, State], tmp_path: Path) -> Folder:
    path = tmp_path / "checkpoint"
    shutil.copytree(checkpoint_folder, path, ignore=shutil.ignore_patterns("*.safetensors"))
    return Folder(path, *states)


def one_file(f: Folder) -> None:
    f.save(f.meant, SINGLE)


def one_file_over_an_index(f: Folder) -> None:
    f.save(f.meant, SINGLE)
    f.index()
    f.save(f.half(f.stale, False), A)
    f.save(f.half(f.stale, True), B)


def one_file_over_a_broken_index(f: Folder) -> None:
    f.save(f.meant, SINGLE)
    f.index("gone.safetensors")


def an_index(f: Folder) -> None:
    f.shards()
    f.index()


def an_index_over_stale_shards(f: Folder) -> None:
    """What a second `push_to_hub` leaves: the old shards have another count in their names."""
    an_index(f)
    for i in range(4):
        f.save({name: f.stale[name] for name in f.names[i::4]}, f"model-0000{i + 1}-of-00004.safetensors")


def an_index_over_other_files(f: Folder) -> None:
    an_index(f)
    f.save(f.stale, "model.fp16.safetensors")
    f.save(f.stale, "zz-last.safetensors")
    (f.path / "pytorch_model.bin").write_bytes(b"pickle")
    (f.path / "pytorch_model.bin.index.json").write_text("{}", encoding="utf-8")


def an_index_of_subfolders(f: Folder) -> None:
    f.shards("weights/a.safetensors", "weights/b/a.safetensors")
    f.index("weights/a.safetensors", "./weights/b/a.safetensors")


def an_index_of_links(f: Folder) -> None:
    """The cache of a model hub holds links to files elsewhere."""
    an_index(f)
    for file in (A, B):
        (f.path / file).rename(f.path.parent / f"blob-{file}")
        (f.path / file).symlink_to(os.path.join("..", f"blob-{file}"))


def more_than_the_index_says(f: Folder) -> None:
    an_index(f)
    names = json.loads((f.path / INDEX).read_text(encoding="utf-8"))["weight_map"]
    names.popitem()
    (f.path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": names}), encoding="utf-8")


def a_file_that_the_config_names(f: Folder) -> None:
    f.save(f.stale, SINGLE)
    f.save(f.meant, "other.safetensors")
    f.config(transformers_weights="other.safetensors")


def an_index_that_the_config_names(f: Folder) -> None:
    f.save(f.stale, SINGLE)
    f.shards()
    f.index(file="other.safetensors.index.json")
    f.config(transformers_weights="other.safetensors.index.json")


READ = [
    one_file,
    one_file_over_an_index,
    one_file_over_a_broken_index,
    an_index,
    an_index_over_stale_shards,
    an_index_over_other_files,
    an_index_of_subfolders,
    an_index_of_links,
    more_than_the_index_says,
    a_file_that_the_config_names,
    an_index_that_the_config_names,
]


@pytest.mark.parametrize("write", READ, ids=lambda write: write.__name__)
def test_weights_are_those_of_transformers(write: Callable[[Folder], None], folder: Folder) -> None:
    import torch

    write(folder)
    read = checkpoint.load(folder.path).weights
    expected = {lora.plain_name(name): value for name, value in original_model(folder.path).state_dict().items()}
    assert read.keys() == expected.keys()
    assert [name for name, value in expected.items() if not torch.equal(read[name].read(), value)] == []
    for name, value in folder.meant.items():
        assert torch.equal(read[lora.plain_name(name)].read(), value)


def test_an_export_over_stale_shards_computes_what_transformers_does(folder: Folder, tmp_path: Path) -> None:
    import torch

    an_index_over_stale_shards(folder)
    package = export_fp32(folder.path, tmp_path / "package")
    ids = np.array([1, 40, 41, 42, 43, 44, 45])
    with torch.no_grad():
        expected = original_model(folder.path)(input_ids=torch.from_numpy(ids)[None]).logits[0].numpy()
    given = logits(package, embeddings(package, ids, np.zeros((0, 1), np.float32)))
    assert np.abs(given - expected).max() < CLOSE * np.abs(expected).max()
    assert list(json.loads(package.text("certificate"))["weights"]) == [A, B]  # the hashes are of what was read
    (warning,) = inspect(ExportOptions(folder.path, tmp_path / "next")).warnings
    assert warning.code == "export.weight_files_unread"
    assert warning.params["files"] == tuple(f"model-0000{i}-of-00004.safetensors" for i in range(1, 5))


def no_file(f: Folder) -> None:
    pass


def a_pickle(f: Folder) -> None:
    (f.path / "pytorch_model.bin").write_bytes(b"pickle")


def a_variant_alone(f: Folder) -> None:
    f.save(f.meant, "model.fp16.safetensors")


def shards_without_an_index(f: Folder) -> None:
    f.shards()


def a_tensor_in_two_files(f: Folder) -> None:
    an_index(f)
    f.save(f.half(f.meant, True) | {f.names[0]: f.stale[f.names[0]]}, B)


def a_tensor_in_another_file(f: Folder) -> None:
    an_index(f)
    f.index(**{f.names[0]: B})


def a_tensor_in_no_file(f: Folder) -> None:
    an_index(f)
    f.index(absent=A)


def a_missing_shard(f: Folder) -> None:
    an_index(f)
    (f.path / B).unlink()


def an_index_of_nothing(f: Folder) -> None:
    (f.path / INDEX).write_text(json.dumps({"metadata": {}, "weight_map": {}}), encoding="utf-8")


def an_index_without_a_map(f: Folder) -> None:
    (f.path / INDEX).write_text(json.dumps({"metadata": {}}), encoding="utf-8")


def an_index_cut_off(f: Folder) -> None:
    an_index(f)
    (f.path / INDEX).write_text((f.path / INDEX).read_text(encoding="utf-8")[:-9], encoding="utf-8")


def an_index_of_a_pickle(f: Folder) -> None:
    f.index("pytorch_model-00001-of-00002.bin")


def an_index_of_a_number(f: Folder) -> None:
    f.index(absent=3)


def an_index_that_leaves_the_folder(f: Folder) -> None:
    f.shards("../a.safetensors")
    f.index("../a.safetensors")


def an_index_that_leaves_by_a_subfolder(f: Folder) -> None:
    f.index("sub/../../a.safetensors")


def an_index_that_leaves_by_a_root(f: Folder) -> None:
    f.index(str(f.path.parent / "a.safetensors"))


def an_index_that_leaves_by_a_drive(f: Folder) -> None:
    f.index("C:\\a.safetensors")


def a_config_that_leaves_the_folder(f: Folder) -> None:
    f.save(f.meant, "../a.safetensors")
    f.config(transformers_weights="../a.safetensors")


def a_config_that_names_no_file(f: Folder) -> None:
    f.save(f.meant, SINGLE)
    f.config(transformers_weights="other.safetensors")


def a_config_that_names_a_pickle(f: Folder) -> None:
    f.save(f.meant, SINGLE)
    f.config(transformers_weights="pytorch_model.bin")


def an_adapter_beside_the_weights(f: Folder) -> None:
    f.save(f.meant, SINGLE)
    (f.path / lora.CONFIG).write_text("{}", encoding="utf-8")


def parts_of_several_processes(f: Folder) -> None:
    f.save(f.meant, SINGLE)
    f.save(f.stale, "shard-00001-model-00001-of-00002.safetensors")


def two_names_of_one_weight(f: Folder) -> None:
    old = next(name for name in f.names if name.startswith("language_model.model."))
    new = old.replace("language_model.model.", "model.language_model.")
    f.save(f.meant | {new: f.stale[old]}, SINGLE)


REFUSED = [
    (no_file, "export.no_weights"),
    (a_pickle, "export.no_weights"),
    (a_variant_alone, "export.no_weights"),
    (shards_without_an_index, "export.no_weights"),
    (a_tensor_in_two_files, "export.tensor_twice"),
    (a_tensor_in_another_file, "export.index_contradicted"),
    (a_tensor_in_no_file, "export.index_contradicted"),
    (a_missing_shard, "export.weight_files_missing"),
    (an_index_of_nothing, "export.index_without_files"),
    (an_index_without_a_map, "export.index_without_files"),
    (an_index_cut_off, "export.file_not_json"),
    (an_index_of_a_pickle, "export.weights_not_safetensors"),
    (an_index_of_a_number, "export.weights_outside"),
    (an_index_that_leaves_the_folder, "export.weights_outside"),
    (an_index_that_leaves_by_a_subfolder, "export.weights_outside"),
    (an_index_that_leaves_by_a_root, "export.weights_outside"),
    (an_index_that_leaves_by_a_drive, "export.weights_outside"),
    (a_config_that_leaves_the_folder, "export.weights_outside"),
    (a_config_that_names_no_file, "export.weight_files_missing"),
    (a_config_that_names_a_pickle, "export.weights_not_safetensors"),
    (an_adapter_beside_the_weights, "export.adapter_in_checkpoint"),
    (parts_of_several_processes, "export.weights_distributed"),
    (two_names_of_one_weight, "export.weight_named_twice"),
]


@pytest.mark.parametrize(("write", "code"), REFUSED, ids=lambda value: getattr(value, "__name__", ""))
def test_other_folders_are_refused(write: Callable[[Folder], None], code: str, folder: Folder) -> None:
    write(folder)
    with raises_code(UsageError, code):
        checkpoint.load(folder.path)


def test_the_document_counts_the_cells() -> None:
    text = (Path(__file__).parents[2] / "docs" / "conformance.md").read_text(encoding="utf-8")
    assert f"(`test_weight_files.py`) | {len(READ)} | {len(REFUSED)} |" in text
