"""The tools: each makes one request of the engine and gives back its answer, as JSON and as text for a model to read."""

from __future__ import annotations

import base64
import io
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from medrega_edge.answer import Answer, Region
from medrega_edge.boxes import PixelBox
from medrega_edge.domain import NOTICES, Language, language_of
from medrega_edge.errors import InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.i18n.message import Message
from medrega_edge.images.medical_image import View
from medrega_edge.io.safe_text import printable
from medrega_edge.mcp.arguments import BOX, INDEX, MAX_PATH, NAMES, YES_OR_NO, Argument, checked, choice, schema_of, text
from medrega_edge.mcp.folders import Folders, Place

if TYPE_CHECKING:
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.tasks.base import TaskRequest

Json = dict[str, Any]

MAX_IMAGES = 4  # encoded images in the cache; each holds its pixels
MAX_SIDE = 1568  # pixels of a picture in an answer: models that see take no more

_IMAGE = Argument("image", text(MAX_PATH), Message("mcp.argument_image"), is_required=True)
_LANGUAGE = Argument("language", choice(*Language), Message("mcp.argument_language"))
_PICTURE = Argument("picture", YES_OR_NO, Message("mcp.argument_picture"))
_VIEW = (
    Argument("frame", INDEX, Message("mcp.argument_frame")),
    Argument("slice", INDEX, Message("mcp.argument_slice")),
    Argument("series", INDEX, Message("mcp.argument_series")),
    Argument("plane", choice("axial", "coronal", "sagittal"), Message("mcp.argument_plane")),
    Argument("window", text(64), Message("mcp.argument_window")),
)
_COMMON = (_LANGUAGE, *_VIEW, _PICTURE)


@dataclass(frozen=True)
class Tool:
    """A tool that answers about one image.

    `words` are the user's own of the arguments, or empty; `request` makes the request of the engine.
    """

    name: str
    description: Message
    arguments: tuple[Argument, ...]
    words: Callable[[Json], str]
    request: Callable[[Engine, EncodedImage, Json], TaskRequest]


def _names_of(given: Json) -> str:
    return ", ".join(given.get("names", ()))


def _locate(engine: Engine, image: EncodedImage, given: Json) -> TaskRequest:
    from medrega_edge.tasks.detection import Detect

    return Detect(given["names"])


def _segment(engine: Engine, image: EncodedImage, given: Json) -> TaskRequest:
    from medrega_edge.tasks.segmentation import Segment

    if ("names" in given) == ("box" in given):
        raise UsageError("mcp.names_or_box")
    return Segment(given.get("names", ()), PixelBox(*given["box"]) if "box" in given else None)


def _identify(engine: Engine, image: EncodedImage, given: Json) -> TaskRequest:
    from medrega_edge.tasks.identification import Identify

    return Identify(PixelBox(*given["box"]))


def _ask(engine: Engine, image: EncodedImage, given: Json) -> TaskRequest:
    return engine.request(image, given["question"])


def _report(engine: Engine, image: EncodedImage, given: Json) -> TaskRequest:
    from medrega_edge.tasks.reporting import Report

    return Report(given.get("grounded", False))


TOOLS = (
    Tool(
        "locate",
        Message("mcp.tool_locate"),
        (_IMAGE, Argument("names", NAMES, Message("mcp.argument_names"), is_required=True), *_COMMON),
        _names_of,
        _locate,
    ),
    Tool(
        "segment",
        Message("mcp.tool_segment"),
        (
            _IMAGE,
            Argument("names", NAMES, Message("mcp.argument_names_or_box")),
            Argument("box", BOX, Message("mcp.argument_box_or_names")),
            *_COMMON,
        ),
        _names_of,
        _segment,
    ),
    Tool(
        "identify",
        Message("mcp.tool_identify"),
        (_IMAGE, Argument("box", BOX, Message("mcp.argument_box"), is_required=True), *_COMMON),
        _names_of,
        _identify,
    ),
    Tool(
        "ask",
        Message("mcp.tool_ask"),
        (
            _IMAGE,
            Argument("question", text(), Message("mcp.argument_question"), is_required=True),
            Argument("guess", YES_OR_NO, Message("mcp.argument_guess")),
            *_COMMON,
        ),
        lambda given: str(given["question"]),
        _ask,
    ),
    Tool(
        "report",
        Message("mcp.tool_report"),
        (_IMAGE, Argument("grounded", YES_OR_NO, Message("mcp.argument_grounded")), *_COMMON),
        _names_of,
        _report,
    ),
)
_LABELS = "labels"
_LABEL_ARGUMENTS = (
    Argument("word", text(), Message("mcp.argument_word")),
    replace(_IMAGE, description=Message("mcp.argument_image_of_labels"), is_required=False),
    *_VIEW,
)


