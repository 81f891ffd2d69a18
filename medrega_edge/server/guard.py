"""What every request passes: who may ask, how much it may send, and what a browser may do with the answer.

A page of another site can make a browser send requests to this machine. It cannot choose the headers Host and Origin: the
one names this server, or the request comes through a name that an attacker made point here (DNS rebinding); the other, if
there is one, is a page of this server.
"""

from __future__ import annotations

import asyncio
import hmac
import ipaddress
import sys
import time
from collections.abc import Callable, Collection
from dataclasses import dataclass

from prometheus_client import CollectorRegistry, Counter, Histogram
from starlette.datastructures import Headers
from starlette.responses import Response
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from medrega_edge.errors import InternalError, MedregaError
from medrega_edge.server.errors import HttpError, error_response

POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self' blob: data:; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)
HEADERS: dict[str, str] = {
    "Content-Security-Policy": POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
TOKEN_PATH = "/v1/token"  # where the viewer's page gets the token for a code
OPEN_PATHS = ("/", "/healthz", "/openapi.json", TOKEN_PATH)  # without a token, and so are the files of the page
VIEWER_PATH = "/viewer/"
LONGEST_BODY_SECONDS = 60.0  # from the first byte of a body to its last
CLIENT_LEFT = 499  # status in the log and the metrics; nobody receives it
LONGEST_SEND_SECONDS = 60.0  # for a client to take a piece of its answer


@dataclass(frozen=True)
class GuardOptions:
    """`hosts` are the names and addresses, with port, that a request may call this server by; `origins` those of pages.

    With `any_address`, a port, each address with this port will do, too: names can be made to point here, addresses cannot.
    `foreign` are the origins that are other sites'. `token` is what a client has to know; None where every program on this
    machine may ask. `most_bytes` is the limit of a body, `most_in_all` that of all bodies at one time. With `logs` each
    request is a line on standard error.
    """

    hosts: Collection[str]
    origins: Collection[str]
    token: str | None
    most_bytes: int
    most_in_all: int = 1 << 31
    any_address: int | None = None
    foreign: Collection[str] = ()
    logs: bool = True


class Guard:
    """ASGI middleware around the whole application."""

    def __init__(self, app: ASGIApp, options: GuardOptions, registry: CollectorRegistry) -> None:
        """Count requests in `registry`."""
        self._app, self._options, self._held = app, options, 0
        labels = ("path", "status")
        self._requests = Counter("medrega_requests", "Requests.", labels, registry=registry)
        self._seconds = Histogram("medrega_request_seconds", "Time of a request.", ("path",), registry=registry)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer a request, or refuse it."""
        if scope["type"] != "http":
            if scope["type"] == "websocket":
                await send({"type": "websocket.close", "code": 1008})
                return
            await self._app(scope, receive, send)
            return
        begun, status, has_begun = time.perf_counter(), 500, False

        async def send_safely(message: Message) -> None:
            nonlocal status, has_begun
            if message["type"] == "http.response.start":
                status, has_begun = message["status"], True
                own = {name.lower().encode(): value.encode() for name, value in (HEADERS | allowed).items()}
                kept = [(name, value) for name, value in message["headers"] if name.lower() not in own]
                message = {**message, "headers": [*kept, *own.items()]}
            await asyncio.wait_for(send(message), LONGEST_SEND_SECONDS)  # a client may never read

        body, allowed = _Body(receive, self._options.most_bytes, self._hold), self._for_other_sites(scope)
        try:
            self._check(scope)
            if allowed and scope["method"] == "OPTIONS":
                await Response(status_code=204)(scope, receive, send_safely)
            else:
                await self._app(scope, body, send_safely)
        except (MedregaError, asyncio.CancelledError) as error:
            if has_begun or not isinstance(error, MedregaError):
                raise
            await error_response(error)(scope, receive, send_safely)
        except TimeoutError:  # the client does not take its answer
            status = CLIENT_LEFT
        except Exception as error:  # a fault of the program: where, and not what
            fault = InternalError(error)
            self._log(f"{fault}")
            if not has_begun:
                await error_response(fault)(scope, receive, send_safely)
        finally:
            self._held -= body.bytes
            path, seconds = _template(scope), time.perf_counter() - begun
            self._requests.labels(path, str(status)).inc()
            self._seconds.labels(path).observe(seconds)
            self._log(f"{_known_method(scope)} {path} {status} {1000 * seconds:.0f} ms")

    def _hold(self, count: int) -> None:
        """Count bytes of a body that are in memory until its request ends; raises HttpError where they are too many."""
        self._held += count
        if self._held > self._options.most_in_all:
            raise HttpError("server.full")

    def _for_other_sites(self, scope: Scope) -> dict[str, str]:
        """Return the headers by which a browser lets a page of another site, which was allowed, read the answer."""
        origin = Headers(scope=scope).get("origin", "")
        if origin.lower() not in self._options.foreign:
            return {}
        return {
            "Access-Control-Allow-Origin": origin,
            "Access-Control-Allow-Methods": "GET, POST, DELETE",
            "Access-Control-Allow-Headers": "Authorization, Content-Type",
            "Cross-Origin-Resource-Policy": "cross-origin",
            "Vary": "Origin",
        }

    def _check(self, scope: Scope) -> None:
        """Raise HttpError for a request that may not be answered."""
        headers = Headers(scope=scope)
        hosts = headers.getlist("host")
        if len(hosts) != 1 or not (hosts[0].lower() in self._options.hosts or self._is_address(hosts[0])):
            raise HttpError("server.wrong_host")
        for origin in headers.getlist("origin"):
            if origin.lower() not in self._options.origins:
                raise HttpError("server.wrong_origin")
        if headers.get("sec-fetch-site", "none") not in ("none", "same-origin") and "origin" not in headers:
            raise HttpError("server.wrong_origin")
        length = headers.get("content-length", "0")
        if not length.isascii() or not length.isdigit() or int(length[:20]) > self._options.most_bytes:
            raise HttpError("server.too_large", limit=self._options.most_bytes >> 20)
        path = scope["path"]
        is_open = path in OPEN_PATHS or path.startswith(VIEWER_PATH)
        if scope["method"] == "OPTIONS":  # a browser asks without the token whether it may send it
            return
        if self._options.token is not None and not is_open:
            given = headers.get("authorization", "")
            expected = f"Bearer {self._options.token}"
            if not hmac.compare_digest(given.encode("utf-8", "replace"), expected.encode()):
                raise HttpError("server.wrong_token")

    def _is_address(self, host: str) -> bool:
        name, _, port = host.rpartition(":")
        if self._options.any_address is None or port != str(self._options.any_address):
            return False
        try:
            ipaddress.ip_address(name.strip("[]"))
        except ValueError:
            return False
        return True

    def _log(self, line: str) -> None:
        if self._options.logs:
            sys.stderr.write(f"{time.strftime('%H:%M:%S')} {line}\n")
            sys.stderr.flush()


class _Body:
    """`receive` with a limit on the bytes and the time of a body, whatever its length claims to be."""

    def __init__(self, receive: Receive, most_bytes: int, hold: Callable[[int], None]) -> None:
        self._receive, self._most_bytes, self._hold = receive, most_bytes, hold
        self.bytes, self._begun, self._is_whole = 0, time.monotonic(), False

    async def __call__(self) -> Message:
        if self._is_whole:  # what comes now is that the client has left
            return await self._receive()
        left = LONGEST_BODY_SECONDS - (time.monotonic() - self._begun)
        try:
            message = await asyncio.wait_for(self._receive(), max(left, 0.001))
        except TimeoutError:
            raise HttpError("server.too_slow", seconds=LONGEST_BODY_SECONDS) from None
        count = len(message.get("body", b""))
        self.bytes += count
        self._hold(count)
        if self.bytes > self._most_bytes:
            raise HttpError("server.too_large", limit=self._most_bytes >> 20)
        self._is_whole = not message.get("more_body", False)
        return message


def _template(scope: Scope) -> str:
    """Return the path of a route, without the hash of an image in it."""
    route = scope.get("route")
    return getattr(route, "path", "-")


def _known_method(scope: Scope) -> str:
    method = str(scope["method"])
    return method if method in ("GET", "HEAD", "POST", "DELETE", "OPTIONS", "PUT") else "-"
