"""Result files: frozen dataclasses <-> JSON. The dataclass is the schema; unknown keys of newer versions are ignored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T", bound="DataclassInstance")


@dataclass(frozen=True)
class Estimate:
    """A mean over `n` questions with its 95 % interval over images."""

    n: int
    value: float
    interval: tuple[float, float]


@dataclass(frozen=True)
class DataIdentity:
    """The questions that were asked; `split` is None for the quick set, `sha256` is of ids, images and truths."""

    name: str
    split: str | None
    questions: int
    images: int
    sha256: str


def write(path: Path, result: DataclassInstance) -> None:
    """Write a result; the file appears as a whole."""
    write_text(path, json.dumps(asdict(result), ensure_ascii=False, indent=1) + "\n")


def parse(kind: type[_T], data: Mapping[str, Any], name: str) -> _T:
    """Turn the content of the file `name` into a result; raises UsageError naming the first wrong field."""
    try:
        parsed: _T = _adapter(kind).validate_python(data)
    except ValidationError as error:
        field = ".".join(map(str, error.errors()[0]["loc"]))
        raise UsageError("bench.result_unreadable", file=name, field=field) from None
    return parsed


@cache
def _adapter(kind: type[_T]) -> TypeAdapter[_T]:
    return TypeAdapter(kind)
