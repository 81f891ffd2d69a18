"""The application: paths, and what is done at each of them."""

from __future__ import annotations

import asyncio
import base64
import binascii
import hmac
import json
from collections.abc import AsyncIterator, Awaitable, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from importlib.resources import files
from typing import Any, TypeVar

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from starlette.applications import Starlette
from starlette.exceptions import HTTPException
from starlette.requests import ClientDisconnect, Request
from starlette.responses import JSONResponse, Response, StreamingResponse
from starlette.routing import Route

from medrega_edge import __version__
from medrega_edge.domain import NOTICE, NOTICE_ZH
from medrega_edge.errors import InternalError, MedregaError, UsageError
from medrega_edge.images.windowing import PRESETS
from medrega_edge.io.audit import AuditLog
from medrega_edge.io.safe_text import json_text
from medrega_edge.server import chat
from medrega_edge.server.bodies import RegionsRequest, is_form, picture_of, read_form, read_json
from medrega_edge.server.errors import HttpError, error_data, error_response
from medrega_edge.server.guard import TOKEN_PATH, Guard, GuardOptions
from medrega_edge.server.jobs import Ask, Describe, Draw, Job, MakeObject, Picture, Question, Render
from medrega_edge.server.openapi import description
from medrega_edge.server.pool import OnPiece, Pool, TooLate
from medrega_edge.server.store import ImageStore
from medrega_edge.vocabulary.label_sets import LABEL_SETS

LONGEST_CODE = 200  # bytes; who has no token may send no more
_PAGE_TYPES = {"html": "text/html; charset=utf-8", "js": "text/javascript", "css": "text/css", "json": "application/json"}
_EVENTS = "text/event-stream"
_DICOM, _PNG = "application/dicom", "image/png"

_R = TypeVar("_R")


@dataclass(frozen=True)
class Opened:
    """What `medrega view` was started with: images, and saved answers whose image is one of them by its hash, if any."""

    images: Sequence[str] = ()
    answers: Sequence[dict[str, Any]] = ()


@dataclass(frozen=True)
class ServerOptions:
    """Limits and guards of a server."""

    guard: GuardOptions
    store_bytes: int
    code: str | None = None  # that opens the token once
    opened: Opened = field(default_factory=Opened)