class Toolbox:
    """The tools of one server, with the engine and the last images. The engine is loaded when it is first needed."""

    names = (*(tool.name for tool in TOOLS), _LABELS)

    def __init__(self, folders: Folders, load: Callable[[], Engine], language: Language) -> None:
        """Take what may be read, how to load the engine, and the language where no word tells one."""
        self._folders, self._load, self._language = folders, load, language
        self._engine: Engine | None = None
        self._images: OrderedDict[tuple[Place, View], EncodedImage] = OrderedDict()

    def listed(self) -> list[Json]:
        """Return each tool with its description, the JSON Schema of its arguments, and the promise that it only reads."""
        described = [(tool.name, tool.description, tool.arguments) for tool in TOOLS]
        described.append((_LABELS, Message("mcp.tool_labels"), _LABEL_ARGUMENTS))
        notice = {Language.EN: f" {NOTICES[Language.EN]}.", Language.ZH: f"{NOTICES[Language.ZH]}。"}[self._language]
        hints = {"readOnlyHint": True, "idempotentHint": True, "openWorldHint": False}
        return [
            {
                "name": name,
                "description": description.text(self._language) + notice,
                "inputSchema": schema_of(arguments, self._language),
                "annotations": hints,
            }
            for name, description, arguments in described
        ]

    def call(self, name: str, arguments: Json) -> Json:
        """Return the result of a tool of `names`; whatever goes wrong becomes a result that says so."""
        try:
            if name == _LABELS:
                return self._labels(checked(arguments, _LABEL_ARGUMENTS, name))
            tool = next(tool for tool in TOOLS if tool.name == name)
            return self._answer(tool, checked(arguments, tool.arguments, name))
        except MedregaError as error:
            return self._failure(error, arguments)
        except MemoryError:
            return self._failure(ResourceError("cli.no_memory"), arguments)
        except Exception as error:  # a fault of this program must not end it: it tells where, not what
            return self._failure(InternalError(error), arguments)

    def _answer(self, tool: Tool, given: Json) -> Json:
        words = tool.words(given)
        image = self._open(given, words)
        request = tool.request(self.engine, image, given)
        language = Language(given["language"]) if "language" in given else self._language_of(words)
        answer = self.engine.run(image, request, language, guess=given.get("guess", False))
        content: list[Json] = [{"type": "text", "text": printable("\n".join(_lines(answer)))}]
        if given.get("picture"):
            content.append({"type": "image", "mimeType": "image/png", "data": _picture(image, answer)})
        return {"content": content, "structuredContent": answer.to_dict(), "isError": False}

    def _labels(self, given: Json) -> Json:
        from medrega_edge.tasks.label_list import find_labels, label_data

        terminology, modality, part = self.engine.terminology, None, None
        if "image" in given:
            image = self._open(given, "")
            modality, part = self.engine.modality(image), self.engine.context(image, Language.EN).certain_part()
        labels = find_labels(terminology, given.get("word"), modality, part)
        rows = [label_data(label, terminology) for label in labels]
        lines = [f"{row['en']}  {row['zh']}" + (f"  ({', '.join(row['kinds'])})" if row["kinds"] else "") for row in rows]
        content = [{"type": "text", "text": printable("\n".join(lines))}]
        return {"content": content, "structuredContent": {"labels": rows}, "isError": False}

    @property
    def engine(self) -> Engine:
        """The engine; raises PackageError or ResourceError where it cannot be loaded."""
        if self._engine is None:
            self._engine = self._load()
        return self._engine

    def _open(self, given: Json, words: str) -> EncodedImage:
        """Read and encode an image, unless it is one of the last and has not changed; raises ImageError."""
        from medrega_edge.tasks.window_words import window_preset_for

        place = self._folders.find(given["image"])
        frame = given.get("frame", place.frame)
        view = View(
            frame,
            given.get("window"),
            given.get("plane"),
            given.get("slice"),
            window_preset_for(words),
            given.get("series"),
        )
        key = place, view
        image = self._images.pop(key, None) or self.engine.open(place.path, view)
        self._images[key] = image
        while len(self._images) > MAX_IMAGES:
            self._images.popitem(last=False)
        return image

    def _language_of(self, words: str) -> Language:
        return language_of(words) if words else self._language

    def _failure(self, error: MedregaError, arguments: Json) -> Json:
        """Return an error as the result of a tool, so that the model reads it, in the language that was asked for."""
        wanted, question = arguments.get("language"), arguments.get("question")
        language = self._language_of(question if isinstance(question, str) else "")
        if wanted in list(Language):
            language = Language(wanted)
        content = [{"type": "text", "text": printable(error.message.text(language))}]
        return {"content": content, "structuredContent": {"error": error.to_dict()}, "isError": True}


def _lines(answer: Answer) -> Iterator[str]:
    """The answer as text: what it says, its regions, its confidence, its warnings, and the notice."""
    language = answer.language
    yield answer.text
    for number, region in enumerate(answer.regions, 1):
        facts = list(_facts(answer, region))
        yield Message("mcp.region", number=number, label=region.label, facts=facts).text(language)
    confidence = answer.labels[0].confidence if answer.labels else answer.confidence
    if confidence is not None and answer.text == answer.words:
        yield Message("mcp.confidence", value=confidence).text(language)
    if aside := answer.not_regarded:
        yield Message("answer.not_regarded", words=[*aside]).text(language)
    for warning in answer.warnings:
        yield Message("output.warning", warning=warning).text(language)
    yield NOTICES[language]


def _facts(answer: Answer, region: Region) -> Iterator[Message]:
    yield Message("mcp.box", box=", ".join(f"{value:.0f}" for value in region.box))
    if (millimetres := answer.image.in_millimetres(region.box)) is not None:
        x1, y1, x2, y2 = millimetres
        yield Message("mcp.size", width=x2 - x1, height=y2 - y1)
    if region.confidence is not None:
        yield Message("mcp.confidence", value=region.confidence)
    if answer.is_best_guess(region):
        yield Message("mcp.best_guess")


def _picture(image: EncodedImage, answer: Answer) -> str:
    """The image with the regions drawn, as the base64 of a PNG; a large one is reduced."""
    from medrega_edge.output.overlay import draw_answer

    picture, buffer = draw_answer(image.image, answer), io.BytesIO()
    picture.thumbnail((MAX_SIDE, MAX_SIDE))
    picture.save(buffer, format="PNG")
    return base64.b64encode(buffer.getvalue()).decode("ascii")
