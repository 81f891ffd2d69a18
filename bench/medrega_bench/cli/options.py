"""Options that several commands share, each with one name, one help and one meaning."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from medrega_edge.domain import Language

DataOption = Annotated[Path, typer.Option(help="Data folder with records.jsonl and images/.")]
AnyDataOption = Annotated[Path | None, typer.Option(help="Data folder with records.jsonl; default: the built-in quick set.")]
SplitOption = Annotated[str, typer.Option(help="Of the data: choose on val, report on test.")]
ResultOption = Annotated[Path, typer.Option(help="JSON of results to write.")]
ModelOption = Annotated[str | None, typer.Option("--model", "-m", help="Package folder or name.")]
ReferenceOption = Annotated[str | None, typer.Option(help="Full-precision package to hold against, on the same questions.")]
LimitOption = Annotated[int | None, typer.Option(min=1, help="Take so many questions, spread evenly.")]
LangOption = Annotated[Language | None, typer.Option(help="Language of the report; default: the locale's.")]
ThreadsOption = Annotated[int | None, typer.Option(min=1, help="Threads; default: all.")]
