"""The files that anybody may load: the digits and their mosaic, and the model in use."""

from __future__ import annotations

import re
from functools import partial
from typing import TYPE_CHECKING, Annotated

import anyio
from fastapi import FastAPI, HTTPException, Query, Request, Response
from fastapi.responses import StreamingResponse

from fastnn.errors import ModelError
from fastnn.web.answers import OriginalModel, PageModel, SharedDigit
from fastnn.web.limits import FILE_COST, LIGHT_COST
from fastnn.web.responses import is_known, store_error_response
from fastnn.web.transactions import StoreError

if TYPE_CHECKING:
    from fastnn.web.export import CachedFile
    from fastnn.web.model_files import ModelFile
    from fastnn.web.state import State

# Responses with these headers may be read by pages of other sites.
_CORS_HEADERS = {
    "Access-Control-Allow-Origin": "*",
    "Access-Control-Expose-Headers": "ETag, Retry-After",
    "Cross-Origin-Resource-Policy": "cross-origin",
}

# Pages of other sites may show files with this header, but not read them.
_EMBEDDED_HEADERS = {"Cross-Origin-Resource-Policy": "cross-origin"}


def add_sharing(app: FastAPI, state: State) -> None:
    """Add the files to the app."""
    files = state.model_files

    async def dataset(request: Request) -> Response:
        # Pages of other sites may read errors too, so that they know the reason and when to try again.
        try:
            state.limiter.spend(request, FILE_COST)
            file = await anyio.to_thread.run_sync(state.export.dataset, limiter=state.download_threads)
        except HTTPException as error:
            raise HTTPException(error.status_code, error.detail, {**(error.headers or {}), **_CORS_HEADERS}) from None
        except StoreError as error:
            return store_error_response(error, _CORS_HEADERS)
        gzipped = _accepts_gzip(request.headers.get("accept-encoding", ""))
        headers = {**_CORS_HEADERS, "Vary": "Accept-Encoding"}
        if gzipped:
            headers |= {"Content-Encoding": "gzip", "Content-Length": str(file.size)}
        etag = _etag(state.store.database_id, file, "" if gzipped else "-plain")
        return _send_file(request, file, "application/json", {"ETag": etag, **headers}, decompress=not gzipped)

    async def mosaic(request: Request) -> Response:
        state.limiter.spend(request, FILE_COST)
        file = await anyio.to_thread.run_sync(state.export.mosaic, limiter=state.download_threads)
        headers = {"ETag": _etag(state.store.database_id, file), "Content-Length": str(file.size), **_EMBEDDED_HEADERS}
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

    described = partial(state.description.route, has_etag=True)
    image = {"description": "A PNG image", "content": {"image/png": {}}}
    app.add_api_route("/dataset.json", dataset, summary="The accepted digits", **described(list[SharedDigit], 429, 503))
    app.add_api_route("/dataset.json", dataset, methods=["HEAD"], include_in_schema=False)
    app.add_api_route("/dataset.json", preflight, methods=["OPTIONS"], include_in_schema=False)
    app.add_api_route("/mosaic.png", mosaic, summary="Accepted digits as one image", **described(image, 429, 503))
    app.add_api_route("/mosaic.png", mosaic, methods=["HEAD"], include_in_schema=False)

    # ---- the model ----

    async def model_file(name: str) -> ModelFile:
        made = {"model.json": files.for_pages, "model.bin": files.for_pages, "NN.json": lambda: (files.original(),)}[
            name
        ]
        try:
            found = await anyio.to_thread.run_sync(made, limiter=state.download_threads)
        except ModelError as error:
            raise HTTPException(404, f"{name}: {error}") from None
        return found[-1] if name == "model.bin" else found[0]

    async def model_json(request: Request) -> Response:
        state.limiter.spend(request, LIGHT_COST)
        return _send_model(request, await model_file("model.json"), "application/json")

    async def model_bin(
        request: Request,
        key: Annotated[str, Query(max_length=64, description="The `key` of model.json: 404 if it has changed")] = "",
    ) -> Response:
        state.limiter.spend(request, LIGHT_COST)
        file = await model_file("model.bin")
        if key not in ("", file.key):
            raise HTTPException(404, "the model has been replaced; load model.json again")
        return _send_model(request, file, "application/octet-stream")

    async def original(request: Request) -> Response:
        try:
            state.limiter.spend(request, FILE_COST)
            file = await model_file("NN.json")
        except HTTPException as error:
            raise HTTPException(error.status_code, error.detail, {**(error.headers or {}), **_CORS_HEADERS}) from None
        return _send_model(request, file, "application/json", _CORS_HEADERS)

    numbers = {"description": "Numbers of 2 bytes, little-endian", "content": {"application/octet-stream": {}}}
    for path, endpoint, summary, kind in (
        ("/model.json", model_json, "The model in use without its weights, for scripts of pages", PageModel),
        ("/model.bin", model_bin, "The weights of model.json in float16", numbers),
        ("/NN.json", original, "The model in the original project's format, if that can hold it", OriginalModel),
    ):
        errors = (404, 422, 429) if path == "/model.bin" else (404, 429)
        app.add_api_route(path, endpoint, summary=summary, **described(kind, *errors))
        app.add_api_route(path, endpoint, methods=["HEAD"], include_in_schema=False)
    app.add_api_route("/NN.json", preflight, methods=["OPTIONS"], include_in_schema=False)


def _send_model(request: Request, file: ModelFile, media_type: str, headers: dict[str, str] | None = None) -> Response:
    """Return a response with a file of the model, gzipped if the client accepts that and it helps."""
    gzipped = file.compressed is not None and _accepts_gzip(request.headers.get("accept-encoding", ""))
    content = file.compressed if gzipped and file.compressed is not None else file.content
    coding = {"Content-Encoding": "gzip"} if gzipped else {}
    sent = {
        "Cache-Control": "no-cache",
        "ETag": f'"{file.key}{"" if gzipped else "-plain"}"',
        **coding,
        **(headers or {}),
    }
    if file.compressed is not None:
        sent["Vary"] = "Accept-Encoding"
    if is_known(request, sent["ETag"]):
        sent.pop("Content-Encoding", None)
        return Response(status_code=304, headers=sent)
    if request.method == "HEAD":
        return Response(headers={**sent, "Content-Length": str(len(content))}, media_type=media_type)
    return Response(content, headers=sent, media_type=media_type)


def _etag(database_id: str, file: CachedFile, suffix: str = "") -> str:
    return f'"{database_id[:8]}-{file.revision}{suffix}"'


def _send_file(
    request: Request, file: CachedFile, media_type: str, headers: dict[str, str], *, decompress: bool
) -> Response:
    """Return a response with a file; with 304 and no body if the client has this version already."""
    headers = {"Cache-Control": "no-cache", **headers}
    if is_known(request, headers["ETag"]):
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
