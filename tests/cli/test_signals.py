"""Signals before, during and after a command; those of training are in test_train.py and tests/test_promises.py."""

from __future__ import annotations

import os
import signal
import sys
import warnings
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest

from fastnn import save_model
from fastnn.cli._signals import Interrupted, interruptible
from tests.helpers import blobs, invoke, run_python, save_npz
from tests.models import model

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="POSIX signals")

SIGNALS = [signal.SIGINT, signal.SIGTERM, signal.SIGHUP] if hasattr(signal, "SIGHUP") else []


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Change to an empty folder but for a small data set; return the folder."""
    folder = tmp_path / "work"
    folder.mkdir()
    monkeypatch.chdir(folder)
    save_npz(blobs(40), folder / "data.npz")
    return folder


# ---- before a command has started ----

# Runs the command line, and sends SIGINT to the process at the nth call of a function since the import of `fastnn.cli`
# began.
SIGNAL_AT_A_CALL = """
import signal, sys
name, count = sys.argv.pop(1), int(sys.argv.pop(1))
def profile(frame, event, argument):
    global count
    if event == "call" and frame.f_code.co_name == name and "fastnn.cli" in sys.modules:
        count -= 1
        if count == 0:
            sys.setprofile(None)
            signal.raise_signal(signal.SIGINT)
from fastnn.__main__ import main
sys.setprofile(profile)
main()
"""


@pytest.mark.parametrize(
    ("function", "count"),
    [
        ("cb", 1),  # importlib's callback, where exceptions are printed and discarded
        ("cb", 20),
        ("__set_name__", 1),  # of an attribute in a class body, where they become a RuntimeError
        ("_process_class", 1),  # of the module dataclasses
    ],
)
def test_ctrl_c_while_modules_are_imported_ends_the_process(function: str, count: int) -> None:
    done = run_python(SIGNAL_AT_A_CALL, function, str(count), "train", "--data", "data.npz", "--epochs", "1", "-q")
    assert (done.returncode, done.stdout, done.stderr) == (-signal.SIGINT, "", "")
    assert [path.name for path in Path().iterdir()] == ["data.npz"]


def test_a_program_that_imports_fastnn_keeps_its_signals() -> None:
    code = (
        "import signal\nnumbers = signal.valid_signals()\nbefore = [signal.getsignal(n) for n in numbers]\n"
        "import fastnn, fastnn.__main__, fastnn.cli, fastnn.cli.train\nfrom fastnn import *\nfastnn.cli.app\n"
        "assert [signal.getsignal(n) for n in numbers] == before"
    )
    done = run_python(code)
    assert done.returncode == 0, done.stderr


# ---- while a command runs ----


class Interrupts:
    """Sends a signal to this process on each of the first `times` calls, instead of what is replaced."""

    def __init__(self, number: int, times: int = 1) -> None:
        self.number, self.left = number, times

    def __call__(self, *_: Any, **__: Any) -> None:
        if self.left:
            self.left -= 1
            signal.raise_signal(self.number)


def handlers() -> list[Any]:
    return [signal.getsignal(number) for number in SIGNALS]


@pytest.mark.parametrize("number", SIGNALS)
def test_a_signal_while_a_file_is_written_leaves_no_file(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "fsync", Interrupts(number))
    before = handlers()
    result = invoke(["data", "convert", "data.npz", "out.json"])
    assert (result.exit_code, result.output) == (128 + number, "")
    assert [path.name for path in Path().iterdir()] == ["data.npz"]
    assert handlers() == before


def test_an_exception_made_from_the_signal_is_not_reported(monkeypatch: pytest.MonkeyPatch) -> None:
    class Attribute:
        def __set_name__(self, *_: object) -> None:
            signal.raise_signal(signal.SIGTERM)

    def load(*_: Any, **__: Any) -> None:
        type("Library", (), {"attribute": Attribute()})

    monkeypatch.setattr("fastnn.datasets.load_source", load)
    result = invoke(["data", "info", "data.npz"])
    assert (result.exit_code, result.output) == (143, "")


# Runs the command line with a load_source that sends signals. An exception raised in a destructor, or in a callback of
# C or of a weak reference, is printed and discarded.
SIGNAL_IN_A_CALLBACK = """
import ctypes, signal, sys, weakref
import fastnn.datasets
from fastnn.__main__ import main
where, number = sys.argv.pop(1), int(sys.argv.pop(1))
def send(*_):
    signal.raise_signal(number)
