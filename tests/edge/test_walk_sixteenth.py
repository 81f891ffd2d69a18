"""What the sixteenth walk of strangers found misread: exclusions, parts, organs of other findings, places, windows."""

import pytest

from medrega_edge.domain import Modality
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.left_out import is_outside_choice
from medrega_edge.tasks.several import Several
from tests.codes import raises_code


@pytest.mark.parametrize(
    ("text", "modality", "code"),
    [
        ("Show the macula but not the optic disc", "fundus", "task.unknown_name_here"),
        ("OCT中心凹在哪里？", "oct", "task.unknown_name_here"),
        ("骨折线在图的上半部分还是下半部分？", "xray", "task.impossible_relation"),
        ("左侧巨大占位，来源于哪个器官？", "ct", "task.impossible"),
        ("Hepatic calcifications? If so, how many and where", "ct", "task.unknown_name_here"),
    ],
)
def test_what_is_not_known_is_refused(parse, text, modality, code):
    with raises_code(UsageError, code):
        parse(text, modality)


@pytest.mark.parametrize(
    ("text", "modality", "kinds", "codes"),
    [
        ("请框出肿块，报告大小", "ultrasound", ["locate", "measure"], []),
        ("图像里有脑肿瘤吗，脑水肿呢", "mri", ["presence", "locate"], []),
        ("胆囊在哪儿，有结石吗", "ct", ["locate"], ["task.unknown_name_here"]),
        ("where is the gallbladder? any stones?", "ct", ["locate"], ["task.unknown_name_here"]),
        ("Signs of tuberculosis? If so which lobe", "xray", ["classify"], ["task.impossible_part"]),
    ],
)
def test_every_part_is_answered_or_refused(parse, text, modality, kinds, codes):
    several = parse(text, modality)
    assert isinstance(several, Several)
    assert [asked.intent.kind for asked in several.questions] == kinds
    assert [message.code for message in several.refused] == codes


@pytest.mark.parametrize(
    ("text", "modality", "names"),
    [
        ("Can you identify the duodenum, the gallbladder and the inferior vena cava?", Modality.CT, 3),
        ("Please number the vertebrae from L1 to L5", Modality.MRI, 5),
    ],
)
def test_no_name_of_a_list_is_lost(terminology, text, modality, names):
    intent = understand(text, terminology, modality)
    assert intent.kind is Kind.LOCATE and len(intent.names) == names


def test_tissue_of_an_organ_is_no_organ_to_find(parse):
    assert isinstance(parse("这是肺的组织吗？", Modality.PATHOLOGY).request, Classify)


def test_a_choice_of_windows_is_told_where_it_is_not_answered(parse):
    asked = parse("纵隔窗还是肺窗？左肺、右肺分别在哪里", "ct")
    assert [question.intent.kind for question in asked.questions] == ["answer", "locate"]


def test_a_place_of_a_finding_is_told_beside_its_side(parse):
    assert parse("额叶的病灶在左边还是右边", "mri").place == "左侧额叶、右侧额叶"
    assert not parse("梗死灶在哪一侧大脑半球？", "ct").place
    assert parse("右下后槽牙在哪", "xray").place == "下"


def test_a_mole_is_a_nevus_among_the_choices():
    assert not is_outside_choice("是黑色素瘤、脂溢性角化病还是普通痣？", ["良性痣"])
    assert not is_outside_choice("melanoma or a common mole?", ["benign nevus"])
    assert is_outside_choice("melanoma or keratosis?", ["benign nevus"])


def test_that_a_heart_is_there_does_not_tell_that_it_is_big(terminology):
    for text in ("does the heart look big?", "is the heart big?", "the heart looks large, right?", "is it a big heart?"):
        intent = understand(text, terminology, Modality.XRAY)
        told = (*intent.aside, *intent.narrowing, *intent.unread)
        assert intent.names[0][0] == "cardiomegaly" or "big" in told, text
