"""Working folders for the attacks kill and disk: prepared, copied, compared."""

from __future__ import annotations

import contextlib
import functools
import hashlib
import http.server
import io
import json
import os
import queue
import shutil
import signal
import sqlite3
import subprocess
import sys
import tempfile
import threading
import time
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, Self
from unittest import mock

from tests.attacks.commands import Case, Result, make_inputs
from tests.attacks.processes import processes_left
from tests.attacks.visitors import send_digits
from tests.helpers import TIMEOUT, environment, invoke

if TYPE_CHECKING:
    from collections.abc import Iterator

_TIMES = ("samples_per_second", "seconds", "test_seconds")
"""Columns of a run's history that differ from time to time."""

HUNG = 124

ABSENT, REFUSED, NO_DIGITS = "absent", "refused", "no digits"


@dataclass(frozen=True)
class Known:
    """What a case does if nothing disturbs it.

    Attributes
    ----------
    folder, after : Path
        Before and after; never changed.
    old, new : dict
        All files before and after, by path: see :func:`tree`.
    old_results, new_results : dict
        See :func:`read_results`.
    events : list of float
        Times of the writing events, in seconds after the start.
    seconds : float
        Duration of the command.
    """

    folder: Path
    after: Path
    old: dict[str, str]
    new: dict[str, str]
    old_results: dict[str, str]
    new_results: dict[str, str]
    events: list[float]
    seconds: float

    @property
    def sizes(self) -> list[int]:
        """Sizes of the new files in bytes."""
        return [
            (self.after / name).stat().st_size
            for name, value in self.new.items()
            if value != self.old.get(name) and value != "folder"
        ]


@dataclass(frozen=True)
class Ended:
    """A child process that has ended.

    Attributes
    ----------
    code : int
        Exit code; negative for the number of a signal; `HUNG` for a process that did not end by itself.
    output : str
        Standard output and standard error, or their end.
    acknowledged : set of str
        Digits that a server has acknowledged.
    orphans : list of str
        Processes that it started and that a second later still ran.
    seconds : float
    """

    code: int
    output: str
    acknowledged: set[str]
    orphans: list[str]
    seconds: float


