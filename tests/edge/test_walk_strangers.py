"""What strangers typed on a walk and the program misread: questions of several parts, lines of a chat, names, refusals."""

from dataclasses import replace

import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality, Task, language_of
from medrega_edge.errors import UsageError
from medrega_edge.images.samples import sample_path
from medrega_edge.prompts.intent import Intent, Kind, understand
from medrega_edge.tasks.asked import Asked
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.memory import Memory
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.several import Several
from medrega_edge.tasks.unsaid import completed

KIDNEYS = ["left kidney", "right kidney"]


@pytest.fixture(scope="module")
def image(engine):
    return engine.open(sample_path("abdomen-mri"))


@pytest.mark.parametrize(
    ("text", "intents", "labels"),
    [
        ("outline liver and spleen, and which one is bigger", ["segment", "compare"], ["liver", "spleen"]),
        ("把肝和脾勾画出来，哪个大？", ["segment", "compare"], ["肝脏", "脾脏"]),
        ("which is bigger, liver or spleen, and outline both", ["compare", "segment"], ["liver", "spleen"]),
        ("what part is this, and where is the liver?", ["body_part", "locate"], ["liver"]),
        ("这是哪个部位？肝在哪？", ["body_part", "locate"], ["肝脏"]),
        ("这是哪个部位？肝和脾哪个大？", ["body_part", "compare"], ["肝脏", "脾脏"]),
        ("what part is this? how far is the liver from the spleen?", ["body_part", "distance"], ["liver", "spleen"]),
        ("which is larger, the liver or the left kidney? and which kidney is larger?", ["compare", "compare"], None),
        ("肝和左肾分别多大，离得多远", ["measure", "distance"], ["肝脏", "左肾"]),
        ("这是什么检查？左肾离肝脏多远", ["kind_of_image", "distance"], ["左肾", "肝脏"]),
        ("is there a kidney and if so how long is it", ["presence", "measure"], KIDNEYS),
        ("有没有肝？有的话请框出来", ["presence", "locate"], ["肝脏"]),
        ("Which kidney is larger, and what's its size in cm?", ["compare", "measure"], KIDNEYS),
        (
            "locate both kidneys, tell me which is bigger and how far apart they are",
            ["locate", "compare", "distance"],
            KIDNEYS,
        ),
        ("这是什么检查？肝脏正常吗？", ["kind_of_image", "report"], []),
    ],
)
def test_every_part_of_a_question_is_answered(engine, image, text, intents, labels):
    answer = engine.ask(image, text)
    assert [part["intent"] for part in answer.facts["parts"]] == intents
    assert labels is None or [region.label for region in answer.regions] == labels
    assert not answer.warnings


def test_an_object_has_one_box_where_one_part_asks_for_its_outline(engine, image):
    answer = engine.ask(image, "how wide is the liver? outline it")
    (liver,) = answer.regions
    assert liver.mask is not None
    assert answer.facts["parts"][0]["sizes"][0]["width_mm"] == round(
        (liver.box.x2 - liver.box.x1) * answer.image.spacing_mm[0], 1
    )


def test_no_sentence_is_said_twice(engine, image):
    text = engine.ask(image, "outline the spleen, how big is it?").text
    assert text.count("Best guess, which may be wrong: spleen.") == 1


def test_a_part_is_about_what_the_part_before_found(engine, image):
    answer = engine.ask(image, "locate the liver and the heart, and how big are they?")
    assert [size["name"] for size in answer.facts["parts"][1]["sizes"]] == ["liver"]
    assert answer.text.count("heart") == 1


def test_a_text_without_one_answer_is_refused(engine, image):
    with pytest.raises(UsageError):
        engine.ask(image, "is there a lump here, how wide is it?")


def test_several_questions_have_no_common_run(engine, image):
    asked = engine.request(image, "where is the liver and how big is it?")
    assert isinstance(asked, Several)
    with pytest.raises(TypeError):
        asked.run(engine.context(image, "en"))


