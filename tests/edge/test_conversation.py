"""A conversation goes on from what was said: names, boxes, changes, places, languages; what it cannot resolve it refuses."""

from dataclasses import replace

import pytest

from medrega_edge.answer import Label
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Intent, Kind
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.conversation import about_box, going_back, with_left_out
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.follow_up import pointing_back
from medrega_edge.tasks.memory import Chosen, Memory, recall
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.reference_words import Points, plain_words, read_reference
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.small_talk import language_in, reply
from medrega_edge.tasks.spoken import with_heads
from medrega_edge.tasks.unsaid import corrected
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.terminology import Terminology
from tests.edge.test_derived import answer

LIVER, SPLEEN, PANCREAS = ("liver", "肝脏"), ("spleen", "脾脏"), ("pancreas", "胰腺")
KIDNEYS = [("left kidney", "左肾"), ("right kidney", "右肾")]
LUNGS = [("left lung", "左肺"), ("right lung", "右肺")]
POLYP, CANCER, NUCLEUS = ("polyp", "息肉"), ("lung cancer", "肺癌"), ("cell nucleus", "细胞核")
CELLS = [("white blood cell", "白细胞"), ("red blood cell", "红细胞")]
NAMES = [LIVER, SPLEEN, PANCREAS, *KIDNEYS, *LUNGS, POLYP, CANCER, NUCLEUS, *CELLS, ("heart", "心脏")]
TERMS = Terminology(NAMES)
BOXES = {  # of what the image shows; the rest is not found
    "liver": [PixelBox(0, 0, 80, 80)],
    "spleen": [PixelBox(85, 0, 100, 20)],
    "left kidney": [PixelBox(80, 40, 100, 70)],
    "right kidney": [PixelBox(0, 82, 30, 100)],
    "polyp": [PixelBox(10, 10, 20, 20)],
    "lung cancer": [PixelBox(60, 10, 70, 30)],
    "cell nucleus": [PixelBox(40, 0, 60, 20), PixelBox(0, 50, 30, 90), PixelBox(80, 80, 90, 90)],
    "white blood cell": [PixelBox(0, 0, 50, 50)],
    "red blood cell": [PixelBox(60, 0, 80, 20), PixelBox(60, 60, 70, 70)],
}


def names_of(request):
    return [english for english, _ in request.intent.names]


def asked(names, kind=Kind.LOCATE, text=""):
    request = Detect([english for english, _ in names]) if kind is Kind.LOCATE else FromBoxes(kind, tuple(names))
    return Asked(text or ", ".join(english for english, _ in names), Intent(kind, tuple(names)), request)


def answered(request):
    """The answer about the boxes of the table, as far as the request looks for them."""
    names = request.intent.names if request.intent.names else [name for name in NAMES if name[0] in ("liver", "spleen")]
    made = answer(*((name[0], box, 0.95) for name in names for box in BOXES.get(name[0], [])))
    return request.finish(replace(made, searched=tuple(name[0] for name in names)))


def talk(*turns):
    """The memory of turns: each a request, or names that are located."""
    memory = Memory()
    for turn in turns:
        request = asked(turn) if isinstance(turn, list) else turn
        memory.remember(request, answered(request), request.text)
    return memory


def said(memory, *lines):
    """The request of the last of some lines."""
    for line in lines:
        request = going_back(line, memory, TERMS)
        assert request is not None, line
        memory.remember(request, answered(request), line)
    return request


THREE = ([LIVER], [SPLEEN], [KIDNEYS[0]])


