"""What the fourteenth walk of strangers found misread: names and parts lost in silence, other questions answered."""

import pytest

from medrega_edge.domain import Modality
from medrega_edge.errors import UsageError
from medrega_edge.mcp.tools import _lines as mcp_lines
from medrega_edge.prompts.intent import Kind, understand
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.several import Several
from tests.codes import raises_code


@pytest.mark.parametrize(
    ("text", "modality", "aside"),
    [
        ("where is the apical part of the left lung", Modality.XRAY, ("apical",)),
        ("is it asthma or tuberculosis?", Modality.XRAY, ("asthma",)),
        ("请标出所有红细胞，但不要标被截断的", Modality.PATHOLOGY, ("截断",)),
        ("ARDS？请写一份胸片报告", Modality.XRAY, ("ards",)),
        ("有脾脏外伤史，肝在哪", Modality.MRI, ("脾脏",)),
        ("known spleen injury. where is the liver?", Modality.CT, ("spleen",)),
        ("could you please show me where the liver is?", Modality.CT, ()),
        ("where is the liver, not the spleen", Modality.CT, ()),
        ("pectoral muscle and fibroglandular tissue, xyxy", Modality.MAMMOGRAPHY, ()),
    ],
)
def test_the_reading_holds_what_no_answer_regards(terminology, text, modality, aside):
    assert understand(text, terminology, modality).aside == aside


def test_the_reading_names_it_unless_a_warning_does(engine, scan):
    answer = engine.ask(scan, "where is the floppy liver?")
    assert "floppy" in answer.reading or any("floppy" in message.text(answer.language) for message in answer.warnings)
    assert not ("floppy" in answer.reading and any("floppy" in each.text(answer.language) for each in answer.warnings))
    assert engine.ask(scan, "where is the liver for hepatectomy").reading == "locate: liver · not regarded: hepatectomy"


@pytest.mark.parametrize(
    ("text", "modality", "names"),
    [
        ("locate pancreas, duodenum and the superior mesenteric artery", Modality.CT, ["pancreas", "duodenum"]),
        ("Count the teeth and the molars please", Modality.XRAY, ["tooth", "molar"]),
        ("third molar tooth", Modality.XRAY, ["third molar"]),
        ("vertebrae L3 and L4", Modality.MRI, ["L3 vertebra", "L4 vertebra"]),
        ("How many teeth with caries?", Modality.XRAY, ["dental caries"]),
        ("脾在哪里，顺便看看胃", Modality.CT, ["spleen", "stomach"]),
        ("where is the head?", Modality.ULTRASOUND, ["fetal head"]),
        ("头多大", Modality.ULTRASOUND, ["fetal head"]),
        ("标出LV、RV、Myo", Modality.MRI, ["left ventricle", "right ventricle", "left ventricular myocardium"]),
    ],
)
def test_no_name_of_a_list_is_lost(terminology, text, modality, names):
    assert [english for english, _ in understand(text, terminology, modality).names] == names


@pytest.mark.parametrize(
    ("text", "modality", "kinds"),
    [
        ("DME yes or no? Also any retinopathy?", "oct", ["classify", "classify"]),
        ("有无DR和DME", "fundus", ["classify", "classify"]),
        ("TB还是肺炎？", "xray", ["classify", "presence"]),
        ("Please outline the lesion and tell me the likelihood of melanoma.", "dermoscopy", ["locate", "classify"]),
        ("How many lesions and how big is each?", "ultrasound", ["count", "measure"]),
        ("把息肉框出来，并说明大小", "endoscopy", ["locate", "measure"]),
        ("肝脏最大径大概多少像素？在图的左边还是右边？", "ct", ["measure", "side"]),
        ("報告一下腫塊的位置與大小", "ultrasound", ["locate", "measure"]),
        ("出血一共有几处？最大的一处在哪里", "ct", ["count", "locate"]),
        ("1. 出血在哪个部位 2. 有没有破入脑室 3. 有没有蛛网膜下腔出血", "ct", ["locate", "presence", "presence"]),
    ],
)
def test_every_part_has_its_question(parse, text, modality, kinds):
    several = parse(text, modality)
    assert isinstance(several, Several)
    assert [asked.intent.kind for asked in several.questions] == kinds


