"""Random logits through the grammar: whatever the model says, every box that comes out is well formed."""

import numpy as np
import pytest

from medrega_edge.errors import PackageError
from medrega_edge.i18n.message import Message
from medrega_edge.inference.decoding import generate_tokens
from medrega_edge.inference.grammars import MAX_BOXES, Choice, NamedRegion, Prose, RegionGrammar
from medrega_edge.inference.region_tokens import RegionTokens
from medrega_edge.inference.tokenizer import Tokenizer
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks.classification import Classify
from tests.codes import raises_code
from tests.edge.toy import ID, TOKENS, ScriptedModel, context, cut, vocabulary


def write(rng, v, limit=160, bias=None):
    def logits():
        drawn = rng.normal(0, 3, len(TOKENS)).astype(np.float32)
        return drawn if bias is None else drawn + bias

    steps = list(generate_tokens(logits(), lambda ids: logits(), RegionGrammar(v), v.end, limit))
    return "".join(TOKENS[step.token] for step in steps), steps


@pytest.mark.slow
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
        unnamed = {Message("prompt.nameless_region")}  # a name of blanks is the model's nonsense, not the grammar's
        assert set(parsed.problems) <= unnamed, text
        boxes += sum(len(region.boxes) for region in parsed.regions)
        assert all(len(region.boxes) <= MAX_BOXES for region in parsed.regions)
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

    text = "".join(TOKENS[s.token] for s in generate_tokens(logits(), logits, RegionGrammar(v), v.end, 99))
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


def say(grammar, v, draw, limit=200):
    steps = list(generate_tokens(draw(), lambda ids: draw(), grammar, v.end, limit))
    return "".join(TOKENS[step.token] for step in steps), steps


def drawing(rng, **bias):
    """Random logits, some tokens pushed."""

    def draw():
        logits = rng.normal(0, 3, len(TOKENS)).astype(np.float32)
        for token, push in bias.items():
            logits[ID[token]] += push
        return logits

    return draw


@pytest.mark.slow
@pytest.mark.parametrize(
    ("count", "whole_separators"), [(700, True), (300, False), pytest.param(10_000, True, marks=pytest.mark.slow)]
)
def test_a_named_object_is_there_in_well_formed_boxes_or_not_at_all(count, whole_separators):
    v = vocabulary(whole_separators)
    rng = np.random.default_rng(count)
    draw = drawing(rng, **{"], [": 2.0})
    there = several = 0
    for _ in range(count):
        text, steps = say(NamedRegion(v, cut("肝a"), ID["a"], max_boxes=3), v, draw)
        assert len(steps) < 200
        if text == "a":
            continue
        parsed = parse(text)
        assert parsed.problems == ()
        assert parsed.prose == "肝a"
        (region,) = parsed.regions
        assert region.label == "肝a"
        assert 1 <= len(region.boxes) <= 3
        assert len(set(region.boxes)) == len(region.boxes)
        there += 1
        several += len(region.boxes) > 1
    assert count * 0.3 < there < count * 0.7
    assert not whole_separators or several > count * 0.05


def test_a_box_is_not_written_twice_even_when_the_model_wants_to():
    v = vocabulary(True)
    wish = "<ref>a</ref><box>[[1, 2, 30, 40], [1, 2, 30, 40]]</box>"
    grammar = RegionGrammar(v)
    for token in [ID["<ref>"], ID["a"], ID["</ref>"], ID["<box>"], *cut("[[1, 2, 30, 40")]:
        grammar.push(token)
    grammar.push(ID["], ["])
    for token in cut("1, 2, 30, 4"):
        grammar.push(token)
    assert "40" in wish
    assert ID["0"] in grammar.allowed()  # 400 to 409 are still open
    grammar.push(ID["0"])
    assert ID["]"] not in grammar.allowed()  # but 40 itself is taken
    assert ID["5"] in grammar.allowed()


def test_where_only_a_repeated_box_is_left_it_may_be_repeated():
    v = vocabulary(True)
    grammar = RegionGrammar(v)
    for token in [ID["<ref>"], ID["a"], ID["</ref>"], ID["<box>"], *cut("[[1, 998, 30, 999")]:
        grammar.push(token)
    grammar.push(ID["], ["])
    for token in cut("1, 998, 30, 999"):
        assert token in grammar.allowed()
        grammar.push(token)


def test_twelve_digits_and_two_make_a_box():
    """Passes of a one-box answer: presence, twelve digits at most, whether another box follows."""
    v = vocabulary(True)
    script = iter(["<ref>", *"100", *"200", *"300", *"400", "]"])
    asked = 0

    def logits(ids=None):
        nonlocal asked
        asked += 1
        out = np.zeros(len(TOKENS), np.float32)
        out[ID[next(script)]] = 9.0
        return out

    steps = list(generate_tokens(logits(), logits, NamedRegion(v, cut("肝"), ID["a"]), v.end, 99))
    assert "".join(TOKENS[s.token] for s in steps) == "<ref>肝</ref><box>[[100, 200, 300, 400]]</box>"
    assert asked == 14


