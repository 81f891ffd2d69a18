"""A client of OpenAI's chat completions by Python's standard library: it speaks with the named server, and with no other.

It follows no redirect and asks no proxy. A certificate is verified. The key is sent to that server only and stands in no
message.
"""

from __future__ import annotations

import base64
import json
import re
import ssl
import time
from collections.abc import Callable, Mapping
from contextlib import closing
from dataclasses import dataclass
from email.utils import parsedate_to_datetime
from http.client import HTTPConnection, HTTPException, HTTPResponse, HTTPSConnection
from typing import Any
from urllib.parse import urlsplit

from medrega_bench.box_fidelity.dialects import Reply
from medrega_bench.box_fidelity.phantoms import Phantom
from medrega_edge.errors import MedregaError, ResourceError, UsageError
from medrega_edge.io.safe_text import printable

MOST_BYTES = 8 * 1024 * 1024  # of a response
MOST_TOKENS = 1024  # of an answer; a box needs fifty
TRIES, LONGEST_WAIT = 5, 30.0  # of a request that the server puts off, and seconds between two
MOST_FAILED = 3  # questions without an answer, after which a server that has never answered is given up
LONGEST_CONNECT = 10.0  # seconds until there is a connection
_LONGEST_WORDS = 300  # characters of a server's own error
_ABOUT_IMAGES = re.compile(r"image|multi-?modal|mmproj|vision|content (?:part|type)", re.IGNORECASE)
# Where servers tell their version: path -> the key, and the name of the program.
_VERSIONS = {
    "/v1/info": ("version", "medrega"),
    "/api/version": ("version", "Ollama"),
    "/props": ("build_info", "llama.cpp"),
    "/version": ("version", "vLLM"),
}


@dataclass(frozen=True)
class Response:
    """Status, headers in lower case, and body of a response."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    def json(self) -> Any:
        """Return the JSON of the body; raises UsageError if it is none."""
        try:
            return json.loads(self.body)
        except (ValueError, RecursionError):
            raise UsageError("bench.server_not_json", status=self.status) from None

    def words(self) -> str:
        """Return what the server says of its error, in one line."""
        try:
            said = json.loads(self.body)
        except (ValueError, RecursionError):
            said = self.body[: 4 * _LONGEST_WORDS].decode("utf-8", "replace")
        while isinstance(said, dict):
            said = next((said[key] for key in ("error", "message", "detail") if key in said), "")
        return " ".join(printable(str(said)).split())[:_LONGEST_WORDS] or "-"


class Server:
    """A server with OpenAI's API at `url`, with or without /v1; `key` is sent as a bearer token."""

    def __init__(
        self, url: str, model: str, key: str | None, timeout: float, sleep: Callable[[float], None] = time.sleep
    ) -> None:
        """Raises UsageError for an address that is none."""
        try:
            place = urlsplit(url)
            port = place.port
        except ValueError:
            raise UsageError("bench.server_url") from None
        if place.scheme not in ("http", "https") or not place.hostname or place.username or place.query or place.fragment:
            raise UsageError("bench.server_url")
        self._make: Callable[[], HTTPConnection]
        host, connects = place.hostname, min(timeout, LONGEST_CONNECT)
        if place.scheme == "https":
            context = ssl.create_default_context()
            self._make = lambda: HTTPSConnection(host, port, timeout=connects, context=context)
        else:
            self._make = lambda: HTTPConnection(host, port, timeout=connects)
        path = place.path.rstrip("/").removesuffix("/chat/completions")
        self._root = path.removesuffix("/v1")
        self._model, self._timeout, self._sleep = model, timeout, sleep
        self._headers = {"Content-Type": "application/json", "Accept": "application/json"}
        if key is not None:
            self._headers["Authorization"] = f"Bearer {key}"
        self._has_answered = False
        self._failed = 0
        self.software = ""
        self.package: str | None = None
        self.answered_as = ""

    def ask(self, phantom: Phantom, question: str) -> Reply:
        """Ask about a phantom. A question that the server does not answer, or not in time, gives a reply with a failure.

        Raises UsageError for what would be so with every image, ResourceError when the first `MOST_FAILED` questions fail.
        """
        try:
            return self._answer(phantom, question)
        except ResourceError as error:
            self._failed += 1
            if not self._has_answered and self._failed >= MOST_FAILED:
                raise
            return Reply("", failure=str(error))

    def _answer(self, phantom: Phantom, question: str) -> Reply:
        picture = f"data:{phantom.mime};base64,{base64.b64encode(phantom.data).decode()}"
        content = [{"type": "image_url", "image_url": {"url": picture}}, {"type": "text", "text": question}]
        body = {
            "model": self._model,
            "messages": [{"role": "user", "content": content}],
            "temperature": 0,
            "max_tokens": MOST_TOKENS,
            "stream": False,
        }
        response = self._patient("POST", "/v1/chat/completions", json.dumps(body).encode())
        if response.status != 200:
            error = self._error(response)
            if self._has_answered and response.status in (400, 413, 422, 500):
                return Reply("", failure=f"{response.status}: {response.words()}")
            raise error
        self._has_answered = True
        return self._reply(response.json())

    def identify(self) -> None:
        """Learn which program answers, where it tells; never raises for a server that does not."""
        for path, (key, name) in _VERSIONS.items():
            response = self._request("GET", path, None)
            if response.status == 200:
                try:
                    told = response.json()
                except UsageError:
                    continue
                if isinstance(told, dict) and isinstance(told.get(key), str):
                    self.software = f"{name} {told[key]}"[:80]
                    self.package = _package_of(told)
                    return
            elif response.status in (401, 403):
                raise self._error(response)
            self.software = self.software or response.headers.get("server", "")[:80]

    def _patient(self, method: str, path: str, body: bytes) -> Response:
        """Request again what the server puts off, after the time that it names."""
        for attempt in range(TRIES):
            response = self._request(method, path, body)
            if response.status not in (429, 503):
                return response
            if attempt < TRIES - 1:
                self._sleep(min(_seconds(response.headers.get("retry-after", ""), 2.0**attempt), LONGEST_WAIT))
        raise ResourceError("bench.server_busy", status=response.status, tries=TRIES, words=response.words())

    def _request(self, method: str, path: str, body: bytes | None) -> Response:
        with closing(self._make()) as connection:
            _connect(connection)
            connection.sock.settimeout(self._timeout)
            try:
                connection.request(method, self._root + path, body, self._headers)
                with connection.getresponse() as response:
                    return _read(response)
            except TimeoutError:
                raise ResourceError("bench.server_slow", seconds=self._timeout) from None
            except (OSError, HTTPException) as error:
                raise ResourceError("bench.no_http", reason=type(error).__name__) from None

    def _error(self, response: Response) -> MedregaError:
        status, words = response.status, response.words()
        if status in (401, 403):
            return UsageError("bench.server_key", status=status)
        if 300 <= status < 400:
            return UsageError("bench.server_redirects", status=status)
        if status == 404:
            return UsageError("bench.server_no_model", model=self._model, words=words)
        if _ABOUT_IMAGES.search(words):
            return UsageError("bench.server_no_images", words=words)
        return ResourceError("bench.server_error", status=status, words=words)

    def _reply(self, completion: Any) -> Reply:
        try:
            choice = completion["choices"][0]
            message = choice["message"]
            content = message.get("content") or ""
            if isinstance(content, list):
                content = "".join(part.get("text") or "" for part in content)
            if not isinstance(content, str):
                raise TypeError
        except (KeyError, IndexError, TypeError, AttributeError):
            raise UsageError("bench.server_no_completion") from None
        self.answered_as = str(completion.get("model") or "")[:120]
        if isinstance(build := completion.get("system_fingerprint"), str) and build and build not in self.software:
            self.software = f"{self.software} {build}".strip()[:120]
        refused = bool(message.get("refusal")) or choice.get("finish_reason") == "content_filter"
        return Reply(content or str(message.get("refusal") or ""), _typed_regions(message), refused)


