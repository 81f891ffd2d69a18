"""Questions that go on from the last one get its task or its names; others stay what they are."""

import pytest

from medrega_edge.domain import Task
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.follow_up import follow_up
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.terminology import Terminology

TERMS = Terminology([("liver", "肝脏"), ("spleen", "脾脏")])


@pytest.mark.parametrize(
    ("text", "task", "last", "names"),
    [
        ("and the spleen?", Task.VQA, Detect("liver"), ("spleen",)),
        ("What about the spleen", Task.VQA, Detect("liver"), ("spleen",)),
        ("脾脏呢？", Task.VQA, Detect("肝脏"), ("spleen",)),
        ("那脾脏呢", Task.VQA, Detect("liver"), ("spleen",)),
        ("where is it?", Task.DETECT, AnswerQuestion("Is the liver normal?"), ("liver",)),
        ("show them", Task.DETECT, Detect("liver and spleen"), ("liver", "spleen")),
        ("how big is it?", Task.VQA, Detect("liver"), ("liver",)),
        ("它有多大", Task.VQA, Detect("liver"), ("liver",)),
        ("它在哪里？", Task.DETECT, Detect("liver"), ("liver",)),
        ("and the spleen?", Task.VQA, AnswerQuestion("Is the liver normal?"), None),
        ("is the spleen normal?", Task.VQA, Detect("liver"), None),
        ("where is it?", Task.DETECT, AnswerQuestion("What is this?"), None),
        ("is it normal?", Task.VQA, Detect("liver"), None),
        ("locate the spleen", Task.DETECT, Detect("liver"), None),
    ],
)
def test_what_a_question_goes_on_with(text, task, last, names):
    found = follow_up(text, task, last, TERMS)
    assert (found and found.names) == names
