"""Each question of a text is answered, refused, or named: what goes on from the part before, and what only looks like it."""

from dataclasses import replace

import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent.parts import parts
from medrega_edge.prompts.templates import DEFAULT_PROMPTS
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.several import Several
from tests.codes import raises_code


@pytest.mark.parametrize(
    ("text", "modality", "kinds"),
    [
        ("Can you see his liver, and is there anything wrong with it?", "ct", ["presence", "report"]),
        ("Is it an atypical nevus or a melanoma? Show me where.", "dermoscopy", ["classify", "locate"]),
        ("intraretinal fluid size and position", "oct", ["measure", "locate"]),
        ("Are the cells abnormal? How many are there?", "pathology", ["report", "count"]),
        ("Tumor location please, and the type.", "mri", ["locate", "classify"]),
        ("What is the MR weighting? What part of the body is it?", "mri", ["answer", "body_part"]),
        ("肿物位置、大小、性质？", "ultrasound", ["locate", "measure", "classify"]),
        ("肿瘤在哪里？是脑膜瘤还是胶质瘤？", "mri", ["locate", "classify"]),
        ("请标出所有息肉，并说出最大的一个的大小", "endoscopy", ["locate", "measure"]),
        ("肿瘤靠近左侧还是右侧？大小怎样？", "mri", ["side", "measure"]),
        ("双肺有没有磨玻璃影？哪侧更重？", "xray", ["presence", "side"]),
        ("请圈出皮损，并告诉我它是什么。", "dermoscopy", ["locate", "classify"]),
        ("肝占位考虑恶性吗？请圈出。", "ultrasound", ["classify", "locate"]),
        ("图中有几条血管？最大的是哪一条？", "ultrasound", ["count", "locate"]),
        ("最上面的椎骨在哪里？最下面的呢？", "xray", ["locate", "locate"]),
        ("这张图有没有糖尿病黄斑水肿或者糖尿病视网膜病变？", "fundus", ["presence", "classify"]),
        ("What are the margins like? Is it malignant?", "ultrasound", ["answer", "classify"]),
        ("where is the mass and what are its margins like", "ultrasound", ["locate", "answer"]),
        ("What plane is this and is contrast given?", "mri", ["answer", "answer"]),
        ("这是T1还是T2？有什么异常？", "mri", ["answer", "report"]),
        ("石头有几个在哪个肾", "ct", ["count", "side"]),  # without a sign between them
        ("腸鏡看到一顆息肉請問多大在哪", "endoscopy", ["measure", "locate"]),
        ("红细胞大概多少个 形态正常吗", "pathology", ["count", "report"]),
        ("数一下腺体个数，并指出最大的一个。", "pathology", ["count", "locate"]),
        ("请标出脑肿瘤，并判断是哪种类型。", "mri", ["locate", "classify"]),
        ("哪颗牙有龋齿，严重吗", "xray", ["locate", "answer"]),
        ("Locate large bowel and small bowel, and say which one is bigger.", "mri", ["locate", "compare"]),
        ("Can you spot any polyps? If yes, draw a box around them.", "endoscopy", ["presence", "locate"]),
    ],
)
def test_each_question_has_its_answer(parse, text, modality, kinds):
    several = parse(text, modality)
    assert isinstance(several, Several) and not several.refused
    assert [asked.intent.kind for asked in several.questions] == kinds


@pytest.mark.parametrize(
    ("text", "modality", "kinds", "codes"),
    [
        ("左眼还是右眼，视盘在哪", "fundus", ["locate"], ["task.which_of_pair"]),
        ("Which lung is the mass in, and is it touching the heart?", "ct", ["side"], ["task.impossible_relation"]),
        ("右心室在哪里，在左心室的左边还是右边？", "mri", ["locate"], ["task.impossible_relation"]),
        (
            "show me where the liver is and tell me how old the patient is?",
            "ct",
            ["locate"],
            ["task.impossible_patient"],
        ),
        ("有没有毛发遮挡？病灶有多大？", "dermoscopy", ["measure"], ["task.unknown_name_here"]),
    ],
)
def test_a_question_that_is_refused_is_named(parse, text, modality, kinds, codes):
    several = parse(text, modality)
    assert [asked.intent.kind for asked in several.questions] == kinds
    assert [message.code for message in several.refused] == codes


