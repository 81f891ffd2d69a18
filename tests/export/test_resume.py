"""An export that was stopped goes on where it was, and gives the very bytes of one that was not."""

# ruff: noqa: TID251 - exporting needs torch; the ban is for the runtime
from __future__ import annotations

import hashlib
import json
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

pytestmark = pytest.mark.export
for name in ("torch", "transformers", "gptqmodel", "onnx", "tokenizers"):
    pytest.importorskip(name)

from medrega_edge.errors import GateError, ResourceError, UsageError
from medrega_edge.evaluation.gates import read_gates
from medrega_edge.i18n.message import Message
from medrega_export import ExportOptions, export
from medrega_export.pipeline import enforce_gates
from medrega_export.quantisation.recipe import FULL
from medrega_export.workspace import Workspace, fingerprint
from tests.codes import raises_code


class Stopped(Exception):
    """The power goes."""


def everything(folder: Path) -> dict[str, str]:
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def test_stopped_at_every_stage(checkpoint_folder: Path, questions_file: Path, tmp_path: Path) -> None:
    """Package, certificate, manifest, card and GPTQ checkpoint; finished layers are not quantised again."""
    root = tmp_path / "here"

    def options() -> ExportOptions:
        return ExportOptions(
            checkpoint_folder, root / "package", questions_file, certify=questions_file, keep_checkpoint=root / "gptq"
        )

    heard: list[Message] = []
    export(options(), heard.append)
    whole = everything(root)
    shutil.rmtree(root)
    layers = []
    for stage in dict.fromkeys(heard):

        def notify(message: Message, stage: Message = stage) -> None:
            layers.extend([message] if message.code == "export.quantising_layer" else [])
            if message == stage:
                raise Stopped

        with pytest.raises(Stopped):
            export(options(), notify)
        assert not (root / "package").exists() and not (root / "gptq").exists()
    export(options(), heard.append)
    assert everything(root) == whole
    assert len(layers) == 2 * len(set(layers))  # each was announced twice: when the power went, and when it was done
    assert sorted(path.name for path in root.iterdir()) == ["gptq", "package"]


def test_stopped_while_results_are_moved(checkpoint_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the old package gone and the new one not yet in its place, the same command finishes without --force."""
    options = {"checkpoint": checkpoint_folder, "out": tmp_path / "package", "recipe": FULL}
    export(ExportOptions(**options))
    whole, rename = everything(tmp_path), Path.rename

    def stop(path: Path, target: Path) -> Path:
        if path.name.endswith(".new"):
            raise Stopped
        return rename(path, target)

    monkeypatch.setattr(Path, "rename", stop)
    with pytest.raises(Stopped):
        export(ExportOptions(**options, force=True))
    monkeypatch.undo()
    assert not (tmp_path / "package").exists()
    export(ExportOptions(**options))
    assert everything(tmp_path) == whole


def test_a_missed_gate_keeps_the_work(checkpoint_folder: Path, questions_file: Path, tmp_path: Path) -> None:
    """What stood at the target stays; with another gate the same bytes come at once, and nothing is made again.

    Random weights never write the same answer twice over: `changed` is far above nought.
    """
    place = {"out": tmp_path / "package", "keep_checkpoint": tmp_path / "gptq"}
    options = ExportOptions(checkpoint_folder, calibration=questions_file, certify=questions_file, **place)
    export(options)
    whole = everything(tmp_path)
    strict = replace(options, force=True, gates=read_gates("changed<=0"))
    with pytest.raises(GateError) as missed:
        export(strict)
    (waiting,) = tmp_path.glob(".package.*.new")
    assert (missed.value.code, missed.value.exit_code) == ("export.gate_missed", 5)
    assert missed.value.message.params["folder"] == waiting.name
    gates = [message.params for message in missed.value.message.params["missed"]]
    assert {(gate["gate"], gate["task"], gate["language"]) for gate in gates} == {
        ("changed", "detect", "en"),
        ("changed", "detect", "zh"),
    }
    assert {name: value for name, value in everything(tmp_path).items() if not name.startswith(".")} == whole
    assert all(path.stat().st_size == 0 for path in tmp_path.glob(".package.*.work/*"))  # nothing is there twice
    with pytest.raises(GateError) as too_large:
        enforce_gates(replace(strict, gates=(), max_bytes=1), waiting)
    assert [message.code for message in too_large.value.message.params["missed"]] == ["export.too_large"]
    heard: list[Message] = []
    with raises_code(UsageError, "export.target_exists", target="package"):
        export(replace(options, gates=()), heard.append)
    export(replace(strict, gates=read_gates("changed<=1")), heard.append)
    assert heard == [] and everything(tmp_path) == whole


def test_work_outlives_a_shortage_and_no_refusal(tmp_path: Path) -> None:
    shortage, usage, gate = ResourceError("test.no_room"), UsageError("test.not_so"), GateError("test.not_so")
    for error, stays in ((shortage, True), (usage, False), (gate, False)):
        with pytest.raises(type(error)), Workspace([tmp_path / "package"], "key").open():
            raise error
        assert any(tmp_path.iterdir()) == stays


def test_another_export_has_another_folder(tmp_path: Path) -> None:
    (tmp_path / "config.json").write_text("{}", encoding="utf-8")
    files = [tmp_path / "config.json"]
    one = fingerprint({"bits": 4}, files)
    assert one == fingerprint({"bits": 4}, files) != fingerprint({"bits": 8}, files)
    files[0].write_text("[]", encoding="utf-8")
    assert one != fingerprint({"bits": 4}, files)


def test_the_same_export_twice_at_once_is_refused(tmp_path: Path) -> None:
    pytest.importorskip("fcntl")
    with pytest.raises(Stopped), Workspace([tmp_path / "package"], "key").open():
        with raises_code(UsageError, "export.running"), Workspace([tmp_path / "package"], "key").open():
            pass
        assert any(tmp_path.iterdir())  # the refused one has not taken the other's work away
        raise Stopped


@pytest.mark.slow
def test_killed_at_random_moments() -> None:
    """In a process of its own: this one has threads of torch by now, which do not survive a fork."""
    command = [sys.executable, "-m", "tools.kill_export", "6"]
    run = subprocess.run(command, cwd=Path(__file__).parents[2], capture_output=True, text=True, check=False)
    assert run.returncode == 0, run.stderr
    figures = json.loads(run.stdout)
    assert (figures["kills"], figures["different"]) == (6, 0)
