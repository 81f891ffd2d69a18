"""What strangers asked on walks and what was answered wrongly: by a flat yes, by another name, or for another reason."""

import json
from dataclasses import replace
from importlib.resources import files

import pytest

from medrega_edge.domain import Language, Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.package.registry import find_package
from medrega_edge.prompts.intent import Kind
from medrega_edge.prompts.templates import PromptBook
from medrega_edge.tasks import classes
from medrega_edge.tasks.asked import _with_more
from medrega_edge.tasks.base import TaskResult, not_found
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect, why_not
from medrega_edge.tasks.follow_up import pointing_back
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.left_out import is_outside_choice
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.several import Several
from medrega_edge.tasks.sides import located_on_side
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.label_sets import LABEL_SETS
from medrega_edge.vocabulary.presence import is_known
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.wording import kind_left_out, superlative
from tests.codes import raises_code

TASKS = ("detect", "vqa", "report", "classify", "identify")


def codes(answer):
    return [warning.code for warning in answer.warnings]


@pytest.fixture(scope="module")
def parse():
    book = PromptBook.from_json(find_package().text("prompts"))
    terminology = Terminology(book.labels, book.label_modalities)

    def parsed(text, modality, part=None):
        return parse_intent(text, Scene(TASKS, terminology, Modality(modality), book, True, lambda: part))

    return parsed


@pytest.mark.parametrize(
    ("modality", "part", "text", "code"),
    [
        ("oct", None, "有没有视网膜下液", "unknown_name_here"),  # heard as a lobe of the lung
        ("fundus", None, "玻璃膜疣在哪", "unknown_name_here"),  # a wart, so a skin lesion
        ("oct", None, "wet AMD or dry AMD?", "unknown_name_here"),  # by a class of diabetic retinopathy
        ("mri", "chest", "有没有左室肥厚", "unknown_name_here"),  # "yes", the left ventricle
        ("ct", "abdomen", "脾脏有没有水肿", "unknown_name_here"),  # "not found: brain edema"
        ("ct", "abdomen", "肝脏有没有炎症", "unknown_name_here"),  # "not found: pneumonia"
        ("ct", "head", "is there brain herniation", "unknown_name_here"),  # "perhaps: brain stem"
        ("pathology", None, "are there inflammatory cells", "unknown_name_here"),  # "yes, cell nucleus"
        ("pathology", None, "中性粒细胞在哪", "unknown_name_here"),
        ("ct", "abdomen", "肾上腺有没有结节", "unknown_name_here"),  # of the kidneys
        ("ultrasound", None, "any mass in the heart", "unknown_name_here"),  # the box of the heart
        ("ct", "abdomen", "locate stones in the gallbladder", "unknown_name_here"),
        ("pathology", None, "are there goblet cells?", "unknown_name_here"),  # "yes, cell nucleus"
        ("pathology", None, "杯状细胞在哪里", "unknown_name_here"),  # heard as the optic cup
        ("pathology", None, "any mast cells?", "unknown_name_here"),  # heard as microaneurysms, MAs
        ("xray", "chest", "is the ET tube in the right place?", "state_unknown"),  # "yes, found: endotracheal tube"
        ("oct", None, "is there fluid under the retina?", "unknown_name_here"),  # "not found: intraretinal fluid"
        ("ultrasound", None, "how many locules / septations", "unknown_name_here"),  # the help text
        ("xray", None, "is this a child or an adult?", "impossible_patient"),  # "kind of image: X-ray"
        ("mri", "pelvis", "what's above it?", "impossible_relation"),  # a report
        ("dermoscopy", None, "建议做什么检查", "impossible_care"),  # "kind of image: dermoscopy"
        ("endoscopy", None, "is this the stomach or the colon", "impossible"),  # "gastrointestinal tract"
        ("endoscopy", None, "any other lesions besides the polyp", "unknown_name_here"),  # "yes, polyp"
        ("mri", "abdomen", "is the uterus normal", "unknown_name_here"),  # "healthy kidneys"
        ("ct", "chest", "infarct?", "known_elsewhere"),
        ("pathology", None, "colon cancer?", "unlearned_in_kind"),  # "not found" of what no such image had
        ("mri", "spine", "Is there disc herniation at L4/L5?", "unknown_name_here"),  # "yes, found: L5 vertebra"
        ("ct", "abdomen", "哪边的肾脏有积水?", "unknown_name_here"),  # the sides of both kidneys
        ("fundus", None, "视神经乳头有没有水肿", "unknown_name_here"),  # the box of the optic cup
        ("xray", "teeth", "缺了哪些牙?", "impossible"),  # the teeth that are there
        ("xray", "teeth", "which ones are missing?", "impossible"),
        ("endoscopy", None, "这是胃镜还是肠镜?", "impossible"),  # "digestive tract"
        ("endoscopy", None, "肿瘤浸润深度是多少?", "impossible_score"),  # of a lung infiltrate
        ("ultrasound", "fetus", "胎儿头围是多少?", "impossible_outline"),  # width and height
        ("ultrasound", "fetus", "胎儿孕周大概多少周?", "impossible_score"),  # "an image does not tell age"
        ("xray", "spine", "脊柱侧弯吗?Cobb角多少度?", "none_answered"),  # "a function of the body"
        ("ultrasound", "breast", "结节在几点钟方向?", "impossible_relation"),
        ("ct", "head", "can we thrombolyse?", "impossible_care"),  # read as "thrombocyte"
        ("xray", "chest", "is it safe to discharge him?", "impossible_care"),  # "No"
        ("xray", "limb", "how old is the fracture", "impossible_time"),  # of the patient
        ("mammography", None, "which breast is this", "which_of_pair"),
        ("mri", "head", "is the tumour benign or malignant?", None),
    ],
)
def test_what_boxes_or_classes_do_not_tell_is_refused_with_its_reason(parse, modality, part, text, code):
    if code is None:  # "meningioma" is no answer to it
        assert not isinstance(parse(text, modality, part).request, Classify)
        return
    with raises_code(UsageError, f"task.{code}"):
        parse(text, modality, part)


