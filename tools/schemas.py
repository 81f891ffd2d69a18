"""The JSON Schemas in docs/schemas/, generated from the types that read or write these documents.

    python -m tools.schemas write    write every schema
    python -m tools.schemas check    exit with 1 if one is stale or missing

The schemas of an answer, a question with its truth and a record allow further keys: later versions may add some. A manifest,
prompts and a line of a batch may have no other keys.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated, Any, Literal, NotRequired

from pydantic import Field, TypeAdapter
from pydantic.json_schema import GenerateJsonSchema
from typing_extensions import TypedDict

from medrega_edge.batch.batch_line import BatchLine
from medrega_edge.domain import NOTICE, Language, Modality, Task
from medrega_edge.evaluation.questions import Question
from medrega_edge.evaluation.records import Record
from medrega_edge.package.manifest import Manifest
from medrega_edge.prompts.intent import Kind
from medrega_edge.prompts.templates import PromptBook

FOLDER = Path(__file__).resolve().parents[1] / "docs" / "schemas"

Share = Annotated[float, Field(ge=0, le=1)]
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Box = Annotated[tuple[float, float, float, float], Field(description="x1, y1, x2, y2; x2 and y2 exclusive")]
Milliseconds = Annotated[float, Field(ge=0)]
FromZero = Annotated[int, Field(ge=0)]


class DiameterDocument(TypedDict):
    """A line through an object: its length, and its ends x1, y1, x2, y2 in pixels of the original image."""

    length: Annotated[float, Field(gt=0)]
    line: tuple[float, float, float, float]
    interval: NotRequired[tuple[float, float]]


class IntervalDocument(TypedDict):
    """Where the true box lies if this one overlaps it, for the share `level` of objects: it holds `inner`, `outer` holds it.

    `inner` is null where no box is sure to lie in it. `width` and `height` are the smallest and largest in pixels.
    """

    level: Share
    inner: Box | None
    outer: Box
    width: tuple[float, float]
    height: tuple[float, float]
    width_mm: NotRequired[tuple[float, float]]
    height_mm: NotRequired[tuple[float, float]]


class MaskDocument(TypedDict):
    """A mask: `size` (height, width) and `counts` are COCO run lengths, compressed, as pycocotools reads them.

    `area` is in pixels; `centroid` x, y and `box` are in pixels of the original image. `score` is the expected IoU with the
    truth. Diameters are in `length_unit`, those of RECIST. `mean_value` is the mean of the image's own values, in
    `value_unit` where that is known.
    """

    size: tuple[int, int]
    counts: str
    area: Annotated[int, Field(ge=1)]
    centroid: tuple[float, float]
    box: Box
    score: Share
    area_mm2: NotRequired[float]
    longest_diameter: NotRequired[DiameterDocument]
    perpendicular_diameter: NotRequired[DiameterDocument]
    length_unit: NotRequired[Literal["mm", "px"]]
    mean_value: NotRequired[float | None]
    value_unit: NotRequired[Literal["HU"] | None]


class RegionDocument(TypedDict):
    """A named box. `box` is in pixels of the original image, `box_mm` in millimetres from its top left corner.

    `best_guess`: it is rather wrong than right.
    """

    label: str
    box: Box
    confidence: Share | None
    best_guess: bool
    box_mm: NotRequired[Box]
    interval: NotRequired[IntervalDocument]
    mask: NotRequired[MaskDocument]


class LabelDocument(TypedDict):
    """A class of the whole image."""

    label: str
    confidence: Share | None


class ImageDocument(TypedDict):
    """Facts about the image. `path` is null in an answer unless identifiers were asked for, and in a de-identified row."""

    path: str | None
    width: Annotated[int, Field(ge=1)]
    height: Annotated[int, Field(ge=1)]
    modality: Modality | None
    frame: FromZero | None
    window: tuple[float, float] | None
    sha256: Sha256
    spacing_mm: tuple[float, float] | None
    modality_confidence: Share | None
    sides: tuple[str, str, str, str] | None
    series: FromZero | None
    slice: FromZero | None
    spacing_areas: list[Box]
    window_function: Literal["LINEAR", "LINEAR_EXACT", "SIGMOID"] | None


class CertifiedDocument(TypedDict):
    """The share of right answers of this kind, and the number of answers measured, when the package was certified.

    They were about images of this modality; `label` tells whether they were boxes of one label.
    """

    right: Share
    answers: FromZero
    label: str | None
    modality: Modality


class ModelDocument(TypedDict):
    """The package that answered; `sha256` is that of its manifest."""

    name: str
    version: str
    sha256: Sha256
    precision: str
    certified: CertifiedDocument | None


class TokensDocument(TypedDict):
    """Numbers of tokens."""

    prompt: FromZero
    generated: FromZero


class TimingsDocument(TypedDict):
    """Milliseconds."""

    load: Milliseconds
    image: Milliseconds
    vision: Milliseconds
    prefill: Milliseconds
    decode: Milliseconds
    total: Milliseconds


class MessageDocument(TypedDict):
    """A message. `code` and `params` are for programs, `message` is the English sentence for people.

    A warning of a Chinese answer has the Chinese sentence as `message_zh`.
    """

    code: str
    message: str
    params: dict[str, Any]
    message_zh: NotRequired[str]


class _AnswerKeys(TypedDict):
    schema_version: Literal[1]
    text: str
    raw_text: str
    task: Task
    intent: Annotated[Kind | None, Field(description="what a question without a named task was understood to ask for")]
    facts: dict[str, Any]
    language: Language
    regions: list[RegionDocument]
    not_found: Annotated[list[str], Field(description="names that were searched for and have no region")]
    confidence: Share | None
    guess: Annotated[str | None, Field(description="the best guess, where the text says that the model is not sure")]
    labels: list[LabelDocument]
    image: ImageDocument
    model: ModelDocument
    device: str
    finish: Literal["stop", "length"]
    tokens: TokensDocument
    warnings: list[str]
    warning_details: list[MessageDocument]
    notice: Literal[NOTICE]  # type: ignore[valid-type]


class AnswerDocument(_AnswerKeys):
    """The answer to one question about one image; docs/answer.md says what the keys mean."""

    timings_ms: TimingsDocument


class AnsweredRow(_AnswerKeys):
    """A row of a batch that was answered: an answer without its timings, under the id of its line or file."""

    id: Any
    picture: NotRequired[Annotated[str, Field(description="the marked picture, in the folder of marked pictures")]]


class ErrorDocument(MessageDocument):
    """An error. `exit_code` is that of `medrega ask`."""

    kind: str
    exit_code: int


class PlaceDocument(TypedDict, total=False):
    """Where a picture that failed is: its path unless the rows are de-identified, series and slice of a folder."""

    path: str
    series: FromZero
    slice: FromZero | None


class FailedRow(TypedDict):
    """A row of a batch that failed."""

    id: Any
    error: ErrorDocument
    image: NotRequired[PlaceDocument]


class LongestDocument(TypedDict):
    """The slice of the longest diameter of an object, and what was measured of its mask there, as in a mask."""

    slice: FromZero
    longest_diameter: DiameterDocument
    perpendicular_diameter: DiameterDocument
    length_unit: Literal["mm", "px"]
    mean_value: float | None
    value_unit: Literal["HU"] | None


class SliceDocument(TypedDict):
    """The box of an object in one slice, in pixels, and its mask."""

    slice: FromZero
    box: Box
    confidence: Share
    mask: NotRequired[MaskDocument]


class ObjectDocument(TypedDict):
    """One object of a volume. `box` is around its boxes in all slices; `slices` are the first and the last.

    `size_mm` is width, height and depth; `volume_ml` the volume of its masks. Slices are counted from 0.
    """

    label: str
    slices: tuple[FromZero, FromZero]
    key_slice: FromZero
    box: Box
    size_mm: tuple[float, float, float] | None
    confidence: Share
    best_guess: bool
    volume_ml: float | None
    longest: LongestDocument | None
    boxes: list[SliceDocument]


class VolumeAnswerDocument(TypedDict):
    """The answer to a question about a whole volume; docs/answer.md says what the keys mean."""

    schema_version: Literal[1]
    text: str
    task: Literal["detect_volume"]
    language: Language
    slices: Annotated[int, Field(ge=1)]
    slice_step_mm: float | None
    regions: list[ObjectDocument]
    absent: Annotated[list[str], Field(description="names that no object was found for")]
    image: ImageDocument
    model: ModelDocument
    device: str
    seconds: Annotated[float, Field(ge=0)]
    warnings: list[str]
    warning_details: list[MessageDocument]
    notice: Literal[NOTICE]  # type: ignore[valid-type]


DOCUMENTS: dict[str, Any] = {
    "answer": AnswerDocument,
    "batch_line": BatchLine,
    "batch_row": AnsweredRow | FailedRow,
    "manifest": Manifest,
    "prompts": PromptBook,
    "question": Question,
    "record": Record,
    "volume_answer": VolumeAnswerDocument,
}


class _Generator(GenerateJsonSchema):
    """Gives keys no title that only repeats them."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema_of(name: str) -> dict[str, Any]:
    """The JSON Schema of a document."""
    made = TypeAdapter(DOCUMENTS[name]).json_schema(schema_generator=_Generator)
    return {"$schema": "https://json-schema.org/draft/2020-12/schema", **made}


def text_of(name: str) -> str:
    """The text of a schema's file."""
    return json.dumps(schema_of(name), ensure_ascii=False, indent=2) + "\n"


def path_of(name: str) -> Path:
    """The file of a schema."""
    return FOLDER / f"{name}.schema.json"


def stale() -> list[str]:
    """Files that are missing, not what the types say, or of no document."""
    found = {path.name for path in FOLDER.glob("*.json")}
    wanted = {path_of(name).name: text_of(name) for name in DOCUMENTS}
    kept = {name for name in found & wanted.keys() if (FOLDER / name).read_text("utf-8") == wanted[name]}
    return sorted((found | wanted.keys()) - kept)


def main() -> None:
    """Write or check the schemas."""
    if sys.argv[1:] == ["write"]:
        FOLDER.mkdir(exist_ok=True)
        for name in DOCUMENTS:
            path_of(name).write_text(text_of(name), "utf-8")
    elif sys.argv[1:] == ["check"]:
        if wrong := stale():
            sys.exit(f"stale: {', '.join(wrong)}; run: python -m tools.schemas write")
    else:
        sys.exit(__doc__)


if __name__ == "__main__":
    main()
