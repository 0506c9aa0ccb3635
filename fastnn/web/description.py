"""The OpenAPI description of the API, made of the types that the routes decode and encode.

FastAPI describes pydantic's models by itself, but these take 5.1 ms to decode 100 digits, and msgspec's 1.5 ms.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec
from starlette.responses import Response

from fastnn.web.answers import ErrorMessage

if TYPE_CHECKING:
    from collections.abc import Iterable

_REFERENCE = "#/components/schemas/{name}"

_DESCRIPTIONS = {
    401: "The token is missing or wrong",
    404: "There is no such digit or file",
    408: "The body took too long to arrive",
    409: "Another reviewer has decided otherwise, another training is running, or collecting is closed",
    413: "The body is too long",
    415: "Unsupported content type",
    422: "The request is invalid",
    429: "Too many requests from this address",
    503: "The database or the model is not available",
}

_BODY_ERRORS = (408, 413, 415, 422)

_SECURED: dict[str, Any] = {"security": [{"token": []}]}


class Description:
    """Describes routes, and collects the types that they name."""

    def __init__(self) -> None:
        self._types: dict[Any, None] = {ErrorMessage: None}

    def route(
        self,
        answer: Any,
        *errors: int,
        takes: Any = None,
        pictures: Iterable[str] = (),
        status: int = 200,
        secured: bool = False,
        has_etag: bool = False,
    ) -> dict[str, Any]:
        """Return the arguments of FastAPI's decorators that describe a route.

        Parameters
        ----------
        answer : type or dict
            What the route encodes as JSON, or the OpenAPI description of a response that is not JSON.
        *errors : int
            Status codes of errors; those of reading a body are added.
        takes : type, optional
            What the route decodes from a body of JSON.
        pictures : iterable of str
            Content types of pictures that the body may be instead.
        status : int
            Status code of success.
        secured : bool
            Whether the token is needed.
        has_etag : bool
            Whether a client that has the present version gets 304 and no body.
        """
        extra: dict[str, Any] = dict(_SECURED) if secured else {}
        if takes is not None:
            content: dict[str, Any] = self._json(takes)
            content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in pictures}
            extra["requestBody"] = {"required": True, "content": content}
            errors += _BODY_ERRORS
        if secured:
            errors += (401,)
        found = answer if isinstance(answer, dict) else {"description": "Done", "content": self._json(answer)}
        refused = {code: {"description": _DESCRIPTIONS[code], "content": self._json(ErrorMessage)} for code in errors}
        unchanged = {304: {"description": "Unchanged since the version with this ETag"}} if has_etag else {}
        # For the class JSONResponse, FastAPI would add JSON of any kind.
        plain = {"response_class": Response} if isinstance(answer, dict) else {}
        return {
            **plain,
            "responses": {status: found, **unchanged, **dict(sorted(refused.items()))},
            "status_code": status,
            "openapi_extra": extra,
        }

    def add(self, *kinds: Any) -> None:
        """Describe types that no route names, such as those of events."""
        self._types |= dict.fromkeys(kinds)

    def _json(self, kind: Any) -> dict[str, Any]:
        self._types[kind] = None
        (schema,), _ = msgspec.json.schema_components((kind,), ref_template=_REFERENCE)
        return {"application/json": {"schema": schema}}

    def schemas(self) -> dict[str, Any]:
        """Return the JSON schemas of all types by name."""
        _, components = msgspec.json.schema_components(tuple(self._types), ref_template=_REFERENCE)
        return dict(components)
