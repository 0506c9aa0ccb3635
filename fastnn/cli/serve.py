"""``fastnn serve``: the web app."""

from __future__ import annotations

import ipaddress
import logging
import os
import secrets
import signal
import socket
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, NoReturn

import typer

from fastnn.cli._console import command, err, note, out
from fastnn.errors import FastnnError

if TYPE_CHECKING:
    from fastapi import FastAPI

    from fastnn.web.recogniser import Loaded

LEAST_TOKEN = 12
"""Letters of a token; it may be guessed for as long as the server runs."""

_DRAIN_SECONDS = 10


@command
def serve(
    model: Annotated[
        str | None,
        typer.Option(
            help="A run folder, a model file or NN.json; by default what --train-every put into use last, "
            "or else the newest run in --runs."
        ),
    ] = None,
    db: Annotated[
        str, typer.Option(help="Where digits are kept: sqlite:///FILE or postgresql://USER@HOST/NAME.")
    ] = "sqlite:///digits.db",
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all of the network.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="0 takes a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FASTNN_TOKEN",
            help="Opens the review; better given by the environment, where other users do not see it. "
            "Without one, a new one is made and printed.",
        ),
    ] = None,
    train_every: Annotated[
        int, typer.Option(min=0, help="Train anew after so many newly accepted digits; 0 never.")
    ] = 0,
    recipe: Annotated[str, typer.Option(help="Of that training: a preset or a TOML file.")] = "original",
    runs: Annotated[
        Path, typer.Option(help="Where runs are looked for; those of --train-every are kept in its subfolder web.")
    ] = Path("runs"),
    rate: Annotated[
        float, typer.Option(min=0, help="Requests a second from one address for long (ten times that at once); 0: any.")
    ] = 50.0,
    root_path: Annotated[str, typer.Option(help="Path under which a proxy shows the app, as in /digits.")] = "",
    forwarded_allow_ips: Annotated[
        str,
        typer.Option(
            help="Addresses of proxies whose X-Forwarded-For is believed, with commas between; by default none."
        ),
    ] = "",
    access_log: Annotated[bool, typer.Option(help="Write a line of JSON for each request on standard error.")] = True,
) -> None:
    """Serve the web app: draw, recognise, collect, review and share digits.

    SIGTERM and Ctrl-C finish the requests that are under way; a second Ctrl-C does not wait for them.
    """
    server = prepare(
        Options(
            model=model, db=db, token=token, train_every=train_every, recipe=recipe, runs=runs, rate=rate,
        )
    )  # fmt: skip
    for text in server.notes:
        note(text)
    with open_socket(host, port) as listening:
        address = listening.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        url = f"http://{shown}:{address[1]}{_tidy(root_path)}"
        if not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
            note("others on the network can reach this; put a proxy with TLS before it where it is open to all")
        out().print(f"serving {url}/", markup=False, soft_wrap=True)
        if server.new_token is not None:
            err().print(f"review  {url}/review#token={server.new_token}", markup=False, soft_wrap=True)
        run(server.app, listening, root_path=_tidy(root_path), forwarded=forwarded_allow_ips, access_log=access_log)


@dataclass(frozen=True)
class Options:
    """What the app is made of; see the command's options."""

    model: str | None
    db: str
    token: str | None
    train_every: int = 0
    recipe: str = "original"
    runs: Path = Path("runs")
    rate: float = 50.0


@dataclass(frozen=True)
class KernelInput:
    """The app, before it listens.

    Attributes
    ----------
    app : FastAPI
    new_token : str or None
        The token, where it was made here.
    notes : tuple of str
        What the user should know.
    """

    app: FastAPI
    new_token: str | None
    notes: tuple[str, ...]


def prepare(options: Options) -> KernelInput:
    """Load the model, open the database and make the app.

    Raises
    ------
    FastnnError
        If the model, the database or the token is not as it should be, or the extra [web] is missing.
    """
    from fastnn.errors import MissingExtraError

    if options.token is not None and (len(options.token) < LEAST_TOKEN or not options.token.isascii()):
        raise FastnnError(f"the token must have {LEAST_TOKEN} letters or more, of ASCII alone")
    try:
        import uvicorn  # noqa: F401 - to know it is there before anything is opened

        from fastnn.web.app import Settings, create_app
        from fastnn.web.store import Store
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("fastapi", "starlette", "uvicorn", "anyio", "sqlalchemy"):
            raise MissingExtraError("fastnn serve", "web") from None
        raise
    store = Store(options.db)
    try:
        loaded, notes = _choose_model(options, store.training()[0])
        if options.train_every and loaded is not None:
            _check_classes(loaded)
        new_token = secrets.token_urlsafe(24) if options.token is None else None
        settings = Settings(
            store=store,
            token=options.token or new_token or "",
            loaded=loaded,
            rate=options.rate,
            train_every=options.train_every,
            runs=options.runs,
            recipe=options.recipe,
        )
        return KernelInput(create_app(settings), new_token, notes)
    except BaseException:
        store.close()
        raise


