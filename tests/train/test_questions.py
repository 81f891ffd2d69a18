import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medrega_edge.prompts import Language, Task, guess_task, language_of
from medrega_edge.regions import parse
from medrega_train.augment import clean_view
from medrega_train.questions import DETECT, IDENTIFY, Questions, all_texts, grid_region
from medrega_train.tokens import SPECIAL, train_tokenizer

from .test_augment import picture, record

BOX = (30, 40, 70, 64)
RECORDS = [record("torso", BOX), record("skin", BOX, label=("skin lesion", "皮肤病变"))]


def drawn(seed, count=200):
    view = clean_view(RECORDS[0], picture(BOX), 128)
    return Questions(RECORDS).draw(RECORDS[0], view, count, np.random.default_rng(seed))


def test_every_answer_is_readable_and_true():
    kinds = set()
    for question in drawn(0):
        parsed = parse(question.answer)
        assert parsed.problems == ()
        kinds.add((question.task, question.language, bool(parsed.regions)))
        assert language_of(question.question) == question.language or question.task is Task.DETECT
        if question.task is Task.DETECT and parsed.regions:
            assert parsed.regions[0].label in ("left kidney", "左肾")
            got = np.array(parsed.regions[0].boxes[0].as_list()) / 999 * 128
            assert np.abs(got - BOX).max() < 0.2
        elif question.task is Task.DETECT:
            assert "skin lesion" in question.answer or "皮肤病变" in question.answer
        else:
            assert question.answer in ("left kidney", "左肾")
            assert parse(question.question).regions
    assert len(kinds) == 6  # both languages: where, not there, what


def test_the_same_seed_draws_the_same_questions():
    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_wordings_name_what_they_ask_about_and_are_understood_by_the_command_line():
    for language in Language:
        assert all("{x}" in template for template in DETECT[language])
        assert all("{box}" in template for template in IDENTIFY[language])
        bare = [template for template in DETECT[language] if template != "{x}"]
        understood = 0
        for template in bare:
            try:
                understood += guess_task(template.format(x="liver", m="MRI"), ("detect",)) is Task.DETECT
            except Exception:
                continue
        assert understood / len(bare) > 0.8


@given(st.lists(st.tuples(*[st.floats(0, 1)] * 4).filter(lambda b: b[0] < b[2] and b[1] < b[3]), min_size=1, max_size=5))
def test_boxes_are_written_top_to_bottom(boxes):
    written = grid_region("x", np.array(boxes)).boxes
    assert len(written) == len(boxes)
    tops = sorted(box[1] for box in boxes)
    assert [abs(box.y1 / 999 - top) < 0.002 for box, top in zip(written, tops, strict=True)].count(False) == 0


def test_the_tokenizer_keeps_digits_apart_and_comes_back():
    tokenizer = train_tokenizer(all_texts(RECORDS), 512)
    assert tokenizer.get_vocab_size() % 32 == 0
    for token in SPECIAL:
        assert tokenizer.encode(token).ids == [tokenizer.token_to_id(token)]
    for text in ("<box>[[112, 240, 377, 648], [1, 2, 3, 4]]</box>", "请定位左肾 🫀 left kidney"):
        ids = tokenizer.encode(text).ids
        assert tokenizer.decode(ids, skip_special_tokens=False) == text
    assert len(tokenizer.encode("112").ids) == 3
