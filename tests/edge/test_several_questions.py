"""Texts that ask several questions: every part is answered, or it is said which has no answer."""

from dataclasses import replace

import pytest

from medrega_edge.answer import Label
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.prompts.intent.parts import parts
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.organs import VisibleOrgans
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.several import Several

TASKS = list(Task)


@pytest.mark.parametrize(
    ("text", "kinds", "names"),
    [
        ("Locate the liver and tell me if there is a lesion in it", ["locate", "presence"], ["liver", "liver tumor"]),
        ("找出肝脏并告诉我里面有没有病变", ["locate", "presence"], ["liver", "liver tumor"]),
        ("where is the spleen? how many kidneys are there?", ["locate", "count"], ["spleen", "left kidney", "right kidney"]),
        ("locate the liver, spleen and measure the left kidney", ["locate", "measure"], ["liver", "spleen", "left kidney"]),
        ("where is the liver and how big is it?", ["locate", "measure"], ["liver", "liver"]),
        ("找到肝脏，并测量它", ["locate", "measure"], ["liver", "liver"]),
        ("show me where the liver sits, and is the spleen in there too?", ["locate", "presence"], ["liver", "spleen"]),
        ("肝在哪，脾也在里面吗", ["locate", "presence"], ["liver", "spleen"]),
        ("is the spleen normal? label the liver", ["report", "locate"], ["spleen", "liver"]),
        ("肾有几个？最大的在哪", ["count", "locate"], ["left kidney", "right kidney"] * 2),
    ],
)
def test_each_part_gets_its_own_request(terminology, text, kinds, names):
    request = parse_intent(text, Scene(TASKS, terminology, Modality.CT))
    assert isinstance(request, Several)
    assert [question.intent.kind for question in request.questions] == [Kind(kind) for kind in kinds]
    assert [name[0] for question in request.questions for name in question.intent.names] == names


@pytest.mark.parametrize(
    "text",
    [
        "locate the liver and the spleen",
        "is there a liver? is there a spleen?",
        "fell off a bike, any fracture?",
        "compare the left kidney and the right kidney",
        "肝脏和脾脏在哪里",
        "how far is the liver from the spleen?",
        "write a report and mark the findings",
    ],
)
def test_one_question_stays_one(terminology, text):
    assert parts(text, terminology, Modality.MRI) == []


def test_a_part_points_back_to_a_generic_word(terminology):
    request = parse_intent("ring the tumour, and which side is it on?", Scene(TASKS, terminology, Modality.MRI))
    assert isinstance(request, Several)
    assert not request.refused
    assert [question.intent.kind for question in request.questions] == [Kind.LOCATE, Kind.SIDE]
    assert request.questions[0].intent.names == request.questions[1].intent.names


def test_a_part_without_an_answer_is_said(terminology):
    request = parse_intent("is there a cyst in the liver, and where is the spleen?", Scene(TASKS, terminology, Modality.MRI))
    assert isinstance(request, Several)
    assert [name[0] for question in request.questions for name in question.intent.names] == ["spleen"]
    assert [message.code for message in request.refused] == ["task.unknown_name_here"]


@pytest.mark.parametrize("text", ["save the liver to a file", "delete the left kidney", "保存肝脏的结果", "删除左肾"])
def test_a_command_to_the_program_gets_no_box(terminology, text):
    with pytest.raises(UsageError) as error:
        parse_intent(text, Scene(TASKS, terminology, Modality.MRI))
    assert error.value.code == "task.help"


@pytest.mark.parametrize(
    "text",
    ["is there a lesion in the left part of the picture?", "any nodule in the upper left of the image?"],
)
def test_a_part_of_the_picture_is_no_place_to_look_in(terminology, text):
    with pytest.raises(UsageError) as error:
        parse_intent(text, Scene(TASKS, terminology, Modality.MRI))
    assert error.value.code == "task.impossible_relation"


@pytest.mark.parametrize("text", ["which kidney is affected?", "which lung has the problem?", "哪个肾有问题？"])
def test_which_is_ill_is_a_question_for_findings(terminology, text):
    assert parse_intent(text, Scene(TASKS, terminology, Modality.XRAY)).task is Task.REPORT


