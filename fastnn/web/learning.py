"""The routes of the page that learns: its digits, and what fastnn learns beside it on this machine."""

from __future__ import annotations

import gzip
from functools import cache
from typing import TYPE_CHECKING

import anyio
import numpy as np
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from fastnn.datasets import load_dataset
from fastnn.errors import DataError
from fastnn.web.answers import LearnEnd, LearnProgress
from fastnn.web.authorization import token_needed
from fastnn.web.limits import FILE_COST
from fastnn.web.live_training import MOST_DIGITS, LiveTraining, TrainingResponse
from fastnn.web.messages import LearnRequest, decode, learn_request
from fastnn.web.responses import json_body
from fastnn.web.words import words_for

if TYPE_CHECKING:
    from fastnn.datasets.dataset import Dataset
    from fastnn.web.state import State

BUILT_IN = "drawn:3000"
"""A data set that fastnn draws, so that the page works before visitors have drawn any."""

_LEAST_DIGITS, _LEAST_OF_EACH = 200, 20
"""With fewer digits, or fewer of each of few classes, a network learns little. The page has the same limits."""


def packed(dataset: Dataset) -> bytes:
    """Return images and labels for the page, compressed with gzip.

    Of each, these are 784 pixels of 8 bits and the position of its class in 16 bits, the lower ones first.
    """
    rows = np.column_stack([dataset.images, dataset.labels.astype("<u2").view(np.uint8).reshape(-1, 2)])
    return gzip.compress(rows.tobytes(), compresslevel=6, mtime=0)


@cache
def built_in_digits() -> bytes:
    """Return the built-in digits as :func:`packed` does."""
    return packed(load_dataset(BUILT_IN))


def add_learning(app: FastAPI, state: State) -> None:
    """Add the routes to the app."""
    _add_digits(app, state)
    # OpenAPI before 3.2 describes each event of a stream, not the stream.
    event = {
        "type": "object",
        "properties": {
            "event": {"enum": ["progress", "end"]},
            "data": {"type": "string", "contentMediaType": "application/json"},
        },
        "required": ["event", "data"],
    }
    events = {
        "description": "Server-sent events: `progress` with a LearnProgress as data, and at last `end` with a LearnEnd",
        "content": {"text/event-stream": {"schema": event}},
    }

    state.description.add(LearnProgress, LearnEnd)

    @app.post(
        "/api/learn",
        summary="Watch fastnn learn on this machine; the training ends with the connection",
        **token_needed(state),
        **state.description.route(events, 409, 429, 503, takes=LearnRequest, secured=True),
    )
    async def learn(request: Request) -> Response:
        state.limiter.spend(request, FILE_COST)
        message = decode(learn_request, await json_body(request))
        chosen = await run_in_threadpool(_accepted, state) if message.source == "accepted" else None

        def make() -> LiveTraining:
            dataset = load_dataset(BUILT_IN) if chosen is None else chosen
            return LiveTraining(
                dataset,
                hidden=message.hidden,
                rule=message.rule,
                rate=message.rate,
                epochs=message.epochs,
                seed=message.seed,
            )

        if not state.live.try_begin():
            wait = f"wait until it ends, {state.live.seconds:.0f} seconds at most"
            raise HTTPException(409, f"another training is running on this machine; {wait}", {"Retry-After": "5"})
        return TrainingResponse(state.live, make)


def _add_digits(app: FastAPI, state: State) -> None:
    drawing, packing = anyio.Lock(), anyio.Lock()
    # The latest digits, packed, and the revision of the accepted digits at which they were.
    kept: tuple[int, bytes] = (-1, b"")

    def latest_digits() -> bytes:
        try:
            return packed(state.store.latest(MOST_DIGITS))
        except DataError:  # there are none
            return gzip.compress(b"", mtime=0)

    def response(content: bytes, cache_control: str) -> Response:
        headers = {"Content-Encoding": "gzip", "Cache-Control": cache_control}
        return Response(content, media_type="application/octet-stream", headers=headers)

    async def drawn(request: Request) -> Response:
        state.limiter.spend(request, FILE_COST)
        # They are drawn once, for a second: a class that opens the page at the same moment must not occupy all threads.
        async with drawing:
            content = await run_in_threadpool(built_in_digits)
        return response(content, "max-age=86400")

    async def latest(request: Request) -> Response:
        nonlocal kept
        state.limiter.spend(request, FILE_COST)
        async with packing:  # as above
            revision = await run_in_threadpool(state.store.revision)
            if kept[0] != revision:
                kept = revision, await run_in_threadpool(latest_digits)
        return response(kept[1], "no-store")

    # They are made for the page; programs load /dataset.json.
    app.add_api_route("/drawn.bin", drawn, include_in_schema=False)
    app.add_api_route("/latest.bin", latest, include_in_schema=False)


def _accepted(state: State) -> Dataset:
    try:
        dataset = state.store.latest(MOST_DIGITS)
    except DataError:  # its message names the database
        raise HTTPException(422, f"no {words_for(state.store.classes).several} are accepted yet") from None
    least = min(_LEAST_DIGITS, _LEAST_OF_EACH * len(dataset.classes))
    if len(dataset) < least:
        several = words_for(dataset.classes).several
        raise HTTPException(422, f"only {len(dataset)} {several} are accepted so far; at least {least} are needed")
    return dataset
