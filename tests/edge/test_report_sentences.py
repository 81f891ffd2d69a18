"""What follows a report, and how weights from elsewhere are asked; a scripted model generates the answers."""

import json

import pytest

from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, LABELS_SLOT, REPORT_DISCLAIMER, PromptBook
from medrega_edge.tasks.base import TextStream
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.reporting import Report
from tests.edge.toy import ScriptedModel, context

CLAIMS = {Language.EN: "MRI of the abdomen. Abnormal: none.", Language.ZH: "磁共振图像，腹部。异常：无。"}
REGION = "<ref>liver</ref><box>[[1, 2, 3, 4]]</box>"
TASKS = ("classify", "report", "grounded_report")


def foreign():
    """A prompt book of weights that read their task, and the candidates of a classification, before the image."""
    templates = {task: dict.fromkeys(Language, "\n{question}") for task in TASKS}
    prefix = {task: dict.fromkeys(Language, f"{task}: <img>{{image}}</img>") for task in TASKS}
    prefix["classify"] = dict.fromkeys(Language, f"One of:\n{LABELS_SLOT}\n<img>{{image}}</img>")
    return PromptBook.from_json(json.dumps({"prefix": prefix, "templates": templates}))


@pytest.mark.parametrize("language", Language)
def test_no_report_claims_that_nothing_is_wrong_without_saying_what_it_cannot_know(language):
    for grounded in (False, True):
        result = Report(grounded).run(context(ScriptedModel(CLAIMS[language]), DEFAULT_PROMPTS, language))
        assert result.text.startswith(CLAIMS[language])
        assert result.text.endswith(REPORT_DISCLAIMER[language])


@pytest.mark.parametrize("language", Language)
def test_the_stream_of_a_report_is_its_text(language):
    pieces = []
    stream = TextStream(pieces.append)
    model = ScriptedModel(f" {CLAIMS[language]}\n")
    result = Report().run(context(model, DEFAULT_PROMPTS, language, on_text=stream.push))
    assert len(pieces) > 5
    assert "".join(pieces) == CLAIMS[language]
    stream.finish(result.text)
    assert "".join(pieces) == result.text


def test_behind_nothing_stands_nothing():
    result = Report().run(context(ScriptedModel(""), DEFAULT_PROMPTS))
    assert result.text == ""
    assert result.warnings == (Message("task.no_answer"),)


def test_weights_that_know_grounded_reports_are_asked_for_one():
    model = ScriptedModel(f"{REGION}: enlarged.")
    result = Report(grounded=True).run(context(model, foreign()))
    assert [prompt.before for prompt in model.prompts] == ["grounded_report: <img>"]
    assert result.text == f"liver: enlarged. {REPORT_DISCLAIMER[Language.EN]}"
    assert [(found.label, found.box.as_list()) for found in result.detections] == [("liver", [1, 2, 3, 4])]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("multiple", [False, True])
def test_candidates_are_written_once(language, multiple):
    for book in (foreign(), DEFAULT_PROMPTS):
        model = ScriptedModel("drusen")
        Classify(["drusen", "edema"], multiple).run(context(model, book, language))
        (prompt,) = model.prompts
        assert (prompt.before + prompt.question).count("edema") == 1
