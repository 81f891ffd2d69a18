"""Rows of answers -> CSV: one line a region, for spreadsheets. Knows columns and what a spreadsheet would run as a formula.

In UTF-8 with a mark in front, by which spreadsheets know Chinese. Whatever is text in an answer stays text: a cell that
begins as a formula does gets an apostrophe in front, and no control character is left in any.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from medrega_edge.io.atomic import atomic_write
from medrega_edge.io.safe_text import printable

COLUMNS = (
    *("id", "image_path", "image_sha256", "series", "slice", "frame", "task", "language", "text"),
    *("label", "x1", "y1", "x2", "y2", "confidence", "warnings", "error", "model", "notice"),
)
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four are their wide forms


def write_csv(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows of a batch as CSV, as a whole or not at all; raises UsageError or ResourceError."""
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
        writer.writeheader()
        for row in rows:
            writer.writerows({name: cell(value) for name, value in line.items()} for line in _lines(row))
        text.flush()
        text.detach()


def cell(value: object) -> object:
    """A value that a spreadsheet shows and never runs; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = printable(value).replace("\n", " ").encode("utf-8", "replace").decode("utf-8")
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _lines(row: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """One line a region, or a label of a classification; one for an answer without, and for an error."""
    image, error = row.get("image", {}), row.get("error", {})
    shared = {
        "id": row["id"],
        "image_path": image.get("path"),
        "image_sha256": image.get("sha256"),
        "series": image.get("series"),
        "slice": image.get("slice"),
        "frame": image.get("frame"),
        "task": row.get("task"),
        "language": row.get("language"),
        "text": row.get("text"),
        "warnings": "; ".join(row.get("warnings", ())),
        "error": error.get("message"),
        "model": row.get("model", {}).get("name"),
        "notice": row.get("notice"),
    }
    for found in [*row.get("regions", ()), *row.get("labels", ())] or [{}]:
        corners = zip(("x1", "y1", "x2", "y2"), found.get("box", ()), strict=False)
        yield shared | dict(corners) | {"label": found.get("label"), "confidence": found.get("confidence")}
