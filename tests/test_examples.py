"""Every script of examples/ runs as its README shows, with public names only."""

import ast
import csv
import json
import re
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

FOLDER = Path(__file__).parents[1] / "examples"
SCRIPTS = sorted(path.name for path in FOLDER.glob("*.py"))


@pytest.fixture
def run(engine, monkeypatch, capsys):
    """Run a script as `python examples/NAME ...` does, with the engine that all tests share; return what it printed."""
    monkeypatch.setattr("medrega_edge.engine.load", lambda: engine)

    def run(name, *arguments):
        monkeypatch.setattr(sys, "argv", [name, *map(str, arguments)])
        runpy.run_path(str(FOLDER / name), run_name="__main__")
        return capsys.readouterr().out

    return run


@pytest.fixture
def folder(tmp_path, scan):
    """A folder with the sample scan as PNG and a file that is no image."""
    (tmp_path / "in").mkdir()
    Image.fromarray(scan.image.pixels).save(tmp_path / "in" / "scan.png")
    (tmp_path / "in" / "text.txt").write_text("no image")
    return tmp_path / "in"


def test_locate(run, scan, tmp_path):
    printed = run("locate.py", scan.image.path, "liver", tmp_path / "marked.png")
    assert "liver [" in printed
    assert (np.asarray(Image.open(tmp_path / "marked.png")) != scan.image.pixels).any()


def test_two_languages(run, scan):
    printed = run("two_languages.py", scan.image.path)
    assert "same boxes [[" in printed
    assert "肝脏" in printed


def test_classify(run, scan):
    printed = run("classify.py", scan.image.path, "skin")
    assert re.match(r"[a-z ]+: 0\.\d\d\n", printed)
    assert "warning: " in printed  # an MRI is no picture of skin


def test_folder_to_csv(run, folder, tmp_path):
    run("folder_to_csv.py", folder, tmp_path / "answers.csv", "locate the liver and the spleen")
    with (tmp_path / "answers.csv").open(encoding="utf-8-sig", newline="") as file:
        lines = list(csv.DictReader(file))
    assert [(line["file"], line["label"]) for line in lines] == [
        ("scan.png", "liver"), ("scan.png", "spleen"), ("text.txt", ""),
    ]  # fmt: skip
    assert lines[2]["text"].startswith("error: ")


def test_draw_json(run, engine, folder, tmp_path):
    answer = engine.ask(engine.open(folder / "scan.png"), "locate the liver")
    (tmp_path / "answer.json").write_text(json.dumps(answer.to_dict()), "utf-8")
    run("draw_json.py", folder / "scan.png", tmp_path / "answer.json", tmp_path / "marked.png")
    x1, y1, x2, _ = (round(value) for value in answer.regions[0].box)
    edge = np.asarray(Image.open(tmp_path / "marked.png"))[y1, x1:x2]
    assert (edge == (255, 165, 0)).all(axis=1).mean() > 0.9


def test_every_script_is_run_here_and_shown():
    tests = {name.removeprefix("test_") for name in globals() if name.startswith("test_")}
    shown = (FOLDER / "README.md").read_text("utf-8")
    assert len(SCRIPTS) == 5
    for name in SCRIPTS:
        assert name.removesuffix(".py") in tests
        assert f"python examples/{name} " in shown


@pytest.mark.parametrize("name", SCRIPTS)
def test_only_public_names_are_used(name):
    tree = ast.parse((FOLDER / name).read_text("utf-8"))
    modules = {node.module for node in ast.walk(tree) if isinstance(node, ast.ImportFrom) and node.module}
    modules |= {one.name for node in ast.walk(tree) if isinstance(node, ast.Import) for one in node.names}
    ours = {module for module in modules if module.startswith("medrega")}
    assert ours <= {"medrega_edge", "medrega_edge.errors"}