@pytest.mark.parametrize(
    ("text", "modality"),
    [
        ("liver vs spleen, who's bigger", Modality.CT),
        ("左肾和右肾哪个更大，差多少", Modality.MRI),
        ("could you indicate the right kidney, if visible?", Modality.MRI),
        ("肠镜图，有没有息肉？", Modality.ENDOSCOPY),
        ("请把骨折线标出来，没有的话就说没有。", Modality.XRAY),
        ("请标出液体区域，如果没有请说明。", Modality.OCT),
        ("What is it: glioma, meningioma or pituitary tumor?", Modality.MRI),
    ],
)
def test_one_question_stays_one(terminology, text, modality):
    assert parts(text, terminology, modality) == []


@pytest.mark.parametrize(
    ("text", "modality", "asked"),
    [
        ("any cyst in the liver? and the spleen?", Modality.CT, "is there cyst in the spleen?"),
        ("any nodule in the left lung? and the right?", Modality.XRAY, "is there lung nodule in the right lung?"),
        ("肝脏有肿瘤吗？胰腺呢", Modality.CT, "胰腺有没有肿瘤？"),
    ],
)
def test_a_structure_alone_is_asked_for_the_finding_before(terminology, text, modality, asked):
    assert parts(text, terminology, modality)[1] == asked


@pytest.mark.parametrize(
    ("text", "modality"), [("有没有肺炎？心脏呢？", Modality.XRAY), ("where is the liver? and the spleen?", Modality.CT)]
)
def test_and_of_no_finding_of_an_image(terminology, text, modality):
    assert not any("有没有肺炎" in part for part in parts(text, terminology, modality)[1:])


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("Is there a suspicious lesion in the breast MRI, and on which side?", "suspicious lesion"),
        ("where is the lesion, which hemisphere, and how large is it?", "the lesion"),
    ],
)
def test_a_generic_word_stays_one_word_in_later_parts(terminology, text, names):
    assert parts(text, terminology, Modality.MRI)[-1].endswith(names)


def test_refusals_of_all_questions_are_said(parse):
    with raises_code(UsageError, "task.none_answered"):
        parse("左乳还是右乳？有无钙化？", Modality.MAMMOGRAPHY)


def test_an_unsure_part_says_of_what(engine, scan):
    assert "Not sure: is the liver bleeding." in engine.ask(scan, "where is the liver? is it bleeding?").text


@pytest.mark.parametrize(
    "text", ["Is the liver enlarged?", "肝脏大不大？", "肝是不是肿大了", "my liver, is it big?", "肝偏大吗"]
)
def test_whether_a_structure_is_enlarged_is_answered_by_its_size(parse, text):
    asked = parse(text, Modality.CT)
    assert asked.intent.kind == "measure" and [note.code for note in asked.notes] == ["task.normal_size_left_out"]


@pytest.mark.parametrize(
    ("text", "kinds"),
    [
        ("肝在哪，好不好", ["locate", "report"]),
        ("肝在哪里，要不要紧", ["locate", "report"]),
        ("两个肾一样大吗 有没有坏", ["compare", "report"]),
        ("脾大不大啊，跟肝比呢", ["measure", "compare"]),
        ("肝脏有几处，分别是多少像素", ["count", "measure"]),
        ("At what level is this slice - do we see the kidneys?", ["body_part", "presence"]),
        ("how many liver lesions, size of the largest", ["count", "measure"]),
        ("肝脏肿瘤数目及最大者直径", ["count", "measure"]),
        ("肝脏位置、大小、数目", ["locate", "measure", "count"]),
    ],
)
def test_a_part_of_two_words_goes_on_with_the_names_before(parse, text, kinds):
    assert [asked.intent.kind for asked in parse(text, Modality.CT).questions] == kinds


@pytest.mark.parametrize(
    ("text", "modality", "lost"),
    [
        ("息肉大概多少毫米，好切吗", Modality.ENDOSCOPY, "好切吗"),
        ("这是手还是小腿，侧位片对吧", Modality.XRAY, "侧位片对吧"),
        ("我的肾好像有点大 是不是积水了", Modality.CT, "是不是积水了"),
    ],
)
def test_a_short_clause_that_has_no_answer_is_said(parse, text, modality, lost):
    notes = parse(text, modality).notes
    assert [note.params["question"] for note in notes if note.code == "task.question_left_out"] == [lost]


