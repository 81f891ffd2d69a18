"""Jobs of one question about every picture of many files; `questions` has those of questions that name their images.

The same job gives the same bytes, so an interrupted and resumed batch cannot be told from an undisturbed one.
"""

from __future__ import annotations

import hashlib
import json
from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from copy import copy
from dataclasses import astuple, dataclass, replace
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

from medrega_edge.batch.journal import Position
from medrega_edge.batch.parts import Part, Row
from medrega_edge.batch.rows import RowOptions, answered_row, failed_row
from medrega_edge.domain import language_of
from medrega_edge.errors import ChoiceError, ImageError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import View
from medrega_edge.images.signatures import FIRST_BYTES, is_meant_as_image
from medrega_edge.io.atomic import image_names, natural_sort_key

if TYPE_CHECKING:
    from medrega_edge.answer import Answer
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.images.dicom.series import FilePlaces, FolderScan

ID_LENGTH = 16  # hexadecimal digits of a file's SHA-256


@dataclass(frozen=True)
class BatchQuestion:
    """The question about every picture of a folder, and how to read the pictures."""

    question: str
    task: str | None = None
    language: str | None = None
    view: View = View()

    def ask(self, engine: Engine, image: EncodedImage, min_confidence: float = 0.0) -> Answer:
        """Put the question to an engine; `min_confidence` is that of `Engine.run`. Raises UsageError as it."""
        request = engine.request(image, self.question, task=self.task)
        language = self.language or language_of(self.question)
        return engine.run(image, request, language, min_confidence=min_confidence)


class ImageFiles(ABC):
    """Files that get one question about each picture: DICOM series by series, then other files. A subclass has the files.

    `notes` are messages about the series and about files that are left out, for the user.
    """

    _first = 0  # the item of the first name: a part has one of all

    def __init__(self, scan: FolderScan, others: Sequence[str], question: BatchQuestion, options: RowOptions) -> None:
        """Take the series of a scan, and the names of the others; raises ImageError for a series that is not there."""
        from medrega_edge.images.dicom.series import LeftOut, select_series

        self._question, self._options = question, options
        wanted = question.view.series
        numbers = range(len(scan.series)) if wanted is None else (select_series(scan, wanted),)
        self._series: dict[str, dict[int, FilePlaces]] = {}  # those that the pictures of a file belong to, by number
        notes = []
        for number in numbers:
            series = scan.series[number]
            for name, _ in series.files:
                self._series.setdefault(name, {})[number] = series.places_of(name)
            if len(series.files) > 1 or series.notes:
                notes += [Message("batch.series", number=number, note=note) for note in (series.description, *series.notes)]
        self.notes = (*notes, *scan.notes(LeftOut.NO_PICTURE, LeftOut.OWN, LeftOut.COPY))
        self._names = [*self._series, *others]
        # "a.png" is the name of its own marked picture, unless "a" is an image, too.
        self._own_names = {name for name in self._names if name.endswith(".png")} - {f"{name}.png" for name in self._names}

    def __len__(self) -> int:
        """Number of files."""
        return len(self._names)

    def job_key(self) -> list[object]:
        """What tells this job from others."""
        return [self._names, self._place(), astuple(self._question), repr(self._options)]

    @abstractmethod
    def _place(self) -> str:
        """Where the files are, for the key of the job."""

    @abstractmethod
    def _file(self, name: str) -> Path | bytes:
        """The path of a file, or its bytes; raises MedregaError for one that cannot be had."""

    @staticmethod
    def name_of(row: Row) -> str | None:
        """What a row is about, for a person: its file, with the number of the picture if there are several."""
        return file_row_name(row)

    def parts(self, start: Position) -> Iterator[Part]:
        """Split the files from `start` on: one file a part."""
        for item, name in enumerate(self._names[start.item :], start.item):
            one = copy(self)
            one._first, one._names, one.notes = item, [name], ()
            one._series = {name: self._series[name]} if name in self._series else {}
            one._own_names = self._own_names.intersection([name])
            yield Part(start if item == start.item else Position(item), item + 1, one)

    def answers(self, engine: Engine, start: Position, stop: int | None = None) -> Iterator[tuple[Position, Row]]:
        """Answer picture by picture."""
        names = islice(self._names, start.item - self._first, None if stop is None else stop - self._first)
        for item, name in enumerate(names, start.item):
            first = start.picture if item == start.item else 0
            picture = name.removesuffix(".png") if name in self._own_names else name
            stem = None if self._options.de_identified else picture
            try:
                file = self._file(name)
            except ImageError as error:
                yield Position(item, first), failed_row(None, error, self._options.path(name))
                continue
            for position, row in _answer_pictures(engine, file, name, self._question, self._options, first, stem):
                for number, series in self._series.get(name, {}).items():
                    if (at := series.index_of(position.picture)) is not None:
                        place = {"series": number, "slice": at if series.count > 1 else None}
                        row["image"] = row.get("image", {}) | place
                yield position._replace(item=item), row