def _choose_model(options: Options, trained: str | None) -> tuple[Loaded | None, tuple[str, ...]]:
    """Return the model to begin with, and what to say of it.

    That is the model that was named, or the one that took over from it; where none was named, the one that took over
    last, or else the newest run.
    """
    noted, notes = (None, ()) if trained is None else _taken_over(trained)
    if options.model is not None:
        named = _load(options.model)
        if noted is not None and noted.named == named.key:
            return noted, (f"{trained} took over from {options.model} and stays in use",)
        if noted is not None and noted.key != named.key:
            notes = (f"{options.model} is used; {trained} took over from another model than that",)
        return named, notes
    if noted is not None:
        return noted, (f"{trained} took over last and stays in use; name another with --model",)
    path = newest_run(options.runs)
    if path is None:
        nothing = (
            f"no model: none was named and there is no run in {options.runs}; "
            "drawings are collected but not recognised (fastnn train makes a model)"
        )
        return None, (*notes, nothing)
    return _load(path), notes


def _taken_over(trained: str) -> tuple[Loaded | None, tuple[str, ...]]:
    """Return the run that took over last, or why it cannot be used: it is no reason not to serve."""
    try:
        return _load(trained, took_over=True), ()
    except FastnnError as error:
        return None, (f"the run that took over last cannot be used any more ({error})",)


def _load(path: str, *, took_over: bool = False) -> Loaded:
    from fastnn.formats import load_model
    from fastnn.web.recogniser import Loaded, model_name

    model = load_model(path)
    return Loaded.of(model, model_name(model, Path(path).name), model.card.origin_key if took_over else None)


def _check_classes(loaded: Loaded) -> None:
    """Refuse a model that could not be compared with what is trained on digits."""
    from fastnn.datasets.labels import DIGIT_CLASSES

    missing = [digit for digit in DIGIT_CLASSES if digit not in loaded.model.classes]
    if missing:
        raise FastnnError(
            f"{loaded.name}: the model does not know the class {missing[0]!r}, and --train-every trains on the digits; "
            "leave that out, or name another --model"
        )


def newest_run(folder: Path) -> str | None:
    """Return the run folder whose model was written last, or None."""
    from fastnn.formats import MODEL_FILE

    found = [(file.stat().st_mtime, str(file.parent)) for file in folder.glob(f"*/{MODEL_FILE}")]
    return max(found)[1] if found else None


def open_socket(host: str, port: int) -> socket.socket:
    """Listen on an address.

    Raises
    ------
    FastnnError
        If it cannot be had.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise FastnnError(f"{host}: not an address to listen on ({error.strerror or error})") from None
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise FastnnError(f"cannot listen on {host} port {port} ({error.strerror}); take another --port") from None
    return listening


def run(app: FastAPI, listening: socket.socket, *, root_path: str, forwarded: str, access_log: bool) -> None:
    """Serve until a signal comes; requests under way are finished first."""
    import uvicorn

    from fastnn.web.guard import JsonLines

    handler = logging.StreamHandler()
    handler.setFormatter(JsonLines())
    logger = logging.getLogger("fastnn.web")
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not access_log:
        handler.addFilter(lambda record: '"event": "request"' not in record.getMessage())
    logging.getLogger("uvicorn.error").addHandler(handler)
    config = uvicorn.Config(
        app,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        root_path=root_path,
        proxy_headers=bool(forwarded),
        forwarded_allow_ips=forwarded or None,
        timeout_graceful_shutdown=_DRAIN_SECONDS,
        limit_concurrency=2000,
        ws="none",
    )
    # Uvicorn finishes what is under way, and then raises again the signals that it was sent.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, _leave)
    uvicorn.Server(config).run(sockets=[listening])


def _leave(number: int, _: object) -> NoReturn:
    raise typer.Exit(128 + number)


def _tidy(root_path: str) -> str:
    path = root_path.strip("/")
    return f"/{path}" if path else ""
