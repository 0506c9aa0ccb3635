"""A PostgreSQL server of Debian's package for tests and benchmarks."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.helpers import TIMEOUT
from tests.web.servers import free_port

if TYPE_CHECKING:
    from collections.abc import Iterator


def missing_postgres() -> str | None:
    """Return why no PostgreSQL server can be started here, or None."""
    if _tools() is None:
        return "PostgreSQL is not installed (apt-get install postgresql)"
    return None if find_spec("psycopg") else "psycopg is not installed (extra [postgres])"


def _tools() -> Path | None:
    return max(Path("/usr/lib/postgresql").glob("*/bin"), default=None)


@contextlib.contextmanager
def postgres() -> Iterator[str]:
    """Start a server on a free port; yields its URL without a database name."""
    tools = _tools()
    assert tools is not None
    # Not in pytest's folder, which another session may remove while this one runs; and not in this user's own
    # temporary folder, which the user that PostgreSQL runs as may not enter.
    folder = Path(tempfile.mkdtemp(prefix="fastnn-postgres-", dir="/tmp"))
    # PostgreSQL refuses to run as root.
    as_user: dict[str, Any] = {}
    if os.geteuid() == 0:
        folder.chmod(0o755)
        shutil.chown(folder, "postgres")
        as_user = {"user": "postgres", "group": "postgres", "extra_groups": []}
    data, port = folder / "data", free_port()

    def run(*command: str | Path) -> None:
        subprocess.run(
            [str(part) for part in command],
            check=True,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=TIMEOUT,
            cwd="/",
            **as_user,
        )

    try:
        run(tools / "initdb", "-D", data, "-A", "trust", "-U", "tester", "--no-sync", "--locale=C", "-E", "UTF8")
        options = f"-p {port} -c unix_socket_directories= -c listen_addresses=127.0.0.1"
        run(tools / "pg_ctl", "-D", data, "-o", options, "-w", "-l", folder / "log", "start")
        try:
            yield f"postgresql://tester@127.0.0.1:{port}/"
        finally:
            run(tools / "pg_ctl", "-D", data, "-m", "immediate", "-w", "stop")
    finally:
        shutil.rmtree(folder)


@contextlib.contextmanager
def new_database(server: str) -> Iterator[str]:
    """Make an empty database on a server; yields its URL."""
    import psycopg

    name = f"test_{os.urandom(6).hex()}"
    with psycopg.connect(f"{server}postgres", autocommit=True) as connection:
        connection.execute(f"CREATE DATABASE {name}")  # type: ignore[arg-type]
        yield server + name
        connection.execute(f"DROP DATABASE {name} WITH (FORCE)")  # type: ignore[arg-type]
