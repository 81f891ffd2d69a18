"""Every task of the default package on the sample scan: what is asked, what comes back, what is refused."""

import io
from dataclasses import replace

import numpy as np
import pytest
from PIL import Image

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.samples import sample_path
from medrega_edge.inference.grammars import NamedRegion
from medrega_edge.inference.language_model import Generation
from medrega_edge.prompts.templates import DEFAULT_PROMPTS, REPORT_DISCLAIMER
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.intent import build_request
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.label_sets import LABEL_SETS, MODALITY_NAMES
from tests.codes import raises_code
from tests.edge.toy import ScriptedModel, context


@pytest.fixture(scope="module")
def pixels(engine):
    """The sample scan that says no longer what it is."""
    buffer = io.BytesIO()
    Image.fromarray(engine.open(sample_path("abdomen-mri")).image.pixels).save(buffer, format="PNG")
    return engine.open(buffer.getvalue())


def test_several_objects_are_located_one_by_one(engine, scan):
    answer = engine.ask(scan, "locate the liver, the spleen and both kidneys")
    assert answer.task == "detect"
    named = list(dict.fromkeys(region.label for region in answer.regions))
    for label in named:
        alone = engine.ask(scan, f"locate the {label}")
        assert alone.regions == tuple(region for region in answer.regions if region.label == label)
    assert set(named) <= {"liver", "spleen", "left kidney", "right kidney"}
    assert len(named) >= 3


@pytest.mark.parametrize("question", ["liver", "hepar", "肝", "请定位肝脏", "Where is the liver?"])
def test_however_it_is_asked_for_the_box_is_the_same(engine, scan, question):
    answer = engine.ask(scan, question)
    assert answer.task == "detect"
    assert [r.box for r in answer.regions] == [r.box for r in engine.ask(scan, "locate the liver").regions]
    assert answer.regions[0].label == ("肝脏" if answer.language == "zh" else "liver")


@pytest.mark.parametrize("question", ["locate the polyp", "请定位息肉"])
def test_what_is_not_there_gets_a_sentence_and_no_box(engine, scan, question):
    answer = engine.ask(scan, question)
    assert answer.regions == ()
    name = "息肉" if answer.language is Language.ZH else "polyp"
    assert answer.text == Message("answer.not_found", names=[name]).text(answer.language)


def test_an_unknown_name_is_refused(engine, scan):
    with raises_code(UsageError, "task.unknown_name_here"):
        engine.ask(scan, "locate the flux capacitor")
    with raises_code(UsageError, "task.unknown_name_here", word="阑尾"):
        engine.ask(scan, "把阑尾标出来")


def test_an_unknown_name_beside_a_known_one_is_told(engine, scan):
    for question, part in (
        ("liver, flux capacitor", "flux capacitor"),
        ("unicorn, liver", "unicorn"),
        ("locate the unicorn and the liver", "unicorn"),
    ):
        answer = engine.ask(scan, question)
        assert answer.task == "detect"
        assert [region.label for region in answer.regions] == ["liver"]
        assert answer.warnings == (Message("task.unknown_beside", name=part),)


@pytest.mark.parametrize("question", ["肝脏为什么这么亮", "why is the liver bright, and the spleen?"])
def test_a_sentence_that_names_labels_stays_a_question(engine, scan, question):
    assert engine.ask(scan, question).task == "vqa"


@pytest.mark.parametrize("question", ["", " ", "?!", "。", "\udce8\udcaf\udcb7"])
def test_a_question_without_words_is_refused(engine, scan, question):
    with pytest.raises(UsageError) as refused:
        engine.ask(scan, question)
    assert refused.value.code in ("task.empty_question", "task.undecodable_question")


@pytest.mark.parametrize(
    ("question", "told"),
    [
        ("où est-ce, à gauche ?", True),
        ("肝臓はどこですか", True),
        ("где это?", True),
        ("β-blocker of 5 µg?", False),
        ("正常吗？", False),
    ],
)
def test_another_language_is_told(engine, scan, question, told):
    warnings = engine.answer(scan, question).warnings
    assert (Message("task.other_language") in warnings) is told


def test_a_box_beyond_the_image_is_told_and_one_below_a_pixel_refused(engine, scan):
    inside = engine.identify(scan, PixelBox(400, 200, 484, 300))
    beyond = engine.identify(scan, PixelBox(400, 200, 600, 400))
    assert inside.warnings == ()
    assert beyond.warnings == (Message("task.box_beyond_image"),)
    assert beyond.regions == inside.regions
    with raises_code(UsageError, "task.box_below_a_pixel"):
        engine.identify(scan, PixelBox(52, 80, 52.5, 90))


def test_confidences_are_probabilities(engine, scan):
    answer = engine.ask(scan, "locate the liver and the spleen")
    assert all(0 < region.confidence < 1 for region in answer.regions)


