"""Questions that go on from the last one get its kind or its names; others stay what they are."""

from dataclasses import replace

import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.prompts.intent import Kind
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.follow_up import follow_up
from medrega_edge.tasks.memory import Memory, names_in
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.terminology import Terminology
from tests.edge.test_derived import answer

LOBES = [("left temporal lobe", "左侧颞叶"), ("right temporal lobe", "右侧颞叶")]
TERMS = Terminology([("liver", "肝脏"), ("spleen", "脾脏"), *LOBES])
LEFT, RIGHT = ("left temporal lobe",), ("right temporal lobe",)
LIVER_SIZE = FromBoxes(Kind.MEASURE, (("liver", "肝脏"),))


@pytest.mark.parametrize(
    ("text", "last", "kind", "names"),
    [
        ("and the spleen?", Detect("liver"), Kind.LOCATE, ("spleen",)),
        ("What about the spleen", Detect("liver"), Kind.LOCATE, ("spleen",)),
        ("脾脏呢？", Detect("肝脏"), Kind.LOCATE, ("spleen",)),
        ("那脾脏呢", Detect("liver"), Kind.LOCATE, ("spleen",)),
        ("and the spleen?", LIVER_SIZE, Kind.MEASURE, ("spleen",)),
        ("where is it?", AnswerQuestion("Is the liver normal?"), Kind.LOCATE, ("liver",)),
        ("show them", Detect("liver and spleen"), Kind.LOCATE, ("liver", "spleen")),
        ("how big is it?", Detect("liver"), Kind.MEASURE, ("liver",)),
        ("它有多大", Detect("liver"), Kind.MEASURE, ("liver",)),
        ("它在哪里？", LIVER_SIZE, Kind.LOCATE, ("liver",)),
        ("what about the right one?", Detect(LEFT), Kind.LOCATE, RIGHT),
        ("and the other side?", Detect(LEFT), Kind.LOCATE, RIGHT),
        ("那右边呢", Detect(LEFT), Kind.LOCATE, RIGHT),
        ("how far is it from the right temporal lobe", Detect(LEFT), Kind.DISTANCE, LEFT + RIGHT),
        ("is it bigger than the right one?", Detect(LEFT), Kind.COMPARE, LEFT + RIGHT),
        ("is it larger than the spleen?", Detect("liver"), Kind.COMPARE, ("liver", "spleen")),
        ("它离脾脏多远", Detect("liver"), Kind.DISTANCE, ("liver", "spleen")),
        ("which one is larger?", Detect("liver and spleen"), Kind.COMPARE, ("liver", "spleen")),
        ("how far apart are they?", Detect("liver and spleen"), Kind.DISTANCE, ("liver", "spleen")),
        ("how many are there?", Detect("liver"), Kind.COUNT, ("liver",)),
        ("有几个", Detect("liver"), Kind.COUNT, ("liver",)),
        ("is it on the left?", Detect("liver"), Kind.SIDE, ("liver",)),
        ("它在左边吗", Detect("liver"), Kind.SIDE, ("liver",)),
        ("那右边颞叶呢", Detect(LEFT), Kind.LOCATE, RIGHT),
        ("and the other temporal lobe?", Detect(LEFT), Kind.LOCATE, RIGHT),
        ("only the left", Detect(LEFT + RIGHT), Kind.LOCATE, LEFT),
        ("mark both sides", Detect(LEFT), Kind.LOCATE, LEFT + RIGHT),
        ("两侧一起标出来", Detect(RIGHT), Kind.LOCATE, RIGHT + LEFT),
        ("show it to me", Detect("liver"), Kind.LOCATE, ("liver",)),
        ("一共几个", Detect("liver"), Kind.COUNT, ("liver",)),
    ],
)
def test_what_a_question_goes_on_with(text, last, kind, names):
    found = follow_up(text, last, TERMS)
    found_kind = found.intent.kind if isinstance(found, Asked) else Kind.LOCATE
    found_names = tuple(english for english, _ in found.intent.names) if isinstance(found, Asked) else found.names
    assert (found_kind, found_names) == (kind, names)


@pytest.mark.parametrize("text", ["outline it", "把它分割出来", "勾画出来"])
def test_an_outline_of_the_same_names_is_a_mask(text):
    assert follow_up(text, Detect("liver"), TERMS, has_masks=True).request == Segment(["liver"])
    assert follow_up(text, Detect("liver"), TERMS).request == Detect(["liver"])


POLYPS = Terminology([("polyp", "息肉"), ("stomach", "胃")])


@pytest.mark.parametrize(("text", "after_a_stomach"), [("any other polyps?", None), ("还有别的息肉吗", Kind.PRESENCE)])
def test_whether_there_are_others_is_told_by_the_number(text, after_a_stomach):
    found = follow_up(text, Detect("polyp"), POLYPS, found=["polyp"])
    assert (found.intent.kind, found.intent.names) == (Kind.COUNT, (("polyp", "息肉"),))
    own = follow_up(text, Detect("stomach"), POLYPS, found=["stomach"])
    assert (own and own.intent.kind) == after_a_stomach


def test_one_side_of_findings_is_a_side_of_the_image():
    found = follow_up("only the left ones", Detect("polyp"), POLYPS)
    assert (found.intent.kind, found.intent.side) == (Kind.LOCATE, "left")