@pytest.mark.parametrize(
    ("lines", "kind", "names"),
    [
        (["which is bigger, the liver or the spleen", "how much bigger?"], Kind.COMPARE, ["liver", "spleen"]),
        (["which is bigger, the liver or the spleen", "by how much?"], Kind.COMPARE, ["liver", "spleen"]),
        (["box the right kidney", "now the left one", "the right one please"], Kind.LOCATE, ["right kidney"]),
        (["box the right kidney", "no, i meant the liver"], Kind.LOCATE, ["liver"]),
        (["定位右肾", "不对，我说的是肝"], Kind.LOCATE, ["liver"]),
        (["能看到哪些器官？", "第一个有多大", "第二个呢"], Kind.MEASURE, ["right kidney"]),
        (["what organs are visible?", "how big is the second one?"], Kind.MEASURE, ["right kidney"]),
        (["左肾标一下", "右边的也标一下", "它们之间距离多少"], Kind.DISTANCE, KIDNEYS),
        (["where is the left kidney", "is it on the left or right?"], Kind.SIDE, ["left kidney"]),
        (["肝在哪", "位置在左侧还是右侧"], Kind.SIDE, ["liver"]),
        (["肝在哪", "那脾呢", "它俩哪个大"], Kind.COMPARE, ["liver", "spleen"]),
        (["where is the liver", "segment it"], Kind.SEGMENT, ["liver"]),
        (["how many kidneys?", "and livers?", "how many in total"], Kind.COUNT, ["left kidney", "right kidney", "liver"]),
        (["show L4", "and the one below"], Kind.LOCATE, ["L5 vertebra"]),
        (["L3在哪里", "下一节呢", "再上一节"], Kind.LOCATE, ["L3 vertebra"]),
        (["T12在哪里", "下一节呢"], Kind.LOCATE, ["L1 vertebra"]),
        (["标出右肾", "具体在哪"], Kind.LOCATE, ["right kidney"]),
        (["能看到什么", "第一个在哪"], Kind.LOCATE, ["left kidney"]),
        (["双肾标一下", "左边那个勾个轮廓"], Kind.SEGMENT, ["left kidney"]),
        (["右肾在哪", "离肝脏多远？"], Kind.DISTANCE, ["right kidney", "liver"]),
        (["where is the right kidney", "how far from the liver?"], Kind.DISTANCE, ["right kidney", "liver"]),
        (["看到肝没", "框出来并保存"], Kind.LOCATE, ["liver"]),
    ],
)
def test_a_line_of_a_chat_goes_on_from_those_before(engine, image, lines, kind, names):
    memory = Memory()
    for line in lines:
        request = engine.next_request(image, line, memory)
        memory.remember(request, engine.run(image, request, language_of(line)))
    assert request.intent.kind is kind
    assert [english for english, _ in request.intent.names] == names


def test_what_lies_beside_something_is_refused_in_a_chat(engine, image):
    memory = Memory()
    request = engine.next_request(image, "where is L5", memory)
    memory.remember(request, engine.run(image, request))
    for line in ("the disc above it?", "它上面的椎间盘呢", "and the disc between them", "哪个更靠上"):
        with pytest.raises(UsageError) as error:
            engine.next_request(image, line, memory)
        assert error.value.code == "task.impossible_relation"


@pytest.mark.parametrize(
    ("text", "modality", "kind", "names"),
    [
        ("where r the kidneys", "mri", Kind.LOCATE, KIDNEYS),
        (
            "find the liver, pancreas and both kidneys but not the spleen",
            "ct",
            Kind.LOCATE,
            ["liver", "pancreas", *KIDNEYS],
        ),
        (
            "Is the blood intraventricular, subdural or epidural?",
            "ct",
            Kind.PRESENCE,
            ["intraventricular hemorrhage", "subdural hematoma", "epidural hematoma"],
        ),
        ("从上到下把椎间盘标出来", "mri", Kind.LOCATE, ["intervertebral disc"]),
        ("is the liver on the left or right hand side of the picture", "ct", Kind.SIDE, ["liver"]),
        (
            "list every line and tube you can see",
            "xray",
            Kind.LOCATE,
            ["endotracheal tube", "nasogastric tube", "central venous line"],
        ),
        ("左肺和右肺的面积分别是多少", "xray", Kind.MEASURE, ["left lung", "right lung"]),
        ("thanks, you're brilliant!", "ct", Kind.HELP, []),
        ("脾大吗", "ct", Kind.ANSWER, ["spleen"]),
        ("which hemisphere is the oedema in?", "mri", Kind.SIDE, ["brain edema"]),
        ("白质病灶有多少处？", "mri", Kind.COUNT, ["multiple sclerosis lesion"]),
        ("急性脑梗死的核心区在哪", "ct", Kind.LOCATE, ["ischemic stroke core"]),
        ("水肿区和增强区哪个更大", "mri", Kind.COMPARE, ["brain edema", "brain enhancing tumor"]),
        ("哪边肾有结石", "ct", Kind.SIDE, ["kidney stone"]),
        ("渗出多吗？", "fundus", Kind.COUNT, ["hard exudates"]),
        ("Are the kidneys enhancing symmetrically?", "ct", Kind.ANSWER, KIDNEYS),
        ("What is the diagnosis?", "mri", Kind.REPORT, []),
        ("What is the biggest organ shown?", "ct", Kind.ANSWER, []),
        ("请说出图中最大的器官", "ct", Kind.ANSWER, []),
        (
            "How large is the oedema compared with the enhancing tumour?",
            "mri",
            Kind.COMPARE,
            ["brain enhancing tumor", "brain edema"],
        ),
        ("把强化的肿瘤和周围水肿勾出来", "mri", Kind.LOCATE, ["brain enhancing tumor", "brain edema"]),
        ("这是几腔心切面", "ultrasound", Kind.CLASSIFY, ["heart"]),
        (
            "how far are the haemorrhages from the disc?",
            "fundus",
            Kind.DISTANCE,
            ["retinal hemorrhage or microaneurysm", "optic disc"],
        ),
    ],
)
def test_words_of_strangers_are_understood(engine, text, modality, kind, names):
    found = understand(text, engine.terminology, Modality(modality))
    assert (found.kind, [english for english, _ in found.names]) == (kind, names)