@pytest.mark.parametrize("limit", [40, 60, 100])
def test_no_box_is_begun_that_does_not_end_in_time(limit):
    """However much the model wants another box."""
    v = vocabulary(True)
    for seed in range(20):
        draw = drawing(np.random.default_rng(seed), **{"], [": 50.0, "<ref>": 50.0})
        text, _ = say(NamedRegion(v, cut("肝a"), ID["a"], limit=limit), v, draw, limit=limit)
        parsed = parse(text)
        assert parsed.problems == ()
        assert 1 <= len(parsed.regions[0].boxes) <= MAX_BOXES


def test_a_choice_is_one_of_the_candidates():
    v = vocabulary(True)
    rng = np.random.default_rng(5)
    names = ["a", "a肝", "肝a", "1 2"]
    seen = set()
    for _ in range(200):
        grammar = Choice([cut(name) for name in names], v.end)
        text, _ = say(grammar, v, drawing(rng))
        assert [names[i] for i in grammar.chosen] == [text]
        seen.add(text)
    assert seen == set(names)


def test_several_choices_are_each_made_once():
    v = vocabulary(True)
    rng = np.random.default_rng(6)
    names = ["a", "肝a", "1 2"]
    counts = set()
    for _ in range(300):
        grammar = Choice([cut(n) for n in names], v.end, [cut(f", {n}") for n in names])
        text, _ = say(grammar, v, drawing(rng))
        chosen = [names[i] for i in grammar.chosen]
        assert ", ".join(chosen) == text
        assert len(set(chosen)) == len(chosen)
        counts.add(len(chosen))
    assert counts == {1, 2, 3}


def test_prose_holds_no_marker():
    v = vocabulary(True)
    text, _ = say(Prose(v), v, drawing(np.random.default_rng(7), **{"<ref>": 50.0, "<box>": 50.0}), limit=50)
    assert text
    assert "<" not in text


def spaced(*merges):
    """A tokenizer that starts every text, and what follows a marker, with a space; one token a character but `merges`."""
    from tokenizers import Tokenizer as Built
    from tokenizers import decoders, models, normalizers

    pieces = [*dict.fromkeys("▁0123456789[],;:yesno\n"), *("".join(pair) for pair in merges)]
    built = Built(models.BPE({piece: number for number, piece in enumerate(pieces)}, list(merges)))
    built.normalizer = normalizers.Sequence([normalizers.Prepend("▁"), normalizers.Replace(" ", "▁")])
    built.decoder = decoders.Sequence([decoders.Replace("▁", " "), decoders.Fuse(), decoders.Strip(" ", 1, 0)])
    built.add_special_tokens(["<end>", *TOKENS[1:5]])
    return Tokenizer(built.to_str())


def test_punctuation_is_cut_as_in_an_answer():
    tokenizer = spaced()
    v = RegionTokens.of(tokenizer, (tokenizer.id_of("<end>"),))
    ids = [v.box_open, *v.open_list]
    for number in range(8):
        separator = v.next_box if number == 3 else v.between
        ids += [v.digits[1], *(v.close_list if number == 7 else separator)]
    assert [*ids, v.box_close] == tokenizer.encode("<box>[[1, 1, 1, 1], [1, 1, 1, 1]]</box>")


def test_numbers_that_are_not_cut_digit_by_digit_are_refused():
    with raises_code(PackageError, "inference.numbers_not_by_digit"):
        RegionTokens.of(spaced(("1", "]")), (0,))


@pytest.mark.parametrize(("words", "multiple"), [("no", False), ("no; yes", True)])
def test_candidates_are_cut_as_they_stand_behind_the_prompt(words, multiple):
    book = PromptBook("{image}", {"classify": {"en": "{question}\n"}})
    model = ScriptedModel(words, spaced(), "<end>")
    assert Classify(["yes", "no"], multiple).run(context(model, book)).text == words


def test_behind_a_prompt_or_alone_is_the_same_for_our_own_tokenizer():
    tokenizer = Tokenizer(find_package().text("tokenizer"))
    for text in ("liver", "肝脏", "; left kidney", "(dry) AMD", "2.5 cm", "There is no liver in this image."):
        for before in ("[detect] x<|im_end|>\n<|im_start|>assistant\n", "<ref>", "spleen"):
            assert tokenizer.encode_continuation(text, before) == tokenizer.encode(text)


def test_what_melts_with_the_prompt_is_cut_alone():
    tokenizer = spaced((":", "y"))
    assert tokenizer.encode_continuation("yes", "no") == tokenizer.encode("yes")[1:]
    assert tokenizer.encode_continuation("yes", "no:") == tokenizer.encode("yes")
