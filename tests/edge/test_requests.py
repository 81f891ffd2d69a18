"""A request is a value of its type: what cannot be asked cannot be written."""

import dataclasses
from contextlib import nullcontext
from types import SimpleNamespace

import pytest

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Modality, Task
from medrega_edge.errors import UsageError
from medrega_edge.prompts.intent import Kind
from medrega_edge.tasks import classification
from medrega_edge.tasks.asked import going_on
from medrega_edge.tasks.classification import Classify, ClassifyByPart
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.intent import build_request, parse_intent
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.scene import Scene
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.terminology import Terminology
from medrega_edge.vocabulary.usual_labels import usual
from tests.codes import raises_code

BOX = PixelBox(10, 10, 90, 80)
REQUESTS = [
    Detect(["liver", "脾脏"]),
    Identify(BOX),
    Classify(["a", "b"], multiple=True),
    Classify("skin"),
    AnswerQuestion("Is it normal?"),
    Report(),
    Report(grounded=True),
]


def test_equal_requests_are_equal_values():
    assert Detect("liver") == Detect(["liver"]) == Detect(("liver",))
    assert Identify((10, 10, 90, 80)) == Identify(BOX)
    assert Classify(["a", "b", "a"]) == Classify(("a", "b"))
    assert len({*REQUESTS, *REQUESTS}) == len(REQUESTS)


@pytest.mark.parametrize("request_", REQUESTS)
def test_a_request_does_not_change(request_):
    with pytest.raises(dataclasses.FrozenInstanceError):
        setattr(request_, dataclasses.fields(request_)[0].name, None)


@pytest.mark.parametrize(
    ("write", "code"),
    [
        (lambda: Detect([]), "empty_question"),
        (lambda: Detect(["", "?!"]), "empty_question"),
        (lambda: Detect(["x" * 501]), "question_too_long"),
        (lambda: Detect(["\udce8"]), "undecodable_question"),
        (lambda: Identify(PixelBox(5, 5, 1, 1)), "box_corners"),
        (lambda: Identify(PixelBox(0, 0, float("nan"), 1)), "box_corners"),
        (lambda: Identify(PixelBox(0, 0, float("inf"), 1)), "box_corners"),
        (lambda: Identify(PixelBox(5, 5, 5.5, 9)), "box_below_a_pixel"),
        (lambda: Classify(["one"]), "too_few_labels"),
        (lambda: Classify(["same", "same"]), "too_few_labels"),
        (lambda: Classify(["a", " "]), "too_few_labels"),
        (lambda: Classify("nonsense"), "unknown_label_set"),
        (lambda: AnswerQuestion(" ?"), "empty_question"),
    ],
)
def test_what_cannot_be_asked_cannot_be_written(write, code):
    with raises_code(UsageError, f"task.{code}"):
        write()


@pytest.mark.parametrize(
    ("arguments", "made"),
    [
        ({"task": "detect", "question": "locate the liver"}, Detect("locate the liver")),
        ({"task": "identify", "box": BOX}, Identify(BOX)),
        ({"task": "classify", "labels": "skin"}, Classify("skin")),
        ({"task": "classify", "labels": ["a", "b"], "multiple": True}, Classify(["a", "b"], multiple=True)),
        (
            {"task": Task.VQA, "question": "Is it?", "regional_chain_of_thought": True},
            AnswerQuestion("Is it?", regional_chain_of_thought=True),
        ),
        ({"task": "report", "question": "whatever"}, Report()),
        ({"task": "grounded_report"}, Report(grounded=True)),
    ],
)
def test_options_become_a_request(arguments, made):
    assert build_request(**arguments) == made


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("liver, spleen", Detect(["liver", "spleen"])),
        ("how big is the liver?", FromBoxes(Kind.MEASURE, (("liver", "肝脏"),))),
        ("describe this image", Report()),
        ("grounded report", Report(grounded=True)),
        ("Is the liver normal?", IsNormal("Is the liver normal?", (("liver", "肝脏"),))),
    ],
)
def test_words_become_a_request(text, made):
    terminology = Terminology((("liver", "肝脏"), ("spleen", "脾脏")))
    assert parse_intent(text, Scene(("detect", "vqa", "report"), terminology)).request == made


