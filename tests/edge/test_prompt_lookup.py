"""Guesses change the time and no answer: any text, under any grammar, with any memory."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from medrega_edge import load
from medrega_edge.errors import ResourceError
from medrega_edge.inference.decoding import generate_tokens
from medrega_edge.inference.grammars import Choice, NamedRegion, Prose, RegionGrammar
from medrega_edge.inference.prompt_lookup import MEMORY, MOST_TOKENS, LookupReader, TextMemory
from medrega_edge.prompts.templates import Prompt
from tests.edge.toy import ID, TOKENS, vocabulary

V = vocabulary(True)
tokens = st.lists(st.integers(0, len(TOKENS) - 1), max_size=40)


class TableModel:
    """Logits depend on the last two tokens, and ties are frequent. It takes ids for embeddings, and keeps every pass."""

    def __init__(self, seed, context=400):
        self.table = np.random.default_rng(seed).integers(0, 12, (len(TOKENS), len(TOKENS), len(TOKENS))).astype(np.float32)
        self.cache = np.zeros(context, np.int64)
        self.length = 0
        self.passes = []

    @property
    def remaining_context(self):
        return len(self.cache) - self.length

    def rewind(self, length):
        assert 0 <= length <= self.length
        self.length = length

    def extend_rows(self, ids, count):
        if len(ids) > self.remaining_context:
            raise ResourceError("resource.context_full", positions=len(self.cache))
        assert 0 < count <= len(ids)
        self.cache[self.length : self.length + len(ids)] = ids
        self.length += len(ids)
        self.passes.append((len(ids), count))
        places = range(self.length - count, self.length)
        return np.stack([self.table[self.cache[at - 1] if at else 0, self.cache[at]] for at in places])

    def extend(self, ids):
        return self.extend_rows(ids, 1)[0]


def text(model, extend, grammar, first, limit=80, jump_forward=True):
    """Tokens with their probabilities, generated behind a prompt."""
    return list(generate_tokens(first, extend, grammar, V.end, limit, jump_forward))


def started(seed, prompt, context=400):
    model = TableModel(seed, context)
    return model, model.extend(prompt)


def grammars(opening):
    return {
        "regions": lambda: RegionGrammar(V),
        "two boxes": lambda: RegionGrammar(V, max_boxes=2),
        "prose": lambda: Prose(V),
        "opening": lambda: Prose(V, opening),
    }


@pytest.mark.parametrize("kind", ["regions", "two boxes", "prose", "opening"])
@given(seed=st.integers(0, 10_000), remembered=tokens, jump_forward=st.booleans())
def test_a_text_with_guesses_is_the_text_without(kind, seed, remembered, jump_forward):
    make, prompt = grammars([ID["a"], ID[","], ID["a"]])[kind], [ID["a"], ID[" "]]
    plain, first = started(seed, prompt)
    expected = text(plain, plain.extend, make(), first)
    model, first = started(seed, prompt)
    memory = TextMemory()
    memory.add([*remembered, *prompt])
    reader = LookupReader(model, lambda ids: ids, memory, V.end)
    assert text(model, reader.extend, make(), first, jump_forward=jump_forward) == expected
    assert all(fed % 2 == 0 and count % 2 == 0 and fed <= max(MOST_TOKENS, 16) for fed, count in model.passes[1:])


@given(st.integers(0, 10_000), st.integers(1, 30))
def test_it_ends_within_the_context(seed, room):
    prompt = [ID["a"]]
    model, first = started(seed, prompt, context=1 + room)
    plain, _ = started(seed, prompt, context=400)
    reader = LookupReader(model, lambda ids: ids, TextMemory(), V.end)
    steps = text(model, reader.extend, Prose(V), first, limit=model.remaining_context - 1)
    assert steps == text(plain, plain.extend, Prose(V), first, limit=room - 1)


def test_a_text_that_repeats_takes_few_passes():
    model, first = started(3, [ID["a"]])
    model.table[:] = 0
    for this, following in (("a", ","), (",", " "), (" ", "肝"), ("肝", "a")):
        model.table[:, ID[this], ID[following]] = 9
    first = model.table[0, ID["a"]]
    reader = LookupReader(model, lambda ids: ids, TextMemory(), V.end)
    steps = text(model, reader.extend, Prose(V), first, limit=64)
    assert [step.token for step in steps[:5]] == [ID[","], ID[" "], ID["肝"], ID["a"], ID[","]]
    assert len(steps) == 64 and len(model.passes) - 1 <= 64 / 4 + 4  # four tokens a pass, after the first round


def test_more_is_guessed_while_all_is_right():
    memory = TextMemory()
    memory.add([*range(20), 0, 1])
    model, _ = started(3, [0])
    reader = LookupReader(model, lambda ids: ids, memory, ())
    for token in range(2, 20):
        reader.extend([token])
    assert [fed for fed, _ in model.passes[1:]] == [4, 8, 8]


def test_a_pair_is_fed_where_nothing_is_known():
    model, _ = started(3, [ID["a"]])
    reader = LookupReader(model, lambda ids: ids, TextMemory(), V.end)
    reader.extend([ID[","]])
    assert model.passes[1:] == [(2, 2)]


def test_no_guess_goes_beyond_an_end():
    memory = TextMemory()
    memory.add([ID["a"], ID[","], ID["肝"], V.end[0], ID["a"], ID["a"], ID[","]])
    model, _ = started(3, [ID["a"]])
    LookupReader(model, lambda ids: ids, memory, V.end).extend([ID["肝"]])
    assert model.cache[1] == ID["肝"] and V.end[0] not in model.cache[1 : model.length]


def test_what_followed_the_longest_equal_words_last_is_guessed():
    memory = TextMemory()
    assert memory.guess(3) == []
    memory.add([1, 2, 3, 4, 5, 9, 2, 3, 7, 8, 1, 2, 3])
    assert memory.guess(3) == [4, 5, 9]  # three equal tokens, though "2 3" was followed by 7 since
    memory.add([7])
    assert memory.guess(2) == [8, 1]
    memory.add([4])
    assert memory.guess(2) == [5]  # one equal token is worth one guess


def test_the_memory_is_bounded():
    memory = TextMemory()
    for _ in range(3 * MEMORY // 100):
        memory.add(list(range(100)))
    assert len(memory._tokens) <= MEMORY and len(memory._next) <= 4 * MEMORY


def test_the_reader_of_another_answer_knows_the_earlier_ones():
    memory = TextMemory()
    memory.add([5, 6, 7, 8, 9, 10, 0, 5, 6])
    model, _ = started(3, [ID["a"]])
    LookupReader(model, lambda ids: ids, memory, V.end).extend([7])
    assert list(model.cache[1 : model.length]) == [7, 8, 9, 10]


@pytest.fixture
def language_model(monkeypatch):
    """The default package's, as if its graph gave the logits of several positions; it has a region head."""
    model = load().language_model
    monkeypatch.setattr(model._decoder, "gives_rows", True)
    return model


