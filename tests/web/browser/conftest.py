"""Fixtures: Chromium, pages whose script errors fail the test, and a site that has digits."""

from __future__ import annotations

import contextlib
import re
import threading
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from typing import TYPE_CHECKING, Any

import pytest
import sqlalchemy as sa

from fastnn.datasets.database import import_dataset
from fastnn.datasets.schema import leases
from fastnn.web.serving import ServedModel
from fastnn.web.store import NewDigit, Store
from tests.web.browser.chromium import missing_chromium, open_chromium
from tests.web.browser.pages import Pages
from tests.web.servers import BEARER, Server, changing, http, new_id, servers

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator
    from pathlib import Path

    from playwright.sync_api import Browser, Page

    from fastnn.datasets import Dataset
    from fastnn.model import Model

PHONE: dict[str, Any] = {
    "viewport": {"width": 390, "height": 780},
    "device_scale_factor": 2,
    "is_mobile": True,
    "has_touch": True,
}
DESK: dict[str, Any] = {"viewport": {"width": 1100, "height": 770}}


# Per folder, not per session: while the browser runs, this thread has a running event loop, and tests in other folders
# start their own.
@pytest.fixture(scope="package")
def chromium() -> Iterator[Browser]:
    reason = missing_chromium()
    if reason is not None:
        pytest.skip(reason)
    with open_chromium() as browser:
        yield browser


@pytest.fixture(scope="package")
def pages(chromium: Browser) -> Pages:
    return Pages(chromium)


@pytest.fixture
def visit(pages: Pages) -> Iterator[Callable[..., Page]]:
    """A function that opens a page as in a fresh browser; script errors and console warnings fail the test.

    Without `model_in_page`, the page gets a model that it cannot run, and goes on asking the server. What needs a page
    that is `fresh` indeed is said at `Pages.take`. Tests follow the events of a page with `listen`.
    """
    faults: list[str] = []
    with contextlib.ExitStack() as opened:

        def open_page(
            url: str, *, may_fail: str = "", model_in_page: bool = True, fresh: bool = False, **options: Any
        ) -> Page:
            page = pages.take(fresh=fresh, **{**DESK, **options})
            opened.callback(pages.give_back, page)
            pages.listen(page, "pageerror", lambda error: faults.append(str(error)))

            def note(message: Any) -> None:
                if message.type in ("error", "warning") and not (may_fail and re.search(may_fail, message.text)):
                    faults.append(message.text)

            # The console also reports violations of the Content-Security-Policy.
            pages.listen(page, "console", note)
            if not model_in_page:
                page.route("**/model.json", lambda route: route.fulfill(json={"key": "none", "task": "unknown"}))
            page.goto(url)
            return page

        yield open_page
    assert faults == []


@pytest.fixture
def listen(pages: Pages) -> Callable[..., None]:
    """A function that calls another one at each event of a page: `listen(page, "request", note)`."""
    return pages.listen


@pytest.fixture
def site(shared_site: Server) -> Server:
    """A server with 400 accepted and 12 pending digits and some reviews; tests must not change it."""
    # What was lent to pages of other tests must not be missing in this one.
    with changing(shared_site.db) as connection:
        connection.execute(sa.delete(leases))
    return shared_site


@pytest.fixture(scope="package")
def shared_site(
    tmp_path_factory: pytest.TempPathFactory, model: Model, model_file: Path, drawn: Dataset
) -> Iterator[Server]:
    folder = tmp_path_factory.mktemp("site")
    fill(f"sqlite:///{folder / 'digits.db'}", drawn, model, ("Ada", "Grace <b>H.</b>", "Konrad", "数"))
    with servers(folder, model_file) as start:
        yield start("--rate", "0")


@pytest.fixture(scope="package")
def office(tmp_path_factory: pytest.TempPathFactory, model_file: Path) -> Iterator[Server]:
    """A server for the tests of the review; they may change it."""
    with servers(tmp_path_factory.mktemp("office"), model_file) as start:
        yield start("--rate", "0")


@pytest.fixture
def quiet(office: Server) -> Server:
    """A server with an empty queue."""
    while waiting := http.get(f"{office.url}/api/review/digits?state=pending", headers=BEARER).json()["digits"]:
        verdicts = [{"id": one["id"], "action": "reject"} for one in waiting]
        http.post(f"{office.url}/api/review", json={"reviews": verdicts}, headers=BEARER).raise_for_status()
    return office


def fill(url: str, dataset: Dataset, model: Model, names: tuple[str, str, str, str]) -> None:
    """Fill a database with digits, at least 100 from each contributor."""
    for number, name in enumerate(names):
        import_dataset(dataset.take(range(100 * number, 100 * number + 100)), url, contributor=name)
    store, served = Store(url), ServedModel.from_model(model, "test")
    for position in range(400, 415):
        image, label = dataset.images[position], int(dataset.labels[position])
        new = NewDigit(new_id(), image.tobytes(), label, served.scores(image[None], [label])[0])
        store.add([new], names[position % 3], served.key)
        if position >= 412:
            store.desk.review(new.id, ("accept", "reject", "accept")[position % 3], None, "Rita")
    store.close()


@pytest.fixture
def elsewhere(tmp_path: Path) -> Iterator[str]:
    """The URL of a page of another origin: a server on another port."""
    folder = tmp_path / "elsewhere"
    folder.mkdir()
    (folder / "index.html").write_text("<!doctype html><title>Elsewhere</title><link rel=icon href=data:,>")

    class Quiet(SimpleHTTPRequestHandler):
        def __init__(self, *args: Any) -> None:
            super().__init__(*args, directory=str(folder))

        def log_message(self, *_: object) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Quiet) as server:
        thread = threading.Thread(target=server.serve_forever)
        thread.start()
        yield f"http://127.0.0.1:{server.server_port}/"
        server.shutdown()
        thread.join()