@pytest.mark.parametrize(
    ("turns", "line", "kind", "names"),
    [
        (([LIVER], [SPLEEN]), "both", Kind.LOCATE, ["liver", "spleen"]),
        (([LIVER], [SPLEEN]), "show both organs", Kind.LOCATE, ["liver", "spleen"]),
        (([LIVER], [SPLEEN]), "一起标", Kind.LOCATE, ["liver", "spleen"]),
        (([LIVER], [SPLEEN]), "兩個都多大", Kind.MEASURE, ["liver", "spleen"]),
        (([LIVER], [SPLEEN]), "which one is bigger", Kind.COMPARE, ["liver", "spleen"]),
        (([LIVER], [SPLEEN]), "哪个小", Kind.COMPARE, ["liver", "spleen"]),
        (THREE, "show all three", Kind.LOCATE, ["liver", "spleen", "left kidney"]),
        (THREE, "都在哪", Kind.LOCATE, ["liver", "spleen", "left kidney"]),
        (THREE, "the last two", Kind.LOCATE, ["spleen", "left kidney"]),
        (THREE, "各多大", Kind.MEASURE, ["liver", "spleen", "left kidney"]),
        (THREE, "which of them is the smallest?", Kind.LOCATE, ["spleen"]),
        (THREE, "三個裡哪個最小", Kind.LOCATE, ["spleen"]),
        (THREE, "第二大的是哪个", Kind.LOCATE, ["left kidney"]),
        (([LIVER, SPLEEN],), "第二个多大", Kind.MEASURE, ["spleen"]),
        (([LIVER, SPLEEN],), "最后一个呢", Kind.LOCATE, ["spleen"]),
        (([LIVER, SPLEEN],), "which one is on the left?", Kind.SIDE, ["liver", "spleen"]),
        (([LIVER], [SPLEEN]), "and the other one?", Kind.LOCATE, ["liver"]),
        (([LIVER], [SPLEEN]), "另一个多大", Kind.MEASURE, ["liver"]),
        ((KIDNEYS,), "左边那个多大", Kind.MEASURE, ["left kidney"]),
        (([KIDNEYS[0]],), "另一个呢", Kind.LOCATE, ["right kidney"]),
        (([LIVER], [SPLEEN]), "compare them", Kind.COMPARE, ["liver", "spleen"]),
        (([POLYP],), "is there another one?", Kind.COUNT, ["polyp"]),
        (([NUCLEUS],), "how many of them?", Kind.COUNT, ["cell nucleus"]),
        ((CELLS,), "which is there the most of?", Kind.COUNT, ["white blood cell", "red blood cell"]),
    ],
)
def test_a_reference_means_the_names_of_the_last_questions(turns, line, kind, names):
    request = going_back(line, talk(*turns), TERMS)
    assert (request.intent.kind, names_of(request)) == (kind, names)


@pytest.mark.parametrize(
    ("line", "boxes"),
    [
        ("the second one", [1]),
        ("第三個", [2]),
        ("the last two", [1, 2]),
        ("最后一个", [2]),
        ("倒数第二个", [1]),
        ("number 3", [2]),
        ("the second largest", [0]),
        ("最小的", [2]),
        ("the two largest", [1, 0]),
        ("the smaller one", [2]),
        ("the top one", [0]),
        ("最下面的", [2]),
    ],
)
def test_a_reference_means_a_box_of_the_last_answer(line, boxes):
    request = said(talk([NUCLEUS]), line)
    assert list(request.boxes) == [BOXES["cell nucleus"][place] for place in boxes]
    assert {region.box for region in answered(request).regions} == set(request.boxes)


@pytest.mark.parametrize("line", ["the left one", "左边那个"])
def test_the_left_one_is_a_single_box(line):
    (region,) = answered(going_back(line, talk([NUCLEUS]), TERMS)).regions
    shown = sorted(BOXES["cell nucleus"], key=lambda box: box.x1)
    assert region.box in (shown[0], shown[-1])  # the patient's left or the image's, as the kind of image has it


@pytest.mark.parametrize("line", ["how big is it", "多大", "where?", "which side", "那個多大"])
def test_after_a_superlative_it_is_that_box(line):
    memory = talk([NUCLEUS], asked([NUCLEUS], text="the biggest nucleus"))
    assert going_back(line, memory, TERMS).boxes == (BOXES["cell nucleus"][1],)


