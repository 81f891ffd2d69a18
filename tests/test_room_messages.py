"""Chinese for whoever exports and trains: every error, warning and line of progress of these rooms has its sentence."""

import ast
import json
from importlib.resources import files
from pathlib import Path

import pytest

from medrega_edge import messages
from medrega_edge.messages import bring, said
from medrega_edge.prompts import Language
from tests.edge.test_messages import NOTED, TELLING, literals, named, sentence

ROOMS = {"medrega_export": "export", "medrega_train": "train"}
FOLDER = Path(__file__).parents[1]


def own(package):
    return json.loads(files(package).joinpath("messages_zh.json").read_text("utf-8"))


def told(package):
    """Every sentence that a room raises, tells or notes for a reader, with where."""
    for path in sorted((FOLDER / ROOMS[package] / package).glob("*.py")):
        for node in ast.walk(ast.parse(path.read_text("utf-8"))):
            texts = []
            if isinstance(node, ast.Call) and named(node.func) in TELLING | {"timed"}:
                texts = [sentence(one) for one in node.args[:1]]
            elif isinstance(node, ast.Call) and named(node.func) == "append":
                texts = literals(node) if named(node.func.value) in NOTED | {"shortages"} else []
            elif isinstance(node, ast.Return) and path.name == "gates.py":
                texts = literals(node)
            yield from ((f"{path.name}:{node.lineno}", text) for text in texts if " " in text.strip())


@pytest.fixture(params=ROOMS)
def package(request, monkeypatch):
    """A room whose sentences are known, until the test ends."""
    monkeypatch.setattr(messages, "_PACKAGES", ["medrega_edge"])
    bring(request.param)
    yield request.param
    messages._patterns.cache_clear()


def test_every_sentence_has_its_chinese_one(package):
    assert [place for place in told(package) if said(place[1], Language.ZH) == place[1]] == []


def test_whatever_varies_is_kept(package):
    for english in own(package):
        values = [f"<{number}>" for number in range(english.count("{}"))]
        chinese = said(english.format(*values), Language.ZH)
        assert all(value in chinese for value in values), english
        assert chinese != english.format(*values), english


def test_a_sentence_in_a_sentence_behind_its_prefix(package):
    if package == "medrega_export":
        missed = "iou_drop of 'detect' in 'en' is 0.5, more than 0.01"
        waits = (
            "the package waits beside its place, in the folder '.p.new': the same command with another gate, or without, "
        )
        chinese = said(f"error: {missed}; {waits}takes it from there; or delete that folder.", Language.ZH)
        assert chinese.startswith("错误：任务 'detect'（语言 'en'）的 iou_drop 为 0.5，超过 0.01；模型包暂存")
