"""Questions put to a package, and what it said. Each answer is written at once, so that an interrupted run goes on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from medrega_bench.evaluation.results import Corners
from medrega_bench.evaluation.runner import blank
from medrega_bench.result_files import parse, to_json_values
from medrega_edge.answer import GUESSED_CLASSES, Answer
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import Language, Task
from medrega_edge.engine import EncodedImage, Engine
from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import unwritable
from medrega_edge.io.safe_text import json_text

_FACTS = ("modality", "body_part", "present")  # the values of an answer that are measured


@dataclass(frozen=True)
class Asked:
    """One question. Without a `task` its words tell it, as in `medrega ask`.

    With `blank_size`, width and height, it is asked about a grey picture instead of the image.
    """

    image: Path
    question: str
    language: Language
    task: Task | None = None
    box: Corners | None = None
    labels: tuple[str, ...] = ()
    blank_size: tuple[int, int] | None = None

    def key(self) -> str:
        """Name the question by its content and that of the image, not by its path."""
        told = [self.question, self.language, self.task, self.box, self.labels, self.blank_size]
        return hashlib.sha256(json_text([_sha256(self.image), *told]).encode()).hexdigest()[:24]


@dataclass(frozen=True)
class Given:
    """What a package said: `text` to a person, `words` with the best guess where that says "Not sure.".

    `is_guess` tells that the answer, its class or its kind is only a guess. `refusal` is the code of the message where there
    was no answer.
    """

    text: str = ""
    words: str = ""
    confidence: float | None = None
    is_guess: bool = False
    boxes: tuple[tuple[str, Corners, float | None], ...] = ()
    labels: tuple[tuple[str, float | None], ...] = ()
    facts: Mapping[str, Any] = field(default_factory=dict)
    refusal: str | None = None

    def boxes_of(self, label: str) -> list[tuple[PixelBox, float]]:
        """Return the boxes of a name with their confidence, the surest first."""
        found = [(PixelBox(*box), confidence or 0.0) for name, box, confidence in self.boxes if name == label]
        return sorted(found, key=lambda pair: -pair[1])


class Asker:
    """Asks a package, once only where a folder keeps the answers."""

    def __init__(self, engine: Engine, folder: Path | None = None) -> None:
        """Read the answers that an earlier run with this package left in the folder.

        A line that was cut or altered is left out, so its question is asked again. Raises UsageError for a folder that
        cannot be written.
        """
        self._engine = engine
        self._path = folder / f"{engine.package.sha256[:16]}-asked.jsonl" if folder else None
        self._kept = dict(self._read(self._path)) if self._path else {}
        self._opened: tuple[tuple[Path, tuple[int, int] | None], EncodedImage] | None = None

    @property
    def engine(self) -> Engine:
        """The package that answers."""
        return self._engine

    def ask(self, asked: Asked) -> Given:
        """Ask, or return what was said before. The last image stays open, so questions about one image stand together."""
        key = asked.key()
        if key not in self._kept:
            self._kept[key] = given = self._said(asked)
            if self._path is not None:
                self._append(self._path, json_text({"key": key, "given": to_json_values(asdict(given))}) + "\n")
        return self._kept[key]

    def _read(self, path: Path) -> Iterator[tuple[str, Given]]:
        """Yield the answers of a file, which afterwards is there and ends with a whole line."""
        self._append(path, "")
        try:
            content = path.read_bytes()
        except OSError as error:
            raise unwritable(error) from None
        if content and not content.endswith(b"\n"):
            self._append(path, "\n")
        for line in content.split(b"\n"):
            try:
                kept = json.loads(line)
                yield str(kept["key"]), parse(Given, kept["given"], path.name)
            except (ValueError, KeyError, TypeError, UsageError):
                continue

    def _append(self, path: Path, text: str) -> None:
        try:
            with path.open("ab") as file:
                file.write(text.encode())
        except OSError as error:
            raise unwritable(error) from None

    def _said(self, asked: Asked) -> Given:
        image = self._open(asked)
        box = PixelBox(*asked.box) if asked.box else None
        try:
            request = self._engine.request(image, asked.question, task=asked.task, box=box, labels=asked.labels)
            answer = self._engine.run(image, request, asked.language)
        except UsageError as error:
            return Given(refusal=error.message.code)
        return given(answer)

    def _open(self, asked: Asked) -> EncodedImage:
        key = asked.image, asked.blank_size
        if self._opened is None or self._opened[0] != key:
            source = blank(asked.blank_size) if asked.blank_size else asked.image
            self._opened = key, self._engine.open(source)
        return self._opened[1]


def given(answer: Answer) -> Given:
    """Return what is measured of an answer."""
    doubted = any(warning.code in GUESSED_CLASSES for warning in answer.warnings)
    class_is_guess = (
        bool(answer.labels) and answer.text.casefold() != "; ".join(one.label for one in answer.labels).casefold()
    )
    return Given(
        text=answer.text,
        words=answer.words,
        confidence=answer.confidence,
        is_guess=answer.guess is not None or doubted or (class_is_guess and answer.task is Task.CLASSIFY),
        boxes=tuple((each.label, (*each.box,), each.confidence) for each in answer.regions),
        labels=tuple((each.label, each.confidence) for each in answer.labels),
        facts={name: answer.facts[name] for name in _FACTS if name in answer.facts},
    )


@cache
def _sha256(path: Path) -> str:
    return hashlib.sha256(path.read_bytes()).hexdigest()
