"""The phrases that can be in a text are found without trying all of them."""

import random

from medrega_edge.domain import Modality
from medrega_edge.prompts.intent import understand
from medrega_edge.prompts.intent.phrases import _as_pattern, _compiled, _index, has, table
from medrega_edge.vocabulary.phrase_index import START, PhraseIndex, index_of_names
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.typos import corrected


def test_phrases_come_in_their_order_and_only_where_all_that_they_need_is_there():
    needed = {"left kidney": ["left", "kidney"], "kidney": ["kidney"], "any *": [], "肝 left": ["肝", "left"], "k": ["k"]}
    index = PhraseIndex(needed, lambda phrase: needed[phrase][0][:START] if needed[phrase] else "", needed.__getitem__)
    assert index.within("the kidney at the left") == ("left kidney", "kidney", "any *", "k")
    assert index.within("肝 on the left") == ("any *", "肝 left")
    assert index.within("") == ("any *",)


def test_an_english_text_reads_no_chinese_phrase():
    read = []
    index = PhraseIndex(["liver", "肝"], lambda phrase: read.append(phrase) or phrase[:START], str.split)
    assert index.within("the liver") == ("liver",)
    assert read == ["liver"]
    assert index.within("肝") == ("肝",)


def test_names_are_found_whatever_spaces_the_text_has():
    index = index_of_names(["left kidney", "kidney", "a b"])
    assert index.within("left  kidney") == ("left kidney", "kidney")
    assert index.within("a\u3000b") == ("a b",)


def test_every_phrase_is_as_if_all_were_tried():
    chance = random.Random(0)
    frames = table()
    kinds = [kind for kind, phrases in frames.items() if isinstance(phrases, list) and phrases]
    for kind in kinds:
        said = [
            phrase.replace("*", "this").replace("#", "\0")
            for phrase in chance.sample(frames[kind], min(5, len(frames[kind])))
        ]
        for text in (*said, " and ".join(said), "nothing of it"):
            tried = any(_compiled(phrase).search(text) for phrase in frames[kind])
            assert has(kind, text) == tried, (kind, text)
            assert all(_as_pattern(phrase) for phrase in _index(kind, "").within(text))


def test_a_question_is_understood_once_and_apart_for_each_kind_of_image():
    terminology = Terminology([("glioma", "胶质瘤"), ("kidney tumor", "肾肿瘤")])
    first = understand("where is the tumor?", terminology, Modality.MRI)
    assert understand("where is the tumor?", terminology, Modality.MRI) is first
    assert understand("where is the tumor?", terminology, Modality.CT) != first


def test_of_slips_that_fit_as_well_the_same_is_meant_in_each_process():
    known = frozenset(f"separat{letter}d" for letter in "eiauo")
    assert corrected("separatly", known) == ("separatad", {"separatly": "separatad"})  # a set has a chance order