@pytest.mark.parametrize(
    ("text", "made"),
    [
        ("locate the liver", Detect("locate the liver")),
        ("describe this image", Report()),
        ("how big is the liver?", AnswerQuestion("how big is the liver?")),
        ("hello", AnswerQuestion("hello")),
    ],
)
def test_weights_without_a_terminology_get_the_question_as_typed(text, made):
    assert parse_intent(text, Scene(("detect", "vqa", "report"), Terminology(()))) == made


def test_a_short_name_asks_the_same(engine, scan):
    def same(one, other):
        without = {"timings": None, "intent": None, "facts": {}, "reading": ""}
        return dataclasses.replace(one, **without) == dataclasses.replace(other, **without)

    assert same(engine.detect(scan, ["liver"]), engine.run(scan, Detect(["liver"])))
    assert same(engine.detect(scan, "liver", "zh"), engine.run(scan, Detect("liver"), "zh"))
    assert same(engine.identify(scan, BOX), engine.run(scan, Identify(BOX)))
    assert same(engine.classify(scan, "brain-tumor"), engine.run(scan, Classify("brain-tumor")))
    assert same(engine.answer(scan, "肝脏正常吗？"), engine.run(scan, AnswerQuestion("肝脏正常吗？")))
    assert same(engine.report(scan, grounded=True), engine.run(scan, Report(grounded=True)))
    assert same(engine.ask(scan, "请定位肝脏"), engine.run(scan, Detect("请定位肝脏")))


def test_the_words_tell_the_language(engine, scan):
    assert engine.classify(scan, ["猫", "狗"]).language == "zh"
    assert engine.detect(scan, ["肝脏"]).language == "zh"
    assert engine.report(scan).language == "en"
    assert engine.ask(scan, "写一份报告").language == "zh"


@pytest.mark.parametrize(
    ("text", "modality", "label_set"),
    [
        ("benign or malignant?", Modality.DERMOSCOPY, "skin"),
        ("is this mole cancer?", Modality.DERMOSCOPY, "skin"),
        ("is it breast cancer?", Modality.ULTRASOUND, "breast"),
        ("乳腺肿块是良性还是恶性", Modality.ULTRASOUND, "breast"),
        ("glioma or meningioma?", Modality.MRI, "brain-tumor"),
        ("糖网分几级", Modality.FUNDUS, "retinopathy"),
        ("any sign of TB?", Modality.XRAY, "tuberculosis"),
        ("有没有肺结核", Modality.XRAY, "tuberculosis"),
    ],
)
def test_a_question_of_classes_takes_the_set_of_the_kind_of_image(text, modality, label_set):
    terminology = Terminology((("skin lesion", "皮肤病变"), ("breast lesion", "乳腺病变"), ("glioma", "胶质瘤")))
    assert parse_intent(text, Scene(("detect", "vqa", "classify"), terminology, modality)).request.labels == label_set


@pytest.mark.parametrize(
    ("text", "modality", "sets"),
    [
        ("benign or malignant?", Modality.ULTRASOUND, ("breast", "liver-mass")),
        ("良性还是恶性", Modality.MRI, ("breast",)),  # not of every MRI
    ],
)
def test_benign_or_malignant_means_the_sets_that_tell_it(text, modality, sets):
    terminology = Terminology((("liver", "肝脏"),))
    found = parse_intent(text, Scene(("detect", "vqa", "classify"), terminology, modality))
    assert found.request == ClassifyByPart(sets, text)


