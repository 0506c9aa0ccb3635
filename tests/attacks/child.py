"""The process that an attack kills or limits: ``python -m tests.attacks.child OPTIONS ARG...`` runs ``fastnn ARG...``.

OPTIONS is a JSON object with the name of the case, and optionally: "kill_at", before which of its writing events the
process kills itself; "record", a file for the times of these events; "file_size" and "files", limits in bytes and in
open files more than there are at the start.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.attacks.commands import CASES
from tests.kills import before_each_write

if TYPE_CHECKING:
    from collections.abc import Iterator


def main() -> None:
    options, sys.argv[1:] = json.loads(sys.argv[1]), sys.argv[2:]
    from fastnn.cli import main as run

    with watched(options), CASES[options["case"]].patched(), limited(options):
        run()


@contextlib.contextmanager
def watched(options: dict[str, Any]) -> Iterator[None]:
    """Count the events that write below the working folder; kill this process before one of them."""
    kill_at, record = options.get("kill_at"), options.get("record")
    if kill_at is None and record is None:
        yield
        return
    events: list[float] = []

    def act(_: str) -> None:
        events.append(time.time())
        if len(events) == kill_at:
            os.kill(os.getpid(), signal.SIGKILL)

    before_each_write(act)
    try:
        yield
    finally:
        if record is not None:
            Path(record).write_text(json.dumps(list(events)))


@contextlib.contextmanager
def limited(options: dict[str, Any]) -> Iterator[None]:
    """Limit this process within the context; coverage writes a file after it."""
    wanted = {name: options[name] for name in ("file_size", "files") if name in options}
    if not wanted:
        yield
        return
    import resource

    # Python would keep the half of it that has room.
    sys.dont_write_bytecode = True
    kinds = {"file_size": resource.RLIMIT_FSIZE, "files": resource.RLIMIT_NOFILE}
    before = {kinds[name]: resource.getrlimit(kinds[name]) for name in wanted}
    for name, value in wanted.items():
        with Path(os.devnull).open() as free:
            limit = value + (free.fileno() if name == "files" else 0)
        resource.setrlimit(kinds[name], (limit, before[kinds[name]][1]))
    try:
        yield
    finally:
        for kind, values in before.items():
            resource.setrlimit(kind, values)


if __name__ == "__main__":
    main()