@pytest.mark.parametrize(
    ("modality", "part", "text", "request_type", "names"),
    [
        ("ct", "abdomen", "anything abnormal in the liver?", IsNormal, ["liver"]),  # "yes, found: liver"
        ("ct", "abdomen", "腰子有毛病没", IsNormal, ["left kidney", "right kidney"]),
        ("mammography", None, "any suspicious lesions?", FromBoxes, ["breast lesion"]),
        ("pathology", None, "有没有肺癌", Classify, ["lung cancer"]),
        ("endoscopy", None, "what are the white spots", Report, ["polyp"]),
        ("ct", None, "这是平扫还是增强？", AnswerQuestion, []),  # "CT scan"
        ("ct", "abdomen", "is there a hepatic mass?", FromBoxes, ["liver tumor"]),
    ],
)
def test_what_was_asked_is_what_is_answered(parse, modality, part, text, request_type, names):
    asked = parse(text, modality, part)
    assert isinstance(asked.request, request_type)
    assert [english for english, _ in asked.intent.names] == names


def test_a_size_without_a_name_is_that_of_the_lesion(parse):
    asked = parse("how many cm is it?", "dermoscopy")
    assert asked.intent.kind is Kind.MEASURE and [name[0] for name in asked.intent.names] == ["skin lesion"]


def test_a_part_that_only_goes_on_has_the_names_before(parse):
    assert isinstance(parse("where is the lesion and how big", "dermoscopy"), Several)


@pytest.mark.parametrize(
    ("text", "labels", "word"),
    [
        ("有没有BCC", ["skin lesion"], "bcc"),
        ("is it a flat polyp", ["polyp"], "flat"),
        ("any GBM?", ["glioma"], "gbm"),
        ("is there a polyp", ["polyp"], None),
        ("is the liver flat", ["liver"], None),  # no finding
    ],
)
def test_a_word_for_one_kind_of_a_finding_is_found(text, labels, word):
    assert kind_left_out(text, labels) == (None if word is None else (word, labels[0]))


def test_one_kind_of_a_finding_gets_no_yes(parse, engine, scan):
    asked = parse("is this a wart", "dermoscopy")
    assert asked.kind_word == ("wart", "skin lesion") and not asked.request.says_yes
    located = engine.run(scan, engine.request(scan, "where is the liver?"))
    liver = located.regions[0]
    region = type(liver)("skin lesion", liver.box, 0.9)
    assert asked.finish(type(located)(**{**vars(located), "regions": (region,)})).text == "Found: skin lesion."