class Server:
    """The application of one server process, with its workers and the images that clients have sent."""

    def __init__(self, pool: Pool, options: ServerOptions, audit: AuditLog | None = None) -> None:
        """The pool is started with the application."""
        self.pool, self._options, self._audit = pool, options, audit
        self.store = ImageStore(options.store_bytes)
        self._code = options.code
        viewer = files("medrega_edge.server") / "viewer"
        pages = [file for file in viewer.iterdir() if file.name.rpartition(".")[2] in _PAGE_TYPES]
        self._pages = {page.name: page.read_bytes() for page in pages}
        self._registry = CollectorRegistry()
        self._gauges()
        routes = [
            Route("/", self._page),
            Route("/viewer/{name}", self._page),
            Route(TOKEN_PATH, self._token, methods=["POST"]),
            Route("/healthz", self._health),
            Route("/metrics", self._metrics),
            Route("/openapi.json", self._openapi),
            Route("/v1/info", self._info),
            Route("/v1/models", self._models),
            Route("/v1/models/{name}", self._models),
            Route("/v1/opened", self._opened),
            Route("/v1/images", self._send_image, methods=["POST"]),
            Route("/v1/images/{id}", self._image, methods=["GET", "DELETE"]),
            Route("/v1/images/{id}/picture.png", self._picture),
            Route("/v1/regions", self._regions, methods=["POST"]),
            Route("/v1/picture", self._drawn, methods=["POST"]),
            Route("/v1/objects", self._object, methods=["POST"]),
            Route("/v1/chat/completions", self._chat, methods=["POST"]),
        ]
        handlers: Any = {HTTPException: _not_there, ClientDisconnect: _left, MedregaError: _failed, Exception: _fault}
        inner = Starlette(routes=routes, exception_handlers=handlers, lifespan=self._lifespan)
        self.app = Guard(inner, options.guard, self._registry)

    @asynccontextmanager
    async def _lifespan(self, _: Starlette) -> AsyncIterator[None]:
        try:
            yield
        finally:
            await self.pool.stop()
            if self._audit is not None:
                self._audit.close()

    def _gauges(self) -> None:
        state = self.pool.state
        for name, text, value in (
            ("medrega_waiting", "Requests in the queue.", lambda: self.pool.waiting),
            ("medrega_running", "Requests that a worker answers.", lambda: state.running),
            ("medrega_workers", "Workers that are there.", lambda: self.pool.workers),
            ("medrega_worker_restarts", "Workers that ended and were replaced.", lambda: state.restarts),
            ("medrega_image_bytes", "Bytes of images in memory.", lambda: self.store.size),
            ("medrega_images", "Images in memory.", lambda: len(self.store)),
        ):
            Gauge(name, text, registry=self._registry).set_function(value)

    async def _page(self, request: Request) -> Response:
        name = request.path_params.get("name", "index.html")
        if name not in self._pages:
            raise HttpError("server.no_such_path")
        return Response(self._pages[name], media_type=_PAGE_TYPES[name.rpartition(".")[2]])

    async def _health(self, _: Request) -> Response:
        is_well = self.pool.workers > 0
        return JSONResponse({"status": "ok" if is_well else "no worker"}, 200 if is_well else 503)

    async def _token(self, request: Request) -> Response:
        """Give the token to who knows the code, which opens once: a browser's address can be read by others."""
        given = b""
        async for chunk in request.stream():
            given += chunk
            if len(given) > LONGEST_CODE:
                break
        code, self._code = self._code, None  # a wrong one closes it, too
        if code is None or not hmac.compare_digest(given, code.encode()):
            raise HttpError("server.wrong_token")
        return JSONResponse({"token": self._options.guard.token})

    async def _metrics(self, _: Request) -> Response:
        return Response(generate_latest(self._registry), media_type="text/plain; version=0.0.4; charset=utf-8")

    async def _openapi(self, _: Request) -> Response:
        return JSONResponse(description())

    async def _info(self, _: Request) -> Response:
        return JSONResponse(
            {
                "version": __version__,
                "notice": NOTICE,
                "notice_zh": NOTICE_ZH,
                **self.pool.facts,
                "dicom_objects": _has_highdicom(),
                "max_upload_bytes": self._options.guard.most_bytes,
                "label_sets": {name: [list(label) for label in one.labels] for name, one in LABEL_SETS.items()},
                "windows": list(PRESETS),
            }
        )

    async def _models(self, request: Request) -> Response:
        model = {"id": self._model, "object": "model", "created": 0, "owned_by": "medrega-edge"}
        if (name := request.path_params.get("name")) is None:
            return JSONResponse({"object": "list", "data": [model]})
        if name != self._model:
            raise HttpError("server.no_such_model", model=self._model)
        return JSONResponse(model)

    @property
    def _model(self) -> str:
        return str(self.pool.facts["model"]["name"])

    async def _opened(self, _: Request) -> Response:
        few = asyncio.Semaphore(2 * max(1, self.pool.workers))  # at a time: a folder must not fill the queue

        async def described(image: str) -> dict[str, Any] | MedregaError:
            async with few:
                try:
                    known: dict[str, Any] = await self.pool.do(Describe(Picture(image)), self.store.get(image))
                    return known
                except MedregaError as error:  # one file of a folder
                    return error

        found = await asyncio.gather(*map(described, self._options.opened.images))
        images = [one for one in found if not isinstance(one, MedregaError)]
        errors = [error_data(one)["error"] for one in found if isinstance(one, MedregaError)]
        by_hash = {image["id"]: image for image in images}
        answers = [
            answer | {"image": by_hash.get(answer["answer"]["image"]["sha256"])} for answer in self._options.opened.answers
        ]
        return JSONResponse({"images": images, "answers": answers, "errors": errors})

    async def _send_image(self, request: Request) -> Response:
        data = (await read_form(request))[1] if is_form(request) else await request.body()
        if not data:
            raise HttpError("server.empty")
        image = await asyncio.to_thread(self.store.put, data)
        known = await self._do(request, Describe(Picture(image)), data)
        return JSONResponse(known, 201)

    async def _image(self, request: Request) -> Response:
        picture = picture_of(request)
        if request.method == "DELETE":
            self.store.remove(picture.image)
            return Response(status_code=204)
        return JSONResponse(await self._do(request, Describe(picture)))

    async def _picture(self, request: Request) -> Response:
        return Response(await self._do(request, Render(picture_of(request))), media_type=_PNG)

    async def _regions(self, request: Request) -> Response:
        picture, body = await self._question(request)
        answer = await self._answer(request, picture, body.as_question())
        return Response(json_text(answer) + "\n", media_type="application/json")

    async def _drawn(self, request: Request) -> Response:
        picture, body = await self._question(request)
        return await self._made(request, Draw(picture, body.as_question()), _PNG)

    async def _object(self, request: Request) -> Response:
        picture, body = await self._question(request)
        return await self._made(request, MakeObject(picture, body.as_question(), body.kind), _DICOM)

    async def _made(self, request: Request, job: Draw | MakeObject, kind: str) -> Response:
        answer, made = await self._do(request, job)
        await self._note(job.picture, job.question, answer)
        return Response(made, media_type=kind)

    async def _chat(self, request: Request) -> Response:
        body = await read_json(chat.ChatRequest, request)
        if body.model not in ("", self._model, "medrega"):
            raise HttpError("server.no_such_model", model=self._model)
        asked = chat.asked(body)
        if body.stream:
            usage = body.stream_options is not None and body.stream_options.include_usage
            return await self._streamed(request, asked, usage)
        try:
            answers = await self._answers(request, asked)
        except UsageError as refusal:  # of the question: that is an answer, too
            return JSONResponse(chat.refusal(error_data(refusal)["error"], self._model, asked.question))
        return JSONResponse(chat.completion(answers, self._model, asked.extension.markup))

    async def _answers(self, request: Request, asked: chat.Asked, on_piece: OnPiece | None = None) -> list[dict[str, Any]]:
        """Answer about each image of a conversation, within the deadline of one request; raises TooLate."""
        seconds = self.pool.options.deadline
        try:
            async with asyncio.timeout(seconds):
                return [await self._answer_in_chat(request, asked, number, on_piece) for number in range(len(asked.images))]
        except TimeoutError:
            raise TooLate("server.too_late", seconds=seconds) from None

    async def _answer_in_chat(
        self, request: Request, asked: chat.Asked, number: int, on_piece: OnPiece | None
    ) -> dict[str, Any]:
        beginning = chat.beginning(number, len(asked.images))

        def write(text: str) -> None:
            nonlocal beginning
            if on_piece is not None:
                on_piece(beginning + text)
                beginning = ""

        # With an audit log no word leaves before its line is written.
        streams = on_piece is not None and self._audit is None
        image = asked.images[number]
        picture = asked.picture(await asyncio.to_thread(self.store.put, image))
        answer = await self._answer(request, picture, asked.question, write if streams else None, image)
        if not streams:
            write(answer["text"])
        write(chat.after_text(answer, asked.extension.markup))
        return answer

    async def _streamed(self, request: Request, asked: chat.Asked, usage: bool) -> Response:
        """Stream the answers. What fails before the first piece has a status of its own, as without a stream."""
        pieces: asyncio.Queue[str | None] = asyncio.Queue()

        answering = asyncio.ensure_future(self._answers(request, asked, pieces.put_nowait))
        answering.add_done_callback(lambda _: pieces.put_nowait(None))
        answering.add_done_callback(lambda task: task.cancelled() or task.exception())  # retrieved, whoever waits for it
        try:
            first = await pieces.get()
            if first is None:  # nothing was written: it failed
                await answering
        except UsageError as refusal:
            return StreamingResponse(_refused(error_data(refusal)["error"], asked, self._model), media_type=_EVENTS)
        except BaseException:
            answering.cancel()
            raise

        async def events() -> AsyncIterator[bytes]:
            chunks, is_first, piece = chat.Chunks(self._model), True, first
            try:
                while piece is not None:
                    yield _event(chunks.piece(piece, is_first))
                    is_first, piece = False, await pieces.get()
                try:
                    answers = await answering
                except MedregaError as error:
                    yield _event(error_data(error))
                    return
                yield _event(chunks.last(answers))
                if usage:
                    yield _event(chunks.usage(answers))
                yield b"data: [DONE]\n\n"
            finally:
                answering.cancel()  # the client has left, or all is said

        return StreamingResponse(events(), media_type=_EVENTS)

    async def _answer(
        self,
        request: Request,
        picture: Picture,
        question: Question,
        on_piece: OnPiece | None = None,
        data: bytes | None = None,
    ) -> dict[str, Any]:
        job = Ask(picture, question, on_piece is not None)
        answer: dict[str, Any] = await self._do(request, job, data, on_piece)
        await self._note(picture, question, answer)
        return answer

    async def _note(self, picture: Picture, question: Question, answer: dict[str, Any]) -> None:
        """Write the line of an answer into the audit log, if there is one."""
        if self._audit is not None:
            what = {name: getattr(question, name) for name in question.__dataclass_fields__}
            await asyncio.to_thread(self._audit.add, answer["model"]["sha256"], picture.image, what, answer)

    async def _question(self, request: Request) -> tuple[Picture, RegionsRequest]:
        """Read a question and its image from JSON, or from a form whose part `image` is a file."""
        if is_form(request):
            body, data = await read_form(request)
            if data == b"":
                raise HttpError("server.empty")
        else:
            body, data = await read_json(RegionsRequest, request), None
        part = body.image
        if part.data is not None:
            try:
                data = base64.b64decode(part.data, validate=True)
            except (binascii.Error, ValueError):
                raise HttpError("server.bad_base64") from None
        image = await asyncio.to_thread(self.store.put, data) if data else part.id
        if image is None:
            raise HttpError("server.no_image")
        return Picture(image, part.index, part.window, part.plane), body

    async def _do(self, request: Request, job: Job, data: bytes | None = None, on_piece: OnPiece | None = None) -> Any:
        """Do a job; it is given up when the client leaves. `data` are the bytes of its image, else those in the store."""
        if data is None:
            data = self.store.get(job.picture.image)
        return await _unless_left(request, self.pool.do(job, data, on_piece))


