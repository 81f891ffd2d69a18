"""`medrega bench`: its commands, in the groups and the order of its help."""

from __future__ import annotations

from medrega_bench.cli.blind import blind
from medrega_bench.cli.boxes import boxes
from medrega_bench.cli.compare import compare, gate
from medrega_bench.cli.docs import docs
from medrega_bench.cli.familiarity import familiarity
from medrega_bench.cli.foretell import foretell
from medrega_bench.cli.honesty import field, honesty
from medrega_bench.cli.intervals import calibrate, coverage
from medrega_bench.cli.label_priors import label_priors
from medrega_bench.cli.malformed import malformed
from medrega_bench.cli.masks import masks
from medrega_bench.cli.robust import robust
from medrega_bench.cli.run import run
from medrega_bench.cli.scoring import questions, score
from medrega_bench.cli.speed import peers, shape, speed, tower
from medrega_bench.cli.submit import submit
from medrega_bench.cli.suite import suite
from medrega_bench.cli.sweep import sweep
from medrega_bench.cli.tasks import tasks
from medrega_edge.cli.help import App

bench_app = App(help="Measure accuracy and speed of a model package on this hardware.")

GROUPS = {
    "Accuracy": (
        questions,
        tasks,
        masks,
        calibrate,
        coverage,
        familiarity,
        label_priors,
        blind,
        malformed,
        robust,
        boxes,
        score,
    ),
    "Comparison and honesty": (field, honesty),
    "Speed": (speed, peers, tower, foretell, shape),
    "Reports": (suite, run, sweep, compare, submit, gate, docs),
}

for _heading, _commands in GROUPS.items():
    for _command in _commands:
        bench_app.command(rich_help_panel=_heading)(_command)


def mount(app: App) -> None:
    """Register `medrega bench`."""
    app.add_typer(bench_app, name="bench")
