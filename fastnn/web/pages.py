"""The HTML pages: one layout, which is filled in once when the server starts, and the files that they load."""

from __future__ import annotations

import hashlib
import json
import re
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TYPE_CHECKING, Any

from fastapi import Request, Response
from starlette.responses import FileResponse
from starlette.staticfiles import StaticFiles

from fastnn.datasets.labels import DIGIT_CLASSES
from fastnn.reading import read_file
from fastnn.web.words import words_for

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Mapping, Sequence

    from fastapi import FastAPI

STATIC = Path(__file__).parent / "static"
SHARED = Path(__file__).parents[1] / "browser"
TEMPLATES = Path(__file__).parent / "templates"

_MOST_BYTES = 1 << 20
_ADDRESS = "{{address}}"
"""Stands for the address of the app, which is known only when a page is asked for: link previews need a whole one."""

_WITH_CAMERA = {"Permissions-Policy": "camera=(self), geolocation=(), microphone=()"}


@dataclass(frozen=True)
class Page:
    """A page of the web app.

    Attributes
    ----------
    path : str
        Path of its address.
    name : str
        Name of its template and of its script.
    title, heading, description : str
        Its name in the menu, and the title and text of a link preview. The words of :class:`fastnn.web.words.Words` in
        double braces stand for what is drawn.
    headers : dict
        Headers of the response.
    """

    path: str
    name: str
    title: str
    heading: str
    description: str
    headers: dict[str, str]

    def content(self, classes: Sequence[str]) -> str:
        """Return the HTML of the page, filled in but for the address; scripts read the names of the classes from it."""
        words = {name: escape(text) for name, text in words_for(classes).as_dict().items()}
        words |= {name.capitalize(): text[:1].upper() + text[1:] for name, text in words.items()}
        values = {
            **words,
            "name": self.name,
            "title": escape(self.title),
            "heading": _fill(escape(self.heading), words),
            "description": _fill(escape(self.description), words),
            "menu": "\n        ".join(_menu_item(page, current=page is self) for page in _MENU),
            "classes": escape(json.dumps(list(classes))),
            "words": escape(json.dumps(words_for(classes).as_dict())),
            # The picture of link previews shows digits.
            "card": "card.png" if tuple(classes) == DIGIT_CLASSES else "icon-512.png",
            "preload": "".join(
                f'\n<link rel="modulepreload" href="static/{name}">' for name in scripts_of(self.name)[1:]
            ),
            "review": _CURRENT if self.name == "review" else "",
            "teacher": _CURRENT if self.name == "teacher" else "",
            "main": _fill(_template(self.name), words),
        }
        return _fill(_template("layout"), values)


def _fill(template: str, values: Mapping[str, str]) -> str:
    """Replace names in double braces by their values; unknown ones stay."""
    return re.sub(r"{{(\w+)}}", lambda mark: values.get(mark[1], mark[0]), template)


_PAGES = (
    Page(
        "/",
        "recognise",
        "Recognise",
        "Draw {{something}}, and a network recognises it",
        "Draw {{something}} with a mouse, a finger or a stylus: a small neural network recognises it while you draw.",
        _WITH_CAMERA,
    ),
    Page(
        "/contribute",
        "contribute",
        "Contribute",
        "Draw for a public data set",
        "Draw {{asked}}, the way you usually {{write}} it. It becomes part of a data set that is free for any use.",
        {},
    ),
    Page(
        "/learn",
        "learn",
        "Learn",
        "Watch a network learn",
        "A small neural network learns {{several}} in this page, before your eyes, and you can try it while it learns.",
        {},
    ),
    Page(
        "/data",
        "data",
        "Data",
        "A data set of {{drawn}}",
        "How many {{several}} these pages have collected, who drew them, and how to download them.",
        {},
    ),
    Page(
        "/review",
        "review",
        "Review",
        "Review {{drawn}}",
        "Reviewers accept, relabel or reject new {{several}}.",
        {},
    ),
    Page(
        "/class",
        "classroom",
        "Class",
        "Draw together",
        "The address of this page as a QR code, and the {{several}} that a class has drawn, as they come in.",
        {},
    ),
    Page(
        "/teacher",
        "teacher",
        "Teacher",
        "Collect in class",
        "Teachers open and close collecting, and decide what a projector shows.",
        {},
    ),
)
_MENU = tuple(page for page in _PAGES if page.path not in ("/review", "/class", "/teacher"))
PAGES = tuple(page.path for page in _PAGES)
"""Paths of all pages."""

