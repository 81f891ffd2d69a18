"""What the server asks of a worker: a picture, and what to do with it. Jobs are pickled, so they hold plain values."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal

from pydantic import Field

from medrega_edge.domain import Language
from medrega_edge.io.strict_json import STRICT, Count, Number, Share

LONGEST_TEXT = 10_000  # characters of a question: more than any prompt has room for
MOST_NAMES = 200  # of one request

Text = Annotated[str, Field(max_length=LONGEST_TEXT)]
Texts = Annotated[tuple[Text, ...], Field(max_length=MOST_NAMES)]
Corners = tuple[Number, Number, Number, Number]
TaskName = Literal["ask", "locate", "segment", "identify", "classify", "report", "grounded_report", "vqa"]
ObjectKind = Literal["sr", "seg", "gsps", "sc"]


@dataclass(frozen=True)
class Picture:
    """One picture of a file: `image` is the SHA-256 of its bytes; the rest is that of `View`.

    `index` is the frame, or the slice of a NIfTI volume, from 0; None where the file has one picture, or its middle slice.
    """

    image: str
    index: int | None = None
    window: str | None = None
    plane: str | None = None


@dataclass(frozen=True)
class Question:
    """What to ask about a picture, in words, or by task with names, a box or labels.

    `history` are earlier questions about the same picture, whose names a question like "how big is it?" means. With `masks`
    what is located gets masks, too. `guess`, `min_confidence` and `max_tokens` are those of `Engine.run`.
    """

    __pydantic_config__ = STRICT

    question: Text = ""
    task: TaskName = "ask"
    names: Texts = ()
    box: Corners | None = None
    labels: Texts = ()
    label_set: Annotated[str, Field(max_length=100)] | None = None
    several: bool = False
    history: Annotated[tuple[Text, ...], Field(max_length=100)] = ()
    language: Annotated[Language, Field(strict=False)] | None = None
    masks: bool = False
    guess: bool = False
    min_confidence: Share = 0.0
    max_tokens: Annotated[Count, Field(ge=1, le=100_000)] | None = None


@dataclass(frozen=True)
class Describe:
    """Say what a file holds, and how a picture of it is read: `facts.describe`."""

    picture: Picture


@dataclass(frozen=True)
class Render:
    """Make a PNG of a picture, as the model gets it."""

    picture: Picture


@dataclass(frozen=True)
class Ask:
    """Answer a question about a picture: the answer as JSON data."""

    picture: Picture
    question: Question
    streams: bool = False  # whether pieces of the text are passed on while it is written


@dataclass(frozen=True)
class Draw:
    """Answer a question, and make a PNG with the regions drawn."""

    picture: Picture
    question: Question


@dataclass(frozen=True)
class MakeObject:
    """Answer a question, and make a DICOM object of a kind."""

    picture: Picture
    question: Question
    kind: ObjectKind = "sr"


Job = Describe | Render | Ask | Draw | MakeObject
