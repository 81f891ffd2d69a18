"""Is it there, yes or no: words and box decide together, where the package has weights for both."""

from dataclasses import replace

import numpy as np
import pytest

from medrega_bench.evaluation.presence_weights import Case, accuracy, fit
from medrega_edge.domain import Language
from medrega_edge.prompts.templates import PresenceWeights, PromptBook
from medrega_edge.tasks import presence
from medrega_edge.tasks.presence import Evidence, answer_presence, asked_structure, probability
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.answers import is_yes

BOX_ALONE = PresenceWeights(0.0, 1.0, 0.0)


@pytest.fixture
def asked(engine, scan):
    """A context of the sample scan, in a language, with these weights."""

    def make(language=Language.EN, weights=BOX_ALONE):
        context = engine.context(scan, language)
        return replace(context, prompts=replace(context.prompts, presence=weights))

    return make


@pytest.mark.parametrize(
    ("answer", "says"),
    [
        ("Yes", True),
        ("no.", False),
        ("Liver", None),
        ("包含", True),
        ("没有。", False),
        ("左侧", None),
    ],
)
def test_what_says_yes(answer, says):
    assert is_yes(answer) is says


@pytest.mark.parametrize(
    ("question", "names"),
    [
        ("Does the picture contain liver?", {"liver"}),
        ("Does the picture contain kidney?", {"left kidney", "right kidney"}),
        ("Is there a liver or a spleen?", set()),  # two answers
        ("Is there any abnormality?", set()),  # of no one name
        ("Where is the liver?", set()),
        ("Is the liver healthy?", set()),
    ],
)
def test_whose_presence_is_asked_for(asked, question, names):
    assert {english for english, _ in asked_structure(asked(), question)} == names


def test_words_and_box_count_by_their_weights():
    weights = PresenceWeights(0.5, 1.0, 0.0)
    assert probability(Evidence(0.5, 0.5), weights) == pytest.approx(0.5)
    assert probability(Evidence(0.9, 0.1), weights) < 0.5 < probability(Evidence(0.1, 0.9), weights)
    assert 0 < probability(Evidence(0.0, 0.0), weights) < probability(Evidence(1.0, 1.0), weights) < 1
    assert probability(Evidence(0.5, 0.5), PresenceWeights(1.0, 1.0, 2.0)) > 0.8


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("box", [0.02, 0.98])
def test_the_box_overrules_the_words(asked, monkeypatch, language, box):
    monkeypatch.setattr(presence, "gather", lambda *_: (Evidence(0.5, box), {True: "yes", False: "no"}))
    question = {Language.EN: "Does the picture contain liver?", Language.ZH: "图片中包含肝脏吗？"}[language]
    result = AnswerQuestion(question).run(asked(language))
    assert (result.text, result.score) == ("yes" if box > 0.5 else "no", pytest.approx(0.98))


@pytest.mark.parametrize("language", Language)
def test_the_answer_is_a_word_for_yes_or_no_that_the_weights_know(asked, language):
    question = {Language.EN: "Does the picture contain liver?", Language.ZH: "图片中包含肝脏吗？"}[language]
    for bias, says in ((50.0, True), (-50.0, False)):
        result = AnswerQuestion(question).run(asked(language, PresenceWeights(0.0, 0.0, bias)))
        assert is_yes(result.text) is says
        assert result.text in asked(language).prompts.answers[language]
        assert result.score == pytest.approx(1.0)


def test_without_weights_it_is_a_free_question(asked):
    prompt = asked().prompts.prompt("vqa", Language.EN, "Does the picture contain liver?")
    assert answer_presence(asked(weights=None), "Does the picture contain liver?", prompt) is None
    assert answer_presence(asked(), "Which plane is this?", prompt) is None
    context = asked()
    silent = replace(context, prompts=replace(context.prompts, answers={"en": ("Liver",)}))
    assert answer_presence(silent, "Does the picture contain liver?", prompt) is None


def test_prompts_hold_the_weights():
    book = PromptBook("{image}", {}, presence=BOX_ALONE)
    assert PromptBook.from_json(book.to_json()) == book
    assert "presence" not in PromptBook("{image}", {}).to_json()


def test_the_fit_finds_which_evidence_tells(tmp_path):
    rng = np.random.default_rng(0)
    cases = [
        Case(tmp_path / str(image), Evidence(float(rng.random()), 0.8 if truth else 0.4), bool(truth))
        for image, truth in enumerate(rng.integers(0, 2, 200))
    ]
    weights = fit(cases)
    assert abs(weights.words) < 0.2 and weights.box > 0.5
    by_words, by_both = accuracy(cases)
    assert by_words < 0.65 and by_both == 1.0
