"""Random logits through the grammar: whatever the model says, every box that comes out is well formed."""

import numpy as np
import pytest

from medrega_edge.generate import generate
from medrega_edge.grammar import MOST_BOXES, RegionGrammar, Vocabulary
from medrega_edge.regions import parse

# A toy vocabulary: one token a character, markers and the end whole. Punctuation is cut to pieces here.
TOKENS = ["<end>", "<ref>", "</ref>", "<box>", "</box>", *"0123456789", "[", "]", ",", " ", "a", "肝", "], ["]
ID = {token: index for index, token in enumerate(TOKENS)}


def cut(text):
    return tuple(ID[character] for character in text)


def vocabulary(whole_separators):
    return Vocabulary(
        ref_open=ID["<ref>"],
        ref_close=ID["</ref>"],
        box_open=ID["<box>"],
        box_close=ID["</box>"],
        end=(ID["<end>"],),
        digits=cut("0123456789"),
        open_list=cut("[["),
        between=cut(", "),
        next_box=(ID["], ["],) if whole_separators else cut("], ["),
        close_list=cut("]]"),
    )


def write(rng, v, limit=160, bias=None):
    def logits():
        drawn = rng.normal(0, 3, len(TOKENS)).astype(np.float32)
        return drawn if bias is None else drawn + bias

    steps = list(generate(logits(), lambda ids: logits(), RegionGrammar(v), v.end, limit))
    return "".join(TOKENS[step.token] for step in steps), steps


@pytest.mark.parametrize("whole_separators", [True, False])
def test_random_answers_hold_no_malformed_box(whole_separators):
    rng = np.random.default_rng(0)
    v = vocabulary(whole_separators)
    bias = np.zeros(len(TOKENS), np.float32)
    bias[ID["<ref>"]] += 4.0
    boxes = 0
    for _ in range(500):
        text, steps = write(rng, v, bias=bias)
        if len(steps) == 160:
            continue  # cut off in the middle: the engine warns
        parsed = parse(text)
        unnamed = {"a region without a name"}  # a name of blanks is the model's nonsense, not the grammar's
        assert set(parsed.problems) <= unnamed, text
        boxes += sum(len(region.boxes) for region in parsed.regions)
        assert all(len(region.boxes) <= MOST_BOXES for region in parsed.regions)
    assert boxes > 200


def test_forced_tokens_are_not_asked_of_the_model():
    v = vocabulary(True)
    asked = []
    script = ["<ref>", "a", "</ref>", "1", ",", "2", ",", "9", ",", "9", "]"]

    def logits(ids=None):
        asked.append(ids)
        out = np.zeros(len(TOKENS), np.float32)
        out[ID[script[len(asked) - 1]] if len(asked) <= len(script) else ID["<end>"]] = 9.0
        return out

    text = "".join(TOKENS[s.token] for s in generate(logits(), logits, RegionGrammar(v), v.end, 99))
    assert text == "<ref>a</ref><box>[[1, 2, 9, 9]]</box>"
    # Prompt, and one pass for each free choice: "<box>[[" and " " and "]</box>" ride along.
    assert len(asked) == len(script) + 1
    assert [TOKENS[i] for i in asked[3]] == ["</ref>", "<box>", "[", "["]


def test_the_second_corner_lies_behind_the_first():
    v = vocabulary(True)
    grammar = RegionGrammar(v)
    for token in [ID["<ref>"], ID["a"], ID["</ref>"], ID["<box>"], *cut("[[998, 0, ")]:
        grammar.push(token)
    assert grammar.allowed() == (ID["9"],)
    grammar.push(ID["9"])
    assert grammar.allowed() == (ID["9"],)
    grammar.push(ID["9"])
    assert grammar.allowed() == (ID["9"],)
    with pytest.raises(ValueError, match="not allowed"):
        grammar.push(ID["1"])


def test_a_probability_is_among_what_is_allowed():
    v = vocabulary(True)
    steps = write(np.random.default_rng(3), v)[1]
    assert steps
    assert all(step.probability is None or 0 < step.probability <= 1 for step in steps)