@pytest.mark.parametrize(
    ("text", "classes"), [("is it copd or tuberculosis?", ("copd",)), ("TB?", ()), ("tuberculosis or normal?", ())]
)
def test_classes_beside_those_of_the_set_are_said(parse, text, classes):
    assert parse(text, "xray", "chest").classes_unknown == classes


@pytest.mark.parametrize(("text", "side"), [("which side is the liver on", "right"), ("肝脏位于图像的左边还是右边", "左侧")])
def test_a_side_is_the_patients_unless_that_of_the_picture_is_asked(engine, scan, text, side):
    assert side in engine.ask(scan, text).text


@pytest.mark.parametrize(
    ("text", "is_largest"), [("the biggest nucleus", True), ("最小的结节", False), ("最大径", None), ("nuclei", None)]
)
def test_a_superlative(text, is_largest):
    assert superlative(text) is is_largest


def test_the_largest_of_several_is_one_region(engine, scan):
    asked = engine.request(scan, "where is the largest kidney?")
    answer = engine.run(scan, asked)
    assert len(answer.regions) == len({region.label for region in answer.regions})


@pytest.fixture(scope="module")
def kidneys(engine, scan):
    asked = engine.request(scan, "where are the kidneys?")
    return asked, engine.run(scan, asked)


@pytest.mark.parametrize(
    "text",
    ["where?", "where is it?", "show me", "circle them please", "在哪", "圈出来", "给我标一下看看", "位置呢", "标出来看看"],
)
def test_a_bare_question_for_the_place_goes_on_from_the_last(engine, kidneys, text):
    following = engine.follow_up(text, *kidneys)
    assert following.task is Task.DETECT
    assert {english for english, _ in following.intent.names} == {"left kidney", "right kidney"}


@pytest.mark.parametrize("text", ["which side?", "左边还是右边", "在哪侧"])
def test_a_bare_question_for_the_side_does(engine, kidneys, text):
    assert engine.follow_up(text, *kidneys).request.kind is Kind.SIDE


def test_it_means_what_was_found(engine, scan):
    asked = engine.request(scan, "are there a liver and a brain stem?")
    following = engine.follow_up("where is it?", asked, engine.run(scan, asked))
    assert [english for english, _ in following.intent.names] == ["liver"]


def test_a_finding_in_it_is_asked_for_in_what_was_found(engine, scan, kidneys):
    asked, answer = kidneys
    labels = {region.label for region in answer.regions}
    assert (
        pointing_back("any lesion in it?", asked, engine.terminology, labels)
        == "any lesion in the left kidney and right kidney?"
    )
    assert pointing_back("how big is it?", asked, engine.terminology, labels) == "how big is it?"


def test_what_no_such_image_had_is_not_denied_flatly(engine, scan):
    """Only images of other kinds had these names, and an abdomen may have them."""
    context = engine.context(scan, Language.EN)
    names = [name for name, _ in engine.terminology.labels if not is_known(Modality.MRI, name)]
    names = [name for name in names if any(is_known(each, name) for each in Modality) and not why_not(context, name, name)]
    answer = engine.detect(scan, names[:12], Language.EN)
    told = {warning.params["name"] for warning in answer.warnings if warning.code == "task.absence_unlearned"}
    assert answer.not_found and told == set(answer.not_found)


def test_doubts_of_names_that_are_not_there_are_left_out(engine, scan):
    asked = engine.request(scan, "where are the kidneys?")
    answer = engine.run(scan, asked)
    doubts = tuple(Message("task.where_not_whether", name=name) for name in (answer.regions[0].label, "liver tumor"))
    assert asked.finish(replace(answer, warnings=doubts)).warnings == doubts[:1]


def test_which_side_a_finding_is_on_is_asked_of_the_finding(parse):
    asked = parse("梗死在左侧还是右侧大脑半球?", "ct", "head")
    assert asked.request == FromBoxes(Kind.SIDE, (("ischemic stroke", "缺血性脑卒中"),))


def test_a_place_that_is_a_generic_word_is_said(parse):
    assert parse("右侧基底节区有血肿吗", "ct", "head").place == "基底节区"


def test_all_unknown_words_stand_in_a_refusal(parse):
    with raises_code(UsageError, "task.unknown_name_here") as caught:
        parse("有没有出血或溃疡?", "endoscopy")
    assert caught.value.message.params["word"] == "出血、溃疡"


