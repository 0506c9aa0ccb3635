"""What every request passes: the access log, the headers that keep a browser safe, and the last net for errors."""

from __future__ import annotations

import json
import logging
import time
from typing import TYPE_CHECKING, Any

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

logger = logging.getLogger("fastnn.web")

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class Guard:
    """ASGI middleware around the whole app.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Pass a request on and note how it ended."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root = scope.get("root_path", "")
        scope = _below_root(scope)
        start, answer = time.perf_counter(), {"status": 0, "bytes": 0}

        async def watched(message: Message) -> None:
            if message["type"] == "http.response.start":
                answer["status"] = message["status"]
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in _HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                headers.setdefault("Cache-Control", "no-store")
            elif message["type"] == "http.response.body":
                answer["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            if _is_forged(scope):
                refused = JSONResponse({"detail": "requests from other sites are not taken"}, 403)
                await refused(scope, receive, watched)
            elif root and scope["path"] in (root, root * 2):
                # The pages' addresses are relative, and count from behind the slash.
                await RedirectResponse(f"{root}/", 308)(scope, receive, watched)
            else:
                await self._app(scope, receive, watched)
        except Exception as error:
            # The traceback shows lines of code and no values, so no drawing gets into the log by it.
            logger.exception(_line({"event": "error", "kind": type(error).__name__}))
            if not answer["status"]:
                await JSONResponse({"detail": "something went wrong here"}, 500)(scope, receive, watched)
        finally:
            milliseconds = round((time.perf_counter() - start) * 1000, 1)
            logger.info(
                _line(
                    {
                        "event": "request",
                        "address": scope["client"][0] if scope.get("client") else None,
                        "method": scope["method"],
                        "path": scope["path"][:200],
                        **answer,
                        "ms": milliseconds,
                    }
                )
            )


def _below_root(scope: Scope) -> Scope:
    """Take the proxy's path off if the proxy has not; the server has put it before every path."""
    root, path = scope.get("root_path", ""), scope["path"]
    return {**scope, "path": path[len(root) :]} if root and path.startswith(f"{root}{root}/") else scope


def _is_forged(scope: Scope) -> bool:
    """Whether a page of another site has its visitor's browser send something here."""
    reading = scope["method"] in ("GET", "HEAD", "OPTIONS")
    return not reading and Headers(scope=scope).get("sec-fetch-site") in ("cross-site", "same-site")


def _line(values: dict[str, Any]) -> str:
    return json.dumps(values)


class JsonLines(logging.Formatter):
    """Writes what the app logs as one JSON object a line."""

    def format(self, record: logging.LogRecord) -> str:
        """Return the line, with its time in UTC."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created)) + f".{int(record.msecs):03d}Z"
        message = record.getMessage()
        values = json.loads(message) if message.startswith("{") else {"event": "note", "text": message}
        line = {"time": stamp, "level": record.levelname.lower(), **values}
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line)


def log(event: str, **values: Any) -> None:
    """Write one line to the log."""
    logger.info(_line({"event": event, **values}))
