"""Targets of the fronts: requests to the web app, and arguments of the command line."""

from __future__ import annotations

import asyncio
import contextlib
import gzip
import io
import json
import logging
import re
import shutil
from typing import TYPE_CHECKING, Any

from tests.attacks import fuzz_mutate as mutate
from tests.attacks import fuzz_seeds as seeds
from tests.attacks.fuzz_bench import as_text, as_value, lines, target, values

if TYPE_CHECKING:
    from pathlib import Path

    from tests.attacks.fuzz_bench import Bench

# ---- the web app ----


@target(
    "web",
    seeds.requests,
    mutate.json_value("image", "digits", "label", "application/json", "image/png", "accept", "undo"),
    share=0.3,
)
def _web(content: bytes, bench: Bench) -> str:
    """A request, given to the app in this process; it must be answered, and not with 500."""
    asked = as_value(content)
    if not isinstance(asked, dict):
        return ""
    scope, body = _scope(asked)
    app = bench.once("app", lambda: _app(bench), _close)
    loop = bench.once("loop", asyncio.new_event_loop, lambda loop: loop.close())
    raised = bench.once("raised", _log_of_errors)
    raised.clear()
    status, answer, typed = loop.run_until_complete(_ask(app, scope, body))
    if raised:
        raise raised[0]
    assert 200 <= status < 500 or status == 503, f"status {status}"
    if typed.startswith("application/json") and scope["method"] != "HEAD" and answer:
        json.loads(gzip.decompress(answer) if answer[:2] == b"\x1f\x8b" else answer)
    return f"{scope['method'][:6]} s{status} {answer[:200].decode(errors='replace') if status >= 400 else ''}"


def _scope(asked: dict[str, Any]) -> tuple[dict[str, Any], bytes]:
    """Return the ASGI scope and the body of a request; a server would refuse what is not a request at all."""
    headers = asked.get("headers", {})
    headers = headers if isinstance(headers, dict) else {}
    raw = [
        (str(name).lower().encode(errors="replace"), str(value).encode("latin-1", errors="replace"))
        for name, value in headers.items()
    ]
    path = str(asked.get("path", "/"))
    path = path if path.startswith("/") else f"/{path}"
    body = asked.get("body", b"")
    if isinstance(asked.get("picture"), int):
        body = seeds.pictures()[asked["picture"] % 11]
    elif isinstance(body, str):
        body = body.encode(errors="surrogatepass")
    elif not isinstance(body, bytes):
        body = json.dumps(body).encode()
    scope = {
        "type": "http", "asgi": {"version": "3.0"}, "http_version": "1.1", "scheme": "http", "root_path": "",
        "method": str(asked.get("method", "GET")), "path": path, "raw_path": path.encode(errors="replace"),
        "query_string": str(asked.get("query", "")).encode(errors="replace"), "headers": raw,
        "client": ("127.0.0.1", 1), "server": ("127.0.0.1", 80),
    }  # fmt: skip
    return scope, body


async def _ask(app: Any, scope: dict[str, Any], body: bytes) -> tuple[int, bytes, str]:
    """Return status, body and content type of the answer to a request."""
    sent: list[dict[str, Any]] = []
    given = iter([{"type": "http.request", "body": body, "more_body": False}])

    async def receive() -> dict[str, Any]:
        return next(given, {"type": "http.disconnect"})

    async def send(message: dict[str, Any]) -> None:
        sent.append(message)

    async with asyncio.timeout(60):
        await app(scope, receive, send)
    headers = dict(sent[0]["headers"])
    content = b"".join(message.get("body", b"") for message in sent[1:])
    return sent[0]["status"], content, headers.get(b"content-type", b"").decode()


def _app(bench: Bench) -> Any:
    from fastnn.web.app import Settings, create_app
    from fastnn.web.serving import ServedModel
    from fastnn.web.store import Store

    store = Store(f"sqlite:///{bench.folder}/web.db")
    app = create_app(Settings(store, "token", ServedModel.from_model(seeds.model(), "m"), rate=0))
    app.state.fastnn.live.seconds = 0  # a training ends after its first report
    return app


def _close(app: Any) -> None:
    app.state.fastnn.live.close()
    app.state.fastnn.store.close()


def _log_of_errors() -> list[BaseException]:
    """Return a list to which the web app's log adds the errors that no route handled."""
    raised: list[BaseException] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            record.getMessage()
            if record.exc_info and record.exc_info[1] is not None:
                raised.append(record.exc_info[1])

    logger = logging.getLogger("fastnn.web")
    logger.handlers[:] = [Keep()]
    logger.propagate = False
    return raised


@target("log-lines", lines('{"event": "x"}', "text", "{", '{"a": 1e999}'), mutate.text("{", "}", '"time"', "null"))
def _log_lines(content: bytes, _: Bench) -> None:
    """A message of another library in the web app's log: it becomes one line of JSON."""
    from fastnn.web.logs import JsonLinesFormatter

    record = logging.LogRecord("x", logging.INFO, "x", 1, as_text(content).replace("%", "%%"), (), None)
    line = JsonLinesFormatter().format(record)
    assert len(line.splitlines()) == 1
    assert {"time", "level"} <= json.loads(line).keys()


