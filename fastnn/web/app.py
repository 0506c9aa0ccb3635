"""The web app's routes."""

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
from starlette.staticfiles import StaticFiles

from fastnn import __version__
from fastnn.errors import DataError
from fastnn.images import is_blank, read_image
from fastnn.web.export import Export, Kept
from fastnn.web.guard import Guard, log
from fastnn.web.judge import Judge
from fastnn.web.limits import RateLimiter, read_body
from fastnn.web.messages import (
    Undo,
    clean_name,
    decode,
    digits_request,
    predict_request,
    review_request,
    schemas,
)
from fastnn.web.store import (
    AlreadyReviewedError,
    NewDigit,
    Opinion,
    QueueFullError,
    Store,
    StoreError,
    UnknownDigitError,
)
from fastnn.web.trainer import Trainer

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from fastnn.web.recogniser import Loaded


STATIC = Path(__file__).parent / "static"
PAGES = {"/": "index.html", "/contribute": "contribute.html", "/review": "review.html", "/data": "data.html"}

MOST_BODY = 512 << 10
"""Bytes of a request: 100 digits of 784 values of at most three figures and a comma are 330 kB."""

MOST_PICTURE = 4 << 20

# What requests cost of an address's rate.
_LOOK_COST, _PICTURE_COST, _DIGIT_COST, _LIST_COST, _FILE_COST, _WRONG_TOKEN_COST = 1.0, 6.0, 5.0, 5.0, 20.0, 50.0

# Pages of other sites may read what has these.
_OPEN = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Retry-After",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

_CREDITS = 500
_HISTORY = 20


@dataclass
class Settings:
    """What the server is told at its start.

    Attributes
    ----------
    store : Store
        Closed when the server ends.
    token : str
        Opens the review.
    loaded : Loaded or None
        The model to begin with.
    rate : float
        Requests a second from one address for long; 0 sets no limit.
    train_every : int
        Accepted digits between two trainings; 0 for none.
    runs : Path
        Where trained runs go.
    recipe : str
        Of what is trained.
    """

    store: Store
    token: str
    loaded: Loaded | None = None
    rate: float = 50.0
    train_every: int = 0
    runs: Path = field(default_factory=lambda: Path("runs"))
    recipe: str = "original"


class _State:
    """What the routes share."""

    def __init__(self, settings: Settings) -> None:
        self.store, self.loaded = settings.store, settings.loaded
        self.export = Export(settings.store)
        self.limiter = RateLimiter(settings.rate)
        # Who waits for a file to be made has none of the threads that all else needs.
        self.pictures, self.files = anyio.CapacityLimiter(2), anyio.CapacityLimiter(4)
        self._token = hashlib.sha256(settings.token.encode()).digest()
        self._judge = Judge(settings.store, lambda: self.loaded)
        self.trainer: Trainer | None = None
        if settings.train_every:
            self.trainer = Trainer(
                settings.store,
                settings.train_every,
                current=lambda: self.loaded,
                take_over=self.take_over,
                folder=settings.runs,
                recipe=settings.recipe,
            )

    def is_token(self, given: str) -> bool:
        """Compare in a time that tells nothing; of digests, so not even the length."""
        return hmac.compare_digest(hashlib.sha256(given.encode()).digest(), self._token)

    def take_over(self, loaded: Loaded) -> None:
        """Use another model from now on, and sort the queue by its doubts."""
        self.loaded = loaded
        self._judge.nudge()

    def start(self) -> None:
        if self.loaded is not None:
            # A database that is away now is asked again by the trainer, if there is one.
            with contextlib.suppress(StoreError):
                self.store.first_used(self.loaded.key)
        self._judge.start()
        if self.trainer is not None:
            self.trainer.start()

    def stop(self) -> None:
        if self.trainer is not None:
            self.trainer.stop()
        self._judge.stop()
        self.store.close()


