"""Jobs of questions that each name their image: the lines of a file, and what tables and shards give as lines.

A line is JSON as `BatchLine` reads it. Its image is a file, or bytes that lie inside a larger file.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from itertools import groupby, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

from medrega_edge.batch.batch_line import BatchLine
from medrega_edge.batch.journal import Position
from medrega_edge.batch.parts import Part, Row
from medrega_edge.batch.rows import RowOptions, answered_row, failed_row
from medrega_edge.errors import ImageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import MAX_BYTES, View
from medrega_edge.io.jsonl import read_lines, read_object

if TYPE_CHECKING:
    from medrega_edge.answer import Answer
    from medrega_edge.engine import EncodedImage, Engine

CHUNK_SIZE = 16  # lines about one image that one process answers at a time


class Stored(Protocol):
    """Bytes inside a larger file. Equal ones are the same bytes."""

    def read(self) -> bytes:
        """Return the bytes; raises ImageError where they cannot be had."""


@dataclass(frozen=True)
class FilePiece:
    """`size` bytes of the file `path`, from `offset` on."""

    path: str
    offset: int
    size: int

    def read(self) -> bytes:
        """Return them; raises ImageError where they cannot be had, or are more than MAX_BYTES."""
        if self.size > MAX_BYTES:
            raise ImageError("image.too_large", size=self.size >> 20, limit=MAX_BYTES >> 20)
        try:
            with open(self.path, "rb") as file:
                file.seek(self.offset)
                data = file.read(self.size)
        except OSError as error:
            raise ImageError("image.cannot_open", reason=error.strerror or type(error).__name__) from None
        if len(data) < self.size:
            raise ImageError("batch.changed_source")
        return data


class Line(Protocol):
    """One question about an image."""

    @property
    def number(self) -> int:
        """Where it stands, from 1 on."""

    @property
    def stored(self) -> Stored | None:
        """Its image; None where the question names a file."""

    def text(self) -> str:
        """Return the question in JSON; raises UsageError where there is none."""


class TextLine(NamedTuple):
    """A question whose JSON was read already."""

    number: int
    json: str
    stored: Stored | None = None

    def text(self) -> str:
        """Return its JSON."""
        return self.json


class Questions(ABC):
    """Questions in an order; paths of images are relative to `folder`, which is absolute."""

    def __init__(self, folder: Path, options: RowOptions) -> None:
        """Take where images are, and what a row holds."""
        self._folder, self._options = folder, options

    @abstractmethod
    def __len__(self) -> int:
        """Number of lines."""

    @abstractmethod
    def lines(self, start: int) -> Iterator[Line]:
        """The lines from the item `start` on, which counts from 0."""

    @abstractmethod
    def job_key(self) -> list[object]:
        """What tells this job from others."""

    @staticmethod
    def name_of(row: Row) -> str | None:
        """What a row is about, for a person: the id of its line."""
        return None if row["id"] is None else str(row["id"])

    def parts(self, start: Position) -> Iterator[Part]:
        """Split the lines from `start` on. A part is about one image, and short."""
        item = start.item
        for _, group in groupby(self.lines(item), key=_image_key):
            while some := list(islice(group, CHUNK_SIZE)):
                stop = item + len(some)
                yield Part(Position(item), stop, Lines(some, item, self._folder, self._options))
                item = stop

    def answers(self, engine: Engine, start: Position, stop: int | None = None) -> Iterator[tuple[Position, Row]]:
        """Answer line by line. The last image stays encoded, so lines ordered by image are fast."""
        last: tuple[tuple[str | Stored, View], EncodedImage] | None = None

        def ask(line: Line, text: str) -> tuple[EncodedImage, Answer]:
            nonlocal last
            question = BatchLine.from_json(text, line.number)
            source = line.stored or str(self._folder / question.image)
            key = (source, question.view)
            if last is None or last[0] != key:
                last = (key, engine.open(source if isinstance(source, str) else source.read(), question.view))
            return last[1], question.ask(engine, last[1], self._options.min_confidence)

        count = None if stop is None else stop - start.item
        for item, line in enumerate(islice(self.lines(start.item), count), start.item):
            try:
                text = line.text()
                keys = read_object(text, line.number)
            except UsageError as error:
                yield Position(item), failed_row(None, error)
                continue
            path = self._options.path(image) if isinstance(image := keys.get("image"), str) else None
            if line.stored is not None:
                path = path or None  # bytes without a name
            row = answered_row(keys.get("id"), partial(ask, line, text), path, f"line-{line.number}", self._options)
            yield Position(item), row


def _image_key(line: Line) -> object:
    """What lines about one image share."""
    if line.stored is not None:
        return line.stored
    try:
        return repr(read_object(line.text(), 0).get("image"))
    except UsageError:
        return repr(None)


class Lines(Questions):
    """Lines that were read already. The first is item `first` of its job."""

    def __init__(self, lines: Sequence[Line], first: int, folder: Path, options: RowOptions) -> None:
        """Take them."""
        super().__init__(folder, options)
        self._lines, self._first = lines, first

    def __len__(self) -> int:
        """Number of lines."""
        return len(self._lines)

    def lines(self, start: int) -> Iterator[Line]:
        """The lines from the item `start` on."""
        return islice(self._lines, start - self._first, None)

    def job_key(self) -> list[object]:
        """What tells this job from others."""
        return [[(line.number, line.text()) for line in self._lines], str(self._folder), repr(self._options)]


class QuestionFile(Lines):
    """The lines of a file of questions; image paths are relative to its folder."""

    def __init__(self, path: Path, options: RowOptions = RowOptions()) -> None:
        """Read the lines, not yet what is in them; raises UsageError."""
        lines = [TextLine(number, text) for number, text in read_lines(path, Message("batch.questions"))]
        super().__init__(lines, 0, path.parent.absolute(), options)


def file_keys(paths: Sequence[Path], counts: Sequence[int]) -> list[Any]:
    """What tells files of so many questions each from others, without reading them: names, sizes and times."""
    states = [path.stat() for path in paths]
    names = [str(path.absolute()) for path in paths]
    return [[n, s.st_size, s.st_mtime_ns, count] for n, s, count in zip(names, states, counts, strict=True)]
