"""`docs`: tables of documents from committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_bench.cli.console import show

DOCUMENTS = tuple(map(Path, ("README.md", "docs/accuracy.md", "docs/speed.md", "docs/default_package.md")))


def docs(
    documents: Annotated[
        list[Path] | None,
        typer.Argument(help="Markdown files whose blocks are made from results; default: all of the repository's."),
    ] = None,
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit with code 5 when a block is stale.")] = False,
) -> None:
    """Write the tables and pictures of documents anew from committed results."""
    from medrega_bench.reports.readme_blocks import update_blocks

    changed = [document.name for document in documents or DOCUMENTS if update_blocks(document, check)]
    show(f"updated {', '.join(changed)}" if changed else "up to date")
