"""`--min-confidence`: what is less sure is not stated, and the answer says so."""

import json
from dataclasses import replace

import pytest

from medrega_edge.answer import Answer, ImageFacts, Label, ModelFacts, Region, Timings
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.images.samples import sample_path
from medrega_edge.prompts.intent import Kind
from medrega_edge.prompts.templates import sentence_of_regions
from medrega_edge.tasks.abstention import finished
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.derived import FromBoxes
from medrega_edge.tasks.detection import Detect

IMAGE = ImageFacts(None, 200, 100, Modality.CT, None, None, "0" * 64)
BOX = PixelBox(10, 10, 90, 60)


def answer(*regions, text=None, language=Language.EN, labels=()):
    names = list(dict.fromkeys(name for name, _ in regions))
    return Answer(
        sentence_of_regions(names, language) if text is None else text,
        "", Task.DETECT, language, tuple(Region(name, BOX, sure) for name, sure in regions), labels, IMAGE,
        ModelFacts("m", "0", "0" * 64, "none"), "cpu", "stop", 1, 1, Timings(), searched=(*names, "colon"),
    )  # fmt: skip


def test_a_box_below_is_left_out_and_named_and_is_not_called_missing():
    made = finished(Detect(["liver"]), answer(("liver", 0.9), ("spleen", 0.6)), 0.7)
    assert [region.label for region in made.regions] == ["liver"]
    assert made.text == "The liver is here. Not stated, because it is less sure than 70 %: spleen."
    assert made.not_found == ["colon"]
    assert [warning.code for warning in made.warnings] == ["task.withheld"]


def test_the_threshold_itself_is_stated_and_without_one_nothing_changes():
    given = answer(("liver", 0.7))
    assert finished(Detect(["liver"]), given, 0.7).regions == given.regions
    assert finished(Detect(["liver"]), given, 0.0) == Detect(["liver"]).finish(given)


def test_what_is_said_behind_the_places_stays():
    text = sentence_of_regions(["liver"], Language.EN) + " Not found: colon."
    made = finished(Detect(["liver"]), answer(("liver", 0.2), text=text), 0.5)
    assert made.text == "Not found: colon. Not stated, because it is less sure than 50 %: liver."


def test_a_box_without_a_confidence_is_the_users_own():
    assert finished(Detect(["liver"]), answer(("liver", None)), 1.0).regions


def test_an_answer_that_rests_on_such_a_box_is_not_given():
    both = (("liver", "肝脏"), ("spleen", "脾脏"))
    made = finished(FromBoxes(Kind.COUNT, both), answer(("liver", 0.9), ("spleen", 0.6), text=""), 0.7)
    assert made.text == "Not stated, because it is less sure than 70 %: spleen." and "counts" not in made.facts


def test_a_class_below_is_not_stated_and_stays_as_the_guess():
    given = replace(answer(text="glioma", labels=(Label("glioma", 0.6),)), task=Task.CLASSIFY)
    made = finished(Classify("brain-tumor"), given, 0.7)
    assert (made.text, made.guess, made.words) == ("Not sure.", "glioma", "glioma")
    assert finished(Classify("brain-tumor"), given, 0.5).text == "glioma"


@pytest.mark.parametrize(("language", "unsure"), [("en", "Not sure."), ("zh", "不确定。")])
def test_words_below_are_not_stated(engine, scan, language, unsure):
    question = "What is the largest organ?" if language == "en" else "图中最大的器官是什么？"
    made = engine.ask(scan, question, language, min_confidence=0.999)
    assert made.text == unsure and made.guess


def test_a_guess_below_is_not_stated_either(engine, scan):
    question = "What is the largest organ?"
    made = engine.ask(scan, question, guess=True, min_confidence=0.999)
    assert made.text == "Not sure." and made.guess == engine.ask(scan, question, guess=True).words
    codes = {warning.code for warning in made.warnings}
    assert "task.unsure_answer" in codes and "task.guessed" not in codes


def test_labels_without_the_best_one_are_not_chosen_from(engine):
    """The weights weigh the whole set: offered only wrong labels, they do not state one."""
    image = engine.open(sample_path("abdomen-mri"))
    every = engine.classify(image, "brain-tumor").text
    rest = [name for name in ("glioma", "meningioma", "pituitary tumor") if name != every]
    made = engine.classify(image, rest)
    assert made.text == "Not sure." and made.guess in rest
    assert {"task.label_not_offered", "task.unsure_answer"} <= {warning.code for warning in made.warnings}
    assert engine.classify(image, [every, rest[0]]).text == every


def test_the_commands_and_a_batch_take_it(medrega, tmp_path):
    sample = sample_path("abdomen-mri")
    for command in (["ask", "locate the spleen"], ["locate", "spleen"], ["segment", "spleen"]):
        name, words = command
        ran = medrega(name, str(sample), words, "--min-confidence", "0.9", "--json")
        made = json.loads(ran.out)
        assert made["regions"] == [] and made["not_found"] == [] and "90 %" in made["text"], command
    lines = tmp_path / "q.jsonl"
    lines.write_text(json.dumps({"id": 1, "image": str(sample), "question": "locate the spleen"}), encoding="utf-8")
    out = tmp_path / "a.jsonl"
    assert medrega("batch", str(lines), "--out", str(out), "--min-confidence", "0.9").code == 0
    assert json.loads(out.read_text(encoding="utf-8"))["regions"] == []


def test_a_volume_does_not_take_it(medrega, tmp_path):
    ran = medrega("locate", str(tmp_path), "liver", "--volume", "--min-confidence", "0.9")
    assert ran.code == 2 and "--min-confidence" in ran.err


def test_the_server_takes_it():
    pytest.importorskip("starlette")
    from medrega_edge.io.strict_json import JsonFault, parse_json
    from medrega_edge.server.chat import ChatRequest, asked

    def request(share):
        parts = [{"type": "text", "text": "locate the liver"}, {"type": "image_url", "image_url": "data:;base64,QUJD"}]
        body = {"messages": [{"role": "user", "content": parts}], "medrega": {"min_confidence": share}}
        return parse_json(ChatRequest, json.dumps(body))

    assert asked(request(0.9)).question.min_confidence == 0.9
    with pytest.raises(JsonFault):
        request(1.5)
