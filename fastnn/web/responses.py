"""What the routes share: content types and bodies of requests, and JSON responses."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec
from fastapi import HTTPException, Response
from fastapi.responses import JSONResponse

from fastnn.web.answers import ErrorMessage
from fastnn.web.limits import read_body
from fastnn.web.logs import log
from fastnn.web.transactions import ReadOnlyError

if TYPE_CHECKING:
    from fastapi import Request
    from fastapi.exceptions import RequestValidationError
    from msgspec import Struct

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


def invalid_request_response(_: Request, error: RequestValidationError) -> Response:
    """Return a 422 response with the first thing that is wrong with the parameters of a request, in a sentence."""
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"][1:])
    return json_response(ErrorMessage(f"{place}: {first['msg'][:1].lower()}{first['msg'][1:]}"[:300]), 422)


async def json_body(request: Request) -> bytes:
    """Return the body of a request that must be JSON."""
    content_type_of(request, "application/json")
    return await read_body(request, MAX_BODY_BYTES)


def json_response(value: Struct, status: int = 200) -> Response:
    """Return a response with a message as JSON."""
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def is_known(request: Request, etag: str) -> bool:
    """Return whether the client has the version with this ETag already."""
    known = request.headers.get("if-none-match", "")
    return known.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in known.split(","))


PICTURE_TYPES = tuple(f"image/{kind}" for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "heic"))
"""Content types of pictures; the bytes decide what is read."""
