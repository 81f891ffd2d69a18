"""The phrases that can be in a text are found without trying all of them."""

import random

from medrega_edge.prompts.intent.phrases import _as_pattern, _compiled, _index, has, table
from medrega_edge.vocabulary.phrase_index import PhraseIndex


def test_phrases_come_in_their_order_and_only_where_all_that_they_need_is_there():
    index = PhraseIndex(
        [("left kidney", ["left", "kidney"]), ("kidney", ["kidney"]), ("any *", []), ("k", ["k"]), ("肝", ["肝"])]
    )
    assert index.within("the kidney at the left") == ("left kidney", "kidney", "any *", "k")
    assert index.within("肝 on the left") == ("any *", "肝")
    assert index.within("") == ("any *",)


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
