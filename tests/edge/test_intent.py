"""What people type becomes a kind of question and names, whatever the script, the spelling and the slips."""

import math
from pathlib import Path

import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Kind, kinds, understand, unknown_parts
from medrega_edge.prompts.intent.kinds import log_likelihoods
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.scene import Scene
from medrega_edge.vocabulary.label_kinds import is_finding
from medrega_edge.vocabulary.plain_text import simplified
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.typos import corrected, nearest
from tests.codes import raises_code

SIDED = {
    "kidney": "肾",
    "lung": "肺",
    "hippocampus": "海马",
    "frontal lobe": "额叶",
    "caudate nucleus": "尾状核",
    "putamen": "壳核",
}
LABELS = [
    (f"{side} {en}", f"{'左' if side == 'left' else '右'}{zh}") for en, zh in SIDED.items() for side in ("left", "right")
]
LABELS += [
    ("liver", "肝脏"), ("spleen", "脾脏"), ("heart", "心脏"), ("aorta", "主动脉"), ("gallbladder", "胆囊"),
    ("polyp", "息肉"),
    ("glioma", "胶质瘤"), ("meningioma", "脑膜瘤"), ("pituitary tumor", "垂体瘤"), ("skin lesion", "皮肤病变"),
    ("liver lesion", "肝脏病灶"), ("kidney stone", "肾结石"), ("vertebra", "椎骨"), ("pneumothorax", "气胸"),
    ("fracture", "骨折"),
    ("left upper lobe of lung", "左肺上叶"), ("optic disc", "视盘"), ("peripheral nerve", "周围神经"),
]  # fmt: skip
TERMS = Terminology(LABELS)


def asked(text, modality=None, **options):
    found = understand(text, TERMS, modality, **options)
    return found.kind, {english for english, _ in found.names}


VERTEBRAE = Terminology(
    [(f"{one} vertebra", one) for one in ("T11", "T12", "L1", "L2", "L3", "L4", "L5")] + [("vertebra", "椎骨")]
)


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("mark L2 to L4", ("L2", "L3", "L4")),
        ("L1–L3", ("L1", "L2", "L3")),
        ("T11 through L1 please", ("T11", "T12", "L1")),
        ("show vertebrae L2 through L4", ("L2", "L3", "L4")),
        ("标出腰2到腰4", ("L2", "L3", "L4")),
        ("腰1-3椎体", ("L1", "L2", "L3")),
        ("第二至第四腰椎在哪", ("L2", "L3", "L4")),
    ],
)
def test_a_range_of_vertebrae_means_all_of_them(text, names):
    assert [english for english, _ in understand(text, VERTEBRAE).names] == [f"{name} vertebra" for name in names]


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("the aorta behind the liver", Kind.LOCATE, {"aorta"}),
        ("put a box on the spleen next to the left kidney", Kind.LOCATE, {"spleen"}),
        ("the aorta between the left and right kidney, outline it", Kind.LOCATE, {"aorta"}),
        ("肝脏旁边的胆囊标出来", Kind.LOCATE, {"gallbladder"}),
        ("gap between the liver and the spleen", Kind.DISTANCE, {"liver", "spleen"}),
        ("脾脏，不是肝脏", Kind.LOCATE, {"spleen"}),
    ],
)
def test_what_only_tells_which_one_is_meant_is_not_asked_for(text, kind, names):
    assert asked(text) == (kind, names)


@pytest.mark.parametrize(
    "text",
    [
        "which is larger, the left or the right lung?",
        "which is larger: the left or the right lung?",
        "which is bigger, left or right lung",
        "is the left lung smaller than the right lung",
    ],
)
def test_the_larger_of_left_and_right_is_a_comparison(text):
    assert asked(text) == (Kind.COMPARE, {"left lung", "right lung"})


@pytest.mark.parametrize(
    "text",
    ["have a look: ?pneumothorax", "stabbed in the chest ?pneumothorax"],
)
def test_a_question_mark_before_a_finding_asks_for_it(text):
    assert asked(text) == (Kind.PRESENCE, {"pneumothorax"})


@pytest.mark.parametrize("text", ["what's at 240,250?", "name the organ at x=300 y=220", "(240,250)是什么"])
def test_a_question_about_pixels_asks_what_is_there(text):
    assert asked(text)[0] is Kind.IDENTIFY


