"""`malformed`: whether random weights can write a box that cannot be read."""

from __future__ import annotations

from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Annotated

import typer

from medrega_bench.cli.options import ResultOption
from medrega_edge.cli.console import print_result
from medrega_edge.errors import GateError
from medrega_edge.i18n.message import Message


def malformed(
    out: ResultOption,
    count: Annotated[int, typer.Option(min=2, help="Answers to generate; half of them may name any object.")] = 10_000,
) -> None:
    """Test that the grammar allows no unreadable box.

    Models with random weights answer. Exits with code 5 if a box cannot be read. Needs the extra [export].

    medrega bench malformed --out malformed.json
    """
    from medrega_bench import result_files
    from medrega_bench.evaluation.grammar_stress import MalformedResult, run
    from medrega_bench.extras import require_export
    from medrega_bench.performance.environment import command, environment
    from medrega_edge.io.atomic import check_output_path

    check_output_path(out)
    require_export("write_decoder")
    with TemporaryDirectory() as folder:
        written = run(Path(folder), count)
    result_files.write(out, MalformedResult(command=command(), environment=environment(), written=written))
    for kind, counts in written.items():
        answers, boxes = counts.generations, counts.boxes
        print_result(Message("bench.malformed", kind=kind, malformed=counts.malformed, answers=answers, boxes=boxes))
    if any(counts.malformed for counts in written.values()):
        raise GateError("bench.grammar_hole")
