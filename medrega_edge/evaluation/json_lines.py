"""Files of one JSON object a line, checked line by line against a schema."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import (
    AfterValidator,
    BeforeValidator,
    ConfigDict,
    PlainSerializer,
    PlainValidator,
    TypeAdapter,
    ValidationError,
    ValidationInfo,
    WithJsonSchema,
)

from medrega_edge.boxes import PixelBox
from medrega_edge.errors import UsageError
from medrega_edge.io.strict_json import JsonFault, Problem, load_json

T = TypeVar("T")

STRICT = ConfigDict(strict=True, allow_inf_nan=False)  # "1" is no number; keys that a schema does not name are not read

CLOSED = ConfigDict(strict=True, allow_inf_nan=False, extra="forbid")  # the same, where such a key is a fault


def _box(value: Any) -> PixelBox:
    if isinstance(value, PixelBox):
        return value
    if not isinstance(value, (list, tuple)) or len(value) != 4 or any(type(number) not in (int, float) for number in value):
        raise ValueError("a box is four numbers: x1, y1, x2, y2")
    x1, y1, x2, y2 = value
    if not (x1 < x2 and y1 < y2):
        raise ValueError("a box needs x1 < x2 and y1 < y2")
    return PixelBox(x1, y1, x2, y2)


# [x1, y1, x2, y2] in pixels of the original image. Whole numbers stay whole, so that a file is written as it was read.
Box = Annotated[
    PixelBox,
    PlainValidator(_box),
    PlainSerializer(PixelBox.as_list),
    WithJsonSchema({"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4}),
]
Identifier = Annotated[
    str,
    BeforeValidator(lambda value: str(value) if type(value) is int else value),
    WithJsonSchema({"type": ["string", "integer"]}),
]


def _below(path: Path, info: ValidationInfo) -> Path:
    return info.context / path if info.context else path


ImagePath = Annotated[Path, AfterValidator(_below)]  # relative to the folder of the file


def read_text(path: Path) -> str:
    """Read a file; raises UsageError where it is no UTF-8 text."""
    try:
        return path.read_text(encoding="utf-8-sig")
    except (OSError, UnicodeDecodeError):
        raise UsageError("evaluation.file_unreadable", file=path.name) from None


def parse_lines(text: str, adapter: TypeAdapter[T], name: str, images: Path) -> Iterator[tuple[int, str, T]]:
    """Yield each line that is not empty: its number, its text and its object.

    `name` is that of the file; paths of images are relative to the folder `images`. Raises UsageError that names the first
    line at fault.
    """
    for number, line in enumerate(text.split("\n"), 1):
        if line.strip():
            try:
                load_json(line)  # a key that stands twice is a fault; pydantic would take the last
                yield number, line.strip(), adapter.validate_json(line, context=images)
            except JsonFault as error:
                twice = error.problem is Problem.DUPLICATE_KEY
                problem = f"{error.key}: this key stands twice" if twice else "no valid JSON"
                raise UsageError("evaluation.line_unusable", line=number, file=name, problem=problem) from None
            except ValidationError as error:
                raise UsageError("evaluation.line_unusable", line=number, file=name, problem=fault(error)) from None


def fault(error: ValidationError) -> str:
    """Say where the first fault is and what it is, without the value that was found there."""
    faults = error.errors(include_url=False, include_input=False)
    first = next((one for one in faults if one["type"] != "default_factory_not_called"), faults[0])
    place = ".".join(str(part) for part in first["loc"])
    message = first["msg"].removeprefix("Value error, ")
    return f"{place}: {message}" if place else message