def test_where_a_finding_lies_goes_on_from_the_finding_and_not_from_its_place(parse):
    several = parse("两肺有没有结节？有的话在左边还是右边", Modality.XRAY)
    assert [[name[0] for name in asked.intent.names] for asked in several.questions] == [["lung nodule"]] * 2


@pytest.mark.parametrize(
    ("text", "modality", "kind", "names"),
    [
        ("水肿范围和强化灶都给我标上", Modality.MRI, "locate", {"brain edema", "brain enhancing tumor"}),
        ("离神经最近的血管有多远", Modality.ULTRASOUND, "distance", {"peripheral nerve", "blood vessel"}),
        ("红细胞比血小板多多少", Modality.PATHOLOGY, "count", {"red blood cell", "platelet"}),
        ("硬膜下血肿排除了吗？", Modality.CT, "presence", {"subdural hematoma"}),
        ("长径和短径各多少", Modality.DERMOSCOPY, "measure", {"skin lesion"}),
        ("左肾有结石，对吗", Modality.CT, "presence", {"kidney stone"}),
        ("上颌切牙标注，下颌不用", Modality.XRAY, "locate", {"incisor"}),
        (
            "Is the lesion wider than it is tall?",
            Modality.ULTRASOUND,
            "measure",
            {"breast lesion", "liver mass", "ovarian tumor"},
        ),
        ("how much of the frame does the polyp occupy", Modality.ENDOSCOPY, "measure", {"polyp"}),
        ("what's filling the stomach", Modality.CT, "report", {"stomach"}),
        ("肝脏没毛病吧", Modality.CT, "report", {"liver"}),
        ("心脏看着大不", Modality.XRAY, "presence", {"cardiomegaly"}),
        ("左肾上那个包多大", Modality.CT, "measure", {"kidney tumor"}),
        ("我得了什么病", Modality.XRAY, "report", set()),
        ("肺看着干净不", Modality.XRAY, "report", {"left lung", "right lung"}),
        ("骨头哪儿裂了帮我指出来", Modality.XRAY, "locate", {"fracture"}),
        ("肝跟胰腺比哪个大多少倍", Modality.CT, "compare", {"liver", "pancreas"}),
        ("现在心脏是舒张还是收缩的时候", Modality.ULTRASOUND, "classify", {"heart"}),
        ("肺有没有病", Modality.XRAY, "report", {"left lung", "right lung"}),
        ("三系计数", Modality.PATHOLOGY, "count", {"red blood cell", "white blood cell", "platelet"}),
        ("阻生齿有几颗", Modality.XRAY, "count", {"third molar"}),
        ("两肺野清晰否", Modality.XRAY, "report", {"left lung", "right lung"}),
        ("count the white matter lesions", Modality.MRI, "count", {"multiple sclerosis lesion"}),
        ("卵巢囊肿多大", Modality.ULTRASOUND, "measure", {"ovarian tumor"}),
        ("血小板少不少", Modality.PATHOLOGY, "count", {"platelet"}),
        ("哪边乳房有问题", Modality.MRI, "side", {"breast lesion"}),
        ("Any suspicious mass or microcalcs?", Modality.MAMMOGRAPHY, "presence", {"breast lesion"}),
        ("point out L5 and the disc beneath it", Modality.MRI, "locate", {"L5 vertebra", "intervertebral disc"}),
    ],
)
def test_questions_of_the_twentieth_walk_are_read(parse, text, modality, kind, names):
    asked = parse(text, modality)
    assert (asked.intent.kind, {name[0] for name in asked.intent.names}) == (kind, names)


@pytest.mark.parametrize(
    ("text", "modality", "place"),
    [
        ("胰腺头、体、尾能分别标一下吗？", "ct", "胰腺头、体、尾"),
        ("上牙和下牙各有几颗？", "xray", "上牙、下牙"),
        ("鞍区有肿物吗？", "mri", "鞍区"),
        ("手部和肩部哪里骨折？", "xray", "手部、肩部"),
    ],
)
def test_every_place_that_no_label_has_is_named(parse, text, modality, place):
    assert parse(text, modality).place == place


