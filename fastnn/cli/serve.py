"""``fastnn serve``: the web app."""

from __future__ import annotations

import ipaddress
import logging
import os
import re
import secrets
import signal
import socket
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from fastnn.cli._console import command, err, note, out
from fastnn.cli._signals import STOPPING, Interrupted, handling
from fastnn.errors import FastnnError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from types import FrameType

    import uvicorn
    from fastapi import FastAPI

    from fastnn.web.lan import LocalAddress
    from fastnn.web.middleware import AllowedHosts
    from fastnn.web.serving import ServedModel

MIN_TOKEN_LENGTH = 12
"""Shortest token in characters: attackers may guess for as long as the server runs."""

_LONGEST_CLASS = 60

_RATE, CLASS_RATE = 50.0, 300.0
"""Default limits of requests per second from one address. In a class, thirty pupils may share one: if each draws a
digit in a second and a half, storing them takes 100 units a second, and thirty first loads of a page at once take up
to 750 of the 3,000 that may come in a burst."""

_SHUTDOWN_SECONDS = 10
"""How long a stopping server waits for running requests."""


@command
def serve(
    model: Annotated[
        str | None,
        typer.Option(
            help="A run folder, a model file or NN.json. Default: the model that --train-every put into use last, "
            "or else the newest run in --runs."
        ),
    ] = None,
    db: Annotated[
        str, typer.Option(help="Database of the digits: sqlite:///FILE or postgresql://USER@HOST/NAME.")
    ] = "sqlite:///digits.db",
    classes: Annotated[
        str | None,
        typer.Option(
            help="What visitors draw, for a new database: a range such as A-Z, or a list such as circle,square,star. "
            "Default: the digits 0-9, or the classes that the database has."
        ),
    ] = None,
    in_class: Annotated[
        bool,
        typer.Option(
            "--class",
            help="Serve a class in the local network: listens on 0.0.0.0, and prints the address for pupils, the page "
            "for a projector with a QR code, and the teacher's link.",
        ),
    ] = False,
    host: Annotated[
        str | None,
        typer.Option(
            help="Address to listen on; 0.0.0.0 accepts connections from the network. Default: 127.0.0.1, and 0.0.0.0 "
            "with --class. With several networks, it chooses that of the class."
        ),
    ] = None,
    allowed_host: Annotated[
        list[str] | None,
        typer.Option(
            help="Another name under which the server is reached, such as that of a proxy; may be given several times. "
            "Requests for other hosts are refused. Always allowed: localhost, 127.0.0.1, ::1 and --host; "
            "with --host 0.0.0.0, all addresses."
        ),
    ] = None,
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 picks a free one.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="FASTNN_TOKEN",
            help="Secret that opens the review page, best of 24 or more random characters. Prefer the environment "
            "variable, which other users cannot see. Default: a random token, which is printed.",
        ),
    ] = None,
    train_every: Annotated[
        int, typer.Option(min=0, help="Train a new model after this many newly accepted digits; 0 never.")
    ] = 0,
    recipe: Annotated[str, typer.Option(help="Recipe of that training: a preset or a TOML file.")] = "original",
    runs: Annotated[
        Path,
        typer.Option(
            readable=False, help="Folder to search for runs; --train-every saves its runs in the subfolder web."
        ),
    ] = Path("runs"),
    rate: Annotated[
        float | None,
        typer.Option(
            min=0,
            help="Requests per second from one address, with bursts of ten times as many; 0 sets no limit. "
            f"Default: {_RATE:.0f}, and {CLASS_RATE:.0f} with --class.",
        ),
    ] = None,
    root_path: Annotated[str, typer.Option(help="Path under which a proxy serves the app, for example /digits.")] = "",
    forwarded_allow_ips: Annotated[
        str,
        typer.Option(
            help="Comma-separated addresses of proxies whose X-Forwarded-For header is trusted; default: none."
        ),
    ] = "",
    access_log: Annotated[bool, typer.Option(help="Log each request as a line of JSON on standard error.")] = True,
) -> None:
    """Serve the web app: draw, recognise, collect, review and share digits.

    SIGTERM and Ctrl-C let running requests finish; a second Ctrl-C stops at once.
    """
    if host is None:
        host = "0.0.0.0" if in_class else "127.0.0.1"  # noqa: S104
    if rate is None:
        rate = CLASS_RATE if in_class else _RATE
    reached = _class_addresses(host) if in_class else ()
    server = prepare(
        Options(
            model=model, db=db, token=token, train_every=train_every, recipe=recipe, runs=runs, rate=rate, host=host,
            allowed_hosts=tuple(allowed_host or ()), classes=classes,
        )
    )  # fmt: skip
    for text in server.notes:
        note(text)
    with open_socket(host, port) as listening:
        address = listening.getsockname()
        shown = f"[{address[0]}]" if ":" in address[0] else address[0]
        url = f"http://{shown}:{address[1]}{_normalise_path(root_path)}"
        if in_class:
            url = f"http://{reached[0].address if reached else shown}:{address[1]}{_normalise_path(root_path)}"
            server.app.state.fastnn.class_address = f"{url}/"
            if len(reached) > 1:
                others = ", ".join(map(str, reached[1:]))
                note(f"{reached[0]} was taken of several addresses; --host chooses another one: {others}")
        elif not ipaddress.ip_address(address[0].partition("%")[0]).is_loopback:
            note("other machines can reach this server; if it is public, put a proxy with TLS in front of it")
        out().print(f"serving {url}/", markup=False, soft_wrap=True)
        if in_class:
            # A token that was given is not shown: the page asks for it.
            token_part = "" if server.new_token is None else f"#token={server.new_token}"
            out().print(f"class   {url}/class (for the projector)", markup=False, soft_wrap=True)
            err().print(f"teacher {url}/teacher{token_part}", markup=False, soft_wrap=True)
        if server.new_token is not None:
            err().print(f"review  {url}/review#token={server.new_token}", markup=False, soft_wrap=True)
        run(
            server.app,
            listening,
            root_path=_normalise_path(root_path),
            forwarded=forwarded_allow_ips,
            access_log=access_log,
        )


