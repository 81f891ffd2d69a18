"""The one loop that asks questions: an image is opened once, a refusal is no answer."""

from pathlib import Path
from types import SimpleNamespace

from medrega_edge.answer import Region
from medrega_edge.boxes import Geometry, PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import LabelledBoxes, Question, Truth
from medrega_edge.evaluation.runner import run_questions

LIVER = LabelledBoxes("liver", (PixelBox(0, 0, 50, 50),))


class Engine:
    """Opens anything, knows the liver, and remembers what it was asked."""

    def __init__(self):
        self.opened, self.requests = [], []

    def open(self, path):
        self.opened.append(path)
        return SimpleNamespace(geometry=Geometry(100, 100))

    def run(self, image, request, language):
        self.requests.append((type(request).__name__, language))
        if "unicorn" in str(request):
            raise UsageError("evaluation.no_question", file="x")
        regions = (Region("liver", PixelBox(0, 0, 50, 50), 0.5),)
        return SimpleNamespace(regions=regions, text="The liver is here.", words="The liver is here.", language=language)


def question(image, text="locate the liver", task=Task.DETECT, truth=None):
    return Question(
        id=text, image=Path(image), question=text, task=task, truth=truth or Truth("", (LIVER,)), language=Language.EN
    )


def test_an_image_is_opened_once_for_questions_that_stand_together():
    engine = Engine()
    answered = list(run_questions(engine, [question("a.png"), question("a.png"), question("b.png"), question("a.png")]))
    assert [path.name for path in engine.opened] == ["a.png", "b.png", "a.png"]
    assert len(answered) == len(engine.requests) == 4


def test_boxes_are_written_as_a_model_writes_them_and_words_as_they_are():
    free = question("a.png", "Is it large?", Task.VQA, Truth("Yes"))
    detected, said = run_questions(Engine(), [question("a.png"), free])
    assert detected.text == detected.truth == "<ref>liver</ref><box>[[0, 0, 500, 500]]</box>"
    assert (said.text, said.truth) == ("The liver is here.", "Yes")


def test_a_refusal_is_no_answer():
    (refused,) = run_questions(Engine(), [question("a.png", "locate the unicorn")])
    assert (refused.answer, refused.text) == (None, "")
