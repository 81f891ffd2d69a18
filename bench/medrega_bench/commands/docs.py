"""`docs`: tables of a document from committed results."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def docs(
    document: Annotated[Path, typer.Argument(help="Markdown file whose blocks are made from results.")] = Path("README.md"),
    check: Annotated[bool, typer.Option("--check", help="Change nothing; exit with code 5 when a block is stale.")] = False,
) -> None:
    """Write the tables of a document anew from committed results."""
    from medrega_bench.report import update_blocks

    typer.echo("updated" if update_blocks(document, check) else "up to date")