@pytest.mark.parametrize(("text", "side"), [("where is the stone in the left kidney?", "left"), ("左肾结石在哪里?", "left")])
def test_a_finding_is_located_on_the_side_that_is_asked_for(parse, text, side):
    assert parse(text, "ct", "abdomen").intent.side == side


def test_boxes_on_the_other_side_are_left_out_and_said(engine, scan):
    """Of the sample's kidneys the left one lies at the right of the picture."""
    answer = engine.detect(scan, ["left kidney", "right kidney"])
    there = located_on_side(answer, "left", [("left kidney", "左肾"), ("right kidney", "右肾")])
    assert [region.label for region in there.regions] == ["left kidney"]
    assert "right kidney" in there.text and "task.other_side" in codes(there)


def test_a_generic_word_stands_for_no_label_unknown_in_a_kind_beside_known_ones():
    table = json.loads(files("medrega_edge.vocabulary").joinpath("wording.json").read_text("utf-8"))
    for key, entry in table["generic"].items():
        for modality, labels in entry["labels"].items():
            known = [label for label in labels if is_known(modality, label)]
            assert known in ([], labels), (key, modality)


@pytest.mark.parametrize(("text", "is_likely"), [("melanoma or nevus?", True), ("basal cell carcinoma or nevus?", False)])
def test_a_class_beside_one_that_is_unknown_is_perhaps(parse, engine, scan, monkeypatch, text, is_likely):
    asked = parse(text, "dermoscopy")
    label_set = asked.request.labels
    sure = TaskResult("melanoma", labels=(("melanoma", 0.99),))
    monkeypatch.setattr(Classify, "run", lambda *_: sure)
    assert label_set and engine.run(scan, asked).text == ("melanoma" if is_likely else "Perhaps: melanoma.")


@pytest.mark.parametrize("is_unfamiliar", [True, False])
def test_a_class_that_no_such_image_had_is_a_guess(engine, scan, is_unfamiliar):
    context = replace(engine.context(scan, Language.EN), is_unfamiliar_name=lambda _: is_unfamiliar)
    warnings = [warning.code for warning in Classify("kidney-disease").run(context).warnings]
    assert ("task.unfamiliar_class" in warnings) is is_unfamiliar


@pytest.mark.parametrize(("name", "is_warned"), [("vertebra", True), ("liver", False)])
def test_of_what_images_show_many_there_may_be_more(engine, scan, name, is_warned):
    located = engine.detect(scan, ["liver"])
    answer = replace(located, regions=tuple(replace(region, label=name) for region in located.regions), warnings=())
    assert ("task.may_be_more" in codes(_with_more(answer, [(name, name)]))) is is_warned
    assert "task.may_be_more" not in codes(_with_more(replace(answer, regions=()), [(name, name)]))


@pytest.mark.parametrize(("guessed", "is_said"), [(3, True), (1, False)])
def test_where_most_boxes_are_best_guesses_it_says_so(engine, scan, guessed, is_said):
    (region, *_) = engine.detect(scan, ["liver"]).regions
    boxes = tuple(replace(region, confidence=0.9 if place >= guessed else 0.3) for place in range(4))
    answer = replace(engine.detect(scan, ["liver"]), regions=boxes, text="The liver is here.")
    assert ("Best guesses among the 4 boxes" in Detect(["liver"]).finish(answer).text) is is_said


def test_what_is_not_found_is_ruled_out_only_where_such_an_image_cannot_show_it(engine, scan):
    assert not_found([("liver", "肝脏")], Language.EN) == "Not found, which does not rule it out: liver."
    impossible = Message("task.impossible_name", label="息肉", modality="X光片")
    text = not_found([("polyp", "息肉"), ("liver tumor", "肝脏肿瘤")], Language.ZH, [impossible])
    assert text == "未发现：息肉。未发现（不能据此排除）：肝脏肿瘤。"
    assert not_found([], Language.EN) == ""


def test_a_class_that_val_does_not_prove_is_perhaps(engine, scan, monkeypatch):
    monkeypatch.setattr(classes, "class_from", lambda *_: 0.95)
    context = engine.context(scan, Language.EN)
    label_set = LABEL_SETS["kidney-disease"]
    decision = classes.Decision([0], 0.9, None)
    assert classes.unproven_classes(context, label_set, decision) == [label_set.labels[0][0]]
    assert not classes.is_certain(context, label_set, decision)
    assert classes.unproven_classes(context, label_set, decision._replace(probability=0.96)) == []


