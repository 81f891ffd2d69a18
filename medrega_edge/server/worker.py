"""A worker: a process with one engine that does jobs one after the other, as its parent sends them over a pipe.

Images come from outside, and a decoder may fail or hang on one: so they are read here, where only one request is lost.

    parent -> worker   a job; None for "cancel"; and by a pipe of its own the bytes of an image that the worker asks for
    worker -> parent   ("need",), ("piece", text), and at last ("done", result), ("error", error) or ("cancelled",)

What comes from a client is read as bytes and never unpickled. A worker that fails while it reads from a pipe ends: the rest
of a message must not be taken for the next one.
"""

from __future__ import annotations

import io
import os
import signal
import threading
import warnings
from collections import OrderedDict
from collections.abc import Callable, Hashable
from contextlib import suppress
from dataclasses import dataclass
from multiprocessing.connection import Connection
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from medrega_edge.batch.process_pool import end_with_parent
from medrega_edge.errors import ChoiceError, ImageError, InternalError, MedregaError, ResourceError, UsageError
from medrega_edge.server.jobs import Ask, Describe, Draw, Job, MakeObject, Picture, Question, Render

if TYPE_CHECKING:
    from PIL import Image

    from medrega_edge.answer import Answer
    from medrega_edge.engine import EncodedImage, Engine
    from medrega_edge.tasks.base import TaskRequest
    from medrega_edge.tasks.memory import Memory

MOST_IMAGES = 16  # encoded, of a worker
MOST_BYTES = 256 * 1024 * 1024  # of files that a worker holds, so that they are not sent again; and of pixels
MOST_MEMORIES = 64  # of conversations
FASTEST = 1  # compression of PNGs: 5 ms for a large picture, a sixth of the time of the usual one

_Key = TypeVar("_Key", bound=Hashable)
_Value = TypeVar("_Value")


@dataclass(frozen=True)
class WorkerOptions:
    """Which package a worker runs, and on what; `salt` is that of the keys of series, the same in all workers.

    `cache` and `cache_bytes` are those of `EngineOptions`.
    """

    model: str | None
    threads: int | None
    device: str
    salt: bytes
    cache: Path | None = None
    cache_bytes: int = 0


class Cancelled(Exception):
    """The client has left: nobody waits for the answer."""


def run_worker(connection: Connection, images: Connection, options: WorkerOptions) -> None:
    """Do jobs until the pipe is closed; the first message is ("ready", facts about the package) or ("error", error)."""
    for number in (signal.SIGINT, signal.SIGTERM):  # the parent gets it, too, and ends its workers when they have answered
        signal.signal(number, signal.SIG_IGN)
    warnings.simplefilter("ignore")  # libraries would quote header values
    threading.Thread(target=end_with_parent, daemon=True).start()
    try:
        worker = Worker(connection, images, options)
    except MedregaError as error:
        connection.send(("error", error))
        return
    connection.send(("ready", worker.facts))
    with suppress(EOFError, BrokenPipeError, ConnectionResetError):
        while True:
            job = _received(connection.recv)
            if job is not None:  # else a client left after its answer was sent
                connection.send(worker.outcome(job))


