"""docs/schemas/ is what the types say, and real documents fit it without a key that it does not name."""

import json
from pathlib import Path

import pytest

from medrega_edge.batch.batch_line import BatchLine
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Modality, Task
from medrega_edge.evaluation.questions import LabelledBoxes, Question, Truth
from medrega_edge.images.samples import sample_path
from medrega_edge.package.registry import default_folder, find_package
from medrega_edge.tasks.classification import Classify
from medrega_edge.tasks.detection import Detect
from medrega_edge.tasks.identification import Identify
from medrega_edge.tasks.reporting import Report
from medrega_edge.tasks.segmentation import Segment
from medrega_edge.tasks.vqa import AnswerQuestion
from medrega_edge.volumes.locate import locate_in_volume
from medrega_edge.volumes.reader import open_volume
from tests.edge.stub import medrega, put
from tools import schemas


def closed(schema):
    """The schema with every object closed, so that a key which nobody described fails."""
    if isinstance(schema, list):
        return [closed(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    inner = {key: closed(value) for key, value in schema.items()}
    return {"additionalProperties": False, **inner} if "properties" in schema else inner


def check(name, document):
    schema = closed(json.loads(schemas.path_of(name).read_text("utf-8")))
    validator(schema).check_schema(schema)
    validator(schema).validate(document)


def validator(schema):
    import jsonschema  # it takes seconds

    return jsonschema.Draft202012Validator(schema)


def test_none_is_stale():
    assert schemas.stale() == [], "run: python -m tools.schemas write"


@pytest.mark.parametrize(
    ("task", "language"),
    [
        (Detect(("liver",)), "en"),
        (Detect(("liver", "spleen")), "en"),
        (Detect(("polyp",)), "en"),
        (Detect(("肝脏",)), "zh"),
        (Identify(PixelBox(54, 72, 182, 194)), "zh"),
        (Report(), "en"),
        (Report(grounded=True), "en"),
        (Classify(("CT scan", "MRI")), "en"),
        (AnswerQuestion("Is the liver normal?"), "en"),
    ],
)
def test_answers_of_the_default_package_fit(engine, scan, task, language):
    check("answer", json.loads(json.dumps(engine.run(scan, task, language).to_dict(include_identifiers=True))))


def test_the_answer_about_a_volume_fits(tmp_path):
    from tests.edge.test_volumes import MasksEngine, series

    answer = locate_in_volume(MasksEngine(), open_volume(series(tmp_path / "ct")), Segment(["liver"]), Language.EN)
    document = json.loads(json.dumps(answer.to_dict()))
    assert document["regions"][0]["longest"] and document["regions"][0]["boxes"][0]["mask"]
    check("volume_answer", document)


def test_rows_of_a_batch_fit(monkeypatch, tmp_path):
    put(monkeypatch)
    folder = tmp_path / "in"
    folder.mkdir()
    (folder / "a.dcm").write_bytes(sample_path("abdomen-mri").read_bytes())
    (folder / "letter.png").write_text("no image")
    lines = [
        {"id": 1, "image": "in/a.dcm", "question": "x"},
        {"id": [2], "image": "in/letter.png", "question": "x"},
        {"id": None, "image": "in/a.dcm", "question": "", "task": "identify", "box": [1, 2, 30.5, 40], "frame": None},
        {"id": 0.5, "image": "in/a.dcm", "question": "", "task": "classify", "labels": ["a", "b"]},
        {"id": "four", "image": "in/a.dcm", "question": "x", "setting": "vqa_en", "truth": {"text": "yes"}},
    ]
    for line in lines:
        check("batch_line", line)
    questions, out = tmp_path / "q.jsonl", tmp_path / "a.jsonl"
    questions.write_text("\n".join([*map(json.dumps, lines), "{"]))
    medrega("batch", questions, "--out", out, "--de-identified")
    rows = [json.loads(row) for row in out.read_text("utf-8").splitlines()]
    medrega("batch", folder, "--question", "x", "--out", tmp_path / "b.jsonl", "--save-dir", tmp_path / "m")
    rows += [json.loads(row) for row in (tmp_path / "b.jsonl").read_text("utf-8").splitlines()]
    assert len(rows) == 8
    assert sum("error" in row for row in rows) == 3
    for row in rows:
        check("batch_row", row)


def test_the_default_package_fits():
    folder = default_folder()
    check("manifest", json.loads((folder / "manifest.json").read_text("utf-8")))
    check("prompts", json.loads(find_package().text("prompts")))


REGION = LabelledBoxes("liver", (PixelBox(1, 2, 30, 40),))


@pytest.mark.parametrize(
    "question",
    [
        Question("1", Path("a.png"), "locate the liver", Task.DETECT, Truth("liver", (REGION,)), Language.EN),
        Question(
            "2",
            Path("a.png"),
            "",
            Task.CLASSIFY,
            Truth("CT", labels=("CT",)),
            labels=("CT", "MRI"),
            several=True,
            modality=Modality.CT,
            object="liver",
        ),
        Question("3", Path("a.png"), "", Task.IDENTIFY, Truth("liver"), box=PixelBox(1, 2, 3.5, 4)),
    ],
)
def test_a_question_with_its_truth_is_a_line_of_a_batch(question):
    line = json.loads(json.dumps(question.to_dict()))
    validator(schemas.schema_of("question")).validate(line)
    check("batch_line", line)
    assert BatchLine.from_json(json.dumps(line), 1).question == question.question


def test_a_record_fits():
    region = {"label_en": "liver", "label_zh": "肝脏", "boxes": [[1, 2, 3, 4]], "kind": "organ"}
    asked = {"lang": "en", "question": "Is it normal?", "answer": "yes", "type": "closed"}
    image = {"id": "1", "dataset": "d", "image": "images/1.png", "modality": "ct", "width": 9, "height": 9}
    check("record", image)
    check("record", image | {"split": "val", "regions": [region], "labels": ["CT"], "qa": [asked], "dup_of_eval": False})


@pytest.mark.parametrize(
    ("name", "document"),
    [
        ("record", {"id": "1"}),
        ("question", {"id": "1", "image": "a.png", "question": "x", "task": "segment", "truth": {"text": ""}}),
        ("batch_line", {"id": 1, "image": "a.png"}),
        ("batch_line", {"id": 1, "image": "a.png", "question": "x", "lang": "en"}),
        ("prompts", {"prefix": "{image}", "templates": {}, "modalities": {"CT": "photo"}}),
        ("manifest", {"schema_version": 1}),
    ],
)
def test_what_is_refused_does_not_fit(name, document):
    from jsonschema import ValidationError

    with pytest.raises(ValidationError):
        check(name, document)
