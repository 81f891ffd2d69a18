"""JSON from outside, read into a frozen dataclass: every key known, none missing or named twice, every value of its type.

    @dataclass(frozen=True)
    class Box:
        __pydantic_config__ = STRICT
        corners: tuple[Number, Number, Number, Number]

    parse_json(Box, '{"corners": [0, 0, 3, 4]}')

A value is never converted to the type: "4" is no number and 4.0 no whole number. NaN and infinity are no JSON. An integer
is accepted as a float.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from enum import StrEnum
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

from pydantic import Field

from medrega_edge.errors import PackageError

if TYPE_CHECKING:
    from pydantic import ConfigDict, TypeAdapter

STRICT: ConfigDict = {"extra": "forbid", "strict": True, "allow_inf_nan": False}
Count = Annotated[int, Field(ge=0, lt=2**53)]  # what other readers of JSON hold exactly
Number = Annotated[float, Field(gt=-1e9, lt=1e9)]
Share = Annotated[float, Field(ge=0, le=1)]

_T = TypeVar("_T")


class Problem(StrEnum):
    """What is wrong with a JSON text."""

    SYNTAX = "syntax"
    DUPLICATE_KEY = "duplicate_key"
    UNKNOWN_KEY = "unknown_key"
    MISSING_KEY = "missing_key"
    VALUE = "value"


class JsonFault(Exception):
    """A JSON text that was refused: the `problem`, and the path to the `key` at fault ("decoder.layers", or "")."""

    def __init__(self, problem: Problem, key: str = "") -> None:
        """Keep both; the values of the text stay out of it."""
        super().__init__(problem, key)
        self.problem, self.key = problem, key

    def package_error(self, file: str) -> PackageError:
        """The error to raise if the text is that of `file` in a model package."""
        match self.problem:
            case Problem.UNKNOWN_KEY:
                return PackageError("package.unknown_key", file=file, key=self.key)
            case Problem.MISSING_KEY:
                return PackageError("package.missing_key", file=file, key=self.key)
            case Problem.DUPLICATE_KEY:
                return PackageError("package.duplicate_key", file=file, key=self.key)
            case Problem.VALUE if self.key:
                return PackageError("package.wrong_value", file=file, key=self.key)
            case _:
                return PackageError("package.not_json", file=file)


def load_json(text: str) -> Any:
    """Parse JSON; raises JsonFault for wrong syntax, a key that stands twice, NaN and infinity."""
    try:
        return json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
    except (ValueError, RecursionError):
        raise JsonFault(Problem.SYNTAX) from None


def parse_json(kind: type[_T], text: str) -> _T:
    """Parse JSON into the dataclass `kind`; raises JsonFault that names the key at fault."""
    from pydantic import ValidationError

    data = load_json(text)
    try:
        read: _T = _adapter(kind).validate_json(text)
        return read
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        problem, path, last = _PROBLEMS.get(first["type"], Problem.VALUE), _path(data, first["loc"]), first["loc"][-1:]
        if problem is Problem.MISSING_KEY and isinstance(last[0], int):
            problem = Problem.VALUE  # a list that is too short
        elif problem is Problem.MISSING_KEY:
            path.append(str(last[0]))
        raise JsonFault(problem, ".".join(path)) from None


_PROBLEMS = {
    "json_invalid": Problem.SYNTAX,
    "unexpected_keyword_argument": Problem.UNKNOWN_KEY,
    "missing": Problem.MISSING_KEY,
}


def _path(data: Any, location: tuple[int | str, ...]) -> list[str]:
    """The keys of `location` that are in the data: pydantic names the members of a union too."""
    keys: list[str] = []
    for key in location:
        try:
            data = data[key]
        except (KeyError, IndexError, TypeError):
            break
        keys.append(str(key))
    return keys


_adapters: dict[type, TypeAdapter[Any]] = {}


def _adapter(kind: type) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    if kind not in _adapters:
        with _without_plugins():
            _adapters[kind] = TypeAdapter(kind)
    return _adapters[kind]


@contextmanager
def _without_plugins() -> Iterator[None]:
    """Keep pydantic from searching all installed distributions for plugins: it takes longer than all else here."""
    before = os.environ.get("PYDANTIC_DISABLE_PLUGINS")
    os.environ["PYDANTIC_DISABLE_PLUGINS"] = "__all__"
    try:
        yield
    finally:
        if before is None:
            del os.environ["PYDANTIC_DISABLE_PLUGINS"]
        else:
            os.environ["PYDANTIC_DISABLE_PLUGINS"] = before


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found: dict[str, Any] = {}
    for name, value in pairs:
        if name in found:
            raise JsonFault(Problem.DUPLICATE_KEY, name)
        found[name] = value
    return found


def _no_constant(name: str) -> float:
    raise ValueError(name)