class Worker:
    """An engine, and what it has seen."""

    def __init__(self, connection: Connection, images: Connection, options: WorkerOptions) -> None:
        """Load the engine; raises PackageError or ResourceError, and UsageError for a cache that cannot be used."""
        from medrega_edge.engine import load
        from medrega_edge.images.dicom import reader  # noqa: F401 - it takes 0.1 s, which the first request would wait

        self._connection, self._images_pipe, self._salt = connection, images, options.salt
        cache, cache_bytes = options.cache, options.cache_bytes
        self._engine: Engine = load(
            options.model, threads=options.threads, device=options.device, cache=cache, cache_bytes=cache_bytes
        )
        self._engine.language_model.before_pass = self._check_cancelled
        self._files: OrderedDict[str, bytes] = OrderedDict()
        self._images: OrderedDict[Picture | tuple[Picture, str], EncodedImage] = OrderedDict()
        self._memories: OrderedDict[Any, Memory] = OrderedDict()

    @property
    def facts(self) -> dict[str, Any]:
        """What `/v1/info` tells of the package."""
        package, terminology = self._engine.package, self._engine.terminology
        manifest = package.manifest
        return {
            "model": {
                "name": manifest.name,
                "version": manifest.version,
                "sha256": package.sha256,
                "precision": manifest.precision,
            },
            "tasks": list(self._engine.tasks),
            "masks": self._engine.has_masks,
            "labels": [
                {"en": english, "zh": chinese, "modalities": terminology.modalities_of(english)}
                for english, chinese in terminology.labels
            ],
        }

    def outcome(self, job: Job) -> tuple[Any, ...]:
        """Do a job; returns the message that ends it."""
        try:
            return "done", self._do(job)
        except Cancelled:
            return ("cancelled",)
        except ChoiceError as several:
            last = several.count - 1
            return "error", ImageError("server.choose_picture", count=several.count, last=last)
        except MedregaError as error:
            return "error", _for_clients(error)
        except MemoryError:
            return "error", ResourceError("cli.no_memory")
        except (EOFError, BrokenPipeError, ConnectionResetError):
            raise
        except Exception as error:
            return "error", InternalError(error)
        finally:
            self._engine.language_model.forget()  # or a client's time would tell of another client's words

    def _do(self, job: Job) -> Any:
        picture = job.picture
        match job:
            case Describe():
                from medrega_edge.server.facts import describe

                return describe(self._data(picture.image), picture.image, picture, self._salt)
            case Render():
                from PIL import Image

                from medrega_edge.server.facts import read

                return _png(Image.fromarray(read(self._data(picture.image), picture.image, picture).pixels))
            case Ask():
                return self._answer(picture, job.question, job.streams).to_dict()
            case Draw():
                answer, drawn = self._drawn(picture, job.question)
                return answer.to_dict(), _png(drawn)
            case MakeObject():
                return self._object(job)

    def _answer(self, picture: Picture, question: Question, streams: bool = False) -> Answer:
        from medrega_edge.domain import Language
        from medrega_edge.tasks.small_talk import language_in

        image = self._encoded(picture, question.question)
        memory = self._memory(picture, question.history)
        request = self._request(image, question, memory)
        words = question.question or ", ".join(question.names)
        language = question.language or (language_in((*question.history, words)) if words else Language.EN)
        on_text = (lambda text: self._connection.send(("piece", text))) if streams else None
        return self._engine.run(
            image,
            request,
            language,
            max_tokens=question.max_tokens,
            guess=question.guess,
            min_confidence=question.min_confidence,
            on_text=on_text,
        )

    def _request(self, image: EncodedImage, question: Question, memory: Memory) -> TaskRequest:
        """Return the request that a question makes; raises UsageError."""
        from medrega_edge.boxes import PixelBox
        from medrega_edge.domain import Task
        from medrega_edge.tasks.classification import Classify
        from medrega_edge.tasks.conversation import about_box
        from medrega_edge.tasks.detection import Detect
        from medrega_edge.tasks.identification import Identify
        from medrega_edge.tasks.reporting import Report
        from medrega_edge.tasks.segmentation import Segment
        from medrega_edge.tasks.several import with_masks
        from medrega_edge.tasks.vqa import AnswerQuestion

        if question.question and question.task not in ("ask", "vqa", "identify"):
            raise UsageError("server.task_and_question", task=question.task)
        box = None if question.box is None else PixelBox(*question.box)
        match question.task:
            case "segment":
                return Segment(question.names, box)
            case "locate":
                return Segment(question.names) if question.masks else Detect(question.names)
            case "identify":
                if box is None:
                    raise UsageError("server.no_box")
                return Identify(box, question.question)
            case "classify":
                return Classify(question.label_set or question.labels, question.several)
            case "report" | "grounded_report":
                return Report(question.task == "grounded_report")
            case "vqa":
                return AnswerQuestion(question.question)
        if box is not None and memory.turns:
            return about_box(box, memory, self._engine.terminology, question.question)
        if box is not None:
            return self._engine.request(image, question.question, task=Task.IDENTIFY, box=box)
        if not question.question.strip():
            raise UsageError("server.no_question")
        request = self._engine.next_request(image, question.question, memory)
        return with_masks(request) if question.masks else request

    def _memory(self, picture: Picture, history: tuple[str, ...]) -> Memory:
        """Return what earlier questions about a picture leave for the next one: each is answered again, if it has to be."""
        from copy import copy

        from medrega_edge.tasks.memory import Memory
        from medrega_edge.tasks.small_talk import language_in

        known = _taken(self._memories, (picture, history))
        if known is None:
            if not history:
                return Memory()
            known = copy(self._memory(picture, history[:-1]))
            image = self._encoded(picture, history[-1])
            with suppress(UsageError):  # a question that was refused leaves nothing
                request = self._engine.next_request(image, history[-1], known)
                known.remember(request, self._engine.run(image, request, language_in(history)), history[-1])
        _put(self._memories, (picture, history), known, MOST_MEMORIES)
        return copy(known)

    def _encoded(self, picture: Picture, words: str) -> EncodedImage:
        """Return the encoded picture that a question is about, read as the command line does."""
        from medrega_edge.server.facts import read
        from medrega_edge.tasks.window_words import window_preset_for

        key = (picture, window_preset_for(words))
        image = _taken(self._images, key)
        if image is None:
            image = self._engine.encode(read(self._data(picture.image), picture.image, *key))
        _put(self._images, key, image, MOST_IMAGES)
        while len(self._images) > 1 and sum(map(_pixel_bytes, self._images.values())) > MOST_BYTES:
            self._images.popitem(last=False)
        return image

    def _drawn(self, picture: Picture, question: Question) -> tuple[Answer, Image.Image]:
        from medrega_edge.output.overlay import draw_answer

        answer = self._answer(picture, question)
        return answer, draw_answer(self._encoded(picture, question.question).image, answer)

    def _object(self, job: MakeObject) -> tuple[dict[str, Any], bytes]:
        from medrega_edge.output.dicom.writer import made_objects

        answer, drawn = self._drawn(job.picture, job.question)
        data, english = self._data(job.picture.image), self._engine.terminology.english
        made = made_objects(answer, data, drawn, (job.kind,), job.question.question, english=english)
        return answer.to_dict(), made[job.kind]

    def _data(self, image: str) -> bytes:
        """Return the bytes of a file, inflated if it is a compressed volume: each slice would inflate it again."""
        data = _taken(self._files, image)
        if data is None:
            self._connection.send(("need",))
            data = _inflated(_received(self._images_pipe.recv_bytes))
            self._check_cancelled()
        self._files[image] = data
        while len(self._files) > 1 and sum(map(len, self._files.values())) > MOST_BYTES:
            self._files.popitem(last=False)
        return data

    def _check_cancelled(self) -> None:
        if self._connection.poll():
            _received(self._connection.recv)  # None, or the end of a parent that has gone
            raise Cancelled


