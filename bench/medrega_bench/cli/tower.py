"""`tower`: the vision tower in several precisions."""

from __future__ import annotations

import json
from datetime import date
from typing import Annotated

import typer

from medrega_bench.cli.console import show
from medrega_bench.cli.options import ResultOption, ThreadsOption
from medrega_edge.cli.console import echo, tell


def tower(
    out: ResultOption,
    shape: Annotated[str, typer.Option(help="tiny, 0.5b or 1b: whose tower.")] = "0.5b",
    threads: ThreadsOption = None,
    rounds: Annotated[int, typer.Option(min=5, help="Measured rounds; every variant has a turn in each.")] = 5,
) -> None:
    """Measure the vision tower in several precisions: time, error against float32, a profile. Needs [export].

    medrega bench tower --out tower.json
    """
    from medrega_bench.extras import need
    from medrega_bench.performance import random_packages, vision_precision
    from medrega_bench.performance.environment import command, environment
    from medrega_edge.inference.devices import available_threads
    from medrega_edge.io.atomic import check_output_path, write_text

    check_output_path(out)
    chosen = random_packages.named(shape)
    need("medrega_export.graphs.decoder", "export")
    count = threads or available_threads()
    measured = vision_precision.measure(chosen.tower, chosen.text.hidden, count, rounds, tell)
    header = {"schema_version": 1, "date": date.today().isoformat(), "command": command(), "environment": environment()}
    write_text(out, json.dumps(header | {"shape": shape} | measured, ensure_ascii=False, indent=1) + "\n")
    for row in measured["variants"]:
        seconds, gain = row["seconds"]["median"], row["gain"]["median"]
        show(f"{row['name']:<26}{seconds:8.3f} s  {gain:5.2f} times  error {row['relative_error']:.4f}")
    for name, profile in measured["profiles"].items():
        echo(f"{name}: " + ", ".join(f"{group} {share:.0%}" for group, share in profile["groups"].items()))
