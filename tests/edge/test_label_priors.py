"""Candidates weighed whole, and corrected for how much the weights like them."""

import math
from dataclasses import replace

import pytest

from medrega_edge.domain import Language
from medrega_edge.inference.decoder import Decoder
from medrega_edge.inference.language_model import LanguageModel
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.classification import Classify, classification_prompt
from medrega_edge.vocabulary.label_sets import LABEL_SETS
from tests.edge.toy import context


@pytest.fixture(scope="module")
def prompts(engine):
    return PromptBook.from_json(engine.package.text("prompts"))


@pytest.fixture
def log_probs(engine, prompts, scan):
    def ask(labels, language, model=engine.language_model):
        prompt = classification_prompt(prompts, labels, language)
        candidates = [model.encode_continuation(label, prompt.question) for label in labels]
        return model.sequence_log_probs(scan, prompt, candidates)

    return ask


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("name", ["breast", "retinopathy", "fracture"])
def test_what_candidates_weigh_is_all_there_is(log_probs, name, language):
    labels = LABEL_SETS[name].names(language)
    weights = log_probs(labels, language)
    assert sum(map(math.exp, weights)) == pytest.approx(1.0, abs=1e-5)
    turned = log_probs(labels[::-1], language)
    assert sum(map(math.exp, turned)) == pytest.approx(1.0, abs=1e-5)


def test_priors_decide_where_the_image_does_not(engine, scan, prompts, log_probs):
    labels = LABEL_SETS["brain-tumor"].names(Language.EN)

    templates = {"classify": {"en": prompts.templates["classify"]["en"]}}

    def classify(priors):
        book = replace(prompts, templates=templates, label_priors={"en": [priors]})
        return Classify(labels).run(context(engine.language_model, book, image=scan))

    for favoured in labels:
        result = classify({label: 0.0 if label == favoured else 99.0 for label in labels})
        assert result.text == favoured
        assert result.labels == ((favoured, pytest.approx(1.0)),)
    same = classify(dict.fromkeys(labels, 0.5))
    weights = log_probs(labels, Language.EN)
    assert same.text == labels[weights.index(max(weights))]
    assert same.labels[0][1] == pytest.approx(math.exp(max(weights)), abs=1e-4)


def test_both_languages_choose_together(engine, scan, prompts, log_probs):
    label_set = LABEL_SETS["skin"]
    book = replace(prompts, label_priors={each.value: [dict.fromkeys(label_set.names(each), 0.5)] for each in Language})
    english, chinese = (log_probs(label_set.names(each), each) for each in Language)
    mean = [(one + other) / 2 for one, other in zip(english, chinese, strict=True)]
    for language in Language:
        for labels in ("skin", label_set.names(Language.EN), label_set.names(Language.ZH)[::-1]):
            for regions_first in (False, True):
                result = Classify(labels, False, regions_first).run(context(engine.language_model, book, language, scan))
                assert result.text == label_set.names(language)[mean.index(max(mean))]


def test_a_weighed_choice_is_asked_once(engine, scan, prompts, log_probs):
    labels = LABEL_SETS["skin"].names(Language.ZH)
    templates = {"classify": {"zh": prompts.templates["classify"]["zh"]}}
    book = replace(prompts, templates=templates, label_priors={"zh": [dict.fromkeys(labels, 0.5)]})
    contents = engine.package.read_all()

    def fresh():  # its cache is empty, as for a first question
        return LanguageModel(contents, Decoder(contents, 1, "cpu"))

    weighing, choosing = fresh(), fresh()
    log_probs(labels, Language.ZH, weighing)
    result = Classify(labels).run(context(choosing, book, Language.ZH, scan))
    assert weighing.forward_passes == choosing.forward_passes
    (generation,) = result.generations
    assert generation.raw_text == result.text
    assert choosing.encode_continuation(result.text, "：")[-1] == generation.steps[-1].token
