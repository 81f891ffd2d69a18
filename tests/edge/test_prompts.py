import json

import pytest

from medrega_edge.domain import Language, Modality, Task, language_of
from medrega_edge.errors import PackageError, UsageError
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, LABELS_SLOT, Prompt, PromptBook, sentence_of_regions
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.intent import guess_task, parse_intent
from medrega_edge.tasks.scene import Scene
from medrega_edge.vocabulary.terminology import Terminology
from tests.codes import raises_code

# Weights from elsewhere: the task is said before the image, and a report has no question.
PER_TASK = PromptBook(
    {
        "vqa": {"en": "Answer. <img>{image}</img>", "zh": "请回答。<img>{image}</img>"},
        "report": {"en": "Write a report. <img>{image}</img>"},
        "classify": {"en": "The diagnoses are:\n{labels}\n<img>{image}</img>"},
    },
    {
        "vqa": {"en": "\n{question} Briefly.", "zh": "\n{question}"},
        "report": {"en": "\n"},
        "classify": {"en": "\n{question}"},
    },
)
KNOWING = PromptBook(
    DEFAULT_PROMPTS.prefix, DEFAULT_PROMPTS.templates, (("liver", "肝脏"),), {"CT": "ct", "no medical image": ""}
)


@pytest.mark.parametrize("book", [DEFAULT_PROMPTS, PER_TASK, KNOWING])
def test_prompts_survive_their_file(book):
    assert PromptBook.from_json(book.to_json()) == book


@pytest.mark.parametrize("task", DEFAULT_PROMPTS.templates)
@pytest.mark.parametrize("language", Language)
def test_one_prefix_is_that_of_every_question(task, language):
    prompt = DEFAULT_PROMPTS.prompt(Task(task), language, "肝脏?", ["a", "b"])
    assert (prompt.before, prompt.after) == DEFAULT_PROMPTS.before_and_after()
    assert prompt.question == DEFAULT_PROMPTS.suffix(Task(task), language, "肝脏?")


def test_each_task_and_language_has_its_own_prefix():
    assert PER_TASK.prompt(Task.VQA, Language.EN, "Who?") == Prompt("Answer. <img>", "</img>", "\nWho? Briefly.")
    assert PER_TASK.prompt(Task.VQA, Language.ZH, "谁？") == Prompt("请回答。<img>", "</img>", "\n谁？")
    assert PER_TASK.prompt(Task.REPORT, Language.EN, "Describe it.") == Prompt("Write a report. <img>", "</img>", "\n")
    with raises_code(UsageError, "prompt.untrained_language", task="report", language="zh"):
        PER_TASK.prompt(Task.REPORT, Language.ZH, "")


def test_candidates_stand_in_their_slot_as_they_are():
    prompt = PER_TASK.prompt(Task.CLASSIFY, Language.EN, "Which?", ["{image}", LABELS_SLOT, "{question}"])
    assert prompt == Prompt("The diagnoses are:\n{image}\n{labels}\n{question}\n<img>", "</img>", "\nWhich?")


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        "[]",
        '{"prefix": "no slot", "templates": {}}',
        '{"prefix": "{image}", "templates": {"a": {"en": "x"}}}',
        '{"prefix": "{image}", "templates": {"a": {"en": ["{question}"]}}}',
        '{"prefix": "{image}", "templates": {"report": {"en": "{question}{question}"}}}',
        '{"prefix": "{image}", "templates": {}, "modalities": {"CT": "photo"}}',
        '{"prefix": ["{image}"], "templates": {"a": {"en": "{question}"}}}',
        '{"prefix": "{image}", "templates": {}, "levels": {"fr": []}}',
        '{"prefix": "{image}", "templates": {}, "levels": {"en": [{"a": NaN}]}}',
        '{"prefix": "{image}", "templates": {}, "levels": {"en": [["a"]]}}',
    ],
)
def test_broken_prompt_files_are_refused(text):
    with pytest.raises(PackageError):
        PromptBook.from_json(text)


