"""The routes of the web app and their shared state."""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import re
import uuid  # noqa: TC003 - FastAPI reads the annotations
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import anyio
import msgspec
import numpy as np
from fastapi import Depends, FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import JSONResponse, StreamingResponse
from starlette.concurrency import run_in_threadpool

from fastnn import __version__
from fastnn.datasets.dataset import SIDE
from fastnn.datasets.polarity import Polarity, polarity_sign
from fastnn.errors import DataError, ModelError
from fastnn.images import is_blank, read_drawings
from fastnn.images.drawings import find_drawings
from fastnn.web.export import CachedFile, Export
from fastnn.web.limits import RateLimiter, read_body
from fastnn.web.logs import log
from fastnn.web.messages import (
    Undo,
    clean_name,
    decode,
    digits_request,
    predict_request,
    review_request,
    schemas,
)
from fastnn.web.middleware import AccessLogMiddleware
from fastnn.web.pages import add_pages
from fastnn.web.rescoring import Rescorer
from fastnn.web.store import (
    UNSCORED,
    AlreadyReviewedError,
    NewDigit,
    QueueFullError,
    ReadOnlyError,
    Store,
    StoreError,
    UnknownDigitError,
)
from fastnn.web.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator

    from fastnn.web.serving import ServedModel


MAX_BODY_BYTES = 512 << 10
"""Largest JSON body: 100 digits of 784 values with at most three figures and a comma take 330 kB."""

MAX_IMAGE_BYTES = 4 << 20

# How many units of the rate limit a request costs.
_LIGHT_COST = 1.0
_IMAGE_COST = 6.0
_DIGIT_COST = 5.0
_LIST_COST = 5.0
_FILE_COST = 20.0
_WRONG_TOKEN_COST = 50.0

# Responses with these headers may be read by pages of other sites.
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Retry-After",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

_MAX_CREDITS = 500
_MAX_HISTORY = 20


@dataclass
class Settings:
    """The settings of a server.

    Attributes
    ----------
    store : Store
        The database; the app closes it when the server stops.
    token : str
        Secret that opens the review.
    model : ServedModel or None
        The model to start with.
    rate : float
        Requests per second that one address may make in the long run; 0 sets no limit.
    train_every : int
        Number of newly accepted digits after which a new model is trained; 0 disables training.
    runs : Path
        Folder for the runs of that training.
    recipe : str
        Recipe of that training: a preset or a TOML file.
    """

    store: Store
    token: str
    model: ServedModel | None = None
    rate: float = 50.0
    train_every: int = 0
    runs: Path = field(default_factory=lambda: Path("runs"))
    recipe: str = "original"


class _State:
    """The objects that all routes share."""

    def __init__(self, settings: Settings) -> None:
        self.store, self.model = settings.store, settings.model
        self.export = Export(settings.store)
        self.limiter = RateLimiter(settings.rate)
        # Images and downloads have their own thread limiters, so that they cannot starve other requests.
        self.image_threads, self.download_threads = anyio.CapacityLimiter(2), anyio.CapacityLimiter(4)
        self._token = hashlib.sha256(settings.token.encode()).digest()
        self._rescorer = Rescorer(settings.store, lambda: self.model)
        self.trainer: Trainer | None = None
        if settings.train_every:
            self.trainer = Trainer(
                settings.store,
                settings.train_every,
                current=lambda: self.model,
                take_over=self.replace_model,
                folder=settings.runs,
                recipe=settings.recipe,
            )

    def is_token(self, given: str) -> bool:
        """Return whether `given` is the token, in constant time; hashing hides the token's length too."""
        return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), self._token)

    def replace_model(self, model: ServedModel) -> None:
        """Serve another model from now on, and sort the queue by its uncertainty."""
        self.model = model
        self._rescorer.wake()

    def start(self) -> None:
        """Record the first use of the model, and start the background threads."""
        if self.model is not None:
            # If the database cannot be reached now, the trainer, if there is one, records the model later.
            with contextlib.suppress(StoreError):
                self.store.first_used(self.model.key)
        if self.store.read_only:
            return
        self._rescorer.start()
        if self.trainer is not None:
            self.trainer.start()

    def stop(self) -> None:
        """Stop the background threads and close the database."""
        if self.trainer is not None:
            self.trainer.stop()
        self._rescorer.stop()
        self.store.close()


