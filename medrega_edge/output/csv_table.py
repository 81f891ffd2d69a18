"""Rows of answers -> CSV for spreadsheets: one line per region.

The file is UTF-8 with a byte order mark, without which spreadsheets garble Chinese. A text that begins as a formula does
gets an apostrophe in front; control characters become spaces.
"""

from __future__ import annotations

import csv
import io
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from medrega_edge.domain import NOTICES, Language
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import atomic_write
from medrega_edge.io.safe_text import printable

COLUMNS = (
    *("id", "image_path", "image_sha256", "series", "slice", "frame", "task", "language", "text"),
    *(
        "label",
        "x1",
        "y1",
        "x2",
        "y2",
        "confidence",
        "best_guess",
        "area",
        "area_mm2",
        "longest_diameter",
        "perpendicular_diameter",
    ),
    *("length_unit", "mean_value", "value_unit", "warnings", "error", "model", "notice"),
)
_FORMULA = ("=", "+", "-", "@", "\uff1d", "\uff0b", "\uff0d", "\uff20")  # the last four are their wide forms


def write_csv(rows: Iterable[dict[str, Any]], path: Path, language: Language) -> None:
    """Write the rows of a batch as a whole or not at all; raises UsageError or ResourceError.

    Errors, warnings and the notice are in `language`.
    """
    with atomic_write(path) as file:
        text = io.TextIOWrapper(file, encoding="utf-8-sig", newline="")
        writer = csv.DictWriter(text, COLUMNS, lineterminator="\r\n")
        writer.writeheader()
        for row in rows:
            writer.writerows({name: safe_cell(value) for name, value in line.items()} for line in _lines(row, language))
        text.flush()
        text.detach()


def safe_cell(value: object) -> object:
    """A value that a spreadsheet shows and never runs as a formula; numbers stay numbers."""
    if not isinstance(value, str):
        return value
    text = printable(value).replace("\n", " ").encode("utf-8", "backslashreplace").decode("utf-8")
    return f"'{text}" if text.lstrip().startswith(_FORMULA) else text


def _lines(row: dict[str, Any], language: Language) -> Iterator[dict[str, Any]]:
    """One line per region or label; one for an answer without any, and for an error."""
    image, error = row.get("image", {}), row.get("error")
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
        "warnings": "; ".join(Message.from_dict(each).text(language) for each in row.get("warning_details", ())),
        "error": error and Message.from_dict(error).text(language),
        "model": row.get("model", {}).get("name"),
        "notice": NOTICES[language] if "notice" in row else None,
    }
    for region_or_label in [*row.get("regions", ()), *row.get("labels", ())] or [{}]:
        corners = zip(("x1", "y1", "x2", "y2"), region_or_label.get("box", ()), strict=False)
        named = {key: region_or_label.get(key) for key in ("label", "confidence", "best_guess")}
        yield shared | dict(corners) | named | _measures(region_or_label.get("mask", {}))


def _measures(mask: dict[str, Any]) -> dict[str, Any]:
    """What a mask of a row measures."""
    plain = ("area", "area_mm2", "length_unit", "mean_value", "value_unit")
    lengths = {key: mask.get(key, {}).get("length") for key in ("longest_diameter", "perpendicular_diameter")}
    return lengths | {key: mask.get(key) for key in plain}