@pytest.mark.parametrize(("line", "box"), [("how big is the smallest one?", 2), ("最大的多大", 1)])
def test_a_superlative_with_a_size_gets_the_size(line, box):
    request = said(talk([NUCLEUS]), line)
    assert (request.intent.kind, request.boxes) == (Kind.MEASURE, (BOXES["cell nucleus"][box],))
    assert len(answered(request).facts["sizes"]) == 1


@pytest.mark.parametrize(("line", "name"), [("which one is smaller?", "spleen"), ("哪个更大", "liver")])
def test_after_a_comparison_it_is_the_one_that_was_asked_for(line, name):
    memory = talk([LIVER], [SPLEEN])
    said(memory, line)
    assert names_of(going_back("how big is it?", memory, TERMS)) == [name]
    assert names_of(going_back("how big are they?", memory, TERMS)) == ["liver", "spleen"]
    assert names_of(going_back("the other one", memory, TERMS)) == ["liver" if name == "spleen" else "spleen"]


def test_the_distance_of_a_chosen_box_is_that_of_the_box():
    memory = talk([NUCLEUS], asked([NUCLEUS], text="the smallest nucleus"))
    told = answered(going_back("how far is it from the liver?", memory, TERMS))
    assert [region.box for region in told.regions] == [BOXES["cell nucleus"][2], *BOXES["liver"]]


def test_a_place_does_not_become_the_subject():
    memory = talk([CANCER])
    said(memory, "how far is it from the heart?")
    assert names_of(going_back("right lung or left lung?", memory, TERMS)) == ["lung cancer"]
    assert names_of(going_back("how big is it?", memory, TERMS)) == ["lung cancer"]


@pytest.mark.parametrize("line", ["what about the other side?", "对侧呢"])
def test_the_other_side_of_a_finding_is_looked_at(line):
    memory = talk(asked([CANCER], Kind.SIDE))
    (seen,) = memory.answer.facts["sides"]["lung cancer"]
    request = going_back(line, memory, TERMS)
    assert {request.intent.side, seen} == {"left", "right"}


def test_the_others_are_the_rest_of_the_names():
    memory = talk([LIVER, SPLEEN, KIDNEYS[0]])
    said(memory, "the biggest")
    assert names_of(going_back("and the other ones?", memory, TERMS)) == ["spleen", "left kidney"]
    with pytest.raises(UsageError):
        going_back("the other one", memory, TERMS)


@pytest.mark.parametrize("line", ["最大的在左边还是右边", "is the largest on the left or right"])
def test_the_side_of_the_largest_is_that_of_one_box(line):
    request = going_back(line, talk([NUCLEUS]), TERMS)
    assert (request.intent.kind, request.boxes) == (Kind.SIDE, (BOXES["cell nucleus"][1],))


def test_the_largest_is_said_to_be_one_of_many():
    assert "largest of 3 boxes of cell nucleus: 0, 50, 30, 90" in answered(said(talk([NUCLEUS]), "only the largest")).text


def test_the_rest_of_the_boxes_is_the_other_one():
    memory = talk(asked([CELLS[1]]))
    said(memory, "the largest")
    assert said(memory, "and the other one?").boxes == (BOXES["red blood cell"][1],)


def test_a_size_that_no_answer_showed_is_chosen_from_the_next_one():
    memory = talk(asked([NUCLEUS], text="the largest nucleus"))
    memory.turns = tuple(replace(turn, answer=None) for turn in memory.turns)
    told = answered(going_back("the second largest", memory, TERMS))
    assert [region.box for region in told.regions] == [BOXES["cell nucleus"][0]]
    with pytest.raises(UsageError):
        answered(going_back("the fourth largest", memory, TERMS))


def test_a_part_of_a_list_leaves_the_list_as_it_is():
    memory = talk([LIVER, SPLEEN, KIDNEYS[0]])
    assert names_of(said(memory, "the last two", "the first")) == ["liver"]


