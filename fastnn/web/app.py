"""The web app: its pages, recognition and collection; other routes are in ``review`` and ``sharing``."""

from __future__ import annotations

import contextlib
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import anyio
import numpy as np
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse  # noqa: TC002 - FastAPI reads the annotations
from starlette.concurrency import run_in_threadpool

from fastnn import __version__
from fastnn.datasets.dataset import SIDE
from fastnn.datasets.polarity import Polarity, polarity_sign
from fastnn.errors import DataError, MissingExtraError, ModelError
from fastnn.images import is_blank, read_drawings
from fastnn.images.decode import picture_size
from fastnn.images.drawings import find_drawings
from fastnn.web.answers import Credit, Health, Prediction, Stats, Stored
from fastnn.web.class_settings import ClosedError
from fastnn.web.learning import add_learning
from fastnn.web.limits import DIGIT_COST, LIGHT_COST, LIST_COST, read_body
from fastnn.web.messages import (
    DigitsRequest,
    PredictRequest,
    contributor_name,
    decode,
    digits_request,
    label_position,
    predict_request,
)
from fastnn.web.middleware import AccessLogMiddleware, AllowedHostsMiddleware
from fastnn.web.pages import add_pages
from fastnn.web.responses import (
    MAX_BODY_BYTES,
    PICTURE_TYPES,
    content_type_of,
    invalid_request_response,
    json_response,
    store_error_response,
)
from fastnn.web.review import add_review
from fastnn.web.sharing import add_sharing
from fastnn.web.state import Settings, State
from fastnn.web.store import (
    UNSCORED,
    NewDigit,
    QueueFullError,
)
from fastnn.web.teaching import add_teaching
from fastnn.web.transactions import StoreError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable

    from fastnn.images.drawings import Drawings


__all__ = ["MAX_BODY_BYTES", "MAX_IMAGE_BYTES", "Settings", "create_app"]

T = TypeVar("T")

MAX_IMAGE_BYTES = 4 << 20

# How many units of the rate limit a request costs.
_IMAGE_COST = 6.0
"""Least cost of a picture; one of more than 1.5 million pixels costs more."""
_PIXELS_PER_UNIT = 250_000

_MAX_CREDITS = 500

_CLOSED_SECONDS = 30
"""When a program may send again what was refused because collecting is closed; pages look whether it is open."""


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
    state = State(settings)

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
    add_pages(app, settings.store.classes)
    _add_recognition(app, state)
    _add_collection(app, state)
    add_learning(app, state)
    add_review(app, state)
    add_sharing(app, state)
    add_teaching(app, state)
    _add_schemas(app, state)
    if settings.hosts is not None:
        app.add_middleware(AllowedHostsMiddleware, hosts=settings.hosts)
    app.add_middleware(AccessLogMiddleware)
    return app


def _add_errors(app: FastAPI) -> None:
    """Answer with 503 when the database fails, and in words when parameters are wrong."""

    @app.exception_handler(StoreError)
    async def _store_failed(_: Request, error: StoreError) -> JSONResponse:
        return store_error_response(error)

    @app.exception_handler(RequestValidationError)
    async def _invalid_request(request: Request, error: RequestValidationError) -> Response:
        return invalid_request_response(request, error)


def _add_recognition(app: FastAPI, state: State) -> None:
    """Add /api/predict and /api/health."""

    @app.post(
        "/api/predict",
        summary="Recognise a drawing",
        **state.description.route(Prediction, 429, 503, takes=PredictRequest, pictures=PICTURE_TYPES),
    )
    async def predict(
        request: Request, polarity: Annotated[Polarity, Query(description="How the ink of a picture is drawn")] = "auto"
    ) -> Response:
        content_type = content_type_of(request, "application/json", *PICTURE_TYPES)
        # The cost of a picture is taken when its size is known, in one step; see `add_digits`.
        state.limiter.spend(request, LIGHT_COST if content_type == "application/json" else 0.0)
        model = state.model
        if model is None:
            raise HTTPException(503, "no model is loaded; start fastnn serve with --model")
        if content_type == "application/json":
            message = decode(predict_request, await read_body(request, MAX_BODY_BYTES))
            pixels = np.frombuffer(bytes(message.image), np.uint8).reshape(SIDE, SIDE)
            drawings = find_drawings(pixels, polarity_sign(message.polarity))
        else:
            drawings = await _read_picture(state, request, polarity)
        if not drawings.digits:
            raise HTTPException(422, "; ".join(drawings.doubts))
        try:
            if model.fast_enough_inline:
                return json_response(model.predict(drawings))
            return json_response(await run_in_threadpool(model.predict, drawings))
        except ModelError as error:
            raise HTTPException(500, str(error)) from None

    @app.get(
        "/api/health",
        summary="Whether the server and its database work",
        **state.description.route(Health, 429, 503),
    )
    async def health(request: Request) -> Response:
        state.limiter.spend(request, LIGHT_COST)
        await run_in_threadpool(state.store.check)
        model = state.model
        return json_response(Health("ok", __version__, model.describe() if model else None))


