"""Errors as HTTP has them: a status, and OpenAI's shape of a body."""

from __future__ import annotations

from typing import Any

from starlette.responses import JSONResponse, Response

from medrega_edge.domain import Language
from medrega_edge.errors import ImageError, MedregaError, ResourceError, UsageError
from medrega_edge.server.pool import Busy, TooLate

RETRY_SECONDS = 2  # until a client may try again where the queue was full or a worker ended


# Of errors of this folder; another HttpError has 400.
_STATUS = {
    "server.wrong_token": 401,
    "server.wrong_origin": 403,
    "server.no_such_path": 404,
    "server.no_such_model": 404,
    "server.no_such_image": 404,
    "server.no_such_method": 405,
    "server.too_slow": 408,
    "server.too_large": 413,
    "server.wrong_host": 421,
    "server.busy": 429,
    "server.client_left": 499,
    "server.full": 503,
}


class HttpError(MedregaError):
    """A request that is refused before it is a question."""

    kind = "request"


def status_of(error: MedregaError) -> int:
    """Return the status of HTTP that an error has."""
    if error.code in _STATUS:
        return _STATUS[error.code]
    match error:
        case ResourceError() if ".needs_" in error.code:  # a part that is not installed: to try again is no use
            return 501
        case HttpError() | UsageError():
            return 400
        case ImageError():
            return 422
        case Busy() | ResourceError():
            return 503
        case TooLate():
            return 504
    return 500


def error_data(error: MedregaError) -> dict[str, Any]:
    """Return the body: OpenAI's keys, and the sentence in Chinese."""
    status, params = status_of(error), error.message.params
    kinds = {401: "authentication_error", 403: "permission_error", 404: "not_found_error", 429: "rate_limit_error"}
    kind = kinds.get(status, "invalid_request_error" if status < 500 else "server_error")
    return {
        "error": {
            "message": str(error),
            "message_zh": error.message.text(Language.ZH),
            "type": kind,
            "param": (params.get("key") or params.get("name")) if isinstance(error, HttpError) else None,
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