@pytest.mark.parametrize(
    ("turns", "line", "code"),
    [
        (([LIVER],), "both", "follow.too_few"),
        (([LIVER, SPLEEN],), "all three", "follow.too_few"),
        (([LIVER, SPLEEN, PANCREAS],), "both of them", "follow.too_many"),
        (([POLYP],), "the second one", "follow.only_so_many"),
        (([POLYP],), "另一处呢", "follow.only_so_many"),
        (([POLYP],), "再大一点的那个", "follow.only_so_many"),
        (([LIVER, SPLEEN],), "第三个", "follow.only_names"),
        (([LIVER, SPLEEN],), "the other one", "follow.which_other"),
        (([LIVER],), "the other one", "follow.no_other"),
        (([NUCLEUS],), "the other one", "follow.which_box"),
        (([LIVER], [SPLEEN]), "sum of both", "follow.no_sum"),
        (([LIVER, SPLEEN],), "正常的那个呢", "follow.no_state"),
        (([NUCLEUS],), "the upper left ones", "task.impossible_relation"),
        (([NUCLEUS],), "is the one below also a nucleus?", "task.impossible_relation"),
    ],
)
def test_what_cannot_be_resolved_is_refused(turns, line, code):
    with pytest.raises(UsageError) as caught:
        going_back(line.replace("nucleus", "lesion"), talk(*turns), TERMS)
    assert caught.value.message.code == code


@pytest.mark.parametrize(
    "line",
    [
        "is that normal?",
        "what is the smallest organ here?",
        "write a report",
        "what is between them?",
        "and the pancreas?",
        "这是什么检查",
        "how big? outline it",
    ],
)
def test_a_line_that_says_more_is_none(line):
    assert going_back(line, talk([LIVER], [SPLEEN]), TERMS) is None


@pytest.mark.parametrize(
    ("line", "names"),
    [
        ("without the spleen", ["liver"]),
        ("remove the spleen", ["liver"]),
        ("not the liver", ["spleen"]),
        ("去掉脾脏", ["liver"]),
        ("不要脾臟", ["liver"]),
        ("不包括肝脏", ["spleen"]),
        ("去掉脾脏再标一次", ["liver"]),
        ("去掉肝脏，其他都标出来", ["spleen"]),
        ("都标出来，除了肝脏", ["spleen"]),
        ("remove it", ["liver"]),
        ("everything without the liver", ["spleen"]),
        ("add the pancreas", ["liver", "spleen", "pancreas"]),
        ("加上胰腺", ["liver", "spleen", "pancreas"]),
    ],
)
def test_names_are_taken_away_and_added(line, names):
    assert names_of(going_back(line, talk([LIVER], [SPLEEN]), TERMS)) == names


@pytest.mark.parametrize(
    ("line", "names"),
    [("without the left one", ["right kidney"]), ("去掉最大的", ["right kidney"]), ("除了第一个", ["right kidney"])],
)
def test_what_a_line_points_to_is_taken_away(line, names):
    assert names_of(going_back(line, talk(KIDNEYS), TERMS)) == names


@pytest.mark.parametrize(("line", "left"), [("without the largest", [0, 2]), ("去掉第一个", [1, 2])])
def test_a_box_is_taken_away(line, left):
    assert list(going_back(line, talk([NUCLEUS]), TERMS).boxes) == [BOXES["cell nucleus"][place] for place in left]


def test_what_was_taken_away_comes_back_to_its_place():
    memory = talk([LIVER, SPLEEN, PANCREAS])
    assert names_of(said(memory, "remove the spleen", "all of them")) == ["liver", "pancreas"]
    assert names_of(said(memory, "add the spleen back")) == ["liver", "spleen", "pancreas"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("without the liver", "follow.nothing_left"),
        ("去掉脾脏", "follow.not_among"),
        ("remove it", "follow.nothing_left"),
        ("去掉背景", "task.only_left_out"),
    ],
)
def test_an_exclusion_that_leaves_nothing_is_refused(line, code):
    with pytest.raises(UsageError) as caught:
        going_back(line, talk([LIVER]), TERMS)
    assert caught.value.message.code == code