@pytest.mark.parametrize(
    ("text", "classes", "is_outside"),
    [
        ("Is this adenocarcinoma or normal mucosa?", ["lung squamous cell carcinoma"], True),
        ("benign or malignant?", ["malignant breast lesion"], False),
        ("是胶质瘤还是转移瘤?", ["脑膜瘤"], True),
        ("良性还是恶性", ["乳腺恶性病变"], False),
        ("is it malignant or not?", ["benign nevus"], False),
        ("what is this?", ["melanoma"], False),
    ],
)
def test_a_class_that_a_question_does_not_offer(text, classes, is_outside):
    assert is_outside_choice(text, classes) is is_outside


@pytest.mark.parametrize(
    "text",
    [
        "does this chest look ok? and outline both lungs",
        "anything wrong? also outline both lungs",
        "这张片子正常吗？顺便勾画双肺",
        "有没有问题，把双肺勾画出来",
    ],
)
def test_a_question_for_what_is_normal_is_not_dropped_beside_another(parse, text):
    request = parse(text, "xray", "chest")
    assert not request.refused
    assert isinstance(request.questions[0].request, IsNormal)
    assert [english for english, _ in request.questions[1].intent.names] == ["left lung", "right lung"]


@pytest.mark.parametrize("text", ["any pneumothorax or rib fracture?", "肋骨骨折或者气胸有吗"])
def test_the_site_of_a_finding_is_not_asked_for_beside_another_finding(parse, text):
    names = {english for english, _ in parse(text, "xray", "chest").intent.names}
    assert names == {"pneumothorax", "fracture"}


@pytest.mark.parametrize(
    ("modality", "part", "text"),
    [("ultrasound", "abdomen", "is the gallbladder distended?"), ("mri", "abdomen", "is the kidney small for an adult?")],
)
def test_that_a_structure_is_there_does_not_tell_its_state(parse, modality, part, text):
    try:
        assert isinstance(parse(text, modality, part).request, AnswerQuestion)
    except UsageError as error:
        assert error.code == "task.state_unknown"


@pytest.mark.parametrize(
    ("modality", "text", "names"),
    [
        ("endoscopy", "胃镜看到息肉了吗", {"polyp"}),  # and the stomach
        ("mri", "L4/5椎间盘在哪", {"intervertebral disc"}),  # and L4
        ("ct", "肝脏里有没有低密度灶", {"liver tumor"}),  # "perhaps: liver"
        ("ct", "左肺有肿块吗", {"lung cancer"}),  # lung mass, a name of X-ray
    ],
)
def test_names_are_those_that_were_meant(parse, modality, text, names):
    assert {english for english, _ in parse(text, modality).intent.names} >= names


def test_a_generic_word_stands_for_what_such_images_had(engine):
    book = engine._prompts

    def names(is_unfamiliar):
        asked = parse_intent(
            "any tumor?", Scene(TASKS, engine.terminology, Modality.MRI, book, True, lambda: None, is_unfamiliar)
        )
        return {english for english, _ in asked.intent.names}

    assert names(lambda english: english != "prostate cancer") == {"prostate cancer"}
    assert len(names(lambda english: True)) > 3  # none is familiar: all of them are asked for, and doubted


@pytest.mark.parametrize("text", ["what modality is this and which body part", "这是什么检查，哪个部位？"])
def test_kind_and_body_part_are_told_together(parse, text):
    assert parse(text, "ct").request.tells_kind


@pytest.mark.parametrize("text", ["which kidney is larger, right or left?", "请分割左侧肾脏并告诉我面积"])
def test_what_an_answer_tells_is_not_said_to_be_left_out(parse, text):
    assert parse(text, "mri", "abdomen").intent.also_asked == ()


@pytest.mark.parametrize("text", ["pneumonia or atelectasis?", "是肺炎还是肺不张"])
def test_a_choice_of_findings_is_answered_by_their_boxes(parse, text):
    asked = parse(text, "xray", "chest")
    assert asked.intent.kind is Kind.PRESENCE
    assert {english for english, _ in asked.request.names} == {"pneumonia", "atelectasis"}