async def _read_picture(state: State, request: Request, polarity: Polarity) -> Drawings:
    """Return the drawings on the picture that a request sends, and charge for its pixels before they are decoded."""

    async def in_thread(function: Callable[[], T]) -> T:
        return await anyio.to_thread.run_sync(function, limiter=state.image_threads)

    try:
        body = await read_body(request, MAX_IMAGE_BYTES)
        width, height = await in_thread(lambda: picture_size(body))
    except (HTTPException, DataError, MissingExtraError) as error:
        state.limiter.penalize(request, _IMAGE_COST)
        raise error if isinstance(error, HTTPException) else HTTPException(422, str(error)) from None
    state.limiter.spend(request, max(_IMAGE_COST, width * height / _PIXELS_PER_UNIT))
    try:
        return await in_thread(lambda: read_drawings(body, polarity=polarity))
    except DataError as error:
        raise HTTPException(422, str(error)) from None


def _add_collection(app: FastAPI, state: State) -> None:
    """Add /api/digits and /api/stats."""

    @app.post(
        "/api/digits",
        summary="Store digits for review",
        **state.description.route(Stored, 409, 429, 503, takes=DigitsRequest, status=201),
    )
    async def add_digits(request: Request) -> Response:
        # The cost is taken in one step when the number of digits is known. A part taken now would have to accrue
        # again first if all digits together cost a whole bucket.
        state.limiter.spend(request, 0.0)
        content_type_of(request, "application/json")
        try:
            message = decode(digits_request, await read_body(request, MAX_BODY_BYTES))
        except HTTPException:
            state.limiter.penalize(request, DIGIT_COST)
            raise
        state.limiter.spend(request, DIGIT_COST * len(message.digits))
        contributor = contributor_name(message.contributor)
        images = np.frombuffer(b"".join(bytes(digit.image) for digit in message.digits), np.uint8)
        images = images.reshape(len(message.digits), -1)
        for position, image in enumerate(images):
            if is_blank(image):
                raise HTTPException(422, f"digit {position} is blank")
        labels = [label_position(digit.label, state.store.classes) for digit in message.digits]

        def store() -> int:
            model = state.model
            scores = model.scores(images, labels, state.store.classes) if model else [UNSCORED] * len(labels)
            new = [
                NewDigit(str(digit.id), image.tobytes(), label, score)
                for digit, image, label, score in zip(message.digits, images, labels, scores, strict=True)
            ]
            return state.store.add(new, contributor, model.key if model else "")

        try:
            stored = await run_in_threadpool(store)
        except ClosedError:
            closed = "collecting is closed at the moment; please try again later"
            raise HTTPException(409, closed, {"Retry-After": str(_CLOSED_SECONDS)}) from None
        except QueueFullError:
            raise HTTPException(
                503, "the review queue is full; please come back another day", {"Retry-After": "86400"}
            ) from None
        return json_response(Stored(stored), 201)

    @app.get("/api/stats", summary="Counts, credits and the model", **state.description.route(Stats, 429, 503))
    async def stats(request: Request) -> Response:
        state.limiter.spend(request, LIST_COST)

        def query() -> Stats:
            model, store = state.model, state.store
            return Stats(
                **store.states(),
                digits=store.class_counts(),
                classes=list(store.classes),
                collecting=state.classroom.settings()["collecting"],
                credits=[Credit(**one) for one in store.credits(_MAX_CREDITS)],
                model=model.describe() if model else None,
            )

        return json_response(await run_in_threadpool(query))


def _add_schemas(app: FastAPI, state: State) -> None:
    """Add the schemas of the messages to the OpenAPI description: FastAPI does not know msgspec's."""
    describe = app.openapi

    def openapi() -> dict[str, Any]:
        if app.openapi_schema is None:
            description = describe()
            components = description.setdefault("components", {})
            # Only ours: FastAPI's schemas are of answers to invalid parameters that are not given here.
            components["schemas"] = state.description.schemas()
            components["securitySchemes"] = {"token": {"type": "http", "scheme": "bearer"}}
            app.openapi_schema = description
        return app.openapi_schema

    app.openapi = openapi  # type: ignore[method-assign]