# ---- the command line ----

_COMMANDS = (
    ["guide"], ["guide", "web"], ["data", "info", "a.npz", "--json"], ["data", "convert", "a.npz", "b.csv", "--force"],
    ["data", "mosaic", "a.npz", "b.png", "--rows", "2", "--columns", "2", "--class", "1", "--seed", "3", "--force"],
    ["predict", "m.safetensors", "a.png", "--json", "--polarity", "auto"], ["import", "NN.json", "b.safetensors"],
    ["evaluate", "m.safetensors", "--data", "a.npz", "--split", "all", "--json"],
    ["compare", "m.safetensors", "n.safetensors", "--data", "a.npz", "--json"],
    ["cv", "--data", "a.npz", "--recipe", "original", "--folds", "2", "--repeats", "2", "--epochs", "1", "--json"],
    ["data", "import", "a.npz", "--into", "sqlite:///b.db", "--contributor", "me", "--review"],
    ["train", "--data", "a.npz", "--recipe", "modern", "--hidden", "3,2", "--epochs", "2", "--lr", "0.1", "--out", "r"],
    ["train", "--from", "m.safetensors", "--data", "a.npz", "--classes", "0-9", "--until", "99%", "--json"],
    ["data", "clean", "a.npz", "--folds", "2", "--repeats", "1", "--out", "x.csv"], ["bench", "--json"],
    ["serve", "--port", "80", "--db", "sqlite:///b.db", "--rate", "5"], ["data", "fetch", "digits"],
)  # fmt: skip
_WORDS = (
    "--help",
    "--version",
    "--",
    "-",
    "--json",
    "--out",
    "a.npz",
    "a.csv",
    "drawn:30",
    "none",
    "[red]x[/red]",
    "@a",
    "a b",
)


@target("command-line", values(*_COMMANDS), mutate.json_value(*_WORDS), share=0.1)
def _command_line(content: bytes, bench: Bench) -> str:
    """Arguments: all are parsed; commands that neither train, serve nor download are run too."""
    arguments = as_value(content)
    if not isinstance(arguments, list) or not all(isinstance(one, str) and "\0" not in one for one in arguments):
        return ""
    # As the system gives arguments; an escape such as \ud800 comes from JSON alone.
    arguments = [one.encode(errors="replace").decode() for one in arguments]
    parse, run = bench.once("parsers", _parsers)
    _call(parse, arguments)
    harmful = any(
        "/" in one.replace("sqlite:///", "") or "postgres" in one or ".." in one or "~" in one for one in arguments
    )
    drawn = any(re.search(r"drawn:0*[1-9]\d{3}", one) or one in ("digits", "mnist", "drawn") for one in arguments)
    if (
        harmful
        or drawn
        or arguments[:1] not in ([name] for name in ("guide", "predict", "import", "evaluate", "compare", "data"))
    ):
        return ""
    if arguments[0] == "data" and arguments[1:2] not in (["info"], ["convert"], ["mosaic"], ["import"]):
        return ""
    folder = bench.folder / "commands"
    shutil.rmtree(folder, ignore_errors=True)
    shutil.copytree(bench.once("sources", lambda: _sources(bench.folder)), folder)
    with contextlib.chdir(folder):
        code, errors = _call(run, arguments)
    assert code in (0, 2), f"exit code {code}: {errors}"
    assert "Traceback" not in errors
    return errors


def _sources(folder: Path) -> Path:
    """Return a folder with the files that the commands name."""
    sources = folder / "sources"
    sources.mkdir()
    files = {"a.npz": seeds.npz()[0], "a.csv": seeds.csv_rows()[0], "a.png": seeds.pictures()[0]}
    files |= {name: seeds.models()[0] for name in ("m.safetensors", "n.safetensors")}
    for name, content in (files | {"NN.json": seeds.original_networks()[0]}).items():
        (sources / name).write_bytes(content)
    return sources


def _parsers() -> tuple[Any, Any]:
    """Return the command line without and with what the commands do."""
    import typer

    from fastnn.cli import make_app

    parse, run = (typer.main.get_command(make_app()) for _ in range(2))
    waiting = [parse]
    while waiting:
        command = waiting.pop()
        children = getattr(command, "commands", {})
        waiting += children.values()
        if not children:
            command.callback = lambda **_: None
    return parse, run


def _call(command: Any, arguments: list[str]) -> tuple[int, str]:
    """Return the exit code and the errors of a command that is called in this process."""
    errors, output = io.StringIO(), io.StringIO()
    with contextlib.redirect_stdout(output), contextlib.redirect_stderr(errors):
        try:
            command.main(args=arguments, prog_name="fastnn")
        except SystemExit as ended:
            return int(ended.code or 0), errors.getvalue()
    raise AssertionError("the command did not exit")
