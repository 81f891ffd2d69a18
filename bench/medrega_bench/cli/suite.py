"""`suite`: every measurement of a package with one command."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.options import DataOption, ModelOption, ReferenceOption, ThreadsOption
from medrega_edge.cli.console import print_result, print_status, problem_line
from medrega_edge.errors import MedregaError
from medrega_edge.i18n.message import Message


def suite(
    data: DataOption,
    out: Annotated[Path, typer.Option(help="Folder for the results; a second run goes on there.")],
    masks: Annotated[
        Path | None, typer.Option(help="Folder with masks.jsonl and its PNGs; without it, masks and intervals are left out.")
    ] = None,
    vqa_rad_split: Annotated[Path | None, typer.Option(help="JSON file with another split of VQA-RAD by image.")] = None,
    reference: ReferenceOption = None,
    model: ModelOption = None,
    threads: ThreadsOption = None,
) -> None:
    """Measure everything, one after the other.

    Accuracy of every task, figures of the field, honesty, robustness, masks and intervals, questions without images, box
    fidelity of the server, speed and energy. An interrupted run goes on where it stopped; a step that fails is named, and
    the others are measured.

    medrega bench suite --data DATA --masks MASKS --out suite
    """
    from dataclasses import replace
    from datetime import date

    from medrega_bench.evaluation import suite as home
    from medrega_bench.performance.environment import environment
    from medrega_edge.io.atomic import unwritable
    from medrega_edge.package.registry import find_package

    package = find_package(model)
    try:
        (out / "answers").mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise unwritable(error) from None
    inputs = home.Inputs(data, out, masks, vqa_rad_split, reference, model, threads)
    records = home.data_hash(data)
    found = home.read_state(inputs, package.sha256, records)
    today, machine = date.today().isoformat(), environment()
    if found is None:
        state = home.SuiteResult(today, machine, package.sha256, records, ())
    else:
        state = replace(found, date=today, environment=machine)
    planned = list(home.steps(inputs, package.manifest.name))
    left = sum(not home.is_done(step, inputs, state.steps) for step in planned)
    print_status(Message("bench.suite_begins", steps=len(planned), left=left))

    def told(step: home.Step, one: home.StepTaken | MedregaError | None) -> None:
        if one is None:
            print_status(Message("bench.suite_step", step=step.name))
        elif isinstance(one, MedregaError):
            print_status(problem_line(one.message))
        else:
            print_status(Message("bench.suite_step_done", step=step.name, minutes=one.seconds / 60))

    state, failed = home.run(inputs, state, planned, told)
    for each in state.ordered:
        print_result(Message("bench.suite_result", step=each.name, file=each.result, minutes=each.seconds / 60))
    if failed:
        print_status(Message("bench.suite_failed", steps=[step.name for step in failed]))
        raise typer.Exit(1)
    print_result(Message("bench.suite_done", minutes=state.seconds / 60))