def create_app(settings: Settings) -> FastAPI:
    """Return the web app for some settings.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    FastAPI
        An ASGI application; it closes the store when it shuts down.
    """
    state = _State(settings)

    @contextlib.asynccontextmanager
    async def lifespan(_: FastAPI) -> AsyncIterator[None]:
        state.start()
        yield
        await run_in_threadpool(state.stop)

    app = FastAPI(
        title="fastnn",
        version=__version__,
        summary="Draw, recognise, collect, review and share digits.",
        docs_url=None,  # FastAPI's page loads scripts from another site
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.fastnn = state
    _add_errors(app)
    add_pages(app, partial(state.limiter.spend, cost=_FILE_COST))
    _add_recognition(app, state)
    _add_collection(app, state)
    _add_review(app, state)
    _add_sharing(app, state)
    _add_schemas(app)
    app.add_middleware(AccessLogMiddleware)
    return app


def _add_errors(app: FastAPI) -> None:
    """Answer with 503 when the database fails."""

    @app.exception_handler(StoreError)
    async def _store_failed(_: Request, error: StoreError) -> JSONResponse:
        return _store_error_response(error)


def _store_error_response(error: StoreError, headers: dict[str, str] | None = None) -> JSONResponse:
    log("database failed", reason=str(error))
    detail = "the database is not available at the moment; please try again"
    if isinstance(error, ReadOnlyError):
        detail = "the database is read-only: digits are recognised, but not stored or reviewed"
    return JSONResponse(
        {"detail": detail},
        503,
        headers={"Retry-After": "5", **(headers or {})},
    )


def _add_recognition(app: FastAPI, state: _State) -> None:
    """Add /api/predict and /api/health."""

    @app.post(
        "/api/predict",
        summary="Recognise a drawing",
        openapi_extra=_request_body("PredictRequest", *_PICTURE_TYPES),
        responses=_responses("Prediction", 408, 413, 415, 422, 429, 503),
    )
    async def predict(
        request: Request, polarity: Annotated[Polarity, Query(description="How the ink of a picture is drawn")] = "auto"
    ) -> Response:
        content_type = _content_type(request, "application/json", *_PICTURE_TYPES)
        state.limiter.spend(request, _LIGHT_COST if content_type == "application/json" else _IMAGE_COST)
        model = state.model
        if model is None:
            raise HTTPException(503, "no model is loaded; start fastnn serve with --model")
        if content_type == "application/json":
            message = decode(predict_request, await read_body(request, MAX_BODY_BYTES))
            pixels = np.frombuffer(bytes(message.image), np.uint8).reshape(SIDE, SIDE)
            drawings = find_drawings(pixels, polarity_sign(message.polarity))
        else:
            body = await read_body(request, MAX_IMAGE_BYTES)
            try:
                drawings = await anyio.to_thread.run_sync(
                    lambda: read_drawings(body, polarity=polarity), limiter=state.image_threads
                )
            except DataError as error:
                raise HTTPException(422, str(error)) from None
        if not drawings.digits:
            raise HTTPException(422, "; ".join(drawings.doubts))
        try:
            if model.fast_enough_inline:
                return _json_response(model.predict(drawings))
            return _json_response(await run_in_threadpool(model.predict, drawings))
        except ModelError as error:
            raise HTTPException(500, str(error)) from None

    @app.get("/api/health", summary="Whether the server and its database work", responses=_responses(None, 429, 503))
    async def health(request: Request) -> Response:
        state.limiter.spend(request, _LIGHT_COST)
        await run_in_threadpool(state.store.check)
        model = state.model
        return _json_response({"status": "ok", "version": __version__, "model": model.describe() if model else None})


def _add_collection(app: FastAPI, state: _State) -> None:
    """Add /api/digits and /api/stats."""

    @app.post(
        "/api/digits",
        status_code=201,
        summary="Store digits for review",
        openapi_extra=_request_body("DigitsRequest"),
        responses=_responses("Stored", 408, 413, 415, 422, 429, 503, success=201),
    )
    async def add_digits(request: Request) -> Response:
        # The cost is taken in one step when the number of digits is known. A part taken now would have to accrue
        # again first if all digits together cost a whole bucket.
        state.limiter.spend(request, 0.0)
        _content_type(request, "application/json")
        try:
            message = decode(digits_request, await read_body(request, MAX_BODY_BYTES))
        except HTTPException:
            state.limiter.penalize(request, _DIGIT_COST)
            raise
        state.limiter.spend(request, _DIGIT_COST * len(message.digits))
        images = np.frombuffer(b"".join(bytes(digit.image) for digit in message.digits), np.uint8)
        images = images.reshape(len(message.digits), -1)
        for position, image in enumerate(images):
            if is_blank(image):
                raise HTTPException(422, f"digit {position} is blank")
        labels = [digit.label for digit in message.digits]

        def store() -> int:
            model = state.model
            scores = model.scores(images, labels) if model else [UNSCORED] * len(labels)
            new = [
                NewDigit(str(digit.id), image.tobytes(), digit.label, score)
                for digit, image, score in zip(message.digits, images, scores, strict=True)
            ]
            return state.store.add(new, clean_name(message.contributor), model.key if model else "")

        try:
            stored = await run_in_threadpool(store)
        except QueueFullError:
            raise HTTPException(
                503, "the review queue is full; please come back another day", {"Retry-After": "86400"}
            ) from None
        return _json_response({"stored": stored}, 201)

    @app.get("/api/stats", summary="Counts, credits and the model", responses=_responses(None, 429, 503))
    async def stats(request: Request) -> Response:
        state.limiter.spend(request, _LIST_COST)

        def query() -> dict[str, Any]:
            states = state.store.states()
            return {**states, "digits": state.store.class_counts(), "credits": state.store.credits(_MAX_CREDITS)}

        found = await run_in_threadpool(query)
        model = state.model
        return _json_response({**found, "model": model.describe() if model else None})


def _add_review(app: FastAPI, state: _State) -> None:
    """Add the routes below /api/review, which need the token."""

    async def require_token(request: Request) -> None:
        """Refuse requests without the token. It is sent in a header, which no other site can make a browser send."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        state.limiter.spend(request, 0.0)
        if scheme.lower() != "bearer" or not state.is_token(given.strip()):
            # Charge even an address that has little left; otherwise it could go on guessing for free.
            state.limiter.penalize(request, _WRONG_TOKEN_COST)
            raise HTTPException(401, "the token is missing or wrong", {"WWW-Authenticate": "Bearer"})

    secured: dict[str, Any] = {"security": [{"token": []}]}

    @app.get(
        "/api/review",
        summary="The digits to review next, and the latest reviews",
        dependencies=[Depends(require_token)],
        openapi_extra=secured,
        responses=_responses(None, 401, 422, 429, 503),
    )
    async def queue(limit: Annotated[int, Query(ge=1, le=100)] = 30) -> Response:
        def query() -> dict[str, Any]:
            pending = state.store.queue(limit)
            return {**state.store.states(), "digits": pending, "history": state.store.history(_MAX_HISTORY)}

        return _json_response(await run_in_threadpool(query))

    @app.post(
        "/api/review/{digit}",
        summary="Accept, reject or relabel a digit, or undo its review",
        dependencies=[Depends(require_token)],
        openapi_extra={**secured, **_request_body("ReviewRequest")},
        responses=_responses("Reviewed", 401, 404, 408, 409, 413, 415, 422, 429, 503),
    )
    async def review(digit: uuid.UUID, request: Request) -> Response:
        _content_type(request, "application/json")
        message = decode(review_request, await read_body(request, MAX_BODY_BYTES))
        name = clean_name(message.reviewer)
        expected = message.expected if isinstance(message, Undo) else None
        work = partial(state.store.review, str(digit), message.action, message.label, name, expected=expected)
        try:
            reviewed = await run_in_threadpool(work)
        except UnknownDigitError:
            raise HTTPException(404, "there is no such digit") from None
        except AlreadyReviewedError:
            raise HTTPException(409, "another reviewer has decided otherwise") from None
        if state.trainer is not None and reviewed["state"] == "accepted":
            state.trainer.wake()
        return _json_response(reviewed)


def _add_sharing(app: FastAPI, state: _State) -> None:
    """Add /dataset.json, which pages of other sites may read, and /mosaic.png."""

    async def dataset(request: Request) -> Response:
        # Pages of other sites may read errors too, so that they know the reason and when to try again.
        try:
            state.limiter.spend(request, _FILE_COST)
            file = await anyio.to_thread.run_sync(state.export.dataset, limiter=state.download_threads)
        except HTTPException as error:
            raise HTTPException(error.status_code, error.detail, {**(error.headers or {}), **_CORS_HEADERS}) from None
        except StoreError as error:
            return _store_error_response(error, _CORS_HEADERS)
        gzipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
        headers = {**_CORS_HEADERS, "Vary": "Accept-Encoding"}
        if gzipped:
            headers |= {"Content-Encoding": "gzip", "Content-Length": str(file.size)}
        etag = _etag(state.store.database_id, file, "" if gzipped else "-plain")
        return _send_file(request, file, "application/json", {"ETag": etag, **headers}, decompress=not gzipped)

    async def mosaic(request: Request) -> Response:
        state.limiter.spend(request, _FILE_COST)
        file = await anyio.to_thread.run_sync(state.export.mosaic, limiter=state.download_threads)
        headers = {"ETag": _etag(state.store.database_id, file), "Content-Length": str(file.size)}
        return _send_file(request, file, "image/png", headers, decompress=False)

    async def preflight() -> Response:
        return Response(
            status_code=204,
            headers={
                "Access-Control-Allow-Origin": "*",
                "Access-Control-Allow-Methods": "GET, HEAD",
                "Access-Control-Allow-Headers": "If-None-Match",
                "Access-Control-Max-Age": "86400",
            },
        )

    unchanged: dict[int | str, dict[str, Any]] = {304: {"description": "Unchanged since the version with this ETag"}}
    data = {200: {"description": "An array of images with labels", "content": {"application/json": {}}}, **unchanged}
    image = {200: {"description": "A PNG image", "content": {"image/png": {}}}, **unchanged}
    app.add_api_route(
        "/dataset.json", dataset, summary="The accepted digits", responses={**data, **_responses(..., 429, 503)}
    )
    app.add_api_route("/dataset.json", dataset, methods=["HEAD"], include_in_schema=False)
    app.add_api_route("/dataset.json", preflight, methods=["OPTIONS"], include_in_schema=False)
    app.add_api_route(
        "/mosaic.png", mosaic, summary="Accepted digits as one image", responses={**image, **_responses(..., 429, 503)}
    )
    app.add_api_route("/mosaic.png", mosaic, methods=["HEAD"], include_in_schema=False)


def _etag(database_id: str, file: CachedFile, suffix: str = "") -> str:
    return f'"{database_id[:8]}-{file.revision}{suffix}"'


def _send_file(
    request: Request, file: CachedFile, media_type: str, headers: dict[str, str], *, decompress: bool
) -> Response:
    """Return a response with a file; with 304 and no body if the client has this version already."""
    headers = {"Cache-Control": "no-cache", **headers}
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or headers["ETag"] in (part.strip().removeprefix("W/") for part in known.split(",")):
        for header in ("Content-Length", "Content-Encoding"):
            headers.pop(header, None)
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        response = Response(headers=headers, media_type=media_type)
        if "Content-Length" not in headers:
            # The length of a file that is decompressed on the way is unknown; do not send that of the empty body.
            del response.headers["Content-Length"]
        return response
    return StreamingResponse(file.chunks(decompress=decompress), headers=headers, media_type=media_type)


def _accepts_gzip(accepted: str) -> bool:
    """Return whether an Accept-Encoding header allows gzip."""
    weights = {}
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip()] = weight.replace(" ", "")
    found = weights.get("gzip", weights.get("*"))
    return found is not None and re.fullmatch(r"q=0(\.0*)?", found) is None


def _content_type(request: Request, *allowed: str) -> str:
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


def _json_response(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


_PICTURE_TYPES = tuple(f"image/{kind}" for kind in ("png", "jpeg", "webp", "gif", "bmp", "tiff", "avif", "heic"))
"""Content types of pictures; the bytes decide what is read."""


def _request_body(schema: str, *image_types: str) -> dict[str, Any]:
    """Return the OpenAPI description of a request's body: JSON of a schema, or an image of one of some types."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    content |= {image_type: {"schema": {"type": "string", "format": "binary"}} for image_type in image_types}
    return {"requestBody": {"required": True, "content": content}}


_STATUS_DESCRIPTIONS = {
    401: "The token is missing or wrong",
    404: "No such digit",
    408: "The body took too long to arrive",
    409: "Another reviewer has decided otherwise",
    413: "The body is too long",
    415: "Unsupported content type",
    422: "The request is invalid",
    429: "Too many requests from this address",
    503: "The database or the model is not available",
}


def _responses(schema: Any, *errors: int, success: int = 200) -> dict[int | str, dict[str, Any]]:
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
    responses: dict[int | str, dict[str, Any]] = {
        status: {"description": _STATUS_DESCRIPTIONS[status], "content": error_content} for status in errors
    }
    if schema is None:
        responses[success] = {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}}
    elif schema is not ...:
        reference = {"$ref": f"#/components/schemas/{schema}"}
        responses[success] = {"description": "Done", "content": {"application/json": {"schema": reference}}}
    return responses


def _add_schemas(app: FastAPI) -> None:
    """Add the schemas of the messages to the OpenAPI description: FastAPI does not know msgspec's."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            description = describe()
            components = description.setdefault("components", {})
            components.setdefault("schemas", {}).update(schemas())
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = description
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