def test_what_kind_of_lesion_it_is_offers_no_class(parse):
    assert parse("what kind of skin lesion is this", "dermoscopy").classes_unknown == ()


@pytest.mark.parametrize(
    ("modality", "part", "text", "code"),
    [
        ("xray", None, "Is tooth 36 present?", "unknown_name_here"),  # "yes, found: tooth"
        ("mri", "spine", "is there spondylolisthesis at L5/S1?", "unknown_name_here"),  # "perhaps: L5 vertebra"
        ("ultrasound", None, "这个囊肿多大？", "unknown_name_here"),  # "has not learned to tell this"
        ("dermoscopy", None, "皮損佔整張圖的多少？", "impossible"),  # width and height
    ],
)
def test_what_is_unknown_is_refused_by_its_name(parse, modality, part, text, code):
    with raises_code(UsageError, f"task.{code}"):
        parse(text, modality, part)


def test_a_cancer_is_told_by_boxes_where_no_class_tells_it(parse):
    asked = parse("is it cancer", "endoscopy")
    assert asked.intent.kind is Kind.PRESENCE
    assert "gastrointestinal cancer" in {english for english, _ in asked.intent.names}


@pytest.mark.parametrize(
    ("text", "modality", "codes"),
    [
        ("肿瘤在哪一侧？哪个脑叶？", "mri", ["task.impossible_part"]),
        ("how big is the polyp, and should I do EMR?", "endoscopy", ["task.impossible_care"]),
    ],
)
def test_a_part_that_has_no_answer_says_why(parse, text, modality, codes):
    request = parse(text, modality)
    assert len(request.questions) == 1 and [message.code for message in request.refused] == codes


def test_it_is_the_finding_of_the_part_before(parse):
    request = parse("肝里有没有占位，有的话把它框出来", "ct", "abdomen")
    assert {english for english, _ in request.questions[1].intent.names} <= {"liver tumor", "liver lesion", "liver cancer"}


def test_a_guess_on_the_other_side_is_called_one(engine, scan):
    answer = engine.detect(scan, ["left kidney"], "en")
    (region, *_) = answer.regions
    guess = replace(answer, regions=(replace(region, confidence=0.2),))
    side = next(side for side in ("left", "right") if not located_on_side(guess, side, ()).regions)
    assert "task.other_side_guess" in codes(located_on_side(guess, side, ()))


@pytest.mark.parametrize(
    ("text", "modality", "names"),
    [
        ("any pneumothorax, effusion?", "xray", {"pneumothorax", "pleural effusion"}),
        ("有无出血点、硬性渗出，有的话标出来", "fundus", {"hard exudates", "retinal hemorrhage or microaneurysm"}),
    ],
)
def test_a_generic_word_of_a_list_is_asked_for_beside_a_name(parse, text, modality, names):
    request = parse(text, modality)
    for question in request.questions if isinstance(request, Several) else (request,):
        assert {english for english, _ in question.intent.names} == names


def test_a_comparison_does_not_drop_the_question_beside_it(parse):
    request = parse("Which kidney is larger, and is the spleen enlarged?", "mri", "abdomen")
    assert len(request.questions) + len(request.refused) == 2


@pytest.mark.parametrize("text", ["What type of white blood cell is this?", "what grade is it"])
def test_classes_of_other_tissue_are_not_offered(engine, text):
    book = engine._prompts
    with raises_code(UsageError, "task.no_set"):
        parse_intent(
            text, Scene(TASKS, engine.terminology, Modality.PATHOLOGY, book, True, lambda: None, lambda english: True)
        )


def test_the_biggest_of_many_is_located(parse):
    assert parse("what is the biggest cell", "pathology").intent.kind is Kind.LOCATE  # a report


@pytest.mark.parametrize(
    ("text", "modality", "names"),
    [
        ("could you show me the left lung and say whether it looks okay", "xray", [["left lung"], ["left lung"]]),
        ("whereabouts is the liver; any tumour in it?", "ct", [["liver"], ["liver tumor"]]),
    ],
)
def test_both_halves_of_a_question_are_taken(parse, text, modality, names):
    request = parse(text, modality)
    assert [[english for english, _ in one.intent.names] for one in request.questions] == names
    assert not request.refused
