"""Questions from a table, answered by `medrega batch`, scored setting by setting."""

import json
from pathlib import Path

import pytest
from typer.testing import CliRunner

from medrega_bench.cli.main import bench_app
from medrega_bench.evaluation.score import Item, answered_items, score
from medrega_bench.evaluation.settings import SETTINGS
from medrega_edge.domain import Task
from medrega_edge.errors import UsageError
from medrega_edge.evaluation.questions import Question, Truth

from .layouts import lines, table, write


def answer(question, **changes):
    row = {
        "id": question["id"],
        "text": question["truth"]["text"],
        "raw_text": question["truth"]["text"],
        "regions": [],
        "labels": [],
    }
    return row | changes


def test_questions_are_answered_and_scored(tmp_path):
    path = table(
        tmp_path,
        'a.png,locate the lesion,lesion,detect,,"20,10,100,50",',
        'a.png,locate the liver,liver,detect,,"150,60,200,100",',
        "a.png,Which?,a; b,classify,,,a;b;c",
        "a.png,Which?,c,classify,,,a;b;c",
        "a.png,Is it?,yes,,,,",
    )
    out = tmp_path / "questions.jsonl"
    run = CliRunner().invoke(bench_app, ["questions", "--from", "csv", "--data", str(path), "--out", str(out)])
    assert run.exit_code == 0, run.output
    assert "2  single_object_single_region" in run.stderr
    rows = [json.loads(line) for line in out.read_text("utf-8").splitlines()]
    assert [set(SETTINGS) >= {row["setting"]} for row in rows] == [True] * 5
    assert rows[2]["labels"] == ["a", "b", "c"]
    region = {"label": "lesion", "box": [20, 10, 100, 50], "confidence": 0.8}
    answers = [
        answer(rows[0], regions=[region]),
        {"id": rows[1]["id"], "error": {"kind": "image", "message": "The image is broken.", "exit_code": 3}},
        answer(rows[2], labels=[{"label": "a", "confidence": 0.9}, {"label": "b", "confidence": 0.8}]),
        answer(rows[3]),  # no labels: the text is read
        answer(rows[4]),
    ]
    given = write(tmp_path / "answers.jsonl", lines(*answers))
    scored = {}
    for setting in ("single_object_single_region", "classification_multi", "vqa_en"):
        command = ["score", str(given), "--questions", str(out), "--setting", setting, "--json"]
        run = CliRunner().invoke(bench_app, command)
        assert run.exit_code == 0, run.output
        scored[setting] = json.loads(run.stdout)
        assert "belong to other settings" in run.stderr
    places = scored["single_object_single_region"]
    assert places["figures"]["acc50"] == 0.5
    assert places["standard"]["AP50"] == pytest.approx((1.0 + 0.0) / 2)
    assert "Line 2 is an error, not an answer; it is scored as saying nothing." in places["warnings"]
    assert scored["classification_multi"]["figures"] == {"F1-macro": 1.0, "Accuracy": 1.0}
    assert scored["vqa_en"]["figures"]["closedQuestionsAccuracy"] == 1.0


def test_answers_without_their_questions_are_known_for_what_they_are(tmp_path):
    given = write(tmp_path / "answers.jsonl", lines(answer({"id": "a", "truth": {"text": "yes"}})))
    with pytest.raises(UsageError) as error:
        CliRunner().invoke(bench_app, ["score", str(given), "--setting", "vqa_en"], catch_exceptions=False)
    assert error.value.code == "bench.questions_missing"


def question(name, line, text="Is it?"):
    return Question(id=name, image=Path("x.png"), question=text, task=Task.VQA, truth=Truth("yes"), line=line)


def test_a_question_without_an_answer_is_named():
    questions = [question("a", 1), question("b", 2, "有吗？")]
    with pytest.raises(UsageError) as error:
        answered_items(questions, [Item(1, {"id": "c"})], "vqa_en")
    assert error.value.code == "bench.question_unanswered" and error.value.message.params == {"line": 1}
    with pytest.raises(UsageError) as error:
        answered_items(questions, [Item(1, {"id": "a"})], "report_en")
    assert error.value.code == "bench.no_question_of_setting"
    assert error.value.message.params == {"count": 2, "setting": "report_en"}
    with pytest.raises(UsageError) as error:
        answered_items(questions, [Item(5, {"id": "a"})], "vqa_en")
    assert error.value.code == "bench.not_from_batch" and error.value.message.params == {"line": 5}
    items, others = answered_items(questions, [Item(5, {"id": "a", "text": "no", "labels": []})], "vqa_en")
    assert others == 1
    assert score("vqa_en", items).figures["closedQuestionsAccuracy"] == 0