@pytest.mark.parametrize("text", ["超过两个息肉吗", "息肉超过两个吗"])
def test_two_is_heard_as_a_number(terminology, text):
    assert parse_intent(text, Scene(TASKS, terminology, Modality.ENDOSCOPY)).intent.kind is Kind.COUNT


def test_the_answer_holds_the_regions_and_words_of_all_parts(engine):
    from medrega_edge.images.samples import sample_path

    image = engine.open(sample_path("abdomen-mri"))
    answer = engine.run(image, engine.request(image, "where is the liver and how big is it?"))
    assert [region.label for region in answer.regions] == ["liver"]
    assert answer.text.startswith("The liver is here. Liver: ")
    assert [part["intent"] for part in answer.facts["parts"]] == ["locate", "measure"]
    assert answer.facts["parts"][1]["sizes"][0]["name"] == "liver"
    located = engine.run(image, engine.request(image, "locate the liver"))
    assert [region.box for region in answer.regions] == [region.box for region in located.regions]


@pytest.mark.parametrize(
    ("text", "excluded"),
    [
        ("locate the organs other than the liver", ("liver",)),
        ("everything but the kidneys", ("left kidney", "right kidney")),
        ("all organs except the liver", ("liver",)),
        ("除了肝脏以外的器官", ("liver",)),
        ("which organs are visible?", ()),
    ],
)
def test_what_is_left_out_of_all_organs_stays_out(terminology, text, excluded):
    assert parse_intent(text, Scene(TASKS, terminology, Modality.CT)).request == VisibleOrgans(excluded)


@pytest.mark.parametrize(
    ("text", "modality", "code"),
    [
        ("which organs can't be seen here?", Modality.CT, "task.impossible"),
        ("is the tumor in the cerebellum?", Modality.MRI, "task.impossible_relation"),
        ("is it in the frontal lobe?", Modality.MRI, "task.impossible_relation"),
        ("which lobe is the nodule in?", Modality.CT, "task.impossible_part"),
        ("which vertebra is fractured", Modality.CT, "task.impossible_part"),
        ("which is closer to the aorta, the left or the right kidney", Modality.CT, "task.impossible_relation"),
        ("what is between the liver and the spleen", Modality.CT, "task.impossible_relation"),
        ("how many teeth are missing", Modality.XRAY, "task.impossible"),
        ("缺牙吗", Modality.XRAY, "task.impossible"),
        ("is there a myocardial infarction?", Modality.MRI, "task.unknown_name_here"),
    ],
)
def test_what_boxes_do_not_tell_is_refused(terminology, text, modality, code):
    with pytest.raises(UsageError) as error:
        parse_intent(text, Scene(TASKS, terminology, modality))
    assert error.value.code == code


@pytest.mark.parametrize(
    ("text", "modality", "place"),
    [
        ("number of teeth in the upper jaw", Modality.XRAY, "upper jaw"),
        ("any nodule in the right upper lobe?", Modality.XRAY, "upper lobe"),
        ("any rib fracture?", Modality.XRAY, "left ribs, right ribs"),
        ("肋骨骨折有没有", Modality.XRAY, "左侧肋骨、右侧肋骨"),
        ("where is the left upper lobe of the lung?", Modality.CT, ""),
        ("is there a fracture?", Modality.XRAY, ""),
    ],
)
def test_a_place_that_the_answer_does_not_regard_is_said(terminology, text, modality, place):
    assert parse_intent(text, Scene(TASKS, terminology, modality)).place == place


@pytest.mark.parametrize("text", ["is the lesion bigger than 2 cm?", "病灶大于2厘米吗"])
def test_a_length_asks_for_a_measure(terminology, text):
    assert parse_intent(text, Scene(TASKS, terminology, Modality.ULTRASOUND)).intent.kind is Kind.MEASURE


@pytest.mark.parametrize(
    ("text", "modality", "kind"),
    [
        ("肝比脾大多少？", Modality.CT, Kind.COMPARE),
        ("肝比脾大很多吗", Modality.CT, Kind.COMPARE),
        ("what is the ratio of cup to disc?", Modality.FUNDUS, Kind.COMPARE),
        ("杯盘比是多少", Modality.FUNDUS, Kind.COMPARE),
        ("息肉有多少了", Modality.ENDOSCOPY, Kind.COUNT),
        ("白细胞比红细胞多吗", Modality.PATHOLOGY, Kind.COUNT),
        ("which organs are visible? I am not sure", Modality.CT, Kind.ORGANS),
    ],
)
def test_no_more_is_refused_than_boxes_cannot_tell(terminology, text, modality, kind):
    assert parse_intent(text, Scene(TASKS, terminology, modality)).intent.kind is kind