@pytest.mark.parametrize(
    "line",
    ["just the liver, not the spleen", "no not the liver, the spleen", "除了肝脏还有什么", "all organs except the pancreas"],
)
def test_a_line_that_says_what_to_keep_is_its_own_question(line):
    assert going_back(line, talk([LIVER], [SPLEEN]), TERMS) is None


def test_not_the_left_but_the_right_one_is_the_other_of_the_pair():
    assert names_of(going_back("not the left kidney but the right one", talk(KIDNEYS), TERMS)) == ["right kidney"]


@pytest.mark.parametrize("line", ["left or right lung?", "左边还是右边的肺", "在左肺还是右肺"])
def test_the_side_asked_for_is_that_of_the_finding(line):
    request = going_back(line, talk([CANCER]), TERMS)
    assert (request.intent.kind, names_of(request)) == (Kind.SIDE, ["lung cancer"])


@pytest.mark.parametrize("line", ["离心脏多远", "how far is it from the heart?"])
def test_the_distance_asked_for_is_that_of_the_finding(line):
    request = going_back(line, talk([CANCER]), TERMS)
    assert (request.intent.kind, names_of(request)) == (Kind.DISTANCE, ["lung cancer", "heart"])


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("in the heart?", "follow.place"),
        ("is it in the left lung?", "follow.place"),
        ("在心脏里吗", "follow.place"),
        ("在右肺吗", "follow.place"),
        ("它在心脏左边吗", "follow.place"),
        ("how far is it from the left lung and the right lung", "follow.which_of"),
        ("离中线多远", "follow.unknown_place"),
        ("where is it relative to the heart?", "task.impossible_relation"),
    ],
)
def test_a_new_name_is_a_place_and_no_subject(line, code):
    with pytest.raises(UsageError) as caught:
        going_back(line, talk([CANCER]), TERMS)
    assert caught.value.message.code == code


@pytest.mark.parametrize(
    ("lines", "language"),
    [
        (["where is the liver"], Language.EN),
        (["肝在哪"], Language.ZH),
        (["where is the liver", "in Chinese please"], Language.ZH),
        (["肝在哪", "用英文回答", "脾在哪"], Language.EN),
        (["肝在哪", "換成英文"], Language.EN),
        (["say it in Chinese", "in English please", "肝在哪"], Language.EN),
        (["answer in English: 左肾在哪"], Language.EN),
    ],
)
def test_a_wish_for_a_language_holds_on(lines, language):
    assert language_in(lines) is language


@pytest.mark.parametrize(
    "line", ["again", "say that again", "再说一遍", "再說一次", "in Chinese please", "用英文回答", "英文"]
)
def test_a_repeat_is_the_last_question_of_any_kind(line):
    memory = talk([LIVER])
    question = AnswerQuestion("Is the liver normal?")
    memory.remember(question, None)
    assert going_back(line, memory, TERMS) is question
    with pytest.raises(UsageError):
        going_back(line, Memory(), TERMS)


def test_what_is_shown_again_are_boxes():
    memory = talk([LIVER])
    memory.remember(AnswerQuestion("Is the liver normal?"), None)
    assert names_of(going_back("show it again", memory, TERMS)) == ["liver"]


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("thanks, bye", "follow.bye"),
        ("谢谢，再见", "follow.bye"),
        ("拜拜", "follow.bye"),
        ("謝謝", "chat.welcome"),
        ("谢谢医生", "chat.welcome"),
        ("ok thank you", "chat.welcome"),
        ("what did you mean by score?", "follow.score"),
        ("in French please", "follow.languages"),
    ],
)
def test_small_talk_gets_a_friendly_line(line, code):
    assert reply(line, None).code == code
    with pytest.raises(UsageError) as caught:
        going_back(line, Memory(), TERMS)
    assert str(caught.value.message) == str(reply(line, None))


