"""Images and questions unlike those of training: what is said of them is a guess, and is said to be one."""

import dataclasses
import json
import shutil

import numpy as np
import pytest

from medrega_edge.domain import Language
from medrega_edge.errors import PackageError
from medrega_edge.images.medical_image import View
from medrega_edge.images.samples import sample_frame, sample_path
from medrega_edge.inference.familiar_images import FamiliarImages
from medrega_edge.package.manifest import FAMILIAR_IMAGES, FAMILIAR_NAMES, FAMILIAR_QUESTIONS, MANIFEST, file_entry
from medrega_edge.package.package import Package
from medrega_edge.package.registry import find_package
from medrega_edge.tasks.normality import IsNormal
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.vocabulary.familiar_questions import FamiliarQuestions
from tests.codes import raises_code

UNFAMILIAR = "task.unfamiliar_image"


def codes(answer):
    return [warning.code for warning in answer.warnings]


@pytest.fixture(scope="module")
def echo(engine):
    """An ultrasound image of the heart, which no training image is like: the weights are sure of an ovarian tumor in it."""
    return engine.open(sample_path("heart-ultrasound"), View(frame=sample_frame("heart-ultrasound")))


def test_a_sure_box_of_an_unfamiliar_image_is_a_best_guess(engine, echo):
    answer = engine.ask(echo, "locate the ovarian tumor")
    assert answer.regions[0].confidence > 0.9 and answer.best_guesses == ["ovarian tumor"]
    assert UNFAMILIAR in codes(answer) and answer.model.certified is None


@pytest.mark.parametrize("question", ["is there an ovarian tumor?", "which body part is this?", "benign or malignant?"])
def test_no_answer_about_it_is_stated(engine, echo, question):
    answer = engine.ask(echo, question)
    assert "erhaps" in answer.text and UNFAMILIAR in codes(answer)


def test_a_report_and_a_question_whether_it_is_normal_agree_and_state_nothing(engine, echo):
    report, normal = engine.report(echo), engine.run(echo, IsNormal("is this normal?"))
    assert "Abnormal" not in report.text and normal.text.startswith("Not sure")
    assert report.text.partition("Perhaps: ")[2].partition(".")[0] in normal.text


def test_the_names_of_two_images_in_turn_are_told_apart(engine, echo, scan):
    known = engine._familiar_images
    for _ in range(2):
        assert known.is_unfamiliar(echo.embeds, engine.modality(echo))
        assert not known.is_unfamiliar(scan.embeds, engine.modality(scan))


def test_familiar_images_have_no_such_warning(engine, scan):
    assert UNFAMILIAR not in codes(engine.ask(scan, "locate the liver"))


@pytest.mark.parametrize(
    ("question", "is_given"),
    [("What modality is used to take this image?", True), ("is the spleen ruptured?", False), ("脾脏破裂了吗？", False)],
)
def test_a_question_unlike_those_of_training_gets_no_answer_without_guess(engine, scan, question, is_given):
    answer = engine.run(scan, AnswerQuestion(question))
    assert (answer.guess is None, "task.unfamiliar_question" not in codes(answer)) == (is_given, is_given)
    if not is_given:
        assert answer.text in ("Not sure.", "不确定。")
        assert engine.run(scan, AnswerQuestion(question), guess=True).text == answer.guess


def test_support_counts_images_with_similar_questions():
    """Cosines by hand: all words are of two documents or one, log(4/2.5) = 0.47 and log(4/1.5) = 0.98."""
    known = FamiliarQuestions({"is the liver normal": 7, "is the liver big": 5, "肝脏正常吗": 3})
    assert known.support("Is the liver NORMAL?", 0.99) == 7
    # "is the liver": 3 * 0.47^2 = 0.663 of a question of length sqrt(0.663 + 0.96) = 1.274; cosine 0.814 / 1.274 = 0.639
    assert known.support("is the liver", 0.63) == 12 and known.support("is the liver", 0.65) == 0
    assert known.support("肝臟正常嗎", 0.99) == 3  # in traditional characters
    assert known.support("", 0.5) == 0


@pytest.fixture
def folder(tmp_path):
    shutil.copytree(find_package(None).folder, tmp_path / "package")
    return tmp_path / "package"


@pytest.mark.parametrize(
    "table", [np.zeros((3, 3), np.float16), np.zeros((832, 256), np.float32), np.full((832, 256), np.nan, np.float16)]
)
def test_a_table_that_is_not_as_stated_is_refused(folder, table):
    package = Package.open(folder)
    np.save(folder / "familiar_images.npy", table)
    files = package.manifest.files | {FAMILIAR_IMAGES: file_entry(folder / "familiar_images.npy", "fp16")}
    (folder / MANIFEST).write_text(dataclasses.replace(package.manifest, files=files).to_json(), "utf-8")
    with raises_code(PackageError, "package.wrong_table"):
        FamiliarImages.read(Package.open(folder).read_all())


@pytest.mark.parametrize("text", ["[]", "{", "{}", '{"mri": {"liver": [0]}}', "NAMES -1", "NAMES 64", "NAMES true", "NAMES"])
def test_names_without_points_are_refused(folder, text):
    package = Package.open(folder)
    path = folder / "familiar_names.json"
    if text.startswith("NAMES"):
        names = json.loads(path.read_text("utf-8"))
        names["mri"]["liver"] = [json.loads(point) for point in text.split()[1:]]
        text = json.dumps(names)
    path.write_text(text, "utf-8")
    files = package.manifest.files | {FAMILIAR_NAMES: file_entry(path, "text")}
    (folder / MANIFEST).write_text(dataclasses.replace(package.manifest, files=files).to_json(), "utf-8")
    with pytest.raises(PackageError):
        FamiliarImages.read(Package.open(folder).read_all())


@pytest.mark.parametrize("text", ["[]", '{"a": 0}', '{"a": true}', '{"a": "b"}', "{"])
def test_questions_that_are_no_counts_are_refused(text):
    with pytest.raises(PackageError):
        FamiliarQuestions.from_json(text, "familiar_questions.json")


@pytest.mark.parametrize(
    ("change", "code"),
    [
        (lambda data: data["files"].pop(FAMILIAR_QUESTIONS), "package.missing_role"),
        (lambda data: data.pop("familiarity"), "package.missing_key"),
        (lambda data: data["familiarity"]["images"].update(pet={"points": 1, "limit": 1.0}), "package.wrong_value"),
        (lambda data: data["familiarity"]["images"]["ct"].update(points=0), "package.wrong_value"),
    ],
)
def test_a_manifest_that_does_not_fit_its_files_is_refused(folder, change, code):
    data = json.loads((folder / MANIFEST).read_text("utf-8"))
    change(data)
    (folder / MANIFEST).write_text(json.dumps(data), "utf-8")
    with raises_code(PackageError, code):
        Package.open(folder)


@pytest.mark.parametrize("language", Language)
def test_the_warning_is_in_both_languages(engine, echo, language):
    answer = engine.report(echo, language)
    texts = [warning.text(language) for warning in answer.warnings if warning.code == UNFAMILIAR]
    assert len(texts) == 1 and (texts[0].isascii() is (language is Language.EN))
