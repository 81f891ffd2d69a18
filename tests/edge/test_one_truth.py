"""What is said of one image agrees, whatever the task and the language."""

from dataclasses import replace

import pytest

from medrega_edge.domain import Language, Modality
from medrega_edge.i18n.message import Message
from medrega_edge.tasks import classes, report_sentences
from medrega_edge.tasks.classes import other_class
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.report_sentences import Sentence, names_in, write
from medrega_edge.vocabulary.label_sets import LABEL_SETS
from tools.consistency import Statements

BRAIN = LABEL_SETS["brain-tumor"]


def test_statements_about_the_sample_agree(engine, scan):
    statements = Statements(engine, scan, [("liver", "肝脏"), ("spleen", "脾脏")])
    assert not statements.refused
    for fact in ("kind", "body part", "report", "there: liver", "class: brain-tumor"):
        said = statements.of[fact]
        assert len(said) > 1
        assert all(one == said[0] for one in said), fact


def test_a_report_is_the_same_in_both_languages_and_names_what_is_located(engine, scan):
    english, chinese = (engine.report(scan, language, grounded=True) for language in Language)
    assert [region.box for region in english.regions] == [region.box for region in chinese.regions]
    assert english.raw_text == chinese.raw_text
    names = [name for _, each in names_in(english.text, Language.EN) for name in each]
    assert names
    for name in names:
        assert engine.detect(scan, [name]).regions


@pytest.mark.parametrize("language", Language)
def test_a_name_of_another_class_is_a_guess_that_names_the_class(engine, scan, monkeypatch, language):
    monkeypatch.setattr(classes, "is_certain", lambda *_: True)
    chosen = engine.classify(scan, "brain-tumor", language).text
    names = BRAIN.names(language)
    for english, shown in zip(BRAIN.names(Language.EN), names, strict=True):
        assert other_class(engine.context(scan, language), english) == (() if shown == chosen else (chosen,))
        answer = engine.detect(scan, [english], language)
        doubt = Message("task.other_class", name=shown, classes=(chosen,))
        assert (doubt in answer.warnings) is bool(answer.regions and shown != chosen)


def test_names_of_a_report_are_read_as_they_are_written():
    names = [(Sentence.SEEN, ["liver", "left kidney"]), (Sentence.ABNORMAL, ["polyp"])]
    assert names_in(write(Modality.CT, "abdomen", names, Language.EN), Language.EN) == names
    chinese = [(Sentence.SEEN, ["肝脏", "左肾"])]
    assert names_in(write(Modality.CT, "腹部", chinese, Language.ZH), Language.ZH) == chinese
    assert names_in(report_sentences.write(Modality.CT, None, (), Language.EN), Language.EN) == []


def test_regions_first_change_no_fact(engine, scan):
    for question in ("Is there a liver?", "What kind of image is this?", "Where is the spleen?"):
        plain, first = (engine.request(scan, question, regional_chain_of_thought=cot) for cot in (False, True))
        assert plain == first
    free = engine.request(scan, "Why is the liver bright?", regional_chain_of_thought=True)
    assert free.request.regional_chain_of_thought
    assert replace(Classify("skin"), regional_chain_of_thought=True) != Classify("skin")
    assert isinstance(engine.request(scan, "locate the liver", regional_chain_of_thought=True).request, Detect)