@dataclass(frozen=True)
class Options:
    """The options of the command that decide how the app is made."""

    model: str | None
    db: str
    token: str | None
    train_every: int = 0
    recipe: str = "original"
    runs: Path = Path("runs")
    rate: float = 50.0
    host: str = "127.0.0.1"
    allowed_hosts: tuple[str, ...] = ()
    classes: str | None = None


@dataclass(frozen=True)
class PreparedServer:
    """An app that is ready to serve.

    Attributes
    ----------
    app : FastAPI
    new_token : str or None
        The random token, if the options have none.
    notes : tuple of str
        Notes for the user: which model is served and why.
    """

    app: FastAPI
    new_token: str | None
    notes: tuple[str, ...]


def prepare(options: Options) -> PreparedServer:
    """Load the model, open the database and make the app.

    Raises
    ------
    FastnnError
        If the model, the database or the token is invalid, or the extra [web] is missing.
    """
    from fastnn.errors import MissingExtraError

    if options.token is not None and (len(options.token) < MIN_TOKEN_LENGTH or not options.token.isascii()):
        raise FastnnError(f"the token must have at least {MIN_TOKEN_LENGTH} characters, all of them ASCII")
    try:
        import uvicorn  # noqa: F401 - fail before anything is opened if it is missing

        from fastnn.web.app import Settings, create_app
        from fastnn.web.store import Store
    except ModuleNotFoundError as error:
        if (error.name or "").partition(".")[0] in ("fastapi", "starlette", "uvicorn", "anyio", "sqlalchemy", "segno"):
            raise MissingExtraError("fastnn serve", "web") from None
        raise
    classes = None if options.classes is None else _parse_classes(options.classes)
    store = Store(options.db, classes)
    try:
        model, notes = _choose_model(options, store.training()[0])
        if store.read_only:
            effect = "digits are recognised, but not stored or reviewed, and no model is trained"
            notes = (*notes, f"{store.display_url}: is read-only; {effect}")
        if options.train_every and model is not None:
            _check_classes(model, store.classes)
        if model is not None and not set(model.model.classes) & set(store.classes):
            notes = (*notes, f"{model.name} knows none of the classes of {store.display_url}, so it predicts others")
        new_token = secrets.token_urlsafe(24) if options.token is None else None
        settings = Settings(
            store=store,
            token=options.token or new_token or "",
            model=model,
            rate=options.rate,
            train_every=options.train_every,
            runs=options.runs,
            recipe=options.recipe,
            hosts=_allowed_hosts(options),
        )
        return PreparedServer(create_app(settings), new_token, notes)
    except BaseException:
        store.close()
        raise


