"""Errors as HTTP has them: a status, and OpenAI's shape of a body."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from medrega_edge.domain import Language
from medrega_edge.errors import ImageError, InternalError, MedregaError, PackageError, ResourceError, UsageError
from medrega_edge.server.pool import Busy, TooLate

RETRY_SECONDS = 2  # until a client may try again where the queue was full or a worker ended


class HttpError(MedregaError):
    """A request that is refused before it is a question; `status` is that of HTTP, `param` the key at fault."""

    kind = "request"

    def __init__(self, status: int, code: str, /, *, param: str | None = None, **params: Any) -> None:
        """Take the status, and the code and parameters of the message."""
        super().__init__(code, **params)
        self.status, self.param = status, param


def status_of(error: MedregaError) -> int:
    """Return the status of HTTP that an error has."""
    match error:
        case HttpError():
            return error.status
        case Busy() if error.code == "server.busy":
            return 429
        case Busy():
            return 503
        case TooLate():
            return 504
        case ImageError() if error.code == "server.no_such_image":
            return 404
        case UsageError():
            return 400
        case ImageError():
            return 422
        case ResourceError():
            return 503
        case PackageError() | InternalError():
            return 500
    return 500


def error_data(error: MedregaError) -> dict[str, Any]:
    """Return the body: OpenAI's keys, and the sentence in Chinese."""
    status = status_of(error)
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "error": {
            "message": str(error),
            "message_zh": error.message.text(Language.ZH),
            "type": kind,
            "param": error.param if isinstance(error, HttpError) else None,
            "code": error.code,
        }
    }


def error_response(error: MedregaError) -> Response:
    """Return the response to a request that failed."""
    status = status_of(error)
    headers = {"Retry-After": str(RETRY_SECONDS)} if status in (429, 503) else {}
    if status == 401:
        headers["WWW-Authenticate"] = "Bearer"
    return JSONResponse(error_data(error), status, headers)
