"""`malformed`: whether random weights can write a box that cannot be read."""

from __future__ import annotations

import json
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from medrega_bench.cli.console import show
from medrega_bench.cli.options import ResultOption
from medrega_edge.errors import GateError


def malformed(
    out: ResultOption,
    count: Annotated[int, typer.Option(min=2, help="Answers to write, half of them freely.")] = 10_000,
) -> None:
    """Let networks of random weights answer, and count the boxes that cannot be read; exit with code 5 for any.

    medrega bench malformed --out malformed.json
    """
    from dataclasses import asdict
    from pathlib import Path

    from medrega_bench.evaluation.grammar_stress import run
    from medrega_bench.extras import require_export
    from medrega_bench.performance.environment import command, environment
    from medrega_edge.io.atomic import check_output_path, write_text

    check_output_path(out)
    require_export("write_decoder")
    with TemporaryDirectory() as folder:
        written = run(Path(folder), count)
    result = {"schema_version": 1, "command": command(), "environment": asdict(environment()), "written": written}
    write_text(out, json.dumps(result, ensure_ascii=False, indent=1) + "\n")
    for kind, one in written.items():
        show(f"{kind}: {one['malformed']} malformed of {one['generations']} ({one['boxes']} boxes)")
    if any(one["malformed"] for one in written.values()):
        raise GateError("Random weights wrote what cannot be read, so the grammar has a hole; report it with the results.")
