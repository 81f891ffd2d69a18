"""Result files: frozen dataclasses <-> JSON. The dataclass is the schema; unknown keys of newer versions are ignored."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import Field, dataclass, field, fields, is_dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from pydantic import TypeAdapter, ValidationError

from medrega_edge.errors import UsageError
from medrega_edge.io.atomic import write_text

if TYPE_CHECKING:
    from _typeshed import DataclassInstance

_T = TypeVar("_T", bound="DataclassInstance")
_LEFT_OUT = "left out where empty"


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


def optional(default: Any = None) -> Any:
    """Declare a field that is left out of a file where it is None, or with `default=dict` where it is empty."""
    if default is dict:
        return field(default_factory=dict, metadata={_LEFT_OUT: True})
    return field(default=default, metadata={_LEFT_OUT: True})


def to_json_values(value: Any) -> Any:
    """Return a result as what JSON holds: dictionaries, lists, text and numbers."""
    if is_dataclass(value):
        members = ((each, getattr(value, each.name)) for each in fields(value))
        return {each.name: to_json_values(member) for each, member in members if not _is_left_out(each, member)}
    if isinstance(value, Mapping):
        return {name: to_json_values(member) for name, member in value.items()}
    return [to_json_values(member) for member in value] if isinstance(value, (list, tuple)) else value


def _is_left_out(each: Field[Any], member: Any) -> bool:
    return _LEFT_OUT in each.metadata and (member is None or member == {})


def write(path: Path, result: DataclassInstance) -> None:
    """Write a result; the file appears as a whole."""
    write_text(path, json.dumps(to_json_values(result), ensure_ascii=False, indent=1) + "\n")


def parse(kind: type[_T], data: Mapping[str, Any], name: str) -> _T:
    """Turn the content of the file `name` into a result; raises UsageError naming the first wrong field."""
    try:
        parsed: _T = _adapter(kind).validate_python(data)
    except ValidationError as error:
        place = ".".join(map(str, error.errors()[0]["loc"]))
        raise UsageError("bench.result_unreadable", file=name, field=place) from None
    return parsed


@cache
def _adapter(kind: type[_T]) -> TypeAdapter[_T]:
    return TypeAdapter(kind)