def create_app(settings: Settings) -> FastAPI:
    """Make the web app.

    Parameters
    ----------
    settings : Settings

    Returns
    -------
    FastAPI
        An ASGI application; it closes the store when it ends.
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
        summary="Draw digits, have them recognised, collect, review and share them.",
        docs_url=None,  # their scripts would come from elsewhere
        redoc_url=None,
        openapi_url="/api/openapi.json",
        lifespan=lifespan,
    )
    app.state.fastnn = state
    _add_errors(app)
    _add_pages(app)
    _add_recognition(app, state)
    _add_collection(app, state)
    _add_review(app, state)
    _add_sharing(app, state)
    _describe(app)
    app.add_middleware(Guard)
    return app


def _add_errors(app: FastAPI) -> None:
    @app.exception_handler(StoreError)
    async def _store_failed(_: Request, error: StoreError) -> JSONResponse:
        return _failed(error)


def _failed(error: StoreError, headers: dict[str, str] | None = None) -> JSONResponse:
    log("database failed", reason=str(error))
    return JSONResponse(
        {"detail": "the database cannot be used just now; try again"},
        503,
        headers={"Retry-After": "5", **(headers or {})},
    )


def _add_pages(app: FastAPI) -> None:
    for path, name in PAGES.items():
        app.add_api_route(path, _page(name), methods=["GET", "HEAD"], include_in_schema=False)
    app.mount("/static", _Static(directory=STATIC), name="static")


def _page(name: str) -> Callable[[], Awaitable[Response]]:
    content = (STATIC / name).read_bytes()

    async def page() -> Response:
        return Response(content, media_type="text/html", headers={"Cache-Control": "no-cache"})

    return page


class _Static(StaticFiles):
    """Static files, of which browsers ask each time whether they have changed."""

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response


def _add_recognition(app: FastAPI, state: _State) -> None:
    @app.post(
        "/api/predict",
        summary="Recognise a drawing",
        openapi_extra=_takes("PredictRequest", "image/png", "image/jpeg"),
        responses=_answers("Prediction", 408, 413, 415, 422, 429, 503),
    )
    async def predict(request: Request) -> Response:
        kind = _kind(request, "application/json", "image/png", "image/jpeg")
        state.limiter.spend(request, _LOOK_COST if kind == "application/json" else _PICTURE_COST)
        loaded = state.loaded
        if loaded is None:
            raise HTTPException(503, "no model is loaded; start fastnn serve with --model")
        if kind == "application/json":
            message = decode(predict_request, await read_body(request, MOST_BODY))
            image = np.frombuffer(bytes(message.image), np.uint8)
        else:
            body = await read_body(request, MOST_PICTURE)
            try:
                image = await anyio.to_thread.run_sync(lambda: read_image(body), limiter=state.pictures)
            except DataError as error:
                raise HTTPException(422, str(error)) from None
        if is_blank(image):
            raise HTTPException(422, "nothing is drawn")
        result = loaded.predict(image) if loaded.quick else await run_in_threadpool(loaded.predict, image)
        return _json(result)

    @app.get("/api/health", summary="Whether the server and its database work", responses=_answers(None, 429, 503))
    async def health(request: Request) -> Response:
        state.limiter.spend(request, _LOOK_COST)
        await run_in_threadpool(state.store.check)
        loaded = state.loaded
        return _json({"status": "ok", "version": __version__, "model": loaded.about() if loaded else None})


def _add_collection(app: FastAPI, state: _State) -> None:
    @app.post(
        "/api/digits",
        status_code=201,
        summary="Store digits for review",
        openapi_extra=_takes("DigitsRequest"),
        responses=_answers("Stored", 408, 413, 415, 422, 429, 503, success=201),
    )
    async def add_digits(request: Request) -> Response:
        # Paid at once when the number is known: where all together cost a whole bucket, a part paid before would have
        # to flow in again first.
        state.limiter.spend(request, 0.0)
        _kind(request, "application/json")
        try:
            message = decode(digits_request, await read_body(request, MOST_BODY))
        except HTTPException:
            state.limiter.fine(request, _DIGIT_COST)
            raise
        state.limiter.spend(request, _DIGIT_COST * len(message.digits))
        images = np.frombuffer(b"".join(bytes(digit.image) for digit in message.digits), np.uint8)
        images = images.reshape(len(message.digits), -1)
        for position, image in enumerate(images):
            if is_blank(image):
                raise HTTPException(422, f"nothing is drawn on digit {position}")
        labels = [digit.label for digit in message.digits]

        def store() -> int:
            loaded = state.loaded
            opinions = loaded.opinions(images, labels) if loaded else [Opinion(None, 1.0)] * len(labels)
            new = [
                NewDigit(str(digit.id), image.tobytes(), digit.label, opinion)
                for digit, image, opinion in zip(message.digits, images, opinions, strict=True)
            ]
            return state.store.add(new, clean_name(message.contributor), loaded.key if loaded else "")

        try:
            stored = await run_in_threadpool(store)
        except QueueFullError:
            raise HTTPException(
                503, "too many digits wait for review; come back another day", {"Retry-After": "86400"}
            ) from None
        return _json({"stored": stored}, 201)

    @app.get("/api/stats", summary="Counts, credits and the model", responses=_answers(None, 429, 503))
    async def stats(request: Request) -> Response:
        state.limiter.spend(request, _LIST_COST)

        def ask() -> dict[str, Any]:
            states = state.store.states()
            return {**states, "digits": state.store.counts(), "credits": state.store.credits(_CREDITS)}

        found = await run_in_threadpool(ask)
        loaded = state.loaded
        return _json({**found, "model": loaded.about() if loaded else None})


def _add_review(app: FastAPI, state: _State) -> None:
    async def reviewer(request: Request) -> None:
        """Let in who has the token. It comes in a header, which no other site can make a browser send."""
        scheme, _, given = request.headers.get("authorization", "").partition(" ")
        state.limiter.spend(request, 0.0)
        if scheme.lower() != "bearer" or not state.is_token(given.strip()):
            # Whatever is left, or who has little left could guess on for nothing.
            state.limiter.fine(request, _WRONG_TOKEN_COST)
            raise HTTPException(401, "the review needs the token", {"WWW-Authenticate": "Bearer"})

    secured: dict[str, Any] = {"security": [{"token": []}]}

    @app.get(
        "/api/review",
        summary="The digits to review next, and who reviewed what",
        dependencies=[Depends(reviewer)],
        openapi_extra=secured,
        responses=_answers(None, 401, 422, 429, 503),
    )
    async def queue(limit: Annotated[int, Query(ge=1, le=100)] = 30) -> Response:
        def ask() -> dict[str, Any]:
            waiting = state.store.queue(limit)
            return {**state.store.states(), "digits": waiting, "history": state.store.history(_HISTORY)}

        return _json(await run_in_threadpool(ask))

    @app.post(
        "/api/review/{digit}",
        summary="Accept, reject or relabel a digit, or put it back",
        dependencies=[Depends(reviewer)],
        openapi_extra={**secured, **_takes("ReviewRequest")},
        responses=_answers("Reviewed", 401, 404, 408, 409, 413, 415, 422, 429, 503),
    )
    async def review(digit: uuid.UUID, request: Request) -> Response:
        _kind(request, "application/json")
        message = decode(review_request, await read_body(request, MOST_BODY))
        name = clean_name(message.reviewer)
        undone = message.undone if isinstance(message, Undo) else None
        work = partial(state.store.review, str(digit), message.action, message.label, name, undone=undone)
        try:
            done = await run_in_threadpool(work)
        except UnknownDigitError:
            raise HTTPException(404, "there is no such digit") from None
        except AlreadyReviewedError:
            raise HTTPException(409, "the digit has been reviewed otherwise in between") from None
        if state.trainer is not None and done["state"] == "accepted":
            state.trainer.nudge()
        return _json(done)


def _add_sharing(app: FastAPI, state: _State) -> None:
    async def dataset(request: Request) -> Response:
        # What goes wrong, pages of other sites may read as well, or they could not tell why and when to come back.
        try:
            state.limiter.spend(request, _FILE_COST)
            kept = await anyio.to_thread.run_sync(state.export.dataset, limiter=state.files)
        except HTTPException as error:
            raise HTTPException(error.status_code, error.detail, {**(error.headers or {}), **_OPEN}) from None
        except StoreError as error:
            return _failed(error, _OPEN)
        packed = _takes_gzip(request.headers.get("accept-encoding", ""))
        headers = {**_OPEN, "Vary": "Accept-Encoding"}
        if packed:
            headers |= {"Content-Encoding": "gzip", "Content-Length": str(kept.size)}
        return _kept(request, kept, "application/json", headers, state.store.name, unpacked=not packed)

    async def mosaic(request: Request) -> Response:
        state.limiter.spend(request, _FILE_COST)
        kept = await anyio.to_thread.run_sync(state.export.mosaic, limiter=state.files)
        headers = {"Content-Length": str(kept.size)}
        return _kept(request, kept, "image/png", headers, state.store.name, unpacked=False)

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

    known: dict[int | str, dict[str, Any]] = {304: {"description": "Not changed since the ETag"}}
    data = {200: {"description": "An array of image and label", "content": {"application/json": {}}}, **known}
    picture = {200: {"description": "A picture", "content": {"image/png": {}}}, **known}
    app.add_api_route(
        "/dataset.json", dataset, summary="The accepted digits", responses={**data, **_answers(..., 429, 503)}
    )
    app.add_api_route("/dataset.json", dataset, methods=["HEAD"], include_in_schema=False)
    app.add_api_route("/dataset.json", preflight, methods=["OPTIONS"], include_in_schema=False)
    app.add_api_route(
        "/mosaic.png", mosaic, summary="Accepted digits as a picture", responses={**picture, **_answers(..., 429, 503)}
    )
    app.add_api_route("/mosaic.png", mosaic, methods=["HEAD"], include_in_schema=False)


def _kept(
    request: Request, kept: Kept, media_type: str, headers: dict[str, str], name: str, *, unpacked: bool
) -> Response:
    """Answer with a file, or with 304 if the asker has it."""
    etag = f'"{name[:8]}-{kept.revision}{"-plain" if unpacked else ""}"'
    headers = {"ETag": etag, "Cache-Control": "no-cache", **headers}
    known = request.headers.get("if-none-match", "")
    if known.strip() == "*" or etag in (part.strip().removeprefix("W/") for part in known.split(",")):
        for header in ("Content-Length", "Content-Encoding"):
            headers.pop(header, None)
        return Response(status_code=304, headers=headers)
    if request.method == "HEAD":
        answer = Response(headers=headers, media_type=media_type)
        if "Content-Length" not in headers:
            # Of a file that is unpacked on the way nobody knows the length; that of nothing is not it.
            del answer.headers["Content-Length"]
        return answer
    return StreamingResponse(kept.chunks(unpacked=unpacked), headers=headers, media_type=media_type)


def _takes_gzip(accepted: str) -> bool:
    """Whether an Accept-Encoding header allows gzip."""
    weights = {}
    for part in accepted.lower().split(","):
        coding, _, weight = part.partition(";")
        weights[coding.strip()] = weight.replace(" ", "")
    found = weights.get("gzip", weights.get("*"))
    return found is not None and re.fullmatch(r"q=0(\.0*)?", found) is None


def _kind(request: Request, *known: str) -> str:
    """Return the content type of a request; 415 if it is not one of `known`.

    That JSON says it is JSON matters: a browser then asks us before it lets a page of another site send it.
    """
    kind = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if kind not in known:
        raise HTTPException(415, f"send {' or '.join(known)}")
    return kind


def _json(value: Any, status: int = 200) -> Response:
    return Response(msgspec.json.encode(value), status, media_type="application/json")


def _takes(schema: str, *pictures: str) -> dict[str, Any]:
    """Describe a body for OpenAPI."""
    content: dict[str, Any] = {"application/json": {"schema": {"$ref": f"#/components/schemas/{schema}"}}}
    content |= {kind: {"schema": {"type": "string", "format": "binary"}} for kind in pictures}
    return {"requestBody": {"required": True, "content": content}}


_MEANINGS = {
    401: "The token is missing or wrong",
    404: "No such digit",
    408: "The body took too long to come",
    409: "Reviewed otherwise in between",
    413: "The body is too long",
    415: "Not a content type that is taken",
    422: "Not as the schema has it",
    429: "Too many requests from this address",
    503: "The database or the model is not there just now",
}


def _answers(schema: Any, *faults: int, success: int = 200) -> dict[int | str, dict[str, Any]]:
    """Describe answers for OpenAPI: of `schema` (None: any JSON; ...: described elsewhere), and the faults."""
    fault = {"application/json": {"schema": {"$ref": "#/components/schemas/Fault"}}}
    answers: dict[int | str, dict[str, Any]] = {
        status: {"description": _MEANINGS[status], "content": fault} for status in faults
    }
    if schema is None:
        answers[success] = {"description": "Done", "content": {"application/json": {"schema": {"type": "object"}}}}
    elif schema is not ...:
        reference = {"$ref": f"#/components/schemas/{schema}"}
        answers[success] = {"description": "Done", "content": {"application/json": {"schema": reference}}}
    return answers


def _describe(app: FastAPI) -> None:
    """Add the messages' schemas, which are msgspec's and not FastAPI's own, to the description of the API."""
    described = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            description = described()
            components = description.setdefault("components", {})
            components.setdefault("schemas", {}).update(schemas())
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = description
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
