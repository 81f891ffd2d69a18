"""The arguments of the tools: for each its JSON Schema, and the check that holds a client to it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from medrega_edge.domain import Language
from medrega_edge.errors import UsageError
from medrega_edge.i18n.message import Message

MAX_PATH, MAX_TEXT, MAX_NAMES, MAX_NUMBER = 4096, 500, 50, 10**9


@dataclass(frozen=True)
class Kind:
    """What a value has to be: as JSON Schema, in words for an error, and as a function that tells."""

    schema: Mapping[str, Any]
    expected: Message
    fits: Callable[[Any], bool]


@dataclass(frozen=True)
class Argument:
    """A named value that a tool takes."""

    name: str
    kind: Kind
    description: Message
    is_required: bool = False


def schema_of(arguments: Sequence[Argument], language: Language) -> dict[str, Any]:
    """Return the JSON Schema of the arguments of a tool, described in a language."""
    properties = {one.name: {**one.kind.schema, "description": one.description.text(language)} for one in arguments}
    required = [one.name for one in arguments if one.is_required]
    return {"type": "object", "properties": properties, "required": required, "additionalProperties": False}


def checked(given: Mapping[str, Any], arguments: Sequence[Argument], tool: str) -> dict[str, Any]:
    """Return the arguments that were given; null stands for none, as many models write it.

    Raises UsageError, which quotes no value and no name of the client's: they may name a patient.
    """
    if given.keys() - {one.name for one in arguments}:
        raise UsageError("mcp.unknown_argument", tool=tool, names=[one.name for one in arguments])
    found = {}
    for one in arguments:
        value = given.get(one.name)
        if value is None:
            if one.is_required:
                raise UsageError("mcp.missing_argument", tool=tool, name=one.name, expected=one.kind.expected)
        elif one.kind.fits(value):
            found[one.name] = value
        else:
            raise UsageError("mcp.wrong_argument", tool=tool, name=one.name, expected=one.kind.expected)
    return found


def text(limit: int = MAX_TEXT) -> Kind:
    """A text of at most so many characters."""
    return Kind(
        {"type": "string", "minLength": 1, "maxLength": limit},
        Message("mcp.expected_text", limit=limit),
        lambda value: isinstance(value, str) and 1 <= len(value) <= limit,
    )


def choice(*values: str) -> Kind:
    """One of some words."""
    return Kind(
        {"type": "string", "enum": list(values)},
        Message("cli.expected_choice", choices=values),
        lambda value: isinstance(value, str) and value in values,
    )


def _is_number(value: Any) -> bool:
    is_number = isinstance(value, int | float) and not isinstance(value, bool)
    return is_number and abs(value) <= MAX_NUMBER  # which neither infinity nor NaN is


YES_OR_NO = Kind({"type": "boolean"}, Message("mcp.expected_yes_or_no"), lambda value: isinstance(value, bool))
INDEX = Kind(
    {"type": "integer", "minimum": 0, "maximum": MAX_NUMBER},
    Message("cli.expected_number_from", least=0),
    lambda value: isinstance(value, int) and not isinstance(value, bool) and 0 <= value <= MAX_NUMBER,
)
NAMES = Kind(
    {"type": "array", "items": text().schema, "minItems": 1, "maxItems": MAX_NAMES},
    Message("mcp.expected_names", limit=MAX_NAMES),
    lambda value: isinstance(value, list) and 1 <= len(value) <= MAX_NAMES and all(map(text().fits, value)),
)
BOX = Kind(
    {"type": "array", "items": {"type": "number"}, "minItems": 4, "maxItems": 4},
    Message("mcp.expected_box"),
    lambda value: isinstance(value, list) and len(value) == 4 and all(map(_is_number, value)),
)