def test_the_largest_of_those_before_is_one_region():
    found = follow_up("which is the largest?", Detect("polyp"), POLYPS)
    small, large = PixelBox(0, 0, 9, 9), PixelBox(0, 20, 30, 60)
    told = found.finish(answer(("polyp", small, 0.9), ("polyp", large, 0.8)))
    assert [region.box for region in told.regions] == [large]


@pytest.mark.parametrize(
    ("text", "language", "names"),
    [
        ("Endoscopy image of the gastrointestinal tract. Seen: stomach. Abnormal: polyp.", Language.EN, {"polyp"}),
        ("Endoscopy image. Seen: stomach. Perhaps: polyp.", Language.EN, {"polyp"}),
        ("内镜图像。可见：胃。", Language.ZH, {"胃"}),
        ("Endoscopy image. Seen: stomach. Abnormal: gastritis.", Language.EN, set()),  # a class has no box
    ],
)
def test_after_a_report_it_is_what_the_report_found(text, language, names):
    shown = names_in(replace(answer(), text=text, task=Task.REPORT, language=language), POLYPS)
    assert shown == names
    found = follow_up("where?", Report(), POLYPS, found=shown)
    assert bool(found) is bool(names)
    assert not found or names <= {label for name in found.intent.names for label in name}


def test_the_memory_leaves_out_questions_about_the_same_names():
    memory = Memory()
    for request in (Detect("liver"), Detect("spleen"), Detect("spleen"), AnswerQuestion("Is it normal?")):
        memory.remember(request, None)
    assert (memory.earlier, memory.last) == (Detect("liver"), Detect("spleen"))


@pytest.mark.parametrize(
    ("text", "last"),
    [
        ("and the spleen?", AnswerQuestion("Is the liver normal?")),
        ("is the spleen normal?", Detect("liver")),
        ("where is it?", AnswerQuestion("What is this?")),
        ("is the spleen normal, too?", Detect("liver")),
        ("locate the spleen", Detect("liver")),
        ("what about the right one?", Detect("liver")),
        ("how many polyps are there?", Detect("liver")),
        ("which one is larger?", Detect("liver")),
    ],
)
def test_a_question_of_its_own_goes_on_with_nothing(text, last):
    assert follow_up(text, last, TERMS) is None


@pytest.mark.parametrize("text", ["which is larger?", "哪个更大？"])
def test_which_is_larger_means_what_the_last_two_questions_were_about(text):
    found = follow_up(text, LIVER_SIZE, TERMS, earlier=Detect("spleen"))
    assert found.intent.kind is Kind.COMPARE
    assert [english for english, _ in found.intent.names] == ["spleen", "liver"]
    assert follow_up(text, LIVER_SIZE, TERMS, earlier=LIVER_SIZE) is None


def test_a_generic_word_goes_on_with_the_kind_of_the_last_question(engine):
    last = FromBoxes(Kind.MEASURE, (("optic disc", "视盘"),))
    found = follow_up("and the cup?", last, engine.terminology, modality=Modality.FUNDUS)
    assert (found.intent.kind, found.intent.names) == (Kind.MEASURE, (("optic cup", "视杯"),))


@pytest.mark.parametrize("text", ["is it normal?", "它正常吗"])
def test_whether_it_is_normal_is_asked_of_the_structure(text):
    found = follow_up(text, Detect("liver"), TERMS)
    assert found.request == IsNormal(text, (("liver", "肝脏"),))


@pytest.mark.parametrize("text", ["any others?", "还有别的吗"])
def test_others_are_more_of_a_finding_and_other_structures(text):
    more = follow_up(text, Detect("polyp"), POLYPS, found=["polyp"])
    assert (more.intent.kind, more.intent.names) == (Kind.COUNT, (("polyp", "息肉"),))
    assert follow_up(text, Detect("stomach"), POLYPS, found=["stomach"]).request == VisibleOrgans(("stomach",))


@pytest.mark.parametrize(
    ("text", "name"), [("outline the smaller one", "spleen"), ("勾画小的那个", "spleen"), ("show the bigger one", "liver")]
)
def test_the_smaller_one_is_that_of_the_comparison(text, name):
    last = FromBoxes(Kind.COMPARE, (("liver", "肝脏"), ("spleen", "脾脏")))
    found = follow_up(text, last, TERMS, order=["liver", "spleen"], has_masks=True)
    assert [english for english, _ in found.intent.names] == [name]


def test_after_a_comparison_the_right_one_is_measured_alone():
    last = FromBoxes(Kind.COMPARE, tuple(LOBES))
    found = follow_up("how big is the right one?", last, TERMS)
    assert (found.intent.kind, found.intent.names) == (Kind.MEASURE, (LOBES[1],))


@pytest.mark.parametrize("text", ["what is its area?", "面积多少"])
def test_an_area_is_that_of_a_mask(text):
    assert follow_up(text, Detect("liver"), TERMS, has_masks=True).request == Segment(["liver"])


def test_the_other_side_of_a_finding_is_told_by_the_sides_of_its_boxes():
    assert follow_up("对侧呢", Detect("polyp"), POLYPS).intent.kind is Kind.SIDE
