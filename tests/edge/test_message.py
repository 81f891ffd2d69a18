"""A message: its two languages, its JSON, and the errors that carry it."""

import json
import pickle
from pathlib import Path

import pytest

from medrega_edge.domain import Language
from medrega_edge.errors import ChoiceError, GateError, InternalError, MedregaError, UsageError
from medrega_edge.i18n import message as module
from medrega_edge.i18n import templates
from medrega_edge.i18n.message import Message, help_text


@pytest.fixture(autouse=True)
def toy(monkeypatch):
    """Templates of this test beside the program's, in both languages."""
    english = {
        "toy.sentence": "{image!c} has no frame {frame}; choose one of: {names}.",
        "toy.image": "the given image",
        "toy.problem": "error: {problem}",
        "toy.choice": "{image!c} has {count} frames; choose one with {option}.",
        "toy.share": "{share:.0%} are right",
    }
    chinese = {
        "toy.sentence": "{image}没有第 {frame} 帧；可选：{names}。",
        "toy.image": "所给图像",
        "toy.problem": "错误：{problem}",
        "toy.choice": "{image}有 {count} 帧；请用 {option} 选择。",
        "toy.share": "{share:.0%} 正确",
    }

    class Catalogue:
        def pgettext(self, context, text):
            return chinese.get(context, text)

    monkeypatch.setattr(templates, "TEMPLATES", {**templates.TEMPLATES, **english})
    module._templates.cache_clear()
    monkeypatch.setattr(module, "_chinese", lambda package: Catalogue())
    yield
    module._templates.cache_clear()


SENTENCE = Message("toy.sentence", image=Message("toy.image"), frame=7, names=["a", "b"])


def test_both_languages():
    assert str(SENTENCE) == SENTENCE.text(Language.EN) == "The given image has no frame 7; choose one of: a, b."
    assert SENTENCE.text(Language.ZH) == "所给图像没有第 7 帧；可选：a、b。"
    assert str(Message("toy.share", share=0.256)) == "26% are right"


def test_messages_in_messages():
    problem = Message("toy.problem", problem=[SENTENCE, Message("toy.image")])
    assert str(problem) == "error: The given image has no frame 7; choose one of: a, b.; the given image"
    assert problem.text(Language.ZH) == "错误：所给图像没有第 7 帧；可选：a、b。；所给图像"


@pytest.mark.parametrize("name", ["task", "size", "the front", "the given image", "{image}", "{0.__class__}", "toy.image"])
def test_what_a_user_named_is_never_translated(name):
    shown = Message("toy.problem", problem=name)
    assert shown.text(Language.ZH) == f"错误：{name}"
    assert str(shown) == f"error: {name}"


def test_json():
    assert json.loads(json.dumps(SENTENCE.to_dict())) == {
        "code": "toy.sentence",
        "message": "The given image has no frame 7; choose one of: a, b.",
        "params": {
            "image": {"code": "toy.image", "message": "the given image", "params": {}},
            "frame": 7,
            "names": ["a", "b"],
        },
    }
    assert Message("toy.problem", problem=Path("a")).to_dict()["params"] == {"problem": "a"}


def test_equal_messages_are_one():
    again = Message("toy.sentence", frame=7, names=("a", "b"), image=Message("toy.image"))
    assert list(dict.fromkeys([SENTENCE, again, Message("toy.image")])) == [SENTENCE, Message("toy.image")]


@pytest.mark.parametrize("code", ["", "image", "Image.lost", "image.", "f{x}", "image.no frame"])
def test_a_plain_sentence_is_no_code(code):
    with pytest.raises(ValueError, match="is no code"):
        Message(code)


def test_an_error_carries_its_message():
    error = UsageError("toy.problem", problem="x")
    assert (error.code, str(error), error.message) == ("toy.problem", "error: x", Message("toy.problem", problem="x"))
    assert error.to_dict() == {
        "kind": "usage",
        "code": "toy.problem",
        "message": "error: x",
        "params": {"problem": "x"},
        "exit_code": 2,
    }
    assert GateError.of(SENTENCE).message is SENTENCE


def test_a_choice_tells_what_a_caller_needs():
    error = ChoiceError("toy.choice", image=Message("toy.image"), count=3, option="--frame")
    assert (error.count, error.option, str(error)) == (
        3,
        "--frame",
        "The given image has 3 frames; choose one with --frame.",
    )


def test_an_error_passes_from_process_to_process():
    for error in (UsageError("toy.problem", problem=SENTENCE), InternalError(ValueError("a patient"))):
        again = pickle.loads(pickle.dumps(error))
        assert type(again) is type(error)
        assert again.to_dict() == error.to_dict()


def test_a_fault_is_named_by_its_type_and_place():
    error = InternalError(ValueError("a patient"))
    assert isinstance(error, MedregaError)
    assert (error.code, error.message.params) == ("internal.fault", {"type": "ValueError", "place": "?"})


def test_without_chinese_it_is_english(monkeypatch):
    monkeypatch.undo()
    module._templates.cache_clear()
    assert help_text("No such help.", Language.ZH) == "No such help."
