"""Everything with one command: which steps there are, that a second run goes on, and that failures are told."""

import json
import sys
from dataclasses import replace
from datetime import date

import pytest

from medrega_bench import result_files
from medrega_bench.evaluation import suite
from medrega_bench.evaluation.suite import Inputs, Step, SuiteResult
from medrega_bench.performance.environment import environment
from medrega_bench.reports.suite_table import table
from medrega_edge.errors import UsageError

OLDER = """{"date": "2026-11-30", "environment": {"processor": "cpu", "threads": 2, "memory_gib": 1.0, "system": "Linux",
"python": "3.11", "versions": {}}, "package": "package", "records": "records", "steps": [
{"name": "speed", "result": "speed.json", "arguments": "a", "seconds": 60.0},
{"name": "run", "result": "run/result.json", "arguments": "b", "seconds": 120.0}], "schema_version": 1}"""
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
    done, failed = suite.run(inputs, state, planned, lambda step, taken: asked.append((step.name, taken)), command)
    return done, failed, asked


def test_a_second_run_measures_only_what_is_left(inputs, state):
    one, two = (step_of(name, inputs) for name in ("field", "honesty"))
    state, failed, asked = run(inputs, state, [one])
    assert (failed, asked) == ([], [("field", None), ("field", state.steps[0])])
    assert suite.read_state(inputs, "package", "records") == state
    state, failed, asked = run(inputs, state, [one, two])
    assert {name for name, _ in asked} == {"honesty"}
    assert [step.name for step in suite.read_state(inputs, "package", "records").steps] == ["field", "honesty"]


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


def test_a_server_that_does_not_start_fails_its_step_only(inputs, state):
    server = replace(
        step_of("boxes", inputs), words=("boxes", "--server", "SERVER", "--out", str(inputs.out / "boxes.json"))
    )
    inputs = replace(inputs, model=str(inputs.out / "no such package"))
    state, failed, asked = run(inputs, state, [server, step_of("speed", inputs)])
    assert [step.name for step in failed] == ["boxes"] and [step.name for step in state.steps] == ["speed"]
    (_, error), *_ = [(name, told) for name, told in asked if name == "boxes" and told]
    assert error.code == "bench.own_server_ended"


def test_a_step_tells_when_and_on_what_it_was_measured(inputs, state):
    state, _, _ = run(inputs, state, [step_of("field", inputs)])
    (step,) = state.steps
    here = environment()
    assert (step.date, step.processor) == (date.today().isoformat(), here.processor)
    assert (step.threads, step.commit) == (here.threads, here.commit)
    two = replace(step_of("robust", inputs), words=("robust", "--threads", "7", "--out", str(inputs.out / "robust.json")))
    state, _, _ = run(replace(inputs, threads=7), state, [two])
    assert [each.threads for each in state.steps] == [here.threads, 7]
    later = replace(state, date="2027-01-01", environment=replace(here, processor="other"))
    assert later.steps == state.steps
    text = table(later)
    assert "| step | what | minutes | threads |" in text and f"processor {here.processor}" in text and "2027" not in text


def test_a_second_try_says_that_its_minutes_are_those_of_its_last_part(inputs, state):
    kept = replace(step_of("field", inputs), words=("field", "--answers", "answers", *step_of("field", inputs).words[1:]))
    steps = [kept, step_of("blind", inputs)]
    state, failed, _ = run(inputs, state, steps, "raise SystemExit(1)")
    assert (len(failed), state.steps, state.begun) == (2, (), ("field", "blind"))
    state, failed, _ = run(inputs, suite.read_state(inputs, "package", "records"), steps)
    assert not failed and state.begun is None
    assert [step.is_last_part for step in state.steps] == [True, None]  # the other one keeps no answers
    text = table(state)
    assert "(last part)" in text and "| all |  | at least 0 |" in text
    (inputs.out / kept.result).unlink()
    assert run(inputs, state, [kept])[0].steps[-1].is_last_part


def test_the_table_has_the_order_of_the_plan(inputs, state, tmp_path):
    planned = [step.name for step in suite.steps(replace(inputs, masks=tmp_path), "lite")]
    assert planned == list(suite.ORDER)
    state, _, _ = run(inputs, state, [step_of(name, inputs) for name in reversed(planned)])
    lines = table(state).splitlines()[2:]
    assert [line.split("`")[1] for line in lines if "`" in line] == planned


def test_an_older_file_is_read_and_its_steps_keep_its_date_and_machine(inputs):
    older = json.loads(OLDER)
    (inputs.out / suite.STATE).write_text(OLDER)
    state = suite.read_state(inputs, "package", "records")
    assert {(step.date, step.processor, step.threads, step.commit) for step in state.steps} == {
        ("2026-11-30", "cpu", 2, None)
    }
    parsed = result_files.parse(SuiteResult, older, suite.STATE)
    assert table(parsed) == table(state)
    assert table(state).splitlines()[2:4] == [
        "| `run` | the quick set, speed, energy | 2.0 |",
        "| `speed` | every stage of an answer, memory | 1.0 |",
    ]
    assert "measured 2026-11-30; processor cpu; threads 2; manifest package" in table(state)


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
