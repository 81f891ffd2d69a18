import numpy as np
from hypothesis import given
from hypothesis import strategies as st

from medrega_edge.domain import Language, Task, language_of
from medrega_edge.evaluation.records import AnnotatedQuestion
from medrega_edge.prompts.region_markup import parse
from medrega_edge.prompts.templates import LABEL_SEPARATOR
from medrega_edge.tasks.intent import guess_task
from medrega_edge.vocabulary.label_sets import LABEL_SETS, MODALITY_NAMES
from medrega_edge.vocabulary.terminology import Terminology
from medrega_train.augment import clean_view, random_view
from medrega_train.non_medical_images import foreign_picture
from medrega_train.question_templates import DETECT, IDENTIFY
from medrega_train.questions import QuestionSampler, all_texts, grid_region, label_sets, question_weight
from medrega_train.reports import report
from medrega_train.tokens import SPECIAL, train_tokenizer

from .test_augment import picture, record

BOX = (30, 40, 70, 64)
ASKED = (AnnotatedQuestion(Language.EN, "Is it large?", "Yes"), AnnotatedQuestion(Language.ZH, "它大吗？", "是的"))
RECORDS = [
    record("torso", BOX, labels=("abdomen",), qa=ASKED),
    record("skin", BOX, label=("skin lesion", "皮肤病变"), kind="lesion", labels=("melanoma",)),
]


def drawn(seed, count=200, of=0):
    view = clean_view(RECORDS[of], picture(BOX), 128)
    return QuestionSampler(RECORDS).draw(RECORDS[of], view, count, np.random.default_rng(seed))


def test_every_answer_is_readable_and_true():
    kinds = set()
    for question in drawn(0) + drawn(1, of=1):
        parsed = parse(question.answer)
        assert parsed.problems == ()
        kinds.add((question.task, question.language, bool(parsed.regions)))
        if question.task is Task.DETECT and parsed.regions:
            assert parsed.regions[0].label in ("left kidney", "左肾", "skin lesion", "皮肤病变")
            got = np.array(parsed.regions[0].boxes[0].as_list()) / 999 * 128
            assert np.abs(got - BOX).max() < 0.2
        elif question.task is Task.DETECT:
            assert any(name in question.answer for name in ("skin lesion", "皮肤病变", "left kidney", "左肾"))
            assert question.answer.startswith(("There is no", "图中没有"))
        elif question.task is Task.IDENTIFY:
            assert question.answer in ("left kidney", "左肾", "skin lesion", "皮肤病变")
            assert parse(question.question).regions
        elif question.task is Task.VQA:
            assert (question.question.split(" Regions:")[0].split(" 区域：")[0], question.answer) in {
                (one.question, one.answer) for one in ASKED
            }
        elif question.task is Task.CLASSIFY:
            assert question.answer in ("melanoma", "黑色素瘤", *(MODALITY_NAMES[r.modality][0] for r in RECORDS))
        else:
            assert language_of(question.answer) == question.language
    # Both languages of: where, not there, what, the data's own, class, report; the kind of image in English.
    assert len(kinds) == 12


def test_the_data_s_own_questions_are_not_asked_about_mirrored_views():
    head = record("head", BOX, qa=ASKED)
    tasks = {True: set(), False: set()}
    for seed in range(40):
        rng = np.random.default_rng(seed)
        view = random_view(head, picture(BOX), 128, rng)
        tasks[view.upright] |= {q.task for q in QuestionSampler([head]).draw(head, view, 20, rng)}
    assert Task.VQA in tasks[True]
    assert Task.VQA not in tasks[False]


def test_candidates_come_in_any_order_and_several_answers_keep_it():
    hand = record("limb", BOX, labels=("hand", "frontal", "no fracture"))
    view = clean_view(hand, picture(BOX), 128)
    asked = QuestionSampler([hand]).draw(hand, view, 300, np.random.default_rng(0))
    asked = [q for q in asked if q.task is Task.CLASSIFY and "hip" in q.question]
    assert {q.answer for q in asked} == {"hand; frontal", "frontal; hand"}
    for q in asked:
        places = [q.question.index(label) for label in q.answer.split(LABEL_SEPARATOR)]
        assert places == sorted(places)


def test_label_sets_fit_by_the_labels_of_the_image():
    assert [one.name for one in label_sets(RECORDS[1])] == ["skin", "nevus"]
    assert label_sets(RECORDS[0]) == []
    assert len({one.name for one in LABEL_SETS.values()}) == len(LABEL_SETS)
    assert question_weight(RECORDS[0]) > question_weight(RECORDS[1]) > question_weight(record("torso"))


def test_reports_say_what_is_known_and_no_more():
    kidney, lesion = (clean_view(r, picture(BOX), 128) for r in RECORDS)
    assert report(RECORDS[0], kidney, Language.EN) == "CT scan of the abdomen. Seen: left kidney."
    assert report(RECORDS[0], kidney, Language.ZH) == "CT图像，腹部。可见：左肾。"
    assert report(RECORDS[1], lesion, Language.EN) == "dermoscopy image of the skin. Abnormal: skin lesion, melanoma."
    normal = record("torso", BOX, labels=("abdomen", "normal"))
    assert report(normal, kidney, Language.EN) == "CT scan of the abdomen. Seen: left kidney."  # not: nothing abnormal


def test_foreign_pictures_are_pictures_of_many_kinds():
    drawn_pictures = [foreign_picture(64, np.random.default_rng(seed)) for seed in range(60)]
    assert all(p.shape == (64, 64, 3) and p.dtype == np.uint8 for p in drawn_pictures)
    assert len({p.tobytes() for p in drawn_pictures}) > 55
    spreads = [float(p.std()) for p in drawn_pictures]
    assert min(spreads) < 1.0 and max(spreads) > 60.0


def test_the_same_seed_draws_the_same_questions():
    assert drawn(7) == drawn(7)
    assert drawn(7) != drawn(8)


def test_wordings_name_what_they_ask_about_and_are_understood_by_the_command_line():
    for language in Language:
        assert all("{x}" in template for template in DETECT[language])
        assert all("{box}" in template for template in IDENTIFY[language])
        bare = [template for template in DETECT[language] if template != "{x}"]
        name = ("liver", "肝脏")[language is Language.ZH]
        for template in bare:
            question = template.format(x=name, m="MRI")
            assert guess_task(question, ("detect",), Terminology((("liver", "肝脏"),))) is Task.DETECT, question
        asked = [template.format(x=name, m="MRI") for template in bare]  # of weights without a list of names
        assert sum(guess_task(text, ("detect", "vqa"), Terminology(())) is Task.DETECT for text in asked) / len(bare) > 0.8


SIDES = st.lists(st.floats(0, 1), min_size=2, max_size=2, unique=True).map(sorted)
BOXES = st.tuples(SIDES, SIDES).map(lambda sides: [*zip(*sides, strict=True)]).map(lambda corners: corners[0] + corners[1])


@given(st.lists(BOXES, min_size=1, max_size=5))
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
