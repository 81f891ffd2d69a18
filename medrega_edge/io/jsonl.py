"""JSONL: one JSON object a line. Line numbers count from 1 and include empty lines, as editors show them."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.io.atomic import atomic_write
from medrega_edge.io.safe_text import json_text
from medrega_edge.io.strict_json import JsonFault, Problem, load_json

MAX_BYTES = 1 << 30


def read_lines(path: Path, items: Message) -> list[tuple[int, str]]:
    """Return the lines of a JSONL file that are not empty, with their numbers; `items` names in the plural what they are.

    Raises UsageError for a file that is missing, too large, not UTF-8 or empty.
    """
    try:
        if not path.exists():
            raise UsageError("io.no_file", items=items)
        if not path.is_file() or path.stat().st_size > MAX_BYTES:  # a device or a pipe may have no end
            raise OSError
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError):
        raise UsageError("io.not_jsonl", items=items) from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise UsageError("io.empty_file", items=items)
    return numbered


def read_object(line: str, number: int) -> dict[str, Any]:
    """Parse a line as one JSON object; raises UsageError that names the line."""
    try:
        row = load_json(line)
    except JsonFault as fault:
        if fault.problem is Problem.DUPLICATE_KEY:
            raise UsageError("io.line_duplicate_key", line=number, key=fault.key) from None
        raise UsageError("io.line_not_json", line=number) from None
    if not isinstance(row, dict):
        raise UsageError("io.line_not_object", line=number)
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except UnicodeEncodeError:
        raise UsageError("io.line_half_character", line=number) from None
    return row


def write_lines(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows as JSONL, all or nothing; raises UsageError or ResourceError as `atomic_write` does."""
    with atomic_write(path) as file:
        file.writelines(jsonl_line(row) for row in rows)


def jsonl_line(row: dict[str, Any]) -> bytes:
    """A row as one line."""
    return (json_text(row) + "\n").encode("utf-8")
