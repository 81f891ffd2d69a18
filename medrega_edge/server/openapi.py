"""The OpenAPI description of the server, whose schemas are made from the types that read requests."""

from __future__ import annotations

from functools import cache
from typing import Any

from pydantic import TypeAdapter

from medrega_edge import __version__
from medrega_edge.domain import NOTICE

_ERROR = {
    "description": "Refused or failed: `error.message` says why, `error.code` tells programs.",
    "content": {"application/json": {"schema": {"type": "object", "required": ["error"]}}},
}
_ANSWER = {
    "description": "The answer, as docs/answer.md says.",
    "content": {"application/json": {"schema": {"type": "object"}}},
}


def _of(kind: str, text: str) -> dict[str, Any]:
    return {"description": text, "content": {kind: {"schema": {"type": "string", "format": "binary"}}}}


@cache
def description() -> dict[str, Any]:
    """Return the description of all paths."""
    from medrega_edge.server.bodies import RegionsRequest
    from medrega_edge.server.chat import ChatRequest

    schemas: dict[str, Any] = {}
    for kind in (RegionsRequest, ChatRequest):
        schema = TypeAdapter(kind).json_schema(ref_template="#/components/schemas/{model}")
        schemas |= schema.pop("$defs", {})
        schemas[kind.__name__] = schema

    def body(name: str) -> dict[str, Any]:
        return {"required": True, "content": {"application/json": {"schema": {"$ref": f"#/components/schemas/{name}"}}}}

    def path(method: str, summary: str, response: dict[str, Any], request: dict[str, Any] | None = None) -> dict[str, Any]:
        responses = {"200": response, "default": _ERROR}
        return {method: {"summary": summary, "responses": responses} | ({"requestBody": request} if request else {})}

    of_image = [{"name": "id", "in": "path", "required": True, "schema": {"type": "string"}}]
    of_image += [{"name": name, "in": "query", "schema": {"type": "string"}} for name in ("index", "window", "plane")]
    plain = {"description": "JSON.", "content": {"application/json": {"schema": {"type": "object"}}}}
    file = {"required": True, "content": {"application/octet-stream": {"schema": {"type": "string", "format": "binary"}}}}
    question, chat = body("RegionsRequest"), body("ChatRequest")
    fields = {**schemas["RegionsRequest"]["properties"], "image": {"type": "string", "format": "binary"}}
    fields |= {name: {"type": "string"} for name in ("index", "window", "plane")}
    form = {"type": "object", "properties": fields, "required": ["image"]}
    question["content"]["multipart/form-data"] = {"schema": form}
    paths = {
        "/v1/chat/completions": path("post", "Ask as OpenAI's clients do.", plain, chat),
        "/v1/models": path("get", "The model that answers.", plain),
        "/v1/regions": path("post", "Ask about an image.", _ANSWER, question),
        "/v1/picture": path("post", "Ask, and get a picture with the regions.", _of("image/png", "The picture."), question),
        "/v1/objects": path("post", "Ask, and get a DICOM object.", _of("application/dicom", "The object."), question),
        "/v1/images": path("post", "Send an image, to ask about it by its id.", plain, file),
        "/v1/images/{id}": path("get", "How a picture of an image is read.", plain)
        | {
            "parameters": of_image,
            "delete": {"summary": "Remove an image.", "responses": {"204": {"description": "Gone."}}},
        },
        "/v1/images/{id}/picture.png": path("get", "The picture, as the model gets it.", _of("image/png", "The picture."))
        | {"parameters": of_image},
        "/v1/info": path("get", "The package, its names, and limits.", plain),
        "/v1/opened": path("get", "What the viewer was started with.", plain),
        "/healthz": path("get", "Whether a worker is there.", plain),
        "/metrics": path("get", "Figures for Prometheus.", {"description": "Text."}),
    }
    return {
        "openapi": "3.1.0",
        "info": {"title": "medrega-edge", "version": __version__, "description": NOTICE},
        "paths": paths,
        "components": {"schemas": schemas, "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}}},
        "security": [{"token": []}, {}],
    }
