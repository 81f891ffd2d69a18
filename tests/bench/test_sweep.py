"""The sweep: which points nobody needs, which packages stay, and the frontier as a report, a table and a picture."""

import json
import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest
from typer.testing import CliRunner

import medrega_export
from medrega_bench import result_files
from medrega_bench.cli.main import bench_app
from medrega_bench.datasets import dataset_selection
from medrega_bench.performance.spread import Spread
from medrega_bench.reports import render
from medrega_bench.sweep import sweep, sweep_report
from medrega_bench.sweep.result import Point, Rate, RefusedPrecision, read
from medrega_edge.domain import Language
from medrega_edge.errors import GateError, ResourceError, UsageError
from medrega_export import FULL, Recipe

from .handmade import HALF, many, package, result, without_none

SAME, UNSURE, LESS, MORE = (-0.002, 0.002), (-0.03, 0.03), (0.001, 0.004), (-0.05, -0.02)  # what the first point loses


def point(mib=8.0, rate=10.0, swing=1.0):
    return Point(
        precision="int4",
        recipe=Recipe(),
        sha256="0",
        mib=mib,
        n=1,
        overall=None,
        loss=None,
        answers_per_second=Rate(rate, rate - swing, rate + swing, 7),
    )


def test_a_point_is_dominated_by_one_that_is_surely_as_good_in_everything_and_better_in_something():
    assert sweep.dominates(point(mib=7.0), point(), SAME)
    assert sweep.dominates(point(rate=20.0), point(), SAME)
    assert sweep.dominates(point(), point(), MORE)
    assert not sweep.dominates(point(), point(), SAME)
    assert not sweep.dominates(point(mib=7.0, rate=5.0), point(), SAME)
    assert not sweep.dominates(point(mib=9.0), point(), MORE)


def test_a_loss_that_chance_may_hide_or_that_is_sure_keeps_a_point():
    assert not sweep.dominates(point(mib=7.0), point(), UNSURE)
    assert not sweep.dominates(point(mib=7.0), point(), LESS)


def test_speeds_whose_repeats_overlap_and_sizes_within_a_hundredth_are_alike():
    assert sweep.dominates(point(mib=7.0, rate=9.0), point(), SAME)
    assert not sweep.dominates(point(rate=11.0), point(), SAME)
    assert not sweep.dominates(point(mib=7.95), point(), SAME)


def timed(rows, ms, role="package", precision="int4", mib=8.0):
    measured = package(rows, role, precision)
    (stages,) = measured.speed
    return replace(measured, mib=mib, speed=(replace(stages, first_answer_ms=Spread(ms, ms, ms, ms, 7)),))


@pytest.fixture
def made():
    packages = (
        timed(many(), 40.0, "reference", "fp32", 30.0),
        timed(many(HALF), 20.0, precision="worse"),
        timed(many(), 20.0, precision="better"),
    )
    recipes = (FULL, Recipe(), Recipe(bits=8))
    refused = (RefusedPrecision("coarse", "It is too coarse."),)
    return sweep.summary(sweep.Measured(result(*packages), recipes, refused, "nano"))


def test_a_summary_has_a_point_each_with_its_loss_and_no_question(made, tmp_path):
    assert made.kind == "sweep"
    full, worse, better = made.points
    assert full.loss is None
    assert worse.loss.overall.value == pytest.approx(0.5)
    assert worse.answers_per_second.median == 50.0
    assert worse.dominated_by == full.dominated_by == (3,)
    assert better.dominated_by == ()
    assert better.recipe.bits == 8
    result_files.write(tmp_path / "sweep.json", made)
    text = (tmp_path / "sweep.json").read_text("utf-8")
    assert "locate the liver" not in text
    assert read(json.loads(text), "sweep.json") == made


def test_a_sweep_without_a_point_is_not_drawn(made):
    with pytest.raises(UsageError) as error:
        sweep_report.report(replace(made, points=()), Language.EN)
    assert error.value.code == "bench.sweep_empty"


def test_the_committed_sweep_keeps_every_value(tmp_path):
    path = Path(__file__).parents[2] / "bench" / "results" / "sweep-nano.json"
    content = json.loads(path.read_text("utf-8"))
    result_files.write(tmp_path / "sweep.json", read(content, path.name))
    again = json.loads((tmp_path / "sweep.json").read_text("utf-8"))
    again["environment"] = without_none(again["environment"])
    assert {key: again[key] for key in content if key != "points"} == {
        key: content[key] for key in content if key != "points"
    }
    for point, written in zip(content["points"], again["points"], strict=True):
        written["recipe"] = {key: written["recipe"][key] for key in point["recipe"]}  # which has had fewer choices
        assert {key: written[key] for key in point if key != "loss"} == {key: point[key] for key in point if key != "loss"}
        for entry, same in zip(*((one["loss"] or {"accuracy": []})["accuracy"] for one in (point, written)), strict=True):
            assert entry == {key: same[key] for key in entry}


@pytest.mark.parametrize("language", list(Language))
def test_a_report_shows_both_frontiers_each_task_and_what_was_refused(made, language):
    text = render.html(sweep_report.report(made, language))
    assert text.count('<svg class="chart"') == 2
    assert text.count('<g class="mark">') == 6
    to = "至" if language is Language.ZH else "to"
    assert f"+50.0 (+50.0 {to} +50.0) *" in text
    assert "It is too coarse." in text
    assert "<td>worse</td><td>8.0</td>" in text


