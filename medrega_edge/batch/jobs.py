"""Many questions, or one about every image of a folder: rows in order, a failure in its place. Answers nothing itself.

Knows lines of questions, folders, and files of several pictures. A row is an Answer without its timings: the same work
gives the same bytes, so that work which was interrupted and taken up again cannot be told from work which was not.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable, Iterable, Iterator
from dataclasses import astuple, dataclass, replace
from functools import partial
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.batch.journal import Position
from medrega_edge.errors import ChoiceError, InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.images.medical_image import MAX_BYTES, View
from medrega_edge.io.atomic import atomic_write, image_names, natural_sort_key
from medrega_edge.io.safe_text import json_text
from medrega_edge.prompts.intent import window_preset_for

if TYPE_CHECKING:
    from medrega_edge.engine import EncodedImage, Engine

REQUIRED = ("id", "image", "question")
CHUNK_SIZE = 16  # lines that one process answers at a time

Row = dict[str, Any]


@dataclass(frozen=True)
class BatchQuestion:
    """What is asked about every image of a folder, and how to look at them."""

    question: str
    task: str | None = None
    language: str | None = None
    view: View = View()


class Questions:
    """The lines of a file of questions; paths of images are relative to its folder."""

    def __init__(self, path: Path, include_identifiers: bool = False) -> None:
        """Read the lines; raises UsageError."""
        self._lines, self._folder = read_lines(path), path.parent
        self._include = include_identifiers

    def __len__(self) -> int:
        """How many lines there are."""
        return len(self._lines)

    def identity(self) -> list[object]:
        """What tells this work from another."""
        return [self._lines, str(self._folder.absolute()), self._include]

    def pieces(self, start: Position) -> Iterator[tuple[Position, int]]:
        """Lines that belong together: a few at most, about one image as long as it stays the same."""

        def image(item: int) -> object:
            try:
                return read_object(self._lines[item][1], 0).get("image")
            except UsageError:
                return None

        for _, group in groupby(range(start.item, len(self._lines)), key=lambda item: repr(image(item))):
            items = list(group)
            for first in items[::CHUNK_SIZE]:
                yield Position(first), min(first + CHUNK_SIZE, items[-1] + 1)

    def answers(self, engine: Engine, start: Position, stop: int | None = None) -> Iterator[tuple[Position, Row]]:
        """Answer line by line from `start` on. The last image is kept, so lines ordered by image are fast."""
        seen: tuple[tuple[str, View], EncodedImage] | None = None

        def ask(row: Row, number: int) -> Row:
            nonlocal seen
            _check(row, number)
            looked = {key: row.get(key) for key in ("frame", "window", "plane", "slice", "series")}
            view = View(**looked, default_preset=window_preset_for(row["question"]))
            key = (str(self._folder / row["image"]), view)
            if seen is None or seen[0] != key:
                seen = (key, engine.open(key[0], view))
            answer = engine.ask(
                seen[1],
                row["question"],
                row.get("task"),
                row.get("language"),
                tuple(row["box"]) if row.get("box") else None,
                labels=row.get("labels", ()),
                several=row.get("several", False),
                regions_first=row.get("regions_first", False),
            )
            return answer.to_dict(self._include)

        for item, (number, line) in enumerate(self._lines[start.item : stop], start.item):
            try:
                row = read_object(line, number)
            except UsageError as error:
                yield Position(item), _failure(None, error)
                continue
            yield Position(item), _row(row.get("id"), partial(ask, row, number))


class Folder:
    """The images below a folder, and what is asked about each of their pictures: series by series, then the other files.

    `said` is what a reader has to know of its series.
    """

    def __init__(self, folder: Path, asking: BatchQuestion, include_identifiers: bool = False) -> None:
        """List the files; raises UsageError when there is none, ImageError for a series that is not there."""
        self._folder, self._asking, self._include = folder, asking, include_identifiers
        from medrega_edge.images.dicom.series import COPY, DAMAGED, NO_DICOM, NO_PICTURE, scan_folder, select_series

        scan = scan_folder(folder, image_names(folder))
        wanted = asking.view.series
        numbers = range(len(scan.series)) if wanted is None else (select_series(scan, wanted),)
        self._places: dict[str, Row] = {}  # of the first picture of a file in its series
        told = []
        for number in numbers:
            series, at = scan.series[number], 0
            for name, frames in series.files:
                self._places[name] = {"series": number, "slice": at if series.count > 1 else None}
                at += frames
            if len(series.files) > 1:
                told += [f"series {number}: {note}" for note in (series.title, *series.notes)]
        # What cannot be read stays in the work, and its row will say why.
        rest = sorted(scan.others[NO_DICOM] + scan.others[DAMAGED], key=natural_sort_key) if wanted is None else []
        self.said = (*told, *scan.notes(NO_PICTURE, COPY))
        self._names = [*self._places, *rest]
        if not self._names:
            raise UsageError("There is no image in the folder; name one that holds images.")

    def __len__(self) -> int:
        """How many files there are."""
        return len(self._names)

    def identity(self) -> list[object]:
        """What tells this work from another."""
        return [self._names, str(self._folder.absolute()), astuple(self._asking), self._include]

    def pieces(self, start: Position) -> Iterator[tuple[Position, int]]:
        """File by file."""
        for item in range(start.item, len(self._names)):
            yield (start if item == start.item else Position(item)), item + 1

    def answers(self, engine: Engine, start: Position, stop: int | None = None) -> Iterator[tuple[Position, Row]]:
        """Ask about picture by picture from `start` on."""
        for item, name in enumerate(self._names[start.item : stop], start.item):
            first = start.part if item == start.item else 0
            for part, parts, row in ask_about(engine, self._folder / name, self._asking, self._include, first):
                if place := self._places.get(name):
                    at = None if place["slice"] is None else place["slice"] + part
                    row["image"] = row.get("image", {}) | {"series": place["series"], "slice": at}
                yield Position(item, part, parts), row


def ask_about(
    engine: Engine, path: Path, asking: BatchQuestion, include_identifiers: bool = False, first: int = 0
) -> Iterator[tuple[int, int, Row]]:
    """Ask about every picture of a file from the `first` on: (number, how many there are, row).

    The row's id is the beginning of the file's SHA-256, with the picture's number where there are several: it finds the
    file again, and names no patient as the name of the file may.
    """
    digest = digest_of(path)
    field, part, parts = "", first, 1
    while True:
        picked: dict[str, Any] = {field: part} if field else {}
        view = replace(asking.view, series=None, **picked)

        def ask(view: View = view) -> Row:
            image = engine.open(path, view)
            return engine.ask(image, asking.question, asking.task, asking.language).to_dict(include_identifiers)

        try:
            row = _row(f"{digest}-{part}" if field else digest, ask, choosing=not field)
        except ChoiceError as choice:  # several pictures: each in its turn
            field, parts = choice.option.removeprefix("--"), choice.count
            continue
        if include_identifiers and "error" in row:
            row["image"] = {"path": str(path)}
        yield part, parts, row
        part += 1
        if part >= parts:
            return


def _row(identity: object, ask: Callable[[], Row], choosing: bool = False) -> Row:
    """What `ask` returns, or how it failed; a ChoiceError passes when the caller is `choosing`."""
    try:
        row = ask()
    except MedregaError as error:
        if choosing and isinstance(error, ChoiceError):
            raise
        return _failure(identity, error)
    except MemoryError:
        return _failure(identity, ResourceError("There is not enough memory for this image; downscale it."))
    except Exception as error:  # a fault in one row costs that row, and not a night's work
        return _failure(identity, InternalError(error))
    del row["timings_ms"]
    return {"id": identity} | row


def _failure(identity: object, error: MedregaError) -> Row:
    return {"id": identity, "error": error.to_dict()}


def digest_of(path: Path) -> str | None:
    """The first 16 hexadecimal digits of a file's SHA-256; None when it cannot be read, of which reading it will tell."""
    try:
        with path.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:16]
    except OSError:
        return None