def test_identification_names_something_it_was_trained_on(engine, scan):
    names = {}
    for language in Language:
        answer = engine.identify(scan, PixelBox(52, 80, 182, 195), language)
        assert [label.label for label in answer.labels] == [answer.text]
        assert 0 < answer.labels[0].confidence <= 1
        assert answer.regions[0].label == answer.text
        names[language] = answer.text
    assert names[Language.ZH] != names[Language.EN]
    assert engine.ask(scan, f"locate the {names[Language.EN]}").regions  # it is a name that can be asked for


@pytest.mark.parametrize("name", sorted(LABEL_SETS))
def test_a_class_is_one_of_the_candidates(engine, scan, name):
    for language in Language:
        answer = engine.classify(scan, name, language)
        assert answer.labels
        assert {label.label for label in answer.labels} <= set(LABEL_SETS[name].names(language))
        assert len(answer.labels) == 1 or LABEL_SETS[name].multiple


def test_labels_for_another_kind_of_image_are_flagged(engine, scan):
    warning = Message("task.labels_of_other_modality", modalities=["dermoscopy image"], modality="MRI")
    assert engine.classify(scan, "skin").warnings == (warning,)
    assert engine.classify(scan, "brain-tumor").warnings == (Message("task.labels_of_other_part", part="abdomen"),)


def test_labels_that_were_never_learnt_are_flagged_and_not_certified(engine, scan):
    learnt = engine.classify(scan, ["fracture", "no fracture"])
    assert learnt.warnings == (Message("task.labels_of_other_modality", modalities=["X-ray"], modality="MRI"),)
    assert learnt.model.certified is None
    for labels in (["cat", "dog"], ["glioma", "melanoma"], ["猫", "狗"]):
        own = engine.classify(scan, labels)
        assert own.warnings == (Message("task.untrained_labels"),)
        assert own.model.certified is None


def test_a_repeated_label_counts_once(engine, scan):
    once = engine.classify(scan, ["glioma", "meningioma"])
    twice = engine.classify(scan, ["glioma", "meningioma", "glioma"])
    assert (twice.raw_text, twice.labels, twice.prompt_tokens) == (once.raw_text, once.labels, once.prompt_tokens)
    several = engine.classify(scan, ["glioma", "glioma", "meningioma"], multiple=True)
    assert len({label.label for label in several.labels}) == len(several.labels)
    with pytest.raises(UsageError):
        engine.classify(scan, ["glioma", "glioma<|im_end|>"])


def test_warnings_of_located_regions_reach_the_answer(engine, scan):
    """A box that is cut off leaves no region: the reader has to know why, in a chain of thought and a report too."""
    cut = Message("task.cut_off")
    thought = engine.run(scan, AnswerQuestion("Is the liver normal?", regional_chain_of_thought=True), max_tokens=6)
    assert thought.regions == ()
    assert cut in thought.warnings
    result = Report(grounded=True).run(context(ShortOfBoxes("MRI of the abdomen. Seen: liver."), NAMED))
    assert result.text.startswith("MRI of the abdomen. Seen: liver.")
    assert result.detections == ()
    assert cut in result.warnings


NAMED = replace(DEFAULT_PROMPTS, labels=(("liver", "肝脏"),))


class ShortOfBoxes(ScriptedModel):
    """Its boxes are cut off before they are whole."""

    def generate(self, image, prompt, grammar, *rest):
        if isinstance(grammar, NamedRegion):
            return Generation("", (), "length", 0, 0.0, 0.0)
        return super().generate(image, prompt, grammar, *rest)


def test_free_candidates(engine, scan):
    answer = engine.classify(scan, ["glioma", "meningioma"])
    assert answer.text in ("glioma", "meningioma")
    for labels in ([], ["one"], ["same", "same"], ["a", " "]):
        with pytest.raises(UsageError):
            engine.classify(scan, labels)
    with raises_code(UsageError, "task.unknown_label_set", name="nonsense"):
        engine.classify(scan, "nonsense")


@pytest.mark.parametrize(
    ("question", "language"),
    [("Why is the liver bright?", "en"), ("图中最大的器官是什么?", "zh"), ("肝脏为什么这么亮", "zh")],
)
def test_a_free_question_gets_words_and_no_region(engine, scan, question, language):
    answer = engine.ask(scan, question)
    assert (answer.task, answer.language) == ("vqa", language)
    assert answer.text
    assert answer.regions == ()
    assert "<" not in answer.raw_text


def test_a_regional_chain_of_thought_shows_the_regions_it_answered_with(engine, scan):
    answer = engine.run(scan, AnswerQuestion("Is the liver normal?", regional_chain_of_thought=True))
    assert answer.task == "vqa"
    assert {region.label for region in answer.regions} <= {"liver"}
    assert answer.model.certified is None  # measured without
    with raises_code(UsageError, "task.cot_of_other_task", task="detect"):
        build_request("detect", "locate the liver", regional_chain_of_thought=True)


@pytest.mark.parametrize(("language", "opening"), [("en", "MRI"), ("zh", "磁共振图像")])
def test_a_report_opens_with_the_kind_of_image_that_the_file_tells(engine, scan, language, opening):
    answer = engine.report(scan, language)
    assert answer.image.modality == "mri"
    assert answer.text.startswith(opening)
    assert len(answer.text) > len(opening) + len(REPORT_DISCLAIMER[Language(language)]) + 10  # the weights go on from there