@pytest.mark.parametrize("text", ["标出左边的磨牙", "左侧有几颗磨牙", "mark the molars on the left"])
def test_a_side_of_many_is_heard(engine, text):
    assert understand(text, engine.terminology, Modality.XRAY).side == "left"


@pytest.mark.parametrize(
    ("text", "modality", "code"),
    [
        ("is the pancreas left or right of the liver?", "ct", "task.impossible_relation"),
        ("Is there anything in the lower right corner?", "endoscopy", "task.impossible_relation"),
        ("how thick is the myocardium?", "mri", "task.impossible_outline"),
        ("心肌有多厚？", "mri", "task.impossible_outline"),
        ("Should this polyp be removed?", "endoscopy", "task.impossible_care"),
        ("What grade is this glioma?", "mri", "task.impossible_score"),
        ("食道在脊髓的前面还是后面", "ct", "task.impossible_relation"),
        ("胃和脾，哪个在片子的左边？", "ct", "task.impossible_relation"),
        ("肝占了整个图的百分之多少", "ct", "task.impossible_outline"),
        ("OD or OS?", "fundus", "task.which_of_pair"),
        ("息肉需要切除吗", "endoscopy", "task.impossible_care"),
        ("有没有血小板聚集？", "pathology", "task.state_unknown"),
        ("出血量大约多少毫升？", "ct", "task.impossible_outline"),
        ("How many Hounsfield units is the liver?", "ct", "task.impossible_score"),
        ("Which metacarpal is fractured?", "xray", "task.impossible_part"),
        ("how far apart are they?", "ct", "task.two_names"),
    ],
)
def test_what_boxes_do_not_tell_is_refused_with_its_reason(engine, text, modality, code):
    with pytest.raises(UsageError) as error:
        parse_intent(text, Scene(list(Task), engine.terminology, Modality(modality)))
    assert error.value.code == code


@pytest.mark.parametrize("text", ["WBC跟RBC哪个多", "fewer platelets than red cells?"])
def test_which_are_more_is_answered_by_both_numbers(engine, text):
    request = parse_intent(text, Scene(list(Task), engine.terminology, Modality.PATHOLOGY)).request
    assert isinstance(request, FromBoxes)
    assert request.kind is Kind.COUNT


@pytest.mark.parametrize("text", ["肺部有没有异常", "any abnormality in the lungs?"])
def test_something_abnormal_without_a_label_is_sought_among_all_findings(engine, text):
    request = parse_intent(text, Scene(list(Task), engine.terminology, Modality.XRAY)).request
    assert isinstance(request, IsNormal)
    assert [english for english, _ in request.structures] == ["left lung", "right lung"]


@pytest.mark.parametrize(
    ("text", "modality", "code"),
    [("胰头和胰尾在哪里", "ct", "task.place_left_out"), ("头围多少", "ultrasound", "task.measure_left_out")],
)
def test_what_the_answer_leaves_out_is_said(engine, image, text, modality, code):
    asked = parse_intent(text, Scene(list(Task), engine.terminology, Modality(modality)))
    assert code in [warning.code for warning in engine.run(image, asked).warnings]


