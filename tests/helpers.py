"""What several test files need: small data that can be learnt, and fastnn in a process of its own."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

from fastnn.datasets import PIXELS, Dataset

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).resolve().parents[1]
DIGITS = tuple("0123456789")

compiled_only = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="about compiled code; the JIT is off")

# Long enough for a process that compiles on a busy machine; reached only by one that hangs.
PATIENCE = 120


def blobs(n: int = 200, *, seed: int = 0, classes: tuple[str, ...] = DIGITS, pixels: int = PIXELS) -> Dataset:
    """Make images that a small network tells apart in a few epochs: one random pattern a class, with noise.

    About a fifth of the pixels are ink, as in drawn digits. The classes take turns, so all occur.
    """
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).random((len(classes), pixels)) < 0.2
    labels = np.arange(n, dtype=np.int64) % len(classes)
    flipped = rng.random((n, pixels)) < 0.02
    grey = rng.integers(0, 120, (n, pixels), dtype=np.uint8)
    images = np.where(patterns[labels] ^ flipped, grey, np.uint8(255))
    return Dataset(images, labels, classes, "blobs")


def saved(dataset: Dataset, path: Path) -> Path:
    """Write a data set to an .npz file that ``--data`` takes."""
    np.savez(path, images=dataset.images, labels=dataset.labels)
    return path


def environment(**changes: str | None) -> dict[str, str]:
    """Return the environment for a process that is to import this fastnn; None takes a variable away."""
    merged: dict[str, str | None] = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **changes}
    return {key: value for key, value in merged.items() if value is not None}


def python(code: str, *args: str, cwd: Path | None = None, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run Python code in a process of its own."""
    return _run([sys.executable, "-c", code, *args], cwd, changes)


def fastnn(*args: str | Path, cwd: Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run ``fastnn ARGS`` in a process of its own."""
    return _run([sys.executable, "-m", "fastnn", *map(str, args)], cwd, changes)


def _run(command: list[str], cwd: Path | None, changes: dict[str, str | None]) -> subprocess.CompletedProcess[str]:
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with Started(command, cwd=cwd, env=environment(**changes), text=True, start_new_session=True, **pipes) as process:
        output, errors = process.communicate(timeout=PATIENCE)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def together(code: str, *environments: dict[str, str | None], cwd: Path | None = None) -> list[str]:
    """Run Python code in processes of their own at the same time; return what each printed."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-c", code]
        started = [stack.enter_context(start(command, cwd=cwd, **changes)) for changes in environments]
        found = [process.communicate(timeout=PATIENCE)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), found
    return found


class Started(subprocess.Popen[str]):
    """A process in a session of its own, which ends with the block: what hangs must fail its test, not hold up all."""

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036 - as Popen has it
        end(self)
        super().__exit__(*error)


def start(command: list[str], *, cwd: Path | None, **changes: str | None) -> Started:
    """Start a process whose lines are read while it runs; its errors go where its output goes."""
    return Started(
        command,
        cwd=cwd,
        env=environment(**changes),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        bufsize=1,
        start_new_session=True,
    )


def end(process: subprocess.Popen[str]) -> None:
    """Kill a process, with all that it has started if it is of :func:`start`."""
    if isinstance(process, Started) and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def lines_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Read lines of a process up to the first one that holds `text`."""
    lines: list[str] = []
    alarm = threading.Timer(PATIENCE, end, [process])
    alarm.start()
    try:
        for line in _lines(process):
            lines.append(line)
            if text in line:
                return lines
    finally:
        alarm.cancel()
    raise AssertionError(f"the process ended without a line {text!r}:\n{''.join(lines)}")


def _lines(process: subprocess.Popen[str]) -> Iterator[str]:
    assert process.stdout is not None
    while line := process.stdout.readline():
        yield line


def tree(*folders: Path) -> dict[str, Any]:
    """Return every file under some folders with its bytes."""
    return {str(path): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}
