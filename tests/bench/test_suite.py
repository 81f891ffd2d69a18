"""Everything with one command: which steps there are, that a second run goes on, and that failures are told."""

import json
import sys
from dataclasses import replace

import pytest

from medrega_bench.evaluation import suite
from medrega_bench.evaluation.suite import Inputs, Step, SuiteResult
from medrega_bench.performance.environment import environment
from medrega_edge.errors import UsageError

WRITES = "import pathlib, sys; pathlib.Path(sys.argv[-1]).write_text('{}')"


@pytest.fixture
def inputs(tmp_path):
    return Inputs(tmp_path / "data", tmp_path)


@pytest.fixture
def state():
    return SuiteResult("2026-11-30", environment(), "package", "records", ())


def step_of(name, inputs):
    return Step(name, f"{name}.json", (name, "--out", str(inputs.out / f"{name}.json")))


def test_masks_are_measured_where_there_are_some(inputs, tmp_path):
    assert "masks" not in {step.name for step in suite.steps(inputs, "lite")}
    given = list(suite.steps(replace(inputs, masks=tmp_path), "lite"))
    assert {"tasks", "honesty", "robust", "masks", "coverage", "boxes", "speed"} <= {step.name for step in given}
    assert len({step.result for step in given}) == len(given)


def test_every_step_is_a_command_with_these_options(inputs, tmp_path):
    from typer.main import get_command

    from medrega_bench.cli.main import bench_app

    commands = get_command(bench_app).commands
    given = replace(inputs, masks=tmp_path, vqa_rad_split=tmp_path, reference="full", model="lite", threads=2)
    for step in suite.steps(given, "lite"):
        options = {name for each in commands[step.words[0]].params for name in each.opts}
        assert {word for word in step.words if word.startswith("--")} <= options, step.name


def run(inputs, state, planned, code=WRITES):
    asked = []
    command = (sys.executable, "-c", code)
    done, failed = suite.run(
        inputs, state, planned, lambda step, taken: asked.append((step.name, taken is not None)), command
    )
    return done, failed, asked


def test_a_second_run_measures_only_what_is_left(inputs, state):
    one, two = (step_of(name, inputs) for name in ("field", "honesty"))
    state, failed, asked = run(inputs, state, [one])
    assert (failed, asked) == ([], [("field", False), ("field", True)])
    taken = suite.read_state(inputs, "package", "records")
    assert taken == state.steps
    state, failed, asked = run(inputs, state, [one, two])
    assert {name for name, _ in asked} == {"honesty"}
    assert [step.name for step in suite.read_state(inputs, "package", "records")] == ["field", "honesty"]


def test_a_lost_result_and_other_options_are_measured_again(inputs, state):
    step = step_of("field", inputs)
    state, _, _ = run(inputs, state, [step])
    assert suite.is_done(step, inputs, state.steps)
    assert not suite.is_done(replace(step, words=(*step.words, "--threads", "1")), inputs, state.steps)
    (inputs.out / step.result).unlink()
    assert not suite.is_done(step, inputs, state.steps)


@pytest.mark.parametrize("code", ["raise SystemExit(5)", "pass"])
def test_a_step_that_fails_or_writes_nothing_is_told_and_the_next_one_runs(inputs, state, code):
    steps = [step_of("field", inputs), step_of("honesty", inputs)]
    state, failed, _ = run(inputs, state, steps, code)
    assert (state.steps, failed) == ((), steps)


def test_results_of_another_package_stay_alone(inputs, state):
    run(inputs, state, [step_of("field", inputs)])
    for package, records in (("other", "records"), ("package", "other")):
        with pytest.raises(UsageError) as error:
            suite.read_state(inputs, package, records)
        assert error.value.code == "bench.suite_of_other"


def test_a_broken_state_is_told(inputs):
    (inputs.out / suite.STATE).write_text("[")
    with pytest.raises(UsageError) as error:
        suite.read_state(inputs, "package", "records")
    assert error.value.code == "bench.result_unreadable"


def test_the_state_names_no_folder(inputs, state):
    run(inputs, state, [step_of("field", inputs)])
    assert str(inputs.out) not in json.dumps(json.loads((inputs.out / suite.STATE).read_text()))
