"""The route by which a page watches fastnn learn; it needs the token, since a training keeps a core busy."""

from __future__ import annotations

from typing import TYPE_CHECKING

from fastapi import FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from fastnn.datasets import load_dataset
from fastnn.errors import DataError
from fastnn.web.answers import LearnEnd, LearnProgress
from fastnn.web.authorization import token_needed
from fastnn.web.limits import FILE_COST
from fastnn.web.live_training import MOST_DIGITS, LiveTraining, TrainingResponse
from fastnn.web.messages import LearnRequest, decode, learn_request
from fastnn.web.pages import BUILT_IN
from fastnn.web.responses import json_body
from fastnn.web.words import words_for

if TYPE_CHECKING:
    from fastnn.datasets.dataset import Dataset
    from fastnn.web.state import State

_LEAST_DIGITS, _LEAST_OF_EACH = 200, 20
"""With fewer digits, or fewer of each of few classes, a network learns little. The page has the same limits."""


def add_learning(app: FastAPI, state: State) -> None:
    """Add the route to the app."""
    events = {
        "description": "Server-sent events: `progress` with a LearnProgress as data, and at last `end` with a LearnEnd",
        "content": {"text/event-stream": {"schema": {"type": "string"}}},
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


def _accepted(state: State) -> Dataset:
    try:
        dataset = state.store.latest(MOST_DIGITS)
    except DataError as error:
        raise HTTPException(422, str(error)) from None
    least = min(_LEAST_DIGITS, _LEAST_OF_EACH * len(dataset.classes))
    if len(dataset) < least:
        several = words_for(dataset.classes).several
        raise HTTPException(422, f"only {len(dataset)} {several} are accepted so far; at least {least} are needed")
    return dataset
