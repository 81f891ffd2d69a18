"""JSON-RPC over standard input and output, one message a line: what the Model Context Protocol needs for tools.

Requests are answered one after the other, and each without regard to earlier ones. So a client may open with `initialize`,
as protocols up to 2025-11-25 do, or with `server/discover` and a version in every request, as 2026-07-28 does.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from typing import Any, BinaryIO, Protocol

from medrega_edge.domain import Language
from medrega_edge.i18n.message import Message
from medrega_edge.io.strict_json import JsonFault, load_json

VERSIONS = (
    "2025-11-25",
    "2025-06-18",
    "2025-03-26",
    "2024-11-05",
)  # of `initialize`; the first where a client wants another
STATELESS_VERSIONS = ("2026-07-28",)  # a version in every request
MAX_LINE = 1 << 20  # bytes; a request holds a path and a question

_PARSE_ERROR, _INVALID_REQUEST, _NO_METHOD, _INVALID_PARAMS, _NO_VERSION = -32700, -32600, -32601, -32602, -32022
_VERSION, _SERVER = "io.modelcontextprotocol/protocolVersion", "io.modelcontextprotocol/serverInfo"

Json = dict[str, Any]


class Tools(Protocol):
    """What the server offers."""

    names: tuple[str, ...]

    def listed(self) -> list[Json]:
        """Return each tool with its name, description and JSON Schema."""

    def call(self, name: str, arguments: Json) -> Json:
        """Return the result of one of `names`, errors of the tool included."""


class _Refusal(Exception):
    """A request that gets a JSON-RPC error."""

    def __init__(self, code: int, message: Message, data: Json | None = None) -> None:
        super().__init__(code)
        self.code, self.message, self.data = code, message, data


class Server:
    """Answers one line at a time."""

    def __init__(self, tools: Tools, version: str, language: Language) -> None:
        """Take the tools, the version of this program, and the language of what a client shows to a person."""
        self._tools, self._language = tools, language
        self._info = {"name": "medrega", "title": "medrega", "version": version}
        self._instructions = Message("mcp.instructions").text(language)

    def answer(self, line: bytes) -> Json | None:
        """Return the response to a line; None for what gets none: a notification, a response, an empty line."""
        if not line.strip():
            return None
        identifier = None
        try:
            message = _parsed(line)
            if "method" not in message and ("result" in message or "error" in message):
                return None  # this server asks nothing
            identifier = _identifier(message)
            method = _method(message)
            if "id" not in message:
                return None
            return {"jsonrpc": "2.0", "id": identifier, "result": self._result(method, _params(message))}
        except _Refusal as refusal:
            error: Json = {"code": refusal.code, "message": refusal.message.text(self._language)}
            if refusal.data is not None:
                error["data"] = refusal.data
            return {"jsonrpc": "2.0", "id": identifier, "error": error}

    def _result(self, method: str, params: Json) -> Json:
        meta = params.get("_meta")
        version = meta.get(_VERSION) if isinstance(meta, Mapping) else None
        if method == "initialize":
            return self._initialized(params)
        if version is None:
            return self._answered(method, params)
        if version not in STATELESS_VERSIONS:
            supported = {"supported": list(STATELESS_VERSIONS), "requested": version if isinstance(version, str) else ""}
            raise _Refusal(_NO_VERSION, Message("mcp.no_such_version"), supported)
        if method == "server/discover":
            result: Json = {"supportedVersions": list(STATELESS_VERSIONS), **self._offer()}
        else:
            result = self._answered(method, params)
        if method != "tools/call":
            result |= {"ttlMs": 0, "cacheScope": "private"}
        return {**result, "resultType": "complete", "_meta": {_SERVER: self._info}}

    def _answered(self, method: str, params: Json) -> Json:
        """Answer a method that all versions have."""
        if method == "ping":
            return {}
        if method == "tools/list":
            return {"tools": self._tools.listed()}
        if method != "tools/call":
            raise _Refusal(_NO_METHOD, Message("mcp.no_such_method"))
        name, arguments = params.get("name"), params.get("arguments")
        if not isinstance(name, str) or not isinstance(arguments, dict | None):
            raise _Refusal(_INVALID_PARAMS, Message("mcp.wrong_params"))
        if name not in self._tools.names:
            raise _Refusal(_INVALID_PARAMS, Message("mcp.no_such_tool", names=self._tools.names))
        return self._tools.call(name, arguments or {})

    def _initialized(self, params: Json) -> Json:
        wanted = params.get("protocolVersion")
        return {"protocolVersion": wanted if wanted in VERSIONS else VERSIONS[0], "serverInfo": self._info, **self._offer()}

    def _offer(self) -> Json:
        return {"capabilities": {"tools": {}}, "instructions": self._instructions}


def _parsed(line: bytes) -> Json:
    if len(line) > MAX_LINE:
        raise _Refusal(_INVALID_REQUEST, Message("mcp.line_too_long", limit=MAX_LINE))
    try:
        message = load_json(line.decode("utf-8"))
    except (JsonFault, UnicodeDecodeError):
        raise _Refusal(_PARSE_ERROR, Message("mcp.not_json")) from None
    if not isinstance(message, dict):
        raise _Refusal(_INVALID_REQUEST, Message("mcp.not_a_request"))
    return message


def _identifier(message: Json) -> str | int | None:
    """Return the id of a request, None of a notification."""
    identifier = message.get("id")
    if "id" in message and (isinstance(identifier, bool) or not isinstance(identifier, str | int)):
        raise _Refusal(_INVALID_REQUEST, Message("mcp.not_a_request"))
    return identifier


def _method(message: Json) -> str:
    method = message.get("method")
    if message.get("jsonrpc") != "2.0" or not isinstance(method, str):
        raise _Refusal(_INVALID_REQUEST, Message("mcp.not_a_request"))
    return method


def _params(message: Json) -> Json:
    """Return the parameters of a request by name; the protocol has none by position."""
    params = message.get("params")
    if not isinstance(params, dict | None):
        raise _Refusal(_INVALID_PARAMS, Message("mcp.wrong_params"))
    return params or {}


def serve(reader: BinaryIO, writer: BinaryIO, answer: Callable[[bytes], Json | None]) -> None:
    """Answer the lines of a reader until it ends, or until nobody reads the answers."""
    with suppress(BrokenPipeError):
        for line in _lines(reader):
            response = answer(line)
            if response is not None:
                writer.write(json.dumps(response, allow_nan=False).encode("ascii") + b"\n")
                writer.flush()


def _lines(reader: BinaryIO) -> Iterator[bytes]:
    """The lines of a reader; of one that is too long its beginning, one byte more than is allowed."""
    while line := reader.readline(MAX_LINE + 1):
        yield line
        while line and not line.endswith(b"\n"):
            line = reader.readline(MAX_LINE)


@contextmanager
def standard_output() -> Iterator[BinaryIO]:
    """Yield a writer to standard output for the protocol alone: what anything else prints goes to standard error.

    A library in C prints past `sys.stdout`, so the descriptor itself is moved.
    """
    sys.stdout.flush()
    printed, descriptor = sys.stdout, sys.stdout.fileno()
    channel = os.fdopen(os.dup(descriptor), "wb")
    os.dup2(sys.stderr.fileno(), descriptor)
    sys.stdout = sys.stderr
    try:
        yield channel
    finally:
        with suppress(BrokenPipeError):
            channel.flush()
        sys.stdout = printed
        os.dup2(channel.fileno(), descriptor)
        with suppress(BrokenPipeError):
            channel.close()
