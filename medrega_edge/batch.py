"""Questions in JSONL -> answers in JSONL, in order, a failed line in its place. Knows lines; answers nothing itself."""

from __future__ import annotations

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.errors import MedregaError, UsageError
from medrega_edge.files import whole_file
from medrega_edge.medical_image import View
from medrega_edge.plain import json_text
from medrega_edge.windows import preset_for

if TYPE_CHECKING:
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.results import Answer

REQUIRED = ("id", "image", "question")


def read_lines(path: Path, of: str = "question") -> list[tuple[int, str]]:
    """Read the lines of a file of questions (or whatever `of` names) with their numbers, empty ones left out.

    Raises UsageError when it cannot be read or holds nothing.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, UnicodeDecodeError):
        raise UsageError(f"'{path.name}' cannot be read as UTF-8 text; name a JSONL file of {of}s.") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise UsageError(f"'{path.name}' holds no {of}.")
    return numbered


def answer_lines(engine: Engine, lines: list[tuple[int, str]], folder: Path) -> Iterator[dict[str, Any]]:
    """Answer line by line; image paths are relative to `folder`. The last image is kept, so order by image is fast."""
    seen: tuple[tuple[str, View], EncodedImage] | None = None
    for number, line in lines:
        identity: Any = None
        try:
            row = read_object(line, number)
            identity = row.get("id")
            _check(row, number)
            key = (str(folder / row["image"]), _view(row))
            if seen is None or seen[0] != key:
                seen = (key, engine.open(key[0], view=key[1]))
            yield {"id": identity} | _answer(engine, seen[1], row).to_dict()
        except MedregaError as error:
            yield {"id": identity, "error": {"kind": error.kind, "message": str(error), "exit_code": error.exit_code}}


def _answer(engine: Engine, image: EncodedImage, row: dict[str, Any]) -> Answer:
    box = row.get("box")
    return engine.ask(
        image,
        row["question"],
        row.get("task"),
        row.get("language"),
        tuple(box) if box else None,
        labels=row.get("labels", ()),
        several=row.get("several", False),
        regions_first=row.get("regions_first", False),
    )


def _view(row: dict[str, Any]) -> View:
    return View(row.get("frame"), row.get("window"), row.get("plane"), row.get("slice"), preset_for(row["question"]))


def read_object(line: str, number: int) -> dict[str, Any]:
    """Read a line as one JSON object; raises UsageError naming its number."""
    try:
        row = json.loads(line)
    except (ValueError, RecursionError):
        raise UsageError(f"Line {number} is not valid JSON.") from None
    if not isinstance(row, dict):
        raise UsageError(f"Line {number} is no JSON object.")
    try:
        json.dumps(row, ensure_ascii=False).encode("utf-8")
    except (UnicodeEncodeError, ValueError):
        raise UsageError(f"Line {number} holds half a character.") from None
    return row


def _check(row: dict[str, Any], number: int) -> None:
    missing = [key for key in REQUIRED if key not in row]
    if missing:
        raise UsageError(f"Line {number} lacks the key '{missing[0]}'.")
    for key in ("image", "question", "task", "language", "window", "plane"):
        if not isinstance(row.get(key, ""), str):
            raise UsageError(f"Line {number} needs text as {key}.")
    for key in ("several", "regions_first"):
        if not isinstance(row.get(key, False), bool):
            raise UsageError(f"Line {number} needs true or false as {key}.")
    labels = row.get("labels", [])
    if not (isinstance(labels, str) or (isinstance(labels, list) and all(isinstance(label, str) for label in labels))):
        raise UsageError(f"Line {number} needs a list of texts, or the name of a label set, as labels.")
    for key in ("frame", "slice"):
        if row.get(key) is not None and type(row[key]) is not int:
            raise UsageError(f"Line {number} needs a whole number as {key}.")
    box = row.get("box")
    if box is not None and not (isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)):
        raise UsageError(f"Line {number} needs four numbers as box.")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9  # type: ignore[arg-type]


def write_lines(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows as JSONL, as a whole or not at all; raises UsageError when the place cannot be written."""
    with whole_file(path) as file:
        for row in rows:
            file.write((json_text(row) + "\n").encode("utf-8"))
