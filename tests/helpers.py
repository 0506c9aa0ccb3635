"""Helpers of several test files: a small data set that is easy to learn, and child processes."""

from __future__ import annotations

import contextlib
import functools
import os
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numba
import numpy as np
import pytest

from fastnn.datasets import PIXELS, Column, Dataset

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence

    from typer import Typer
    from typer.testing import Result

ROOT = Path(__file__).resolve().parents[1]
DIGITS = tuple("0123456789")

needs_jit = pytest.mark.skipif(bool(numba.config.DISABLE_JIT), reason="tests compiled code, but the JIT is disabled")

# Seconds. Long enough for a process that compiles on a busy machine: only a process that hangs reaches it.
TIMEOUT = 120


def blobs(n: int = 200, *, seed: int = 0, classes: tuple[str, ...] = DIGITS, pixels: int = PIXELS) -> Dataset:
    """Return a data set that a small network learns in a few epochs: one random pattern per class, with noise.

    Each class is a cluster around its pattern, as in scikit-learn's ``make_blobs``. About a fifth of the pixels are
    dark, as in drawn digits. The labels are 0, 1, 2, ..., 0, 1, 2, ..., so every class occurs.
    """
    rng = np.random.default_rng(seed)
    patterns = np.random.default_rng(99).random((len(classes), pixels)) < 0.2
    labels = np.arange(n, dtype=np.int64) % len(classes)
    flipped = rng.random((n, pixels)) < 0.02
    grey = rng.integers(0, 120, (n, pixels), dtype=np.uint8)
    images = np.where(patterns[labels] ^ flipped, grey, np.uint8(255))
    return Dataset(images, labels, classes, "blobs")


def linear_table(n: int = 60, *, targets: int = 1, seed: int = 0) -> Dataset:
    """Return a table whose targets are sums of its three columns, with noise; columns and targets have names."""
    rng = np.random.default_rng(seed)
    rows = rng.normal(5.0, 2.0, (n, 3))
    factors = np.array([[1.0, 2.0], [-1.0, 0.5], [0.5, -1.0]])[:, :targets]
    numbers = (rows - 5.0) @ factors + rng.normal(0, 0.3, (n, targets))
    columns = tuple(Column(name) for name in ("width", "height", "age"))
    return Dataset(rows, numbers, ("price", "weight")[:targets], "linear.csv", columns=columns)


def save_table(dataset: Dataset, path: Path) -> Path:
    """Write a table whose columns are numbers to a .csv file; return its path."""
    names = [column.name for column in dataset.columns or ()]
    targets = dataset.targets if dataset.targets.ndim == 2 else dataset.targets[:, None]
    named = dataset.names if dataset.targets.ndim == 2 else ("target",)
    lines = [",".join([*names, *named])]
    for row, target in zip(np.asarray(dataset.features).tolist(), targets.tolist(), strict=True):
        lines.append(",".join(map(repr, [*row, *target])))
    path.write_text("\n".join(lines) + "\n")
    return path


def save_npz(dataset: Dataset, path: Path) -> Path:
    """Write a data set to an .npz file that ``--data`` reads; return its path."""
    np.savez(path, images=dataset.images, labels=dataset.labels)
    return path


def invoke(arguments: Sequence[str], **options: Any) -> Result:
    """Run ``fastnn ARGUMENTS`` in this process; the options are those of typer's ``CliRunner.invoke``.

    With the app that ``main`` makes for them: typer builds an app anew for each call, and all commands take 90 ms.
    """
    from typer.testing import CliRunner

    return CliRunner().invoke(_app_for(*arguments[:1]), arguments, **options)


@functools.cache
def _app_for(*command: str) -> Typer:
    from fastnn.cli import app_for

    return app_for(command)


def environment(**changes: str | None) -> dict[str, str]:
    """Return the environment for a process that imports this fastnn; the value None removes a variable."""
    merged: dict[str, str | None] = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONUNBUFFERED": "1", **changes}
    return {key: value for key, value in merged.items() if value is not None}


def run_python(
    code: str, *args: str, cwd: Path | None = None, **changes: str | None
) -> subprocess.CompletedProcess[str]:
    """Run Python code in a child process, and wait for its end."""
    return _run([sys.executable, "-c", code, *args], cwd, changes)


def run_fastnn(*args: str | Path, cwd: Path, **changes: str | None) -> subprocess.CompletedProcess[str]:
    """Run ``fastnn ARGS`` in a child process, and wait for its end."""
    return _run([sys.executable, "-m", "fastnn", *map(str, args)], cwd, changes)


def _run(command: list[str], cwd: Path | None, changes: dict[str, str | None]) -> subprocess.CompletedProcess[str]:
    pipes: dict[str, Any] = {"stdin": subprocess.DEVNULL, "stdout": subprocess.PIPE, "stderr": subprocess.PIPE}
    with ChildProcess(
        command, cwd=cwd, env=environment(**changes), text=True, start_new_session=True, **pipes
    ) as process:
        output, errors = process.communicate(timeout=TIMEOUT)
    return subprocess.CompletedProcess(command, process.returncode, output, errors)


def run_concurrently(code: str, *environments: dict[str, str | None], cwd: Path | None = None) -> list[str]:
    """Run Python code at the same time in one child process per environment; return the output of each."""
    with contextlib.ExitStack() as stack:
        command = [sys.executable, "-c", code]
        started = [stack.enter_context(start_process(command, cwd=cwd, **changes)) for changes in environments]
        found = [process.communicate(timeout=TIMEOUT)[0] for process in started]
    assert [process.returncode for process in started] == [0] * len(started), found
    return found


class ChildProcess(subprocess.Popen[str]):
    """A child process that is killed at the end of the block, so that a process that hangs only fails its own test."""

    def __exit__(self, *error: Any) -> None:  # noqa: PYI036 - as Popen has it
        kill(self)
        super().__exit__(*error)


def start_process(command: list[str], *, cwd: Path | None, **changes: str | None) -> ChildProcess:
    """Start a process in its own session, with pipes for its input and for its output and errors together."""
    return ChildProcess(
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


@contextlib.contextmanager
def largest_file(size: int) -> Iterator[None]:
    """Let no file of this process grow beyond `size` bytes within the context, as on a full disk.

    Of modules that are imported meanwhile no bytecode is written: Python would keep the half of it that had room.
    """
    resource = pytest.importorskip("resource")
    before, most = resource.getrlimit(resource.RLIMIT_FSIZE)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(sys, "dont_write_bytecode", True)
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, most))
        try:
            yield
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, (before, most))


def wait_for(holds: Callable[[], object], what: str = "this") -> None:
    """Wait until `holds` returns something true; `what` says in the error what was expected."""
    end = time.monotonic() + TIMEOUT
    while not holds():
        assert time.monotonic() < end, f"timed out waiting for {what}"
        time.sleep(0.02)


def kill(process: subprocess.Popen[str]) -> None:
    """Kill a process; a :class:`ChildProcess` with all processes that it has started."""
    if isinstance(process, ChildProcess) and hasattr(os, "killpg"):
        with contextlib.suppress(ProcessLookupError):
            os.killpg(process.pid, signal.SIGKILL)
    else:
        process.kill()


def read_until(process: subprocess.Popen[str], text: str) -> list[str]:
    """Return the lines that a process prints up to the first one that contains `text`."""
    lines: list[str] = []
    alarm = threading.Timer(TIMEOUT, kill, [process])
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


def file_contents(*folders: Path) -> dict[str, Any]:
    """Return the content of every file below some folders, by its path."""
    return {str(path): path.read_bytes() for folder in folders for path in sorted(folder.rglob("*")) if path.is_file()}
