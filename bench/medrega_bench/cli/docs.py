"""`docs`: tables of documents from committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_edge.cli.console import print_result
from medrega_edge.i18n.message import Message

DOCUMENTS = tuple(
    map(
        Path,
        (
            "README.md",
            "docs/accuracy.md",
            "docs/speed.md",
            "docs/server.md",
            "docs/default_package.md",
            "docs/benchmark.md",
            "docs/archive.md",
        ),
    )
)


def docs(
    documents: Annotated[
        list[Path] | None,
        typer.Argument(help="Markdown files with blocks that are made from results; default: the repository's."),
    ] = None,
    check: Annotated[
        bool, typer.Option("--check", help="Change nothing; exit with code 5 if a block is out of date.")
    ] = False,
) -> None:
    """Update tables and pictures of documents.

    medrega bench docs --check
    """
    from medrega_bench.reports.readme_blocks import update_blocks

    changed = [document.name for document in documents or DOCUMENTS if update_blocks(document, check)]
    print_result(Message("bench.documents_updated", documents=changed) if changed else Message("bench.documents_current"))
