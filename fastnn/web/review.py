"""The routes below /api/review, which need the token."""

from __future__ import annotations

import uuid  # noqa: TC003 - FastAPI reads the annotations
from functools import partial
from typing import TYPE_CHECKING, Annotated, Any

from fastapi import FastAPI, HTTPException, Query, Request, Response
from msgspec import UNSET
from starlette.concurrency import run_in_threadpool

from fastnn.web.answers import (
    Changed,
    History,
    HistoryEntry,
    Listed,
    ListedDigit,
    PicturedEntry,
    Queue,
    QueuedDigit,
    Released,
    Reviewed,
    ReviewResult,
    ReviewResults,
)
from fastnn.web.authorization import token_needed
from fastnn.web.desk import AlreadyReviewedError, Selection, State, UnknownDigitError, Verdict
from fastnn.web.messages import (
    WITHOUT_NUL,
    ContributorRequest,
    ListedVerdict,
    Relabel,
    ReleaseRequest,
    ReviewRequest,
    ReviewsRequest,
    StrikeRequest,
    Undo,
    clean_name,
    contributor_request,
    decode,
    label_position,
    release_request,
    review_request,
    reviews_request,
    strike_request,
)
from fastnn.web.responses import json_body, json_response

if TYPE_CHECKING:
    from collections.abc import Sequence

    from fastnn.web.state import State as AppState

_MAX_HISTORY = 20
_UNKNOWN = "there is no such digit"
_DECIDED = "another reviewer has decided otherwise"

LabelFilter = Annotated[str | None, Query(max_length=60, description="Name or position of a class")]
Limit = Annotated[int, Query(ge=1, le=100)]
Before = Annotated[
    int | None, Query(ge=1, le=2**63 - 1, description="The number of the last one on the page before, its `next`")
]


