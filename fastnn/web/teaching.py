"""The routes of a class: what projectors show, the QR code, and opening and closing by the teacher."""

from __future__ import annotations

import io
from functools import lru_cache, partial
from typing import TYPE_CHECKING

import segno
from fastapi import FastAPI, HTTPException, Request, Response
from starlette.concurrency import run_in_threadpool

from fastnn.web.answers import ClassBoard
from fastnn.web.authorization import token_needed
from fastnn.web.limits import LIGHT_COST
from fastnn.web.messages import ClassRequest, class_request, decode
from fastnn.web.responses import is_known, json_body, json_response

if TYPE_CHECKING:
    from fastnn.web.classroom import Board
    from fastnn.web.state import State

_PAGE = "contribute"
"""The page that the QR code opens."""


def add_teaching(app: FastAPI, state: State) -> None:
    """Add the routes to the app."""
    classroom = state.classroom

    def address(request: Request) -> str:
        # The teacher may have opened the page by a name that only this machine knows, such as localhost.
        return state.class_address or str(request.base_url)

    def described(board: Board, request: Request) -> Response:
        return json_response(ClassBoard(**board.counts, address=address(request)))

    @app.get(
        "/api/class",
        summary="What a projector shows: counts and the address",
        **state.description.route(ClassBoard, 429, 503),
    )
    async def board(request: Request) -> Response:
        state.limiter.spend(request, LIGHT_COST)
        return described(await run_in_threadpool(classroom.board), request)

    @app.post(
        "/api/class",
        summary="Open or close collecting, or show drawings that are not reviewed yet on projectors",
        **token_needed(state),
        **state.description.route(ClassBoard, 429, 503, takes=ClassRequest, secured=True),
    )
    async def change(request: Request) -> Response:
        message = decode(class_request, await json_body(request))
        work = partial(classroom.change, collecting=message.collecting, shows_pending=message.shows_pending)
        return described(await run_in_threadpool(work), request)

    async def picture(request: Request) -> Response:
        state.limiter.spend(request, LIGHT_COST)
        board = await run_in_threadpool(classroom.board)
        if not board.png:
            raise HTTPException(404, "nothing to show yet")
        headers = {"Cache-Control": "no-cache", "ETag": f'"{board.counts["picture"]}"'}
        if is_known(request, headers["ETag"]):
            return Response(status_code=304, headers=headers)
        return Response(board.png, media_type="image/png", headers=headers)

    async def code(request: Request) -> Response:
        state.limiter.spend(request, LIGHT_COST)
        return Response(_qr_code(f"{address(request)}{_PAGE}"), media_type="image/svg+xml")

    image = {"description": "A PNG image", "content": {"image/png": {}}}
    svg = {"description": "An SVG image", "content": {"image/svg+xml": {}}}
    pictured = state.description.route(image, 404, 429, 503, has_etag=True)
    app.add_api_route("/class.png", picture, summary="The newest drawings, as a projector shows them", **pictured)
    app.add_api_route("/class.svg", code, summary="The address as a QR code", **state.description.route(svg, 429))


@lru_cache(maxsize=16)
def _qr_code(address: str) -> bytes:
    """Return the QR code of an address as SVG, black on white whatever the theme: cameras need that."""
    file = io.BytesIO()
    code = segno.make(address, micro=False, error="m")
    code.save(file, kind="svg", xmldecl=False, svgclass=None, lineclass=None, omitsize=True, light="#fff", border=4)
    return file.getvalue()
