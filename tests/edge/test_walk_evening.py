"""What two walks of strangers on 2026-11-30 found: restrictions, history, exclusions and order in a question."""

import pytest

from medrega_edge.domain import Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import asked_text, understand
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.prompts.intent.parts import parts
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.organs import VisibleOrgans


@pytest.mark.parametrize(
    ("text", "modality", "asked"),
    [
        ("Hx: breast cancer. Any pleural effusion?", Modality.XRAY, "any pleural effusion?"),
        ("PMH lung cancer 2019, now cough. Any pneumonia?", Modality.XRAY, "any pneumonia?"),
        ("Patient with lung cancer. Is there a pneumothorax?", Modality.XRAY, "is there a pneumothorax?"),
        ("Known TB, on treatment. Is there an effusion?", Modality.XRAY, "is there an effusion?"),
        ("nodules: any in the lungs?", Modality.XRAY, None),
        ("liver, where?", Modality.CT, None),
    ],
)
def test_a_history_is_no_part_of_what_is_asked(terminology, text, modality, asked):
    assert asked_text(text, terminology, modality).strip() == (asked or text)


@pytest.mark.parametrize(
    ("text", "modality"),
    [
        ("Hx: breast cancer. Any pleural effusion?", Modality.XRAY),
        ("Known TB, on treatment. Is there an effusion?", Modality.XRAY),
        ("75M. BP 190/110, HR 88. Any haemorrhage?", Modality.CT),
        ("GCS 13, on warfarin, any bleed?", Modality.CT),
        ("麻烦帮我看一下这张CT，肝脏和脾脏在什么位置，谢谢", Modality.CT),
    ],
)
def test_a_history_adds_no_name_no_warning_and_no_refusal(parse, text, modality):
    asked = parse(text, modality)
    assert asked.request.task is Task.DETECT and not asked.notes


@pytest.mark.parametrize(
    ("text", "modality", "place"),
    [
        ("Is the lesion at 2 o'clock?", Modality.ULTRASOUND, "2 o'clock"),
        ("Is the cancer in the peripheral zone?", Modality.MRI, "peripheral zone"),
        ("Is the polyp in the centre of the image?", Modality.ENDOSCOPY, "in the centre of the image"),
        ("Where is the darkest part of the lesion?", Modality.DERMOSCOPY, "darkest part of the lesion"),
        ("外周带有没有癌灶", Modality.MRI, "外周带"),
        ("第三节椎骨在哪", Modality.XRAY, "第三节"),
        ("最上面的椎骨在哪里", Modality.XRAY, "最上面"),
        ("L4/5椎间盘在哪", Modality.MRI, "l4/5"),
        ("右下肺有没有实变", Modality.XRAY, "下肺"),
        ("trace the border of the mole", Modality.DERMOSCOPY, ""),
        ("S1 - where on this sagittal?", Modality.MRI, ""),
    ],
)
def test_a_place_within_a_structure_or_a_picture_is_said(parse, text, modality, place):
    asked = parse(text, modality)
    assert asked.place == place
    assert not (place and asked.intent.kind is Kind.PRESENCE and getattr(asked.request, "says_yes", False))


@pytest.mark.parametrize(
    ("text", "modality", "words"),
    [
        ("带蒂的息肉在哪", Modality.ENDOSCOPY, ("带蒂",)),
        ("大的出血在哪里", Modality.CT, ("大",)),
        ("低回声结节在哪里", Modality.ULTRASOUND, ("低回声",)),
        ("恶性的肝肿瘤在哪", Modality.CT, ("恶性",)),
        ("Can you show me the small polyp?", Modality.ENDOSCOPY, ("small",)),
        ("最大的结节在哪", Modality.XRAY, ()),
        ("我的肝在哪", Modality.CT, ()),
        ("肝脏有多大", Modality.CT, ()),
        ("有几个息肉", Modality.ENDOSCOPY, ()),
    ],
)
def test_adjectives_are_said_to_be_left_out(terminology, text, modality, words):
    intent = understand(text, terminology, modality)
    assert (*intent.unread, *intent.narrowing) == words


@pytest.mark.parametrize(
    ("text", "modality", "names"),
    [
        ("Show the edema but not the tumour", Modality.MRI, {"brain edema"}),
        ("Just the liver, not the tumors", Modality.CT, {"liver"}),
        ("只要肝脏，不要肿瘤", Modality.CT, {"liver"}),
        ("not the left kidney but the right one", Modality.CT, {"right kidney"}),
        ("Locate the left ventricle and the right one", Modality.MRI, {"left ventricle", "right ventricle"}),
        ("体检发现肾有东西,到底是不是瘤,图上有吗", Modality.CT, {"kidney tumor"}),
    ],
)
def test_what_is_left_out_is_not_located(terminology, text, modality, names):
    assert {name[0] for name in understand(text, terminology, modality).names} == names