class Object:
    pass
class Destroyed:
    __del__ = send
def load(*_, **__):
    if where == "C":
        ctypes.CFUNCTYPE(None)(send)()
    elif where == "weak reference":
        kept = Object()
        reference = weakref.ref(kept, send)
        del kept
    elif where == "destructor":
        Destroyed()
    else:
        try:
            send()
        finally:
            send()
            while where == "twice, endless":
                pass
    raise AssertionError("went on")
fastnn.datasets.load_source = load
main()
"""


@pytest.mark.parametrize(
    ("where", "number"),
    [
        ("C", signal.SIGINT),
        ("weak reference", signal.SIGTERM),
        ("destructor", signal.SIGINT),
        ("twice", signal.SIGTERM),
        ("twice, endless", signal.SIGINT),
    ],
)
def test_a_signal_ends_the_command_wherever_it_arrives(where: str, number: int) -> None:
    done = run_python(SIGNAL_IN_A_CALLBACK, where, str(int(number)), "data", "info", "data.npz")
    assert (done.returncode, done.stdout, done.stderr) == (128 + number, "", "")


# Runs the command line, and sends SIGTERM to the process while Numba compiles.
SIGNAL_WHILE_COMPILING = """
import signal, sys
from fastnn.__main__ import main
from fastnn.kernels import loader
compile = loader.object_code
def profile(frame, event, argument):
    if event == "call" and frame.f_globals.get("__name__") == "numba.core.typeinfer":
        sys.setprofile(None)
        signal.raise_signal(signal.SIGTERM)
def profiled(function):
    sys.setprofile(profile)
    return compile(function)
loader.object_code = profiled
main()
"""


def test_a_signal_while_a_command_compiles_prints_nothing() -> None:
    save_model(model(), "model.safetensors")
    command = ["evaluate", "model.safetensors", "--data", "data.npz"]
    done = run_python(SIGNAL_WHILE_COMPILING, *command, FASTNN_CACHE="0")
    assert (done.returncode, done.stdout, done.stderr) == (143, "", "")


# ---- ignored signals ----


@pytest.fixture
def ignored() -> Iterator[None]:
    """Ignore SIGINT, as a process does that a script starts with `&`."""
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    yield
    signal.signal(signal.SIGINT, before)


@pytest.mark.usefixtures("ignored")
def test_a_command_goes_on_ignoring_a_signal(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("fastnn.cli._progress.Lines.epoch", Interrupts(signal.SIGINT))
    options = ["--data", "data.npz", "--hidden", "4", "--epochs", "2", "--out", "run"]
    result = invoke(["train", *options])
    assert result.exit_code == 0, result.output
    assert Path("run/model.safetensors").exists()
    assert signal.getsignal(signal.SIGINT) is signal.SIG_IGN


@pytest.mark.usefixtures("ignored")
def test_the_entry_goes_on_ignoring_a_signal() -> None:
    # A child process ignores what its parent ignores.
    code = "import signal\nfrom fastnn.__main__ import main\ntry:\n    main()\nfinally:\n    signal.raise_signal(2)"
    done = run_python(code, "--version")
    assert (done.returncode, done.stderr) == (0, "")


def test_a_signal_hides_warnings_of_files_that_it_left_open() -> None:
    with warnings.catch_warnings(record=True) as seen:
        warnings.simplefilter("always")
        with pytest.raises(Interrupted), interruptible():
            signal.raise_signal(signal.SIGTERM)
        warnings.warn("unclosed file", ResourceWarning, stacklevel=1)
    assert seen == []
