"""What the routes share: the content types of requests, JSON responses, and their description in OpenAPI."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from fastapi import HTTPException, Response
from fastapi.responses import JSONResponse

from fastnn.web.logs import log
from fastnn.web.transactions import ReadOnlyError

if TYPE_CHECKING:
    from fastapi import Request

    from fastnn.web.transactions import StoreError

MAX_BODY_BYTES = 512 << 10
"""Largest JSON body: 100 digits of 784 values with at most three figures and a comma take 330 kB."""


def content_type_of(request: Request, *allowed: str) -> str:
    """Return the content type of a request.

    JSON must be declared as such: for this content type, browsers ask this server (CORS preflight) before they let a
    page of another site send it.

    Raises
    ------
    HTTPException
        415 if the type is not one of `allowed`.
    """
    content_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if content_type not in allowed:
        raise HTTPException(415, f"the content type must be {' or '.join(allowed)}")
    return content_type


def store_error_response(error: StoreError, headers: dict[str, str] | None = None) -> JSONResponse:
    """Log that the database failed, and return a 503 response."""
    log("database failed", reason=str(error))
    detail = "the database is not available at the moment; please try again"
    if isinstance(error, ReadOnlyError):
        detail = "the database is read-only: digits are recognised, but not stored or reviewed"
    return JSONResponse(
        {"detail": detail},
        503,
        headers={"Retry-After": "5", **(headers or {})},
    )


def json_response(value: Any, status: int = 200) -> Response:
    """Return a response with a value as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


PICTURE_TYPES = tuple(f"image/{kind}" for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "heic"))
"""Content types of pictures; the bytes decide what is read."""


def request_body(schema: str, *image_types: str) -> dict[str, Any]:
    """Return the OpenAPI description of a request's body: JSON of a schema, or an image of one of some types."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    content |= {image_type: {"schema": {"type": "string", "format": "binary"}} for image_type in image_types}
    return {"requestBody": {"required": True, "content": content}}


_STATUS_DESCRIPTIONS = {
    401: "The token is missing or wrong",
    404: "There is no such digit or file",
    408: "The body took too long to arrive",
    409: "Another reviewer has decided otherwise, or collecting is closed",
    413: "The body is too long",
    415: "Unsupported content type",
    422: "The request is invalid",
    429: "Too many requests from this address",
    503: "The database or the model is not available",
}


def responses(schema: Any, *errors: int, success: int = 200) -> dict[int | str, dict[str, Any]]:
    """Return the OpenAPI description of a route's responses.

    Parameters
    ----------
    schema : str or None or Ellipsis
        Name of the schema of a successful response; None for any JSON object, ``...`` if it is described elsewhere.
    *errors : int
        Status codes of errors.
    success : int
        Status code of success.
    """
    error_content = {"application/json": {"schema": {"$ref": "#/components/schemas/ErrorMessage"}}}
    described: dict[int | str, dict[str, Any]] = {
        status: {"description": _STATUS_DESCRIPTIONS[status], "content": error_content} for status in errors
    }
    if schema is None:
        described[success] = {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}}
    elif schema is not ...:
        reference = {"$ref": f"#/components/schemas/{schema}"}
        described[success] = {"description": "Done", "content": {"application/json": {"schema": reference}}}
    return described