@pytest.mark.parametrize("text", ["without the liver", "not the spleen", "不包括脾脏", "除了肝脏"])
def test_a_text_that_only_leaves_out_is_refused(parse, text):
    with pytest.raises(UsageError) as raised:
        parse(text, Modality.MRI)
    assert raised.value.code == "task.only_left_out"


@pytest.mark.parametrize("text", ["除了肝脏的都标出来", "all except the liver", "show everything, no liver"])
def test_all_but_one_leaves_that_one_out(parse, text):
    assert parse(text, Modality.MRI).request == VisibleOrgans(("liver",))


@pytest.mark.parametrize("text", ["the second largest nucleus", "the two largest nuclei", "第二大的细胞核"])
def test_only_the_largest_and_the_smallest_are_picked(parse, text):
    with pytest.raises(UsageError) as raised:
        parse(text, Modality.PATHOLOGY)
    assert raised.value.code == "task.only_extreme"


@pytest.mark.parametrize(
    ("text", "modality", "kind", "reason"),
    [
        ("脾脏是不是破了", Modality.CT, Kind.ANSWER, None),
        ("息肉是不是很大", Modality.ENDOSCOPY, Kind.MEASURE, None),
        ("结石能不能自己排出来", Modality.CT, Kind.ANSWER, None),
        ("胃管到胃里了吗", Modality.XRAY, Kind.ANSWER, None),
        ("息肉離鏡頭近嗎", Modality.ENDOSCOPY, Kind.IMPOSSIBLE, "relation"),
        ("红细胞和血小板的比例", Modality.PATHOLOGY, Kind.IMPOSSIBLE, "outline"),
        ("Are there more platelets than white cells?", Modality.PATHOLOGY, Kind.COUNT, None),
        ("Are all four wisdom teeth there?", Modality.XRAY, Kind.COUNT, None),
        ("Clear lungs?", Modality.XRAY, Kind.ANSWER, None),
        ("lungs clear?", Modality.XRAY, Kind.ANSWER, None),
        ("Which vertebra is L5?", Modality.MRI, Kind.LOCATE, None),
        ("What is the BPD?", Modality.ULTRASOUND, Kind.MEASURE, None),
        ("Where is the spleen in relation to the left kidney?", Modality.MRI, Kind.IMPOSSIBLE, "relation"),
        ("Heart-to-chest ratio?", Modality.XRAY, Kind.IMPOSSIBLE, "outline"),
        ("Is the liver the largest organ here?", Modality.CT, Kind.ANSWER, None),
        ("Is the lesion on the left?", Modality.XRAY, Kind.SIDE, None),
        ("最右边的器官是什么", Modality.MRI, Kind.IMPOSSIBLE, "relation"),
        ("这个结节几类", Modality.ULTRASOUND, Kind.IMPOSSIBLE, "score"),
        ("息内在哪里", Modality.ENDOSCOPY, Kind.LOCATE, None),
    ],
)
def test_a_question_is_not_taken_for_another(terminology, text, modality, kind, reason):
    intent = understand(text, terminology, modality)
    assert (intent.kind, intent.reason) == (kind, reason)


@pytest.mark.parametrize(
    ("text", "modality", "questions"),
    [
        (
            "Where is the left kidney? And the right one?",
            Modality.CT,
            ["where is the left kidney", "and where is the right kidney"],
        ),
        ("左边有龋齿吗，右边有吗", Modality.XRAY, ["左边有龋齿吗", "右边有没有龋齿"]),
        ("胸腔积液在哪个位置？双侧都有吗", Modality.XRAY, ["胸腔积液在哪个位置", "胸腔积液在哪一侧"]),
        ("图片中有哪些异常，位于哪里？", Modality.XRAY, ["图片中有哪些异常", "异常位于哪里"]),
        ("TB? effusion?", Modality.XRAY, ["tb", "effusion"]),
        ("Rank the liver, pancreas and kidneys by size", Modality.CT, []),
        ("How many incisors, canines, premolars and molars are there?", Modality.XRAY, []),
    ],
)
def test_parts_of_a_text(terminology, text, modality, questions):
    assert parts(text, terminology, modality) == questions


def test_the_affected_side_is_that_of_findings(parse):
    asked = parse("which lung is affected?", Modality.XRAY)
    assert asked.intent.kind is Kind.SIDE and "pneumonia" in {name[0] for name in asked.intent.names}


