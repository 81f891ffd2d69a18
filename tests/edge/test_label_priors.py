"""Candidates weighed whole, and freed of how much the weights like them."""

import math
from dataclasses import replace

import pytest

from medrega_edge.domain import Language
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.tasks import Tasks
from medrega_edge.vocabulary.label_sets import LABEL_SETS


@pytest.mark.parametrize("language", Language)
@pytest.mark.parametrize("name", ["breast", "retinopathy", "fracture"])
def test_what_candidates_weigh_is_all_there_is(engine, scan, name, language):
    labels = LABEL_SETS[name].names(language)
    weights = engine.weigh(scan, labels, language)
    assert sum(map(math.exp, weights)) == pytest.approx(1.0, abs=1e-5)
    turned = engine.weigh(scan, labels[::-1], language)
    assert sum(map(math.exp, turned)) == pytest.approx(1.0, abs=1e-5)


def test_levels_decide_where_the_image_does_not(engine, scan):
    prompts = PromptBook.from_json(engine.package.text("prompts"))
    labels = LABEL_SETS["brain-tumor"].names(Language.EN)
    for favoured in labels:
        levels = {"en": [{label: 0.0 if label == favoured else 99.0 for label in labels}]}
        reply = Tasks(engine._language_model, replace(prompts, levels=levels)).classify(scan, labels, Language.EN, False, 99)
        assert reply.text == favoured
        assert reply.labels == [(favoured, pytest.approx(1.0))]
    flat = {"en": [dict.fromkeys(labels, 0.5)]}
    same = Tasks(engine._language_model, replace(prompts, levels=flat)).classify(scan, labels, Language.EN, False, 99)
    weights = engine.weigh(scan, labels, Language.EN)
    assert same.text == labels[weights.index(max(weights))]
    assert same.labels[0][1] == pytest.approx(math.exp(max(weights)), abs=1e-4)


def test_a_weighed_choice_is_asked_once(engine, scan):
    prompts = PromptBook.from_json(engine.package.text("prompts"))
    labels = LABEL_SETS["skin"].names(Language.ZH)
    tasks = Tasks(engine._language_model, replace(prompts, levels={"zh": [dict.fromkeys(labels, 0.5)]}))
    passes = []
    weigh, classify = engine.weigh, tasks.classify
    for ask in (lambda: weigh(scan, labels, Language.ZH), lambda: classify(scan, labels, Language.ZH, False, 99)):
        engine._language_model._seen = None  # with the prefix, as a first question
        before = engine.passes
        reply = ask()
        passes.append(engine.passes - before)
    assert passes[0] == passes[1]
    assert [said.raw for said in reply.said] == [reply.text]
    assert engine._language_model.tokenizer.encode_continuation(reply.text, "：")[-1] == reply.said[0].steps[-1].token
