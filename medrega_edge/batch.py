"""Questions in JSONL -> answers in JSONL, in order, a failed line in its place. Knows lines; answers nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.files import whole_file

if TYPE_CHECKING:
    from medrega_edge.engine import EncodedImage, Engine

REQUIRED = ("id", "image", "question")


def read_lines(path: Path) -> list[str]:
    """Read the lines of a questions file, empty ones left out; raises UsageError when there is no such file."""
    try:
        return [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"'{path.name}' cannot be read as UTF-8 text; name a JSONL file of questions.") from None


def answer_lines(engine: Engine, lines: list[str], folder: Path) -> Iterator[dict[str, Any]]:
    """Answer line by line; image paths are relative to `folder`. The last image is kept, so order by image is fast."""
    seen: tuple[tuple[str, int | None], EncodedImage] | None = None
    for number, line in enumerate(lines, 1):
        identity: Any = None
        try:
            row = _row(line, number)
            identity = row["id"]
            key = (str(folder / row["image"]), row.get("frame"))
            if seen is None or seen[0] != key:
                seen = (key, engine.open(*key))
            box = row.get("box")
            answer = engine.ask(seen[1], row["question"], row.get("task"), row.get("language"), tuple(box) if box else None)
            yield {"id": identity} | answer.to_dict()
        except MedregaError as error:
            yield {"id": identity, "error": {"kind": error.kind, "message": str(error), "exit_code": error.exit_code}}


def _row(line: str, number: int) -> dict[str, Any]:
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"Line {number} is not valid JSON.") from None
    if not isinstance(row, dict) or any(key not in row for key in REQUIRED):
        raise UsageError(f"Line {number} needs the keys {', '.join(REQUIRED)}.")
    if not isinstance(row["image"], str) or not isinstance(row["question"], str):
        raise UsageError(f"Line {number} needs text as image and question.")
    box = row.get("box")
    if box is not None and not (isinstance(box, list) and len(box) == 4 and all(type(v) in (int, float) for v in box)):
        raise UsageError(f"Line {number} needs four numbers as box.")
    return row


def write_lines(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows as JSONL, as a whole or not at all; raises UsageError when the place cannot be written."""
    with whole_file(path) as file:
        for row in rows:
            file.write((json.dumps(row, ensure_ascii=False) + "\n").encode("utf-8"))