def test_what_a_part_leaves_out_is_said(engine, scan):
    """The side of a finding leaves boxes out in `finish`, with a warning."""
    asked = engine.request(scan, "where is the liver and is there a breast lesion on the left?")
    assert isinstance(asked, Several)
    located = engine.run(scan, engine.request(scan, "where is the liver?"))
    stone = replace(located.regions[0], label="breast lesion", box=PixelBox(120, 190, 180, 240))
    answer = asked.questions[1].finish(replace(located, regions=(stone,)))
    assert answer.regions == ()
    assert any("breast lesion" in str(warning) for warning in answer.warnings)


@pytest.mark.parametrize("text", ["侧脑室扩不扩", "椎管狭不狭窄"])
def test_a_word_and_its_denial_ask_what_a_structure_is_like(terminology, text):
    assert parse_intent(text, Scene(TASKS, terminology, Modality.MRI)).intent.kind is Kind.ANSWER


@pytest.mark.parametrize(("probability", "shown"), [(0.79, "Perhaps: melanoma."), (0.81, "melanoma")])
def test_a_class_that_is_hardly_likely_is_perhaps(terminology, engine, scan, probability, shown):
    asked = parse_intent("is it melanoma or a nevus?", Scene(TASKS, terminology, Modality.DERMOSCOPY))
    answer = engine.run(scan, engine.request(scan, "where is the liver?"))
    classified = replace(answer, task=Task.CLASSIFY, text="melanoma", labels=(Label("melanoma", probability),), regions=())
    assert asked.finish(classified).text == shown


@pytest.mark.parametrize(
    ("text", "modality", "names"),
    [
        ("心影大不大？两肺在哪", Modality.XRAY, [["cardiomegaly"], ["left lung", "right lung"]]),
        ("手部侧位片，有骨折吗？心脏在哪", Modality.XRAY, [["fracture"], ["heart"]]),
    ],
)
def test_no_part_is_dropped_for_its_form(terminology, text, modality, names):
    request = parse_intent(text, Scene(TASKS, terminology, modality))
    assert [[name[0] for name in question.intent.names] for question in request.questions] == names


def test_two_classes_of_two_sets_are_two_questions(terminology):
    request = parse_intent("DR or macular oedema?", Scene(TASKS, terminology, Modality.FUNDUS))
    assert [question.request.labels for question in request.questions] == ["retinopathy", "macular-edema"]


def test_a_class_of_the_image_is_not_one_of_the_part_before(terminology):
    request = parse_intent("where is the disc? is it glaucoma?", Scene(TASKS, terminology, Modality.FUNDUS))
    assert "'glaucoma'" in str(request.refused[0])


def test_that_something_is_missing_is_refused(terminology):
    with pytest.raises(UsageError) as error:
        parse_intent("is anything missing?", Scene(TASKS, terminology, Modality.MRI))
    assert error.value.code == "task.impossible"


@pytest.mark.parametrize("text", ["心大吗？肺呢？", "is the heart enlarged? and the lungs?"])
def test_structures_after_a_finding_are_asked_for_on_their_own(terminology, text):
    request = parse_intent(text, Scene(TASKS, terminology, Modality.XRAY))
    said = [[name[0] for name in question.intent.names] for question in request.questions]
    assert said == [["cardiomegaly"], ["left lung", "right lung"]]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("Mark the heart. PA or AP?", ["pa or ap"]),
        ("Where is the heart? Same for the aorta.", ["same for the aorta"]),
        ("Locate the heart and the aorta, which one is on the left?", ["which one is on the left"]),
        ("Pneumonia? Effusion? Lungs?", ["lungs"]),
        ("Show the lungs. Any pneumothorax? PA or AP?", ["pa or ap"]),
        ("The spleen is large, my doctor says. Where is the liver?", []),
        ("my GP said my heart might be enlarged. where is the heart?", []),
    ],
)
def test_a_clause_that_the_answer_does_not_regard_is_said(terminology, text, left):
    request = parse_intent(text, Scene(TASKS, terminology, Modality.XRAY))
    asked = request.questions if isinstance(request, Several) else [request]
    notes = [note for question in asked for note in question.notes if note.code == "task.question_left_out"]
    assert [note.params["question"] for note in notes] == left


