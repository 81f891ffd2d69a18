"""One line of a file of questions: the keys that it may have, and the request that it makes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from medrega_edge.boxes import PixelBox
from medrega_edge.domain import language_of
from medrega_edge.errors import UsageError
from medrega_edge.images.medical_image import View
from medrega_edge.io.jsonl import read_object
from medrega_edge.io.strict_json import STRICT, JsonFault, Number, Problem, parse_json
from medrega_edge.tasks.window_words import window_preset_for

if TYPE_CHECKING:
    from medrega_edge.answer import Answer
    from medrega_edge.engine import EncodedImage, Engine


@dataclass(frozen=True)
class BatchLine:
    """A question about one image. `id` names its row of answers; `image` is relative to the folder of the file.

    `box` is in pixels of the original image. `labels` are candidates, or the name of a label set. `frame`, `window`,
    `plane`, `slice` and `series` choose the picture as in `View`. `modality`, `object`, `setting` and `truth` belong to a
    question with its true answer: a batch leaves them to the scoring.
    """

    __pydantic_config__ = STRICT

    id: Any
    image: str
    question: str
    task: str | None = None
    language: str | None = None
    box: tuple[Number, Number, Number, Number] | None = None
    labels: str | tuple[str, ...] = ()
    several: bool = False
    regions_first: bool = False
    frame: int | None = None
    window: str | None = None
    plane: str | None = None
    slice: int | None = None
    series: int | None = None
    modality: Any = None
    object: Any = None
    setting: Any = None
    truth: Any = None

    @classmethod
    def from_json(cls, line: str, number: int) -> BatchLine:
        """Read line `number` of a file; raises UsageError that names the line and the key at fault."""
        read_object(line, number)
        try:
            return parse_json(cls, line)
        except JsonFault as fault:
            raise _usage_error(fault, number) from None

    @property
    def view(self) -> View:
        """The picture to read from the image's file."""
        return View(
            frame=self.frame,
            window=self.window,
            plane=self.plane,
            slice=self.slice,
            series=self.series,
            default_preset=window_preset_for(self.question),
        )

    def ask(self, engine: Engine, image: EncodedImage, min_confidence: float = 0.0) -> Answer:
        """Put the question to an engine; `min_confidence` is that of `Engine.run`. Raises UsageError as it."""
        box = None if self.box is None else PixelBox(*self.box)
        request = engine.request(
            image,
            self.question,
            task=self.task,
            box=box,
            labels=self.labels,
            multiple=self.several,
            regional_chain_of_thought=self.regions_first,
        )
        language = self.language or language_of(self.question)
        return engine.run(image, request, language, min_confidence=min_confidence)


def _usage_error(fault: JsonFault, number: int) -> UsageError:
    key, _, _ = fault.key.partition(".")
    match fault.problem, key:
        case Problem.UNKNOWN_KEY, "lang":  # as the option is spelt
            return UsageError("batch.line_lang", line=number)
        case Problem.UNKNOWN_KEY, _:
            return UsageError("batch.line_unknown_key", line=number, key=fault.key)
        case Problem.MISSING_KEY, _:
            return UsageError("batch.line_missing_key", line=number, key=fault.key)
        case Problem.VALUE, "box":
            return UsageError("batch.line_box", line=number)
        case Problem.VALUE, "labels":
            return UsageError("batch.line_labels", line=number)
        case Problem.VALUE, "several" | "regions_first":
            return UsageError("batch.line_true_or_false", line=number, key=key)
        case Problem.VALUE, "frame" | "slice" | "series":
            return UsageError("batch.line_whole_number", line=number, key=key)
        case Problem.VALUE, _ if key:
            return UsageError("batch.line_text", line=number, key=key)
        case _:
            return UsageError("io.line_not_json", line=number)
