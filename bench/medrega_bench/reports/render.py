"""A report -> Markdown, one HTML page that needs nothing else, CSV.

Names of packages, questions and answers come from others: they are escaped, and lose control characters, in every format.
"""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Iterable, Sequence
from importlib.resources import files
from typing import Any

from jinja2 import Environment, FunctionLoader, StrictUndefined
from markupsafe import Markup

from medrega_bench.reports.drawing import svg
from medrega_bench.reports.model import Document, Table
from medrega_edge.io.safe_text import printable
from medrega_edge.output.csv_table import safe_cell
from medrega_edge.output.overlay import COLOURS

_SPECIAL = re.compile(r"([\\`*_\[\]<>|!#&~])")


def markdown(document: Document) -> str:
    """Write tables and notes; charts and pictures are in the HTML page only."""
    parts = [f"# {document.title}", f"**{document.notice}**"]
    parts.append("\n".join(f"- {name}: {_plain(value)}" for name, value in document.facts))
    for section in document.sections:
        if section.tables:
            parts += [f"## {_plain(section.title)}", section.note, *map(_table, section.tables)]
    return "\n\n".join(part for part in [*parts, document.notice] if part) + "\n"


def _table(table: Table) -> str:
    lines = [f"| {' | '.join(map(_plain, row))} |" for row in (table.heads, *table.rows)]
    lines.insert(1, "|" + "---|" * len(table.heads))
    return "\n".join(([f"### {_plain(table.title)}", ""] if table.title else []) + lines)


def _plain(text: str) -> str:
    """Text that Markdown takes as text."""
    return _SPECIAL.sub(r"\\\1", " ".join(printable(text).split()))


def html(document: Document) -> str:
    """Write one page with its styles, charts and pictures in it."""
    return (
        _environment()
        .get_template("page.html.j2")
        .render(document=document, colours=COLOURS, chart=lambda drawn: Markup(svg(drawn)))
    )


def _environment() -> Environment:
    return Environment(
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=_shown,
        loader=FunctionLoader(lambda name: files("medrega_bench.reports").joinpath(name).read_text(encoding="utf-8")),
    )


def _shown(value: Any) -> Any:
    return printable(value) if type(value) is str else value


def as_csv(rows: Iterable[Sequence[object]]) -> str:
    """Write rows for a spreadsheet; text that begins like a formula is not one."""
    buffer = io.StringIO()
    csv.writer(buffer, lineterminator="\n").writerows([safe_cell(value) for value in row] for row in rows)
    return buffer.getvalue()