def test_a_finding_of_another_question_does_not_refuse_the_first(terminology):
    request = parse_intent("any platelets? malaria?", Scene(TASKS, terminology, Modality.PATHOLOGY))
    assert [name[0] for name in request.intent.names] == ["platelet"] and request.intent.unknown == ("malaria",)


@pytest.mark.parametrize(
    ("text", "unknown"),
    [
        ("is there a splenic laceration?", "spleen laceration"),
        ("accessory spleen?", "accessory spleen"),
        ("liver transplant?", "liver transplant"),
        ("Is there fat stranding around the pancreas?", "stranding around the pancreas"),
        ("有没有马蹄肾", "马蹄肾"),
        ("肝里有没有虫子", "肝脏虫子"),
    ],
)
def test_an_unknown_word_beside_a_structure_is_no_question_for_the_structure(terminology, text, unknown):
    with pytest.raises(UsageError) as error:
        parse_intent(text, Scene(TASKS, terminology, Modality.CT))
    assert unknown in str(error.value)


@pytest.mark.parametrize("text", ["别标肝脏", "don't show the liver", "请不要定位肝脏"])
def test_what_is_only_left_out_is_not_located(terminology, text):
    with pytest.raises(UsageError) as error:
        parse_intent(text, Scene(TASKS, terminology, Modality.CT))
    assert error.value.code == "task.only_left_out"


@pytest.mark.parametrize(
    ("text", "names"), [("不看肝，看脾", ["spleen"]), ("neither the spleen nor the liver but the aorta", ["aorta"])]
)
def test_names_that_are_left_out_are_not_located(terminology, text, names):
    request = parse_intent(text, Scene(TASKS, terminology, Modality.CT))
    assert [name[0] for name in request.intent.names] == names


def test_a_box_in_a_question_is_what_it_is_about(terminology):
    request = parse_intent("Is it the liver at [217, 89, 248, 175]?", Scene(TASKS, terminology, Modality.CT))
    assert request.intent.kind is Kind.IDENTIFY and request.request.box == PixelBox(217, 89, 248, 175)


@pytest.mark.parametrize("text", ["有没有异常", "any lesion?", "is there any abnormality?"])
def test_whatever_is_not_as_usual_is_what_a_report_would_say(terminology, text):
    assert parse_intent(text, Scene(TASKS, terminology, Modality.CT)).task is Task.REPORT


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("Is there any structure medial to the spleen?", "task.impossible_relation"),
        ("which organs touch the liver?", "task.impossible_relation"),
        ("which organs are enlarged?", "task.impossible"),
        ("Where should I biopsy the liver?", "task.impossible_care"),
        ("从哪里穿刺肝脏", "task.impossible_care"),
    ],
)
def test_what_no_box_tells_about_a_structure_is_refused(terminology, text, code):
    with pytest.raises(UsageError) as error:
        parse_intent(text, Scene(TASKS, terminology, Modality.CT))
    assert error.value.code == code


@pytest.mark.parametrize(("text", "place"), [("Locate the left lobe of the liver", "left lobe"), ("肝右叶在哪", "右叶")])
def test_a_lobe_that_no_label_has_is_said(terminology, text, place):
    assert parse_intent(text, Scene(TASKS, terminology, Modality.CT)).place == place


@pytest.mark.parametrize(
    ("text", "modality", "questions"),
    [
        (
            "Good evening. Point out both kidneys. Is the liver bigger than the spleen?",
            Modality.CT,
            ["good evening, point out both kidneys", "is the liver bigger than the spleen"],
        ),
        (
            "图里有没有息肉？有的话圈出来，再量一下多大。有没有穿孔",
            Modality.ENDOSCOPY,
            ["图里有没有息肉", "息肉圈出来", "息肉再量一下多大", "有没有穿孔"],
        ),
    ],
)
def test_a_greeting_and_an_unknown_finding_join_no_other_part(terminology, text, modality, questions):
    assert parts(text, terminology, modality) == questions
