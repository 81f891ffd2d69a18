"""Boxes that are not sure are asked back where masks are asked for: another name makes a box worth less, and is said."""

from types import SimpleNamespace

import pydicom
import pytest

from medrega_edge import load
from medrega_edge.boxes import GridBox
from medrega_edge.domain import Language, Task
from medrega_edge.images.samples import sample_path
from medrega_edge.inference.confidence import calibrated
from medrega_edge.package.registry import find_package
from medrega_edge.tasks import segmentation
from medrega_edge.tasks.base import Detection, TaskResult
from medrega_edge.tasks.segmentation import asked_back

LABELS = [("liver", "肝脏"), ("spleen", "脾脏"), ("tooth", "牙齿"), ("premolar", "前磨牙")]
BOX = GridBox(10, 10, 200, 200)


def context(doubt=0.7, language=Language.EN, tasks=(Task.IDENTIFY,)):
    return SimpleNamespace(
        doubt=doubt,
        language=language,
        prompts=SimpleNamespace(templates=dict.fromkeys(tasks)),
        terminology=SimpleNamespace(labels=LABELS),
        confidence=lambda _, score: score,
    )


@pytest.fixture
def answered(monkeypatch):
    """What is in each box, by the model; notes what was asked."""
    asked = []

    def name_in(_, box):
        asked.append(box)
        return LABELS[1], 0.9, "generation"

    monkeypatch.setattr(segmentation, "name_in", name_in)
    return asked


def result(label, score=0.6):
    return TaskResult("", (Detection(label, BOX, score),))


def test_another_name_makes_the_box_worth_less_and_is_said(answered):
    for language, label, other in ((Language.EN, "liver", "spleen"), (Language.ZH, "肝脏", "脾脏")):
        made = asked_back(context(language=language), result(label))
        assert made.detections == (Detection(label, BOX, 0.6, doubt=0.7),) and made.generations == ("generation",)
        (note,) = made.warnings
        assert (note.code, note.params) == ("task.named_otherwise", {"name": label, "other": other})
        assert label in note.text(language) and other in note.text(language)


def test_the_same_name_changes_nothing(answered):
    made = asked_back(context(), result("spleen"))
    assert made.detections == result("spleen").detections and not made.warnings and answered == [BOX]


@pytest.mark.parametrize(
    ("where", "what"),
    [
        (context(), result("liver", 0.95)),  # sure
        (context(), result("tooth")),  # of many: a premolar is a tooth
        (context(), result("liver", None)),
        (context(), result("what the user wrote")),
        (context(doubt=0.0), result("liver")),
        (context(tasks=(Task.DETECT,)), result("liver")),
    ],
)
def test_what_is_sure_or_cannot_be_asked_is_not_asked(answered, where, what):
    assert asked_back(where, what) == what and answered == []


def test_the_default_package_has_a_doubt():
    manifest = find_package().manifest
    doubt, score = manifest.regions.doubt, 0.5
    assert 0 < doubt < 2
    assert calibrated(score, manifest.calibration, -doubt) < calibrated(score, manifest.calibration)


def test_boxes_of_a_mirrored_picture_are_best_guesses(tmp_path):
    """The weights have learned from pictures whose left is the patient's right."""
    scan = pydicom.dcmread(sample_path("abdomen-mri"))
    scan.PixelData = scan.pixel_array[:, ::-1].tobytes()
    scan.ImageOrientationPatient = [-1, 0, 0, 0, 1, 0]
    scan.save_as(tmp_path / "mirrored.dcm")
    engine = load()
    answer = engine.ask(engine.open(tmp_path / "mirrored.dcm"), "locate the liver")
    assert answer.best_guesses == ["liver"] and "The liver is here" not in answer.text
    assert engine.ask(engine.open(sample_path("abdomen-mri")), "locate the liver").best_guesses == []
