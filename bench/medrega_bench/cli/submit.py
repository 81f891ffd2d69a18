"""`submit`: a result without what names a person or a host."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_edge.cli.console import print_result, print_status
from medrega_edge.i18n.message import Message


def submit(
    result: Annotated[Path, typer.Argument(help="Result of `medrega bench run`.")],
    to: Annotated[Path, typer.Option(help="JSON file to write.")],
) -> None:
    """Write a result that names no person and no host.

    It holds the machine, the versions, the package and the headline figures. It holds no question, answer, id, path, command
    or name of your data. The command prints all of it. Nothing is sent: give the file to whom you like, or compare it.

    medrega bench submit report/result.json --to mine.json

    medrega bench compare mine.json yours.json theirs.json
    """
    from medrega_bench import result_files
    from medrega_bench.evaluation.measure import read_result
    from medrega_bench.evaluation.submission import submission
    from medrega_edge.io.atomic import check_output_path

    check_output_path(to)
    result_files.write(to, submission(read_result(result)))
    print_result(to.read_text(encoding="utf-8").rstrip())
    print_status(Message("bench.submission_written", file=to.name))