def _class_addresses(host: str) -> tuple[LocalAddress, ...]:
    """Return this machine's addresses in its networks, the best first; none if `host` is a certain address.

    Raises
    ------
    FastnnError
        If the machine is in no network.
    """
    from fastnn.web.lan import local_addresses

    if host not in ("0.0.0.0", "::"):  # noqa: S104
        return ()
    found = local_addresses()
    if not found:
        raise FastnnError("--class: this machine is in no network; connect it to that of the class, or give --host")
    return found


def _allowed_hosts(options: Options) -> AllowedHosts:
    """Return the hosts that requests may name.

    Raises
    ------
    FastnnError
        If --allowed-host is not a name, but an address with a port or a path.
    """
    from fastnn.web.middleware import LOCAL_HOSTS, AllowedHosts

    names = [name.strip().lower().removeprefix("[").removesuffix("]").removesuffix(".") for name in
             (options.host, *options.allowed_hosts)]  # fmt: skip
    for name in names[1:]:
        if not re.fullmatch(r"[\w.-]+|[0-9a-f:.%]+", name) or re.fullmatch(r"[\w.-]+:\d+", name):
            raise FastnnError(f"--allowed-host {name}: not a host name; give it without scheme, port and path")
    return AllowedHosts(LOCAL_HOSTS | set(names), addresses=names[0] in ("0.0.0.0", "::"))  # noqa: S104


def _choose_model(options: Options, last_trained: str | None) -> tuple[ServedModel | None, tuple[str, ...]]:
    """Return the model to start with, and notes for the user.

    A model that the server trained (`last_trained`) stays in use if the user names the model that it replaced, or none.
    Without it, and if none is named, the newest run is used.
    """
    trained, notes = (None, ()) if last_trained is None else _load_trained(last_trained)
    if options.model is not None:
        named = _load(options.model)
        if trained is not None and trained.origin_key == named.key:
            return trained, (f"{last_trained} has replaced {options.model} and stays in use",)
        if trained is not None and trained.key != named.key:
            notes = (f"using {options.model}; {last_trained} has replaced another model, so it is not used",)
        return named, notes
    if trained is not None:
        return trained, (f"using {last_trained}, which --train-every put into use; choose another one with --model",)
    path = newest_run(options.runs)
    if path is None:
        no_model = (
            f"no model: --model is not given and {options.runs} contains no run; drawings are collected but not "
            "recognised (fastnn train makes a model)"
        )
        return None, (*notes, no_model)
    return _load(path), notes


def _load_trained(path: str) -> tuple[ServedModel | None, tuple[str, ...]]:
    """Return the model that the server trained and put into use; None and a note if it cannot be loaded."""
    try:
        return _load(path, trained_here=True), ()
    except FastnnError as error:
        return None, (f"the model that --train-every put into use last cannot be loaded ({error})",)


def _load(path: str, *, trained_here: bool = False) -> ServedModel:
    from fastnn.formats import load_model
    from fastnn.web.serving import ServedModel, model_name

    model = load_model(path)
    origin_key = model.card.origin_key if trained_here else None
    # Errors name the file, and pages the recipe.
    served = ServedModel.from_model(model, path, origin_key)
    return replace(served, name=model_name(model, Path(path).name))


def _parse_classes(text: str) -> tuple[str, ...]:
    from fastnn.datasets.labels import parse_classes
    from fastnn.datasets.schema import MAX_CLASSES

    names = parse_classes(text)
    if not 2 <= len(names) <= MAX_CLASSES:
        raise FastnnError(f"--classes: {len(names)} classes; give 2 to {MAX_CLASSES:,}")
    long = [name for name in names if len(name) > _LONGEST_CLASS]
    if long:
        raise FastnnError(f"--classes: {long[0][:80]} is too long; give at most {_LONGEST_CLASS} characters")
    return names