@pytest.mark.parametrize("text", ["does he have TB", "有没有肺结核", "是结核吗", "有没有糖尿病视网膜病变"])
def test_a_finding_that_only_a_class_tells_is_classified(text):
    assert asked(text) == (Kind.CLASSIFY, set())


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("Is there a polyp and which side?", []),
        ("polyps, how many?", []),
        ("renal calculus: left or right", []),
        ("which is the bigger kidney, left or right?", []),
        ("the liver and the uterus", []),  # no label, but a name of the field: a message of its own names it
        ("liver, flux capacitor", [2]),
        ("请定位肝脏以及独角兽", [2]),
        ("圈出肝脏，再告诉我有几个", []),
    ],
)
def test_only_parts_that_name_something_are_unknown(text, parts):
    assert list(unknown_parts(text, TERMS)) == parts


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("asdkjh qwoei", "task.no_language"),
        ("what's at 240,250?", "task.point"),
        ("is the liver bigger than the uterus", "task.unknown_name_only"),
        ("locate the uterus", "task.unknown_name_only"),
    ],
)
def test_a_question_that_boxes_cannot_answer_is_refused(text, code):
    with raises_code(UsageError, code):
        parse_intent(text, Scene(list(Task), TERMS))


def test_a_box_in_the_words_is_the_box_asked_about():
    asked_for = parse_intent("what is inside [30, 40, 90, 120]?", Scene(list(Task), TERMS))
    assert asked_for.request == Identify(PixelBox(30, 40, 90, 120), "what is inside [30, 40, 90, 120]?")


def test_an_unknown_name_of_the_field_is_told_beside_known_ones():
    assert understand("where are the liver and the uterus", TERMS).unknown == ("uterus",)


ILIAC = [
    (f"{side} iliac {en}", f"{'左' if side == 'left' else '右'}侧髂{zh}")
    for en, zh in (("artery", "动脉"), ("vein", "静脉"))
    for side in ("left", "right")
]
KIDNEYS = {"left kidney", "right kidney"}


@pytest.mark.parametrize(
    ("text", "kind", "names"),
    [
        ("where's the spleen?", Kind.LOCATE, {"spleen"}),
        ("could you please segment the liver for me", Kind.LOCATE, {"liver"}),
        ("请locate一下liver", Kind.LOCATE, {"liver"}),
        ("把兩側海馬標出來", Kind.LOCATE, {"left hippocampus", "right hippocampus"}),
        ("the frontal lobe on the right, please", Kind.LOCATE, {"right frontal lobe"}),
        ("left caudate and putamen", Kind.LOCATE, {"left caudate nucleus", "left putamen"}),
        ("not the liver, show the spleen", Kind.LOCATE, {"spleen"}),
        ("Do you see a polyp?", Kind.PRESENCE, {"polyp"}),
        ("pneumothorax?", Kind.PRESENCE, {"pneumothorax"}),
        ("肝脏有病灶吗", Kind.PRESENCE, {"liver lesion"}),
        ("any stones in the kidneys", Kind.PRESENCE, {"kidney stone"}),
        ("how many vertebrae are visible?", Kind.COUNT, {"vertebra"}),
        ("息肉有几个", Kind.COUNT, {"polyp"}),
        ("how large is the gallblader", Kind.MEASURE, {"gallbladder"}),
        ("肾结石直径多少毫米", Kind.MEASURE, {"kidney stone"}),
        ("Is the meningioma on the left or on the right?", Kind.SIDE, {"meningioma"}),
        ("which kidney is bigger?", Kind.COMPARE, KIDNEYS),
        ("is the left kidney smaller than the right one?", Kind.COMPARE, KIDNEYS),
        ("how far is the liver from the spleen", Kind.DISTANCE, {"liver", "spleen"}),
        ("is this a CT or an MRI?", Kind.MODALITY, set()),
        ("这是什么类型的检查", Kind.MODALITY, set()),
        ("这是哪个部位", Kind.BODY_PART, set()),
        ("which organs are visible?", Kind.ORGANS, set()),
        ("benign or malignant?", Kind.CLASSIFY, set()),
        ("良性还是恶性", Kind.CLASSIFY, set()),
        ("what is wrong with this picture?", Kind.REPORT, set()),
        ("report with boxes", Kind.GROUNDED_REPORT, set()),
        ("why is the liver bright?", Kind.ANSWER, {"liver"}),
        ("hello", Kind.HELP, set()),
        ("what can you do?", Kind.HELP, set()),
    ],
)
def test_a_question_is_understood(text, kind, names):
    assert asked(text) == (kind, names)


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("what is the ejection fraction of the heart?", "function"),
        ("BI-RADS category?", "score"),
        ("how old is the patient", "age"),
        ("需要手術嗎", "care"),
        ("has the glioma grown since last year", "time"),
    ],
)
def test_what_an_image_cannot_tell_is_known_as_such(text, reason):
    assert understand(text, TERMS).reason == reason