@pytest.mark.parametrize("text", ["hello", "thanks!", "你好", "谢谢"])
def test_an_answer_to_a_greeting_is_no_error(medrega, text):
    ended = medrega("ask", "--sample", "abdomen-mri", text)
    assert ended.code == 2
    assert not ended.err.startswith(("error", "错误"))


def test_names_are_offered_that_images_like_this_one_had(engine):
    scene = Scene(list(Task), engine.terminology, Modality.MRI, is_unfamiliar=lambda english: "vertebra" not in english)
    with pytest.raises(UsageError) as error:
        parse_intent("is there a disc herniation", scene)
    assert all("vertebra" in name for name in error.value.message.params["offered"])


def test_a_name_of_the_field_is_not_dropped_beside_a_known_one(engine):
    asked = parse_intent("where are the bladder and the rectum?", Scene(list(Task), engine.terminology, Modality.CT))
    assert asked.intent.unknown == ("rectum",)


def test_names_of_both_halves_are_counted(engine):
    asked = parse_intent("how many discs, and how many vertebrae?", Scene(list(Task), engine.terminology, Modality.MRI))
    assert [question.intent.names[0][0] for question in asked.questions] == ["intervertebral disc", "vertebra"]


@pytest.mark.parametrize("text", ["where is the liver, and how sure are you?", "肝在哪，有多大把握？"])
def test_how_sure_it_is_every_answer_says(engine, image, text):
    answer = engine.ask(image, text)
    assert (answer.intent, len(answer.regions)) == (Kind.LOCATE, 1)


def test_a_distance_to_a_generic_word_is_that_to_its_most_certain_box(engine, image):
    located = engine.ask(image, "locate the liver, the left kidney and the right kidney")
    shown = {"liver": "aorta", "left kidney": "kidney tumor", "right kidney": "liver tumor"}
    located = replace(located, regions=tuple(replace(region, label=shown[region.label]) for region in located.regions))
    names = tuple(name for name in engine.terminology.labels if name[0] in shown.values())
    intent = Intent(Kind.DISTANCE, names, generic=("tumor",))
    answer = Asked("how far is the tumor from the aorta?", intent, FromBoxes(Kind.DISTANCE, names)).finish(located)
    assert {region.label for region in answer.regions} == {"aorta", "liver tumor"}  # 0.98, and the other has 0.91


@pytest.mark.parametrize("name", ["red rectangle", "liver"])
def test_letters_for_coordinates_are_no_box(engine, image, name):
    text = f"Where is the {name}? Answer with its bounding box as [x1, y1, x2, y2] only."
    if name == "liver":
        assert engine.ask(image, text).intent == Kind.LOCATE
    else:
        with pytest.raises(UsageError):
            engine.ask(image, text)


def test_a_film_of_one_breast_has_no_other_side(engine, image):
    asked = parse_intent("右乳有没有肿块", Scene(list(Task), engine.terminology, Modality.MAMMOGRAPHY))
    assert asked.intent.side is None
    assert [note.code for note in asked.notes] == ["task.which_of_pair"]


def test_what_it_most_likely_is_asks_for_the_class(engine):
    scene = Scene(list(Task), engine.terminology, Modality.MRI, engine._prompts, True, lambda: "head")
    for text in ("Where is the mass and what is it most likely?", "肿瘤多大，考虑什么类型？"):
        assert [question.intent.kind for question in parse_intent(text, scene).questions][1] is Kind.CLASSIFY


def test_the_largest_of_several_boxes_is_told(engine, image):
    asked = parse_intent("which gland is largest?", Scene(list(Task), engine.terminology, Modality.PATHOLOGY))
    answer = engine.ask(image, "locate the liver")
    small = replace(answer.regions[0], label="gland", box=PixelBox(10, 10, 20, 20))
    large = replace(small, box=PixelBox(30, 30, 60, 70))
    told = asked.finish(replace(answer, regions=(small, large)))
    assert told.text.endswith("The largest of 2 boxes of gland: 30, 30, 60, 70.")
    assert [region.box for region in told.regions] == [large.box]


