"""What the fifteenth walk of strangers found misread: sides, exclusions, findings of an organ, other questions."""

import pytest

from medrega_edge.domain import Modality
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.several import Several
from tests.codes import raises_code


def test_everything_but_an_organ_leaves_it_out_behind_please(parse):
    request = parse("Everything on this slice except the liver, please.", "ct").request
    assert isinstance(request, VisibleOrgans) and request.excluded == ("liver",)


def test_a_side_holds_for_every_part_about_the_finding(parse):
    several = parse("pain, is there a stone on the left side? how many and how big", "ct")
    assert [(asked.intent.kind, asked.intent.side) for asked in several.questions] == [
        ("presence", "left"),
        ("count", "left"),
        ("measure", "left"),
    ]
    sides = parse("左边有龋齿吗，右边有吗", "xray")
    assert [asked.intent.side for asked in sides.questions] == ["left", "right"]


def test_a_breast_of_an_ultrasound_image_is_no_half_of_the_picture(parse):
    assert parse("Where is the lesion in the left breast?", "ultrasound").intent.side is None
    assert parse("Where is the lesion in the left breast?", "mri").intent.side == "left"


def test_a_class_of_another_organ_says_so(parse):
    assert parse("Is this adenocarcinoma of the colon?", "pathology").place == "colon"
    assert not parse("Lung biopsy. Benign or malignant?", "pathology").place


@pytest.mark.parametrize(
    ("text", "modality", "names", "unknown"),
    [
        ("右肾有没有积水或者结石", Modality.CT, ["kidney stone"], ("积水",)),
        ("stones or a tumor in the right kidney?", Modality.CT, ["kidney stone", "kidney tumor"], ()),
        ("前列腺里有可疑病灶吗", Modality.MRI, ["prostate cancer"], ()),
        ("Where is the oedema", Modality.MRI, ["brain edema"], ()),
        ("where is the left atrium and the left ventricle?", Modality.MRI, ["left atrium", "left ventricle"], ()),
    ],
)
def test_a_finding_of_an_organ_is_no_question_for_the_organ(terminology, text, modality, names, unknown):
    intent = understand(text, terminology, modality)
    assert ([english for english, _ in intent.names], intent.unknown) == (names, unknown)


@pytest.mark.parametrize(
    ("text", "modality", "code"),
    [
        ("神经和血管哪个更浅？", "ultrasound", "task.impossible_relation"),
        ("皮损对称吗？", "dermoscopy", "task.impossible_relation"),
        ("脾脏、肝脏、左肾，缺哪个？", "ct", "task.impossible"),
        ("glaucomatous?", "fundus", "task.unknown_name_here"),
        ("Any filling defect in the pulmonary arteries?", "ct", "task.unknown_name_here"),
    ],
)
def test_what_is_not_known_is_refused(parse, text, modality, code):
    with raises_code(UsageError, code):
        parse(text, modality)


@pytest.mark.parametrize(
    ("text", "modality", "kinds"),
    [
        ("請問這張是腦部MRI嗎？有沒有腫瘤？", "mri", ["kind_of_image", "presence"]),
        ("Where is the oedema and is there an enhancing tumour?", "mri", ["locate", "presence"]),
        ("cardiomegaly y/n, effusion y/n", "xray", ["presence", "presence"]),
        ("benign or malignant, and where?", "ultrasound", ["classify", "locate"]),
        ("左心房在哪里，有几个框？", "mri", ["locate", "count"]),
    ],
)
def test_every_part_has_its_question(parse, text, modality, kinds):
    several = parse(text, modality)
    assert isinstance(several, Several)
    assert [asked.intent.kind for asked in several.questions] == kinds


@pytest.mark.parametrize(
    ("text", "modality", "kind"),
    [
        ("Which ventricle is larger?", Modality.MRI, Kind.COMPARE),
        ("Which takes up more area, pectoral muscle or glandular tissue?", Modality.MAMMOGRAPHY, Kind.COMPARE),
        ("How far does the edema extend?", Modality.MRI, Kind.MEASURE),
        ("哪颗牙有蛀牙？", Modality.XRAY, Kind.LOCATE),
        ("肺鳞癌可能性大吗？", Modality.PATHOLOGY, Kind.CLASSIFY),
        ("This lesion is growing since 3 months. It is malignant or no?", Modality.DERMOSCOPY, Kind.CLASSIFY),
        ("locate any enhancing lesion", Modality.MRI, Kind.LOCATE),
    ],
)
def test_the_kind_of_question(terminology, text, modality, kind):
    assert understand(text, terminology, modality).kind is kind


def test_harmless_words_are_not_told_and_others_are(terminology):
    for text, modality, aside in (
        ("Report this CXR please.", Modality.XRAY, ()),
        ("细胞核有多少个？给出坐标列表", Modality.PATHOLOGY, ()),
        ("鼻咽部肿物位置", Modality.MRI, ()),
        ("Please segment the lesion and give its centre.", Modality.DERMOSCOPY, ("center",)),
        ("请用一个框圈出病变，并告诉我中心坐标", Modality.DERMOSCOPY, ("center",)),
    ):
        assert understand(text, terminology, modality).aside == aside, text


def test_a_part_of_a_list_that_is_part_of_an_organ_is_told(parse):
    assert parse("请定位胰腺，以及胰头", "ct").place == "胰头"
    assert parse("Any caries in lower left first molar?", "xray").place == "lower first molar"
