"""What stands behind a report, and how weights from elsewhere are asked; a stub writes what it is told to."""

import json

import pytest

from medrega_edge.domain import Language
from medrega_edge.inference.grammars import Vocabulary
from medrega_edge.inference.language_model import Generation
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, LABELS_SLOT, REPORT_LIMITS, PromptBook
from medrega_edge.tasks.tasks import Tasks

CLAIMS = {Language.EN: "MRI of the abdomen. Abnormal: none.", Language.ZH: "磁共振图像，腹部。异常：无。"}
REGION = "<ref>liver</ref><box>[[1, 2, 3, 4]]</box>"
TASKS = ("classify", "report", "grounded_report")


class Stub:
    """Writes `words` whatever is asked, as far as the grammar lets it, and remembers the prompts."""

    def __init__(self, words):
        self.tokenizer, self.words, self.prompts = Tokenizer(find_package().text("tokenizer")), words, []
        self.vocabulary = Vocabulary.of(self.tokenizer, (self.tokenizer.id_of("<|im_end|>"),))

    def say(self, image, prompt, grammar, limit, on_text=None):
        self.prompts.append(prompt)
        for token in self.tokenizer.encode(self.words):
            grammar.push(token)
        if on_text:
            on_text(self.words)
        return Generation(self.words, (), "stop", 0, 0.0, 0.0)


def foreign():
    """A prompt book of weights that read their task, and the candidates of a classification, before the image."""
    templates = {task: dict.fromkeys(Language, "\n{question}") for task in TASKS}
    prefix = {task: dict.fromkeys(Language, f"{task}: <img>{{image}}</img>") for task in TASKS}
    prefix["classify"] = dict.fromkeys(Language, f"One of:\n{LABELS_SLOT}\n<img>{{image}}</img>")
    return PromptBook.from_json(json.dumps({"prefix": prefix, "templates": templates}))


@pytest.mark.parametrize("language", Language)
def test_no_report_claims_that_nothing_is_wrong_without_saying_what_it_cannot_know(language):
    tasks = Tasks(Stub(CLAIMS[language]), DEFAULT_PROMPTS)
    told = []
    plain = tasks.report(None, language, 99, told.append)
    assert plain.text == "".join(told)
    for reply in (plain, tasks.grounded_report(None, language, 99)):
        assert reply.text.startswith(CLAIMS[language])
        assert reply.text.endswith(REPORT_LIMITS[language])


def test_behind_nothing_stands_nothing():
    reply = Tasks(Stub(""), DEFAULT_PROMPTS).report(None, Language.EN, 99)
    assert reply.text == ""
    assert reply.warnings == ["the model gave no answer"]


def test_weights_that_know_grounded_reports_are_asked_for_one():
    stub = Stub(f"{REGION}: enlarged.")
    reply = Tasks(stub, foreign()).grounded_report(None, Language.EN, 99)
    assert [prompt.before for prompt in stub.prompts] == ["grounded_report: <img>"]
    assert reply.text == f"liver: enlarged. {REPORT_LIMITS[Language.EN]}"
    assert [(found.label, found.box.as_list()) for found in reply.regions] == [("liver", [1, 2, 3, 4])]


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("several", [False, True])
def test_candidates_are_written_once(language, several):
    for book in (foreign(), DEFAULT_PROMPTS):
        stub = Stub("drusen")
        Tasks(stub, book).classify(None, ["drusen", "edema"], language, several, 99)
        (prompt,) = stub.prompts
        assert (prompt.before + prompt.question).count("edema") == 1