@pytest.mark.parametrize(("part", "label_set"), [("breast", "breast"), ("liver", "liver-mass"), ("eye", None)])
def test_of_several_sets_the_body_part_in_the_image_chooses(monkeypatch, part, label_set):
    monkeypatch.setattr(classification, "choose_body_part", lambda context, modality: (None, part, 1.0))
    monkeypatch.setattr(Classify, "run", lambda self, context: self.labels)
    prompts = SimpleNamespace(modalities={"ultrasound image": "ultrasound"})
    context = SimpleNamespace(image_modality=lambda: Modality.ULTRASOUND, prompts=prompts)
    request = ClassifyByPart(("breast", "liver-mass"), "benign or malignant?")
    with nullcontext() if label_set else raises_code(UsageError, "task.no_fitting_set"):
        assert request.run(context) == label_set


def test_a_list_of_names_begins_with_the_most_used_and_has_none_of_other_images():
    labels = [(name, name) for name in ("Barrett's esophagus", "glioma", "right lung", "liver", "tooth", "polyp")]
    names = [[english for english, _ in usual(labels, *about)] for about in (
        (Modality.XRAY, None), (Modality.XRAY, "chest"), (Modality.ENDOSCOPY, None), (Modality.MRI, "head"),
    )]  # fmt: skip
    assert names == [["tooth", "right lung"], ["right lung"], ["polyp", "Barrett's esophagus"], ["glioma"]]
    assert usual(labels, None) == usual(labels, Modality.FUNDUS) == labels


@pytest.mark.parametrize(
    ("text", "is_area"),
    [
        ("area of the liver in cm2", True),
        ("肝脏面积有多大", True),
        ("how big is the liver in cm", False),
        ("肝有多大", False),
    ],
)
def test_an_area_is_that_of_an_outline(text, is_area):
    terminology = Terminology([("liver", "肝脏")])
    for has_masks in (True, False):
        request = parse_intent(text, Scene(("detect",), terminology, Modality.CT, has_masks=has_masks)).request
        assert isinstance(request, Segment) is (is_area and has_masks)


def test_a_refusal_offers_what_such_images_usually_show():
    terminology = Terminology([(name, name) for name in ("liver", "glioma")])
    with raises_code(UsageError, "task.unknown_name_here") as error:
        parse_intent("locate the flux capacitor", Scene(("detect",), terminology, Modality.MRI, body_part=lambda: "head"))
    offered = error.value.message.params["offered"]
    assert "liver" not in offered
    assert "glioma" in offered


@pytest.mark.parametrize(
    ("text", "code"),
    [
        ("hello", "help"),
        ("how old is the patient?", "impossible_patient"),
        ("ejection fraction?", "impossible_function"),
        ("BI-RADS category", "impossible_score"),
        ("需要手术吗", "impossible_care"),
        ("has the liver grown since last year", "impossible_time"),
        ("what is the volume of the liver", "impossible_outline"),
        ("locate the unicorn", "unknown_name_here"),
        ("how big are they?", "no_known_name"),
        ("how far is the liver", "two_names"),
        ("is the liver larger?", "two_names"),
        ("良性还是恶性", "no_fitting_set"),
    ],
)
def test_what_cannot_be_answered_is_refused_with_its_reason(text, code):
    terminology = Terminology((("liver", "肝脏"), ("spleen", "脾脏")))
    with raises_code(UsageError, f"task.{code}"):
        parse_intent(
            text,
            Scene(("detect", "vqa", "classify", "report"), terminology, Modality.CT if "性" not in text else Modality.XRAY),
        )


def test_a_question_that_goes_on_asks_the_same_of_other_names(engine):
    first = going_on("how big is the liver?", Kind.MEASURE, [("liver", "肝脏")])
    assert engine.follow_up("and the spleen?", first).request == FromBoxes(Kind.MEASURE, (("spleen", "脾脏"),))
    assert engine.follow_up("which side is it on?", first).request == FromBoxes(Kind.SIDE, (("liver", "肝脏"),))