def test_structures_that_are_left_out_are_not_looked_at(parse):
    request = parse("不看肾脏，其他器官正常吗", Modality.CT).request
    assert isinstance(request, IsNormal) and {name[0] for name in request.others} == {"left kidney", "right kidney"}


@pytest.mark.parametrize("text", ["Is there diabetic macular edema?", "Does this eye have DME?", "有没有糖尿病性黄斑水肿"])
def test_diabetic_macular_edema_is_a_class(parse, text):
    request = parse(text, Modality.OCT).request
    assert isinstance(request, Classify) and request.labels == "macular-edema"


def test_a_class_tells_no_side(parse):
    assert [note.code for note in parse("左肺有没有结核", Modality.XRAY).notes] == ["task.words_left_out"]


def test_classes_that_a_set_lacks_are_said(parse):
    assert parse("Is it a cyst?", Modality.ULTRASOUND).classes_unknown == ("cyst",)


def test_a_finding_that_such_images_never_had_is_said_beside_others(parse):
    asked = parse("有没有出血、硬性渗出和黄斑水肿", Modality.FUNDUS)
    assert "intraretinal fluid" not in {name[0] for name in asked.intent.names}
    assert "task.unlearned_beside" in [note.code for note in asked.notes]


@pytest.mark.parametrize(
    ("text", "modality", "kind", "reason"),
    [
        ("出血点在视盘的哪一侧？", Modality.FUNDUS, Kind.IMPOSSIBLE, "relation"),
        ("神经在血管的左边还是右边？", Modality.ULTRASOUND, Kind.IMPOSSIBLE, "relation"),
        ("脑水肿比肿瘤大吗？", Modality.MRI, Kind.COMPARE, None),
        ("病变在大脑哪个叶？", Modality.MRI, Kind.IMPOSSIBLE, "part"),
        ("What's the central retinal thickness?", Modality.OCT, Kind.ANSWER, None),
        ("Which organ is the biggest one in this picture?", Modality.MRI, Kind.ANSWER, None),
    ],
)
def test_the_second_walk(terminology, text, modality, kind, reason):
    intent = understand(text, terminology, modality)
    assert (intent.kind, intent.reason) == (kind, reason)


def test_edema_around_a_tumour_is_no_question_for_cancer(parse):
    text = "where is the tumour and is there any edema around it?"
    questions = parse(text, Modality.MRI).questions
    assert [question.request.task for question in questions] == [Task.DETECT, Task.DETECT]
    assert [name[0] for name in questions[1].intent.names] == ["brain edema"]


@pytest.mark.parametrize("text", ["有没有磨玻璃影？在哪侧肺？", "有没有磨玻璃影，左肺还是右肺？"])
def test_the_side_of_the_finding_before(parse, text):
    second = parse(text, Modality.XRAY).questions[1]
    assert second.intent.kind is Kind.SIDE and [name[0] for name in second.intent.names] == ["ground-glass opacity"]


def test_all_cells_but_some(parse):
    names = {name[0] for name in parse("标出所有细胞，红细胞除外", Modality.PATHOLOGY).intent.names}
    assert names >= {"white blood cell", "platelet"} and "red blood cell" not in names


@pytest.mark.parametrize("text", ["Is the tissue benign?", "What cancer is this?", "Is there any malignancy in this slide?"])
def test_the_only_set_of_classes_answers(parse, text):
    request = parse(text, Modality.PATHOLOGY).request
    assert isinstance(request, Classify) and request.labels == "lung-tissue"


def test_a_list_of_classes_is_one_question(parse):
    asked = parse("Is this a common nevus, an atypical nevus or a melanoma?", Modality.DERMOSCOPY)
    assert asked.request.labels == "nevus" and not asked.notes


@pytest.mark.parametrize("text", ["everything except the liver and the spleen", "肝和脾以外还有什么器官"])
def test_a_list_of_exclusions(parse, text):
    assert parse(text, Modality.CT).request == VisibleOrgans(("liver", "spleen"))


def test_the_kidney_that_a_tumour_lies_in(terminology):
    intent = understand("Is the tumor in the left or right kidney?", terminology, Modality.CT)
    assert intent.kind is Kind.SIDE and [name[0] for name in intent.names] == ["kidney tumor"]


@pytest.mark.parametrize(
    "text", ["Left kidney vs right kidney: which is higher in the image?", "左肾和右肾，哪个高？", "Which kidney is lower?"]
)
def test_height_is_no_size(terminology, text):
    intent = understand(text, terminology, Modality.CT)
    assert (intent.kind, intent.reason) == (Kind.IMPOSSIBLE, "relation")


def test_two_generic_structures(parse):
    names = {name[0] for name in parse("Point out the nerve and the artery for my block", Modality.ULTRASOUND).intent.names}
    assert names == {"peripheral nerve", "blood vessel"}