@pytest.mark.parametrize(
    ("modality", "names"),
    [
        (Modality.MRI, {"glioma", "meningioma", "pituitary tumor"}),
        (Modality.ENDOSCOPY, set()),
        (None, set()),
    ],
)
def test_a_generic_word_means_what_the_modality_can_show(modality, names):
    assert asked("where is the brain tumour?", modality) == (Kind.LOCATE, names)
    assert asked("圈出脑肿瘤", modality) == (Kind.LOCATE, names)


def test_a_label_of_the_other_side_is_not_taken_for_the_one_asked_for():
    assert asked("box the right upper lobe") == (Kind.LOCATE, set())


@pytest.mark.parametrize("text", ["optic nerve", "locate the mediastinal lymph nodes", "标出视神经"])
def test_part_of_another_name_is_no_name(text):
    assert asked(text, Modality.ULTRASOUND)[1] == set()


@pytest.mark.parametrize(
    ("text", "names"), [("担囊在哪", {"gallbladder"}), ("西肉多大", {"polyp"}), ("這是什麼器官", set())]
)
def test_chinese_slips_of_an_input_method_are_heard(text, names):
    assert asked(text)[1] == names


def test_there_is_nothing_to_hear_between_there_is_and_right():
    assert asked("有肾结石吗")[1] == {"kidney stone"}


@pytest.mark.parametrize("word", ["lies", "node", "live", "hear"])
def test_another_word_is_no_typo(word):
    assert corrected(word, frozenset({"lien", "nodule", "liver", "heart"})) == (word, {})


def test_a_typo_is_told():
    assert understand("wher is the splene", TERMS).typos == {"wher": "where", "splene": "spleen"}


def test_a_box_is_asked_what_it_holds():
    assert asked("what about this?", has_box=True) == (Kind.IDENTIFY, set())


def test_words_come_in_one_script():
    assert simplified("ＬＩＶＥＲ 肝臟") == "liver 肝脏"


STONES = Terminology(
    [*LABELS, ("kidney stone", "肾结石"), ("gallbladder", "胆囊"), ("trachea", "气管"), ("fracture", "骨折")]
)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("any stone in the gallbladder?", ("gallbladder stone",)),
        ("胆囊有没有结石", ("胆囊结石",)),
        ("is there an abscess in the liver", ("abscess",)),
        ("肝是不是脂肪肝", ("脂肪肝",)),
        ("liver cyst?", ("liver cyst",)),
    ],
)
def test_a_finding_without_a_label_is_not_answered_by_its_organ(text, unknown):
    found = understand(text, STONES, Modality.CT)
    assert (found.names, found.unknown) == ((), unknown)


@pytest.mark.parametrize(
    ("text", "side"),
    [
        ("is there a stone in the left kidney?", "left"),
        ("右肾有结石吗", "right"),
        ("any kidney stone left or right?", None),
        ("there is a kidney stone, right?", None),
        ("is there a kidney stone right", None),
        ("all right is there a kidney stone", None),
        ("is there a kidney stone on the right?", "right"),
        ("左右肾有结石吗", None),
    ],
)
def test_the_side_of_a_finding_is_part_of_the_question(text, side):
    assert understand(text, STONES, Modality.CT).side == side


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("有几个肾结石？多大？", {Kind.COUNT, Kind.MEASURE}),
        ("where is the liver", set()),
        ("is there a kidney stone and is it benign?", {Kind.CLASSIFY}),
        ("how big is the liver, please", set()),
    ],
)
def test_what_else_a_text_asks_is_said(text, kinds):
    found = understand(text, STONES, Modality.CT)
    assert set(found.also_asked) | {found.kind} >= kinds
    assert bool(found.also_asked) is bool(kinds)


@pytest.mark.parametrize("text", ["气管居中吗", "is the trachea deviated?", "骨折移位了吗", "is the fracture displaced?"])
def test_what_a_structure_is_like_is_no_question_whether_it_is_there(text):
    assert understand(text, STONES, Modality.XRAY).kind is Kind.ANSWER