class Folders:
    """Working folders below `root`.

    Parameters
    ----------
    root : Path
        An empty folder.
    """

    def __init__(self, root: Path) -> None:
        self._root = root
        self._known: dict[str, Known] = {}
        self._numbers = iter(range(10**9))
        self._server: http.server.ThreadingHTTPServer | None = None
        inputs = self.new()
        with contextlib.chdir(inputs):
            make_inputs(inputs)
        self._inputs = inputs

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._server is not None:
            self._server.shutdown()
            self._server.server_close()

    def new(self) -> Path:
        """Return a new empty folder."""
        folder = self._root / str(next(self._numbers))
        folder.mkdir()
        return folder

    def known(self, case: Case) -> Known:
        """Prepare a case once, and run it undisturbed once."""
        if case.name not in self._known:
            prepared = self.copy(self._inputs)
            with self.inside(case, prepared):
                case.prepare()
            for args in case.before:
                code, output = self.run_here(case, prepared, args)
                assert code == 0, f"{case.name}: {args} failed: {output}"
            undisturbed, record = self.copy(prepared), self._root / "record.json"
            start = time.time()
            ended = self.run_child(case, undisturbed, options={"record": str(record)})
            assert ended.code in ((0, -15, 143) if case.serves else (0,)), f"{case.name}: {ended.output}"
            self._known[case.name] = Known(
                prepared,
                undisturbed,
                tree(prepared),
                tree(undisturbed),
                read_results(case, prepared),
                read_results(case, undisturbed),
                [moment - start for moment in json.loads(record.read_text())],
                ended.seconds,
            )
        return self._known[case.name]

    def copy(self, folder: Path) -> Path:
        """Return a copy of a folder; times are kept."""
        copied = self._root / str(next(self._numbers))
        shutil.copytree(folder, copied, symlinks=True)
        return copied

    def changes(self, case: Case, folder: Path) -> dict[str, str | None]:
        """Return the environment variables for a case in a folder."""
        own = {name: value.format(folder=folder) for name, value in case.environment}
        if case.command == "data fetch":
            own |= {"ATTACK_URL": self._url(), "NO_PROXY": "*"}
        caches = {"FASTNN_CACHE_DIR": str(folder / "cache"), "TMPDIR": str(folder / "tmp")}
        return {**caches, "FASTNN_DATA": None, "PYTHONDONTWRITEBYTECODE": "1", **own}

    @contextlib.contextmanager
    def inside(self, case: Case, folder: Path) -> Iterator[None]:
        """Set this process up for a case within the context: working folder, environment, patches."""
        changes = self.changes(case, folder)
        kept = {name: value for name, value in changes.items() if value is not None}
        with contextlib.chdir(folder), mock.patch.dict(os.environ, kept), case.patched():
            yield

    def run_here(self, case: Case, folder: Path, args: tuple[str, ...]) -> tuple[int, str]:
        """Run a command line in this process, which is faster than in a child; return exit code and output."""
        with self.inside(case, folder):
            result = invoke(list(args))
        return result.exit_code, f"{result.output}{result.exception or ''}"

    def start(
        self,
        case: Case,
        folder: Path,
        args: tuple[str, ...] | None = None,
        *,
        options: dict[str, Any] | None = None,
        before: list[str] | None = None,
        **popen: Any,
    ) -> subprocess.Popen[str]:
        """Start a case in a process group of its own.

        Parameters
        ----------
        case : Case
        folder : Path
            Working folder.
        args : tuple of str, optional
            Another command line.
        options : dict, optional
            Of ``tests.attacks.child``.
        before : list of str, optional
            A command that starts the case, such as strace.
        **popen
            Arguments of Popen.
        """
        options = {"case": case.name, **(options or {})}
        command = [sys.executable, "-m", "tests.attacks.child", json.dumps(options), *(args or case.args)]
        return subprocess.Popen(
            [*(before or []), *command],
            cwd=folder,
            env=environment(**self.changes(case, folder)),
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            **popen,
        )

    def run_child(
        self,
        case: Case,
        folder: Path,
        args: tuple[str, ...] | None = None,
        *,
        kill_after: float | None = None,
        **more: Any,
    ) -> Ended:
        """Run a case in a child process until it ends, or kill it after some seconds; `more` is for :meth:`start`."""
        start = time.monotonic()
        process = self.start(case, folder, args, **more)
        timer = threading.Timer(TIMEOUT if kill_after is None else kill_after, process.kill)
        timer.start()
        acknowledged: set[str] = set()
        lines: queue.SimpleQueue[str | None] = queue.SimpleQueue()
        reader = threading.Thread(target=_read_lines, args=(process, lines))
        reader.start()
        output = ""
        try:
            if case.serves and args is None:
                output = send_digits(process, iter(lines.get, None), acknowledged, stop=kill_after is None)
            process.wait(timeout=2 * TIMEOUT)
        finally:
            timer.cancel()
            process.kill()
            process.wait()
            seconds = time.monotonic() - start
            left = processes_left(process.pid)
            with contextlib.suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
            reader.join()
        while not lines.empty():
            output += lines.get() or ""
        code = HUNG if kill_after is None and seconds > TIMEOUT else process.returncode
        return Ended(code, output[-2000:], acknowledged, left, seconds)

    def _url(self) -> str:
        """Return the address of a file to download, from a server in this process."""
        if self._server is None:
            content = json.dumps([{"image": [255] * 784, "label": 1}]).encode()
            self._server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), functools.partial(_Handler, content))
            threading.Thread(target=self._server.serve_forever, daemon=True).start()
        return f"http://127.0.0.1:{self._server.server_address[1]}/dataset.json"


def _read_lines(process: subprocess.Popen[str], lines: queue.SimpleQueue[str | None]) -> None:
    """Put the lines that a process, or one that it has started, prints into a queue; at the end None."""
    assert process.stdout is not None
    with process.stdout:
        for line in process.stdout:
            lines.put(line)
    lines.put(None)


class _Handler(http.server.BaseHTTPRequestHandler):
    """Sends one file to everybody."""

    def __init__(self, content: bytes, *args: Any) -> None:
        self._content = content
        super().__init__(*args)

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", str(len(self._content)))
        self.end_headers()
        self.wfile.write(self._content)

    def log_message(self, *_: Any) -> None:
        """Print nothing."""