def test_a_question_that_nothing_regards_is_said_in_chinese(parse):
    assert parse("结石多大？能自己排出来吗？", Modality.CT).notes


def test_classes_that_are_offered_choose_their_set(parse):
    assert parse("请分类：普通痣、不典型痣、黑色素瘤", Modality.DERMOSCOPY).request.labels == "nevus"


def codes(request):
    return [note.code for note in request.notes]


@pytest.mark.parametrize("text", ["Any signs of tuberculosis or other disease?", "有没有肺结核或者其他疾病"])
def test_other_diseases_beside_a_class_are_said(parse, text):
    assert codes(parse(text, Modality.XRAY)) == ["task.question_left_out"]


@pytest.mark.parametrize(("text", "notes"), [("mark everything", ["task.structures_only"]), ("mark all organs", [])])
def test_everything_is_said_to_be_structures(parse, text, notes):
    request = parse(text, Modality.FUNDUS)
    assert request.request == VisibleOrgans() and codes(request) == notes


@pytest.mark.parametrize(
    ("text", "modality"),
    [("How large is the polyp relative to the image?", Modality.ENDOSCOPY), ("龋齿在上颌还是下颌", Modality.XRAY)],
)
def test_what_boxes_do_not_tell_is_refused(terminology, text, modality):
    assert understand(text, terminology, modality).kind is Kind.IMPOSSIBLE


def test_kinds_that_are_offered_are_one_question(parse):
    text = "What kind of hemorrhage is this: epidural, subdural or intraparenchymal?"
    assert codes(parse(text, Modality.CT)) == []


@pytest.mark.parametrize(
    ("text", "modality"),
    [
        ("is the spleen left of the liver?", Modality.MRI),
        ("is the heart between the lungs?", Modality.CT),
        ("is the trachea in front of the spinal cord?", Modality.CT),
        ("is it symmetric?", Modality.DERMOSCOPY),
    ],
)
def test_where_one_lies_beside_another_is_no_presence(terminology, text, modality):
    intent = understand(text, terminology, modality)
    assert (intent.kind, intent.reason) == (Kind.IMPOSSIBLE, "relation")


@pytest.mark.parametrize(
    "text", ["is the tumor bigger than the kidney?", "肿瘤和肾哪个大", "which is larger, the tumor or the kidney?"]
)
def test_a_structure_that_a_finding_is_compared_with_is_compared(terminology, text):
    intent = understand(text, terminology, Modality.CT)
    assert intent.kind is Kind.COMPARE
    assert {name[0] for name in intent.names} >= {"left kidney", "right kidney", "kidney tumor"}


@pytest.mark.parametrize(
    ("text", "label"),
    [("where are the opacities?", "consolidation"), ("any lines?", "central venous line"), ("密度增高影在哪", "pneumonia")],
)
def test_opacities_and_lines_of_a_chest_x_ray(parse, text, label):
    assert label in {name[0] for name in parse(text, Modality.XRAY).intent.names}


def test_a_generic_word_without_names_here_is_no_crash(engine, scan):
    answer = engine.ask(scan, "how far apart are the liver, the cells and the kidneys?")
    assert answer.text


@pytest.mark.parametrize("text", ["any opacity in the left lung?", "any shadow in the left lung?", "左肺有没有密度增高影"])
def test_an_opacity_in_a_lung_is_no_question_for_the_lung(parse, text):
    intent = parse(text, Modality.XRAY).intent
    assert intent.side == "left" and "consolidation" in {name[0] for name in intent.names}


def test_lines_of_the_lung_are_no_tubes(terminology):
    assert not understand("are there Kerley B lines?", terminology, Modality.XRAY).names


@pytest.mark.parametrize("text", ["is there something in the left lung?", "左肺有没有影子", "左肺里有东西吗"])
def test_something_in_a_lung_is_no_question_for_the_lung(parse, text):
    request = parse(text, Modality.XRAY).request
    assert isinstance(request, IsNormal) and request.structures == (("left lung", "左肺"),)


@pytest.mark.parametrize(
    "text", ["any dots in the left lung?", "are there white patches in the lung?", "any veins in the left lung?"]
)
def test_things_in_a_structure_are_not_the_structure(parse, text):
    with pytest.raises(UsageError):
        parse(text, Modality.XRAY)


@pytest.mark.parametrize("text", ["Which organ is the largest? How big is it?", "哪个器官最小？它在图的左边还是右边？"])
def test_what_is_asked_of_an_organ_that_no_answer_names_stays_with_it(terminology, text):
    first, second = parts(text, terminology, Modality.CT)
    assert ("largest" in first and "largest" in second) or ("最小" in first and "最小" in second)