@pytest.mark.parametrize(
    ("text", "modality"), [("Is the cancer in the left or right lobe?", "mri"), ("脑室内有没有出血？", "ct")]
)
def test_a_place_that_the_answer_regards_is_not_named(parse, text, modality):
    assert not parse(text, modality).place


@pytest.mark.parametrize(
    ("text", "modality", "code"),
    [
        ("Is the endotracheal tube in the right position?", "xray", "task.state_unknown"),
        ("胶质瘤是低级别还是高级别？", "mri", "task.impossible_score"),
        ("心脏有几个腔能看到？", "mri", "task.impossible"),
        ("垂体在哪里？", "mri", "task.unknown_name_here"),
        ("单房还是多房？", "ultrasound", "task.impossible"),
        ("圈出来的地方是不是骨折？", "xray", "task.impossible"),
        ("肿瘤在哪一叶", "mri", "task.impossible_part"),
        ("這張有看到胰臟癌嗎", "ct", "task.unknown_name_here"),
        ("Is there a wisdom tooth that needs to come out?", "xray", "task.unknown_name_here"),
    ],
)
def test_what_boxes_do_not_tell_is_refused(parse, text, modality, code):
    with raises_code(UsageError, code):
        parse(text, modality)


def test_a_size_is_not_called_normal(parse):
    asked = parse("Is the liver of normal size?", Modality.CT)
    assert asked.intent.kind == "measure" and [note.code for note in asked.notes] == ["task.normal_size_left_out"]


def test_which_tooth_is_bad_asks_for_findings_of_teeth(parse):
    asked = parse("哪颗牙有问题？", Modality.XRAY)
    assert asked.intent.kind == "locate" and [english for english, _ in asked.intent.names] == ["dental caries"]


def test_the_largest_of_many_may_be_a_best_guess(parse, engine, scan):  # else "the largest of 22" was the only sure one
    asked = parse("Which nucleus is biggest?", Modality.PATHOLOGY)
    answer = engine.ask(scan, "locate the liver")
    sure = replace(answer.regions[0], label="cell nucleus", box=PixelBox(10, 10, 20, 20), confidence=0.9)
    guess = replace(sure, box=PixelBox(30, 30, 60, 70), confidence=0.2)
    told = asked.finish(replace(answer, regions=(sure, guess)))
    assert told.text.endswith("The largest of 2 boxes of cell nucleus: 30, 30, 60, 70.")


def test_the_largest_of_findings_is_a_sure_one(parse, engine, scan):
    asked = parse("Which stone is biggest?", Modality.CT)
    answer = engine.ask(scan, "locate the liver")
    sure = replace(answer.regions[0], label="kidney stone", box=PixelBox(10, 10, 20, 20), confidence=0.9)
    guess = replace(sure, box=PixelBox(30, 30, 60, 70), confidence=0.2)
    told = asked.finish(replace(answer, regions=(sure, guess)))
    assert [region.box for region in told.regions] == [sure.box] and "largest of" not in told.text


@pytest.mark.parametrize(
    "text", ["What plane is this image taken in?", "Is this axial or sagittal?", "这是什么切面？", "这是横断面还是冠状面？"]
)
def test_a_question_for_the_plane_is_asked_as_in_training(engine, text):
    scene = Scene(list(Task), engine.terminology, Modality.MRI, engine._prompts)
    asked = parse_intent(text, scene)
    assert asked.words in ("What is the scanning plane of this image?", "这个图像的扫描平面是什么?")
    assert parse_intent(text, replace(scene, prompts=DEFAULT_PROMPTS)).words == text  # a large model is asked freely


@pytest.mark.parametrize(
    ("text", "modality", "pieces"),
    [
        ("息肉的大小和位置？", Modality.ENDOSCOPY, ["息肉的大小", "息肉位置"]),
        ("肿瘤大小和类型", Modality.MRI, ["肿瘤大小", "这是什么类型的病变"]),
        ("请把肿瘤框出来，告诉我它的类型和大小", Modality.MRI, ["请把肿瘤框出来", "告诉我肿瘤的类型", "肿瘤大小"]),
        ("框出细胞核，大概多少个", Modality.PATHOLOGY, ["框出细胞核", "细胞核多少个"]),
        ("Which lung is larger, left or right?", Modality.CT, []),
        ("视盘在哪？有出血吗？", Modality.FUNDUS, ["视盘在哪", "有出血吗"]),
        ("Is the aorta normal? Where is it?", Modality.CT, ["is the aorta normal", "where is the aorta"]),
    ],
)
def test_a_short_part_goes_on_with_the_names_before(terminology, text, modality, pieces):
    assert parts(text, terminology, modality) == pieces


