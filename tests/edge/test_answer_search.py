"""The most probable of many answers is found without walking all of them, and spellings add up."""

import math
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medrega_edge.engine import load
from medrega_edge.errors import PackageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.answer_search import MAX_PASSES, AnswerTree
from medrega_edge.prompts.templates import PromptBook
from tests.edge.toy_package import build, picture

END, SIZE = 0, 40


def save(folder, pixels):
    Image.fromarray(pixels).save(folder / "image.png")
    return folder / "image.png"


def random_answers(rng, count):
    lengths = rng.integers(1, 5, count)
    return [list(one) for one in dict.fromkeys(tuple(rng.integers(1, 6, n).tolist()) for n in lengths)]


def reader(rng):
    """Logits that depend on the path alone; the paths that were read."""
    known = {}

    def read(path):
        known.setdefault(tuple(path), (3 * rng.standard_normal(SIZE)).astype(np.float32))
        return known[tuple(path)]

    return read, known


def by_hand(answers, keys, read):
    """The probability of each key: the products of all tokens' shares among those with which answers go on."""
    masses = dict.fromkeys(keys, 0.0)
    for answer, key in zip(answers, keys, strict=True):
        probability, path = 1.0, []
        for token in [*answer, END]:
            following = {(*other, END)[len(path)] for other in answers if other[: len(path)] == path}
            logits = read(path)
            probability *= math.exp(logits[token]) / sum(math.exp(logits[other]) for other in following)
            path = [*path, token]
        masses[key] += probability
    return masses


@pytest.mark.parametrize("seed", range(30))
def test_the_best_answer_is_the_one_that_a_walk_over_all_finds(seed):
    rng = np.random.default_rng(seed)
    answers = random_answers(rng, 30)
    keys = [str(index // 2) for index in range(len(answers))]  # two spellings each
    read, _ = reader(rng)
    masses = by_hand(answers, keys, read)
    assert sum(masses.values()) == pytest.approx(1.0)
    found = AnswerTree(answers, keys, END).search(read)
    assert keys[found.answer] == max(masses, key=masses.get)
    assert found.probability <= masses[keys[found.answer]] + 1e-6


def test_spellings_of_one_answer_beat_a_likelier_single_one():
    logits = np.full(SIZE, -9.0, np.float32)
    logits[[1, 2, 3]] = np.log([0.4, 0.35, 0.25])  # "No", "Yes", "yes"
    found = AnswerTree([[1], [2], [3]], ["no", "yes", "yes"], END).search(lambda path: logits)
    assert (found.answer, found.probability) == (1, pytest.approx(0.6))


def test_a_sure_answer_costs_as_many_passes_as_it_has_forks():
    answers = [[1, 2, 3], [1, 2, 4], [5]]
    read = []

    def sure(path):
        read.append(tuple(path))
        logits = np.zeros(SIZE, np.float32)
        logits[[1, 3]] = 20.0
        return logits

    assert AnswerTree(answers, ["a", "b", "c"], END).search(sure).answer == 0
    assert read == [(), (1, 2)]  # after 1 only 2 can follow


def test_where_nothing_stands_out_the_passes_are_limited():
    rng = np.random.default_rng(0)
    answers = [[int(a), int(b), int(c)] for a in range(1, 9) for b in range(1, 9) for c in range(1, 9)]
    read = []

    def even(path):
        read.append(path)
        return rng.normal(scale=1e-3, size=SIZE).astype(np.float32)

    assert AnswerTree(answers, list(map(str, range(len(answers)))), END).search(even).probability > 0
    assert len(read) <= MAX_PASSES + 9  # and until the first answer is whole


def test_a_free_question_gets_an_answer_that_the_weights_have_seen(tmp_path, monkeypatch):
    engine = load(build(tmp_path / "toy", tasks=("vqa",)))
    image = engine.open(save(tmp_path, picture(60, 30, liver=(0, 0, 30, 15))))
    assert engine.answer(image, "Is it?").confidence is None
    answers = {"en": ("liver", "spleen"), "zh": ("肝脏",)}
    book = PromptBook(engine._prompts.prefix, engine._prompts.templates, answers=answers)
    assert PromptBook.from_json(book.to_json()).answers == answers
    monkeypatch.setattr(engine, "_prompts", book)
    found = engine.answer(image, "Is it?")
    assert found.text in answers["en"]
    assert 0 < found.confidence <= 1
    assert found.to_dict()["confidence"] == round(found.confidence, 4)
    assert engine.answer(image, "这是什么？").text == "肝脏"
    unsure = Message("task.unsure_answer")
    for offset in (-20.0, 20.0):
        manifest = replace(engine.package.manifest, answer_calibration=(1.0, offset))
        monkeypatch.setattr(engine, "package", replace(engine.package, manifest=manifest))
        assert (unsure in engine.answer(image, "Is it?").warnings) is (offset < 0)


def test_an_answer_without_a_letter_is_refused():
    book = PromptBook("{image}", {"vqa": {"en": "{question}"}}, answers={"en": ("",)})
    with pytest.raises(PackageError) as error:
        PromptBook.from_json(book.to_json())
    assert error.value.code == "package.wrong_value"
