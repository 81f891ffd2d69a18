"""OpenAI's chat completions: messages with images as data URIs -> questions, and answers -> completions.

The model answers about one picture. Of several images in the last message with images, each gets an answer of its own. Our
answers stand beside the text under the key `medrega`. The text holds their warnings, the notice, and the regions in the
model's own protocol, `<ref>name</ref><box>[[x1, y1, x2, y2]]</box>` in thousandths of the picture.
"""

from __future__ import annotations

import base64
import binascii
import re
import time
import uuid
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from pydantic import Field

from medrega_edge.answer import not_regarded
from medrega_edge.boxes import Geometry, GridBox, PixelBox
from medrega_edge.domain import NOTICES, Language, language_of
from medrega_edge.i18n.message import Message
from medrega_edge.io.strict_json import STRICT, Count, Share
from medrega_edge.prompts.region_markup import RegionText, format_region
from medrega_edge.server.errors import HttpError
from medrega_edge.server.jobs import LONGEST_TEXT, Corners, Picture, Question, TaskName, Texts
from medrega_edge.tasks.small_talk import language_in

MOST_IMAGES, MOST_PARTS = 16, 64  # of one message
LENIENT: Any = {"extra": "ignore", "strict": True, "allow_inf_nan": False}  # other clients send more than we use
_DATA_URI = re.compile(r"data:[\w.+-]*/?[\w.+-]*(?:;[\w=.+-]+)*;base64,", re.ASCII)
_UNSUPPORTED = ("tools", "functions", "audio", "prediction", "logprobs", "web_search_options")


@dataclass(frozen=True)
class ImageUrl:
    """An image as a data URI."""

    __pydantic_config__ = LENIENT

    url: str


@dataclass(frozen=True)
class Part:
    """A part of a message: text or an image."""

    __pydantic_config__ = LENIENT

    type: str
    text: Annotated[str, Field(max_length=LONGEST_TEXT)] = ""
    image_url: ImageUrl | str | None = None


@dataclass(frozen=True)
class ChatMessage:
    """A message of a conversation."""

    __pydantic_config__ = LENIENT

    role: str
    content: (
        Annotated[str, Field(max_length=LONGEST_TEXT)] | Annotated[tuple[Part, ...], Field(max_length=MOST_PARTS)] | None
    ) = None


@dataclass(frozen=True)
class StreamOptions:
    """Whether the last piece of a stream tells the number of tokens."""

    __pydantic_config__ = LENIENT

    include_usage: bool = False


@dataclass(frozen=True)
class Extension:
    """What OpenAI's API has no place for: how to read the picture, and how to ask."""

    __pydantic_config__ = STRICT

    index: Count | None = None
    window: str | None = None
    plane: Literal["axial", "coronal", "sagittal"] | None = None
    task: TaskName = "ask"
    names: Texts = ()
    box: Corners | None = None
    labels: Texts = ()
    label_set: str | None = None
    several: bool = False
    language: Annotated[Language, Field(strict=False)] | None = None
    masks: bool = False
    guess: bool = False
    min_confidence: Share = 0.0
    markup: bool = True


@dataclass(frozen=True)
class ChatRequest:
    """The body of a request for a completion. Sampling is not: answers of this program do not depend on chance."""

    __pydantic_config__ = LENIENT

    messages: Annotated[tuple[ChatMessage, ...], Field(min_length=1, max_length=200)]
    model: str = ""
    stream: bool = False
    stream_options: StreamOptions | None = None
    max_tokens: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    max_completion_tokens: Annotated[Count, Field(ge=1, le=100_000)] | None = None
    n: int | None = None
    tools: Any = None
    functions: Any = None
    audio: Any = None
    prediction: Any = None
    logprobs: Any = None
    web_search_options: Any = None
    medrega: Extension = field(default_factory=Extension)


@dataclass(frozen=True)
class Asked:
    """What a conversation asks: the bytes of images, and the question about each of them."""

    images: tuple[bytes, ...]
    question: Question
    extension: Extension

    def picture(self, image: str) -> Picture:
        """Return which picture of a file is meant."""
        return Picture(image, self.extension.index, self.extension.window, self.extension.plane)


def asked(request: ChatRequest) -> Asked:
    """Read a conversation: the last question, the images it is about, and the questions since these came.

    Raises HttpError for what this server does not do, and for a conversation without an image or a question.
    """
    for name in _UNSUPPORTED:
        if getattr(request, name) not in (None, False, [], ()):
            raise HttpError("server.unsupported", name=name)
    if request.n not in (None, 1):
        raise HttpError("server.unsupported", name="n")
    users = [message for message in request.messages if message.role == "user"]
    pictured = [place for place, message in enumerate(users) if any(_urls(message))]
    if not pictured:
        raise HttpError("server.no_image")
    urls = list(_urls(users[pictured[-1]]))
    if len(urls) > MOST_IMAGES:
        raise HttpError("server.too_many_images", limit=MOST_IMAGES)
    images = tuple(map(_decoded, urls))
    *history, last = [_words(message) for message in users[pictured[-1] :]]
    extension = request.medrega
    if not last and extension.task == "ask" and extension.box is None:
        raise HttpError("server.no_question")
    takes_words = extension.task in ("ask", "vqa", "identify")
    question = Question(
        question=last if takes_words else "",
        task=extension.task,
        names=extension.names,
        box=extension.box,
        labels=extension.labels,
        label_set=extension.label_set,
        several=extension.several,
        history=tuple(filter(None, history)),
        language=extension.language or (None if takes_words or not last else language_of(last)),
        masks=extension.masks,
        guess=extension.guess,
        min_confidence=extension.min_confidence,
        max_tokens=request.max_completion_tokens or request.max_tokens,
    )
    return Asked(images, question, extension)