def test_the_frontier_as_a_table_of_a_document(made):
    lines = sweep_report.block(made).splitlines()
    assert lines[3] == ("| 2 | worse | 8.0 | 50.0 (50.0 to 50.0) | +50.0 (+50.0 to +50.0) | 50.0 (50.0 to 50.0) | 3 |")
    assert "checkpoint nano, 20 questions of quick." in lines[-1]


@pytest.fixture
def place(tmp_path):
    (tmp_path / "checkpoint").mkdir()
    (tmp_path / "checkpoint" / "config.json").write_text("{}")
    (tmp_path / "calibration.jsonl").write_text("{}\n")
    (tmp_path / "packages").mkdir()
    return sweep.PackageBuilder(tmp_path / "checkpoint", tmp_path / "calibration.jsonl", tmp_path)


@pytest.fixture
def built(monkeypatch):
    """The recipes that were built, by an export that needs no torch."""
    recipes = []

    def export(options):
        recipes.append(options.recipe)
        options.out.mkdir(exist_ok=True)

    def options(checkpoint, out, calibration, items, recipe, force):
        return SimpleNamespace(out=out, recipe=recipe)

    monkeypatch.setitem(vars(medrega_export), "export", export)  # setattr would import the real one
    monkeypatch.setitem(vars(medrega_export), "ExportOptions", options)  # setattr would import the real one
    return recipes


def test_a_point_is_built_once_and_again_when_its_weights_change(place, built, monkeypatch):
    monkeypatch.setattr(sweep.Package, "open", lambda folder: folder.name)
    assert place.build(Recipe(), str) == "gptq-int4-g32_vision-int8"
    assert place.build(Recipe(), str) == "gptq-int4-g32_vision-int8"
    place.build(FULL, str)
    assert built == [Recipe(), FULL]
    (place.checkpoint / "config.json").write_text("{ }")
    place.build(Recipe(), str)
    assert built == [Recipe(), FULL, Recipe()]


def test_what_the_export_refuses_is_left_out_and_named_but_full_precision_has_to_be_there(place, monkeypatch):
    def build(recipe):
        raise GateError("bench.gate_missed") if recipe.bits == 4 else AssertionError(recipe.name)

    monkeypatch.setattr(sweep, "RECIPES", (Recipe(),))
    monkeypatch.setattr(sweep.PackageBuilder, "build", lambda self, recipe, tell: build(recipe))
    monkeypatch.setattr(sweep.measure, "result_of", lambda *_: {})
    monkeypatch.setattr(sweep, "MemoryReader", lambda _: SimpleNamespace(gigabytes_per_second=lambda: 1.0))
    messages = []
    measured = sweep.run(place, sweep.measure.Plan([]), ("quick", None), messages.append, None)
    reason = "The result does not pass; what it misses is listed."
    assert measured.refused == (RefusedPrecision("gptq-int4-g32 + vision-int8", reason),)
    assert [message.code for message in messages] == ["bench.not_built"]


def test_a_missing_checkpoint_or_extra_is_said_before_any_work(place, built, monkeypatch):
    place.check()
    with pytest.raises(UsageError) as error:
        replace(place, checkpoint=place.checkpoint / "gone").check()
    assert error.value.code == "bench.no_checkpoint"
    with pytest.raises(UsageError) as error:
        replace(place, calibration=place.folder / "gone").check()
    assert error.value.code == "bench.no_calibration"
    monkeypatch.undo()
    monkeypatch.setitem(sys.modules, "medrega_export.pipeline", None)
    with pytest.raises(ResourceError) as error:
        place.check()
    assert error.value.code == "bench.no_extra" and error.value.message.params == {"extra": "export"}


def test_the_command_writes_reports_and_prints_every_point(place, made, monkeypatch, tmp_path):
    plans = []
    monkeypatch.setattr(sweep.PackageBuilder, "check", lambda self: None)
    monkeypatch.setattr(dataset_selection, "choose", lambda *_: (["question"], None))
    monkeypatch.setattr(sweep, "run", lambda builder, plan, data, *_: plans.append((builder, plan, data)))
    monkeypatch.setattr(sweep, "summary", lambda _: made)
    out, keep = tmp_path / "out", tmp_path / "kept"
    keep.mkdir()
    words = [place.checkpoint, "--calibration", place.calibration, "--out", out, "--keep", keep, "--device", "cuda"]
    run = CliRunner().invoke(bench_app, ["sweep", *map(str, words)], catch_exceptions=False)
    assert run.exit_code == 0, run.output
    ((builder, plan, data),) = plans
    assert builder == replace(place, folder=out) and data == ("quick", None)
    assert plan.devices == ("cuda",) and plan.plain and plan.bare_ids and not plan.with_speed
    assert sorted(path.name for path in out.iterdir()) == ["report.html", "report.md", "sweep.json"]
    assert (keep / "sweep-checkpoint.json").read_text("utf-8") == (out / "sweep.json").read_text("utf-8")
    lines = run.output.splitlines()
    assert lines[0] == "1 fp32: 30.0 MiB, the reference, 25.0 answers/s, dominated by 3"
    assert lines[2] == "3 better: 8.0 MiB, loss +0.0000 (+0.0000 to +0.0000), 50.0 answers/s"
