"""Words, names and clauses of a question that its answer does not regard are refused or said, in both languages."""

import pytest

from medrega_edge.domain import Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import understand
from medrega_edge.prompts.intent.kinds import Kind
from medrega_edge.prompts.intent.parts import parts
from medrega_edge.tasks import classes
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.intent import parse_intent
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.several import Several
from medrega_edge.vocabulary.label_sets import LABEL_SETS


@pytest.mark.parametrize(
    ("text", "modality", "word"),
    [
        ("Is it an open fracture?", Modality.XRAY, "open"),
        ("any tension pneumothorax?", Modality.XRAY, "tension"),
        ("Any second lesion?", Modality.ULTRASOUND, "second"),
        ("left MCA infarct?", Modality.CT, "mca"),
        ("有没有青枝骨折", Modality.XRAY, "青枝"),
        ("急性脑梗死吗", Modality.CT, "急性"),
    ],
)
def test_a_word_that_narrows_a_finding_gets_no_yes(parse, text, modality, word):
    asked = parse(text, modality)
    assert isinstance(asked.request, FromBoxes) and not asked.request.says_yes and asked.kind_word[0] == word


@pytest.mark.parametrize(
    "text",
    [
        "is there a polyp in this picture?",
        "any polyps seen here?",
        "do you see one polyp?",
        "图里有没有息肉",
        "能看到一个息肉吗",
    ],
)
def test_words_that_stand_beside_any_name_narrow_nothing(parse, text):
    asked = parse(text, Modality.ENDOSCOPY)
    assert asked.intent.narrowing == () and asked.kind_word is None and not asked.notes


def test_a_narrowed_name_that_is_located_says_what_is_left_out(parse):
    asked = parse("outline the hypoechoic breast lesion", Modality.ULTRASOUND)
    assert [note.params["words"] for note in asked.notes if note.code == "task.words_left_out"] == [("hypoechoic",)]


def test_what_follows_a_structure_may_be_another_thing(parse):
    with pytest.raises(UsageError) as raised:
        parse("Is there liver failure or brain death?", Modality.CT)
    assert raised.value.code.startswith("task.unknown_name") or raised.value.code == "task.impossible_future"


@pytest.mark.parametrize(
    ("text", "modality", "left"),
    [
        ("Is there posterior shadowing? Mark the mass.", Modality.ULTRASOUND, None),
        ("Is there papilloedema? Where's the disc?", Modality.FUNDUS, None),
        ("Name the second layer and show the fluid", Modality.OCT, ["name the second layer"]),
        ("Is the optic disc cupped? Where is the disc?", Modality.FUNDUS, None),
        ("Where is the heart? I would love to know, dear.", Modality.XRAY, []),
        ("liver vs spleen, who's bigger", Modality.CT, []),
        ("aorta vs IVC, which is wider?", Modality.CT, []),
        ("食管气管挨得近不近，相距多少", Modality.CT, []),
        ("石头多大，能自己排吗", Modality.CT, None),
    ],
)
def test_a_clause_without_a_name_is_answered_or_said(parse, text, modality, left):
    asked = parse(text, modality)
    if left is None:
        assert isinstance(asked, Several) or any(note.code == "task.question_left_out" for note in asked.notes)
    else:
        assert [note.params["question"] for note in asked.notes if note.code == "task.question_left_out"] == left


@pytest.mark.parametrize(
    ("text", "modality", "unknown"),
    [
        ("Is there oedema or bleeding?", Modality.MRI, ("bleeding",)),
        ("Any haemorrhage in the tumor?", Modality.MRI, ("hemorrhage",)),
        ("Is there oedema or bleeding?", Modality.CT, ()),
    ],
)
def test_a_finding_that_such_images_never_show_is_not_dropped(terminology, text, modality, unknown):
    assert tuple(word for word in understand(text, terminology, modality).unknown if word in unknown) == unknown


@pytest.mark.parametrize(
    ("text", "names"),
    [
        ("1.有无气胸2.有无积液3.有无肺炎", {"pneumothorax", "pleural effusion", "pneumonia"}),
        ("a.气胸 b.积液 c.肺炎 有没有", {"pneumothorax", "pleural effusion", "pneumonia"}),
        ("1) pneumothorax? 2) effusion?", {"pneumothorax", "pleural effusion"}),
    ],
)
def test_each_of_a_list_is_asked_for(terminology, text, names):
    assert {name[0] for name in understand(text, terminology, Modality.XRAY).names} == names


@pytest.mark.parametrize(
    ("text", "modality", "questions"),
    [
        ("左肺有没有肺炎，右肺呢", Modality.XRAY, ["左肺有没有肺炎", "右肺有没有肺炎？"]),
        ("左肺有没有肺炎？右肺有没有肺炎？", Modality.XRAY, ["左肺有没有肺炎", "右肺有没有肺炎"]),
        ("Are both lungs clear? Where's the right one?", Modality.XRAY, ["are both lungs clear", "where's the right lung"]),
        ("polyp size, number, location", Modality.ENDOSCOPY, ["polyp size", "number: the polyp", "location: the polyp"]),
        ("肝脏在哪里/脾脏多大/图像类型", Modality.CT, ["肝脏在哪里", "脾脏多大", "图像类型"]),
        ("肝脏在哪？颜色是什么？", Modality.CT, ["肝脏在哪", "颜色是什么"]),
        ("肝脏在哪 左肾多大 有没有结石", Modality.CT, ["肝脏在哪", "左肾多大", "有没有结石"]),
        ("数一数病灶有多少个，然后圈最大的那个", Modality.MRI, ["数一数病灶有多少个", "病灶圈最大的那个"]),
    ],
)
def test_parts_that_go_on_are_questions_of_their_own(terminology, text, modality, questions):
    assert parts(text, terminology, modality) == questions