def _check_classes(model: ServedModel, classes: Sequence[str]) -> None:
    """Raise FastnnError for a model that cannot be compared with models trained on the database."""
    missing = [name for name in classes if name not in model.model.classes]
    if missing:
        what = "digits" if tuple(classes) == tuple("0123456789") else ", ".join(classes[:20])
        raise FastnnError(
            f"{model.name}: the model has no class {missing[0]!r}, but --train-every trains on {what}; "
            "drop --train-every or choose another --model"
        )


def newest_run(folder: Path) -> str | None:
    """Return the run in `folder` whose model file is newest, or None."""
    from fastnn.formats import MODEL_FILE

    found = [(file.stat().st_mtime, str(file.parent)) for file in folder.glob(f"*/{MODEL_FILE}")]
    return max(found)[1] if found else None


def open_socket(host: str, port: int) -> socket.socket:
    """Return a socket that listens on an address; port 0 picks a free port.

    Raises
    ------
    FastnnError
        If the address is unknown, or the port is in use.
    """
    try:
        family, kind, protocol, _, address = socket.getaddrinfo(
            host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE
        )[0]
        listening = socket.socket(family, kind, protocol)
    except OSError as error:
        raise FastnnError(f"cannot listen on {host} ({error.strerror or error}); check --host") from None
    try:
        if os.name == "posix":
            listening.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        listening.bind(address)
        listening.listen(1024)
    except OSError as error:
        listening.close()
        raise FastnnError(f"cannot listen on {host} port {port} ({error.strerror}); choose another --port") from None
    return listening


def run(app: FastAPI, listening: socket.socket, *, root_path: str, forwarded: str, access_log: bool) -> None:
    """Serve until a signal arrives; running requests finish first.

    Raises
    ------
    Interrupted
        When it has ended because of a signal.
    """
    import uvicorn

    from fastnn.web.connections import DeadlineProtocol, OutOfHandlesFilter, raise_file_limit
    from fastnn.web.logs import JsonLinesFormatter, logger

    raise_file_limit()
    handler = logging.StreamHandler()
    handler.setFormatter(JsonLinesFormatter())
    logger.addHandler(handler)
    logger.setLevel(logging.INFO)
    logger.propagate = False
    if not access_log:
        handler.addFilter(lambda record: '"event": "request"' not in record.getMessage())
    logging.getLogger("uvicorn.error").addHandler(handler)
    loop_logger = logging.getLogger("asyncio")
    loop_logger.addHandler(handler)
    loop_logger.addFilter(OutOfHandlesFilter())
    config = uvicorn.Config(
        app,
        http=DeadlineProtocol,
        log_config=None,
        log_level="warning",
        access_log=False,
        server_header=False,
        root_path=root_path,
        proxy_headers=bool(forwarded),
        forwarded_allow_ips=forwarded or None,
        timeout_graceful_shutdown=_SHUTDOWN_SECONDS,
        limit_concurrency=2000,
        ws="none",
    )
    _run_server(config, listening, on_exit=app.state.fastnn.live.stop)


def _run_server(config: uvicorn.Config, listening: socket.socket, on_exit: Callable[[], None]) -> None:
    import uvicorn

    received: list[int] = []
    ignored = {number for number in STOPPING if signal.getsignal(number) is signal.SIG_IGN}

    class Server(uvicorn.Server):
        def handle_exit(self, sig: int, frame: FrameType | None) -> None:
            # Uvicorn handles SIGINT also in a process that ignores it.
            if sig not in ignored:
                on_exit()  # before the server waits for requests to end
                super().handle_exit(sig, frame)

    def stop(number: int, frame: FrameType | None) -> None:
        received.append(number)
        server.handle_exit(number, frame)

    server = Server(config)
    # Uvicorn has its own handlers of SIGINT and SIGTERM; when it has ended, it raises the signals again.
    with handling(stop):
        server.run(sockets=[listening])
    if received:
        raise Interrupted(received[0])


def _normalise_path(root_path: str) -> str:
    """Return a path with one slash before it and none after it; empty for the root."""
    path = root_path.strip("/")
    return f"/{path}" if path else ""
