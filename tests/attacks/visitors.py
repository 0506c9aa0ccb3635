"""Visitors of a server under attack: they send digits, and remember which ones it has acknowledged."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import signal
import time
import uuid
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

if TYPE_CHECKING:
    import subprocess
    from collections.abc import Iterator

_REQUESTS = 12
_DIGITS = 3


def send_digits(process: subprocess.Popen[str], lines: Iterator[str], acknowledged: set[str], *, stop: bool) -> str:
    """Send digits to a server until it is gone; return the lines that were read.

    Parameters
    ----------
    process : Popen
        ``fastnn serve``, just started.
    lines : iterator of str
        What it prints; read up to the line that says where it serves.
    acknowledged : set of str
        Gets the ids of all acknowledged digits.
    stop : bool
        Stop the server after a few requests, with SIGTERM.
    """
    printed = ""
    for line in lines:
        printed += line
        if "serving http" not in line:
            continue
        with contextlib.suppress(OSError, http.client.HTTPException):
            _visit(urlsplit(line.split()[1]).netloc, acknowledged, _REQUESTS if stop else 10**6)
        if stop:
            os.killpg(process.pid, signal.SIGTERM)  # not strace alone
        break
    return printed


def _visit(netloc: str, acknowledged: set[str], requests: int) -> None:
    with contextlib.closing(http.client.HTTPConnection(netloc, timeout=60)) as connection:
        for number in range(requests):
            ids = [str(uuid.uuid4()) for _ in range(_DIGITS)]
            shade = int(time.monotonic() * 1000) % 200
            digits = [{"id": one, "image": [shade + n] * 400 + [255] * 384, "label": n} for n, one in enumerate(ids)]
            headers = {"Content-Type": "application/json"}
            connection.request("POST", "/api/digits", json.dumps({"digits": digits}), headers)
            answer = connection.getresponse()
            answer.read()
            if answer.status == 201:
                acknowledged.update(ids)
            for path in ("/dataset.json", "/mosaic.png")[: number % 3]:
                connection.request("GET", path)
                connection.getresponse().read()