async def _refused(error: dict[str, Any], asked: chat.Asked, model: str) -> AsyncIterator[bytes]:
    """Stream a refusal."""
    chunks, done = chat.Chunks(model), chat.refusal(error, model, asked.question)
    message = done["choices"][0]["message"]
    yield _event(chunks.piece(message["content"], True))
    yield _event(chunks.end({"medrega": message["medrega"]}, "stop"))
    yield b"data: [DONE]\n\n"


async def _unless_left(request: Request, doing: Awaitable[_R]) -> _R:
    """Wait for a result; raises HttpError where the client leaves before."""

    async def left() -> None:
        while (await request.receive())["type"] != "http.disconnect":
            pass

    task, watching = asyncio.ensure_future(doing), asyncio.ensure_future(left())
    try:
        await asyncio.wait([task, watching], return_when=asyncio.FIRST_COMPLETED)
        if not task.done():
            task.cancel()
            with suppress(asyncio.CancelledError):
                await task
            raise HttpError("server.client_left")
        return task.result()
    finally:
        watching.cancel()
        task.cancel()
        with suppress(asyncio.CancelledError, MedregaError):
            await watching


def _has_highdicom() -> bool:
    from importlib.util import find_spec

    return find_spec("highdicom") is not None


def _event(data: Any) -> bytes:
    return f"data: {json.dumps(data, ensure_ascii=False)}\n\n".encode()


async def _not_there(_: Request, error: Exception) -> Response:
    status = error.status_code if isinstance(error, HTTPException) else 404
    if status == 405:
        return error_response(HttpError("server.no_such_method"))
    return error_response(HttpError("server.no_such_path"))


async def _left(_: Request, __: Exception) -> Response:
    return error_response(HttpError("server.client_left"))


async def _fault(_: Request, error: Exception) -> Response:
    return error_response(InternalError(error))


async def _failed(_: Request, error: Exception) -> Response:
    assert isinstance(error, MedregaError)
    return error_response(error)