@pytest.mark.parametrize("line", ["where is the liver?", "谢谢，肝在哪", "thanks, and the spleen?"])
def test_a_question_is_no_small_talk(line):
    assert reply(line, None) is None


def test_after_a_list_they_are_what_it_listed():
    memory = talk(Asked("what organs?", Intent(Kind.ORGANS), VisibleOrgans()))
    assert names_of(going_back("where are they?", memory, TERMS)) == ["liver", "spleen"]
    assert names_of(going_back("which is the largest?", memory, TERMS)) == ["liver"]
    assert names_of(going_back("都在哪儿？", memory, TERMS)) == ["liver", "spleen"]


def test_what_a_report_names_and_no_box_shows_is_told():
    told = replace(answer(), text="X-ray. Perhaps: lung cancer, tuberculosis.", task=Task.REPORT)
    memory = Memory()
    memory.remember(Report(), told)
    (note,) = with_left_out(asked([CANCER]), memory, TERMS).notes
    assert (note.code, note.params["names"]) == ("follow.has_no_box", ("tuberculosis",))
    assert not with_left_out(asked([LIVER]), memory, TERMS).notes


def test_a_name_of_a_box_that_was_not_found_says_so():
    memory = talk(asked([("heart", "心脏")]))
    assert recall(memory.turns, TERMS).missing == {"heart"}
    request = about_box(PixelBox(0, 0, 50, 50), memory, TERMS)
    named = replace(answer(("heart", PixelBox(0, 0, 50, 50), None)), task=Task.IDENTIFY)
    named = replace(named, labels=(Label("heart", 0.9),))
    assert [warning.code for warning in request.finish(named).warnings] == ["follow.box_contradicts"]
    assert not about_box(PixelBox(0, 0, 50, 50), talk([LIVER]), TERMS).finish(named).warnings
    memory.remember(request, named)
    assert names_of(going_back("how big is it?", memory, TERMS)) == ["heart"]


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("only the white ones", "only the white blood cell"),
        ("红的呢", "红细胞呢"),
        ("只要白的", "只要白细胞"),
        ("the big ones", "the big ones"),
    ],
)
def test_a_bare_adjective_is_one_of_the_names(line, whole):
    assert with_heads(line, talk(CELLS), TERMS) == whole


def test_a_correction_takes_back_what_the_line_before_named():
    memory = talk([LIVER], [PANCREAS])
    request = asked([SPLEEN])
    memory.remember(request, answered(request), "sorry, I meant the spleen")
    assert names_of(going_back("both", memory, TERMS)) == ["liver", "spleen"]


@pytest.mark.parametrize(
    ("line", "whole"),
    [
        ("where is the liver? no, I meant the spleen", "where is the spleen?"),
        ("肝脏在哪里？不对，我要脾脏", "脾脏在哪里"),
        ("show everything, no liver", None),
        ("where is the liver? no idea what this is, but is it normal?", None),
    ],
)
def test_a_line_may_correct_itself(line, whole):
    assert corrected(line) == (whole or line)


@pytest.mark.parametrize(("line", "is_filled"), [("is it glaucoma?", False), ("any stenosis in it?", True)])
def test_an_unknown_name_is_no_part_of_what_was_named(line, is_filled):
    assert (pointing_back(line, Detect("liver"), TERMS) != line) is is_filled


def test_a_new_list_begins_anew():
    memory = talk([LIVER], asked(KIDNEYS, text="show the kidneys"))
    assert names_of(going_back("all of them", memory, TERMS)) == ["left kidney", "right kidney"]


def test_a_reference_has_no_other_words():
    assert read_reference(plain_words("the second one")).points is Points.ORDINAL
    assert read_reference(plain_words("the second opinion")) is None
    assert isinstance(going_back("the largest", talk([NUCLEUS]), TERMS), Chosen)