@pytest.mark.parametrize(
    "prefix",
    [
        {},
        {"vqa": "{image}"},
        {"vqa": {"en": "{image}"}},  # a language is missing
        {"vqa": {"en": "{image}", "zh": "no slot"}},
        {"vqa": {"en": "{image}", "zh": "{image}{image}"}},
        {"vqa": {"en": "{image}", "zh": ["{image}"]}},
        {"vqa": {"en": "{image}", "zh": "{image}"}, "report": {"en": "{image}"}},  # a task without a template
    ],
)
def test_broken_prefixes_are_refused(prefix):
    templates = {"vqa": {"en": "{question}", "zh": "{question}"}}
    good = {"vqa": {"en": "{image}", "zh": "{image}"}}
    assert PromptBook.from_json(json.dumps({"prefix": good, "templates": templates})).prefix == good
    with pytest.raises(PackageError):
        PromptBook.from_json(json.dumps({"prefix": prefix, "templates": templates}))


def test_the_image_comes_first_and_every_language_has_every_template():
    before, after = DEFAULT_PROMPTS.before_and_after()
    assert before
    assert after
    for languages in DEFAULT_PROMPTS.templates.values():
        assert set(languages) == set(Language)


def test_untrained_tasks_are_refused_not_invented():
    with raises_code(UsageError, "prompt.untrained_task", task="grounded_report"):
        DEFAULT_PROMPTS.suffix(Task.GROUNDED_REPORT, Language.EN, "write a report")


@pytest.mark.parametrize(
    ("question", "language"), [("locate the liver", "en"), ("请定位肝脏", "zh"), ("locate 肝脏", "zh"), ("", "en")]
)
def test_language_of_a_question(question, language):
    assert language_of(question) == language


@pytest.mark.parametrize("question", ["locate the liver", "Where is the spleen?", "请定位肝脏", "肝脏在哪里？", "框出左肾"])
def test_detection_is_recognised(question):
    assert guess_task(question, ("detect", "identify"), Terminology(())) is Task.DETECT
    assert parse_intent(question, Scene(("detect", "identify"), Terminology(()))) == Detect(question)


@pytest.mark.parametrize(
    ("question", "task"),
    [
        ("where exactly is the polyp here?", Task.DETECT),
        ("Can you tell me where the polyp lies?", Task.DETECT),
        ("where in this image is the polyp?", Task.DETECT),
        ("Where does the picture show an abnormality?", Task.DETECT),
        ("what color is the polyp?", Task.VQA),
    ],
)
def test_a_question_where_a_known_name_lies_is_detection(question, task):
    assert guess_task(question, ("detect", "vqa"), Terminology((("polyp", "息肉"),))) is task


def test_an_unclear_question_is_refused_with_an_example():
    with raises_code(UsageError, "task.unclear_question"):
        guess_task("how are you", ("detect", "identify"), Terminology(()))


def test_sentences():
    assert sentence_of_regions(["liver"], Language.EN) == "The liver is here."
    assert sentence_of_regions(["liver", "spleen"], Language.EN) == "The liver and spleen are here."
    assert sentence_of_regions(["肝脏"], Language.ZH) == "肝脏在这里。"


def test_label_priors_go_with_their_labels_in_any_order():
    book = PromptBook("{image}", {}, label_priors={"en": [{"a": -1.0, "b": -2.0}, {"a": -3.0, "c": 0.0}]})
    assert PromptBook.from_json(book.to_json()).label_priors == book.label_priors
    assert book.label_priors_of(["b", "a"], Language.EN) == [-2.0, -1.0]
    assert book.label_priors_of(["a", "c"], Language.EN) == [-3.0, 0.0]
    assert book.label_priors_of(["a", "b", "c"], Language.EN) == []
    assert book.label_priors_of(["a", "b"], Language.ZH) == []
    assert "levels" in json.loads(book.to_json())  # the key of packages that are out
    assert "levels" not in PromptBook("{image}", {}).to_json()


def test_the_modalities_of_labels_are_optional():
    book = PromptBook("{image}", {}, label_modalities={"liver": ["ct", "mri"]})
    assert PromptBook.from_json(book.to_json()).label_modalities == {"liver": ["ct", "mri"]}
    assert book.can_show(Modality.CT, "liver") and not book.can_show(Modality.OCT, "liver")
    assert book.can_show(Modality.OCT, "spleen")  # the table does not say
    assert "label_modalities" not in PromptBook("{image}", {}).to_json()
    with raises_code(PackageError, "package.wrong_value"):
        PromptBook.from_json(book.to_json().replace('"ct"', '"telepathy"'))