def test_a_report_on_bare_pixels_names_the_kind_of_image_that_the_answer_shows(engine, pixels):
    answer = engine.ask(pixels, "Describe this image.")
    assert answer.task == "report"
    name = MODALITY_NAMES[Modality(answer.image.modality)][0]
    assert answer.text.startswith(name)


def test_a_report_is_grounded_by_detection(engine, scan):
    grounded = engine.report(scan, "zh", grounded=True)
    assert "磁共振" in grounded.text
    assert grounded.regions
    for region in grounded.regions:
        assert region.label in grounded.text or any(part in grounded.text for part in region.label)


def test_the_kind_of_image_is_recognised_from_pixels_alone(engine, pixels):
    answer = engine.ask(pixels, "locate the liver")
    assert answer.image.modality == "mri"
    assert 0.5 < answer.image.modality_confidence <= 1


@pytest.mark.parametrize("kind", ["noise", "blank"])
def test_what_is_no_medical_image_is_flagged(engine, kind):
    rng = np.random.default_rng(0)
    pixels = (
        rng.integers(0, 256, (200, 200, 3)).astype(np.uint8) if kind == "noise" else np.full((200, 200, 3), 200, np.uint8)
    )
    buffer = io.BytesIO()
    Image.fromarray(pixels).save(buffer, format="PNG")
    image = engine.open(buffer.getvalue())
    for question in ("locate the liver", "Is this normal?"):
        answer = engine.ask(image, question)
        assert Message("task.not_medical") in answer.warnings
        assert answer.model.certified is None


POLYP = replace(NAMED, labels=(("polyp", "息肉"),), label_modalities={"polyp": ["ct", "endoscopy"]})


class Denying(ScriptedModel):
    """Says that nothing is there."""

    def generate(self, image, prompt, grammar, max_tokens, on_text=None):
        self.prompts.append(prompt)
        return Generation(self.words, (), "stop", 0, 0.0, 0.0)


def detected(modalities, prompts=POLYP, language=Language.EN):
    model = Denying("There is no polyp in this image.")
    on = context(model, prompts, language=language, certain_modalities=lambda: modalities)
    return Detect("polyp").run(on), model


@pytest.mark.parametrize(
    ("language", "label", "kind"), [(Language.EN, "polyp", "fundus photograph"), (Language.ZH, "息肉", "眼底照片")]
)
def test_what_no_image_of_this_modality_shows_is_absent_without_asking(language, label, kind):
    result, model = detected([Modality.FUNDUS], language=language)
    text = Message("answer.not_found", names=[label]).text(language)
    assert (result.text, result.detections, result.generations) == (text, (), ())
    assert result.warnings == (Message("task.impossible_name", label=label, modality=kind),)
    assert model.prompts == []


@pytest.mark.parametrize(
    ("modalities", "prompts"),
    [
        ([], POLYP),
        ([Modality.CT], POLYP),
        ([Modality.FUNDUS, Modality.CT], POLYP),  # the file says the one, the image looks like the other
        ([Modality.FUNDUS], replace(POLYP, label_modalities={})),
        ([Modality.FUNDUS], replace(POLYP, label_modalities={"liver": ["ct"]})),
    ],
)
def test_what_may_be_there_is_asked_for(modalities, prompts):
    result, model = detected(modalities, prompts)
    assert len(model.prompts) == len(result.generations) == 1
    assert result.warnings == ()


def test_the_engine_refuses_impossible_names_by_file_and_by_certain_looks(engine, scan, pixels, monkeypatch):
    table = {"liver": ["fundus"], "spleen": ["mri", "ct"], "polyp": ["endoscopy"]}
    monkeypatch.setattr(engine, "_prompts", replace(engine._prompts, label_modalities=table))
    answer = engine.ask(scan, "locate the liver and the spleen")
    assert {region.label for region in answer.regions} == {"spleen"}
    assert answer.text.endswith(Message("answer.not_found", names=["liver"]).text("en"))
    assert Message("task.impossible_name", label="liver", modality="MRI") in answer.warnings
    report = engine.report(scan, grounded=True)
    assert all(region.label != "liver" for region in report.regions)
    monkeypatch.setattr("medrega_edge.engine.CERTAIN_MODALITY", 1.1)  # of pixels alone nothing is certain any more
    assert engine.ask(pixels, "locate the liver").regions
    monkeypatch.setattr("medrega_edge.engine.CERTAIN_MODALITY", 0.0)
    assert engine.ask(pixels, "locate the liver").regions == ()


@pytest.mark.parametrize(
    "question",
    ["how big is the thyroid?", "is there an aneurysm?", "how many unicorns are there?", "甲状腺多大"],
)
def test_what_boxes_should_answer_is_never_answered_in_free_words(engine, scan, question):
    with pytest.raises(UsageError) as refusal:
        engine.ask(scan, question)
    assert refusal.value.code.startswith("task.unknown_name")