# ---- comparing ----


def belongs_to_result(case: Case, name: str) -> bool:
    """Return whether a file is a part of a result, or a file that SQLite keeps beside its database."""
    return any(Path(name).is_relative_to(one.path) or name.startswith(f"{one.path}-") for one in case.results)


def is_temporary(path: str) -> bool:
    """Return whether a path is, or is in, a temporary file or folder of fastnn."""
    return any(part.startswith(".") for part in Path(path).parts)


def tree(folder: Path) -> dict[str, str]:
    """Return a digest of each file below a folder, by its path; times in histories do not count.

    Machine code, databases, studies and the hashes of the cache have no digest: their content depends on times.
    """
    found = {}
    for path in sorted(folder.rglob("*")):
        name = path.relative_to(folder).as_posix()
        if path.is_symlink():
            found[name] = f"link to {path.readlink()}"
        elif path.is_dir():
            found[name] = "folder"
        elif not path.is_file():
            found[name] = "special"
        elif path.suffix in (".db", ".native", ".seen", ".study"):
            found[name] = "file"
        else:
            found[name] = digest(path)
    return found


def digest(path: Path) -> str:
    """Return the SHA-256 of a file, without the times in a history."""
    content = path.read_bytes()
    if path.name == "history.csv":
        content = "\n".join(map(repr, history_without_times(content.decode(errors="replace")))).encode()
    return hashlib.sha256(content).hexdigest()


def history_without_times(text: str) -> list[list[str]]:
    """Return the lines of a history without the columns that hold times."""
    import csv

    header, *rows = list(csv.reader(io.StringIO(text))) or [[]]
    kept = [n for n, name in enumerate(header) if name not in _TIMES]
    return [[row[n] if n < len(row) else "" for n in kept] for row in (header, *rows)]


def allowed_results(case: Case, known: Known) -> dict[str, set[str]]:
    """Return the digests that each result may have after a command that did not end."""
    allowed = {}
    for result in case.results:
        if result.kind != "run":
            old, new = known.old_results[result.path], known.new_results[result.path]
            # Of something new a part may be there if reading refuses it.
            allowed[result.path] = {old, new} | ({REFUSED} if result.may_be_refused or old == ABSENT else set())
            if result.kind == "database" and old == ABSENT:
                allowed[result.path].add(NO_DIGITS)
    return allowed


def read_results(case: Case, folder: Path) -> dict[str, str]:
    """Return a digest of each result as a user reads it, by its path; "absent" or "refused" if there is none."""
    return {result.path: _read(result, folder / result.path) for result in case.results if result.kind != "run"}


def _read(result: Result, path: Path) -> str:
    from fastnn.datasets import load_dataset
    from fastnn.errors import FastnnError

    if not path.exists():
        return ABSENT
    if result.kind == "database":
        return "\n".join(sorted(stored_digits(path))) or NO_DIGITS
    if result.kind == "data":
        try:
            with mock.patch.dict(os.environ, {"FASTNN_CACHE_DIR": str(path.parent / "no-cache")}):
                dataset = load_dataset(path)
        except FastnnError:
            return REFUSED
        return dataset.compute_hash()
    if path.is_dir():
        return repr({name: value for name, value in tree(path).items() if not is_temporary(name)})
    return digest(path)


def stored_digits(path: Path) -> set[str]:
    """Return the ids of the digits in an SQLite file, none if it has no tables yet; ValueError if it is damaged."""
    with tempfile.TemporaryDirectory() as copied:
        # Opening it would write to its folder, which may be full or read-only, and mend it before the next start.
        for file in path.parent.glob(f"{path.name}*"):
            shutil.copy(file, copied)
        with contextlib.closing(sqlite3.connect(Path(copied) / path.name)) as connection:
            (state,) = connection.execute("PRAGMA integrity_check").fetchone()
            if state != "ok":
                raise ValueError(f"{path}: {state}")
            if not connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'fastnn_digits'").fetchone():
                return set()
            rows = connection.execute("SELECT id, length(pixels) FROM fastnn_digits").fetchall()
    if any(length != 784 for _, length in rows):
        raise ValueError(f"{path}: a digit is not whole")
    return {name for name, _ in rows}
