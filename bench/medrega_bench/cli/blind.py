"""`blind`: what the questions of a split are worth without their images."""

from __future__ import annotations

import json
from dataclasses import asdict

from medrega_bench.cli.console import show
from medrega_bench.cli.options import DataOption, ResultOption, SplitOption


def blind(data: DataOption, out: ResultOption, split: SplitOption = "test") -> None:
    """Train a classifier on the training questions alone, and report what it gets right without an image.

    Its recipe is chosen on the val split, of a few; beside it stands a lookup of the training questions.

    medrega bench blind --data DATA --out blind.json
    """
    from medrega_bench.evaluation.question_only_baseline import CHOSEN, figures, trials
    from medrega_bench.performance.environment import command, environment
    from medrega_edge.evaluation.records import read_records
    from medrega_edge.io.atomic import check_output_path, write_text

    check_output_path(out)
    train, held, asked = (list(read_records(data, name)) for name in ("train", "val", split))
    tried = trials(train, held)
    best = {language.value: next(t for t in tried if t["language"] == language) for language in CHOSEN}
    result = {"schema_version": 1, "command": command(), "split": split, "environment": asdict(environment())}
    result |= {"chosen_on_val": best, "trials_on_val": tried, "figures": list(figures(train, asked))}
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    for language, trial in best.items():
        show(f"{language}: {trial['unit']} 1 to {trial['longest']}, C {trial['c']}: {trial['right']:.3f} right on val")