@pytest.mark.parametrize(
    "text",
    [
        *("两个肾都好吗", "肝脏还好吗", "肝没问题吧", "肾没事吧", "我的腎好不好", "脾脏正不正常", "肝脏情况怎么样"),
        *("我这个肝咋样", "两个肾情况如何", "左边的肾怎么样", "肝上有没有长什么"),
        *("how is my spleen doing?", "How does the liver look?"),
    ],
)
def test_whether_an_organ_is_well_is_not_whether_it_is_there(parse, text):
    assert isinstance(parse(text, Modality.CT).request, IsNormal)


@pytest.mark.parametrize("text", ["帮我标出肝脏好吗", "把肝标出来好不好"])
def test_a_request_in_kind_words_asks_for_no_state(parse, text):
    assert isinstance(parse(text, Modality.CT).request, Detect)


@pytest.mark.parametrize(
    ("text", "modality", "code"),
    [
        ("prostate volume?", Modality.MRI, "task.impossible_outline"),
        ("前列腺体积多大", Modality.MRI, "task.impossible_outline"),
        ("which tooth has the worst one", Modality.XRAY, "task.impossible_part"),
        ("What's the central retinal thickness?", Modality.OCT, "task.impossible_outline"),
        ("黄斑水肿厚度多少", Modality.OCT, "task.impossible_outline"),
        ("肝癌晚期了吗", Modality.CT, "task.impossible_score"),
        ("鼻咽癌长到哪里了", Modality.MRI, "task.impossible_part"),
    ],
)
def test_what_no_box_tells_is_refused_with_its_reason(parse, text, modality, code):
    with raises_code(UsageError, code):
        parse(text, modality)


@pytest.mark.parametrize("text", ["are the lungs clear?", "lungs clear?", "tell me if the lungs are clear", "lungs ok?"])
def test_whether_the_lungs_are_clear_is_asked_of_their_findings(parse, text):
    asked = parse(text, Modality.XRAY)
    assert isinstance(asked.request, IsNormal) and {name[0] for name in asked.intent.names} == {"left lung", "right lung"}


def test_the_view_of_an_echocardiogram_is_a_class(parse):
    assert parse("which view is this?", Modality.ULTRASOUND).request.labels == "heart-view"


def test_that_teeth_are_to_be_counted_apart_is_said(parse):
    notes = parse("count the teeth, upper and lower separately", Modality.XRAY).notes
    assert [note.params["question"] for note in notes] == ["upper and lower separately"]


def test_names_that_share_one_box_are_not_compared(parse, engine, scan):
    asked = parse("Is the left atrium larger than the left ventricle?", Modality.ULTRASOUND)
    answer = engine.ask(scan, "locate the liver")
    image = replace(answer.image, modality=Modality.ULTRASOUND)
    box = replace(answer.regions[0], box=PixelBox(10, 10, 20, 20), confidence=0.9)
    both = tuple(replace(box, label=label) for label in ("left atrium", "left ventricle"))
    told = asked.finish(replace(answer, image=image, regions=both))
    assert told.text == "left atrium, left ventricle: found only together, in one box. So there is nothing to compare."


def test_good_or_bad_asks_whether_it_is_malignant(parse):
    assert "breast" in parse("我这个结节是好的还是坏的", Modality.ULTRASOUND).request.sets


def test_a_spot_over_a_structure_is_said_to_be_left_out(parse):
    (note,) = parse("帮我看看肝上面那个白点", Modality.CT).notes
    assert (note.code, note.params["words"]) == ("task.words_left_out", ("上面那个白点",))


def test_a_polyp_to_be_cut_is_refused_beside_its_size(parse):
    several = parse("息肉多大了 要割吗", Modality.ENDOSCOPY)
    assert [each.code for each in several.refused] == ["task.impossible_care"]


def test_a_tumor_of_an_organ_is_no_class_of_another_organ(parse):
    with raises_code(UsageError, "task.unknown_name_here"):
        parse("胰腺有没有肿瘤或者发炎", Modality.MRI)
