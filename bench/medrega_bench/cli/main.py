"""`medrega bench`: the commands and their order. Knows nothing else."""

from __future__ import annotations

import typer

from medrega_bench.cli.blind import blind
from medrega_bench.cli.compare import compare, gate
from medrega_bench.cli.docs import docs
from medrega_bench.cli.figures import tasks
from medrega_bench.cli.levels import levels
from medrega_bench.cli.malformed import malformed
from medrega_bench.cli.run import run
from medrega_bench.cli.scoring import questions, score
from medrega_bench.cli.speed import peers, shape, speed, tower
from medrega_bench.cli.sweep import sweep

bench_app = typer.Typer(no_args_is_help=True, help="Measure what a package gets right, on this hardware.")

ANSWERS = (questions, tasks, levels, blind, malformed, score)
SPEED = (speed, peers, tower, shape)
RUNS = (run, sweep, compare, gate, docs)

for _command in (*ANSWERS, *SPEED, *RUNS):
    bench_app.command()(_command)


def mount(app: typer.Typer) -> None:
    """Register `medrega bench`."""
    app.add_typer(bench_app, name="bench")