def _for_clients(error: MedregaError) -> MedregaError:
    """Return an error in words of the API, where its own names options of the command line."""
    params = error.message.params
    if error.code == "image.no_such_picture":
        return ImageError("server.no_such_picture", number=params["number"], last=params["last"])
    if error.code in ("image.single_picture", "image.not_a_volume"):
        return ImageError("server.one_picture")
    return error


def _received(receive: Callable[[], _Value]) -> _Value:
    """Receive from a pipe; whatever fails but its end ends the process."""
    try:
        return receive()
    except (EOFError, ConnectionResetError):
        raise
    except BaseException:
        os._exit(1)


def _pixel_bytes(image: EncodedImage) -> int:
    values = image.image.values
    return image.image.pixels.nbytes + (0 if values is None else values.nbytes)


def _inflated(data: bytes) -> bytes:
    from medrega_edge.i18n.message import Message
    from medrega_edge.images.inflating import GzipReader, compression_errors
    from medrega_edge.images.medical_image import MAX_BYTES
    from medrega_edge.images.signatures import GZIP_MAGIC, is_nifti

    if not data.startswith(GZIP_MAGIC) or not is_nifti(data):
        return data
    name = Message("image.given")
    with compression_errors(name):
        return GzipReader(data).read(MAX_BYTES)


def _png(picture: Image.Image) -> bytes:
    buffer = io.BytesIO()
    picture.save(buffer, format="PNG", compress_level=FASTEST)
    return buffer.getvalue()


def _taken(cache: OrderedDict[_Key, _Value], key: _Key) -> _Value | None:
    return cache.pop(key, None)


def _put(cache: OrderedDict[_Key, _Value], key: _Key, value: _Value, most: int) -> None:
    """Put a value in as the newest one; the oldest leave."""
    cache[key] = value
    while len(cache) > most:
        cache.popitem(last=False)