@pytest.mark.parametrize(
    ("text", "modality", "kind", "code"),
    [
        ("结节多大，距皮肤多远", "ultrasound", "measure", "task.two_names"),
        ("牙齿总数是多少？缺几颗牙", "xray", "count", "task.part_impossible"),
        ("腰疼，B超说有肾结石，CT上能看到吗，需不需要碎石", "ct", "presence", "task.impossible_care"),
        ("一共有多少个息肉？最大的在哪个角？", "endoscopy", "count", "task.impossible_part"),
    ],
)
def test_a_part_that_is_refused_leaves_the_others_their_answers(parse, text, modality, kind, code):
    several = parse(text, modality)
    assert isinstance(several, Several)
    assert [asked.intent.kind for asked in several.questions] == [kind]
    assert [message.code for message in several.refused] == [code]


def test_a_part_of_a_part_is_a_question_too(parse):
    text = "My doctor told me there is something on my kidney. Can you see it and is it cancer?"
    assert all(isinstance(asked, Asked) for asked in parse(text, "ct").questions)


@pytest.mark.parametrize(
    ("text", "modality", "code"),
    [
        ("Can you differentiate arteries from veins in this fundus photo?", "fundus", "task.impossible"),
        ("Grade of the adenocarcinoma?", "pathology", "task.impossible_score"),
        ("DR screening: refer or no refer?", "fundus", "task.impossible_care"),
        ("In which ventricle is the mass?", "mri", "task.impossible_part"),
        ("糖尿病黄斑水肿，液体在哪一层", "oct", "task.impossible_part"),
    ],
)
def test_another_question_is_not_answered(parse, text, modality, code):
    with raises_code(UsageError, code):
        parse(text, modality)


@pytest.mark.parametrize(
    ("text", "modality"), [("这是什么平面的MRI", Modality.MRI), ("这是骨髓涂片还是外周血涂片", Modality.PATHOLOGY)]
)
def test_the_kind_of_image_is_no_answer_to_its_plane(terminology, text, modality):
    assert understand(text, terminology, modality).kind is Kind.ANSWER


def test_what_is_wrong_with_a_structure_is_asked_of_it(parse):
    for text in ("what's wrong with this pt's lungs?", "肺有什么问题", "左肺有什么异常"):
        asked = parse(text, "xray")
        assert isinstance(asked.request, IsNormal) and "lung" in asked.request.structures[0][0]
    assert isinstance(parse("is the back of my eye ok?", "fundus").request, IsNormal)


@pytest.mark.parametrize(
    ("text", "side"),
    [("突发左侧肢体无力3小时，有没有出血？", None), ("左侧有没有出血？", "left"), ("right arm weakness, stroke?", None)],
)
def test_a_side_of_the_history_is_none_of_the_finding(terminology, text, side):
    assert understand(text, terminology, Modality.CT).side == side


def test_a_place_keeps_only_what_the_side_does_not_tell(parse):
    assert parse("Do I have any cavities on the upper left?", "xray").place == "upper"
    assert parse("右上尖牙在哪", "xray").place == "上"


def test_a_part_of_the_pancreas_is_left_out_with_a_word(parse):
    assert "pancreas head" in parse("locate the pancreas head only", "ct").place
    assert parse("where's the artery", "ultrasound").kind_word == ("artery", "blood vessel")


def test_which_breast_is_a_side_where_both_are_shown(parse):
    assert parse("Which breast is it in?", "mri").intent.kind is Kind.SIDE
    with pytest.raises(UsageError):
        parse("which breast is this?", "mammography")


def test_programs_and_other_clients_learn_what_was_not_regarded(engine, scan):
    answer = engine.ask(scan, "where is the liver for hepatectomy, and how wide is the spleen for splenectomy?")
    assert answer.not_regarded == ("hepatectomy", "splenectomy")
    assert [part["not_regarded"] for part in answer.facts["parts"]] == [["hepatectomy"], ["splenectomy"]]
    assert "Of the question not regarded: hepatectomy, splenectomy." in list(mcp_lines(answer))
