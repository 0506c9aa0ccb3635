"""ASGI middleware: the access log, security headers, the hosts answered for, and a 500 for errors no route handled."""

from __future__ import annotations

import ipaddress
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

from starlette.datastructures import Headers, MutableHeaders
from starlette.responses import JSONResponse, RedirectResponse

from fastnn.web.logs import json_line, logger

if TYPE_CHECKING:
    from starlette.types import ASGIApp, Message, Receive, Scope, Send

CONTENT_SECURITY_POLICY = (
    "default-src 'none'; script-src 'self'; style-src 'self'; img-src 'self'; connect-src 'self'; "
    "worker-src 'self'; manifest-src 'self'; base-uri 'none'; form-action 'none'; frame-ancestors 'none'"
)

_SECURITY_HEADERS = {
    "Content-Security-Policy": CONTENT_SECURITY_POLICY,
    "X-Content-Type-Options": "nosniff",
    "Referrer-Policy": "no-referrer",
    "Cross-Origin-Opener-Policy": "same-origin",
    "Permissions-Policy": "camera=(), geolocation=(), microphone=()",
}


class AccessLogMiddleware:
    """Logs every request, adds security headers, and refuses writes that come from pages of other sites.

    It is the outermost layer, so an error that no route handled becomes a logged 500 response here.

    Parameters
    ----------
    app : ASGI application
    """

    def __init__(self, app: ASGIApp) -> None:
        self._app = app

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request and log its status, size and duration."""
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        root = scope.get("root_path", "")
        scope = _strip_root_path(scope)
        start, response = time.perf_counter(), {"status": 0, "bytes": 0}

        async def send_with_headers(message: Message) -> None:
            if message["type"] == "http.response.start":
                response["status"] = message["status"]
                headers = MutableHeaders(raw=message.setdefault("headers", []))
                for name, value in _SECURITY_HEADERS.items():
                    headers.setdefault(name, value)
                headers.setdefault("Cross-Origin-Resource-Policy", "same-origin")
                headers.setdefault("Cache-Control", "no-store")
            elif message["type"] == "http.response.body":
                response["bytes"] += len(message.get("body", b""))
            await send(message)

        try:
            if _is_cross_site_write(scope):
                refusal = JSONResponse({"detail": "requests from other sites are not allowed"}, 403)
                await refusal(scope, receive, send_with_headers)
            elif root and scope["path"] in (root, root * 2):
                # Links on the pages are relative: they work only if the address ends with a slash.
                await RedirectResponse(f"{root}/", 308)(scope, receive, send_with_headers)
            else:
                await self._app(scope, receive, send_with_headers)
        except Exception as error:
            # A traceback shows lines of code but no values, so it puts no drawing into the log.
            logger.exception(json_line("error", kind=type(error).__name__))
            if not response["status"]:
                failure = JSONResponse({"detail": "internal server error"}, 500)
                await failure(scope, receive, send_with_headers)
        finally:
            milliseconds = round((time.perf_counter() - start) * 1000, 1)
            logger.info(
                json_line(
                    "request",
                    address=scope["client"][0] if scope.get("client") else None,
                    method=scope["method"],
                    path=scope["path"][:200],
                    **response,
                    ms=milliseconds,
                )
            )


LOCAL_HOSTS = frozenset({"localhost", "127.0.0.1", "::1"})


@dataclass(frozen=True)
class AllowedHosts:
    """The names in the Host header that a server answers to.

    A page of another site may let its own name point to this server (DNS rebinding); its visitors' browsers then take
    it for a page of this server. They still send the name, which is not one of these.

    Attributes
    ----------
    names : frozenset of str
        In lower case; IPv6 addresses without brackets.
    addresses : bool
        Whether any IP address is allowed too. That is safe: an address cannot be made to point elsewhere.
    """

    names: frozenset[str] = LOCAL_HOSTS
    addresses: bool = False

    def allows(self, host: str) -> bool:
        """Return whether a Host header has an allowed name, with any port."""
        name = host.strip().lower()
        if name.startswith("["):
            name, bracket, port = name[1:].partition("]")
            port = port or ":"
        else:
            name, _, port = name.partition(":")
            bracket, port = "]", f":{port}"
        if not bracket or not port.startswith(":") or not (port[1:] or "0").isdigit():
            return False
        return name.removesuffix(".") in self.names or (self.addresses and _is_address(name))


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


class AllowedHostsMiddleware:
    """Refuses requests for other hosts with 421.

    Starlette's TrustedHostMiddleware does not know IPv6 addresses in all versions, and names neither fault nor fix.

    Parameters
    ----------
    app : ASGI application
    hosts : AllowedHosts
    """

    def __init__(self, app: ASGIApp, hosts: AllowedHosts) -> None:
        self._app, self._hosts = app, hosts

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request."""
        host = Headers(scope=scope).get("host", "") if scope["type"] == "http" else "localhost"
        if self._hosts.allows(host):
            await self._app(scope, receive, send)
            return
        detail = (
            f"this server does not answer for the host {host[:100]!r}; "
            "its operator can allow it: fastnn serve --allowed-host NAME"
        )
        await JSONResponse({"detail": detail}, 421)(scope, receive, send)


def _strip_root_path(scope: Scope) -> Scope:
    """Remove the proxy's path prefix if the proxy has not removed it; the server adds it to every path."""
    root, path = scope.get("root_path", ""), scope["path"]
    return {**scope, "path": path[len(root) :]} if root and path.startswith(f"{root}{root}/") else scope


def _is_cross_site_write(scope: Scope) -> bool:
    """Return whether a page of another site made its visitor's browser send data here."""
    reads_only = scope["method"] in ("GET", "HEAD", "OPTIONS")
    return not reads_only and Headers(scope=scope).get("sec-fetch-site") in ("cross-site", "same-site")
