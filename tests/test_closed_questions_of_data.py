"""The rules for closed questions, held against the questions of real data sets that are not for testing."""

import os
from collections import Counter
from pathlib import Path

import pytest

from medrega_edge.evaluation.records import read_records
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.vocabulary.answers import asks_yes_or_no, is_yes_or_no, offered
from medrega_edge.vocabulary.body_parts import parts_with

DATA = Path(os.environ.get("MEDREGA_DATA", Path(__file__).parents[2] / "shared" / "data"))
PROMPTS = Path(__file__).parents[1] / "medrega_edge" / "default_package" / "prompts.json"


@pytest.mark.slow
@pytest.mark.data
@pytest.mark.skipif(not (DATA / "records.jsonl").is_file(), reason="the shared images are not on this machine")
def test_few_questions_have_another_answer_than_the_rules_allow():
    answers = PromptBook.from_json(PROMPTS.read_text(encoding="utf-8")).answers
    asked, other = Counter(), Counter()
    for record in read_records(DATA):
        for pair in record.qa if record.split != "test" else ():
            right = pair.answer.strip().rstrip(".。").casefold()
            choices = {choice.casefold() for choice in offered(pair.question, answers[pair.lang])}
            rules = {
                "yes or no": (asks_yes_or_no(pair.question), is_yes_or_no(right)),
                "choice": (bool(choices), right in choices),
                "body part": (bool(parts_with(pair.question)), is_yes_or_no(right)),
            }
            for name, (applies, holds) in rules.items():
                asked[name] += applies
                other[name] += applies and not holds
    assert asked["yes or no"] > 4000 and asked["choice"] > 400 and asked["body part"] > 300
    assert other["yes or no"] / asked["yes or no"] < 0.005
    assert other["choice"] / asked["choice"] < 0.04
    assert other["body part"] == 0