def _urls(message: ChatMessage) -> Iterator[str]:
    if isinstance(message.content, tuple):
        for part in message.content:
            if part.type == "image_url" and part.image_url is not None:
                yield part.image_url if isinstance(part.image_url, str) else part.image_url.url


def _words(message: ChatMessage) -> str:
    if isinstance(message.content, str):
        return message.content.strip()
    return "\n".join(part.text for part in message.content or () if part.type == "text").strip()


def _decoded(url: str) -> bytes:
    """Return the bytes of a data URI; raises HttpError for any other URL: none is ever fetched."""
    beginning = _DATA_URI.match(url[:200])
    if beginning is None:
        raise HttpError("server.no_data_uri")
    try:
        return base64.b64decode(url[beginning.end() :], validate=True)
    except (binascii.Error, ValueError):
        raise HttpError("server.bad_base64") from None


def content(answers: Sequence[dict[str, Any]], with_markup: bool) -> str:
    """Return the text of a completion: of several images each answer under its number, and the regions as markup."""
    texts = []
    for number, answer in enumerate(answers):
        texts.append(beginning(number, len(answers)) + answer["text"] + after_text(answer, with_markup))
    return "".join(texts)


def after_text(answer: dict[str, Any], with_markup: bool) -> str:
    """Return what follows the text of an answer, for a client that shows nothing else: warnings, regions, the notice."""
    is_chinese = answer["language"] == Language.ZH
    warnings = [warning.get("message_zh", warning["message"]) for warning in answer["warning_details"]]
    language = Language.ZH if is_chinese else Language.EN
    if aside := not_regarded(answer["facts"]):
        warnings.insert(0, Message("answer.not_regarded", words=[*aside]).text(language))
    parts = ["\n".join(f"- {warning}" for warning in warnings), markup(answer) if with_markup else "", NOTICES[language]]
    return "".join(f"\n\n{part}" for part in parts if part)


def refusal(error: dict[str, Any], model: str, question: Question) -> dict[str, Any]:
    """Return a completion that says why a question has no answer; the error stands under `medrega`."""
    is_chinese = (question.language or language_in((*question.history, question.question))) is Language.ZH
    text = f"{error['message_zh' if is_chinese else 'message']}\n\n{NOTICES[Language.ZH if is_chinese else Language.EN]}"
    message = {"role": "assistant", "content": text, "refusal": None, "medrega": {"answers": [], "error": error}}
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": "stop"}
    return {**_head("chat.completion", model), "choices": [choice], "usage": usage([])}


def beginning(number: int, count: int) -> str:
    """Return what stands before the text of an answer, which is counted from 0: its number, if there are several."""
    if count == 1:
        return ""
    return f"\n\n[{number + 1}] " if number else "[1] "


def markup(answer: dict[str, Any]) -> str:
    """Write the regions of an answer as the model does, boxes of one label together."""
    geometry = Geometry(answer["image"]["width"], answer["image"]["height"])
    boxes: dict[str, list[GridBox]] = {}
    for region in answer["regions"]:
        boxes.setdefault(region["label"], []).append(geometry.to_grid(PixelBox(*region["box"])))
    return "\n".join(format_region(RegionText(label, tuple(each))) for label, each in boxes.items())


def completion(answers: Sequence[dict[str, Any]], model: str, with_markup: bool) -> dict[str, Any]:
    """Return the body of a completion."""
    message = {
        "role": "assistant",
        "content": content(answers, with_markup),
        "refusal": None,
        "medrega": {"answers": list(answers), "notice": answers[0]["notice"]},
    }
    choice = {"index": 0, "message": message, "logprobs": None, "finish_reason": _finish(answers)}
    return {**_head("chat.completion", model), "choices": [choice], "usage": usage(answers)}


def usage(answers: Sequence[dict[str, Any]]) -> dict[str, int]:
    """Return the numbers of tokens."""
    prompt = sum(answer["tokens"]["prompt"] for answer in answers)
    generated = sum(answer["tokens"]["generated"] for answer in answers)
    return {"prompt_tokens": prompt, "completion_tokens": generated, "total_tokens": prompt + generated}


def _finish(answers: Sequence[dict[str, Any]]) -> str:
    return "length" if any(answer["finish"] == "length" for answer in answers) else "stop"


def _head(kind: str, model: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{uuid.uuid4().hex}", "object": kind, "created": int(time.time()), "model": model}


class Chunks:
    """The pieces of a streamed completion, which share an id."""

    def __init__(self, model: str) -> None:
        """Take the name of the model."""
        self._head = _head("chat.completion.chunk", model)

    def piece(self, text: str, is_first: bool) -> dict[str, Any]:
        """Return a piece of the text."""
        return self._chunk({"role": "assistant", "content": text} if is_first else {"content": text}, None)

    def last(self, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the piece that ends the text, with the answers."""
        medrega = {"answers": list(answers), "notice": answers[0]["notice"]}
        return self.end({"medrega": medrega}, _finish(answers))

    def end(self, delta: dict[str, Any], finish: str) -> dict[str, Any]:
        """Return the piece that ends the text, for a reason."""
        return self._chunk(delta, finish)

    def usage(self, answers: Sequence[dict[str, Any]]) -> dict[str, Any]:
        """Return the piece with the numbers of tokens."""
        return {**self._head, "choices": [], "usage": usage(answers)}

    def _chunk(self, delta: dict[str, Any], finish: str | None) -> dict[str, Any]:
        return {**self._head, "choices": [{"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}]}