@pytest.mark.parametrize(
    "text", ["do my pictures get uploaded anywhere", "会不会把我的片子传到网上", "how do I save the results"]
)
def test_questions_about_the_program_get_help(text):
    assert understand(text, STONES, Modality.XRAY).kind is Kind.HELP


def test_findings_are_no_structures():
    assert [label for label, _ in LABELS if is_finding(label)] == [
        "glioma", "meningioma", "pituitary tumor", "skin lesion", "liver lesion", "kidney stone", "pneumothorax", "fracture",
    ] or is_finding("polyp")  # fmt: skip


def test_the_nearest_names_are_offered():
    assert nearest("splean", [label for label, _ in LABELS])[0] == "spleen"


@pytest.mark.parametrize("text", ["心脏有没有变大", "is the heart enlarged?", "脾脏肿大吗", "is the spleen swollen?"])
def test_that_an_organ_is_there_does_not_tell_that_it_is_enlarged(text):
    assert asked(text)[0] is Kind.ANSWER
    found = understand("心脏有没有变大", Terminology([*LABELS, ("cardiomegaly", "心脏肥大")]))
    assert (found.kind, found.names) == (Kind.PRESENCE, (("cardiomegaly", "心脏肥大"),))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("any clue what this might be", Kind.IDENTIFY),
        ("meningioma unilateral or bilateral", Kind.SIDE),
        ("please assign a class to this histology patch", Kind.CLASSIFY),
        ("这是核磁共振扫描吗", Kind.MODALITY),
        ("图像中的器官是否存在于胸腔", Kind.BODY_PART),
        ("脾脏占了画面的几成", Kind.MEASURE),
    ],
)
def test_the_classifier_knows_kinds_that_no_phrase_tells(text, kind):
    assert asked(text)[0] is kind


def test_the_classifier_knows_the_kinds_and_stays_small():
    likely = log_likelihoods("where is \0", "where is the liver", ())
    assert set(likely) == set(Kind) - {Kind.SEGMENT}  # a question for an outline is one for a place
    assert sum(map(math.exp, likely.values())) == pytest.approx(1, abs=1e-5)
    assert Path(kinds.__file__).with_name("kinds.npz").stat().st_size <= 300 * 1024


@pytest.mark.parametrize("text", ["what is the volume of the liver", "心胸比是多少", "how old is the patient"])
def test_what_no_image_tells_stays_impossible(text):
    assert asked(text)[0] is Kind.IMPOSSIBLE


def test_a_word_with_two_names_in_it_means_both():
    terms = Terminology([*ILIAC, ("superior vena cava", "上腔静脉"), ("inferior vena cava", "下腔静脉")])
    assert {en for en, _ in understand("髂动静脉全部描出", terms).names} == {en for en, _ in ILIAC}
    assert [en for en, _ in understand("标出上下腔静脉", terms).names] == ["superior vena cava", "inferior vena cava"]


def test_a_range_of_vertebrae_is_written_out_but_for_a_distance():
    terms = Terminology((f"L{number} vertebra", f"第{number}腰椎") for number in range(1, 6))
    for text in ("mark L2 to L4", "标出L2到L4"):
        assert [en for en, _ in understand(text, terms).names] == ["L2 vertebra", "L3 vertebra", "L4 vertebra"]
    assert [en for en, _ in understand("distance from L2 to L4", terms).names] == ["L2 vertebra", "L4 vertebra"]


def test_two_words_may_be_shared():
    terms = Terminology([("red blood cell", "红细胞"), ("white blood cell", "白细胞")])
    assert [en for en, _ in understand("red and white blood cells", terms).names] == ["red blood cell", "white blood cell"]


def test_a_generic_word_stands_for_the_findings_of_the_body_part():
    terminology = Terminology((("glioma", "胶质瘤"), ("kidney tumor", "肾肿瘤"), ("liver tumor", "肝肿瘤")))
    tasks = ("detect", "vqa", "classify")
    asked = parse_intent("any tumours?", Scene(tasks, terminology, Modality.CT, body_part=lambda: "abdomen"))
    assert {english for english, _ in asked.intent.names} == {"kidney tumor", "liver tumor"}
    with raises_code(UsageError, "task.known_elsewhere"):
        parse_intent("any tumours?", Scene(tasks, terminology, Modality.MRI, body_part=lambda: "abdomen"))
    asked = parse_intent("any tumours?", Scene(tasks, terminology, Modality.MRI))  # of a body part that is not certain
    assert [english for english, _ in asked.intent.names] == ["glioma"]
