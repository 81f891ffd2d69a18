"""What clients send: JSON and forms -> a question and its image, the query of a path -> a picture."""

from __future__ import annotations

import asyncio
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, TypeVar

from pydantic import Field
from python_multipart.multipart import parse_options_header
from starlette.datastructures import UploadFile
from starlette.formparsers import MultiPartException, MultiPartParser
from starlette.requests import Request

from medrega_edge.io.strict_json import STRICT, Count, JsonFault, parse_json
from medrega_edge.server.errors import HttpError
from medrega_edge.server.jobs import ObjectKind, Picture, Question

MOST_VALUES = 20_000  # of a JSON body: lists, objects and what follows a comma

_T = TypeVar("_T")


@dataclass(frozen=True)
class ImagePart:
    """Which picture a request is about: an image that was sent before by its `id`, or its bytes in base64 as `data`."""

    __pydantic_config__ = STRICT

    id: Annotated[str, Field(pattern="^[0-9a-f]{64}$")] | None = None
    data: str | None = None
    index: Count | None = None
    window: Annotated[str, Field(max_length=40)] | None = None
    plane: Annotated[str, Field(max_length=10)] | None = None


@dataclass(frozen=True)
class RegionsRequest(Question):
    """The body of `/v1/regions` and its kin: a question, and its image. `kind` is that of a DICOM object."""

    image: ImagePart = field(default_factory=ImagePart)
    kind: ObjectKind = "sr"

    def as_question(self) -> Question:
        """Return the question alone."""
        names = Question.__dataclass_fields__
        return Question(**{name: getattr(self, name) for name in names})


class _InMemory(MultiPartParser):
    """Leaves no file of a patient on the disk, whose parts the parser would write there from a megabyte on."""

    spool_max_size = sys.maxsize


async def read_form(request: Request) -> tuple[RegionsRequest, bytes | None]:
    """Read a form: the file `image`, and either `request`, the JSON of the rest, or its texts as fields."""
    _, options = parse_options_header(request.headers.get("content-type", ""))
    if options.get(b"charset", b"utf-8").lower() != b"utf-8":  # some codecs take minutes
        raise HttpError("server.bad_form")
    try:
        form = await _InMemory(request.headers, request.stream(), max_files=1, max_fields=20).parse()
    except (MultiPartException, ValueError):
        raise HttpError("server.bad_form") from None
    uploaded = form.get("image")
    data = await uploaded.read() if isinstance(uploaded, UploadFile) else None
    fields = [(name, value) for name, value in form.multi_items() if isinstance(value, str)]
    if (whole := form.get("request")) is not None and isinstance(whole, str):
        return _from_json(RegionsRequest, whole), data
    body: dict[str, Any] = {"image": {}}
    for name, text in fields:
        target = body["image"] if name in ("index", "window", "plane") else body
        try:
            value = _FIELDS.get(name, str)(text)
        except ValueError:
            raise HttpError("server.bad_json", key=name[:40]) from None
        target[name] = [*target.get(name, ()), value] if name in _REPEATED else value
    return _from_json(RegionsRequest, json.dumps(body)), data


def is_form(request: Request) -> bool:
    """Whether the body is a form with parts."""
    return request.headers.get("content-type", "").partition(";")[0].strip().lower() == "multipart/form-data"


def _truth(text: str) -> bool:
    if text.lower() not in ("true", "false"):
        raise ValueError
    return text.lower() == "true"


# How the text of a form's field becomes a value; others are texts. Those that are lists come once for each member.
_FIELDS: dict[str, Callable[[str], Any]] = {
    "box": lambda text: [float(value) for value in text.split(",")],
    "min_confidence": float,
    **dict.fromkeys(("index", "max_tokens"), int),
    **dict.fromkeys(("several", "masks", "guess"), _truth),
}
_REPEATED = ("names", "labels", "history")


async def read_json(kind: type[_T], request: Request) -> _T:
    """Read a JSON body; raises HttpError."""
    try:
        text = (await request.body()).decode("utf-8")
    except UnicodeDecodeError:
        raise HttpError("server.no_json") from None
    return await asyncio.to_thread(_from_json, kind, text)


def _from_json(kind: type[_T], text: str) -> _T:
    if sum(map(text.count, "[{,")) > MOST_VALUES:  # before they become objects, which take fifty times the memory
        raise HttpError("server.too_many_values", limit=MOST_VALUES)
    try:
        return parse_json(kind, text)
    except JsonFault as fault:
        if not fault.key:
            raise HttpError("server.no_json") from None
        raise HttpError("server.bad_json", key=fault.key) from None


def picture_of(request: Request) -> Picture:
    """Read which picture a path and its query name; raises HttpError."""
    query = request.query_params
    index = query.get("index")
    if index is not None and not (index.isascii() and index.isdigit() and len(index) < 8):
        raise HttpError("server.bad_json", key="index")
    chosen = None if index is None else int(index)
    return Picture(request.path_params["id"], chosen, query.get("window") or None, query.get("plane") or None)
