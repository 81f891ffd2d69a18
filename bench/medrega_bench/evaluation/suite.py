"""Every measurement of a package on one data set, one process after the other; what is done is not done again.

`suite.json` in the folder of the results holds what was measured and how long each took. Its package, data and options are
compared before a run goes on: results of two packages do not come together in one folder. A step that failed, or whose
result was lost, may find answers of its first try: then its seconds are those of its last part, and it says so.
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
from datetime import date
from pathlib import Path

from medrega_bench import result_files
from medrega_bench.evaluation.own_server import own_server
from medrega_bench.performance.environment import Environment, commit, processor
from medrega_bench.result_files import optional
from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.inference.devices import available_threads

STATE = "suite.json"
_SERVER = "SERVER"  # stands for the address of a server that is started for the step
_KEEPS_ANSWERS = "--answers"
ORDER = ("run", "tasks", "field", "honesty", "robust", "masks", "coverage", "blind", "boxes", "speed")


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
    """A step that was measured: its result, a hash of its arguments, and the seconds that it took.

    Then when, on what, with how many threads, and with which commit of medrega-edge; older results lack these.
    `is_last_part` tells that answers of an earlier try may have been kept: the seconds are those of the rest.
    """

    name: str
    result: str
    arguments: str
    seconds: float
    date: str | None = optional()
    processor: str | None = optional()
    threads: int | None = optional()
    commit: str | None = optional()
    is_last_part: bool | None = optional()


@dataclass(frozen=True)
class SuiteResult:
    """The content of `suite.json`. `package` is the hash of the manifest, `records` that of records.jsonl.

    `date` and `environment` are those of the last run. `begun` has the steps that were begun and not finished.
    """

    date: str
    environment: Environment
    package: str
    records: str
    steps: tuple[StepTaken, ...]
    schema_version: int = 1
    begun: tuple[str, ...] | None = optional()

    @property
    def ordered(self) -> list[StepTaken]:
        """The steps in the order of the plan, those of a newer version last."""
        return sorted(self.steps, key=lambda step: ORDER.index(step.name) if step.name in ORDER else len(ORDER))

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


def read_state(inputs: Inputs, package: str, records: str) -> SuiteResult | None:
    """Return what a folder holds already, each step with its date and machine; None where it holds nothing.

    Raises UsageError if it is of another package or other data.
    """
    path = inputs.out / STATE
    if not path.is_file():
        return None
    try:
        state = result_files.parse(SuiteResult, json.loads(path.read_text(encoding="utf-8")), STATE)
    except ValueError:
        raise UsageError("bench.result_unreadable", file=STATE, field="") from None
    if (state.package, state.records) != (package, records):
        raise UsageError("bench.suite_of_other", folder=inputs.out.name)
    return replace(state, steps=tuple(step if step.date else _dated(step, state) for step in state.steps))


def _dated(step: StepTaken, state: SuiteResult) -> StepTaken:
    """A step of an older file, which has date and machine once for all steps."""
    machine = state.environment
    return replace(step, date=state.date, processor=machine.processor, threads=machine.threads)


def is_done(step: Step, inputs: Inputs, taken: Sequence[StepTaken]) -> bool:
    """Whether a step was measured with the same arguments, and its result is still there."""
    same = any((each.name, each.arguments) == (step.name, arguments(step)) for each in taken)
    return same and (inputs.out / step.result).is_file()


def arguments(step: Step) -> str:
    """Return a hash of a step's arguments, which name folders of the one who measures."""
    return hashlib.sha256("\0".join(step.words).encode()).hexdigest()[:16]


_BENCH = (sys.executable, "-m", "medrega_edge", "bench")


def run_step(step: Step, inputs: Inputs, command: Sequence[str]) -> StepTaken | None:
    """Measure a step with a command that takes its arguments, which writes its progress to our output; None if it fails.

    Raises ResourceError where the server that a step needs does not start.
    """
    begun, measures = time.monotonic(), commit()
    with own_server(inputs.model) if _SERVER in step.words else nullcontext("") as address:
        words = [address if word == _SERVER else word for word in step.words]
        ended = subprocess.run([*command, *words])
    if ended.returncode != 0 or not (inputs.out / step.result).is_file():
        return None
    return StepTaken(
        step.name,
        step.result,
        arguments(step),
        round(time.monotonic() - begun, 1),
        date=date.today().isoformat(),
        processor=processor(),
        threads=(inputs.threads if "--threads" in step.words else None) or available_threads(),
        commit=measures,
    )


def run(
    inputs: Inputs,
    state: SuiteResult,
    planned: Sequence[Step],
    told: Callable[[Step, StepTaken | MedregaError | None], None],
    command: Sequence[str] = _BENCH,
) -> tuple[SuiteResult, list[Step]]:
    """Measure what is not done; before and after each step the state is written. Returns it and the steps that failed.

    `told` gets each step as it begins, without a result, and when it has one, or an error of ours.
    """
    failed: list[Step] = []
    for step in planned:
        if is_done(step, inputs, state.steps):
            continue
        told(step, None)
        begun = state.begun or ()
        was_tried = step.name in (*begun, *(each.name for each in state.steps))
        state = replace(state, begun=tuple(dict.fromkeys((*begun, step.name))))
        result_files.write(inputs.out / STATE, state)
        taken = None
        try:
            taken = run_step(step, inputs, command)
        except MedregaError as error:
            told(step, error)
        if taken is None:
            failed.append(step)
            continue
        if was_tried and _KEEPS_ANSWERS in step.words:
            taken = replace(taken, is_last_part=True)
        others = tuple(each for each in state.steps if each.name != step.name)
        left = tuple(name for name in state.begun or () if name != step.name)
        state = replace(state, steps=(*others, taken), begun=left or None)
        result_files.write(inputs.out / STATE, state)
        told(step, taken)
    return state, failed
