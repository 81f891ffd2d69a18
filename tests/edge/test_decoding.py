"""A coordinate is the median of the model's distribution, whatever that is; forced tokens change no answer."""

import numpy as np
import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from medrega_edge.inference.coordinate_median import HALF, median_digit, narrowest_start
from medrega_edge.inference.decoding import generate_tokens, most_likely
from medrega_edge.inference.grammars import NamedRegion, Prose, RegionGrammar
from tests.edge.toy import ID, TOKENS, cut, vocabulary

V = vocabulary(True)
weights = st.lists(st.floats(0, 1), min_size=1, max_size=10).filter(lambda drawn: sum(drawn) > 0.01)


def model(numbers):
    """Extend tokens, get logits: four coordinates are drawn from `numbers` {value: chance}, all from the same ones."""
    written = ["<ref>a</ref><box>[["]

    def extend(ids):
        written[0] += "".join(TOKENS[i] for i in ids)
        spelt = written[0].rpartition("[")[2].rpartition(" ")[2]
        chances = dict.fromkeys(TOKENS, 0.0)
        for value, chance in numbers.items():
            if str(value).startswith(spelt):
                rest = str(value)[len(spelt) :]
                for token in rest[:1] or (",", "]"):
                    chances[token] += chance
        return np.log(np.maximum([chances[token] for token in TOKENS], 1e-30)).astype(np.float32)

    return extend


def first_number(numbers):
    grammar = RegionGrammar(V)
    for token in (ID["<ref>"], ID["a"], ID["</ref>"], ID["<box>"], *cut("[[")):
        grammar.push(token)
    extend = model(numbers)
    spelt = [
        TOKENS[s.token]
        for s in generate_tokens(extend([]), extend, grammar, V.end, 9)
        if s.digit_position and s.digit_position.coordinate == 0
    ]
    return int("".join(spelt).partition(",")[0])


@given(st.integers(60, 950), st.lists(st.integers(0, 100), min_size=1, max_size=40).filter(any))
def test_the_number_written_is_the_median_of_all_numbers(low, counts):
    numbers = {low + i: count / sum(counts) for i, count in enumerate(counts)}
    reached = np.cumsum(list(numbers.values()))
    assume(np.abs(reached - HALF).min() > 1e-4)  # else either of two numbers is a median
    assert first_number(numbers) == low + int(np.searchsorted(reached, HALF))


def test_the_likeliest_digits_are_not_it():
    assert first_number({299: 0.4, 310: 0.3, 390: 0.3}) == 310  # digit after digit, 3 is likelier than 2, and 3 10 than 3 90
    assert first_number({299: 0.4, 310: 0.35, 399: 0.25}) == 310
    assert first_number({199: 0.45, 200: 0.1, 201: 0.45}) == 200


def test_between_98_and_103_lies_100_and_not_500():
    assert first_number({98: 0.3, 99: 0.15, 100: 0.2, 103: 0.35}) == 100


@given(weights)
def test_no_other_order_is_narrower(drawn):
    def width(start):
        order = np.array(drawn[start:] + drawn[:start])
        return min(float((order * np.abs(np.arange(len(order)) - middle)).sum()) for middle in range(len(order)))

    assert width(narrowest_start(drawn)) <= min(map(width, range(len(drawn)))) + 1e-6


@pytest.mark.parametrize(
    ("drawn", "start"),
    [
        ([1.0], 0),
        ([0.1, 0.8, 0.1], 0),
        ([0.5, 0.0, 0.0, 0.0, 0.5], 1),  # anywhere in the gap: the last and the first are neighbours
        ([0.4, 0.1, 0.0, 0.0, 0.0, 0.0, 0.0, 0.0, 0.2, 0.3], 2),
        ([0.0] * 10, 0),
    ],
)
def test_where_first_digits_begin(drawn, start):
    assert narrowest_start(drawn) == start


@given(weights, st.integers(0, 3), st.floats(0, 1), st.booleans())
def test_what_is_taken_is_allowed_and_what_is_left_is_a_share(drawn, endings, share, first):
    chances = {token: chance / sum(drawn) for token, chance in enumerate(drawn)}
    ends = [token for token in chances if token < endings and not first]
    token, probability, left = median_digit(chances, ends, share, first)
    assert probability == chances[token]
    assert 0 <= left <= 1
    together = sum(chances[token] for token in ends)
    if ends and token not in ends:  # it goes on: no more than what the share reaches beyond lies in the numbers that end
        assert together < share


def test_a_number_that_ends_is_smaller_than_any_that_goes_on():
    assert median_digit({0: 0.3, 1: 0.3, 7: 0.4}, [7], 0.5, False)[0] == 0
    assert median_digit({0: 0.3, 1: 0.3, 7: 0.4}, [7], 0.4, False)[0] == 7
    assert median_digit({6: 0.1, 7: 0.9}, [6, 7], 0.5, False) == (7, 0.9, 0.5)


def test_a_number_begins_anew_even_where_its_first_digit_is_forced():
    """x1 = 900 forces the 9 of x2, and what was left of the share at the end of y1 must not reach into it."""
    grammar = RegionGrammar(V)
    for token in (ID["<ref>"], ID["a"], ID["</ref>"], ID["<box>"], *cut("[[900, 50")):
        grammar.push(token)
    alike = np.zeros(len(TOKENS), np.float32)
    last = alike.copy()
    last[ID["9"]] = 9.0  # of y1: the tenth of ten, so that next to nothing of the share is left
    steps = generate_tokens(last, lambda _: alike, grammar, V.end, 5)
    assert "".join(TOKENS[step.token] for step in steps) == "9, 94"  # half of ten that are alike is reached in the fifth


def remembering(seed):
    """A model whose logits are drawn anew for each text before them, and the pieces it was fed with."""
    fed = []

    def extend(ids):
        fed.append(list(ids))
        text = [token for piece in fed for token in piece]
        return np.random.default_rng([seed, *text]).normal(0, 2, len(TOKENS)).astype(np.float32)

    return extend, fed


@given(st.integers(0, 10_000), st.booleans())
def test_forced_tokens_fed_together_change_nothing(seed, whole):
    def told(jump_forward):
        extend, fed = remembering(seed)
        v = vocabulary(whole)
        grammar = NamedRegion(v, cut("肝a"), ID["a"], max_boxes=3)
        steps = list(generate_tokens(extend([]), extend, grammar, v.end, 120, jump_forward))
        return steps, fed

    jumped, few = told(True)
    plain, many = told(False)
    assert [step.token for step in jumped] == [step.token for step in plain]
    assert len(few) <= len(many)


def test_ties_go_to_the_smaller_id():
    logits = np.array([0.0, 3.0, 3.0, 1.0], np.float32)
    assert most_likely(logits, None, ())[0] == 1
    assert most_likely(logits, None, (1,))[0] == 2
    assert most_likely(logits, (2, 1), ())[0] == 1
    assert most_likely(logits, (3,), ())[1] == 1.0
    assert logits.tolist() == [0.0, 3.0, 3.0, 1.0]


def test_prose_ends_where_the_model_ends_it_and_at_its_limit():
    end = np.zeros(len(TOKENS), np.float32)
    end[ID["<end>"]] = 9
    word = np.zeros(len(TOKENS), np.float32)
    word[ID["a"]] = 9
    asked = iter([word, end])
    assert [s.token for s in generate_tokens(word, lambda _: next(asked), Prose(V), V.end, 9)] == [ID["a"], ID["a"]]
    assert len(list(generate_tokens(word, lambda _: word, Prose(V), V.end, 5))) == 5