_CURRENT = ' aria-current="page"'


def _menu_item(page: Page, *, current: bool) -> str:
    # Links are relative, because a proxy may serve the app below a path.
    return f'<li><a href="./{page.path[1:]}"{_CURRENT if current else ""}>{escape(page.title)}</a></li>'


def _template(name: str) -> str:
    return read_file(TEMPLATES / f"{name}.html", _MOST_BYTES).decode().rstrip("\n")


_IMPORT = re.compile(r'^import (?:[^;"]* from )?"\./([\w-]+\.js)";$', re.MULTILINE)
_LATER_IMPORT = re.compile(r'\bimport\("\./([\w-]+\.js)"\)')


def scripts_of(page: str, *, later: bool = False) -> list[str]:
    """Return the names of the scripts that a page loads, its own first; with `later`, those that it may load later too.

    Browsers learn of an import only when they have the script that imports. With this list they load all at once.
    """
    names = [f"{page}.js"]
    for name in names:
        text = _static_file(name).decode()
        found = _IMPORT.findall(text) + (_LATER_IMPORT.findall(text) if later else [])
        names += [one for one in dict.fromkeys(found) if one not in names]
    return names


def _static_file(name: str) -> bytes:
    folder = STATIC if (STATIC / name).exists() else SHARED
    return read_file(folder / name, _MOST_BYTES)


def service_worker(page: str) -> str:
    """Return the script of the service worker that keeps Recognise, whose HTML is given, for visits without a network.

    It changes with each of the files, so that browsers then keep the new ones.
    """
    names = [*scripts_of("recognise", later=True), "base.css", "style.css", "icon.svg", "app.webmanifest"]
    content = hashlib.sha256(page.encode() + b"".join(map(_static_file, names)))
    files = ["./", *(f"static/{name}" for name in names)]
    template = read_file(TEMPLATES / "service-worker.js", _MOST_BYTES).decode()
    return template.replace("{{files}}", json.dumps(files)).replace("{{version}}", content.hexdigest()[:16])


def add_pages(app: FastAPI, classes: Sequence[str]) -> None:
    """Add the pages and the static files to the app."""
    for page in _PAGES:
        app.add_api_route(
            page.path, _route(page.content(classes), page.headers), methods=["GET", "HEAD"], include_in_schema=False
        )

    async def favicon() -> Response:
        # Browsers ask for it by themselves, whatever icons a page names.
        return FileResponse(STATIC / "favicon.ico", headers={"Cache-Control": "no-cache"})

    worker = service_worker(_PAGES[0].content(classes))

    async def service_worker_script() -> Response:
        # A worker serves what is below its own address, so it is not among the static files.
        return Response(worker, media_type="text/javascript", headers={"Cache-Control": "no-cache"})

    app.add_api_route("/service-worker.js", service_worker_script, methods=["GET", "HEAD"], include_in_schema=False)
    app.add_api_route("/favicon.ico", favicon, methods=["GET", "HEAD"], include_in_schema=False)
    # The pad and what shows answers are shared with the page that `fastnn export` writes.
    files = _RevalidatedStaticFiles(directory=STATIC, packages=[("fastnn", "browser")])
    app.mount("/static", files, name="static")


def _route(content: str, headers: Mapping[str, str]) -> Callable[[Request], Awaitable[Response]]:
    async def route(request: Request) -> Response:
        html = content.replace(_ADDRESS, escape(str(request.base_url)))
        return Response(html, media_type="text/html", headers={"Cache-Control": "no-cache", **headers})

    return route


class _RevalidatedStaticFiles(StaticFiles):
    """Static files; browsers must ask each time whether a file has changed."""

    async def get_response(self, path: str, scope: Any) -> Response:
        """Return a file, but not the template of the exported page, which is beside the shared scripts."""
        return await super().get_response("" if path.endswith(".html") else path, scope)

    def file_response(self, *args: Any, **kwargs: Any) -> Response:
        response = super().file_response(*args, **kwargs)
        response.headers["Cache-Control"] = "no-cache"
        return response