QUESTION = Prompt("", "", "Write a report.")


def test_only_free_text_is_read_with_guesses(language_model, monkeypatch):
    monkeypatch.setattr(language_model._decoder, "gives_equal_rows", lambda embeds: True)
    vocabulary, read = language_model.vocabulary, language_model._lookup_reader
    assert read(QUESTION, Prose(vocabulary)) is not None
    assert read(QUESTION, Choice([[300]], vocabulary.end)) is None
    assert read(QUESTION, RegionGrammar(vocabulary)) is None  # the region head needs the state of the last position
    monkeypatch.setattr(language_model, "_region_head", None)
    assert read(QUESTION, RegionGrammar(vocabulary)) is not None
    assert read(QUESTION, NamedRegion(vocabulary, [300], 301)) is None
    monkeypatch.setattr(language_model, "prompt_lookup", False)
    assert read(QUESTION, Prose(vocabulary)) is None


def test_a_machine_whose_rows_differ_gets_no_guesses(language_model, monkeypatch):
    tried = []
    monkeypatch.setattr(language_model._decoder, "gives_equal_rows", lambda embeds: bool(tried.append(embeds)))
    for _ in range(3):
        assert language_model._lookup_reader(QUESTION, Prose(language_model.vocabulary)) is None
    assert len(tried) == 1 and len(tried[0]) == MOST_TOKENS


def test_forgetting_empties_the_memory(language_model, monkeypatch):
    monkeypatch.setattr(language_model._decoder, "gives_equal_rows", lambda embeds: True)
    language_model._lookup_reader(QUESTION, Prose(language_model.vocabulary))
    assert language_model._memory._tokens
    language_model.forget()
    assert not language_model._memory._tokens
