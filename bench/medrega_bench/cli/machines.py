"""What `compare` does with results of many machines."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from medrega_edge.cli.console import print_result, print_status, user_language
from medrega_edge.domain import NOTICES, Language
from medrega_edge.i18n.message import Message


def is_of_machines(path: Path) -> bool:
    """Whether a file holds headlines only, so that its answers cannot be compared."""
    from medrega_bench.evaluation.submission import read_kind

    return path.is_file() and path.suffix == ".json" and read_kind(path) in ("submission", "machines")


def show_machines(names: Sequence[str], out: Path | None, language: Language | None) -> None:
    """Print a line for each machine; write all of them as JSON, which is read again, or as a report."""
    from medrega_bench.evaluation.submission import Machines, read_machines
    from medrega_bench.reports import headlines, render
    from medrega_bench.reports.phrases import words
    from medrega_bench.result_files import to_json_values
    from medrega_edge.io.atomic import write_text
    from medrega_edge.io.safe_text import json_text

    results = [one for name in names for one in read_machines(Path(name))]
    say = words(user_language())
    heads = [say[head] for head in headlines.HEADS]
    for number, *cells in headlines.rows_of(results, say):
        shown = (f"{head}: {cell}" for head, cell in zip(heads[1:], cells, strict=True) if cell)
        print_result(f"{number}  {'; '.join(shown)}")
    print_result(NOTICES[user_language()])
    if any(headlines.letters(results)):
        print_status(Message("bench.other_questions"))
    if out is None:
        return
    if out.suffix == ".json":
        write_text(out, json_text(to_json_values(Machines(results=tuple(results))), indent=1) + "\n")
        return
    document = headlines.document(results, language or user_language())
    write_text(out, render.markdown(document) if out.suffix == ".md" else render.html(document))
