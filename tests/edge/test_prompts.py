import pytest

from medrega_edge.errors import PackageError, UsageError
from medrega_edge.prompts import (
    DEFAULT_PROMPTS,
    Language,
    PromptBook,
    Task,
    guess_task,
    language_of,
    sentence_of_regions,
)


def test_prompts_survive_their_file():
    assert PromptBook.from_json(DEFAULT_PROMPTS.to_json()) == DEFAULT_PROMPTS


@pytest.mark.parametrize(
    "text",
    [
        "{",
        "{}",
        "[]",
        '{"prefix": "no slot", "templates": {}}',
        '{"prefix": "{image}", "templates": {"a": {"en": "x"}}}',
    ],
)
def test_broken_prompt_files_are_refused(text):
    with pytest.raises(PackageError):
        PromptBook.from_json(text)


def test_the_image_comes_first_and_every_language_has_every_template():
    before, after = DEFAULT_PROMPTS.before_and_after()
    assert before
    assert after
    for languages in DEFAULT_PROMPTS.templates.values():
        assert set(languages) == set(Language)


def test_untrained_tasks_are_refused_not_invented():
    with pytest.raises(UsageError, match="not trained for the task 'grounded_report'"):
        DEFAULT_PROMPTS.suffix(Task.GROUNDED_REPORT, Language.EN, "write a report")


@pytest.mark.parametrize(
    ("question", "language"), [("locate the liver", "en"), ("请定位肝脏", "zh"), ("locate 肝脏", "zh"), ("", "en")]
)
def test_language_of_a_question(question, language):
    assert language_of(question) == language


@pytest.mark.parametrize("question", ["locate the liver", "Where is the spleen?", "请定位肝脏", "肝脏在哪里？", "框出左肾"])
def test_detection_is_recognised(question):
    assert guess_task(question, ("detect", "identify")) is Task.DETECT


def test_an_unclear_question_is_refused_with_an_example():
    with pytest.raises(UsageError, match="locate the liver"):
        guess_task("how are you", ("detect", "identify"))


def test_sentences():
    assert sentence_of_regions(["liver"], Language.EN) == "The liver is here."
    assert sentence_of_regions(["liver", "spleen"], Language.EN) == "The liver and spleen are here."
    assert sentence_of_regions(["肝脏"], Language.ZH) == "肝脏在这里。"
