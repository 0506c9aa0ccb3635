"""A school class behind one address: thirty pupils who load the pages and draw a digit every five seconds.

The pupils are HTTP clients that ask for what the pages ask for. `compare_with_pages` checks that in Chromium.
"""

from __future__ import annotations

import asyncio
import json
import re
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urljoin, urlsplit

import httpx

from benchmarks.web_figures import Measured, NotMeasurableError, spread
from fastnn.datasets import load_dataset
from tests.web.browser.chromium import missing_chromium, open_chromium
from tests.web.browser.hand import draw
from tests.web.load import Connection
from tests.web.servers import digit, servers

if TYPE_CHECKING:
    from pathlib import Path

    from playwright.sync_api import Browser, Page, Request

    from fastnn.datasets import Dataset

EVERY = 5.0
"""Seconds between two digits of a pupil."""

ARRIVAL = 5.0
"""Seconds in which all pupils open the first page: "now open the page, all of you"."""

PAGES = ("", "contribute")
ASKED_AT_START = {"": ("api/health",), "contribute": ("api/stats",)}
"""What a page asks the API for when it is opened, besides the model."""

PREDICTIONS = 3
"""Predictions for one digit that Contribute asks the server for, if it does not have the model itself."""

_MODEL = ("model.json", "model.bin")

# A file that another file names: of HTML, of a stylesheet, and of a module or a worker.
_NAMED = re.compile(
    r"""(?:<link\ rel="(?:icon|manifest|stylesheet|modulepreload)"[^>]*href=|<script[^>]*src=)"([^"]+)"
    |url\(["']?([^"')]+)
    |(?:from|import)\s*\(?\s*"(\.{1,2}/[^"]+)"
    |new\ URL\("([^"]+\.js)",\s*import\.meta\.url\)""",
    re.VERBOSE,
)


@dataclass
class Lesson:
    """What happened in a lesson.

    Attributes
    ----------
    seconds : list of float
        Response times.
    statuses : Counter
        Unexpected statuses, with the path.
    sent, requests : int
        Digits that were stored, and all requests.
    """

    seconds: list[float] = field(default_factory=list)
    statuses: Counter[str] = field(default_factory=Counter)
    sent: int = 0
    requests: int = 0


def pupils(folder: Path, model: Path, *, pupils: int, seconds: float) -> Measured:
    """Measure a class behind one address, at the default rate limit, and compare its requests with those of pages."""
    dataset = load_dataset("drawn:1000")
    with servers(folder, model) as start:
        server = start("--no-access-log")
        files = {page: files_of(server.url, page) for page in PAGES}
        lesson = asyncio.run(_lesson(server.url, dataset, files, pupils=pupils, seconds=seconds))
    refused = sum(count for status, count in lesson.statuses.items() if status.endswith(" 429"))
    others = sum(lesson.statuses.values()) - refused
    asks = "in the page" if _has_model(files["contribute"]) else "on the server"
    who = f"{pupils} pupils behind one address, default rate"
    what = f"load {_count(files)} files, then draw a digit every {EVERY:g} s for {seconds:.0f} s"
    measured = Measured(
        [
            (f"{who}; {what}; recognition {asks}", f"{lesson.requests:,} requests, {lesson.sent:,} digits stored"),
            ("refused (429), other errors", f"{refused}, {others}"),
            ("response time of all of them", spread(lesson.seconds)),
        ]
    )
    measured.exceeded += [f"pupils: {status}: {count}" for status, count in sorted(lesson.statuses.items())]
    if not lesson.sent:
        measured.exceeded.append("pupils: no digit was stored")
    try:
        differences = compare_with_pages(folder, model, files)
    except NotMeasurableError as error:
        measured.rows.append(("compared with the pages in Chromium", f"not done: {error}"))
    else:
        measured.rows.append(("differences from the pages in Chromium", f"{len(differences)}"))
        measured.exceeded += differences
    return measured


def _count(files: dict[str, list[str]]) -> int:
    return len({path for paths in files.values() for path in paths})


def _has_model(files: list[str]) -> bool:
    return _MODEL[0] in files


# ---- the files of a page ----


def files_of(url: str, page: str) -> list[str]:
    """Return the paths of a page and of all files that it names, directly or in its scripts and stylesheets.

    Parameters
    ----------
    url : str
        Of the app.
    page : str
        Path of the page, without the leading slash.

    Returns
    -------
    list of str
        The page first; `model.json` and `model.bin` are among them if a script of the page loads them.
    """
    found: list[str] = []
    waiting = [page]
    with httpx.Client(base_url=f"{url}/") as client:
        while waiting:
            path = waiting.pop(0)
            if path in found:
                continue
            found.append(path)
            response = client.get(path).raise_for_status()
            if not response.headers["content-type"].startswith(("text/", "application/javascript")):
                continue
            names = ["".join(groups) for groups in _NAMED.findall(response.text)]
            addresses = [urlsplit(urljoin(str(response.url), name)) for name in names]
            waiting += [at.path.lstrip("/") for at in addresses if at.scheme == urlsplit(url).scheme]
            # model.json names the file of the weights.
            waiting += _MODEL if f'"{_MODEL[0]}' in response.text else ()
    return found


# ---- the pupils ----


async def _lesson(url: str, dataset: Dataset, files: dict[str, list[str]], *, pupils: int, seconds: float) -> Lesson:
    lesson = Lesson()
    host, port = url.removeprefix("http://").split(":")
    tasks = [
        _pupil(_Pupil(Connection(host, int(port)), lesson, n), dataset, files, ARRIVAL * n / pupils, seconds)
        for n in range(pupils)
    ]
    await asyncio.gather(*tasks)
    return lesson