def _package_of(told: Mapping[str, Any]) -> str | None:
    """The hash of the package that `medrega serve` runs; None of any other server."""
    model = told.get("model")
    sha256 = model.get("sha256") if isinstance(model, dict) else None
    return sha256 if isinstance(sha256, str) else None


def _connect(connection: HTTPConnection) -> None:
    try:
        connection.connect()
    except TimeoutError:
        raise ResourceError("bench.no_server", reason="timeout") from None
    except ssl.SSLCertVerificationError as error:
        raise ResourceError("bench.server_certificate", reason=error.verify_message) from None
    except ssl.SSLError as error:
        raise ResourceError("bench.server_tls", reason=error.reason or "TLS") from None
    except (OSError, UnicodeError) as error:
        raise ResourceError("bench.no_server", reason=getattr(error, "strerror", None) or type(error).__name__) from None


def _typed_regions(message: Mapping[str, Any]) -> tuple[Any, ...] | None:
    """The regions that `medrega serve` sends beside the text; None where an answer has none of the kind."""
    try:
        regions = message["medrega"]["answers"][0]["regions"]
    except (KeyError, IndexError, TypeError):
        return None
    return tuple(regions) if isinstance(regions, list) else None


def _read(response: HTTPResponse) -> Response:
    headers = {name.lower(): value for name, value in response.getheaders()}
    body = response.read(MOST_BYTES + 1)
    if len(body) > MOST_BYTES:
        raise ResourceError("bench.server_too_much", megabytes=MOST_BYTES // 2**20)
    return Response(response.status, headers, body)


def _seconds(retry_after: str, otherwise: float) -> float:
    """The wait that a Retry-After asks for (RFC 9110): seconds, or a date."""
    if retry_after.isascii() and retry_after.isdigit():
        return float(retry_after)
    try:
        return max(0.0, parsedate_to_datetime(retry_after).timestamp() - time.time())
    except (ValueError, TypeError):
        return otherwise