class ImageFolder(ImageFiles):
    """The pictures of a folder and its subfolders: DICOM series by series, then the other files."""

    def __init__(self, folder: Path, question: BatchQuestion, options: RowOptions = RowOptions()) -> None:
        """List the files; raises UsageError if there are none, ImageError for a series that is not there."""
        from medrega_edge.images.dicom.series import LeftOut, scan_folder

        self._folder = folder.absolute()
        scan = scan_folder(folder, image_names(folder))
        # Images that cannot be read stay in the job; their rows give the reason.
        others = scan.left_out[LeftOut.NO_DICOM] if question.view.series is None else ()
        images = [name for name in others if is_image_file(folder / name)]
        damaged = scan.left_out[LeftOut.DAMAGED] if question.view.series is None else ()
        super().__init__(scan, sorted([*images, *damaged], key=natural_sort_key), question, options)
        if len(images) < len(others):
            self.notes += (Message("batch.not_images", count=len(others) - len(images)),)
        if not self._names:
            raise UsageError("batch.no_image")

    def _place(self) -> str:
        return str(self._folder)

    def _file(self, name: str) -> Path:
        return self._folder / name


def answer_file(
    engine: Engine, folder: Path, name: str, question: BatchQuestion, options: RowOptions = RowOptions()
) -> Iterator[tuple[Position, Row]]:
    """Ask about every picture of a file; positions are those in the file.

    The id of a row is the beginning of the file's SHA-256, with the picture's number if there are several. It identifies
    the file and, unlike a file name, no patient. Marked pictures are named after the id.
    """
    return _answer_pictures(engine, folder / name, name, question, options)


def _answer_pictures(
    engine: Engine,
    file: Path | bytes,
    name: str,
    question: BatchQuestion,
    options: RowOptions,
    first: int = 0,
    picture_name: str | None = None,
) -> Iterator[tuple[Position, Row]]:
    """Ask about every picture of a file from the `first` on, as `answer_file`.

    Marked pictures are named after `picture_name`, else after the id.
    """
    digest = digest_of(file)
    option, picture, count = "", first, 1
    while True:
        picked: dict[str, Any] = {option: picture} if option else {}
        view = replace(question.view, series=None, **picked)

        def ask(view: View = view) -> tuple[EncodedImage, Answer]:
            image = engine.open(file, view)
            return image, question.ask(engine, image, options.min_confidence)

        row_id = f"{digest}-{picture}" if option else digest
        stem = f"{picture_name}.{option}{picture}" if picture_name and option else picture_name or str(row_id)
        try:
            row = answered_row(row_id, ask, options.path(name), stem, options, raise_choice=not option)
        except ChoiceError as choice:  # several pictures: each in turn
            option, count = choice.option.removeprefix("--"), choice.count
            continue
        yield Position(0, picture, count), row
        picture += 1
        if picture >= count:
            return


def file_row_name(row: Row) -> str | None:
    """The file of a row that `answer_file` made, with the number of the picture if there are several; else the id."""
    path = row.get("image", {}).get("path")
    return row["id"] if path is None else f"{path}{(row['id'] or '')[ID_LENGTH:]}"


def is_image_file(path: Path) -> bool:
    """Whether a file is an image, or meant as one: then it is worth an error if it cannot be read."""
    try:
        with path.open("rb") as file:
            return is_meant_as_image(path.name, file.read(FIRST_BYTES))
    except OSError:
        return True


def digest_of(data: Path | bytes) -> str | None:
    """The first hexadecimal digits of the SHA-256 of a file, or of its bytes; None if it cannot be read."""
    if isinstance(data, bytes):
        return hashlib.sha256(data).hexdigest()[:ID_LENGTH]
    try:
        with data.open("rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()[:ID_LENGTH]
    except OSError:
        return None


def check_outside(folder: Path, *outputs: Path) -> None:
    """Raise UsageError if an output is inside the folder that is read: answers would be taken for images."""
    inside = folder.resolve()
    if any(output.resolve().is_relative_to(inside) for output in outputs):
        raise UsageError("batch.output_inside")


def fingerprint(*parts: object) -> str:
    """A hash that tells one job from another and reveals nothing else of it."""
    return hashlib.sha256(json.dumps(parts).encode()).hexdigest()
