"""Every measurement of a package on one data set, one process after the other; what is done is not done again.

`suite.json` in the folder of the results holds what was measured and how long each took. Its package, data and options are
compared before a run goes on: results of two packages do not come together in one folder.
"""

from __future__ import annotations

import hashlib
import json
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass, replace
from pathlib import Path

from medrega_bench import result_files
from medrega_bench.evaluation.own_server import own_server
from medrega_bench.performance.environment import Environment
from medrega_edge.errors import UsageError

STATE = "suite.json"
_SERVER = "SERVER"  # stands for the address of a server that is started for the step


@dataclass(frozen=True)
class Inputs:
    """What a suite measures, and with which data. Paths are as they were given; what is None leaves a step or a part out."""

    data: Path
    out: Path
    masks: Path | None = None
    vqa_rad_split: Path | None = None
    reference: str | None = None
    model: str | None = None
    threads: int | None = None


@dataclass(frozen=True)
class Step:
    """One command of `medrega bench`, and the result that it writes; `words` are its arguments."""

    name: str
    result: str
    words: tuple[str, ...]


@dataclass(frozen=True)
class StepTaken:
    """A step that was measured: its result, a hash of its arguments, and the seconds that it took."""

    name: str
    result: str
    arguments: str
    seconds: float


@dataclass(frozen=True)
class SuiteResult:
    """The content of `suite.json`. `package` is the hash of the manifest, `records` that of records.jsonl."""

    date: str
    environment: Environment
    package: str
    records: str
    steps: tuple[StepTaken, ...]
    schema_version: int = 1

    @property
    def seconds(self) -> float:
        """Time of all steps."""
        return sum(step.seconds for step in self.steps)


def steps(inputs: Inputs, model_name: str) -> Iterator[Step]:
    """Yield the steps: what says most first, so that a run that is cut short has it. `model_name` is that of the package."""
    given = [*(["--model", inputs.model] if inputs.model else [])]
    threads = [*(["--threads", str(inputs.threads)] if inputs.threads else [])]
    reference = [*(["--reference", inputs.reference] if inputs.reference else [])]
    data, answers = ["--data", str(inputs.data)], ["--answers", str(inputs.out / "answers")]
    masks = ["--masks", str(inputs.masks)] if inputs.masks else []
    split = ["--vqa-rad-split", str(inputs.vqa_rad_split)] if inputs.vqa_rad_split else []

    def step(name: str, *words: str) -> Step:
        return Step(name, f"{name}.json", (name, *words, "--out", str(inputs.out / f"{name}.json")))

    # The quick set tells whether the package is whole, and how fast it is here.
    yield Step("run", "run/result.json", ("run", *given, *threads, "--out", str(inputs.out / "run")))
    yield step("tasks", *data, "--split", "test", *given, *reference, *answers)
    yield step("field", *data, *split, *given, *threads, *answers)
    yield step("honesty", *data, "--most", "300", *given, *threads, *answers)
    yield step("robust", *data, *given, *reference, *threads, *answers)
    if inputs.masks:
        yield step("masks", *data, *masks, *given, *threads)
        yield step("coverage", *data, *masks, *given, *answers)
    yield step("blind", *data)
    yield step("boxes", "--server", _SERVER, "--model", model_name, "--phantoms", "medical")
    yield step("speed", *given)


def data_hash(data: Path) -> str:
    """Return a hash of the records of a data folder; raises UsageError where they cannot be read."""
    try:
        with (data / "records.jsonl").open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError as error:
        raise UsageError("bench.data_unreadable", file="records.jsonl", reason=error.strerror) from None


def read_state(inputs: Inputs, package: str, records: str) -> tuple[StepTaken, ...]:
    """Return the steps that a folder holds already; raises UsageError if they are of another package or other data."""
    path = inputs.out / STATE
    if not path.is_file():
        return ()
    try:
        state = result_files.parse(SuiteResult, json.loads(path.read_text(encoding="utf-8")), STATE)
    except ValueError:
        raise UsageError("bench.result_unreadable", file=STATE, field="") from None
    if (state.package, state.records) != (package, records):
        raise UsageError("bench.suite_of_other", folder=inputs.out.name)
    return state.steps


def is_done(step: Step, inputs: Inputs, taken: Sequence[StepTaken]) -> bool:
    """Whether a step was measured with the same arguments, and its result is still there."""
    same = any((each.name, each.arguments) == (step.name, arguments(step)) for each in taken)
    return same and (inputs.out / step.result).is_file()


def arguments(step: Step) -> str:
    """Return a hash of a step's arguments, which name folders of the one who measures."""
    return hashlib.sha256("\0".join(step.words).encode()).hexdigest()[:16]


_BENCH = (sys.executable, "-m", "medrega_edge", "bench")


def run_step(step: Step, inputs: Inputs, command: Sequence[str]) -> StepTaken | None:
    """Measure a step with a command that takes its arguments, which writes its progress to our output; None if it fails."""
    begun = time.monotonic()
    with own_server(inputs.model) if _SERVER in step.words else nullcontext("") as address:
        words = [address if word == _SERVER else word for word in step.words]
        ended = subprocess.run([*command, *words])
    if ended.returncode != 0 or not (inputs.out / step.result).is_file():
        return None
    return StepTaken(step.name, step.result, arguments(step), round(time.monotonic() - begun, 1))


def run(
    inputs: Inputs,
    state: SuiteResult,
    planned: Sequence[Step],
    told: Callable[[Step, StepTaken | None], None],
    command: Sequence[str] = _BENCH,
) -> tuple[SuiteResult, list[Step]]:
    """Measure what is not done; after each step the state is written. Returns it and the steps that failed.

    `told` gets each step as it begins, without a result, and when it has one.
    """
    failed: list[Step] = []
    for step in planned:
        if is_done(step, inputs, state.steps):
            continue
        told(step, None)
        taken = run_step(step, inputs, command)
        if taken is None:
            failed.append(step)
            continue
        others = tuple(each for each in state.steps if each.name != step.name)
        state = replace(state, steps=(*others, taken))
        result_files.write(inputs.out / STATE, state)
        told(step, taken)
    return state, failed
