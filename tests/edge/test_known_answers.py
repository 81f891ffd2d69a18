"""Known answers: yes or no, without the slips of those who typed them for training, and no gibberish."""

import json
from importlib.resources import files

import pytest

from medrega_edge.domain import Language
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.vocabulary.answers import is_yes_or_no, respelt
from tools.non_words import faults, words


@pytest.mark.parametrize(
    ("typed", "shown"),
    [
        ("Barin", "Brain"),
        ("metastases, infection/abcess, glioblastoma", "metastases, infection/abscess, glioblastoma"),
        ("Cardiomegal", "Cardiomegaly"),
        ("Cardiomegaly, Effusion", "Cardiomegaly, Effusion"),
        ("烟,增强体质", "忌烟,增强体质"),
        ("忌烟,避免剧烈运动", "忌烟,避免剧烈运动"),
        ("注防寒保暖,增强体质", "注意防寒保暖,增强体质"),
    ],
)
def test_known_misspellings_are_corrected_and_nothing_else(typed, shown):
    assert respelt(typed) == shown
    assert respelt(shown) == shown


def test_no_correction_is_itself_misspelt():
    table = json.loads(files("medrega_edge.vocabulary").joinpath("answers.json").read_text(encoding="utf-8"))["misspellings"]
    assert {respelt(right) for right in table.values()} == set(table.values())


@pytest.mark.parametrize(
    ("answer", "expected"), [("Yes", True), ("no.", True), ("不包含。", True), ("Nodule", False), ("2", False)]
)
def test_yes_and_no_are_told_from_other_answers(answer, expected):
    assert is_yes_or_no(answer) is expected


@pytest.mark.parametrize(
    ("answer", "language", "fault"),
    [
        ("59]]liferatrointestinal tract", Language.EN, {"marker", "unknown word"}),
        ("左叶", Language.EN, {"script", "unknown word"}),
        ("肝\ufffd", Language.ZH, {"broken character", "script"}),
        ("Liver", Language.EN, set()),
        (" ", Language.ZH, {"empty"}),
    ],
)
def test_gibberish_is_found(answer, language, fault):
    assert faults(answer, language, {"liver", "tract", "肝"}) == fault


def test_every_known_answer_of_the_default_package_is_without_fault(default_prompts):
    for language in Language:
        answers = [respelt(answer) for answer in default_prompts.answers[language]]
        known = {word for answer in answers for word in words(answer)}
        assert not [answer for answer in answers if faults(answer, language, known)]


@pytest.fixture(scope="module")
def default_prompts():
    return PromptBook.from_json(files("medrega_edge.default_package").joinpath("prompts.json").read_text(encoding="utf-8"))
