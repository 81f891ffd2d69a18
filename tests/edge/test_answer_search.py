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
from medrega_edge.package.manifest import AnswerThresholds, Manifest
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
    found = engine.answer(image, "Is it?", guess=True)
    assert found.text in answers["en"]
    assert 0 < found.confidence <= 1
    assert found.to_dict()["confidence"] == round(found.confidence, 4)
    assert engine.answer(image, "这是什么？").words == "肝脏"


@pytest.mark.parametrize(
    ("offset", "thresholds", "is_sure"),
    [(-20.0, None, False), (20.0, None, True), (0.0, AnswerThresholds(0.999, 0.0), False)],
)
def test_below_the_threshold_of_the_package_an_answer_is_not_sure(tmp_path, monkeypatch, offset, thresholds, is_sure):
    engine = load(build(tmp_path / "toy", tasks=("vqa",)))
    image = engine.open(save(tmp_path, picture(60, 30, liver=(0, 0, 30, 15))))
    answers = {"en": ("liver", "spleen"), "zh": ("肝脏", "脾脏")}
    monkeypatch.setattr(engine, "_prompts", PromptBook(engine._prompts.prefix, engine._prompts.templates, answers=answers))
    manifest = replace(engine.package.manifest, answer_calibration=(1.0, offset), answer_thresholds=thresholds)
    assert Manifest.from_json(manifest.to_json()) == manifest
    monkeypatch.setattr(engine, "package", replace(engine.package, manifest=manifest))
    for question, language, unsure in (("Is it?", "en", "Not sure."), ("这是什么？", "zh", "不确定。")):
        best = engine.answer(image, question, guess=True)
        plain = engine.answer(image, question)
        assert best.words == plain.words == best.text
        assert plain.text == (best.text if is_sure else unsure)
        assert best.text in answers[language]
        assert plain.to_dict()["guess"] == (None if is_sure else best.text)
        assert (Message("task.unsure_answer") in plain.warnings) is not is_sure
        assert (Message("task.guessed") in best.warnings) is not is_sure
        assert plain.raw_text == best.raw_text


def test_an_answer_without_a_letter_is_refused():
    book = PromptBook("{image}", {"vqa": {"en": "{question}"}}, answers={"en": ("",)})
    with pytest.raises(PackageError) as error:
        PromptBook.from_json(book.to_json())
    assert error.value.code == "package.wrong_value"