def check_apart(folder: Path, *places: Path) -> None:
    """Refuse to write into the folder that is read, where answers would be taken for images; raises UsageError."""
    inside = folder.resolve()
    if any(place.resolve().is_relative_to(inside) for place in places):
        raise UsageError("The answers would lie in the folder that is read; name a place outside of it.")


def fingerprint(*parts: object) -> str:
    """A text that tells one work from another, and tells nothing else of it."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()


def read_lines(path: Path, of: str = "question") -> list[tuple[int, str]]:
    """Read the lines of a file of questions (or whatever `of` names) with their numbers, empty ones left out.

    Raises UsageError when it cannot be read or holds nothing.
    """
    try:
        if not path.exists():
            raise UsageError(f"There is no file of {of}s at the path given; check the path.")
        if not path.is_file() or path.stat().st_size > MAX_BYTES:  # a device or a pipe may have no end
            raise OSError
        lines = path.read_text(encoding="utf-8-sig").split("\n")
    except (OSError, ValueError):
        raise UsageError(f"The file of {of}s cannot be read as UTF-8 text; name a JSONL file.") from None
    numbered = [(number, line) for number, line in enumerate(lines, 1) if line.strip()]
    if not numbered:
        raise UsageError(f"The file holds no {of}.")
    return numbered


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
    if "lang" in row:  # as the option is spelt
        raise UsageError(f"Line {number} has the key 'lang'; it is called 'language'.")
    for key in ("image", "question", "task", "language", "window", "plane"):
        if not isinstance(row.get(key, ""), str):
            raise UsageError(f"Line {number} needs text as {key}.")
    for key in ("several", "regions_first"):
        if not isinstance(row.get(key, False), bool):
            raise UsageError(f"Line {number} needs true or false as {key}.")
    labels = row.get("labels", [])
    if not (isinstance(labels, str) or (isinstance(labels, list) and all(isinstance(label, str) for label in labels))):
        raise UsageError(f"Line {number} needs a list of texts, or the name of a label set, as labels.")
    for key in ("frame", "slice", "series"):
        if row.get(key) is not None and type(row[key]) is not int:
            raise UsageError(f"Line {number} needs a whole number as {key}.")
    box = row.get("box")
    if box is not None and not (isinstance(box, list) and len(box) == 4 and all(_is_number(value) for value in box)):
        raise UsageError(f"Line {number} needs four numbers as box.")


def _is_number(value: object) -> bool:
    return type(value) in (int, float) and abs(value) < 1e9  # type: ignore[arg-type]


def write_lines(rows: Iterable[dict[str, Any]], path: Path) -> None:
    """Write rows as JSONL, as a whole or not at all; raises UsageError when the place cannot be written."""
    with atomic_write(path) as file:
        for row in rows:
            file.write((json_text(row) + "\n").encode("utf-8"))