@pytest.mark.parametrize(
    ("text", "modality", "kind", "reason"),
    [
        ("What lobe is the lesion in", Modality.MRI, Kind.IMPOSSIBLE, "part"),
        ("does the tumor extend into the ventricles", Modality.MRI, Kind.IMPOSSIBLE, "relation"),
        ("has the haemorrhage extended into the ventricles?", Modality.CT, Kind.PRESENCE, None),
        ("肺的问题在心脏的哪一边", Modality.XRAY, Kind.IMPOSSIBLE, "relation"),
        ("which side of the brain is the stroke on", Modality.CT, Kind.SIDE, None),
        ("肺不张需要插管吗", Modality.XRAY, Kind.IMPOSSIBLE, "care"),
        ("左肺和右肺哪个更健康？", Modality.XRAY, Kind.REPORT, None),
        ("这张片子质量怎么样？", Modality.XRAY, Kind.ANSWER, None),
        ("乳腺癌的概率", Modality.ULTRASOUND, Kind.PRESENCE, None),
        ("肺是不是烂了", Modality.XRAY, Kind.ANSWER, None),
        ("心脏是不是变大了", Modality.XRAY, Kind.PRESENCE, None),
        ("CVC位置对不对", Modality.XRAY, Kind.ANSWER, None),
        ("骨折端对位对线好不好", Modality.XRAY, Kind.ANSWER, None),
        ("哪个肾更靠上", Modality.CT, Kind.IMPOSSIBLE, "relation"),
        ("肝脏和胰腺哪个离脊柱近", Modality.CT, Kind.IMPOSSIBLE, "relation"),
        ("肿瘤在肾的哪一极", Modality.CT, Kind.IMPOSSIBLE, "part"),
        ("没有出血的话能不能溶栓", Modality.CT, Kind.IMPOSSIBLE, "care"),
        ("这是哪一年拍的？", Modality.CT, Kind.IMPOSSIBLE, "identity"),
        ("is this a lung window or a mediastinal window?", Modality.CT, Kind.ANSWER, None),
    ],
)
def test_another_question_is_not_answered_instead(terminology, text, modality, kind, reason):
    intent = understand(text, terminology, modality)
    assert (intent.kind, intent.reason) == (kind, reason)


@pytest.mark.parametrize("text", ["是胃息肉还是肠息肉？", "is it a gastric polyp or a colonic polyp?"])
def test_a_choice_whose_alternatives_have_one_label_gets_no_yes(parse, text):
    asked = parse(text, Modality.ENDOSCOPY)
    assert not asked.request.says_yes and asked.kind_word[0] in text.casefold()


def scene(terminology, modality, part, had):
    is_unfamiliar = lambda english: english not in had  # noqa: E731
    return Scene(list(Task), terminology, modality, body_part=lambda: part, is_unfamiliar=is_unfamiliar)


@pytest.mark.parametrize(
    ("text", "modality", "part", "had"),
    [
        ("where is the lesion?", Modality.CT, "head", ["subdural hematoma", "ischemic stroke"]),
        ("请标出病灶", Modality.CT, "head", ["subdural hematoma", "ischemic stroke"]),
        ("mark any lesion", Modality.XRAY, "teeth", ["dental caries"]),
        ("show the lesion", Modality.CT, "abdomen", ["liver tumor"]),
    ],
)
def test_a_word_for_any_finding_means_what_such_images_had(terminology, text, modality, part, had):
    asked = parse_intent(text, scene(terminology, modality, part, had))
    assert {name[0] for name in asked.intent.names} == set(had)


def test_where_such_images_had_no_finding_a_report_tells(terminology):
    assert isinstance(parse_intent("有没有异常", scene(terminology, Modality.ULTRASOUND, "chest", [])).request, IsNormal)


def test_a_finding_that_no_such_image_had_is_not_denied(terminology):
    with pytest.raises(UsageError) as raised:
        parse_intent("肝上有没有长东西", Scene(list(Task), terminology, Modality.MRI))
    assert raised.value.code == "task.unlearned_in_kind"


def test_a_structure_whose_findings_are_unknown_is_said(parse):
    several = parse("肝脏、胆囊和胰腺有没有肿瘤", Modality.CT)
    assert [english for asked in several.questions for english, _ in asked.intent.names] == ["liver tumor"]
    assert [message.code for message in several.refused] == ["task.unknown_name_here"] * 2


def test_where_another_structure_lies_is_said_to_be_left_out(parse):
    asked = parse("Where is L5? Where's the disc below it?", Modality.MRI)
    assert asked.questions[1].place == "below the l5 vertebra"


def test_a_place_by_an_adjective_is_said(parse):
    assert parse("thalamic bleed?", Modality.CT).place == "left thalamus, right thalamus"


@pytest.mark.parametrize(("skin", "least"), [("melanoma", 0.7), ("benign nevus", 0.3)])
def test_a_class_is_no_likelier_than_the_wider_one_that_holds_it(monkeypatch, skin, least):
    chosen = {"nevus": ("melanoma", 0.97), "skin": (skin, 0.7)}

    def choose(context, label_set):
        label, probability = chosen[label_set.name]
        return classes.Decision([[en for en, _ in label_set.labels].index(label)], probability, None)

    monkeypatch.setattr(classes, "_chosen", choose)
    assert classes.decide(None, LABEL_SETS["nevus"]).probability == pytest.approx(least)
