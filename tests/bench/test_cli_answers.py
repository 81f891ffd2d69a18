"""`medrega bench label-priors`, `blind` and `malformed`: what they write, print and refuse; no model answers here."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest
from typer.testing import CliRunner

import medrega_edge.engine
import medrega_edge.evaluation.records
from medrega_bench import extras
from medrega_bench.cli.main import bench_app
from medrega_bench.evaluation import grammar_stress, label_priors, question_only_baseline
from medrega_bench.evaluation.grammar_stress import Written
from medrega_edge.domain import Language
from medrega_edge.errors import GateError, UsageError
from medrega_edge.package.package import Package
from medrega_edge.package.registry import default_folder
from medrega_edge.prompts.templates import PromptBook


def bench(*words):
    return CliRunner().invoke(bench_app, [str(word) for word in words])


@pytest.fixture
def no_records(monkeypatch):
    monkeypatch.setattr(medrega_edge.evaluation.records, "read_records", lambda data, split: [])


@pytest.fixture
def prompts(tmp_path, monkeypatch, no_records):
    """The prompts of a checkpoint without priors; two questions, whose macro F1 rises from 0.5 to 0.75."""
    path = tmp_path / "prompts.json"
    book = PromptBook.from_json(Package.open(default_folder()).text("prompts"))
    path.write_text(replace(book, label_priors={}).to_json(), "utf-8")
    monkeypatch.setattr(medrega_edge.engine, "load", lambda model: None)
    monkeypatch.setattr(label_priors, "score_candidates", lambda engine, records: ["one", "two"])
    monkeypatch.setattr(label_priors, "macro_f1", lambda scores: (0.5, 0.75))
    monkeypatch.setattr(label_priors, "fit", lambda scores: "fitted")
    monkeypatch.setattr(label_priors, "as_prompts", lambda fitted: {"en": [{"cat": -1.0, "dog": -2.0}]})
    return path


def test_priors_that_help_are_written(prompts, tmp_path):
    run = bench("label-priors", "--data", tmp_path, "--prompts", prompts)
    assert run.exit_code == 0, run.output
    assert PromptBook.from_json(prompts.read_text("utf-8")).label_priors[Language.EN][0]["dog"] == -2.0
    assert run.output.splitlines() == [
        "macro F1 50.0, corrected for label priors 75.0, 2 questions",
        "label priors of 1 label sets written to prompts.json; export it again",
    ]


def test_priors_that_do_not_help_are_not_written(prompts, tmp_path, monkeypatch):
    before = prompts.read_bytes()
    monkeypatch.setattr(label_priors, "macro_f1", lambda scores: (0.5, 0.5))
    assert bench("label-priors", "--data", tmp_path, "--prompts", prompts).exit_code == 0
    assert prompts.read_bytes() == before


def test_priors_need_a_file_and_questions(prompts, tmp_path, monkeypatch):
    error = bench("label-priors", "--data", tmp_path, "--prompts", tmp_path / "gone.json").exception
    assert isinstance(error, UsageError) and error.code == "bench.no_prompts"
    monkeypatch.setattr(label_priors, "score_candidates", lambda engine, records: [])
    error = bench("label-priors", "--data", tmp_path, "--prompts", prompts).exception
    assert isinstance(error, UsageError) and error.code == "bench.no_classification"


@pytest.mark.usefixtures("no_records")
def test_the_baseline_without_images_names_what_val_chose(tmp_path, monkeypatch):
    trials = tuple(
        question_only_baseline.Trial(language=language, unit="word", longest=2, c=0.3, right=0.5) for language in Language
    )
    monkeypatch.setattr(question_only_baseline, "trials", lambda train, val: trials)
    monkeypatch.setattr(question_only_baseline, "figures", lambda train, tested: ())
    run = bench("blind", "--data", tmp_path, "--out", tmp_path / "blind.json")
    assert run.exit_code == 0, run.output
    assert run.output.splitlines()[0] == "en: word 1 to 2, C 0.3: 0.500 right on val"
    assert json.loads((tmp_path / "blind.json").read_text("utf-8"))["chosen_on_val"]["zh"]["unit"] == "word"


@pytest.mark.parametrize("malformed", [0, 1])
def test_a_box_that_cannot_be_read_does_not_pass(tmp_path, monkeypatch, malformed):
    monkeypatch.setattr(extras, "require_export", lambda name: None)
    counts = Written(generations=5, different=5, with_a_region=4, boxes=6, malformed=malformed, examples=())
    monkeypatch.setattr(grammar_stress, "run", lambda folder, count: {"named": counts})
    run = bench("malformed", "--count", 10, "--out", tmp_path / "malformed.json")
    assert f"named: {malformed} malformed of 5 (6 boxes)" in run.output
    assert json.loads((tmp_path / "malformed.json").read_text("utf-8"))["written"]["named"]["malformed"] == malformed
    if malformed:
        assert isinstance(run.exception, GateError) and run.exception.code == "bench.grammar_hole"
    else:
        assert run.exit_code == 0