def test_a_guess_is_not_told_twice(engine, image):
    text = engine.ask(image, "is there a spleen, and where is it?").text
    assert text == "Perhaps: spleen."


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("小肠跟结肠分别标出来，别标胃", ["small bowel", "colon"]),
        ("胃不用标，标小肠", ["small bowel"]),
        ("标肝脏，不要标脾脏", ["liver"]),
        ("mark the liver, don't mark the spleen", ["liver"]),
    ],
)
def test_what_is_left_out_is_not_marked(engine, text, names):
    asked = parse_intent(text, Scene(list(Task), engine.terminology, Modality.CT))
    assert [english for english, _ in asked.intent.names] == names


@pytest.mark.parametrize(
    ("text", "modality", "kind"),
    [
        ("is this mole asymmetric?", Modality.DERMOSCOPY, Kind.ANSWER),
        ("胸大肌拍全了吗", Modality.MAMMOGRAPHY, Kind.ANSWER),
        ("片子里有哪些管子", Modality.XRAY, Kind.LOCATE),
        ("what's the cup to disc ratio?", Modality.FUNDUS, Kind.COMPARE),
    ],
)
def test_a_question_is_not_taken_for_one_about_presence_or_organs(engine, text, modality, kind):
    assert parse_intent(text, Scene(list(Task), engine.terminology, modality)).intent.kind is kind


@pytest.mark.parametrize("text", ["should I remove this polyp?", "does this polyp need to be removed?"])
def test_what_to_do_no_image_tells(engine, text):
    with pytest.raises(UsageError) as error:
        parse_intent(text, Scene(list(Task), engine.terminology, Modality.ULTRASOUND))
    assert error.value.code == "task.impossible_care"


def test_an_unfamiliar_name_of_a_comparison_stays(engine):
    scene = Scene(list(Task), engine.terminology, Modality.FUNDUS, is_unfamiliar=lambda english: english == "optic cup")
    names = parse_intent("what's the cup to disc ratio?", scene).intent.names
    assert {english for english, _ in names} == {"optic cup", "optic disc"}


def test_a_word_of_a_chat_does_not_mean_the_name_before(engine, image):
    last = Asked("where is the liver", Intent(Kind.LOCATE, ()), Detect(["hard exudates"]))
    assert completed("and the haemorrhages", last, engine.terminology) == "and the haemorrhages"


def test_what_is_not_stated_says_how_it_was_understood(engine, image):
    request = engine.request(image, "where is the liver and how big is it?")
    answer = engine.run(image, request, min_confidence=0.999)
    assert [part["intent"] for part in answer.facts["parts"]] == ["locate", "measure"]
    assert answer.reading == "locate: liver + measure: liver"


@pytest.mark.parametrize(
    ("first", "second", "intents"),
    [
        ("where is the right kidney", "which side is it on, and how far from the liver?", ["side", "distance"]),
        ("右肾在哪", "在哪一侧，离肝脏多远", ["side", "distance"]),
        ("where is the liver", "how big is it? outline it", ["measure", "segment"]),
    ],
)
def test_a_line_of_a_chat_may_ask_several_questions(engine, image, first, second, intents):
    memory = Memory()
    request = engine.next_request(image, first, memory)
    memory.remember(request, engine.run(image, request, language_of(first)))
    request = engine.next_request(image, second, memory)
    answer = engine.run(image, request, language_of(second))
    assert [part["intent"] for part in answer.facts["parts"]] == intents


def test_findings_of_the_structure_are_offered_first(engine):
    with pytest.raises(UsageError) as error:
        parse_intent("are there any liver calcifications?", Scene(list(Task), engine.terminology, Modality.CT))
    assert {"liver cancer", "liver tumor"} <= set(error.value.message.params["offered"][:4])


@pytest.mark.parametrize(
    ("text", "modality", "kind", "label"),
    [
        ("is the ovarian mass a simple cyst?", Modality.ULTRASOUND, "cyst", "ovarian tumor"),
        ("is the kidney tumor a cyst?", Modality.CT, "cyst", "kidney tumor"),
        ("are there any liver mets?", Modality.CT, "mets", "liver tumor"),
        ("肝转移瘤有吗", Modality.CT, "转移", "肝脏肿瘤"),
    ],
)
def test_a_kind_of_mass_gets_no_yes(engine, text, modality, kind, label):
    asked = parse_intent(text, Scene(list(Task), engine.terminology, modality))
    assert asked.kind_word == (kind, label)
    assert not asked.request.says_yes