@dataclass
class _Pupil:
    connection: Connection
    lesson: Lesson
    number: int

    async def ask(self, path: str, body: bytes = b"", *, expected: int = 200) -> bytes:
        """Send a request once, as a page that is refused would, and note what came back."""
        method = "POST" if body else "GET"
        try:
            status, seconds, content = await self.connection.request(method, f"/{path}", body)
        except (asyncio.IncompleteReadError, ConnectionError):
            # The server has just closed the idle connection; browsers then open another one, too.
            self.connection.close()
            status, seconds, content = await self.connection.request(method, f"/{path}", body)
        self.lesson.requests += 1
        self.lesson.seconds.append(seconds)
        if status != expected:
            self.lesson.statuses[f"/{path.partition('?')[0]} {status}"] += 1
        return content


async def _pupil(pupil: _Pupil, dataset: Dataset, files: dict[str, list[str]], arrival: float, seconds: float) -> None:
    clock = asyncio.get_running_loop().time
    await asyncio.sleep(arrival)
    seen: set[str] = set()
    for page, paths in files.items():
        # A browser asks for every file again, but the answer is then short: 304.
        for path in paths:
            if path not in seen and path not in _MODEL:
                await pupil.ask(path)
            seen.add(path)
        for path in ASKED_AT_START[page]:
            await pupil.ask(path)
    in_page = _has_model(files["contribute"])
    if in_page:
        key = json.loads(await pupil.ask("model.json"))["key"]
        await pupil.ask(f"model.bin?key={key}")
    start, drawn = clock(), 0
    while clock() - start < seconds:
        drawing = digit(dataset, (pupil.number * 31 + drawn) % len(dataset))
        if not in_page:
            image = json.dumps({"image": drawing["image"]}).encode()
            for _ in range(PREDICTIONS):
                await pupil.ask("api/predict", image)
        body = json.dumps({"digits": [drawing], "contributor": f"pupil {pupil.number}"}).encode()
        pupil.lesson.sent += json.loads(await pupil.ask("api/digits", body, expected=201)).get("stored", 0)
        drawn += 1
        await asyncio.sleep(max(0.0, start + EVERY * drawn - clock()))
    pupil.connection.close()


# ---- the pages themselves ----


def compare_with_pages(folder: Path, model: Path, files: dict[str, list[str]]) -> list[str]:
    """Use the pages in Chromium as a pupil does; return what they ask for and the pupils here do not.

    Parameters
    ----------
    folder, model : Path
        Of a server.
    files : dict of list of str
        What the pupils load, by page.
    """
    reason = missing_chromium()
    if reason is not None:
        raise NotMeasurableError(reason)
    with servers(folder, model) as start, open_chromium() as browser:
        url = start("--rate", "0", "--no-access-log").url
        return [*_use_recognise(browser, url, files[""]), *_use_contribute(browser, url, files["contribute"])]


def _use_recognise(browser: Browser, url: str, files: list[str]) -> list[str]:
    from playwright.sync_api import expect

    with browser.new_context() as context:
        page = context.new_page()
        asked = _note(page)
        page.goto(f"{url}/")
        page.wait_for_load_state("networkidle")
        draw(page, 3)
        expect(page.locator("#guess")).to_have_text(re.compile(r"^\d$"))
        loaded = _differences("Recognise", asked, {*files, *ASKED_AT_START[""]})
        if not _has_model(files):
            return loaded
        # With the model in the page, further digits ask the server for nothing.
        asked.clear()
        page.keyboard.press("Escape")
        draw(page, 1)
        page.wait_for_load_state("networkidle")
        return [*loaded, *(f"Recognise asks for /{path} when a digit is drawn" for path in sorted(asked))]


def _use_contribute(browser: Browser, url: str, files: list[str]) -> list[str]:
    from playwright.sync_api import expect

    digits = 4
    with browser.new_context() as context:
        page = context.new_page()
        asked = _note(page)
        page.goto(f"{url}/contribute")
        page.wait_for_load_state("networkidle")
        for _ in range(digits):
            draw(page, int(page.locator("#wanted").inner_text()))
            page.wait_for_load_state("networkidle")
            page.keyboard.press("Enter")
            if page.locator("#keep").is_visible():
                page.locator("#keep").click()
        expect(page.locator("#message")).to_have_text(f"{digits} sent, thank you.")
        found = _differences("Contribute", asked, {*files, *ASKED_AT_START["contribute"], "api/digits"})
        most = {"api/digits": digits, "api/predict": 0 if _has_model(files) else PREDICTIONS * digits}
    return [
        *found,
        *(
            f"Contribute asks for /{path} {asked[path]} times for {digits} digits, the pupils {number} times"
            for path, number in most.items()
            if asked[path] > number
        ),
    ]


def _note(page: Page) -> Counter[str]:
    """Return a counter of the paths that a page will ask for."""
    asked: Counter[str] = Counter()

    def note(request: Request) -> None:
        at = urlsplit(request.url)
        if at.scheme == "http":  # not the page's own data: and blob: addresses
            asked[at.path.lstrip("/")] += 1

    page.on("request", note)
    return asked


def _differences(name: str, asked: Counter[str], expected: set[str]) -> list[str]:
    """Return what a page asks for beyond what is expected; /api/predict is counted elsewhere."""
    return [f"{name} asks for /{path}, the pupils do not" for path in sorted({*asked} - expected - {"api/predict"})]