def add_review(app: FastAPI, state: AppState) -> None:
    """Add the routes to the app."""
    needed = token_needed(state)

    def reading(answer: Any) -> dict[str, Any]:
        return {**needed, **state.description.route(answer, 422, 429, 503, secured=True)}

    def writing(takes: Any, answer: Any, *errors: int) -> dict[str, Any]:
        return {**needed, **state.description.route(answer, 429, 503, *errors, takes=takes, secured=True)}

    def wake_trainer(accepted: bool) -> None:
        if accepted and state.trainer is not None:
            state.trainer.wake()

    desk, store = state.store.desk, state.store

    @app.get(
        "/api/review",
        summary="The digits to review next, most uncertain first, and the latest reviews",
        **reading(Queue),
    )
    async def queue(limit: Limit = 30, label: LabelFilter = None, session: uuid.UUID | None = None) -> Response:
        """Return a part of the queue, of one class if `label` is given.

        `session` is a UUID that the page chooses: what it gets is lent to it for five minutes, and to nobody else.
        """
        position = _position(label, store.classes)

        def query() -> Queue:
            pending = desk.queue(limit, label=position, session=None if session is None else str(session))
            return Queue(
                **desk.counts(),
                classes=list(store.classes),
                digits=[QueuedDigit(**row) for row in pending],
                history=[HistoryEntry(**row) for row in desk.history(_MAX_HISTORY)],
            )

        return json_response(await run_in_threadpool(query))

    @app.post("/api/review", summary="Review several digits, in order", **writing(ReviewsRequest, ReviewResults))
    async def review_all(request: Request) -> Response:
        message = decode(reviews_request, await json_body(request))
        verdicts = [_listed(one, store.classes) for one in message.reviews]
        found = await run_in_threadpool(desk.review_all, verdicts, clean_name(message.reviewer))
        results: list[ReviewResult] = []
        for verdict, result in zip(verdicts, found, strict=True):
            if isinstance(result, dict):
                results.append(ReviewResult(status=200, **result))
            elif isinstance(result, UnknownDigitError):
                results.append(ReviewResult(verdict.digit, 404, detail=_UNKNOWN))
            else:
                results.append(ReviewResult(verdict.digit, 409, detail=_DECIDED))
        wake_trainer(any(result.state == "accepted" for result in results))
        return json_response(ReviewResults(results))

    @app.post(
        "/api/review/release",
        summary="Give back what is lent to some sessions",
        **writing(ReleaseRequest, Released),
    )
    async def release(request: Request) -> Response:
        message = decode(release_request, await json_body(request))
        await run_in_threadpool(desk.release, [str(session) for session in message.sessions])
        return json_response(Released(len(message.sessions)))

    @app.get("/api/review/digits", summary="Digits in one state, newest first, page by page", **reading(Listed))
    async def browse(
        state: State = "accepted",
        label: LabelFilter = None,
        contributor: Annotated[str | None, Query(max_length=60, pattern=WITHOUT_NUL)] = None,
        before: Before = None,
        limit: Limit = 100,
    ) -> Response:
        selection = Selection(state, _position(label, store.classes), contributor)

        def query() -> Listed:
            found = desk.browse(selection, limit, before)
            # Of a contributor, all digits can be changed at once: the reviewer should know how many they are.
            total = desk.count_of(contributor, state) if contributor else UNSET
            return Listed([ListedDigit(**row) for row in found], _next(found, limit), total)

        return json_response(await run_in_threadpool(query))

    @app.get("/api/review/history", summary="Reviews with pictures, newest first, page by page", **reading(History))
    async def history(before: Before = None, limit: Limit = 50) -> Response:
        found = await run_in_threadpool(partial(desk.history, limit, before, images=True))
        return json_response(History([PicturedEntry(**row) for row in found], _next(found, limit)))

    @app.post(
        "/api/review/contributor",
        summary="Accept, reject or put back all digits of one contributor",
        **writing(ContributorRequest, Changed),
    )
    async def contributor(request: Request) -> Response:
        message = decode(contributor_request, await json_body(request))
        if (message.action == "undo") == (message.state == "pending"):
            raise HTTPException(422, "accept and reject need the state pending; undo needs accepted or rejected")
        name = clean_name(message.reviewer)
        work = partial(desk.review_contributor, message.contributor, message.state, message.action, name)
        changed = await run_in_threadpool(work)
        wake_trainer(message.action == "accept" and changed > 0)
        return json_response(Changed(changed))

    @app.post(
        "/api/review/strike",
        summary="Remove a name from credits and history; its digits stay",
        **writing(StrikeRequest, Changed),
    )
    async def strike(request: Request) -> Response:
        message = decode(strike_request, await json_body(request))
        return json_response(Changed(await run_in_threadpool(desk.strike_name, message.name)))

    @app.post(
        "/api/review/{digit}",
        summary="Accept, reject or relabel a digit, or undo its review",
        **writing(ReviewRequest, Reviewed, 404, 409),
    )
    async def review(digit: uuid.UUID, request: Request) -> Response:
        message = decode(review_request, await json_body(request))
        verdict = _verdict(digit, message, store.classes)
        work = partial(desk.review, verdict.digit, verdict.action, verdict.label, clean_name(message.reviewer))
        try:
            reviewed = await run_in_threadpool(partial(work, expected=verdict.expected))
        except UnknownDigitError:
            raise HTTPException(404, _UNKNOWN) from None
        except AlreadyReviewedError:
            raise HTTPException(409, _DECIDED) from None
        wake_trainer(reviewed["state"] == "accepted")
        return json_response(Reviewed(**reviewed))


def _position(label: str | None, classes: Sequence[str]) -> int | None:
    """Return the position of a class that an address names; names come first."""
    if label is None:
        return None
    is_position = label not in classes and label.isascii() and label.isdigit()
    return label_position(int(label) if is_position else label, classes)


def _next(found: list[dict[str, Any]], limit: int) -> int | None:
    """Return what asks for the next page; None if there is none."""
    return int(found[-1]["number"]) if len(found) == limit else None


def _verdict(digit: uuid.UUID, message: ReviewRequest, classes: Sequence[str]) -> Verdict:
    if isinstance(message, Relabel):
        return Verdict(str(digit), "relabel", label_position(message.label, classes))
    if isinstance(message, Undo) and message.state is not None:
        label = None if message.label is None else label_position(message.label, classes)
        return Verdict(str(digit), "undo", expected=(message.state, label))
    return Verdict(str(digit), message.action)


def _listed(one: ListedVerdict, classes: Sequence[str]) -> Verdict:
    label = None if one.label is None else label_position(one.label, classes)
    if one.action == "relabel" and label is None:
        raise HTTPException(422, "relabel needs a label")
    expected = (one.state, label) if one.action == "undo" and one.state is not None else None
    return Verdict(str(one.id), one.action, label, expected)
